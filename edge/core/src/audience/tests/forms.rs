//! Compressed batches: who gets them, from how many members on, and that they are cut and counted as what
//! they are.

use super::super::Settings;
use super::hall::{Hall, Plan, V};

/// Numbers 0 and 1 of three open compressed batches, number 2 does not (`Hall::enter`).
const PLAIN: usize = 2;

fn plan(compression: bool, compress_from_members: usize) -> Plan {
    let plan = Plan::default();
    Plan { settings: Settings { compression, compress_from_members, ..plan.settings }, ..plan }
}

fn text(n: u64) -> String {
    format!("{n}: that was so good, see you all next week, that was so good {n}")
}

/// Six viewers of one room hear ten texts; how many of each one's batches came compressed.
fn hear(plan: &Plan) -> (Vec<usize>, Hall) {
    let mut hall = Hall::new(plan);
    let crowd: Vec<V> = (0..6).map(|v| hall.member(v % usize::from(plan.workers), "r")).collect();
    let alias = hall.alias(crowd[0], "r");
    for n in 0..10 {
        hall.say_again(crowd[0], alias, 1_000 + n, &text(n));
        hall.run_ms(150);
    }
    hall.check_inside();
    hall.settle();
    let heads: Vec<u64> = crowd.iter().map(|v| hall.viewers[v.0].room("r").at.offset).collect();
    assert!(heads.iter().all(|&head| head == heads[0]), "{heads:?}");
    (crowd.iter().map(|v| hall.viewers[v.0].compressed_batches).collect(), hall)
}

#[test]
fn who_opens_compressed_batches_gets_them() {
    let (heard, mut hall) = hear(&plan(true, 1));
    let is_plain = |v: usize| v % 3 == PLAIN;
    assert!((0..6).all(|v| if is_plain(v) { heard[v] == 0 } else { heard[v] >= 10 }), "{heard:?}");
    assert!(hall.audiences[0].counts().batches_compressed >= 10);
}

#[test]
fn a_small_room_and_a_node_without_compression_send_plain() {
    // Four of the six open them.
    assert!(hear(&plan(true, 4)).0[0] >= 10);
    for plan in [plan(true, 5), plan(false, 1)] {
        let (heard, mut hall) = hear(&plan);
        assert_eq!(heard, [0; 6]);
        assert_eq!(hall.audiences[0].counts().batches_compressed, 0);
    }
}

#[test]
fn a_batch_is_compressed_once_for_all_workers() {
    let (heard, mut hall) = hear(&Plan { workers: 2, ..plan(true, 1) });
    assert!(heard[0] >= 10 && heard[1] >= 10, "{heard:?}");
    let compressed: Vec<u64> = hall.audiences.iter_mut().map(|a| a.counts().batches_compressed).collect();
    let batches: Vec<u64> = hall.audiences.iter_mut().map(|a| a.counts().batches).collect();
    assert!(
        compressed.iter().sum::<u64>() <= batches.iter().copied().max().unwrap_or(0),
        "{compressed:?} of {batches:?}"
    );
}

#[test]
fn a_compressed_frame_may_be_cut_at_every_byte() {
    let mut hall = Hall::new(&plan(true, 1));
    let talker = hall.member(0, "r");
    let v = hall.member(0, "r");
    let alias = hall.alias(talker, "r");
    for cut in 0..100 {
        hall.set_room(v, cut);
        hall.say_again(talker, alias, 1_000 + cut as u64, &text(cut as u64));
        hall.run_ms(150);
        hall.set_room(v, usize::MAX);
        hall.run_ms(10);
        assert_eq!(hall.viewers[v.0].room("r").at, hall.viewers[talker.0].room("r").at);
    }
    hall.settle();
    assert!(hall.viewers[v.0].compressed_batches >= 100);
    assert!(hall.viewers[v.0].gaps().is_empty());
}

#[test]
fn a_replay_takes_what_was_compressed_for_the_room() {
    let (_, mut hall) = hear(&plan(true, 1));
    let late = [hall.guest(0), hall.guest(0), hall.guest(0)];
    for v in late {
        hall.subscribe(v, "r", None, 10);
    }
    hall.run_ms(100);
    for v in late {
        let heard = hall.viewers[v.0].compressed_batches;
        assert!(if v.0 % 3 == PLAIN { heard == 0 } else { heard >= 10 }, "{v:?}: {heard}");
    }
}
