//! Rooms on disk, one rule at a time: pushed before they are shown, acknowledged when synced, refused while
//! the disk takes nothing, back after a restart, and read further back than memory reaches.
//!
//! Not here: everything at once (`restarts.rs`), threads (`node.rs`), the disk itself (`grandstand-store`).

mod support;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_engine::{RoomSettings, ShardConfig, VIEWERS_KEY};
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::refusal::Refusal;
use support::{Disk, Follower, Stage, batches, publication};

fn config() -> ShardConfig {
    ShardConfig { tick_ms: 10, ..ShardConfig::for_tests() }
}

/// A room on a disk under the test's hand, announced and followed by worker 0.
fn followed(disk: &Disk, config: ShardConfig) -> (Stage, Box<Attachment>) {
    let mut stage = Stage::on(disk, config);
    let attachment = stage.attach(0, "show").expect("made on first use");
    disk.sync(usize::MAX);
    (stage, attachment)
}

fn say(stage: &mut Stage, alias: Alias, nonce: u64) {
    stage.input(Input::Publish(publication(alias, 0, 1, nonce, "text")));
}

/// Say it and seal it.
fn say_sealed(stage: &mut Stage, alias: Alias, nonce: u64) {
    say(stage, alias, nonce);
    stage.pass_ms(20);
}

fn kinds(stage: &mut Stage) -> Vec<AnswerKind> {
    stage.answers().into_iter().map(|(_, answer)| answer.kind).collect()
}

fn offsets(stage: &mut Stage) -> Vec<(u64, bool)> {
    let offset = |kind| match kind {
        AnswerKind::Published { offset, repeated, durability: Durability::Disk, .. } => (offset, repeated),
        other => panic!("not on disk: {other:?}"),
    };
    kinds(stage).into_iter().map(offset).collect()
}

fn refusal(stage: &mut Stage) -> (Refusal, Option<u32>) {
    match kinds(stage)[..] {
        [AnswerKind::PublishRefused { reason, retry_after_ms, .. }] => (reason, retry_after_ms),
        ref other => panic!("not one refusal: {other:?}"),
    }
}

fn set(stage: &mut Stage, alias: Alias, key: &str, value: Option<&'static [u8]>) {
    let from = ReplyTo { worker: WorkerId(0), connection: ConnectionToken(9) };
    let value = value.map(Bytes::from_static);
    stage.input(Input::SetState(Box::new(StateChange { from, request: 5, alias, key: key.into(), value })));
    stage.pass_ms(20);
}

fn configure(stage: &mut Stage, durability: Option<Durability>) -> Result<AdminAnswer, Refusal> {
    let settings = RoomSettings { durability, ..RoomSettings::default() };
    stage.admin(AdminRequest::Configure { room: "show".into(), settings })
}

fn page(stage: &mut Stage, a: &Attachment, request: u64, from: u64) {
    let (worker, of) = (WorkerId(0), PageOf::Shown);
    stage.input(Input::History { worker, request, alias: a.alias, epoch: a.epoch, from, of });
}

fn pages(stage: &mut Stage) -> Vec<(u64, HistoryPage)> {
    let page = |(_, output)| match output {
        Output::History { request, page } => Some((request, *page)),
        _ => None,
    };
    stage.outputs().into_iter().filter_map(page).collect()
}

#[test]
fn a_batch_is_shown_when_it_is_pushed_and_acknowledged_when_it_is_synced() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    let mut follower = Follower::attach(&a);
    say_sealed(&mut stage, a.alias, 1);
    assert_eq!(disk.waiting(), 1);
    let outputs = stage.outputs();
    assert!(matches!(&outputs[..], [(_, Output::Batch { .. })]), "shown, and no answer: {outputs:?}");
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    say_sealed(&mut stage, a.alias, 2);
    disk.sync(1);
    assert_eq!(offsets(&mut stage), [(0, false)]);
    disk.sync(1);
    assert_eq!(offsets(&mut stage), [(1, false)]);
    assert_eq!((kinds(&mut stage).len(), stage.shard.is_flushed()), (0, true));
}

#[test]
fn a_repetition_waits_for_the_disk_as_the_first_did() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    say(&mut stage, a.alias, 1);
    say(&mut stage, a.alias, 1);
    stage.pass_ms(20);
    say_sealed(&mut stage, a.alias, 1);
    assert_eq!(kinds(&mut stage).len(), 0);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, false), (0, true), (0, true)]);
    say(&mut stage, a.alias, 1);
    assert_eq!(offsets(&mut stage), [(0, true)], "at once, once it is synced");
    say_sealed(&mut stage, a.alias, 2);
    say(&mut stage, a.alias, 1);
    assert_eq!(offsets(&mut stage), [(0, true)], "whatever else is on its way");
}

#[test]
fn an_answer_that_waited_too_long_is_a_refusal_that_undoes_nothing() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, ShardConfig { answer_within_ms: 500, ..config() });
    say_sealed(&mut stage, a.alias, 1);
    set(&mut stage, a.alias, "score", Some(b"1:0"));
    assert_eq!(kinds(&mut stage).len(), 0);
    stage.pass_ms(600);
    let refused = kinds(&mut stage);
    let (reason, retry) = (Refusal::StorageUnavailable, Some(1000));
    let expected = [
        AnswerKind::PublishRefused { nonce: 1, reason, retry_after_ms: retry },
        AnswerKind::StateRefused { request: 5, reason, retry_after_ms: retry },
    ];
    assert_eq!(refused, expected);
    say_sealed(&mut stage, a.alias, 1);
    assert_eq!(kinds(&mut stage).len(), 0, "still on its way");
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, true)], "and in the room once");
    assert_eq!(stage.counter("answers_late"), 2);
}

#[test]
fn nonces_that_are_not_synced_are_never_forgotten() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, ShardConfig { nonces_max: 2, nonce_window_ms: 1000, ..config() });
    for nonce in 0..5 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    stage.pass_ms(60_000);
    stage.answers();
    say(&mut stage, a.alias, 0);
    assert_eq!(kinds(&mut stage).len(), 0, "it waits");
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, true)]);
    stage.pass_ms(900);
    say(&mut stage, a.alias, 4);
    assert_eq!(offsets(&mut stage), [(4, true)], "the window begins when it is synced");
    stage.pass_ms(200);
    say_sealed(&mut stage, a.alias, 4);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(5, false)], "and ends");
}

#[test]
fn while_the_disk_takes_nothing_publishers_are_refused_and_viewers_served() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    say_sealed(&mut stage, a.alias, 1);
    disk.fail(true);
    say(&mut stage, a.alias, 2);
    assert_eq!(refusal(&mut stage), (Refusal::StorageUnavailable, Some(1234)));
    set(&mut stage, a.alias, "k", Some(b"v"));
    let (reason, retry_after_ms) = (Refusal::StorageUnavailable, Some(1234));
    assert_eq!(kinds(&mut stage), [AnswerKind::StateRefused { request: 5, reason, retry_after_ms }]);
    let create = |room: &str, durability| {
        let settings = RoomSettings { durability, ..RoomSettings::default() };
        AdminRequest::Create { room: room.into(), settings }
    };
    for durability in [None, Some(Durability::Disk)] {
        assert_eq!(stage.admin(create("another", durability)), Err(Refusal::StorageUnavailable));
    }
    let memory = stage.room(create("in memory", Some(Durability::Memory)));
    assert_eq!(memory.durability, Durability::Memory, "what the log would not keep is made");
    say(&mut stage, memory.alias, 7);
    let taken = kinds(&mut stage);
    assert!(
        matches!(taken[..], [AnswerKind::Published { nonce: 7, durability: Durability::Memory, .. }]),
        "{taken:?}"
    );
    let other = stage.attach(1, "first used now").expect("viewers may come");
    stage.input(Input::React { alias: a.alias, tallies: vec![("x".into(), 3)] });
    stage.pass_ms(50);
    assert!(!batches(stage.outputs(), 0).is_empty(), "reactions go on");
    disk.fail(false);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, false)]);
    say_sealed(&mut stage, a.alias, 2);
    say_sealed(&mut stage, other.alias, 3);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(1, false), (0, false)]);
    assert_eq!(disk.room("first used now").map(|r| r.room.epoch), Some(other.epoch), "announced in time");
}

#[test]
fn answers_that_wait_are_bounded() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, ShardConfig { answers_held_max: 3, ..config() });
    say_sealed(&mut stage, a.alias, 1);
    for _ in 0..2 {
        say(&mut stage, a.alias, 1);
    }
    say(&mut stage, a.alias, 1);
    assert_eq!(refusal(&mut stage).0, Refusal::StorageUnavailable, "a repetition");
    say(&mut stage, a.alias, 2);
    assert_eq!(refusal(&mut stage).0, Refusal::StorageUnavailable, "and what is new");
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, false), (0, true), (0, true)]);
}

#[test]
fn rooms_in_memory_know_nothing_of_the_disk() {
    let disk = Disk::default();
    let (mut stage, _) = followed(&disk, config());
    let a = stage.attach(0, "in memory").unwrap();
    disk.sync(usize::MAX);
    let settings = RoomSettings { durability: Some(Durability::Memory), ..RoomSettings::default() };
    let request = AdminRequest::Configure { room: "in memory".into(), settings };
    stage.ask(request);
    disk.sync(usize::MAX);
    assert!(stage.admin_answer().unwrap().is_ok());
    stage.outputs();
    disk.fail(true);
    say(&mut stage, a.alias, 1);
    say(&mut stage, a.alias, 1);
    set(&mut stage, a.alias, "k", Some(b"v"));
    let kinds = kinds(&mut stage);
    let memory = |k: &&AnswerKind| matches!(k, AnswerKind::Published { durability: Durability::Memory, .. });
    assert_eq!((kinds.len(), kinds.iter().filter(memory).count()), (3, 2));
    assert_eq!(disk.waiting(), 0);
}

#[test]
fn without_a_durable_log_a_room_cannot_be_kept() {
    let mut stage = Stage::new(ShardConfig { durability: Durability::Disk, ..config() });
    let a = stage.attach(0, "show").unwrap();
    say(&mut stage, a.alias, 1);
    assert!(matches!(kinds(&mut stage)[..], [AnswerKind::Published { durability: Durability::Memory, .. }]));
    assert_eq!(configure(&mut stage, Some(Durability::Disk)), Err(Refusal::StorageUnavailable));
    assert!(configure(&mut stage, Some(Durability::Memory)).is_ok());
}

#[test]
fn a_room_that_was_in_memory_is_kept_from_the_change_on() {
    let disk = Disk::prompt();
    let mut stage = Stage::on(&disk, config());
    let settings = RoomSettings { durability: Some(Durability::Memory), ..RoomSettings::default() };
    let a = stage.attach(0, "show").unwrap();
    disk.sync(usize::MAX);
    stage.room(AdminRequest::Configure { room: "show".into(), settings });
    disk.sync(usize::MAX);
    assert_eq!(disk.room("show"), None, "what is stored goes");
    say(&mut stage, a.alias, 1);
    set(&mut stage, a.alias, "score", Some(b"1:0"));
    say(&mut stage, a.alias, 2);
    assert_eq!(kinds(&mut stage).len(), 3, "at once");
    stage.room(AdminRequest::Configure { room: "show".into(), settings: RoomSettings::default() });
    disk.sync(usize::MAX);
    let stored = disk.room("show").expect("kept");
    assert_eq!((stored.next_offset, stored.oldest_offset, stored.room.epoch), (2, 2, a.epoch));
    assert_eq!(stored.state, [("score".into(), Bytes::from_static(b"1:0"))]);
    say(&mut stage, a.alias, 2);
    let of_memory = kinds(&mut stage);
    assert!(
        matches!(of_memory[..], [AnswerKind::Published { offset: 1, durability: Durability::Memory, .. }]),
        "{of_memory:?}"
    );
    say_sealed(&mut stage, a.alias, 3);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(2, false)]);
    let mut again = Stage::on(&disk, config());
    let back = again.attach(0, "show").unwrap();
    assert_eq!((back.epoch, back.next_offset), (a.epoch, 3));
}

#[test]
fn an_operators_answer_waits_for_the_disk() {
    let disk = Disk::default();
    let mut stage = Stage::on(&disk, ShardConfig { answer_within_ms: 500, ..config() });
    stage.ask(AdminRequest::Create { room: "show".into(), settings: RoomSettings::default() });
    assert_eq!(stage.admin_answer(), None);
    disk.sync(usize::MAX);
    assert!(stage.admin_answer().unwrap().is_ok());
    let (room, key) = ("show".to_owned(), "score".to_owned());
    stage.ask(AdminRequest::SetState { room, key, value: Some(b"1".to_vec()) });
    stage.ask(AdminRequest::Close { room: "show".into() });
    stage.pass_ms(600);
    assert_eq!(stage.admin_answer(), Some(Err(Refusal::StorageUnavailable)));
    assert_eq!(stage.admin_answer(), Some(Err(Refusal::StorageUnavailable)));
    disk.sync(usize::MAX);
    let stored = disk.room("show").unwrap();
    assert_eq!((stored.room.phase, stored.room.is_operators, stored.state.len()), (Phase::Closed, true, 1));
    stage.ask(AdminRequest::Remove { room: "show".into() });
    disk.sync(usize::MAX);
    assert!(stage.admin_answer().unwrap().is_ok());
    assert_eq!(disk.room("show"), None);
}

#[test]
fn after_a_kill_a_room_goes_on_where_its_viewers_stood() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    stage.input(Input::Viewers { worker: WorkerId(0), alias: a.alias, count: 7 });
    for nonce in 0..20 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    set(&mut stage, a.alias, "score", Some(b"1:0"));
    let mut follower = Follower::attach(&a);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    assert!(follower.state.contains_key(VIEWERS_KEY));
    disk.kill();
    let mut stage = Stage::on(&disk, config());
    stage.attach(1, "another, so that aliases differ").unwrap();
    let back = stage.attach(0, "show").unwrap();
    assert_eq!((back.epoch, back.next_offset, back.time_ms), (a.epoch, 20, follower.at.time_ms));
    let again = Follower::attach(&back);
    assert_eq!(again.said[..], follower.said[12..], "the newest are there, under the alias of today");
    assert!(again.version > follower.version, "no version is given twice");
    assert_eq!(again.state.keys().collect::<Vec<_>>(), ["score"]);
    say(&mut stage, back.alias, 19);
    assert_eq!(offsets(&mut stage), [(19, true)], "a repetition is known");
    say_sealed(&mut stage, back.alias, 20);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(20, false)]);
}

#[test]
fn settings_phases_and_slow_mode_come_back() {
    let disk = Disk::prompt();
    let mut stage = Stage::on(&disk, config());
    stage.room(AdminRequest::Create { room: "show".into(), settings: RoomSettings::default() });
    let settings = RoomSettings { tick_min_ms: Some(70), tick_max_ms: Some(70), ..RoomSettings::default() };
    stage.room(AdminRequest::Configure { room: "show".into(), settings });
    let (room, key) = ("show".to_owned(), grandstand_engine::SLOW_MODE_KEY.to_owned());
    stage.room(AdminRequest::SetState { room, key, value: Some(b"60000".to_vec()) });
    stage.room(AdminRequest::Create { room: "closed".into(), settings: RoomSettings::default() });
    let closed = stage.room(AdminRequest::Close { room: "closed".into() });
    let mut stage = Stage::on(&disk, config());
    let a = stage.attach(0, "show").unwrap();
    say(&mut stage, a.alias, 1);
    say(&mut stage, a.alias, 2);
    stage.pass_ms(100);
    let refused = kinds(&mut stage);
    let reason = Refusal::SlowMode;
    assert!(
        refused.iter().any(|k| matches!(k, AnswerKind::PublishRefused { reason: r, .. } if *r == reason))
    );
    assert_eq!(stage.room(AdminRequest::Open { room: "show".into() }).settings, settings);
    let back = stage.attach(0, "closed").unwrap();
    assert_eq!((back.phase, back.epoch), (Phase::Closed, closed.epoch));
}

#[test]
fn after_a_power_cut_the_log_is_another_one_that_goes_on_from_the_cut() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    for nonce in 0..3 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    disk.sync(2);
    disk.cut_power(4711);
    let mut stage = Stage::on(&disk, config());
    let back = stage.attach(0, "show").unwrap();
    assert_eq!((back.epoch, back.next_offset), (4711, 2));
    let previous = back.previous.epochs()[0];
    assert_eq!((previous.epoch, previous.next_offset), (a.epoch, 2));
    say(&mut stage, back.alias, 1);
    assert_eq!(offsets(&mut stage), [(1, true)]);
    say_sealed(&mut stage, back.alias, 2);
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(2, false)], "what was lost is said again");
}

#[test]
fn what_memory_does_not_keep_is_read_from_the_disk_once_for_all() {
    let disk = Disk::prompt();
    let (mut stage, a) = followed(&disk, ShardConfig { history_batches_max: 4, ..config() });
    for nonce in 0..20 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    stage.outputs();
    let info = stage.room(AdminRequest::Open { room: "show".into() });
    assert_eq!((info.oldest_offset, info.durability), (0, Durability::Disk));
    page(&mut stage, &a, 1, 17);
    assert_eq!((pages(&mut stage).len(), disk.read_count()), (1, 0), "memory has it");
    disk.hold_reads();
    for request in 2..50 {
        page(&mut stage, &a, request, 5);
    }
    assert_eq!((pages(&mut stage).len(), disk.read_count()), (0, 1));
    disk.answer_reads();
    let all = pages(&mut stage);
    assert_eq!(all.len(), 48);
    assert!(all.iter().all(|(_, page)| page.batches[0].first_offset == 5 && page.same_epoch));
}

#[test]
fn a_disk_that_does_not_answer_hangs_nobody() {
    let disk = Disk::prompt();
    let small = ShardConfig { history_batches_max: 4, answer_within_ms: 500, ..config() };
    let (mut stage, a) = followed(&disk, small);
    for nonce in 0..20 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    stage.outputs();
    disk.hold_reads();
    for from in 0..15 {
        for request in 0..4 {
            page(&mut stage, &a, 100 * from + request, from);
        }
    }
    stage.pass_ms(600);
    let late = pages(&mut stage);
    assert_eq!(late.len(), 60);
    let is_of_memory = |p: &HistoryPage| p.retry_after_ms.is_some() && p.batches[0].first_offset == 16;
    assert!(late.iter().all(|(_, page)| is_of_memory(page)));
    disk.answer_reads();
    assert_eq!(pages(&mut stage).len(), 0, "each is answered once");
    page(&mut stage, &a, 7, 3);
    assert_eq!(pages(&mut stage)[0].1.batches[0].first_offset, 3, "and the disk is asked again");
}

#[test]
fn at_most_so_many_reads_are_under_way_and_none_is_forgotten() {
    let disk = Disk::prompt();
    let (mut stage, a) = followed(&disk, ShardConfig { history_batches_max: 4, ..config() });
    for nonce in 0..100 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    stage.outputs();
    disk.hold_reads();
    (0..90).for_each(|from| page(&mut stage, &a, from, from));
    assert_eq!(disk.read_count(), 32);
    disk.answer_reads();
    let firsts: Vec<_> = pages(&mut stage).iter().map(|(t, p)| (*t, p.batches[0].first_offset)).collect();
    assert_eq!(firsts, (0..90).map(|n| (n, n)).collect::<Vec<_>>());
}

#[test]
fn an_idle_room_gives_its_memory_back_and_keeps_its_place() {
    let disk = Disk::prompt();
    let (mut stage, a) = followed(&disk, ShardConfig { idle_ms: 1000, nonce_window_ms: 5000, ..config() });
    for nonce in 0..30 {
        stage.input(Input::Publish(publication(a.alias, 0, 1, nonce, &"x".repeat(1000))));
        stage.pass_ms(20);
    }
    set(&mut stage, a.alias, "score", Some(b"1:0"));
    stage.outputs();
    let before = stage.room(AdminRequest::Open { room: "show".into() });
    stage.input(Input::Detach { worker: WorkerId(0), alias: a.alias });
    stage.pass_ms(4000);
    assert_eq!(stage.counter("rooms_live"), 1, "not before its nonces are forgotten");
    stage.pass_ms(2000);
    assert_eq!((stage.counter("rooms_live"), stage.counter("rooms")), (0, 1));
    assert!(stage.counter("history_bytes") <= 16 << 10);
    let back = stage.attach(2, "show").unwrap();
    assert_eq!((back.epoch, back.next_offset, back.alias), (a.epoch, 30, a.alias));
    assert!(!back.batches.is_empty(), "the newest are at hand");
    let follower = Follower::attach(&back);
    assert_eq!((&follower.state["score"][..], follower.version), (&b"1:0"[..], before.state_version));
    say_sealed(&mut stage, back.alias, 99);
    assert_eq!(offsets(&mut stage), [(30, false)]);
}

#[test]
fn a_room_of_which_nothing_is_kept_goes_unless_an_operator_made_it() {
    let disk = Disk::prompt();
    let mut stage = Stage::on(&disk, ShardConfig { idle_ms: 1000, nonce_window_ms: 0, ..config() });
    stage.room(AdminRequest::Create { room: "operator's".into(), settings: RoomSettings::default() });
    for room in ["only watched", "spoken in", "operator's"] {
        let alias = stage.attach(0, room).unwrap().alias;
        if room != "only watched" {
            say_sealed(&mut stage, alias, 1);
        }
        stage.input(Input::Detach { worker: WorkerId(0), alias });
    }
    stage.pass_ms(2000);
    assert!(disk.room("only watched").is_none() && disk.room("spoken in").is_some());
    disk.trim("spoken in", 0);
    disk.trim("operator's", 0);
    stage.outputs();
    assert!(disk.room("spoken in").is_none(), "retention took all of it");
    let info = stage.room(AdminRequest::Open { room: "operator's".into() });
    assert_eq!((info.next_offset, stage.counter("rooms_on_disk")), (1, 1));
}

#[test]
fn the_oldest_offset_is_the_disks_as_retention_leaves_it() {
    let disk = Disk::prompt();
    let (mut stage, a) = followed(&disk, ShardConfig { history_batches_max: 2, ..config() });
    for nonce in 0..10 {
        say_sealed(&mut stage, a.alias, nonce);
    }
    disk.trim("show", 6);
    stage.outputs();
    assert_eq!(stage.room(AdminRequest::Open { room: "show".into() }).oldest_offset, 4);
    page(&mut stage, &a, 1, 0);
    assert_eq!(pages(&mut stage)[0].1.batches[0].first_offset, 4, "from the oldest there is");
}

#[test]
fn an_hour_of_the_wall_clock_either_way_changes_nothing() {
    for step_ms in [-3_600_000i64, 3_600_000] {
        let disk = Disk::default();
        let (mut stage, a) = followed(&disk, config());
        let mut follower = Follower::attach(&a);
        say_sealed(&mut stage, a.alias, 1);
        stage.clock.step_wall_ms(step_ms);
        say_sealed(&mut stage, a.alias, 2);
        stage.pass_ms(200);
        batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
        assert_eq!(follower.said.len(), 2, "sealed without delay");
        disk.kill();
        let back = Stage::on(&disk, config());
        let mut stage = Stage { clock: stage.clock.of_next_process(), ..back };
        let a = stage.attach(0, "show").unwrap();
        let mut follower = Follower::attach(&a);
        say(&mut stage, a.alias, 2);
        assert_eq!(offsets(&mut stage), [(1, true)]);
        say_sealed(&mut stage, a.alias, 3);
        batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
        let times: Vec<_> = follower.said.iter().map(|said| said.time_ms).collect();
        assert!(times.is_sorted() && times.len() == 3, "{times:?}");
    }
}

#[test]
fn at_the_end_what_is_not_synced_is_refused() {
    let disk = Disk::default();
    let (mut stage, a) = followed(&disk, config());
    say(&mut stage, a.alias, 1);
    stage.shard.handle_shutdown(stage.now());
    assert!(!stage.shard.is_flushed());
    disk.sync(usize::MAX);
    assert_eq!(offsets(&mut stage), [(0, false)]);
    assert!(stage.shard.is_flushed());
    say(&mut stage, a.alias, 2);
    stage.shard.handle_shutdown(stage.now());
    stage.shard.give_up_answers();
    assert_eq!(refusal(&mut stage).0, Refusal::StorageUnavailable);
}
