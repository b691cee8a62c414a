//! Tests of rooms on disk as viewers see them: a resume that reaches the disk while live batches arrive, one
//! before a power cut, and a disk that does not answer.
//!
//! Why: between ring, memory and disk a message is easily lost or repeated.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, GapReason, History, Kind, Outcome};
use grandstand_protocol::refusal::Refusal;

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use grandstand_model::Disk;

/// Rings and memory that hold a few batches: what lies before is on disk.
fn plan() -> Plan {
    let plan = Plan::default();
    Plan {
        settings: Settings { ring_batches_max: 3, ..plan.settings },
        rooms: ShardConfig { ring_batches_max: 3, history_batches_max: 6, ..plan.rooms },
        ..plan
    }
}

fn hall_on(disk: &Disk, plan: &Plan) -> Harness {
    let mut harness = Harness::new(plan);
    harness.start_shard_on(disk, plan);
    harness
}

fn begin(harness: &Harness, v: V) -> (Outcome, u64, u64) {
    let s = *harness.viewers[v.0].subscribed().last().expect("it was answered");
    (s.outcome, s.offset, s.epoch)
}

fn come_back(harness: &mut Harness, v: V) {
    harness.connect(v, 0);
    harness.hello(v);
    harness.resume(v, "r");
}

#[test]
fn a_resume_that_reaches_the_disk_misses_nothing_while_others_speak() {
    let disk = Disk::prompt();
    let mut harness = hall_on(&disk, &plan());
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.talk(talker, "r", 5);
    harness.cut(v);
    harness.talk(talker, "r", 40);
    disk.hold_reads();
    come_back(&mut harness, v);
    harness.talk(talker, "r", 10);
    assert!(harness.viewers[v.0].subscribed().is_empty(), "it waits for the disk");
    disk.answer_reads();
    harness.talk(talker, "r", 10);
    harness.settle();
    let (outcome, offset, epoch) = begin(&harness, v);
    assert_eq!((outcome, offset), (Outcome::Resumed, 5));
    assert_eq!(harness.viewers[v.0].heard("r", epoch), (0..65).collect::<Vec<u64>>());
    assert!(harness.viewers[v.0].gaps().is_empty() && disk.read_count() > 1);
}

#[test]
fn a_disk_that_does_not_answer_in_time_leaves_a_gap_that_is_named() {
    let disk = Disk::prompt();
    let mut harness = hall_on(&disk, &plan());
    let (talker, v) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.cut(v);
    harness.talk(talker, "r", 20);
    disk.hold_reads();
    come_back(&mut harness, v);
    let at = harness.viewers[talker.0].room("r").at;
    let (request, alias) = (harness.viewers[talker.0].next_request(), harness.alias(talker, "r"));
    let history = History { request, alias, epoch: at.epoch, from: 0, count_max: 0 };
    harness.send(talker, &ClientFrame::History(history));
    harness.run_ms(6000);
    assert_eq!(begin(&harness, v).0, Outcome::Gapped);
    let gaps: Vec<_> = harness.viewers[v.0].gaps().iter().map(|g| (g.from, g.to, g.reason)).collect();
    assert_eq!(gaps, [(0, 14, GapReason::Expired)]);
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 20);
    let (kind, id, reason, retry) = *harness.viewers[talker.0].refusals().last().expect("a refusal");
    assert_eq!((kind, id, reason), (Kind::History as u8, request.into(), Refusal::StorageUnavailable));
    assert!(retry.is_some());
    disk.answer_reads();
    harness.settle();
}

#[test]
fn a_resume_before_the_cut_goes_on_in_the_log_after_it_and_one_behind_it_begins_anew() {
    let disk = Disk::default();
    let mut harness = hall_on(&disk, &plan());
    let people: Vec<V> = (0..4).map(|_| harness.member(0, "r")).collect();
    let [talker, early, at_the_cut, behind] = people[..] else { panic!("four") };
    let epoch = harness.viewers[talker.0].room("r").at.epoch;
    harness.talk(talker, "r", 2);
    harness.cut(early);
    harness.talk(talker, "r", 18);
    harness.cut(at_the_cut);
    disk.sync(usize::MAX);
    harness.talk(talker, "r", 3);
    harness.cut(behind);
    harness.cut(talker);
    harness.run_ms(100);
    disk.cut_power(4711);
    harness.start_shard_on(&disk, &plan());
    let return_of = |harness: &mut Harness, v: V| {
        harness.viewers[v.0].other_log = Some((epoch, 4711));
        come_back(harness, v);
        harness.run_ms(50);
    };
    return_of(&mut harness, early);
    return_of(&mut harness, at_the_cut);
    assert_eq!(begin(&harness, early), (Outcome::Resumed, 2, 4711));
    assert_eq!(begin(&harness, at_the_cut), (Outcome::Resumed, 20, 4711));
    let speaker = harness.member(0, "r");
    harness.talk(speaker, "r", 3);
    // It read what the log does not have, and misses nothing of what the log has instead.
    return_of(&mut harness, behind);
    assert_eq!(begin(&harness, behind), (Outcome::Restarted, 20, 4711));
    harness.talk(speaker, "r", 2);
    disk.sync(usize::MAX);
    harness.settle();
    assert_eq!(harness.viewers[behind.0].heard("r", 4711), (20..25).collect::<Vec<u64>>());
    assert_eq!(harness.viewers[early.0].heard("r", epoch), [0, 1]);
    assert_eq!(harness.viewers[early.0].heard("r", 4711), (2..25).collect::<Vec<u64>>());
    assert_eq!(harness.viewers[at_the_cut.0].heard("r", 4711), (20..25).collect::<Vec<u64>>());
    assert!(people.iter().all(|v| harness.viewers[v.0].gaps().is_empty()));
}
