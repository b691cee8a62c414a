//! What goes on beside commits: retention, backups, faults of the disk, changes of the schema.
//!
//! Why: upkeep runs beside commits for months, and none of it may delay or lose one.

mod support;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use grandstand_engine::link::PageOf;
use grandstand_engine::log::*;
use grandstand_store::{BackupPlan, Found, Health, Retention, Store, StoreError, backup, verify};
use support::*;

/// Messages of a room, each a batch with a state of some kilobytes, so that bytes come quickly.
fn push_many(rig: &mut Rig, room: &str, offsets: std::ops::Range<u64>) -> Position {
    let value = "x".repeat(8 << 10);
    let mut last = Position(0);
    for offset in offsets {
        last = rig.log.push(batch_of(room, 1, offset, 1, Some(state(offset + 1, "k", Some(&value)))));
    }
    last
}

#[test]
fn a_room_keeps_its_bytes_and_says_what_is_gone() {
    let dir = Dir::new("retention");
    let mut config = dir.config();
    config.retention = Retention { room_bytes_max: 1 << 20, ..Retention::default() };
    let mut rig = Rig::open(config.clone());
    push_many(&mut rig, "loud", 0..1000);
    rig.log.push(batch("quiet", 1, 0));
    assert!(rig.close());
    let mut rig = Rig::open(config.clone());
    // Retention begins by itself.
    rig.wait(|rig| rig.store.status().segment_bytes.load(Relaxed) <= 1 << 20 && !rig.trimmed.is_empty());
    let Some(News::Trimmed { room, epoch: 1, oldest_offset }) = rig.trimmed.last().cloned() else { panic!() };
    assert_eq!(&*room, "loud");
    assert!((800..1000).contains(&oldest_offset), "{oldest_offset}");
    let page = rig.page("loud", 0, PageOf::Shown);
    assert_eq!(said(&page), expected("loud", oldest_offset..1000));
    assert_eq!(said(&rig.page("quiet", 0, PageOf::Shown)), expected("quiet", 0..1));
    assert!(rig.close());
    let rig = Rig::open(config);
    assert_eq!((rig.rooms[0].oldest_offset, rig.rooms[0].next_offset), (oldest_offset, 1000));
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn the_node_keeps_its_bytes_and_its_age_and_the_file_shrinks() {
    let dir = Dir::new("retention-node");
    let mut config = dir.config();
    let mut rig = Rig::open(config.clone());
    for room in ["a", "b", "c"] {
        push_many(&mut rig, room, 0..1200);
    }
    assert!(rig.close());
    let before = std::fs::metadata(dir.database()).unwrap().len();
    config.retention = Retention { node_bytes_max: 2 << 20, ..Retention::default() };
    let mut rig = Rig::open(config.clone());
    rig.wait(|rig| rig.store.status().segment_bytes.load(Relaxed) <= 2 << 20);
    let oldest: Vec<_> = ["a", "b", "c"].map(|room| rig.page(room, 0, PageOf::Shown).len()).into();
    assert!(oldest.iter().sum::<usize>() < 300, "{oldest:?}");
    rig.wait(|rig| rig.store.status().database_bytes.load(Relaxed) < before * 3 / 4);
    assert!(rig.close());
    // Times of these messages are of 1970.
    config.retention = Retention { age_ms: 86_400_000, ..Retention::default() };
    let mut rig = Rig::open(config);
    rig.wait(|rig| rig.store.status().segments.load(Relaxed) == 0);
    assert!(rig.page("c", 0, PageOf::Shown).is_empty());
    // The room goes on where it was.
    let last = rig.log.push(batch("c", 1, 1200));
    rig.wait_durable(last);
    assert_eq!(said(&rig.page("c", 0, PageOf::Shown)), expected("c", 1200..1201));
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_backup_under_load_is_sound_and_restores_under_new_epochs() {
    let dir = Dir::new("backup");
    let mut config = dir.config();
    let plan = BackupPlan { every_ms: 50, keep: 2, dir: dir.path().join("planned") };
    config.backups = Some(plan.clone());
    let mut rig = Rig::open(config.clone());
    let mut next = 0;
    let first = push_many(&mut rig, "a", 0..500);
    // The backup is of this moment: something must be there.
    rig.wait_durable(first);
    next += 500;
    let to = dir.path().join("one.db");
    let (data, target) = (dir.data(), to.clone());
    let made = std::thread::spawn(move || backup::run(&data, &target));
    while !made.is_finished() || rig.store.status().backups.load(Relaxed) < 4 {
        let last = rig.log.push(batch("a", 1, next));
        next += 1;
        rig.wait_durable(last);
    }
    let report = made.join().unwrap().unwrap();
    assert!(report.messages <= next && report.faults.is_empty());
    assert!(matches!(backup::run(&dir.data(), &to), Err(StoreError::InTheWay { .. })));
    assert!(matches!(backup::restore(&to, &dir.data(), true), Err(StoreError::Locked { .. })));
    assert!(rig.close());
    let kept = std::fs::read_dir(&plan.dir).unwrap().count();
    assert_eq!(kept, 2);

    assert!(matches!(backup::restore(&to, &dir.data(), false), Err(StoreError::InTheWay { .. })));
    backup::restore(&to, &dir.data(), true).unwrap();
    config.backups = None;
    let mut rig = Rig::open(config.clone());
    assert_eq!(rig.store.opening().found, Found::Restored);
    let stored = rig.rooms[0].clone();
    assert_eq!(stored.next_offset, report.messages);
    let previous = stored.previous.epochs()[0];
    assert_eq!((previous.epoch, previous.next_offset), (1, report.messages));
    assert_ne!(stored.room.epoch, 1);
    assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..report.messages));
    assert!(rig.close());
    assert!(Rig::open(config).store.opening().found == Found::Clean);
    let aside = std::fs::read_dir(dir.data()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(aside.filter(|path| path.join("grandstand.db").exists()).count(), 1);
}

#[test]
fn a_rotten_backup_is_not_put_in_place() {
    let dir = Dir::new("backup-rot");
    let mut rig = Rig::open(dir.config());
    push_many(&mut rig, "a", 0..50);
    assert!(rig.close());
    let to = dir.path().join("one.db");
    backup::run(&dir.data(), &to).unwrap();
    let mut bytes = std::fs::read(&to).unwrap();
    // Every copy: one may lie in a page that is free again.
    let copies: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b" says ")).collect();
    assert!(copies.len() >= 50);
    copies.into_iter().for_each(|at| bytes[at] ^= 1);
    std::fs::write(&to, bytes).unwrap();
    let other = dir.path().join("other");
    assert!(matches!(backup::restore(&to, &other, false), Err(StoreError::Corrupt { .. })));
    assert!(!other.join("grandstand.db").exists());
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = Dir::new("full");
    let Some(small) = Small::mount(&dir.data(), 4 << 20) else {
        return println!("SKIPPED: a full disk needs the right to mount a tmpfs");
    };
    let mut config = dir.config();
    config.queue_bytes_max = 16 << 20;
    let mut rig = Rig::open(config.clone());
    let mut next = 0;
    rig.wait(|rig| {
        if rig.log.check().is_ok() {
            push_many(rig, "a", next..next + 10);
            next += 10;
        }
        rig.store.status().health() == Health::Full
    });
    let refused = rig.log.check().unwrap_err();
    assert!((100..=1000).contains(&refused.retry_after_ms));
    assert!(rig.store.status().fault().contains("full"), "{}", rig.store.status().fault());
    let durable = rig.durable;
    // What was pushed can be read, and reads go on.
    assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..next));
    small.remount("size=256m");
    rig.wait_durable(Position(next));
    assert!(durable < Position(next));
    rig.wait(|rig| rig.log.check().is_ok());
    assert_eq!(rig.store.status().health(), Health::Good);
    assert!(rig.close());
    let mut rig = Rig::open(config);
    assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..next));
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let dir = Dir::new("queue");
    let mut config = dir.config();
    config.queue_bytes_max = 1;
    let mut rig = Rig::open(config);
    assert!(rig.log.check().is_ok());
    let mut next = 0;
    // The log thread may be faster than this one, once or twice.
    rig.wait(|rig| {
        rig.log.push(batch("a", 1, next));
        next += 1;
        rig.log.check().is_err() && rig.store.status().health() == Health::Slow
    });
    rig.wait_durable(Position(next));
    rig.wait(|rig| rig.log.check().is_ok() && rig.store.status().health() == Health::Good);
    assert!(rig.close());
}

#[test]
fn a_full_crash_log_falls_back_to_the_data_directory() {
    let dir = Dir::new("crash-log-full");
    let Some(_small) = Small::mount(&dir.path().join("crash-log"), 64 << 10) else {
        return println!("SKIPPED: a full crash log needs the right to mount a tmpfs");
    };
    let mut rig = Rig::open(dir.config());
    let last = push_many(&mut rig, "a", 0..40);
    assert!(rig.log.check().is_ok());
    let status = rig.store.status();
    assert_eq!((status.crash_log_fallbacks.load(Relaxed), status.crash_log_off.load(Relaxed)), (1, 0));
    assert!(status.fault().contains("crash log"), "{}", status.fault());
    let is_record = |path: &Path| path.extension().is_some_and(|end| end == "rec");
    let there = || {
        std::fs::read_dir(dir.data())
            .unwrap()
            .filter(|entry| is_record(&entry.as_ref().unwrap().path()))
            .count()
    };
    assert_eq!(there(), 1);
    rig.wait_durable(last);
    assert!(rig.close());
    assert_eq!(there(), 0);
}

#[test]
fn a_newer_database_and_one_without_its_tables_are_refused() {
    let dir = Dir::new("versions");
    assert!(Store::open(dir.config()).unwrap().close());
    let conn = rusqlite_open(&dir.database());
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    assert!(matches!(Store::open(dir.config()), Err(StoreError::Newer { version: 99, .. })));
    let conn = rusqlite_open(&dir.database());
    conn.pragma_update(None, "user_version", 0).unwrap();
    drop(conn);
    assert!(matches!(Store::open(dir.config()), Err(StoreError::Corrupt { .. })));
}

fn rusqlite_open(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}
