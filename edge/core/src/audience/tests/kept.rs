//! Rooms on disk as viewers see them: a resume that reaches the disk, while live batches arrive; one in the
//! log before a power cut; and a disk that does not answer.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, GapReason, History, Kind, Outcome};
use grandstand_protocol::refusal::Refusal;

use super::super::Settings;
use super::hall::{Hall, Plan, V};
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

fn hall_on(disk: &Disk, plan: &Plan) -> Hall {
    let mut hall = Hall::new(plan);
    hall.start_shard_on(disk, plan);
    hall
}

fn begin(hall: &Hall, v: V) -> (Outcome, u64, u64) {
    let s = *hall.viewers[v.0].subscribed().last().expect("it was answered");
    (s.outcome, s.offset, s.epoch)
}

fn come_back(hall: &mut Hall, v: V) {
    hall.connect(v, 0);
    hall.hello(v);
    hall.resume(v, "r");
}

#[test]
fn a_resume_that_reaches_the_disk_misses_nothing_while_others_speak() {
    let disk = Disk::prompt();
    let mut hall = hall_on(&disk, &plan());
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    hall.talk(talker, "r", 5);
    hall.cut(v);
    hall.talk(talker, "r", 40);
    disk.hold_reads();
    come_back(&mut hall, v);
    hall.talk(talker, "r", 10);
    assert!(hall.viewers[v.0].subscribed().is_empty(), "it waits for the disk");
    disk.answer_reads();
    hall.talk(talker, "r", 10);
    hall.settle();
    let (outcome, offset, epoch) = begin(&hall, v);
    assert_eq!((outcome, offset), (Outcome::Resumed, 5));
    assert_eq!(hall.viewers[v.0].heard("r", epoch), (0..65).collect::<Vec<u64>>());
    assert!(hall.viewers[v.0].gaps().is_empty() && disk.read_count() > 1);
}

#[test]
fn a_disk_that_does_not_answer_in_time_leaves_a_gap_that_is_named() {
    let disk = Disk::prompt();
    let mut hall = hall_on(&disk, &plan());
    let (talker, v) = (hall.member(0, "r"), hall.member(0, "r"));
    hall.cut(v);
    hall.talk(talker, "r", 20);
    disk.hold_reads();
    come_back(&mut hall, v);
    let at = hall.viewers[talker.0].room("r").at;
    let (request, alias) = (hall.viewers[talker.0].next_request(), hall.alias(talker, "r"));
    let history = History { request, alias, epoch: at.epoch, from: 0, count_max: 0 };
    hall.send(talker, &ClientFrame::History(history));
    hall.run_ms(6000);
    assert_eq!(begin(&hall, v).0, Outcome::Gapped);
    let gaps: Vec<_> = hall.viewers[v.0].gaps().iter().map(|g| (g.from, g.to, g.reason)).collect();
    assert_eq!(gaps, [(0, 14, GapReason::Expired)]);
    assert_eq!(hall.viewers[v.0].room("r").at.offset, 20);
    let (kind, id, reason, retry) = *hall.viewers[talker.0].refusals().last().expect("a refusal");
    assert_eq!((kind, id, reason), (Kind::History as u8, request.into(), Refusal::StorageUnavailable));
    assert!(retry.is_some());
    disk.answer_reads();
    hall.settle();
}

#[test]
fn a_resume_before_the_cut_goes_on_in_the_log_after_it_and_one_behind_it_begins_anew() {
    let disk = Disk::default();
    let mut hall = hall_on(&disk, &plan());
    let people: Vec<V> = (0..4).map(|_| hall.member(0, "r")).collect();
    let [talker, early, at_the_cut, behind] = people[..] else { panic!("four") };
    let epoch = hall.viewers[talker.0].room("r").at.epoch;
    hall.talk(talker, "r", 2);
    hall.cut(early);
    hall.talk(talker, "r", 18);
    hall.cut(at_the_cut);
    disk.sync(usize::MAX);
    hall.talk(talker, "r", 3);
    hall.cut(behind);
    hall.cut(talker);
    hall.run_ms(100);
    disk.cut_power(4711);
    hall.start_shard_on(&disk, &plan());
    for v in [early, at_the_cut, behind] {
        hall.viewers[v.0].other_log = Some((epoch, 4711));
        come_back(&mut hall, v);
        hall.run_ms(50);
    }
    assert_eq!(begin(&hall, early), (Outcome::Resumed, 2, 4711));
    assert_eq!(begin(&hall, at_the_cut), (Outcome::Resumed, 20, 4711));
    assert_eq!(begin(&hall, behind).0, Outcome::Restarted);
    let speaker = hall.member(0, "r");
    hall.talk(speaker, "r", 5);
    disk.sync(usize::MAX);
    hall.settle();
    assert_eq!(hall.viewers[early.0].heard("r", epoch), [0, 1]);
    assert_eq!(hall.viewers[early.0].heard("r", 4711), (2..25).collect::<Vec<u64>>());
    assert_eq!(hall.viewers[at_the_cut.0].heard("r", 4711), (20..25).collect::<Vec<u64>>());
    assert!(people.iter().all(|v| hall.viewers[v.0].gaps().is_empty()));
}
