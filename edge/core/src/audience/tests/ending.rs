//! How connections and rooms end: full control queues, removed rooms, and slots that are taken again.

use grandstand_engine::link::AdminRequest;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Phase};

use super::super::Settings;
use super::hall::{Hall, Plan, V};
use super::viewer::Seen;

fn small_control_queue() -> Plan {
    let plan = Plan::default();
    Plan { settings: Settings { control_queue_bytes_max: 200, ..plan.settings }, ..plan }
}

/// Stalled in the middle of a frame, with a control queue that takes `bytes` more or less.
fn fill(hall: &mut Hall, v: V, bytes: usize) {
    hall.set_room(v, 1);
    hall.send(v, &ClientFrame::Ping { client_us: 0 });
    hall.turn();
    let mut client_us = 1;
    while hall.is_connected(v) && control_bytes(hall, v) < bytes {
        hall.send(v, &ClientFrame::Ping { client_us });
        client_us += 1;
    }
}

fn control_bytes(hall: &Hall, v: V) -> usize {
    let connection = &hall.audiences[0].connections[hall.key(v).0 as usize];
    connection.out.as_ref().map_or(0, |out| out.control.len())
}

#[test]
fn a_peer_that_reads_nothing_at_all_is_closed() {
    let mut hall = Hall::new(&small_control_queue());
    let (v, other) = (hall.member(0, "r"), hall.member(0, "r"));
    fill(&mut hall, v, 201);
    assert_eq!(hall.audiences[0].counts().members, 1, "it has left already");
    hall.turn();
    let ended = hall.ended[v.0].clone().unwrap();
    assert_eq!((ended.code, ended.is_clean), (CloseCode::ControlQueueFull, false));
    hall.talk(other, "r", 1);
    hall.settle();
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_closed() {
    let mut hall = Hall::new(&small_control_queue());
    let v = hall.member(0, "r");
    hall.set_room(v, 0);
    let (now, key) = (hall.now(), hall.key(v));
    let mut pong = Vec::new();
    grandstand_protocol::stream::write_header(0, &mut pong);
    for _ in 0..200 {
        hall.audiences[0].handle_transport_ping(now, key, &pong);
        hall.turn();
        if !hall.is_connected(v) {
            break;
        }
    }
    assert_eq!(hall.ended[v.0].as_ref().map(|e| e.code), Some(CloseCode::ControlQueueFull));
}

#[test]
fn a_control_queue_may_fill_with_any_answer() {
    // Whatever answer is one too many: the first member of a room, a resume by page, a room's event, an
    // acknowledgement.
    for bytes in (0..=200).step_by(8) {
        let plan = small_control_queue();
        let rooms = grandstand_engine::ShardConfig { ring_batches_max: 2, ..plan.rooms.clone() };
        let settings = Settings { ring_batches_max: 2, ..plan.settings.clone() };
        let mut hall = Hall::new(&Plan { rooms, settings, ..plan });
        let talker = hall.member(0, "r");
        hall.talk(talker, "r", 10);
        let alias = hall.alias(talker, "r");
        hall.set_state(talker, alias, "k", Some(b"v"));
        hall.run_ms(100);
        let epoch = hall.viewers[talker.0].subscribed()[0].epoch;
        let stalled: Vec<V> = (0..6).map(|_| hall.guest(0)).collect();
        hall.subscribe(stalled[2], "r", None, 0);
        hall.subscribe(stalled[5], "alone", None, 0);
        hall.run_ms(10);
        for v in &stalled {
            fill(&mut hall, *v, bytes);
        }
        // The last ping may have been one too many already.
        for (v, room, resume) in [
            (stalled[0], "new", None),
            (stalled[3], "new", None),
            (stalled[1], "r", Some((epoch, 2))),
            (stalled[4], "r", None),
        ] {
            if hall.is_connected(v) {
                hall.subscribe(v, room, resume, 0);
            }
        }
        // This one reads again, to the end of what it was told.
        hall.set_room(stalled[4], usize::MAX);
        if hall.is_connected(stalled[2]) {
            hall.say(stalled[2], alias);
        }
        hall.run_ms(200);
        for room in ["r", "alone"] {
            hall.administer(room, AdminRequest::Close { room: room.into() });
        }
        hall.run_ms(100);
        hall.administer("r", AdminRequest::Open { room: "r".into() });
        hall.settle();
    }
}

#[test]
fn a_room_closes_and_opens_for_its_members() {
    let mut hall = Hall::new(&Plan::default());
    let v = hall.member(0, "r");
    hall.administer("r", AdminRequest::Close { room: "r".into() });
    hall.run_ms(10);
    let alias = hall.alias(v, "r");
    assert_eq!(hall.viewers[v.0].seen.last(), Some(&Seen::RoomEvent { alias, phase: Phase::Closed }));
    let w = hall.member(0, "r");
    assert_eq!(hall.viewers[w.0].subscribed()[0].phase, Phase::Closed);
    hall.administer("r", AdminRequest::Open { room: "r".into() });
    hall.run_ms(10);
    assert_eq!(hall.viewers[w.0].seen.last(), Some(&Seen::RoomEvent { alias, phase: Phase::Open }));
}

#[test]
fn a_removed_room_lets_its_members_go_and_begins_anew() {
    let mut hall = Hall::new(&Plan { workers: 2, ..Plan::default() });
    let crowd: Vec<V> = (0..6).map(|i| hall.member(i % 2, "r")).collect();
    hall.subscribe(crowd[0], "other", None, 0);
    hall.talk(crowd[0], "r", 3);
    let alias = hall.alias(crowd[0], "r");
    hall.administer("r", AdminRequest::Remove { room: "r".into() });
    hall.run_ms(10);
    for v in &crowd {
        assert_eq!(hall.viewers[v.0].seen.last(), Some(&Seen::Unsubscribed { request: 0, alias }));
    }
    assert_eq!(hall.audiences[0].counts().rooms, 1);
    for v in &crowd {
        hall.resume(*v, "r");
    }
    hall.run_ms(10);
    hall.talk(crowd[0], "r", 2);
    hall.settle();
    assert!(crowd.iter().all(|v| hall.viewers[v.0].room("r").at.offset == 2));
}

#[test]
fn a_close_that_comes_too_late_does_not_hit_who_came_after() {
    let mut hall = Hall::new(&Plan::default());
    let v = hall.guest(0);
    hall.turn();
    // Its end is decided, but the transport breaks first, and a new connection takes its place on the same
    // wire.
    hall.send_bytes(v, &[0x1f]);
    hall.cut(v);
    let next = hall.guest(0);
    hall.turn();
    hall.turn();
    assert!(hall.is_connected(next), "{:?}", hall.ended[next.0]);
    assert!(matches!(hall.viewers[next.0].seen[..], [Seen::Welcome { .. }]));
}

#[test]
fn a_close_waits_until_its_reason_was_offered() {
    let mut hall = Hall::new(&Plan::default());
    let v = hall.member(0, "r");
    hall.send_bytes(v, &[0x1f]);
    assert_eq!(hall.audiences[0].poll_close(), None);
    assert!(hall.audiences[0].has_work());
    while hall.write_once(0, 1) {}
    let close = hall.audiences[0].poll_close().expect("it was offered");
    assert!(close.is_clean && close.code == CloseCode::UnknownKind);
    assert_eq!(hall.audiences[0].poll_close(), None);
}

#[test]
fn an_answer_for_a_connection_that_is_gone_reaches_nobody() {
    let mut hall = Hall::new(&Plan::default());
    let (v, keeper) = (hall.member(0, "r"), hall.member(0, "r"));
    let alias = hall.alias(v, "r");
    hall.say(v, alias);
    hall.set_state(v, alias, "k", Some(b"v"));
    hall.subscribe(v, "s", None, 0);
    hall.cut(v);
    let next = hall.guest(0);
    assert_eq!(hall.key(next).0, 0, "the same slot");
    hall.run_ms(300);
    assert!(
        matches!(hall.viewers[next.0].seen[..], [Seen::Welcome { .. }]),
        "{:?}",
        hall.viewers[next.0].seen
    );
    assert_eq!(hall.viewers[keeper.0].room("r").at.offset, 1, "what was said stands");
    hall.settle();
}

#[test]
fn a_goodbye_and_a_fault_end_a_connection_once() {
    let mut hall = Hall::new(&Plan::default());
    let (v, w) = (hall.member(0, "r"), hall.member(0, "r"));
    let (key, other) = (hall.key(v), hall.key(w));
    hall.audiences[0].handle_goodbye(key);
    hall.audiences[0].handle_fault(key, CloseCode::BadStream, "late");
    hall.audiences[0].handle_fault(other, CloseCode::FrameTooLarge, "");
    hall.turn();
    let codes = [v, w].map(|v| hall.ended[v.0].as_ref().unwrap().code);
    assert_eq!(codes, [CloseCode::Normal, CloseCode::FrameTooLarge]);
    assert!(!hall.viewers[v.0].failed && hall.viewers[w.0].failed);
    let counts = hall.audiences[0].counts();
    assert_eq!((counts.sessions, counts.members, counts.rooms), (0, 0, 0));
    assert_eq!(counts.closes.iter().sum::<u64>(), 2);
}
