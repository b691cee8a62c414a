//! Threads, queues and clocks together: nothing that was acknowledged is lost, whatever fills up, and a stop
//! leaves nothing unsaid. Bounded in count; threads wait for outputs, never for time to pass.
//!
//! Not here: rules of rooms (`rules.rs`), the queues' own proofs (the queue crate).

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "threads are what is tested")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use grandstand_engine::link::*;
use grandstand_engine::{Engine, EngineConfig, ShardConfig, WorkerPort};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;
use grandstand_queue::{Parker, thread_bell};
use support::{Disk, Follower, publication};

/// A worker thread's side: its port and the parker that its bell rings.
struct Worker {
    port: WorkerPort,
    parker: Parker,
}

impl Worker {
    /// The next output; waits for it.
    fn next(&mut self) -> Output {
        loop {
            if let Some(output) = self.port.poll_output() {
                return output;
            }
            let port = &self.port;
            let rung = self.parker.park_timeout(Some(Duration::from_secs(20)), || !port.is_empty());
            assert!(rung, "nothing came for 20 s");
        }
    }

    fn submit(&self, room: &str, input: Input) -> Result<(), Input> {
        self.port.backbone.submit(self.port.backbone.shard_of(room), input)
    }

    fn attach(&mut self, room: &str) -> Follower {
        let input = Input::Attach { worker: self.port.worker, room: room.into(), opener: Opener::NODE };
        assert!(self.submit(room, input).is_ok(), "the inbox is empty at the start");
        match self.next() {
            Output::Attached { result: Ok(attachment), .. } => Follower::attach(&attachment),
            other => panic!("not an attachment: {other:?}"),
        }
    }
}

fn start(config: EngineConfig, workers: usize) -> (Engine, Vec<Worker>) {
    let (bells, parkers): (Vec<_>, Vec<_>) = (0..workers).map(|_| thread_bell()).unzip();
    let (engine, ports) = Engine::start(config, bells).expect("the engine starts");
    (engine, ports.into_iter().zip(parkers).map(|(port, parker)| Worker { port, parker }).collect())
}

fn quick() -> ShardConfig {
    ShardConfig { tick_ms: 2, viewers_every_ms: 0, ..ShardConfig::for_tests() }
}

const PUBLICATIONS: u64 = 500;

/// Follow some rooms, publish into them in turn (again when refused for now), and read until all of everybody
/// is there.
fn talk_and_read(mut worker: Worker, rooms: &[&str], expected: usize) -> HashMap<Alias, Vec<support::Said>> {
    let mut followers: Vec<Follower> = Vec::new();
    let mut early = Vec::new();
    for room in rooms {
        while worker
            .submit(
                room,
                Input::Attach { worker: worker.port.worker, room: (*room).into(), opener: Opener::NODE },
            )
            .is_err()
        {
            // Others fill the inbox: make room on the way back, then try again.
            early.extend(worker.port.poll_output());
            thread::yield_now();
        }
        // Batches of rooms already followed may come before the answer.
        loop {
            match worker.next() {
                Output::Attached { result, .. } => {
                    break followers.push(Follower::attach(&result.expect("allowed")));
                }
                other => early.push(other),
            }
        }
    }
    let id = worker.port.worker.0;
    let mut due: Vec<u64> = (0..PUBLICATIONS).rev().collect();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut read = 0;
    let mut waiting = early.into_iter();
    while (acknowledged.len() as u64) < PUBLICATIONS || read < expected {
        while let Some(nonce) = due.pop() {
            let i = (nonce % rooms.len() as u64) as usize;
            let text = format!("worker {id} says {nonce}");
            let publication = publication(followers[i].alias, id, u64::from(id), nonce, &text);
            if worker.submit(rooms[i], Input::Publish(publication)).is_err() {
                due.push(nonce);
                break;
            }
        }
        let output = match waiting.next() {
            Some(output) => output,
            None if due.is_empty() => worker.next(),
            // Refused for now: look at what came, then try again.
            None => match worker.port.poll_output() {
                Some(output) => output,
                None => {
                    thread::yield_now();
                    continue;
                }
            },
        };
        match output {
            Output::Batch { alias, batch } => {
                followers.iter_mut().find(|f| f.alias == alias).expect("followed").take(&batch);
                read = followers.iter().map(|f| f.at.offset as usize).sum();
            }
            Output::Answers(answers) => {
                for answer in answers {
                    match answer.kind {
                        AnswerKind::Published { nonce, offset, .. } => {
                            assert!(acknowledged.insert(nonce, offset).is_none(), "acknowledged twice");
                        }
                        AnswerKind::PublishRefused { nonce, reason: Refusal::Overloaded, .. } => {
                            due.push(nonce);
                        }
                        other => panic!("unexpected: {other:?}"),
                    }
                }
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    for (nonce, offset) in acknowledged {
        let follower = &followers[(nonce % rooms.len() as u64) as usize];
        let first = follower.said.first().expect("something was said").offset;
        let said = &follower.said[(offset - first) as usize];
        assert_eq!(said.text, format!("worker {id} says {nonce}"), "an answer is true");
    }
    followers.into_iter().map(|f| (f.alias, f.said)).collect()
}

fn everyone_reads_everything(config: EngineConfig) -> u64 {
    let rooms = ["one", "two", "three", "four", "five"];
    let (engine, workers) = start(config, 3);
    let expected = workers.len() * PUBLICATIONS as usize;
    let threads: Vec<_> = workers
        .into_iter()
        .map(|worker| thread::spawn(move || talk_and_read(worker, &rooms, expected)))
        .collect();
    let logs: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker")).collect();
    assert_eq!(logs[0].len(), rooms.len());
    assert_eq!(logs[0].values().map(Vec::len).sum::<usize>(), expected);
    assert!(logs.iter().all(|log| *log == logs[0]), "everyone reads the same");
    let overflowed = counter(&engine, "outputs_overflowed");
    assert_eq!(counter(&engine, "publications_accepted"), expected as u64);
    engine.shutdown();
    overflowed
}

fn counter(engine: &Engine, name: &str) -> u64 {
    let Ok(AdminAnswer::Counters(list)) = engine.ask_and_wait(AdminRequest::Counters) else {
        panic!("no counters")
    };
    for (name, _) in &list {
        assert_eq!(grandstand_engine::counter_name(name), Some(*name), "a counter that does not travel");
    }
    list.iter().find(|(n, _)| *n == name).expect("a counter of that name").1
}

#[test]
fn workers_on_threads_read_one_log() {
    everyone_reads_everything(EngineConfig { shards: 2, shard: quick(), ..EngineConfig::for_tests() });
}

#[test]
fn with_queues_of_two_nothing_is_lost_either() {
    let config = EngineConfig {
        shards: 2,
        inbox_capacity: 2,
        outbox_capacity: 2,
        overflow_max: 3,
        shard: ShardConfig {
            tick_ms: 1,
            pending_messages_max: 3,
            viewers_every_ms: 0,
            ..ShardConfig::for_tests()
        },
        ..EngineConfig::for_tests()
    };
    assert!(everyone_reads_everything(config) > 0, "the overflow was used");
}

#[test]
fn a_worker_that_does_not_listen_holds_up_the_inbox_and_loses_nothing() {
    let config = EngineConfig {
        inbox_capacity: 4,
        outbox_capacity: 2,
        overflow_max: 2,
        shard: quick(),
        ..EngineConfig::for_tests()
    };
    let (engine, mut workers) = start(config, 2);
    let mut stalled = workers.pop().expect("two");
    let mut talking = workers.pop().expect("two");
    let mut follower = talking.attach("show");
    let mut late = stalled.attach("show");
    let (mut sent, mut read) = (0u64, 0u64);
    // Until the inbox is full and stays so: nothing of ours is on its way any more.
    let mut refusals = 0;
    while refusals < 3 {
        assert!(sent < 10_000, "the inbox never fills");
        let input = Input::Publish(publication(follower.alias, 0, 1, sent, &format!("{sent}")));
        match talking.submit("show", input) {
            Ok(()) => sent += 1,
            Err(_) => {
                let rung =
                    talking.parker.park_timeout(Some(Duration::from_millis(50)), || !talking.port.is_empty());
                refusals = if rung { 0 } else { refusals + 1 };
            }
        }
        while let Some(output) = talking.port.poll_output() {
            read += acknowledged(&mut follower, output);
        }
    }
    assert!(read < sent, "what is in the inbox waits");
    let mut heard = 0;
    while heard < sent {
        if let Output::Batch { batch, .. } = stalled.next() {
            late.take(&batch);
            heard = late.at.offset;
        }
    }
    while read < sent {
        let output = talking.next();
        read += acknowledged(&mut follower, output);
    }
    assert_eq!(follower.said, late.said);
    assert!(late.said.iter().enumerate().all(|(i, said)| said.text == i.to_string()));
    engine.shutdown();
}

fn acknowledged(follower: &mut Follower, output: Output) -> u64 {
    match output {
        Output::Batch { batch, .. } => follower.take(&batch),
        Output::Answers(answers) => {
            assert!(answers.iter().all(|a| matches!(a.kind, AnswerKind::Published { .. })));
            return answers.len() as u64;
        }
        other => panic!("unexpected: {other:?}"),
    }
    0
}

#[test]
fn a_worker_that_is_gone_holds_up_nobody() {
    let config =
        EngineConfig { outbox_capacity: 2, overflow_max: 2, shard: quick(), ..EngineConfig::for_tests() };
    let (engine, mut workers) = start(config, 2);
    let mut gone = workers.pop().expect("two");
    let mut talking = workers.pop().expect("two");
    let mut follower = talking.attach("show");
    gone.attach("show");
    let members = Input::Viewers { worker: gone.port.worker, alias: follower.alias, count: 5 };
    assert!(gone.submit("show", members).is_ok());
    assert_eq!(viewers(&engine), 5);
    drop(gone);
    for nonce in 0..50 {
        let input = Input::Publish(publication(follower.alias, 0, 1, nonce, "still here"));
        assert!(talking.submit("show", input).is_ok());
        let mut answered = 0;
        while answered == 0 {
            let output = talking.next();
            answered = acknowledged(&mut follower, output);
        }
    }
    while follower.at.offset < 50 {
        let output = talking.next();
        acknowledged(&mut follower, output);
    }
    assert_eq!(follower.at.offset, 50);
    assert_eq!(viewers(&engine), 0, "its members went with it");
    engine.shutdown();
}

fn viewers(engine: &Engine) -> u64 {
    match engine.ask_and_wait(AdminRequest::Create { room: "show".into(), settings: RoomSettings::default() })
    {
        Ok(AdminAnswer::Room(info)) => info.viewers,
        other => panic!("not a room: {other:?}"),
    }
}

#[test]
fn a_shutdown_seals_and_hands_out_what_waits() {
    let shard = ShardConfig { tick_ms: 3_600_000, leading_edge: false, ..quick() };
    let config = EngineConfig { outbox_capacity: 2, shard, flush_ms: 20_000, ..EngineConfig::for_tests() };
    let (engine, mut workers) = start(config, 1);
    let mut worker = workers.pop().expect("one");
    let mut follower = worker.attach("show");
    for nonce in 0..100 {
        let input = Input::Publish(publication(follower.alias, 0, 1, nonce, &"x".repeat(4000)));
        assert!(worker.submit("show", input).is_ok());
    }
    let stopping = thread::spawn(move || engine.shutdown());
    let mut read = 0;
    while read < 100 || follower.at.offset < 100 {
        let output = worker.next();
        read += acknowledged(&mut follower, output);
    }
    assert_eq!((read, follower.said.len()), (100, 100));
    stopping.join().expect("the shutdown ends");
    assert!(worker.port.is_closed() && worker.port.poll_output().is_none());
    let late = Input::Publish(publication(follower.alias, 0, 1, 101, "too late"));
    assert!(worker.submit("show", late).is_err(), "a stopped shard gives inputs back");
}

#[test]
fn operators_ask_all_shards_at_once() {
    let (engine, _workers) =
        start(EngineConfig { shards: 3, shard: quick(), ..EngineConfig::for_tests() }, 1);
    for i in 0..20 {
        let created = engine.ask_and_wait(AdminRequest::Create {
            room: format!("room {i:02}"),
            settings: RoomSettings::default(),
        });
        assert!(matches!(created, Ok(AdminAnswer::Room(_))));
    }
    let list = AdminRequest::List { prefix: "room ".into(), after: "room 04".into(), limit: 5 };
    let Ok(AdminAnswer::Rooms(rooms)) = engine.ask_and_wait(list) else { panic!("no rooms") };
    let names: Vec<_> = rooms.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(names, ["room 05", "room 06", "room 07", "room 08", "room 09"]);
    let shards: std::collections::BTreeSet<_> =
        rooms.iter().map(|room| engine.backbone().shard_of_alias(room.alias)).collect();
    assert!(shards.len() > 1, "rooms are spread");
    assert_eq!(counter(&engine, "rooms"), 20);
    let (sender, receiver) = mpsc::channel();
    engine.ask(AdminRequest::Remove { room: "no such".into() }, move |answer| {
        sender.send(answer).expect("heard");
    });
    assert_eq!(receiver.recv(), Ok(Err(Refusal::UnknownRoom)));
}

#[test]
fn a_configuration_that_does_not_hold_is_an_error() {
    let shard = ShardConfig { tick_min_ms: 0, ..ShardConfig::for_tests() };
    let fault =
        Engine::start(EngineConfig { shard, ..EngineConfig::for_tests() }, Vec::new()).expect_err("refused");
    assert!(fault.to_string().contains("tick_min_ms"));
}

/// Prints what one shard does; asserts nothing, for machines differ. Run it in release mode with
/// `--nocapture`.
#[test]
fn throughput_is_printed() {
    let count = if cfg!(debug_assertions) { 20_000u64 } else { 1_000_000 };
    let shard = ShardConfig {
        tick_ms: 10,
        pending_messages_max: 100_000,
        viewers_every_ms: 0,
        ..ShardConfig::for_tests()
    };
    let (engine, mut workers) = start(EngineConfig { shard, ..EngineConfig::for_tests() }, 1);
    let mut worker = workers.pop().expect("one");
    let alias = worker.attach("show").alias;
    let (backbone, stop) = (worker.port.backbone.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let publishing = thread::spawn(move || {
        for nonce in 0..count {
            let mut input =
                Input::Publish(publication(alias, 0, nonce % 1000, nonce, "a message of an ordinary length"));
            while let Err(back) = backbone.submit(ShardId(0), input) {
                assert!(!stopped.load(Ordering::Relaxed), "the reader is gone");
                input = back;
                thread::yield_now();
            }
        }
    });
    let begun = std::time::Instant::now();
    let (mut answered, mut refused, mut batches, mut bytes) = (0, 0u64, 0u64, 0);
    while answered < count {
        match worker.next() {
            Output::Batch { batch, .. } => {
                batches += 1;
                bytes += batch.wire.len();
            }
            Output::Answers(answers) => {
                answered += answers.len() as u64;
                refused +=
                    answers.iter().filter(|a| !matches!(a.kind, AnswerKind::Published { .. })).count() as u64;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    publishing.join().expect("the publisher");
    println!(
        "{:.0} messages/s published and acknowledged ({refused} of {count} refused), {:.0} messages and {:.0} bytes per batch",
        count as f64 / seconds,
        (count - refused) as f64 / batches as f64,
        bytes as f64 / batches as f64,
    );
    engine.shutdown();
}

/// One shard over a disk under the test's hand, with one worker.
fn start_on(disk: &Disk, flush_ms: u64) -> (Engine, Worker) {
    let shard = ShardConfig { durability: Durability::Disk, ..quick() };
    let config = EngineConfig { flush_ms, shard, ..EngineConfig::for_tests() };
    let (bell, parker) = thread_bell();
    let mut disk = disk.clone();
    let (engine, mut ports) =
        Engine::start_with_log(config, vec![bell], Some(&mut disk)).expect("the engine starts");
    (engine, Worker { port: ports.remove(0), parker })
}

/// Say something and see it; it is pushed then.
fn say_and_see(worker: &mut Worker, follower: &mut Follower, nonce: u64) {
    let input = Input::Publish(publication(follower.alias, 0, 1, nonce, "text"));
    assert!(worker.submit("show", input).is_ok());
    match worker.next() {
        Output::Batch { batch, .. } => follower.take(&batch),
        other => panic!("not the batch: {other:?}"),
    }
}

fn only_answer(worker: &mut Worker) -> AnswerKind {
    match worker.next() {
        Output::Answers(answers) if answers.len() == 1 => answers[0].kind,
        other => panic!("not one answer: {other:?}"),
    }
}

#[test]
fn a_sleeping_shard_is_woken_by_the_disk_and_goes_on_after_a_restart() {
    let disk = Disk::default();
    let (engine, mut worker) = start_on(&disk, 2000);
    let mut follower = worker.attach("show");
    for nonce in 0..20 {
        say_and_see(&mut worker, &mut follower, nonce);
        assert!(worker.port.poll_output().is_none(), "not synced yet");
        disk.sync(usize::MAX);
        let kind = only_answer(&mut worker);
        assert!(matches!(kind, AnswerKind::Published { durability: Durability::Disk, .. }), "{kind:?}");
    }
    engine.shutdown();
    let (_engine, mut worker) = start_on(&disk, 2000);
    let again = worker.attach("show");
    assert_eq!((again.at.epoch, again.at.offset), (follower.at.epoch, 20));
    let input = Input::Publish(publication(again.alias, 0, 1, 19, "again"));
    assert!(worker.submit("show", input).is_ok());
    assert!(matches!(only_answer(&mut worker), AnswerKind::Published { offset: 19, repeated: true, .. }));
}

#[test]
fn a_shutdown_waits_until_what_was_pushed_is_synced_and_answered() {
    let disk = Disk::default();
    let (engine, mut worker) = start_on(&disk, 20_000);
    let mut follower = worker.attach("show");
    disk.sync(usize::MAX);
    say_and_see(&mut worker, &mut follower, 1);
    let stopping = thread::spawn(move || engine.shutdown());
    assert!(!worker.port.is_closed() && worker.port.poll_output().is_none());
    disk.sync(usize::MAX);
    assert!(matches!(only_answer(&mut worker), AnswerKind::Published { offset: 0, .. }));
    stopping.join().expect("it stops");
    assert!(worker.port.is_closed());
}

#[test]
fn a_shutdown_over_a_dead_disk_ends_in_time_and_refuses_what_waits() {
    let disk = Disk::default();
    let (engine, mut worker) = start_on(&disk, 50);
    let mut follower = worker.attach("show");
    say_and_see(&mut worker, &mut follower, 1);
    disk.fail(true);
    engine.shutdown();
    let reason = Refusal::StorageUnavailable;
    let kind = only_answer(&mut worker);
    assert!(
        matches!(kind, AnswerKind::PublishRefused { reason: r, retry_after_ms: Some(_), .. } if r == reason)
    );
}
