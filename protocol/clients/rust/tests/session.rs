//! The session in virtual time, against a scripted node: resuming, repeating, gaps, state, desyncs, silence,
//! migration.
//!
//! The property at the end is the promise itself: whatever is cut, and whenever, each message comes once, in
//! order, or is announced as missed; and each publication is in the log once and is acknowledged once.
//!
//! Why: a resume that is wrong by one message shows in no other test.

mod common;

use common::world::{HEARTBEAT_US, World};
use common::{EPOCH, Entry};
use grandstand_client::core::{
    Ending, Fault, Next, Options, OwnedEvent as E, Publication, Reason, RequestError,
};
use grandstand_client::protocol::close::{CloseCode, Retry};
use grandstand_client::protocol::frame::{ErrorFrame, GapReason, GoAway, Kind, Outcome, ServerFrame};
use proptest::prelude::*;

#[test]
fn a_first_subscription_replays_then_goes_live() {
    let mut world = World::replaying(Options::default(), 2);
    world.node.say_all(&["a", "b", "c"]);
    world.connect();
    world.settle();
    world.pump();
    world.node.say("d");
    world.pump();
    assert_eq!(world.texts(), [(1, "b", true), (2, "c", true), (3, "d", false)]);
    let E::Message { time_ms, .. } =
        world.events.iter().rev().find(|e| matches!(e, E::Message { .. })).unwrap()
    else {
        panic!()
    };
    assert_eq!(*time_ms, world.node.time_ms(4));
    assert_eq!(world.count(|e| matches!(e, E::Tally { .. })), 1, "tallies of the replay are left out");
    assert_eq!(world.node.seen, [Kind::Hello, Kind::Subscribe]);
}

#[test]
fn a_resumed_subscription_begins_after_the_last_message_given_out() {
    let mut world = World::up();
    world.node.say_all(&["a", "b"]);
    world.pump();
    world.disconnect(Ending::Eof);
    world.node.say_all(&["c", "d"]);
    world.connect();
    world.settle();
    world.pump();
    assert_eq!(world.texts(), [(0, "a", false), (1, "b", false), (2, "c", true), (3, "d", true)]);
    assert_eq!(world.node.subscribes, [None, Some((EPOCH, 2))]);
    assert!(world.events.iter().any(|e| matches!(e, E::Welcome { resumed: true, .. })));
    assert_eq!(world.session.position(world.room), Some((EPOCH, 4)));
}

#[test]
fn a_resume_in_the_log_before_a_power_cut_goes_on_in_the_new_one() {
    let mut world = World::up();
    world.node.say_all(&["a", "b"]);
    world.pump();
    world.disconnect(Ending::Eof);
    world.node.say_all(&["c", "d"]);
    (world.node.previous, world.node.epoch) = (Some((EPOCH, 3)), EPOCH + 1);
    world.connect();
    world.settle();
    world.pump();
    assert_eq!(world.texts(), [(0, "a", false), (1, "b", false), (2, "c", true), (3, "d", true)]);
    assert_eq!(world.session.position(world.room), Some((EPOCH + 1, 4)));
    assert_eq!(world.faults(), [Fault::Duplicate { offset: 1 }], "passed over: the batch begins below");
    world.reconnect();
    assert_eq!(world.node.subscribes[1..], [Some((EPOCH, 2)), Some((EPOCH + 1, 4))]);
}

#[test]
fn publications_are_repeated_under_their_nonce_until_answered() {
    let mut world = World::up();
    let (lost, answered) = (world.publish("lost on the way"), world.publish("answer lost"));
    world.transmit();
    world.to_node.pop_front(); // `lost` never arrives
    world.deliver_to_node(1);
    world.reconnect();
    assert_eq!(world.session.unanswered(), 0);
    let acks: Vec<(u64, bool)> = world
        .events
        .iter()
        .filter_map(|e| {
            if let E::Published { nonce, repeated, .. } = e { Some((*nonce, *repeated)) } else { None }
        })
        .collect();
    assert_eq!(acks, [(lost, false), (answered, true)]);
    assert_eq!(world.node.log.len(), 2);
    assert_ne!(lost, answered);
}

#[test]
fn without_its_session_a_publication_that_was_sent_is_uncertain_and_not_repeated() {
    let mut world = World::up();
    world.node.forgets_sessions = true;
    let sent = world.publish("sent");
    world.transmit();
    world.disconnect(Ending::Eof);
    let waiting = world.publish("not sent yet");
    world.connect();
    world.settle();
    assert!(world.events.contains(&E::Uncertain { nonce: sent, text: "sent".into() }));
    assert_eq!(world.node.nonces.keys().collect::<Vec<_>>(), [&waiting]);
}

#[test]
fn what_is_said_again_says_how_long_ago_it_was_said_first() {
    let mut world = World::up();
    world.publish("answer lost");
    world.transmit();
    world.deliver_to_node(1);
    world.now_us += 2_500_000;
    world.disconnect(Ending::Eof);
    world.now_us += 500_000;
    world.publish("new");
    world.connect();
    world.settle();
    assert_eq!(world.node.ages_ms, [0, 3000, 0]);
    // The application's own, refused for a moment.
    let again = Publication { text: "again", nonce: Some(7), age_ms: 400, ..Publication::default() };
    world.session.publish(world.now_us, world.room, &again).unwrap();
    world.settle();
    assert_eq!(world.node.ages_ms[3..], [400]);
}

#[test]
fn what_the_node_does_not_remember_is_uncertain_and_stands_once() {
    let mut world = World::up();
    world.node.remembers_ms = Some(60_000);
    let nonce = world.publish("answer lost");
    world.transmit();
    world.deliver_to_node(1);
    world.disconnect(Ending::Eof);
    world.now_us += 61_000_000;
    world.connect();
    world.settle();
    assert!(world.events.contains(&E::Uncertain { nonce, text: "answer lost".into() }));
    assert_eq!(world.count(|e| matches!(e, E::Refused { .. })), 0);
    assert_eq!((world.session.unanswered(), world.node.log.len()), (0, 1));
}

#[test]
fn the_outbox_is_bounded() {
    let mut world = World::new(Options { unanswered_max: 2, ..Options::default() });
    world.publish("a");
    world.publish("b");
    let more = Publication { text: "c", ..Publication::default() };
    assert_eq!(world.session.publish(0, world.room, &more), Err(RequestError::Full));
    assert_eq!(world.session.set_state(world.room, "k", None), Err(RequestError::Full));
    world.connect();
    world.settle();
    assert!(world.session.publish(0, world.room, &more).is_ok());
}

#[test]
fn gaps_are_values_and_nothing_is_a_fault() {
    let mut world = World::up();
    world.node.say_numbers(0..10);
    world.node.first = 4;
    world.pump();
    assert!(
        world
            .events
            .iter()
            .any(|e| { matches!(e, E::Gap { from: 0, to: 4, count: 4, reason: GapReason::Slow, .. }) })
    );
    world.disconnect(Ending::Eof);
    world.node.say_numbers(10..20);
    world.node.first = 15;
    world.connect();
    world.settle();
    world.pump();
    assert!(
        world.events.iter().any(|e| matches!(e, E::Subscribed { outcome: Outcome::Gapped, offset: 15, .. }))
    );
    assert!(
        world
            .events
            .iter()
            .any(|e| { matches!(e, E::Gap { from: 10, to: 15, count: 5, reason: GapReason::Expired, .. }) })
    );
    let offsets: Vec<u64> = world.texts().iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (4..10).chain(15..20).collect::<Vec<_>>());
    assert_eq!(world.faults(), []);
}

#[test]
fn a_log_begun_anew_has_no_floor_from_before() {
    let mut world = World::up();
    world.node.set_state("score", b"1:0");
    world.node.send_lanes(None, &[("score", Some(b"1:0"))], 1);
    world.node.say_numbers(0..5);
    world.pump();
    world.disconnect(Ending::Eof);
    (world.node.epoch, world.node.state_version) = (EPOCH + 1, 0);
    world.node.log.clear();
    world.node.state.clear();
    world.connect();
    world.settle();
    world.node.say("new");
    world.pump();
    assert_eq!(world.texts().last(), Some(&(0, "new", false)));
    assert_eq!(world.session.state(world.room, "score"), None);
    assert_eq!(world.faults(), []);
}

#[test]
fn state_is_a_snapshot_and_newer_changes() {
    let mut world = World::new(Options::default());
    world.node.set_state("score", b"0:0");
    world.node.set_state("poll", b"yes");
    world.connect();
    world.settle();
    world.node.send_lanes(None, &[("score", Some(b"old"))], 1);
    world.node.send_lanes(Some(("👏", 3)), &[("score", Some(b"1:0")), ("poll", None)], 4);
    world.settle();
    assert_eq!(world.session.states(world.room).collect::<Vec<_>>(), [("score", &b"1:0"[..])]);
    let state = |e: &E| matches!(e, E::State { .. });
    assert_eq!(world.count(state), 4, "two of the snapshot, two newer, none older");
    assert!(world.events.iter().any(|e| matches!(e, E::Tally { key, count: 3, .. } if **key == *"👏")));
    world.node.state_version = 3;
    world.reconnect();
    assert_eq!(world.session.state(world.room, "score"), Some(&b"1:0"[..]), "an older snapshot is not taken");
}

#[test]
fn a_batch_out_of_place_leads_to_a_subscription_from_the_floor() {
    let mut world = World::up();
    world.node.say_numbers(0..9);
    world.node.pump(3);
    world.node.to_client.remove(1);
    world.settle();
    world.pump();
    assert_eq!(world.faults(), [Fault::Desync { expected: 3, check: 6 }]);
    assert_eq!(world.node.subscribes, [None, Some((EPOCH, 3))]);
    let offsets: Vec<u64> = world.texts().iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (0..9).collect::<Vec<_>>());
    assert_eq!(world.session.faults().desyncs, 1);
}

#[test]
fn offsets_skipped_without_a_gap_are_counted_and_so_are_repetitions() {
    let mut world = World::up();
    world.node.say_numbers(0..20);
    world.pump();
    world.node.lie = Some(15);
    world.reconnect();
    world.pump();
    let repeated: Vec<Fault> = (15..20).map(|offset| Fault::Duplicate { offset }).collect();
    assert_eq!(world.faults(), repeated);
    world.node.say_numbers(20..30);
    world.node.lie = Some(25);
    world.reconnect();
    world.pump();
    assert_eq!(world.faults().last(), Some(&Fault::Skipped { from: 20, to: 25 }));
    let offsets: Vec<u64> = world.texts().iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (0..20).chain(25..30).collect::<Vec<_>>());
    assert_eq!((world.session.faults().duplicates, world.session.faults().skipped), (5, 5));
}

#[test]
fn something_is_sent_every_half_heartbeat_and_silence_ends_it() {
    let mut world = World::up();
    for _ in 0..5 {
        let due_us = world.session.poll_timeout().unwrap();
        assert!(due_us <= world.now_us + HEARTBEAT_US / 2);
        world.advance(due_us - world.now_us);
        world.settle();
    }
    assert_eq!(world.count(|e| matches!(e, E::Pong { rtt_us: 0, .. })), 5);
    let start_us = world.now_us;
    while world.session.poll_close().is_none_or(|code| code != CloseCode::HeartbeatTimeout) {
        world.advance(world.session.poll_timeout().unwrap() - world.now_us);
        world.to_node.clear();
    }
    assert_eq!(world.now_us - start_us, 2 * HEARTBEAT_US);
    assert!(matches!(world.disconnect(Ending::Eof), Next::Reconnect { .. }));
    assert!(world.events.contains(&E::Disconnected { reason: Reason::Silent }));
}

#[test]
fn whoever_does_not_read_on_purpose_does_not_take_that_for_silence() {
    let mut world = World::up();
    world.session.handle_reading_held(world.now_us, true);
    for _ in 0..20 {
        world.advance(HEARTBEAT_US / 2);
    }
    assert_eq!(world.session.poll_close(), None);
    assert!(world.to_node.len() >= 19, "pings go on");
    world.session.handle_reading_held(world.now_us, false);
    world.settle();
    assert_eq!(world.session.poll_close(), None);
}

#[test]
fn without_a_welcome_it_ends() {
    let mut world = World::new(Options::default());
    world.connect();
    world.advance(9_999_999);
    assert_eq!(world.session.poll_close(), None);
    world.advance(1);
    assert_eq!(world.session.poll_close(), Some(CloseCode::HandshakeTimeout));
    assert!(matches!(world.disconnect(Ending::Eof), Next::Reconnect { .. }));
}

#[test]
fn going_away_is_followed_when_and_where_it_says() {
    let mut world = World::up();
    let go_away = GoAway { where_to: "b:7200", after_ms: 300, deadline_ms: 5000, detail: "drain" };
    world.node.send(&ServerFrame::GoAway(go_away));
    world.settle();
    world.advance(299_999);
    assert_eq!(world.session.poll_close(), None);
    // An eighth of the time for the client's own jitter.
    world.advance(37_501);
    assert_eq!(world.session.poll_close(), Some(CloseCode::GoingAway));
    // It did not hold for long, so that a node that only sends away is not called without a pause.
    let Next::Reconnect { after_us } = world.disconnect(Ending::Eof) else { panic!() };
    assert!(after_us < 500_000);
    assert_eq!(world.session.take_where_to().as_deref(), Some("b:7200"));
    assert_eq!(world.session.take_where_to(), None);
}

#[test]
fn going_away_from_a_good_connection_takes_no_longer_than_it_says() {
    let mut world = World::up();
    for _ in 0..12 {
        world.advance(HEARTBEAT_US / 2);
        world.settle();
    }
    world.node.send(&ServerFrame::GoAway(GoAway { after_ms: 300, ..GoAway::default() }));
    world.settle();
    // The node closes before the time that it gave: the client waits for the rest of it.
    world.advance(100_000);
    assert_eq!(world.disconnect(Ending::Code(100)), Next::Reconnect { after_us: 200_000 });
}

#[test]
fn what_the_node_said_decides_whether_to_come_back() {
    let error = |code: u16, retry, retry_after_ms| {
        let mut world = World::up();
        world.node.send(&ServerFrame::Error(ErrorFrame { code, retry, retry_after_ms, detail: "d" }));
        world.settle();
        let next = world.disconnect(Ending::Code(code));
        (next, world.events)
    };
    let (next, events) = error(200, Retry::Never, 0);
    let reason = Reason::Told { code: 200, detail: "d".into() };
    assert_eq!(next, Next::GiveUp(reason.clone()));
    assert_eq!(events.last(), Some(&E::Closed { reason }));
    let (next, events) = error(150, Retry::Reauthenticate, 0);
    assert_eq!((next, events.last()), (Next::Reauthenticate, Some(&E::TokenWanted)));
    // A code from the future: its retry and its delay hold.
    let (next, _) = error(199, Retry::Backoff, 4000);
    assert!(matches!(next, Next::Reconnect { after_us: 4_000_000..4_500_000 }));
}

#[test]
fn failing_tries_wait_longer_and_a_connection_that_held_begins_anew() {
    let mut world = World::new(Options { seed: 3, retries_max: 6, ..Options::default() });
    for attempt in 0..6u32 {
        let Next::Reconnect { after_us } =
            world.disconnect(Ending::Broken(std::io::ErrorKind::ConnectionRefused))
        else {
            panic!()
        };
        assert!(after_us < 500_000 << attempt, "attempt {attempt}: {after_us}");
    }
    assert!(matches!(world.disconnect(Ending::Eof), Next::GiveUp(Reason::Transport(Ending::Eof))));

    let mut world = World::up();
    world.reconnect(); // short-lived: counts
    for _ in 0..12 {
        world.advance(HEARTBEAT_US / 2);
        world.settle();
    }
    world.disconnect(Ending::Eof);
    let attempts: Vec<u32> = world
        .events
        .iter()
        .filter_map(|e| if let E::Reconnecting { attempt, .. } = e { Some(*attempt) } else { None })
        .collect();
    assert_eq!(attempts, [1, 1]);
}

#[test]
fn dropping_on_purpose_comes_back_at_once() {
    let mut world = World::up();
    for _ in 0..100 {
        assert_eq!(world.disconnect(Ending::Dropped), Next::Reconnect { after_us: 0 });
        world.connect();
        world.settle();
        world.node.say("x");
        world.pump();
    }
    assert_eq!(world.texts().len(), 100);
}

#[test]
fn reactions_are_added_up_and_do_not_survive() {
    let mut world = World::up();
    (0..3).for_each(|_| world.session.react(world.room, "❤", 50).unwrap());
    world.settle();
    let reacts = |world: &World| world.node.seen.iter().filter(|k| **k == Kind::React).count();
    assert_eq!(reacts(&world), 2, "a hundred and fifty");
    world.session.react(world.room, "❤", 1).unwrap();
    world.reconnect();
    assert_eq!(reacts(&world), 0);
}

#[test]
fn closing_waits_for_answers_but_not_for_ever() {
    let mut world = World::up();
    world.publish("last words");
    world.session.close(world.now_us);
    assert_eq!(world.session.poll_close(), None);
    world.settle();
    assert_eq!(world.session.poll_close(), Some(CloseCode::Normal));
    assert_eq!(world.disconnect(Ending::Eof), Next::GiveUp(Reason::Asked));

    let mut world = World::up();
    world.publish("nobody answers");
    world.session.close(world.now_us);
    while world.session.poll_close().is_none() {
        let due_us = world.session.poll_timeout().unwrap();
        assert!(due_us > world.now_us, "a timer that fires again and again");
        world.advance(due_us - world.now_us);
        world.to_node.clear();
    }
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_with_a_code() {
    for (bytes, code) in [
        (&[][..], Some(CloseCode::Malformed)),
        (&[0x47, 0x80], Some(CloseCode::Malformed)), // a cut alias
        (&[0x01, 0], Some(CloseCode::Malformed)),
        (&[0x5f, 0], Some(CloseCode::UnknownKind)),
        (&[0x7f, 0], None), // unknown, and marked as one to pass over
    ] {
        let mut world = World::up();
        world.session.handle_frame(world.now_us, bytes, &mut |_| {});
        assert_eq!(world.session.poll_close(), code, "{bytes:?}");
    }
    let mut world = World::new(Options::default());
    world.session.handle_connected(world.now_us);
    world.node.send(&ServerFrame::Pong { client_us: 0, server_ms: 0 });
    world.deliver_to_client(1);
    assert_eq!(world.session.poll_close(), Some(CloseCode::WrongOrder));
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Say(u8),
    LeaveOut(u8),
    Publish,
    Pump(u8),
    ToNode(u8),
    ToClient(u8),
    Cut,
    Expire(u8),
    Tick(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u8).prop_map(Step::Say),
        1 => (1..6u8).prop_map(Step::LeaveOut),
        2 => Just(Step::Publish),
        5 => (1..5u8).prop_map(Step::Pump),
        5 => (1..6u8).prop_map(Step::ToNode),
        6 => (1..6u8).prop_map(Step::ToClient),
        2 => Just(Step::Cut),
        1 => (0..10u8).prop_map(Step::Expire),
        2 => (0..700_000u32).prop_map(Step::Tick),
    ]
}

fn apply(world: &mut World, step: &Step) {
    match *step {
        Step::Say(n) => world.node.say_numbers(0..n.into()),
        Step::LeaveOut(n) => (0..n).for_each(|_| world.node.log.push(Entry::LeftOut)),
        Step::Publish => {
            let _ = world.session.publish(
                world.now_us,
                world.room,
                &Publication { text: "p", ..Default::default() },
            );
            world.transmit();
        }
        Step::Pump(n) => world.node.pump(n.into()),
        Step::ToNode(n) => world.deliver_to_node(n.into()),
        Step::ToClient(n) => world.deliver_to_client(n.into()),
        Step::Cut => cut(world),
        Step::Expire(keep) => {
            world.node.first = world.node.first.max(world.node.head().saturating_sub(keep.into()));
        }
        Step::Tick(us) => {
            world.advance(us.into());
            if world.session.poll_close().is_some() {
                cut(world);
            }
        }
    }
}

fn cut(world: &mut World) {
    assert!(matches!(world.disconnect(Ending::Eof), Next::Reconnect { .. }));
    world.connect();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_once_in_order_or_is_announced_as_missed(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(Options { seed: 1, ..Options::default() });
        // The first position is taken before anything is said.
        world.connect();
        world.settle();
        let mut published = 0;
        for step in &steps {
            let before = world.session.unanswered();
            apply(&mut world, step);
            published += usize::from(matches!(step, Step::Publish) && world.session.unanswered() > before);
        }
        cut(&mut world);
        world.settle();
        world.pump();

        let (mut next, mut acks) = (0, Vec::new());
        for event in &world.events {
            match event {
                E::Message { offset, .. } => {
                    prop_assert_eq!(*offset, next);
                    prop_assert!(matches!(world.node.log[next as usize], Entry::Message(_)));
                    next += 1;
                }
                E::Omitted { from, to, .. } | E::Gap { from, to, .. } => {
                    prop_assert_eq!(*from, next);
                    next = *to;
                }
                E::Published { nonce, .. } => acks.push(*nonce),
                E::Fault { fault, .. } => prop_assert!(false, "{:?}", fault),
                _ => {}
            }
        }
        prop_assert_eq!(next, world.node.head());
        prop_assert_eq!(acks.len(), published);
        acks.sort_unstable();
        acks.dedup();
        prop_assert_eq!(acks.len(), published);
        let in_log = world.node.log.iter().filter(|e| matches!(e, Entry::Message(text) if text == "p")).count();
        prop_assert_eq!(in_log, published);
    }

    #[test]
    fn no_bytes_make_it_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20), flip: (u16, u8)) {
        let mut world = World::up();
        world.node.say_numbers(0..4);
        world.node.pump(2);
        let mut good: Vec<Vec<u8>> = world.node.to_client.drain(..).collect();
        let hit = usize::from(flip.0) % good[0].len();
        good[0][hit] ^= flip.1;
        for frame in good.iter().chain(&frames) {
            world.session.handle_frame(world.now_us, frame, &mut |_| {});
            world.transmit();
            let _ = world.session.poll_timeout();
        }
    }
}
