//! Copies on a disk that is full, rots or loses its newest part.
//!
//! Why: a copy that is not what the log says must never take a shard over, and one that is merely behind is
//! as good as any.

mod support;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use grandstand_engine::link::epoch_after;
use grandstand_engine::log::*;
use grandstand_store::{Health, Retention, Store, StoreConfig, verify};
use support::copies::*;
use support::*;

const ROOMS: [&str; 6] = ["ann", "ben", "cid", "dot", "eve", "fay"];
const SHARDS: usize = 2;
const FLIPS: usize = 150;

fn shard_of(room: usize) -> usize {
    room % SHARDS
}

/// The logs of both shards: talk in all rooms, changes of state, and a term without a clean hand-over.
fn logs(messages: u64) -> [Vec<LogRecord>; SHARDS] {
    let mut logs = [Vec::new(), Vec::new()];
    let mut term = 0;
    for offset in 0..messages {
        for (at, name) in ROOMS.into_iter().enumerate() {
            let epoch = if term > 0 { epoch_after(4, term) } else { 4 };
            let change = (offset % 20 == 0).then(|| state(offset + 1, "pinned", Some(name)));
            let mut entries = vec![batch_of(name, epoch, offset, 1, change)];
            if offset == 0 {
                entries.insert(0, room(name, epoch));
            }
            logs[shard_of(at)].push(LogRecord::of(&entries));
        }
        if offset == messages / 2 {
            term = 7;
            logs.iter_mut().for_each(|log| log.push(LogRecord::term(term, false, &[])));
        }
    }
    logs
}

fn bounded(config: StoreConfig) -> StoreConfig {
    StoreConfig { nonces_max: 20, newest_batches_max: 5, ..config }
}

/// The rooms of each shard after each record.
fn states(logs: &[Vec<LogRecord>; SHARDS]) -> Vec<Vec<Vec<StoredRoom>>> {
    let dir = Dir::in_memory("reference");
    let config = bounded(dir.config());
    let mut node = Node::of(dir, config, SHARDS as u16);
    let of = |(copy, log): (&mut grandstand_store::ShardCopy, &Vec<LogRecord>)| {
        let after = |upto| {
            apply(copy, log, upto);
            rooms(copy)
        };
        (0..=log.len() as u64).map(after).collect()
    };
    node.copies.iter_mut().zip(logs).map(of).collect()
}

/// A copy's files with segments and a journal, as they lie while its process lives. `is_moved`: all pages are
/// in the database, and the write-ahead log is empty.
fn files(logs: &[Vec<LogRecord>; SHARDS], is_moved: bool) -> Vec<(String, Vec<u8>)> {
    let dir = Dir::in_memory("flipped");
    let config = bounded(dir.config());
    let mut node = Node::of(dir, config, SHARDS as u16);
    let half = |log: &Vec<LogRecord>| log.len() as u64 * 3 / 4;
    node.copies.iter_mut().zip(logs).for_each(|(copy, log)| apply(copy, log, half(log)));
    node = node.reopen();
    for at in 0..logs[0].len().max(logs[1].len()) as u64 {
        for (copy, log) in node.copies.iter_mut().zip(logs) {
            let upto = (half(log) + at).min(log.len() as u64);
            apply(copy, log, upto);
        }
        node.wait_committed();
    }
    if is_moved {
        let other = rusqlite::Connection::open(node.dir.database()).unwrap();
        other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    let read = |name: &str| (name.to_owned(), std::fs::read(node.dir.data().join(name)).unwrap());
    ["grandstand.db", "grandstand.db-wal", "log.id"].map(read).into()
}

fn put(files: &[(String, Vec<u8>)], data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(data.join(name), bytes).unwrap());
}

/// Open these files. Whoever calls itself sound is at a position of the log with exactly its rooms, and goes
/// on to the log's end. Returns the numbers of sound and unsound copies, and whether all were at the end.
fn judge(
    files: &[(String, Vec<u8>)],
    logs: &[Vec<LogRecord>; SHARDS],
    states: &[Vec<Vec<StoredRoom>>],
) -> Option<(usize, usize, bool)> {
    let dir = Dir::in_memory("judged");
    put(files, &dir.data());
    let config = bounded(dir.config());
    let (store, copies) = Store::open_copies(config.clone(), SHARDS as u16).ok()?;
    let mut node = Node { dir, config, store, copies };
    let (mut sound, mut unsound, mut is_whole) = (0, 0, true);
    for round in 0..2 {
        for shard in 0..SHARDS {
            for (at, name) in ROOMS.into_iter().enumerate().filter(|&(at, _)| shard_of(at) == shard) {
                let at_position = position(&node.copies[shard]) as usize;
                let next = states[shard][at_position].iter().find(|stored| *stored.room.room == *name);
                let next_offset = next.map_or(0, |stored| stored.next_offset);
                let page = node.page(shard, name, 0);
                page.iter().for_each(|(offset, said)| assert_eq!(said, &text(name, *offset), "room {at}"));
                let is_noted = node.store.status().rotten.load(Relaxed) > 0 || !node.copies[shard].is_sound();
                assert!(
                    page.len() as u64 == next_offset || is_noted,
                    "{name}: {} of {next_offset}",
                    page.len()
                );
            }
            let copy = &mut node.copies[shard];
            if !copy.is_sound() {
                unsound += 1;
                continue;
            }
            sound += 1;
            is_whole &= round > 0 || position(copy) == logs[shard].len() as u64;
            assert_eq!(rooms(copy), states[shard][position(copy) as usize]);
            apply(copy, &logs[shard], logs[shard].len() as u64);
            assert_eq!(&rooms(copy), states[shard].last().unwrap());
        }
        if round == 0 {
            // What a copy knows of its damage it still knows after its next start.
            if node.copies.iter().all(|copy| copy.is_sound()) {
                node.wait_committed();
            }
            let was_sound: Vec<bool> = node.copies.iter().map(|copy| copy.is_sound()).collect();
            let Node { dir, config, store, copies } = node;
            drop(copies);
            if !store.close() {
                // SQLite itself refuses the database, again and again.
                return Some((sound, unsound + 1, false));
            }
            let (store, copies) = Store::open_copies(config.clone(), SHARDS as u16).ok()?;
            node = Node { dir, config, store, copies };
            for (copy, was_sound) in node.copies.iter().zip(was_sound) {
                assert!(was_sound || !copy.is_sound(), "damage is forgotten");
            }
        }
    }
    Some((sound, unsound, is_whole))
}

/// SplitMix64 (Steele, Lea, Flood 2014): a number from 0 to below `n`.
fn rng(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[test]
fn a_flipped_bit_leaves_an_earlier_position_or_makes_a_copy_unsound() {
    let logs = logs(60);
    let (states, images) = (states(&logs), [files(&logs, false), files(&logs, true)]);
    for files in &images {
        assert_eq!(judge(files, &logs, &states), Some((4, 0, true)), "without a flip all is there");
    }
    // Around the names of rooms are their rows, and the records of the journal.
    let is_name = |&at: &usize| ROOMS.iter().any(|name| images[1][0].1[at..].starts_with(name.as_bytes()));
    let names: Vec<usize> = (0..images[1][0].1.len()).filter(is_name).collect();
    let (mut refused, mut unsound, mut behind, mut random) = (0, 0, 0, rng(3));
    for turn in 0..FLIPS {
        let mut files = images[turn % 2].clone();
        // The database and its write-ahead log; the marker has its own test.
        let file = if turn % 2 == 0 { random(2) } else { 0 };
        let bytes = &mut files[file].1;
        let at = match turn % 4 {
            3 => names[random(names.len())] + random(60) - random(40),
            _ => random(bytes.len()),
        };
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1 << random(8);
        match judge(&files, &logs, &states) {
            None => refused += 1,
            Some((_, 1.., _)) => unsound += 1,
            Some((_, _, false)) => behind += 1,
            Some(_) => {}
        }
    }
    println!("{FLIPS} flips: {refused} refused, {unsound} unsound, {behind} at an earlier position");
    assert!(unsound > 0 && behind > 0, "flips of each kind");
}

#[test]
fn a_write_ahead_log_that_a_power_cut_tore_is_an_earlier_position() {
    let logs = logs(60);
    let (states, files) = (states(&logs), files(&logs, false));
    let (mut behind, mut random) = (0, rng(9));
    for turn in 0..40 {
        let mut files = files.clone();
        let wal = &mut files[1].1;
        let at = random(wal.len());
        // Its end was never written, or is of zeros where the file had grown before.
        if turn % 2 == 0 {
            wal.truncate(at);
        } else {
            wal[at..].fill(0);
        }
        let Some((sound, unsound, is_whole)) = judge(&files, &logs, &states) else {
            panic!("refused at {at}")
        };
        assert_eq!((sound, unsound), (4, 0), "at {at}");
        behind += usize::from(!is_whole);
    }
    assert!(behind > 10, "{behind}");
}

#[test]
fn a_copy_on_a_full_disk_is_unsound_serves_from_memory_and_recovers() {
    let dir = Dir::new("copies-full");
    let Some(small) = Small::mount(&dir.data(), 2 << 20) else {
        return println!("SKIPPED: a full disk needs the right to mount a tmpfs");
    };
    let config = StoreConfig { queue_bytes_max: 4 << 20, ..dir.config() };
    let mut node = Node::of(dir, config, 1);
    let mut log = vec![LogRecord::of(&[room("a", 5)])];
    let deadline = Instant::now() + DEADLINE;
    while node.store.status().health() != Health::Full {
        if node.copies[0].accepts() {
            let offset = log.len() as u64 - 1;
            log.push(LogRecord::of(&[batch("a", 5, offset)]));
            apply(&mut node.copies[0], &log, log.len() as u64);
        }
        assert!(Instant::now() < deadline, "{:?}", node.store.status());
    }
    assert!(!node.copies[0].is_sound() && !node.copies[0].is_committed());
    let messages = log.len() as u64 - 1;
    assert_eq!(node.page(0, "a", 0), expected("a", 0..messages));
    assert_eq!(rooms(&mut node.copies[0])[0].next_offset, messages);
    small.remount("size=256m");
    node.wait_committed();
    let deadline = Instant::now() + DEADLINE;
    while !node.copies[0].is_sound() {
        assert!(Instant::now() < deadline, "{:?}", node.store.status());
        std::thread::yield_now();
    }
    let mut node = node.reopen();
    assert_eq!(node.page(0, "a", 0), expected("a", 0..messages));
    assert_eq!(position(&node.copies[0]), log.len() as u64);
    drop(node.copies);
    assert!(node.store.close());
    assert_eq!(verify::run(&node.dir.data()).unwrap().faults, Vec::<String>::new());
    // The mount first: its folder cannot be removed before.
    drop(small);
}

#[test]
fn what_waits_for_a_disk_that_does_not_write_is_bounded_by_the_holder() {
    let dir = Dir::in_memory("copies-stuck");
    let config = StoreConfig { queue_bytes_max: 100_000, ..dir.config() };
    let mut node = Node::of(dir, config, 1);
    // Another process holds the database.
    let other = rusqlite::Connection::open(node.dir.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut log = vec![LogRecord::of(&[room("a", 5)])];
    let deadline = Instant::now() + DEADLINE;
    while node.copies[0].accepts() {
        let offset = log.len() as u64 - 1;
        log.push(LogRecord::of(&[batch("a", 5, offset)]));
        apply(&mut node.copies[0], &log, log.len() as u64);
        assert!(Instant::now() < deadline);
    }
    assert!(!node.copies[0].is_sound());
    other.execute_batch("ROLLBACK").unwrap();
    node.wait_committed();
    assert!(node.copies[0].accepts() && node.copies[0].is_sound());
}

#[test]
fn damage_that_a_page_finds_is_known_at_the_next_start() {
    let dir = Dir::in_memory("copies-rot");
    let config = bounded(dir.config());
    let mut node = Node::of(dir, config.clone(), SHARDS as u16);
    let mut log = vec![LogRecord::of(&[room("a", 5)])];
    log.extend((0..100).map(loud));
    apply(&mut node.copies[0], &log, 101);
    let Node { dir, store, copies, .. } = node;
    drop(copies);
    assert!(store.close());
    // The first message, which no start reads; free pages may have it too.
    let mut database = std::fs::read(dir.database()).unwrap();
    let said = text("a", 0);
    let is_there = |at: &usize| database[*at..].starts_with(said.as_bytes());
    let places: Vec<usize> = (0..database.len()).filter(is_there).collect();
    places.into_iter().for_each(|at| database[at] ^= 1);
    std::fs::write(dir.database(), database).unwrap();
    let mut node = Node::of(dir, config, SHARDS as u16);
    assert!(node.copies.iter().all(|copy| copy.is_sound()));
    assert_eq!(node.page(0, "a", 50), expected("a", 50..100));
    assert_ne!(node.page(0, "a", 0).first().map(|(offset, _)| *offset), Some(0));
    for _ in 0..2 {
        assert_eq!(node.copies.iter().map(|copy| copy.is_sound()).collect::<Vec<_>>(), [false, true]);
        node = node.reopen();
    }
    let faults = verify::run(&node.dir.data()).unwrap().faults;
    assert!(faults.iter().any(|fault| fault.contains("the copy of shard 0")), "{faults:?}");
}

/// A message whose full form is large.
fn loud(offset: u64) -> LogRecord {
    let mut entry = batch("a", 5, offset);
    if let Entry::Batch(batch) = &mut entry {
        batch.full = Some(vec![b'.'; 10_000].into());
    }
    LogRecord::of(&[entry])
}

#[test]
fn retention_is_of_the_node_and_the_rooms_say_what_is_left() {
    let dir = Dir::in_memory("copies-retention");
    let config = StoreConfig {
        retention: Retention { room_bytes_max: 300_000, ..Retention::default() },
        ..bounded(dir.config())
    };
    let mut node = Node::of(dir, config, 1);
    let mut log = vec![LogRecord::of(&[room("a", 5)])];
    log.extend((0..100).map(loud));
    apply(&mut node.copies[0], &log, 101);
    node = node.reopen();
    // What retention removes is still of the epoch before.
    log.push(LogRecord::term(2, false, &[]));
    apply(&mut node.copies[0], &log, 102);
    let deadline = Instant::now() + DEADLINE;
    while node.store.status().segment_bytes.load(Relaxed) > 300_000 {
        assert!(Instant::now() < deadline, "{:?}", node.store.status());
        std::thread::yield_now();
    }
    // The sizes are looked at after the last step has told what it removed.
    let mut told = 0;
    while let Some(News::Trimmed { room, epoch, oldest_offset }) = node.copies[0].poll() {
        assert_eq!((&*room, epoch), ("a", epoch_after(5, 2)), "of the room's present epoch");
        told = oldest_offset;
    }
    assert!((50..100).contains(&told), "{told}");
    let there = rooms(&mut node.copies[0]);
    assert_eq!((there[0].oldest_offset, there[0].next_offset), (told, 100));
    assert_eq!(node.page(0, "a", 0), expected("a", told..100));
    let mut node = node.reopen();
    // Memory may have nonces of messages that retention removed, and the disk has none.
    let again = rooms(&mut node.copies[0]);
    assert!(
        there[0].nonces.ends_with(&again[0].nonces) && again[0].nonces.len() as u64 == 21.min(100 - told)
    );
    let without = |mut room: StoredRoom| {
        room.nonces.clear();
        room
    };
    assert!(without(again[0].clone()) == without(there[0].clone()));
}
