//! Tests of compressed batches: who gets them, from how many members on, and how they are cut and counted.
//!
//! Why: a viewer that gets a form that it cannot open is lost.

use super::super::Settings;
use super::harness::{Harness, Plan, V};

/// Numbers 0 and 1 of three open compressed batches, number 2 does not (`Harness::enter`).
const PLAIN: usize = 2;

fn plan(compression: bool, compress_from_members: usize) -> Plan {
    let plan = Plan::default();
    Plan { settings: Settings { compression, compress_from_members, ..plan.settings }, ..plan }
}

fn text(n: u64) -> String {
    format!("{n}: that was so good, see you all next week, that was so good {n}")
}

/// Six viewers of one room hear ten texts; how many of each one's batches came compressed.
fn hear(plan: &Plan) -> (Vec<usize>, Harness) {
    let mut harness = Harness::new(plan);
    let crowd: Vec<V> = (0..6).map(|v| harness.member(v % usize::from(plan.workers), "r")).collect();
    let alias = harness.alias(crowd[0], "r");
    for n in 0..10 {
        harness.say_again(crowd[0], alias, 1_000 + n, &text(n));
        harness.run_ms(150);
    }
    harness.check_inside();
    harness.settle();
    let heads: Vec<u64> = crowd.iter().map(|v| harness.viewers[v.0].room("r").at.offset).collect();
    assert!(heads.iter().all(|&head| head == heads[0]), "{heads:?}");
    (crowd.iter().map(|v| harness.viewers[v.0].compressed_batches).collect(), harness)
}

#[test]
fn who_opens_compressed_batches_gets_them() {
    let (heard, mut harness) = hear(&plan(true, 1));
    let is_plain = |v: usize| v % 3 == PLAIN;
    assert!((0..6).all(|v| if is_plain(v) { heard[v] == 0 } else { heard[v] >= 10 }), "{heard:?}");
    assert!(harness.audiences[0].counters().batches_compressed >= 10);
}

#[test]
fn a_small_room_and_a_node_without_compression_send_plain() {
    // Four of the six open them.
    assert!(hear(&plan(true, 4)).0[0] >= 10);
    for plan in [plan(true, 5), plan(false, 1)] {
        let (heard, mut harness) = hear(&plan);
        assert_eq!(heard, [0; 6]);
        assert_eq!(harness.audiences[0].counters().batches_compressed, 0);
    }
}

#[test]
fn a_batch_is_compressed_once_for_all_workers() {
    let (heard, mut harness) = hear(&Plan { workers: 2, ..plan(true, 1) });
    assert!(heard[0] >= 10 && heard[1] >= 10, "{heard:?}");
    let compressed: Vec<u64> =
        harness.audiences.iter_mut().map(|a| a.counters().batches_compressed).collect();
    let batches: Vec<u64> = harness.audiences.iter_mut().map(|a| a.counters().batches).collect();
    assert!(
        compressed.iter().sum::<u64>() <= batches.iter().copied().max().unwrap_or(0),
        "{compressed:?} of {batches:?}"
    );
}

#[test]
fn a_compressed_frame_may_be_cut_at_every_byte() {
    let mut harness = Harness::new(&plan(true, 1));
    let talker = harness.member(0, "r");
    let v = harness.member(0, "r");
    let alias = harness.alias(talker, "r");
    for cut in 0..100 {
        harness.set_room(v, cut);
        harness.say_again(talker, alias, 1_000 + cut as u64, &text(cut as u64));
        harness.run_ms(150);
        harness.set_room(v, usize::MAX);
        harness.run_ms(10);
        assert_eq!(harness.viewers[v.0].room("r").at, harness.viewers[talker.0].room("r").at);
    }
    harness.settle();
    assert!(harness.viewers[v.0].compressed_batches >= 100);
    assert!(harness.viewers[v.0].gaps().is_empty());
}

#[test]
fn a_replay_takes_what_was_compressed_for_the_room() {
    let (_, mut harness) = hear(&plan(true, 1));
    let late = [harness.guest(0), harness.guest(0), harness.guest(0)];
    for v in late {
        harness.subscribe(v, "r", None, 10);
    }
    harness.run_ms(100);
    for v in late {
        let heard = harness.viewers[v.0].compressed_batches;
        assert!(if v.0 % 3 == PLAIN { heard == 0 } else { heard >= 10 }, "{v:?}: {heard}");
    }
}
