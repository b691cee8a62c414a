//! Tests of how connections and rooms end: full control queues, removed rooms, slots that are used again.
//!
//! Why: a slot that is used again must never receive what was meant for the connection before.

use grandstand_engine::link::AdminRequest;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Phase};
use grandstand_protocol::refusal::Refusal;

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

fn small_control_queue() -> Plan {
    let plan = Plan::default();
    Plan { settings: Settings { control_queue_bytes_max: 200, ..plan.settings }, ..plan }
}

/// Stalled in the middle of a frame, with a control queue that takes `bytes` more or less.
fn fill(harness: &mut Harness, v: V, bytes: usize) {
    harness.set_room(v, 1);
    harness.send(v, &ClientFrame::Ping { client_us: 0 });
    harness.turn();
    let mut client_us = 1;
    while harness.is_connected(v) && control_bytes(harness, v) < bytes {
        harness.send(v, &ClientFrame::Ping { client_us });
        client_us += 1;
    }
}

fn control_bytes(harness: &Harness, v: V) -> usize {
    let connection = &harness.audiences[0].subscriptions.connections[harness.key(v).0];
    connection.out.as_ref().map_or(0, |out| out.control.len())
}

#[test]
fn a_peer_that_reads_nothing_at_all_is_closed() {
    let mut harness = Harness::new(&small_control_queue());
    let (v, other) = (harness.member(0, "r"), harness.member(0, "r"));
    fill(&mut harness, v, 201);
    assert_eq!(harness.audiences[0].counters().members, 1, "it has left already");
    harness.turn();
    let ended = harness.ended[v.0].clone().unwrap();
    assert_eq!((ended.code, ended.is_clean), (CloseCode::ControlQueueFull, false));
    harness.talk(other, "r", 1);
    harness.settle();
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_closed() {
    let mut harness = Harness::new(&small_control_queue());
    let v = harness.member(0, "r");
    harness.set_room(v, 0);
    let (now, key) = (harness.now(), harness.key(v));
    let mut pong = Vec::new();
    grandstand_protocol::stream::write_header(0, &mut pong);
    for _ in 0..200 {
        harness.audiences[0].handle_transport_ping(now, key, &pong);
        harness.turn();
        if !harness.is_connected(v) {
            break;
        }
    }
    assert_eq!(harness.ended[v.0].as_ref().map(|e| e.code), Some(CloseCode::ControlQueueFull));
}

#[test]
fn a_control_queue_may_fill_with_any_answer() {
    // Whatever answer is one too many: the first member of a room, a resume by page, a room's event, an
    // acknowledgement.
    for bytes in (0..=200).step_by(8) {
        let plan = small_control_queue();
        let rooms = grandstand_engine::ShardConfig { ring_batches_max: 2, ..plan.rooms.clone() };
        let settings = Settings { ring_batches_max: 2, ..plan.settings.clone() };
        let mut harness = Harness::new(&Plan { rooms, settings, ..plan });
        let talker = harness.member(0, "r");
        harness.talk(talker, "r", 10);
        let alias = harness.alias(talker, "r");
        harness.set_state(talker, alias, "k", Some(b"v"));
        harness.run_ms(100);
        let epoch = harness.viewers[talker.0].subscribed()[0].epoch;
        let stalled: Vec<V> = (0..6).map(|_| harness.guest(0)).collect();
        harness.subscribe(stalled[2], "r", None, 0);
        harness.subscribe(stalled[5], "alone", None, 0);
        harness.run_ms(10);
        for v in &stalled {
            fill(&mut harness, *v, bytes);
        }
        // The last ping may have been one too many already.
        for (v, room, resume) in [
            (stalled[0], "new", None),
            (stalled[3], "new", None),
            (stalled[1], "r", Some((epoch, 2))),
            (stalled[4], "r", None),
        ] {
            if harness.is_connected(v) {
                harness.subscribe(v, room, resume, 0);
            }
        }
        // This one reads again, to the end of what it was told.
        harness.set_room(stalled[4], usize::MAX);
        if harness.is_connected(stalled[2]) {
            harness.say(stalled[2], alias);
        }
        harness.run_ms(200);
        for room in ["r", "alone"] {
            harness.administer(room, AdminRequest::Close { room: room.into() });
        }
        harness.run_ms(100);
        harness.administer("r", AdminRequest::Open { room: "r".into() });
        harness.settle();
    }
}

#[test]
fn a_room_closes_and_opens_for_its_members() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.administer("r", AdminRequest::Close { room: "r".into() });
    harness.run_ms(10);
    let alias = harness.alias(v, "r");
    assert_eq!(harness.viewers[v.0].seen.last(), Some(&Seen::RoomEvent { alias, phase: Phase::Closed }));
    let w = harness.member(0, "r");
    assert_eq!(harness.viewers[w.0].subscribed()[0].phase, Phase::Closed);
    harness.administer("r", AdminRequest::Open { room: "r".into() });
    harness.run_ms(10);
    assert_eq!(harness.viewers[w.0].seen.last(), Some(&Seen::RoomEvent { alias, phase: Phase::Open }));
}

#[test]
fn a_removed_room_lets_its_members_go_and_begins_anew() {
    let mut harness = Harness::new(&Plan { workers: 2, ..Plan::default() });
    let crowd: Vec<V> = (0..6).map(|i| harness.member(i % 2, "r")).collect();
    harness.subscribe(crowd[0], "other", None, 0);
    harness.talk(crowd[0], "r", 3);
    let alias = harness.alias(crowd[0], "r");
    harness.administer("r", AdminRequest::Remove { room: "r".into() });
    harness.run_ms(10);
    for v in &crowd {
        assert_eq!(
            harness.viewers[v.0].seen.last(),
            Some(&Seen::Unsubscribed { request: 0, alias, reason: Refusal::UnknownRoom })
        );
    }
    assert_eq!(harness.audiences[0].counters().rooms, 1);
    for v in &crowd {
        harness.resume(*v, "r");
    }
    harness.run_ms(10);
    harness.talk(crowd[0], "r", 2);
    harness.settle();
    assert!(crowd.iter().all(|v| harness.viewers[v.0].room("r").at.offset == 2));
}

#[test]
fn a_close_that_comes_too_late_does_not_hit_who_came_after() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.guest(0);
    harness.turn();
    // Its end is decided, but the transport breaks first, and a new connection takes its place on the same
    // wire.
    harness.send_bytes(v, &[0x1f]);
    harness.cut(v);
    let next = harness.guest(0);
    harness.turn();
    harness.turn();
    assert!(harness.is_connected(next), "{:?}", harness.ended[next.0]);
    assert!(matches!(harness.viewers[next.0].seen[..], [Seen::Welcome { .. }]));
}

#[test]
fn a_close_waits_until_its_reason_was_offered() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.send_bytes(v, &[0x1f]);
    assert_eq!(harness.audiences[0].poll_close(), None);
    assert!(harness.audiences[0].has_work());
    while harness.write_once(0, 1) {}
    let close = harness.audiences[0].poll_close().expect("it was offered");
    assert!(close.is_clean && close.code == CloseCode::UnknownKind);
    assert_eq!(harness.audiences[0].poll_close(), None);
}

#[test]
fn an_answer_for_a_connection_that_is_gone_reaches_nobody() {
    let mut harness = Harness::new(&Plan::default());
    let (v, keeper) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
    harness.set_state(v, alias, "k", Some(b"v"));
    harness.subscribe(v, "s", None, 0);
    harness.cut(v);
    let next = harness.guest(0);
    assert_eq!(harness.key(next).0, 0, "the same slot");
    harness.run_ms(300);
    assert!(
        matches!(harness.viewers[next.0].seen[..], [Seen::Welcome { .. }]),
        "{:?}",
        harness.viewers[next.0].seen
    );
    assert_eq!(harness.viewers[keeper.0].room("r").at.offset, 1, "what was said stands");
    harness.settle();
}

#[test]
fn a_goodbye_and_a_fault_end_a_connection_once() {
    let mut harness = Harness::new(&Plan::default());
    let (v, w) = (harness.member(0, "r"), harness.member(0, "r"));
    let (key, other) = (harness.key(v), harness.key(w));
    harness.audiences[0].handle_goodbye(key);
    harness.audiences[0].handle_fault(key, CloseCode::BadStream, "late");
    harness.audiences[0].handle_fault(other, CloseCode::FrameTooLarge, "");
    harness.turn();
    let codes = [v, w].map(|v| harness.ended[v.0].as_ref().unwrap().code);
    assert_eq!(codes, [CloseCode::Normal, CloseCode::FrameTooLarge]);
    assert!(!harness.viewers[v.0].failed && harness.viewers[w.0].failed);
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.sessions, counters.members, counters.rooms), (0, 0, 0));
    assert_eq!(counters.closes.iter().sum::<u64>(), 2);
}

/// A client that never reads subscribes again and again to a room with the largest state: what waits for it
/// is bounded, and no more than one snapshot.
#[test]
fn snapshots_for_who_does_not_read_are_bounded() {
    let settings = Settings { control_queue_bytes_max: 64 << 10, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let talker = harness.member(0, "r");
    let alias = harness.alias(talker, "r");
    for n in 0..30 {
        harness.set_state(talker, alias, &format!("k{n}"), Some(&[7; 4_000]));
    }
    harness.run_ms(200);
    let v = harness.member(0, "r");
    assert_eq!(harness.viewers[v.0].room("r").state.len(), 30);
    let ix = harness.key(v).0;
    harness.set_room(v, 0);
    let mut most = 0;
    for _ in 0..2_000 {
        if !harness.is_connected(v) {
            break;
        }
        let waits = harness.audiences[0].subscriptions.connections.get(ix).and_then(|c| c.out.as_ref());
        most = most.max(waits.map_or(0, |out| out.bytes()));
        harness.unsubscribe(v, alias);
        harness.subscribe(v, "r", None, 0);
        harness.turn();
    }
    assert!(most > 60_000, "answers do wait: {most}");
    assert!(most <= 256 << 10, "{most}");
    assert!(!harness.is_connected(v), "and it is closed in the end");
    // Who reads has the state, whatever it joined meanwhile.
    let reader = harness.member(0, "r");
    assert_eq!(harness.viewers[reader.0].room("r").state.len(), 30);
}
