//! Tests of where a reader begins: at the head, at a replay, at its old place, behind a gap, or anew; and of
//! how it leaves.
//!
//! Why: everything that a viewer may miss or see twice is decided where it begins.

use grandstand_engine::ShardConfig;
use grandstand_engine::link::AdminRequest;
use grandstand_protocol::frame::{GapReason, Kind, Outcome};
use grandstand_protocol::refusal::Refusal;

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

/// A room whose ring holds few batches, and whose log holds `history`.
fn small_rings(ring: usize, history: usize) -> Plan {
    let plan = Plan::default();
    Plan {
        settings: Settings { ring_batches_max: ring, ..plan.settings },
        rooms: ShardConfig { ring_batches_max: ring, history_batches_max: history, ..plan.rooms },
        ..plan
    }
}

fn begin(harness: &Harness, v: V) -> (Outcome, u64, u64) {
    let s = *harness.viewers[v.0].subscribed().last().expect("it was answered");
    (s.outcome, s.offset, s.head)
}

fn epoch(harness: &Harness, v: V) -> u64 {
    harness.viewers[v.0].subscribed()[0].epoch
}

/// A person who says `batches` messages, each in a batch of its own, in room "r".
fn talker(harness: &mut Harness, batches: usize) -> V {
    let v = harness.member(0, "r");
    harness.talk(v, "r", batches);
    v
}

#[test]
fn live_begins_at_the_head_with_the_state() {
    let mut harness = Harness::new(&Plan::default());
    let talker = talker(&mut harness, 5);
    let alias = harness.alias(talker, "r");
    harness.set_state(talker, alias, "score", Some(b"1:0"));
    harness.run_ms(200);
    let v = harness.member(0, "r");
    assert_eq!(begin(&harness, v), (Outcome::Live, 5, 5));
    assert_eq!(harness.viewers[v.0].room("r").state["score"], b"1:0");
    harness.talk(talker, "r", 2);
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch(&harness, v)), [5, 6]);
    let kinds = &harness.viewers[v.0].seen[1..3];
    assert!(matches!(kinds, [Seen::Subscribed(_), Seen::Snapshot { .. }]), "{kinds:?}");
}

#[test]
fn a_replay_is_what_was_asked_for_as_far_as_the_ring_goes() {
    let plan = small_rings(6, 100);
    let settings = Settings { replay_max: 5, ..plan.settings.clone() };
    let mut harness = Harness::new(&Plan { settings, ..plan });
    let talker = talker(&mut harness, 10);
    for (worker_room_replay, first) in [(3, 7), (5, 5), (100, 5), (0, 10)] {
        let v = harness.guest(0);
        harness.subscribe(v, "r", None, worker_room_replay);
        harness.run_ms(10);
        assert_eq!(begin(&harness, v), (Outcome::Live, first, 10));
        assert_eq!(harness.viewers[v.0].room("r").at.offset, 10);
    }
    harness.talk(talker, "r", 1);
    harness.settle();
}

#[test]
fn a_replay_gives_no_tallies_and_no_old_state() {
    let mut harness = Harness::new(&Plan::default());
    let talker = harness.member(0, "r");
    let alias = harness.alias(talker, "r");
    harness.say(talker, alias);
    harness.run_ms(100);
    for value in [b"1", b"2"] {
        harness.say(talker, alias);
        harness.react(talker, alias, "x", 3);
        harness.set_state(talker, alias, "k", Some(value));
        harness.run_ms(200);
    }
    let v = harness.guest(0);
    harness.subscribe(v, "r", None, 50);
    harness.run_ms(50);
    let f = harness.viewers[v.0].room("r");
    assert!(f.tallies.is_empty() && f.state["k"] == b"2" && f.at.offset == 3);
    harness.settle();
}

#[test]
fn a_resume_from_the_ring_misses_nothing_and_repeats_nothing() {
    let mut harness = Harness::new(&Plan { workers: 2, ..Plan::default() });
    let talker = talker(&mut harness, 3);
    let v = harness.member(0, "r");
    harness.talk(talker, "r", 3);
    harness.cut(v);
    harness.talk(talker, "r", 4);
    for worker in [0, 1] {
        harness.connect(v, worker);
        harness.hello(v);
        harness.resume(v, "r");
        harness.run_ms(300);
        assert_eq!(begin(&harness, v).0, Outcome::Resumed);
        assert_eq!(harness.viewers[v.0].room("r").at.offset, 10 + worker as u64 * 2);
        harness.cut(v);
        harness.talk(talker, "r", 2);
    }
    harness.connect(v, 1);
    harness.hello(v);
    harness.resume(v, "r");
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch(&harness, v)), (3..14).collect::<Vec<u64>>());
    assert_eq!(harness.audiences[1].counters().resumes, 2);
}

#[test]
fn a_resume_at_the_head_and_in_the_middle_of_a_batch() {
    let mut harness = Harness::new(&Plan::default());
    let talker = talker(&mut harness, 2);
    let alias = harness.alias(talker, "r");
    harness.say(talker, alias);
    harness.run_ms(20);
    (0..4).for_each(|_| {
        harness.say(talker, alias);
    });
    harness.run_ms(200);
    let epoch = epoch(&harness, talker);
    for (asked, first) in [(7, 7), (5, 3), (3, 3)] {
        let v = harness.guest(0);
        harness.subscribe(v, "r", Some((epoch, asked)), 0);
        harness.run_ms(20);
        assert_eq!(begin(&harness, v), (Outcome::Resumed, first, 7));
        assert_eq!(harness.viewers[v.0].heard("r", epoch), (asked..7).collect::<Vec<_>>());
    }
    harness.settle();
}

#[test]
fn a_resume_from_history_goes_on_live_by_pages() {
    let mut harness = Harness::new(&small_rings(4, 1_000));
    let talker = talker(&mut harness, 150);
    let epoch = epoch(&harness, talker);
    let v = harness.guest(0);
    harness.subscribe(v, "r", Some((epoch, 2)), 0);
    // Said while it reads the past.
    harness.talk(talker, "r", 6);
    harness.settle();
    assert_eq!(begin(&harness, v).0, Outcome::Resumed);
    assert_eq!(harness.viewers[v.0].heard("r", epoch), (2..156).collect::<Vec<_>>());
    assert!(harness.viewers[v.0].gaps().is_empty());
}

#[test]
fn what_the_log_forgot_is_named() {
    let mut harness = Harness::new(&small_rings(4, 10));
    let talker = talker(&mut harness, 50);
    let epoch = epoch(&harness, talker);
    let v = harness.guest(0);
    harness.subscribe(v, "r", Some((epoch, 7)), 0);
    harness.run_ms(50);
    assert_eq!(begin(&harness, v), (Outcome::Gapped, 7, 50));
    let gaps = harness.viewers[v.0].gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from, gaps[0].to, gaps[0].count, gaps[0].reason), (7, 40, 33, GapReason::Expired));
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch), (40..50).collect::<Vec<_>>());
}

#[test]
fn a_reader_of_the_past_that_the_log_overtakes_is_told_and_goes_on() {
    let mut harness = Harness::new(&small_rings(4, 100));
    let talker = talker(&mut harness, 100);
    let epoch = epoch(&harness, talker);
    let v = harness.guest(0);
    harness.subscribe(v, "r", Some((epoch, 0)), 0);
    harness.set_room(v, 600);
    harness.talk(talker, "r", 150);
    harness.settle();
    let gaps = harness.viewers[v.0].gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(
        (gaps[0].from, gaps[0].to, gaps[0].reason),
        (64, 150, GapReason::Expired),
        "after the first page"
    );
}

#[test]
fn another_epoch_and_an_offset_beyond_the_head_begin_anew() {
    let mut harness = Harness::new(&Plan::default());
    let talker = talker(&mut harness, 5);
    let epoch = epoch(&harness, talker);
    for (resume, replay, offset) in [((epoch ^ 1, 3), 0, 5), ((epoch ^ 1, 3), 2, 3), ((epoch, 6), 0, 5)] {
        let v = harness.guest(0);
        harness.subscribe(v, "r", Some(resume), replay);
        harness.run_ms(20);
        assert_eq!(begin(&harness, v), (Outcome::Restarted, offset, 5));
    }
    harness.settle();
}

#[test]
fn who_leaves_hears_no_more_and_may_come_back() {
    let mut harness = Harness::new(&Plan::default());
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.talk(talker, "r", 2);
    let alias = harness.alias(v, "r");
    harness.unsubscribe(v, alias);
    harness.talk(talker, "r", 2);
    harness.resume(v, "r");
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch(&harness, v)), [0, 1, 2, 3]);
    for v in [v, talker] {
        harness.unsubscribe(v, alias);
    }
    harness.run_ms(50);
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.members, counters.rooms, counters.sessions), (0, 0, 2));
    // The room is still there; it is attached anew.
    harness.resume(v, "r");
    harness.settle();
    assert_eq!(begin(&harness, v), (Outcome::Resumed, 4, 4));
}

#[test]
fn a_connection_follows_many_rooms() {
    let mut harness = Harness::new(&Plan { shards: 3, ..Plan::default() });
    let v = harness.guest(0);
    let rooms: Vec<String> = (0..10).map(|i| format!("room {i}")).collect();
    rooms.iter().for_each(|room| {
        harness.subscribe(v, room, None, 0);
    });
    let talkers: Vec<V> = rooms.iter().map(|room| harness.member(0, room)).collect();
    for round in 0..3 {
        for (talker, room) in talkers.iter().zip(&rooms) {
            let alias = harness.alias(*talker, room);
            (0..=round).for_each(|_| {
                harness.say(*talker, alias);
            });
        }
        harness.run_ms(150);
    }
    harness.settle();
    assert!(rooms.iter().all(|room| harness.viewers[v.0].room(room).at.offset == 6));
}

#[test]
fn nobody_leaves_before_its_subscription_is_answered() {
    let mut harness = Harness::new(&small_rings(4, 1_000));
    let talker = talker(&mut harness, 50);
    let (epoch, v) = (epoch(&harness, talker), harness.guest(0));
    let alias = harness.alias(talker, "r");
    harness.hold_outputs = true;
    // It asks for a page; the alias is known from before.
    harness.subscribe(v, "r", Some((epoch, 10)), 0);
    harness.run_ms(10);
    let request = harness.unsubscribe(v, alias);
    harness.run_ms(10);
    let refused = (Kind::Unsubscribe as u8, request.into(), Refusal::NotSubscribed, None);
    assert_eq!(harness.viewers[v.0].refusals(), [refused]);
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch), (10..50).collect::<Vec<_>>());
}

#[test]
fn leaving_while_a_page_is_on_its_way_leaves_the_page_behind() {
    let mut harness = Harness::new(&small_rings(4, 1_000));
    let talker = talker(&mut harness, 200);
    let (epoch, v) = (epoch(&harness, talker), harness.guest(0));
    harness.subscribe(v, "r", Some((epoch, 10)), 0);
    harness.set_room(v, 2_000);
    harness.run_ms(100);
    assert!(harness.viewers[v.0].room("r").at.offset < 64);
    // It reads the first page to its end and asks for the second.
    harness.hold_outputs = true;
    harness.set_room(v, usize::MAX);
    harness.run_ms(20);
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 74);
    let alias = harness.alias(v, "r");
    harness.unsubscribe(v, alias);
    harness.subscribe(v, "r", Some((epoch, 197)), 0);
    harness.set_room(v, 10);
    harness.run_ms(20);
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch).last(), Some(&199));
    assert_eq!(harness.viewers[v.0].heard("r", epoch).len(), 64 + 3);
}

#[test]
fn a_room_that_goes_refuses_those_who_wait_for_its_past() {
    let mut harness = Harness::new(&small_rings(4, 1_000));
    let talker = talker(&mut harness, 50);
    let (epoch, v) = (epoch(&harness, talker), harness.guest(0));
    // Removed before the shard sees the request for a page.
    harness.subscribe(v, "r", Some((epoch, 10)), 0);
    harness.administer("r", AdminRequest::Remove { room: "r".into() });
    harness.run_ms(50);
    assert_eq!(harness.viewers[v.0].refusals().len(), 1);
    assert_eq!(harness.viewers[v.0].unanswered(), 0);
    assert!(matches!(harness.viewers[talker.0].seen.last(), Some(Seen::Unsubscribed { request: 0, .. })));
    harness.settle();
}

#[test]
fn a_room_told_of_before_its_subscription_is_answered_stays_unspoken_of() {
    let mut harness = Harness::new(&small_rings(4, 1_000));
    let talker = talker(&mut harness, 50);
    let (epoch, v) = (epoch(&harness, talker), harness.guest(0));
    harness.hold_outputs = true;
    harness.administer("r", AdminRequest::Close { room: "r".into() });
    harness.run_ms(10);
    harness.subscribe(v, "r", Some((epoch, 10)), 0);
    harness.run_ms(10);
    harness.settle();
    assert!(harness.viewers[v.0].subscribed()[0].phase == grandstand_protocol::frame::Phase::Closed);
    assert!(!harness.viewers[v.0].seen.iter().any(|s| matches!(s, Seen::RoomEvent { .. })));
}

#[test]
fn joiners_who_leave_before_the_room_is_there_leave_nothing() {
    let mut harness = Harness::new(&Plan::default());
    harness.hold_outputs = true;
    let guests: Vec<V> = (0..3).map(|_| harness.guest(0)).collect();
    guests.iter().for_each(|v| {
        harness.subscribe(*v, "r", None, 0);
    });
    harness.run_ms(10);
    harness.cut(guests[0]);
    harness.cut(guests[1]);
    harness.hold_outputs = false;
    harness.run_ms(10);
    assert_eq!(harness.audiences[0].counters().members, 1);
    harness.cut(guests[2]);
    harness.run_ms(10);
    harness.hold_outputs = true;
    let v = harness.guest(0);
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(10);
    harness.cut(v);
    harness.hold_outputs = false;
    harness.run_ms(10);
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.members, counters.rooms), (0, 0));
}

#[test]
fn an_attachment_that_comes_again_is_the_rooms_new_ring() {
    use grandstand_engine::link::{Alias, Attachment, Lineage, Output};
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.talk(v, "r", 3);
    let (at, alias) = (harness.viewers[v.0].room("r").at, harness.alias(v, "r"));
    let again = |epoch, next_seq, next_offset| Output::Attached {
        room: "r".into(),
        result: Ok(Box::new(Attachment {
            alias: Alias(alias),
            epoch,
            next_seq,
            next_offset,
            time_ms: at.time_ms + 9,
            batches: Vec::new(),
            snapshot: None,
            phase: grandstand_protocol::frame::Phase::Open,
            until_ms: 0,
            previous: Lineage::default(),
        })),
    };
    harness.audiences[0].handle_output(again(at.epoch, 10, 13));
    harness.run_ms(10);
    let gaps = harness.viewers[v.0].gaps();
    assert_eq!((gaps[0].from, gaps[0].to, gaps[0].time_ms), (3, 13, at.time_ms + 9));
    // Another log: the members are told, and stay.
    harness.audiences[0].handle_output(again(at.epoch + 1, 0, 0));
    harness.run_ms(10);
    let gap = *harness.viewers[v.0].gaps().last().expect("it is told");
    assert_eq!((gap.epoch, gap.from, gap.to, gap.count), (at.epoch + 1, 0, 0, 0));
    assert_eq!(harness.audiences[0].counters().members, 1);
}

#[test]
fn a_followed_room_that_cannot_be_attached_again_is_lost_to_its_members() {
    use grandstand_engine::link::Output;
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.audiences[0]
        .handle_output(Output::Attached { room: "r".into(), result: Err(Refusal::UnknownRoom) });
    harness.turn();
    assert!(matches!(harness.viewers[v.0].seen.last(), Some(Seen::Unsubscribed { request: 0, .. })));
    harness.send(v, &grandstand_protocol::frame::ClientFrame::Ping { client_us: 1 });
    harness.subscribe(v, "r", None, 0);
    harness.cut(v);
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.members, counters.sessions), (0, 0));
}
