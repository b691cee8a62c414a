//! Tests of fan-out: partial writes, slow viewers, interrupted walks, budgets, and the counters.
//!
//! Why: sockets take any number of bytes, and viewers any amount of time.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, GapReason};

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

fn small_ring(batches: usize) -> Plan {
    let plan = Plan::default();
    Plan {
        settings: Settings { ring_batches_max: batches, ..plan.settings },
        rooms: ShardConfig { ring_batches_max: batches, history_batches_max: batches, ..plan.rooms },
        ..plan
    }
}

#[test]
fn a_frame_may_be_cut_at_every_byte() {
    let mut harness = Harness::new(&Plan::default());
    let talker = harness.member(0, "r");
    let alias = harness.alias(talker, "r");
    let long = "long ".repeat(60);
    harness.say_again(talker, alias, 1_000, &long);
    harness.run_ms(200);
    let v = harness.member(0, "r");
    for cut in 0..450 {
        harness.set_room(v, cut);
        harness.say_again(talker, alias, 2_000 + cut as u64, &format!("{cut} {long}"));
        harness.send(v, &ClientFrame::Ping { client_us: cut as u64 });
        harness.run_ms(100);
        // Meanwhile control frames are queued behind what was begun, and another batch comes.
        harness.send(v, &ClientFrame::Ping { client_us: 1_000 + cut as u64 });
        harness.say(talker, alias);
        harness.run_ms(100);
        harness.set_room(v, usize::MAX);
        harness.run_ms(10);
        assert_eq!(harness.viewers[v.0].room("r").at, harness.viewers[talker.0].room("r").at);
    }
    harness.settle();
    assert!(harness.viewers[v.0].gaps().is_empty());
}

#[test]
fn one_byte_at_a_time_still_arrives() {
    let mut harness = Harness::new(&Plan::default());
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(talker, "r");
    harness.set_room(v, 0);
    (0..3).for_each(|_| {
        harness.say(talker, alias);
    });
    harness.run_ms(200);
    for _ in 0..400 {
        harness.set_room(v, 1);
        harness.turn();
    }
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 3);
    harness.settle();
}

#[test]
fn a_slow_viewer_falls_off_the_ring_is_told_and_goes_on() {
    let mut harness = Harness::new(&small_ring(4));
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(talker, "r");
    harness.talk(talker, "r", 3);
    harness.set_room(v, 7);
    harness.set_state(talker, alias, "score", Some(b"0:1"));
    harness.talk(talker, "r", 20);
    assert!(harness.viewers[v.0].is_mid_frame());
    harness.set_room(v, usize::MAX);
    harness.run_ms(10);
    let gaps = harness.viewers[v.0].gaps();
    assert_eq!(gaps.len(), 1);
    // The batch that had been begun is finished: 3 is read.
    assert_eq!((gaps[0].from, gaps[0].to, gaps[0].count, gaps[0].reason), (4, 23, 19, GapReason::Slow));
    assert_eq!(harness.viewers[v.0].room("r").state["score"], b"0:1");
    harness.talk(talker, "r", 2);
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 25);
    assert!(harness.viewers[talker.0].gaps().is_empty(), "nobody else was hurt");
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.gaps[0], counters.gap_messages), (1, 19));
    harness.settle();
}

#[test]
fn a_slow_viewer_who_missed_only_state_gets_a_snapshot_and_no_gap() {
    let mut harness = Harness::new(&small_ring(2));
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(talker, "r");
    harness.set_room(v, 0);
    for i in 0..9u8 {
        harness.set_state(talker, alias, "k", Some(&[i]));
        harness.run_ms(100);
    }
    harness.settle();
    assert!(harness.viewers[v.0].gaps().is_empty());
    assert_eq!(harness.viewers[v.0].room("r").state["k"], [8]);
}

#[test]
fn notices_of_one_room_are_not_lost_when_another_rooms_batch_is_cut() {
    let mut harness = Harness::new(&small_ring(2));
    let (a, b) = (harness.member(0, "a"), harness.member(0, "b"));
    for room in 1..200 {
        let v = harness.guest(0);
        harness.subscribe(v, "a", None, 0);
        harness.subscribe(v, "b", None, 0);
        harness.run_ms(10);
        harness.set_room(v, 0);
        harness.talk(a, "a", 4);
        harness.talk(b, "b", 1);
        // The gap in a, and the batch of b, cut at any byte.
        harness.set_room(v, room);
        harness.run_ms(10);
        harness.set_room(v, usize::MAX);
        harness.run_ms(10);
        assert_eq!(harness.viewers[v.0].gaps().len(), 1);
        assert_eq!(harness.viewers[v.0].room("a").at, harness.viewers[a.0].room("a").at);
        assert_eq!(harness.viewers[v.0].room("b").at, harness.viewers[b.0].room("b").at);
        harness.cut(v);
    }
    harness.settle();
}

#[test]
fn a_reader_of_the_past_may_be_slow() {
    let plan = small_ring(4);
    let rooms = ShardConfig { history_batches_max: 1_000, ..plan.rooms.clone() };
    let mut harness = Harness::new(&Plan { rooms, ..plan });
    let talker = harness.member(0, "r");
    harness.talk(talker, "r", 100);
    let v = harness.guest(0);
    let epoch = harness.viewers[talker.0].subscribed()[0].epoch;
    harness.set_room(v, 0);
    harness.subscribe(v, "r", Some((epoch, 1)), 0);
    for step in 0..200 {
        harness.set_room(v, 1 + step % 97);
        if step % 5 == 0 {
            harness.talk(talker, "r", 1);
        } else {
            harness.run_ms(5);
        }
    }
    harness.settle();
    assert_eq!(harness.viewers[v.0].heard("r", epoch), (1..140).collect::<Vec<_>>());
    assert!(harness.viewers[v.0].gaps().is_empty());
}

fn crowd(harness: &mut Harness, size: usize) -> Vec<V> {
    let crowd: Vec<V> = (0..size).map(|_| harness.guest(0)).collect();
    crowd.iter().for_each(|v| {
        harness.subscribe(*v, "r", None, 0);
    });
    harness.run_ms(20);
    crowd
}

#[test]
fn a_budget_of_one_write_reaches_everyone() {
    for writes_max in [1, 2, 3] {
        let mut harness = Harness::new(&Plan { writes_max, ..small_ring(4) });
        let talker = harness.guest(0);
        harness.subscribe(talker, "r", None, 0);
        harness.subscribe(talker, "s", None, 0);
        let crowd = crowd(&mut harness, 20);
        for v in &crowd {
            harness.subscribe(*v, "s", None, 0);
        }
        harness.run_ms(10);
        harness.talk(talker, "r", 3);
        harness.talk(talker, "s", 3);
        let late = harness.guest(0);
        harness.subscribe(late, "r", None, 3);
        harness.subscribe(late, "s", None, 3);
        harness.set_room(crowd[3], 0);
        harness.talk(talker, "r", 3);
        harness.talk(talker, "s", 3);
        harness.settle();
        assert!(crowd.iter().all(|v| harness.viewers[v.0].room("r").at.offset == 6));
        assert_eq!(harness.viewers[late.0].room("s").at.offset, 6);
    }
}

#[test]
fn a_small_room_does_not_wait_for_a_giant_that_is_never_done() {
    let mut harness = Harness::new(&Plan { workers: 1, ..Plan::default() });
    let giants = crowd(&mut harness, 300);
    // Who speaks gets its batch along with its answer; who only listens waits for the room's turn.
    let (talker, small) = (harness.guest(0), harness.guest(0));
    harness.subscribe(talker, "small", None, 0);
    harness.subscribe(small, "small", None, 0);
    // Until the counts of viewers have been told.
    harness.run_ms(5_000);
    let (giant, room) = (harness.alias(giants[0], "r"), harness.alias(small, "small"));
    harness.hold_outputs = true;
    harness.say(giants[0], giant);
    harness.run_ms(250);
    harness.say(talker, room);
    harness.run_ms(250);
    harness.hold_outputs = false;
    harness.deliver();
    // Fewer writes than one round over the giant room takes.
    for _ in 0..4 {
        harness.write_once(0, 50);
    }
    giants.iter().chain([&small]).for_each(|v| harness.read(*v));
    let at = |harness: &Harness, v: V, name: &str| harness.viewers[v.0].room(name).at.offset;
    assert_eq!(at(&harness, small, "small"), 1, "it had its turn");
    let behind = giants.iter().filter(|v| at(&harness, **v, "r") == 0).count();
    assert!(behind > 0, "the giant's round was not over");
    harness.writes_max = 1_000;
    harness.turn();
    assert!(giants.iter().all(|v| at(&harness, *v, "r") == 1), "and everyone got theirs");
}

#[test]
fn members_who_leave_in_the_middle_of_a_walk_lose_nobody_a_batch() {
    // Whoever leaves, and wherever the walk stands: everyone who stays gets the batch.
    const SIZE: usize = 6;
    for stop in 0..=SIZE {
        for leaver in 0..SIZE {
            for second in 0..SIZE {
                let mut harness = Harness::new(&Plan::default());
                let crowd = crowd(&mut harness, SIZE);
                let alias = harness.alias(crowd[0], "r");
                harness.say(crowd[0], alias);
                harness.hold_outputs = true;
                harness.turn();
                // One write at a time, so that the walk can be interrupted.
                harness.writes_max = 0;
                let until = harness.us + 1_000;
                harness.us = until;
                harness.hold_outputs = false;
                harness.deliver();
                (0..stop).for_each(|_| {
                    harness.write_once(0, 1);
                });
                harness.cut(crowd[leaver]);
                harness.write_once(0, 1);
                harness.cut(crowd[second]);
                harness.writes_max = 100;
                harness.turn();
                for (i, v) in crowd.iter().enumerate().filter(|(i, _)| *i != leaver && *i != second) {
                    let at = harness.viewers[v.0].room("r").at.offset;
                    assert_eq!(at, 1, "viewer {i}; walk stopped at {stop}, {leaver} and {second} left");
                }
            }
        }
    }
}

#[test]
fn a_connection_gets_all_that_is_there_in_one_write() {
    let mut harness = Harness::new(&Plan::default());
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.set_room(v, 0);
    harness.talk(talker, "r", 60);
    let before = harness.sends(0);
    harness.set_room(v, usize::MAX);
    harness.turn();
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 60);
    assert_eq!(harness.sends(0) - before, 1);
    // A member at the head costs no write.
    harness.run_ms(1_000);
    assert_eq!(harness.sends(0) - before, 1);
}

#[test]
fn reactions_are_summed_over_workers_and_viewers_counted() {
    let rooms = ShardConfig { viewers_every_ms: 2_000, ..Plan::default().rooms };
    let mut harness = Harness::new(&Plan { workers: 2, rooms, ..Plan::default() });
    let watcher = harness.member(0, "r");
    let crowd: Vec<V> = (0..10).map(|i| harness.member(i % 2, "r")).collect();
    for v in &crowd {
        let alias = harness.alias(*v, "r");
        harness.react(*v, alias, "x", 2);
        harness.react(*v, alias, "y", 1);
        harness.react(*v, alias, "x", 1);
    }
    harness.run_ms(5_000);
    let f = harness.viewers[watcher.0].room("r");
    assert_eq!((f.tallies["x"], f.tallies["y"]), (30, 10));
    assert_eq!(f.state["gs.viewers"], b"11");
    let batches = harness.viewers[watcher.0]
        .seen
        .iter()
        .filter(|s| matches!(s, Seen::Batch { tallies, .. } if !tallies.is_empty()));
    assert!(batches.count() <= 4, "tallies travel together");
    crowd[..5].iter().for_each(|v| harness.cut(*v));
    harness.run_ms(5_000);
    assert_eq!(harness.viewers[watcher.0].room("r").state["gs.viewers"], b"6");
    assert_eq!(harness.audiences[0].counters().members + harness.audiences[1].counters().members, 6);
}

#[test]
fn reactions_of_a_room_that_everyone_here_leaves_are_handed_on() {
    let mut harness = Harness::new(&Plan { workers: 2, ..Plan::default() });
    let (watcher, v) = (harness.member(0, "r"), harness.member(1, "r"));
    let alias = harness.alias(v, "r");
    harness.react(v, alias, "x", 3);
    harness.run_ms(200);
    harness.react(v, alias, "x", 4);
    harness.unsubscribe(v, alias);
    harness.settle();
    assert_eq!(harness.viewers[watcher.0].room("r").tallies["x"], 7);
}

#[test]
fn a_reader_of_the_past_learns_what_the_state_became_meanwhile() {
    let mut harness = Harness::new(&Plan::default());
    let talker = harness.member(0, "r");
    let alias = harness.alias(talker, "r");
    harness.set_state(talker, alias, "k", Some(b"old"));
    harness.talk(talker, "r", 20);
    let v = harness.guest(0);
    harness.subscribe(v, "r", None, 20);
    harness.set_room(v, 700);
    harness.run_ms(100);
    harness.set_state(talker, alias, "k", Some(b"new"));
    harness.run_ms(200);
    assert_eq!(harness.viewers[v.0].room("r").state["k"], b"old");
    harness.set_room(v, usize::MAX);
    harness.run_ms(20);
    assert_eq!(harness.viewers[v.0].room("r").state["k"], b"new");
    harness.settle();
}

#[test]
fn what_is_counted_is_what_went_out() {
    let mut harness = Harness::new(&Plan::default());
    let crowd = crowd(&mut harness, 7);
    for _ in 0..3 {
        let alias = harness.alias(crowd[0], "r");
        (0..4).for_each(|_| {
            harness.say(crowd[0], alias);
        });
        harness.run_ms(150);
    }
    harness.settle();
    let counters = harness.audiences[0].counters().clone();
    assert_eq!(counters.deliveries, 7 * 12);
    assert_eq!((counters.publications, counters.publications_accepted), (12, 12));
    assert!(counters.frames_out >= 21 && counters.bytes_out > 0 && counters.writes_blocked == 0);
}
