//! Tests of refusals: each has its reason, comes exactly once, and the connection continues.
//!
//! Why: a request without an answer is one that its client waits for.

use grandstand_engine::ShardConfig;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Kind, Publish, Role, Subscribe};
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;

use super::super::{Rate, Settings};
use super::harness::{Harness, Plan, V};

type Refused = (u8, u64, Refusal, Option<u32>);

fn only_refusal(harness: &mut Harness, v: V, before: usize) -> Refused {
    harness.run_ms(300);
    let all = harness.viewers[v.0].refusals();
    assert_eq!(all.len(), before + 1, "{all:?}");
    assert!(harness.is_connected(v));
    assert_eq!(harness.viewers[v.0].unanswered(), 0);
    all[before]
}

#[test]
fn publications_are_judged() {
    let settings = Settings { text_bytes_max: 10, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    let long = "x".repeat(limits::ATTACHMENT_BYTES_MAX + 1);
    let p = |nonce| Publish { alias, nonce, text: "hello", ..Publish::default() };
    let cases = [
        (Publish { text: "12345678901", ..p(1) }, Refusal::TooLarge),
        (Publish { attachment: &long, ..p(2) }, Refusal::TooLarge),
        (Publish { text: " \n ", ..p(3) }, Refusal::Empty),
        (Publish { text: "a\u{7}", ..p(4) }, Refusal::BadText),
        (Publish { attachment: "a\0b", ..p(5) }, Refusal::BadText),
        (Publish { alias: alias + 1, ..p(6) }, Refusal::NotSubscribed),
        (Publish { author: "bob", ..p(7) }, Refusal::Forbidden),
        (Publish { role: Role::Host, ..p(9) }, Refusal::Forbidden),
        (Publish { author: "bob", role: Role::Bot, ..p(10) }, Refusal::Forbidden),
    ];
    for (at, (publish, reason)) in cases.iter().enumerate() {
        harness.send(v, &ClientFrame::Publish(*publish));
        let refused = only_refusal(&mut harness, v, at);
        assert_eq!(refused, (Kind::Publish as u8, publish.nonce, *reason, None));
    }
    assert_eq!(harness.audiences[0].counters().publications_refused, cases.len() as u64);
    harness.send(v, &ClientFrame::Publish(p(8)));
    harness.settle();
    assert_eq!(harness.viewers[v.0].published().len(), 1);
}

#[test]
fn state_and_leaving_are_judged() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    let long = [0; limits::STATE_VALUE_BYTES_MAX + 1];
    let too_long = "k".repeat(limits::STATE_KEY_BYTES_MAX + 1);
    let cases: [(u32, &str, &[u8], Refusal); 5] = [
        (alias + 1, "k", b"", Refusal::NotSubscribed),
        (alias, "k", &long, Refusal::TooLarge),
        (alias, &too_long, b"", Refusal::TooLarge),
        (alias, "", b"", Refusal::BadText),
        (alias, "gs.viewers", b"9", Refusal::Forbidden),
    ];
    for (at, (alias, key, value, reason)) in cases.into_iter().enumerate() {
        let request = harness.set_state(v, alias, key, Some(value));
        let refused = only_refusal(&mut harness, v, at);
        assert_eq!(refused, (Kind::SetState as u8, request.into(), reason, None));
    }
    let request = harness.unsubscribe(v, alias + 1);
    let refused = only_refusal(&mut harness, v, 5);
    assert_eq!(refused, (Kind::Unsubscribe as u8, request.into(), Refusal::NotSubscribed, None));
    harness.react(v, alias + 1, "x", 1);
    let refused = only_refusal(&mut harness, v, 6);
    assert_eq!(refused, (Kind::React as u8, u64::from(alias + 1), Refusal::NotSubscribed, None));
}

#[test]
fn subscriptions_are_judged() {
    let settings = Settings { rooms_per_session_max: 2, ..Plan::default().settings };
    let rooms = ShardConfig { on_first_use: vec!["r*".into()], ..Plan::default().rooms };
    let mut harness = Harness::new(&Plan { settings, rooms, ..Plan::default() });
    let v = harness.member(0, "r");
    let long = "r".repeat(limits::ROOM_NAME_BYTES_MAX + 1);
    let cases = [
        ("", Refusal::BadName),
        (&long, Refusal::BadName),
        ("r\n", Refusal::BadName),
        ("r", Refusal::AlreadySubscribed),
        ("unknown", Refusal::UnknownRoom),
    ];
    for (at, (room, reason)) in cases.into_iter().enumerate() {
        let request = harness.subscribe(v, room, None, 0);
        assert_eq!(only_refusal(&mut harness, v, at), (Kind::Subscribe as u8, request.into(), reason, None));
    }
    harness.subscribe(v, "r2", None, 0);
    harness.run_ms(10);
    harness.subscribe(v, "r3", None, 0);
    assert_eq!(only_refusal(&mut harness, v, 5).2, Refusal::TooManyRooms);
    // A room on its way counters, and the same one twice is refused before it has come.
    let w = harness.guest(0);
    harness.hold_outputs = true;
    for room in ["r4", "r4", "r5", "r6"] {
        let request = harness.viewers[w.0].next_request();
        harness.send(w, &ClientFrame::Subscribe(Subscribe { request, room, ..Subscribe::default() }));
    }
    harness.turn();
    let reasons: Vec<_> = harness.viewers[w.0].refusals().iter().map(|r| r.2).collect();
    assert_eq!(reasons, [Refusal::AlreadySubscribed, Refusal::TooManyRooms]);
    harness.hold_outputs = false;
    harness.run_ms(100);
    assert_eq!((harness.viewers[w.0].following.len(), harness.viewers[w.0].unanswered()), (2, 0));
    assert_eq!(harness.audiences[0].counters().rooms, 4, "what was refused is not followed");
}

#[test]
fn rates_say_when_to_try_again() {
    let settings = Settings {
        publish: Rate { per_s: 2, burst: 2 },
        reactions: Rate { per_s: 10, burst: 10 },
        ..Plan::default().settings
    };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    let nonces: Vec<_> = (0..3).map(|_| harness.say(v, alias)).collect();
    harness.react(v, alias, "x", 7);
    harness.react(v, alias, "x", 7);
    harness.turn();
    let publish = (Kind::Publish as u8, nonces[2], Refusal::RateLimited, Some(500));
    let react = (Kind::React as u8, u64::from(alias), Refusal::RateLimited, Some(400));
    assert_eq!(harness.viewers[v.0].refusals(), [publish, react]);
    harness.run_ms(499);
    harness.say(v, alias);
    harness.run_ms(1);
    let repeated = harness.viewers[v.0].texts[&nonces[2]].clone();
    harness.say_again(v, alias, nonces[2], &repeated);
    harness.react(v, alias, "x", 7);
    harness.settle();
    assert_eq!(harness.viewers[v.0].refusals().len(), 3);
    assert_eq!(harness.viewers[v.0].published().len(), 3);
    assert_eq!(harness.viewers[v.0].room("r").tallies["x"], 14);
}

#[test]
fn a_flood_of_frames_ends_the_connection() {
    let settings = Settings { frames: Rate { per_s: 10, burst: 20 }, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let v = harness.member(0, "r");
    for client_us in 0..30 {
        harness.send(v, &ClientFrame::Ping { client_us });
    }
    harness.turn();
    assert_eq!(harness.ended[v.0].as_ref().unwrap().code, CloseCode::Flooding);
}

#[test]
fn a_full_backbone_refuses_and_loses_nothing_that_must_arrive() {
    let mut harness = Harness::new(&Plan::default());
    let (v, w) = (harness.member(0, "r"), harness.guest(0));
    let alias = harness.alias(v, "r");
    harness.set_full(true);
    let nonce = harness.say(v, alias);
    let request = harness.set_state(v, alias, "k", Some(b"v"));
    harness.react(v, alias, "x", 5);
    harness.subscribe(w, "new", None, 0);
    harness.run_ms(500);
    let publish = (Kind::Publish as u8, nonce, Refusal::Overloaded, Some(200));
    let state = (Kind::SetState as u8, request.into(), Refusal::Overloaded, Some(200));
    assert_eq!(harness.viewers[v.0].refusals(), [publish, state]);
    assert_eq!(harness.viewers[w.0].unanswered(), 1);
    harness.settle();
    assert_eq!(harness.viewers[w.0].following.len(), 1);
    assert_eq!(harness.viewers[v.0].room("r").tallies["x"], 5);
    assert_eq!(harness.audiences[0].counters().submits_full, 2);
}

#[test]
fn what_waits_for_a_full_backbone_keeps_its_order() {
    let mut harness = Harness::new(&Plan { workers: 2, ..Plan::default() });
    let (v, talker) = (harness.member(0, "r"), harness.member(1, "r"));
    let alias = harness.alias(v, "r");
    harness.set_full(true);
    harness.unsubscribe(v, alias);
    harness.run_ms(10);
    // There is room again, but nobody has noticed: joining must not overtake leaving.
    harness.set_full(false);
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(10);
    harness.talk(talker, "r", 2);
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 2);
    harness.settle();
}

#[test]
fn what_waits_for_a_full_backbone_is_bounded() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    harness.set_full(true);
    for i in 0..3_000 {
        let w = harness.guest(0);
        harness.subscribe(w, &format!("new {i}"), None, 0);
        harness.turn();
        harness.cut(w);
    }
    let w = harness.guest(0);
    harness.subscribe(w, "one more", None, 0);
    harness.turn();
    assert_eq!(harness.viewers[w.0].refusals()[0].2, Refusal::Overloaded);
    // Reactions wait in their rooms, not in a queue.
    let waiting = harness.audiences[0].subscriptions.shards.deferred();
    for _ in 0..20 {
        harness.react(v, alias, "x", 1);
        harness.run_ms(60);
    }
    assert_eq!(harness.audiences[0].subscriptions.shards.deferred(), waiting);
    for i in 0..2_000 {
        harness.react(v, alias, &format!("reaction {i}"), 1);
    }
    harness.run_ms(1_000);
    let refused = harness.viewers[v.0].refusals();
    assert!(refused.iter().all(|r| r.0 == Kind::React as u8 && r.2 == Refusal::Overloaded));
    assert!((1_000..2_000).contains(&refused.len()), "{}", refused.len());
    let waiting = harness.audiences[0].subscriptions.shards.deferred();
    assert!(waiting <= 2_048, "{waiting} wait");
    harness.settle();
}

#[test]
fn a_closed_room_and_slow_mode_refuse_through_the_shard() {
    let rooms = ShardConfig { slow_mode_ms: 1_000, ..Plan::default().rooms };
    let mut harness = Harness::new(&Plan { rooms, ..Plan::default() });
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
    harness.run_ms(200);
    let nonce = harness.say(v, alias);
    let refused = only_refusal(&mut harness, v, 0);
    assert_eq!((refused.1, refused.2), (nonce, Refusal::SlowMode));
    assert!((1..=1_000).contains(&refused.3.unwrap()));
    harness.administer("r", grandstand_engine::link::AdminRequest::Close { room: "r".into() });
    let nonce = harness.say(v, alias);
    assert_eq!(only_refusal(&mut harness, v, 1), (Kind::Publish as u8, nonce, Refusal::RoomClosed, None));
}
