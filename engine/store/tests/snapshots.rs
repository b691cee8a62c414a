//! Snapshots: a copy that another node's snapshot replaced is that node's copy, and goes on from there.
//!
//! Why: a copy that was away for longer than its log reaches back has no other way to catch up.

mod support;

use std::path::{Path, PathBuf};
use std::time::Instant;

use grandstand_engine::log::*;
use grandstand_store::snapshot::{Snapshot, export};
use grandstand_store::{CopyHead, StoreError, verify};
use proptest::prelude::*;
use support::copies::*;
use support::*;

fn file(dir: &Dir) -> PathBuf {
    dir.data().with_extension("snapshot")
}

fn adopt(node: &mut Node, shard: u16, file: &Path) -> Result<CopyHead, String> {
    let snapshot =
        Snapshot::read(file, (shard, node.copies.len() as u16), &node.config).expect("it is sound");
    let copy = &mut node.copies[usize::from(shard)];
    copy.adopt(snapshot);
    assert!(!copy.is_sound(), "while it is replaced");
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(end) = copy.poll_adoption() {
            return end;
        }
        assert!(Instant::now() < deadline, "no end");
        std::thread::yield_now();
    }
}

/// Everything that a shard's copy says of its rooms.
fn said_of(node: &mut Node, shard: usize) -> Vec<(StoredRoom, Vec<(u64, String)>)> {
    let rooms = rooms(&mut node.copies[shard]);
    let page = |room: StoredRoom, node: &mut Node| {
        let page = node.page(shard, &room.room.room, 0);
        (room, page)
    };
    rooms.into_iter().map(|room| page(room, node)).collect()
}

/// A log with rooms that begin, go on, are removed and begin again, and terms of both kinds.
fn log_of(steps: &[u8]) -> Vec<LogRecord> {
    let mut log = vec![LogRecord::of(&[room("stays", 5), room("other", 6)])];
    let (mut epochs, mut offsets, mut term) = ([5_u64, 6], [0_u64, 0], 1_u64);
    for step in steps {
        let at = usize::from(step & 1);
        let name = ["stays", "other"][at];
        match step >> 1 {
            0..=90 => {
                log.push(LogRecord::of(&[batch(name, epochs[at], offsets[at])]));
                offsets[at] += 1;
            }
            91..=105 => {
                let change = Some(state(u64::from(*step) + log.len() as u64, "key", Some("value")));
                log.push(LogRecord::of(&[batch_of(name, epochs[at], offsets[at], 1, change)]));
                offsets[at] += 1;
            }
            106..=112 => {
                epochs[at] += 1_000;
                let gone = Entry::Removed { room: name.into(), epoch: epochs[at] - 1_000 };
                log.push(LogRecord::of(&[gone, room(name, epochs[at])]));
                offsets[at] = 0;
            }
            113..=120 => {
                term += 1;
                epochs = epochs.map(|epoch| grandstand_engine::link::epoch_after(epoch, term));
                log.push(LogRecord::term(term, false, &[]));
            }
            _ => {
                term += 1;
                log.push(LogRecord::term(term, true, &[]));
            }
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Over any log, any moment of the snapshot, any older state of the copy that takes it, with a crash or a
    /// close before and after: the rooms and pages are those of the log, and the log goes on behind it.
    #[test]
    fn a_copy_that_took_a_snapshot_is_the_copy_that_it_was_made_of(
        steps in prop::collection::vec(any::<u8>(), 8..80),
        other in prop::collection::vec(any::<u8>(), 0..30),
        (at, is_moved, ending) in (0.2f64..1.0, any::<bool>(), 0u8..3),
    ) {
        let (log, own) = (log_of(&steps), log_of(&other));
        let upto = ((log.len() as f64 * at) as u64).max(1);
        let mut source = Node::open(2);
        apply(&mut source.copies[1], &log, upto);
        source.wait_committed();
        if is_moved {
            // A close moves everything into segments, and some follows in the journal.
            source = source.reopen();
            apply(&mut source.copies[1], &log, upto.max(log.len() as u64 - 1));
            source.wait_committed();
        }
        let head = position(&source.copies[1]);
        let to = file(&source.dir);
        let exported = export(&source.dir.data(), 1, &to).unwrap();
        prop_assert_eq!(exported.head.position(), head);

        let mut node = Node::open(2);
        let neighbour = vec![LogRecord::of(&[room("neighbour", 9), batch("neighbour", 9, 0)])];
        apply(&mut node.copies[0], &neighbour, 1);
        // What it has is of another log, and longer or shorter; some of it is in segments, some waits.
        apply(&mut node.copies[1], &own, (own.len() as u64).div_ceil(2));
        if is_moved {
            node.wait_committed();
            node = node.reopen();
        }
        apply(&mut node.copies[1], &own, own.len() as u64);
        let taken = adopt(&mut node, 1, &to).unwrap();
        prop_assert_eq!(taken.position(), head);
        prop_assert_eq!(said_of(&mut node, 1), said_of(&mut source, 1));
        if ending == 0 {
            node = node.crash();
        } else if ending == 1 {
            node = node.reopen();
        }
        prop_assert!(node.copies[1].is_sound());
        prop_assert_eq!(said_of(&mut node, 1), said_of(&mut source, 1));
        prop_assert_eq!(position(&node.copies[0]), 1);
        let end = log.len() as u64;
        apply(&mut source.copies[1], &log, end);
        apply(&mut node.copies[1], &log, end);
        node.wait_committed();
        node = node.reopen();
        prop_assert_eq!(said_of(&mut node, 1), said_of(&mut source, 1));
        prop_assert_eq!(node.page(0, "neighbour", 0), expected("neighbour", 0..1));
        let report = verify::run(&node.dir.data()).unwrap();
        prop_assert_eq!(report.faults, Vec::<String>::new());
        let _ = std::fs::remove_file(to);
    }
}

/// What a snapshot holds, whatever the order of its rooms.
fn text_of(snapshot: &Snapshot) -> Vec<u8> {
    let mut text = format!("{snapshot:?}").into_bytes();
    text.sort_unstable();
    text
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_snapshot_is_refused_or_changes_nothing() {
    let mut source = Node::open(1);
    let steps: Vec<u8> = (0..60).map(|step| (step * 37 % 251) as u8).collect();
    let log = log_of(&steps);
    apply(&mut source.copies[0], &log, log.len() as u64);
    source.wait_committed();
    let to = file(&source.dir);
    export(&source.dir.data(), 0, &to).unwrap();
    let whole = std::fs::read(&to).unwrap();
    let sound = Snapshot::read(&to, (0, 1), &source.config).unwrap();
    let mut refused = 0;
    for turn in 0..400_usize {
        let mut bytes = whole.clone();
        if turn % 8 == 0 {
            bytes.truncate(turn * whole.len() / 400);
        } else {
            let at = (turn * 2_654_435_761) % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        std::fs::write(&to, &bytes).unwrap();
        match Snapshot::read(&to, (0, 1), &source.config) {
            Err(_) => refused += 1,
            Ok(read) => assert!(text_of(&read) == text_of(&sound), "turn {turn}"),
        }
    }
    assert!(refused > 50, "{refused} were refused");
    std::fs::write(&to, &whole).unwrap();
    let other = Snapshot::read(&to, (0, 2), &source.config).unwrap_err();
    assert!(matches!(other, StoreError::OtherKind { .. }), "{other}");
    std::fs::remove_file(to).unwrap();
}

#[test]
fn a_damaged_copy_makes_no_snapshot_and_is_sound_after_it_took_one() {
    let mut source = Node::open(1);
    let log = log_of(&[1, 2, 3, 4, 5, 6, 7, 8]);
    apply(&mut source.copies[0], &log, log.len() as u64);
    source.wait_committed();
    let to = file(&source.dir);
    export(&source.dir.data(), 0, &to).unwrap();
    let mut node = Node::open(1);
    let damaged = LogRecord::Entries(vec![b"\x09\x00\x00\x00nonsense.".to_vec().into()]);
    apply(&mut node.copies[0], &[damaged], 1);
    assert!(node.copies[0].is_damaged() && !node.copies[0].is_sound());
    node.wait_committed();
    let aside = file(&node.dir);
    let refused = export(&node.dir.data(), 0, &aside).unwrap_err();
    assert!(refused.to_string().contains("damaged"), "{refused}");
    assert!(!aside.exists());
    adopt(&mut node, 0, &to).unwrap();
    assert!(node.copies[0].is_sound());
    let mut node = node.reopen();
    assert!(node.copies[0].is_sound(), "also after a start");
    assert_eq!(said_of(&mut node, 0), said_of(&mut source, 0));
    std::fs::remove_file(to).unwrap();
}

#[test]
fn a_snapshot_that_is_gone_leaves_the_copy_as_it_was() {
    let mut source = Node::open(1);
    let log = log_of(&[1, 2, 3]);
    apply(&mut source.copies[0], &log, log.len() as u64);
    source.wait_committed();
    let to = file(&source.dir);
    export(&source.dir.data(), 0, &to).unwrap();
    let mut node = Node::open(1);
    let own = [LogRecord::of(&[room("mine", 3), batch("mine", 3, 0)])];
    apply(&mut node.copies[0], &own, 1);
    let snapshot = Snapshot::read(&to, (0, 1), &node.config).unwrap();
    std::fs::remove_file(&to).unwrap();
    node.copies[0].adopt(snapshot);
    let deadline = Instant::now() + DEADLINE;
    let end = loop {
        if let Some(end) = node.copies[0].poll_adoption() {
            break end;
        }
        assert!(Instant::now() < deadline, "no end");
    };
    assert!(end.is_err());
    assert!(node.copies[0].is_sound());
    assert_eq!(node.page(0, "mine", 0), expected("mine", 0..1));
    assert_eq!(position(&node.copies[0]), 1);
}

#[test]
fn a_power_cut_at_any_point_of_an_adoption_leaves_the_old_copy_or_the_new_one() {
    let mut source = Node::open(1);
    let steps: Vec<u8> = (0..90).map(|step| (step * 53 % 251) as u8).collect();
    let log = log_of(&steps);
    apply(&mut source.copies[0], &log, log.len() as u64);
    source.wait_committed();
    let to = file(&source.dir);
    export(&source.dir.data(), 0, &to).unwrap();
    let mut node = Node::open(1);
    let own = log_of(&[2, 4, 6, 8, 10, 240, 3, 5]);
    apply(&mut node.copies[0], &own, own.len() as u64);
    node.wait_committed();
    let before = said_of(&mut node, 0);
    adopt(&mut node, 0, &to).unwrap();
    let after = said_of(&mut node, 0);
    let (base, wal) = (node.dir.data().join("grandstand.db"), node.dir.data().join("grandstand.db-wal"));
    let (base, wal) = (std::fs::read(base).unwrap(), std::fs::read(wal).unwrap());
    let marker = std::fs::read(node.dir.data().join("log.id")).unwrap();
    let mut found = [0, 0];
    for cut in 0..=60 {
        let dir = Dir::in_memory("cut");
        std::fs::create_dir_all(dir.data()).unwrap();
        std::fs::write(dir.data().join("grandstand.db"), &base).unwrap();
        std::fs::write(dir.data().join("grandstand.db-wal"), &wal[..wal.len() * cut / 60]).unwrap();
        std::fs::write(dir.data().join("log.id"), &marker).unwrap();
        let config = dir.config();
        let mut node = Node::of(dir, config, 1);
        assert!(node.copies[0].is_sound(), "cut {cut}");
        let (at, said) = (position(&node.copies[0]), said_of(&mut node, 0));
        let is_new = said == after;
        found[usize::from(is_new)] += 1;
        // What a cut took of the older log is read again; of the adoption it takes all or nothing.
        if !is_new {
            apply(&mut node.copies[0], &own, own.len() as u64);
            assert_eq!(said_of(&mut node, 0), before, "cut {cut}, at position {at}");
        }
        node.wait_committed();
        let node = node.reopen();
        assert_eq!(verify::run(&node.dir.data()).unwrap().faults, Vec::<String>::new(), "cut {cut}");
    }
    assert!(found[0] > 5 && found[1] > 0, "{found:?}");
    std::fs::remove_file(to).unwrap();
}
