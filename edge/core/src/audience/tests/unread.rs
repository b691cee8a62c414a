//! Tests of answers that nobody reads: whatever a client asks for, over and over and over many rooms, what it
//! makes its connection hold is bounded, and a client that reads after all gets what it asked for.
//!
//! Why every kind of answer: each is written at its own place in the code, and one without a bound is enough.

use grandstand_engine::ShardConfig;
use grandstand_engine::link::AdminRequest;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, History, Publish, Renew};

use super::super::Settings;
use super::super::room::Cursor;
use super::harness::{Harness, Plan, V};

/// What a connection may hold, as OPERATING says.
const HELD_MAX: usize = 256 << 10;

const ROOMS: usize = 24;

/// What a client asks for without reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Every room, from the beginning of its log.
    Past,
    /// The same, and leaves and comes back.
    PastAgain,
    /// Pages of history of every room.
    Pages,
    /// Pages, while it catches up in all rooms.
    PagesAndPast,
    /// The state of every room, again and again.
    Snapshots,
    Publications,
    States,
    Renewals,
    Pings,
    TransportPings,
    /// What is always refused.
    Refusals,
    /// What operators do in its rooms.
    Phases,
    /// The batches that everybody gets.
    Batches,
}

const EVERY: [Asks; 13] = [
    Asks::Past,
    Asks::PastAgain,
    Asks::Pages,
    Asks::PagesAndPast,
    Asks::Snapshots,
    Asks::Publications,
    Asks::States,
    Asks::Renewals,
    Asks::Pings,
    Asks::TransportPings,
    Asks::Refusals,
    Asks::Phases,
    Asks::Batches,
];

fn room(n: usize) -> String {
    format!("room {n}")
}

/// Rooms with a state of some 100 KB and a past of some 400 KB, of which rings hold next to nothing.
fn full_house() -> (Harness, V, u64) {
    let plan = Plan::default();
    let settings = Settings { control_queue_bytes_max: 64 << 10, ring_batches_max: 2, ..plan.settings };
    let rooms = ShardConfig {
        ring_batches_max: 2,
        history_batches_max: 200,
        history_bytes_max: 1 << 20,
        state_bytes_total_max: 64 << 20,
        ..plan.rooms
    };
    let mut harness = Harness::new(&Plan { settings, rooms, ..plan });
    let talker = harness.guest(0);
    for n in 0..ROOMS {
        harness.subscribe(talker, &room(n), None, 0);
    }
    harness.run_ms(50);
    let filling = "x".repeat(1_900);
    for _ in 0..40 {
        for n in 0..ROOMS {
            let alias = harness.alias(talker, &room(n));
            for _ in 0..5 {
                harness.viewers[talker.0].nonce += 1;
                let nonce = harness.viewers[talker.0].nonce;
                harness.say_again(talker, alias, nonce, &format!("{nonce} {filling}"));
            }
        }
        harness.run_ms(100);
    }
    for n in 0..ROOMS {
        let alias = harness.alias(talker, &room(n));
        for key in 0..25 {
            harness.set_state(talker, alias, &format!("k{key}"), Some(&[7; 4_000]));
        }
    }
    harness.run_ms(500);
    let epoch = harness.viewers[talker.0].room(&room(0)).at.epoch;
    (harness, talker, epoch)
}

/// Bytes that a connection alone makes its worker hold.
fn held(harness: &Harness, v: V) -> usize {
    if !harness.is_connected(v) {
        return 0;
    }
    let subscriptions = &harness.audiences[0].subscriptions;
    let ix = harness.key(v).0;
    let connection = &subscriptions.connections[ix];
    let waits = connection.out.as_ref().map_or(0, |out| out.bytes());
    let members = subscriptions.rooms.slab.iter().flat_map(|(_, room)| &room.members);
    let pages = members.filter(|member| member.connection == ix).filter_map(|member| match &member.cursor {
        Cursor::CatchUp(catching) => Some(&catching.page),
        Cursor::Live(_) => None,
    });
    waits + pages.flatten().map(|batch| batch.wire.len()).sum::<usize>()
}

fn ask(harness: &mut Harness, talker: V, v: V, asks: Asks, epochs: &[u64], n: usize) {
    let (at, name) = (n % ROOMS, room(n % ROOMS));
    let from_start = Some((epochs[at], 0));
    let alias = harness.viewers[v.0].alias_of(&name);
    let request = harness.viewers[v.0].next_request();
    match asks {
        Asks::Past => {
            harness.subscribe(v, &name, from_start, 0);
        }
        Asks::PastAgain => {
            let alias = harness.alias(talker, &name);
            harness.unsubscribe(v, alias);
            harness.subscribe(v, &name, from_start, 0);
        }
        Asks::Pages | Asks::PagesAndPast => {
            if asks == Asks::PagesAndPast {
                harness.subscribe(v, &name, from_start, 0);
            }
            if let Some(alias) = alias.or_else(|| harness.viewers[v.0].alias_of(&room(0))) {
                let epoch = epochs[at];
                harness
                    .send(v, &ClientFrame::History(History { request, alias, epoch, from: 0, count_max: 0 }));
            }
        }
        Asks::Snapshots => {
            let alias = harness.alias(talker, &name);
            harness.unsubscribe(v, alias);
            harness.subscribe(v, &name, None, 0);
        }
        Asks::Publications => {
            let alias = harness.alias(talker, &room(0));
            harness.say(v, alias);
        }
        Asks::States => {
            let alias = harness.alias(talker, &room(0));
            harness.set_state(v, alias, "k", Some(&[n as u8]));
        }
        Asks::Renewals => harness.send(v, &ClientFrame::Renew(Renew { request, token: "t" })),
        Asks::Pings => harness.send(v, &ClientFrame::Ping { client_us: n as u64 }),
        Asks::TransportPings => {
            let (now, key) = (harness.now(), harness.key(v));
            let mut pong = Vec::new();
            grandstand_protocol::stream::write_header(100, &mut pong);
            pong.extend_from_slice(&[0; 100]);
            harness.audiences[0].handle_transport_ping(now, key, &pong);
        }
        Asks::Refusals => {
            harness.send(
                v,
                &ClientFrame::Publish(Publish { alias: 999, nonce: 1, text: "x", ..Publish::default() }),
            );
        }
        Asks::Phases => {
            let change = if n.is_multiple_of(2) {
                AdminRequest::Close { room: name.clone() }
            } else {
                AdminRequest::Open { room: name.clone() }
            };
            harness.administer(&name, change);
        }
        Asks::Batches => {
            let alias = harness.alias(talker, &name);
            harness.say(talker, alias);
        }
    }
}

#[test]
fn what_a_connection_holds_is_bounded_whatever_it_asks_for_and_does_not_read() {
    for asks in EVERY {
        let (mut harness, talker, _) = full_house();
        let epochs: Vec<u64> =
            (0..ROOMS).map(|n| harness.viewers[talker.0].room(&room(n)).at.epoch).collect();
        let v = harness.guest(0);
        if !matches!(asks, Asks::Past | Asks::PastAgain | Asks::PagesAndPast | Asks::Snapshots) {
            (0..ROOMS).for_each(|n| {
                harness.subscribe(v, &room(n), None, 0);
            });
        }
        harness.run_ms(100);
        harness.set_room(v, 0);
        let mut most = 0;
        for n in 0..3_000 {
            if !harness.is_connected(v) {
                break;
            }
            ask(&mut harness, talker, v, asks, &epochs, n);
            harness.deliver();
            most = most.max(held(&harness, v));
            if n % 3 == 0 {
                harness.turn();
                most = most.max(held(&harness, v));
            }
        }
        assert!(most <= HELD_MAX, "{most} bytes: {asks:?}");
        let is_closed = harness.ended[v.0].as_ref().is_some_and(|e| e.code == CloseCode::ControlQueueFull);
        // Batches stay in the ring, which all members share.
        assert!(is_closed || most > 0 || asks == Asks::Batches, "{asks:?} makes something wait");
        // The others noticed nothing.
        assert!(harness.is_connected(talker), "{asks:?}");
    }
}

/// A client that comes back to many rooms reads slowly: it gets the whole past of each, one page at a time,
/// and no room waits for the whole past of another.
#[test]
fn who_catches_up_in_many_rooms_gets_all_of_each_and_the_rooms_take_turns() {
    let (mut harness, talker, _) = full_house();
    let epochs: Vec<u64> = (0..ROOMS).map(|n| harness.viewers[talker.0].room(&room(n)).at.epoch).collect();
    let v = harness.guest(0);
    for (n, epoch) in epochs.iter().enumerate() {
        harness.subscribe(v, &room(n), Some((*epoch, 0)), 0);
    }
    let mut most = 0;
    while harness.viewers[v.0].subscribed().len() < ROOMS {
        harness.set_room(v, 30_000);
        harness.run_ms(5);
        most = most.max(held(&harness, v));
    }
    let begun = (0..ROOMS).filter(|n| harness.viewers[v.0].heard(&room(*n), epochs[*n]).len() == 200).count();
    assert_eq!(begun, 0, "all rooms are answered before one is through");
    harness.settle();
    for (n, epoch) in epochs.iter().enumerate() {
        assert_eq!(harness.viewers[v.0].heard(&room(n), *epoch), (0..200).collect::<Vec<_>>());
    }
    assert!(harness.viewers[v.0].gaps().is_empty());
    assert!((1..=HELD_MAX).contains(&most), "{most}");
}

/// A page that comes for a room which was left meanwhile ends the wait of the others.
#[test]
fn a_room_that_is_left_while_its_page_is_on_its_way_gives_its_turn_to_the_next() {
    let (mut harness, talker, _) = full_house();
    let epochs: Vec<u64> = (0..ROOMS).map(|n| harness.viewers[talker.0].room(&room(n)).at.epoch).collect();
    let v = harness.guest(0);
    harness.hold_outputs = true;
    for (n, epoch) in epochs.iter().enumerate() {
        harness.subscribe(v, &room(n), Some((*epoch, 0)), 0);
    }
    harness.run_ms(20);
    for n in 0..4 {
        harness.administer(&room(n), AdminRequest::Remove { room: room(n) });
    }
    harness.run_ms(20);
    harness.hold_outputs = false;
    harness.run_ms(2_000);
    for (n, epoch) in epochs.iter().enumerate().skip(4) {
        assert_eq!(harness.viewers[v.0].heard(&room(n), *epoch).len(), 200, "{n}");
    }
    harness.settle();
}
