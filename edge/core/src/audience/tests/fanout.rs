//! Fan-out: partial writes, slow viewers, walks that are interrupted, budgets, and what is counted.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, GapReason};

use super::super::Settings;
use super::hall::{Hall, Plan, V};
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
    let mut hall = Hall::new(&Plan::default());
    let talker = hall.member(0, "r");
    let alias = hall.alias(talker, "r");
    let long = "long ".repeat(60);
    hall.say_again(talker, alias, 1_000, &long);
    hall.run_ms(200);
    let v = hall.member(0, "r");
    for cut in 0..450 {
        hall.set_room(v, cut);
        hall.say_again(talker, alias, 2_000 + cut as u64, &format!("{cut} {long}"));
        hall.send(v, &ClientFrame::Ping { client_us: cut as u64 });
        hall.run_ms(100);
        // Meanwhile control frames are queued behind what was begun, and another batch comes.
        hall.send(v, &ClientFrame::Ping { client_us: 1_000 + cut as u64 });
        hall.say(talker, alias);
        hall.run_ms(100);
        hall.set_room(v, usize::MAX);
        hall.run_ms(10);
        assert_eq!(hall.viewers[v.0].room("r").at, hall.viewers[talker.0].room("r").at);
    }
    hall.settle();
    assert!(hall.viewers[v.0].gaps().is_empty());
}

#[test]
fn one_byte_at_a_time_still_arrives() {
    let mut hall = Hall::new(&Plan::default());
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    let alias = hall.alias(talker, "r");
    hall.set_room(v, 0);
    (0..3).for_each(|_| {
        hall.say(talker, alias);
    });
    hall.run_ms(200);
    for _ in 0..400 {
        hall.set_room(v, 1);
        hall.turn();
    }
    assert_eq!(hall.viewers[v.0].room("r").at.offset, 3);
    hall.settle();
}

#[test]
fn a_slow_viewer_falls_off_the_ring_is_told_and_goes_on() {
    let mut hall = Hall::new(&small_ring(4));
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    let alias = hall.alias(talker, "r");
    hall.talk(talker, "r", 3);
    hall.set_room(v, 7);
    hall.set_state(talker, alias, "score", Some(b"0:1"));
    hall.talk(talker, "r", 20);
    assert!(hall.viewers[v.0].is_mid_frame());
    hall.set_room(v, usize::MAX);
    hall.run_ms(10);
    let gaps = hall.viewers[v.0].gaps();
    assert_eq!(gaps.len(), 1);
    // The batch that had been begun is finished: 3 is read.
    assert_eq!((gaps[0].from, gaps[0].to, gaps[0].count, gaps[0].reason), (4, 23, 19, GapReason::Slow));
    assert_eq!(hall.viewers[v.0].room("r").state["score"], b"0:1");
    hall.talk(talker, "r", 2);
    assert_eq!(hall.viewers[v.0].room("r").at.offset, 25);
    assert!(hall.viewers[talker.0].gaps().is_empty(), "nobody else was hurt");
    let counts = hall.audiences[0].counts();
    assert_eq!((counts.gaps[0], counts.gap_messages), (1, 19));
    hall.settle();
}

#[test]
fn a_slow_viewer_who_missed_only_state_gets_a_snapshot_and_no_gap() {
    let mut hall = Hall::new(&small_ring(2));
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    let alias = hall.alias(talker, "r");
    hall.set_room(v, 0);
    for i in 0..9u8 {
        hall.set_state(talker, alias, "k", Some(&[i]));
        hall.run_ms(100);
    }
    hall.settle();
    assert!(hall.viewers[v.0].gaps().is_empty());
    assert_eq!(hall.viewers[v.0].room("r").state["k"], [8]);
}

#[test]
fn notices_of_one_room_are_not_lost_when_another_rooms_batch_is_cut() {
    let mut hall = Hall::new(&small_ring(2));
    let (a, b) = (hall.member(0, "a"), hall.member(0, "b"));
    for room in 1..200 {
        let v = hall.guest(0);
        hall.subscribe(v, "a", None, 0);
        hall.subscribe(v, "b", None, 0);
        hall.run_ms(10);
        hall.set_room(v, 0);
        hall.talk(a, "a", 4);
        hall.talk(b, "b", 1);
        // The gap in a, and the batch of b, cut at any byte.
        hall.set_room(v, room);
        hall.run_ms(10);
        hall.set_room(v, usize::MAX);
        hall.run_ms(10);
        assert_eq!(hall.viewers[v.0].gaps().len(), 1);
        assert_eq!(hall.viewers[v.0].room("a").at, hall.viewers[a.0].room("a").at);
        assert_eq!(hall.viewers[v.0].room("b").at, hall.viewers[b.0].room("b").at);
        hall.cut(v);
    }
    hall.settle();
}

#[test]
fn a_reader_of_the_past_may_be_slow() {
    let plan = small_ring(4);
    let rooms = ShardConfig { history_batches_max: 1_000, ..plan.rooms.clone() };
    let mut hall = Hall::new(&Plan { rooms, ..plan });
    let talker = hall.member(0, "r");
    hall.talk(talker, "r", 100);
    let v = hall.guest(0);
    let epoch = hall.viewers[talker.0].subscribed()[0].epoch;
    hall.set_room(v, 0);
    hall.subscribe(v, "r", Some((epoch, 1)), 0);
    for step in 0..200 {
        hall.set_room(v, 1 + step % 97);
        if step % 5 == 0 {
            hall.talk(talker, "r", 1);
        } else {
            hall.run_ms(5);
        }
    }
    hall.settle();
    assert_eq!(hall.viewers[v.0].heard("r", epoch), (1..140).collect::<Vec<_>>());
    assert!(hall.viewers[v.0].gaps().is_empty());
}

fn crowd(hall: &mut Hall, size: usize) -> Vec<V> {
    let crowd: Vec<V> = (0..size).map(|_| hall.guest(0)).collect();
    crowd.iter().for_each(|v| {
        hall.subscribe(*v, "r", None, 0);
    });
    hall.run_ms(20);
    crowd
}

#[test]
fn a_budget_of_one_write_reaches_everyone() {
    for writes_max in [1, 2, 3] {
        let mut hall = Hall::new(&Plan { writes_max, ..small_ring(4) });
        let talker = hall.guest(0);
        hall.subscribe(talker, "r", None, 0);
        hall.subscribe(talker, "s", None, 0);
        let crowd = crowd(&mut hall, 20);
        for v in &crowd {
            hall.subscribe(*v, "s", None, 0);
        }
        hall.run_ms(10);
        hall.talk(talker, "r", 3);
        hall.talk(talker, "s", 3);
        let late = hall.guest(0);
        hall.subscribe(late, "r", None, 3);
        hall.subscribe(late, "s", None, 3);
        hall.set_room(crowd[3], 0);
        hall.talk(talker, "r", 3);
        hall.talk(talker, "s", 3);
        hall.settle();
        assert!(crowd.iter().all(|v| hall.viewers[v.0].room("r").at.offset == 6));
        assert_eq!(hall.viewers[late.0].room("s").at.offset, 6);
    }
}

#[test]
fn a_small_room_does_not_wait_for_a_giant_that_is_never_done() {
    let mut hall = Hall::new(&Plan { workers: 1, ..Plan::default() });
    let giants = crowd(&mut hall, 300);
    // Who speaks gets its batch along with its answer; who only listens waits for the room's turn.
    let (talker, small) = (hall.guest(0), hall.guest(0));
    hall.subscribe(talker, "small", None, 0);
    hall.subscribe(small, "small", None, 0);
    // Until the counts of viewers have been told.
    hall.run_ms(5_000);
    let (giant, room) = (hall.alias(giants[0], "r"), hall.alias(small, "small"));
    hall.hold_outputs = true;
    hall.say(giants[0], giant);
    hall.run_ms(250);
    hall.say(talker, room);
    hall.run_ms(250);
    hall.hold_outputs = false;
    hall.deliver();
    // Fewer writes than one round over the giant room takes.
    for _ in 0..4 {
        hall.write_once(0, 50);
    }
    giants.iter().chain([&small]).for_each(|v| hall.read(*v));
    let at = |hall: &Hall, v: V, name: &str| hall.viewers[v.0].room(name).at.offset;
    assert_eq!(at(&hall, small, "small"), 1, "it had its turn");
    let behind = giants.iter().filter(|v| at(&hall, **v, "r") == 0).count();
    assert!(behind > 0, "the giant's round was not over");
    hall.writes_max = 1_000;
    hall.turn();
    assert!(giants.iter().all(|v| at(&hall, *v, "r") == 1), "and everyone got theirs");
}

#[test]
fn members_who_leave_in_the_middle_of_a_walk_lose_nobody_a_batch() {
    // Whoever leaves, and wherever the walk stands: everyone who stays gets the batch.
    const SIZE: usize = 6;
    for stop in 0..=SIZE {
        for leaver in 0..SIZE {
            for second in 0..SIZE {
                let mut hall = Hall::new(&Plan::default());
                let crowd = crowd(&mut hall, SIZE);
                let alias = hall.alias(crowd[0], "r");
                hall.say(crowd[0], alias);
                hall.hold_outputs = true;
                hall.turn();
                // One write at a time, so that the walk can be interrupted.
                hall.writes_max = 0;
                let until = hall.us + 1_000;
                hall.us = until;
                hall.hold_outputs = false;
                hall.deliver();
                (0..stop).for_each(|_| {
                    hall.write_once(0, 1);
                });
                hall.cut(crowd[leaver]);
                hall.write_once(0, 1);
                hall.cut(crowd[second]);
                hall.writes_max = 100;
                hall.turn();
                for (i, v) in crowd.iter().enumerate().filter(|(i, _)| *i != leaver && *i != second) {
                    let at = hall.viewers[v.0].room("r").at.offset;
                    assert_eq!(at, 1, "viewer {i}; walk stopped at {stop}, {leaver} and {second} left");
                }
            }
        }
    }
}

#[test]
fn a_connection_gets_all_that_is_there_in_one_write() {
    let mut hall = Hall::new(&Plan::default());
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    hall.set_room(v, 0);
    hall.talk(talker, "r", 60);
    let before = hall.sends(0);
    hall.set_room(v, usize::MAX);
    hall.turn();
    assert_eq!(hall.viewers[v.0].room("r").at.offset, 60);
    assert_eq!(hall.sends(0) - before, 1);
    // A member at the head costs no write.
    hall.run_ms(1_000);
    assert_eq!(hall.sends(0) - before, 1);
}

#[test]
fn reactions_are_summed_over_workers_and_viewers_counted() {
    let rooms = ShardConfig { viewers_every_ms: 2_000, ..Plan::default().rooms };
    let mut hall = Hall::new(&Plan { workers: 2, rooms, ..Plan::default() });
    let watcher = hall.member(0, "r");
    let crowd: Vec<V> = (0..10).map(|i| hall.member(i % 2, "r")).collect();
    for v in &crowd {
        let alias = hall.alias(*v, "r");
        hall.react(*v, alias, "x", 2);
        hall.react(*v, alias, "y", 1);
        hall.react(*v, alias, "x", 1);
    }
    hall.run_ms(5_000);
    let f = hall.viewers[watcher.0].room("r");
    assert_eq!((f.tallies["x"], f.tallies["y"]), (30, 10));
    assert_eq!(f.state["gs.viewers"], b"11");
    let batches = hall.viewers[watcher.0]
        .seen
        .iter()
        .filter(|s| matches!(s, Seen::Batch { tallies, .. } if !tallies.is_empty()));
    assert!(batches.count() <= 4, "tallies travel together");
    crowd[..5].iter().for_each(|v| hall.cut(*v));
    hall.run_ms(5_000);
    assert_eq!(hall.viewers[watcher.0].room("r").state["gs.viewers"], b"6");
    assert_eq!(hall.audiences[0].counts().members + hall.audiences[1].counts().members, 6);
}

#[test]
fn reactions_of_a_room_that_everyone_here_leaves_are_handed_on() {
    let mut hall = Hall::new(&Plan { workers: 2, ..Plan::default() });
    let (watcher, v) = (hall.member(0, "r"), hall.member(1, "r"));
    let alias = hall.alias(v, "r");
    hall.react(v, alias, "x", 3);
    hall.run_ms(200);
    hall.react(v, alias, "x", 4);
    hall.unsubscribe(v, alias);
    hall.settle();
    assert_eq!(hall.viewers[watcher.0].room("r").tallies["x"], 7);
}

#[test]
fn a_reader_of_the_past_learns_what_the_state_became_meanwhile() {
    let mut hall = Hall::new(&Plan::default());
    let talker = hall.member(0, "r");
    let alias = hall.alias(talker, "r");
    hall.set_state(talker, alias, "k", Some(b"old"));
    hall.talk(talker, "r", 20);
    let v = hall.guest(0);
    hall.subscribe(v, "r", None, 20);
    hall.set_room(v, 700);
    hall.run_ms(100);
    hall.set_state(talker, alias, "k", Some(b"new"));
    hall.run_ms(200);
    assert_eq!(hall.viewers[v.0].room("r").state["k"], b"old");
    hall.set_room(v, usize::MAX);
    hall.run_ms(20);
    assert_eq!(hall.viewers[v.0].room("r").state["k"], b"new");
    hall.settle();
}

#[test]
fn what_is_counted_is_what_went_out() {
    let mut hall = Hall::new(&Plan::default());
    let crowd = crowd(&mut hall, 7);
    for _ in 0..3 {
        let alias = hall.alias(crowd[0], "r");
        (0..4).for_each(|_| {
            hall.say(crowd[0], alias);
        });
        hall.run_ms(150);
    }
    hall.settle();
    let counts = hall.audiences[0].counts().clone();
    assert_eq!(counts.deliveries, 7 * 12);
    assert_eq!((counts.publications, counts.publications_accepted), (12, 12));
    assert!(counts.frames_out >= 21 && counts.bytes_out > 0 && counts.writes_blocked == 0);
}
