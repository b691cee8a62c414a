//! Seats: a shard is handed over, released and taken again; aliases outlive all of it.
//!
//! Not here: what an owner decides (`rules`, `disk`), queues that are full (`node`).

mod support;

use std::time::Duration;

use grandstand_engine::link::*;
use grandstand_engine::runtime::SeatError;
use grandstand_engine::{Engine, EngineConfig, ShardConfig, WorkerPort};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;
use grandstand_queue::{Parker, thread_bell};
use support::{Disk, Follower, OPERATOR, Stage, batches, publication, say};

fn config() -> ShardConfig {
    ShardConfig { tick_ms: 10, viewers_every_ms: 0, ..ShardConfig::for_tests() }
}

fn published(answers: &[(WorkerId, Answer)]) -> Vec<u64> {
    let offsets = answers.iter().map(|(_, answer)| match answer.kind {
        AnswerKind::Published { offset, .. } => offset,
        other => panic!("not published: {other:?}"),
    });
    offsets.collect()
}

#[test]
fn a_hand_over_seals_takes_nothing_and_answers_what_the_log_has() {
    let disk = Disk::default();
    let mut stage = Stage::on(&disk, config());
    let a = stage.attach(1, "show").unwrap();
    stage.input(Input::Viewers { worker: WorkerId(1), alias: a.alias, count: 7 });
    disk.sync(usize::MAX);
    stage.outputs();
    say(&mut stage, a.alias, 1, 1, "waits for its tick");
    say(&mut stage, a.alias, 2, 2, "as well");
    stage.shard.handle_handing(stage.now());
    let sealed = batches(stage.outputs(), 1);
    assert_eq!(sealed.last().map(|batch| batch.next_offset), Some(2), "sealed before its tick");
    assert!(!stage.shard.is_handed(), "the log does not have it");
    stage.pass_ms(1000);
    assert_eq!(published(&stage.answers()), [0; 0]);
    disk.sync(usize::MAX);
    assert_eq!(published(&stage.answers()), [0, 1]);
    assert!(stage.shard.is_handed());
    let followed = stage.shard.followed();
    assert_eq!(followed.len(), 1);
    assert_eq!((&*followed[0].room, &followed[0].followers[..]), ("show", &[(WorkerId(1), 7)][..]));

    // The next owner: the same log, the same number, and whoever followed hears of it.
    let mut next = Stage::on(&disk, config());
    next.shard.handle_followed(next.now(), &followed[0]);
    let again = next.outputs().into_iter().find_map(|(worker, output)| match output {
        Output::Attached { result, .. } => Some((worker, result.unwrap())),
        _ => None,
    });
    let (worker, again) = again.expect("attached again");
    assert_eq!(worker, WorkerId(1));
    assert_eq!((again.alias, again.epoch, again.next_offset), (a.alias, a.epoch, 2));
    let room = AdminRequest::List { prefix: "show".into(), after: String::new(), limit: 1 };
    let Ok(AdminAnswer::Rooms(rooms)) = next.admin(room) else { panic!("no rooms") };
    assert_eq!(rooms[0].viewers, 7);
}

#[test]
#[should_panic(expected = "takes nothing")]
fn a_shard_that_is_handed_over_takes_no_input() {
    let mut stage = Stage::new(config());
    stage.shard.handle_handing(stage.now());
    stage.input(Input::Admin { from: OPERATOR, request: Box::new(AdminRequest::Counters) });
}

#[test]
fn aliases_outlive_restarts_whatever_came_and_went_between() {
    let disk = Disk::prompt();
    let mut stage = Stage::on(&disk, config());
    let before: Vec<_> = ["a", "b", "c"].map(|room| stage.attach(0, room).unwrap().alias).to_vec();
    stage.room(AdminRequest::Remove { room: "a".into() });
    disk.kill();
    let mut stage = Stage::on(&disk, config());
    let new = stage.attach(0, "d").unwrap().alias;
    assert!(!before.contains(&new), "the slot of a room that is gone rests");
    assert_eq!(stage.attach(0, "c").unwrap().alias, before[2]);
    assert_eq!(stage.attach(0, "b").unwrap().alias, before[1]);
    disk.cut_power(99);
    let mut stage = Stage::on(&disk, config());
    assert_eq!(stage.attach(0, "b").unwrap().alias, before[1]);
    assert_eq!(stage.attach(0, "d").unwrap().alias, new);
}

#[test]
fn a_room_that_was_stored_without_a_slot_gets_one_that_is_recorded() {
    let disk = Disk::prompt();
    let mut stage = Stage::on(&disk, config());
    let a = stage.attach(0, "old").unwrap();
    say(&mut stage, a.alias, 1, 1, "kept");
    stage.pass_ms(100);
    stage.attach(0, "newer").unwrap();
    disk.forget_slot("old");
    let mut stage = Stage::on(&disk, config());
    let recorded = disk.room("old").unwrap().room.slot;
    assert!(recorded.is_some());
    let back = Follower::attach(&stage.attach(0, "old").unwrap());
    assert_eq!((back.said.len(), back.said[0].text.as_str()), (1, "kept"));
    let mut stage = Stage::on(&disk, config());
    assert_eq!(stage.attach(0, "old").unwrap().alias, back.alias);
}

#[test]
fn a_viewer_of_any_of_the_last_four_epochs_goes_on() {
    let disk = Disk::prompt();
    let mut epochs = Vec::new();
    for life in 0..6u64 {
        let mut stage = Stage::on(&disk, config());
        let a = stage.attach(0, "show").unwrap();
        epochs.push((a.epoch, a.next_offset));
        let held = epochs.iter().map(|&(epoch, offset)| a.previous.holds(epoch, offset));
        let expected = (0..=life).map(|of| of < life && life - of <= Lineage::EPOCHS_MAX as u64);
        assert!(held.eq(expected), "life {life}");
        say(&mut stage, a.alias, life, life, "said");
        stage.pass_ms(100);
        disk.cut_power(1000 + life);
    }
}

/// A worker of the test's.
struct Worker {
    port: WorkerPort,
    parker: Parker,
}

impl Worker {
    fn next(&mut self) -> Output {
        loop {
            if let Some(output) = self.port.poll_output() {
                return output;
            }
            let port = &mut self.port;
            self.parker.park_timeout(Some(Duration::from_secs(20)), || !port.is_empty());
            assert!(!self.port.is_empty(), "no output in time");
        }
    }

    fn attached(&mut self) -> Box<Attachment> {
        loop {
            if let Output::Attached { result, .. } = self.next() {
                return result.expect("attached");
            }
        }
    }

    /// Offsets that are acknowledged, until there are so many.
    fn acknowledged(&mut self, count: usize) -> Vec<u64> {
        let mut offsets = Vec::new();
        while offsets.len() < count {
            if let Output::Answers(answers) = self.next() {
                offsets.extend(published(&answers.into_iter().map(|a| (WorkerId(0), a)).collect::<Vec<_>>()));
            }
        }
        offsets
    }
}

#[test]
fn a_shard_is_released_and_taken_again_while_workers_live() {
    let mut disk = Disk::prompt();
    let shard = ShardConfig { durability: Durability::Disk, ..config() };
    let engine_config = EngineConfig { shard, ..EngineConfig::for_tests() };
    let (bell, parker) = thread_bell();
    let (mut engine, mut ports) =
        Engine::start_with_log(engine_config, vec![bell], Some(&mut disk)).expect("the engine starts");
    let mut worker = Worker { port: ports.remove(0), parker };
    let (id, backbone) = (ShardId(0), engine.backbone());
    let submit = |input| backbone.submit(id, input).expect("the inbox has room");
    submit(Input::Attach { worker: WorkerId(0), room: "show".into(), opener: Opener::NODE });
    let first = worker.attached();
    submit(Input::Viewers { worker: WorkerId(0), alias: first.alias, count: 3 });
    let mut acknowledged = Vec::new();
    for round in 0..5u64 {
        for n in 0..10 {
            submit(Input::Publish(publication(first.alias, 0, n, round, "before the release")));
        }
        assert_eq!(engine.seat(id, Some(&mut disk)), Err(SeatError::Taken));
        assert_eq!(engine.release(id, Some(&mut disk)), Ok(true));
        assert_eq!(engine.release(id, Some(&mut disk)), Err(SeatError::Empty));
        // What comes while nobody sits there waits for the next owner, under the same number.
        for n in 10..20 {
            submit(Input::Publish(publication(first.alias, 0, n, round, "while the seat is empty")));
        }
        engine.seat(id, Some(&mut disk)).expect("taken again");
        // A retry is known, and is not in the log twice.
        submit(Input::Publish(publication(first.alias, 0, 0, round, "before the release")));
        acknowledged.extend(worker.acknowledged(21));
    }
    acknowledged.sort_unstable();
    acknowledged.dedup();
    assert_eq!(acknowledged, (0..100).collect::<Vec<u64>>());
    assert_eq!(disk.room("show").unwrap().next_offset, 100, "nothing acknowledged is lost, nothing is twice");
    let list = AdminRequest::List { prefix: String::new(), after: String::new(), limit: 9 };
    let Ok(AdminAnswer::Rooms(rooms)) = engine.ask_and_wait(list) else { panic!("no rooms") };
    assert_eq!((rooms.len(), rooms[0].viewers, rooms[0].alias), (1, 3, first.alias));
    engine.shutdown();
}

#[test]
fn the_node_itself_publishes_and_is_answered_by_number() {
    let config = EngineConfig { shards: 2, shard: config(), ..EngineConfig::for_tests() };
    let (mut engine, _ports) = Engine::start(config, Vec::new()).expect("the engine starts");
    let Ok(AdminAnswer::Room(room)) =
        engine.ask_and_wait(AdminRequest::Create { room: "show".into(), settings: RoomSettings::default() })
    else {
        panic!("no room")
    };
    let (desk, (sender, answers)) = (engine.desk(), std::sync::mpsc::channel());
    for n in 0..3 {
        let sender = sender.clone();
        let said = publication(room.alias, 0, 1, n, "from an HTTP handler");
        desk.publish(said, move |kind| sender.send(kind).unwrap()).expect("the inbox has room");
    }
    let kinds: Vec<_> = (0..3).map(|_| answers.recv().expect("answered")).collect();
    assert!(kinds.iter().all(|kind| matches!(kind, AnswerKind::Published { .. })), "{kinds:?}");
    let set = sender.clone();
    let state =
        desk.set_state(room.alias, "score".into(), Some("1:0".into()), move |kind| set.send(kind).unwrap());
    assert_eq!(state, Ok(()));
    assert!(matches!(answers.recv(), Ok(AnswerKind::StateSet { .. })));
    // With the seat empty the request waits; with the engine gone it is dropped, and later ones are refused.
    let shard = engine.backbone().shard_of_alias(room.alias);
    assert_eq!(engine.release(shard, None), Ok(true));
    let late = sender.clone();
    desk.publish(publication(room.alias, 0, 1, 9, "late"), move |kind| late.send(kind).unwrap()).unwrap();
    engine.shutdown();
    drop(sender);
    assert!(answers.recv().is_err(), "dropped uncalled");
    let refused = desk.ask(shard, AdminRequest::Counters, |_| panic!("refused before"));
    assert_eq!(refused, Err(Refusal::Overloaded));
}
