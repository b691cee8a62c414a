//! Flipped bits in every file of a log: each is noticed, or changes nothing.
//!
//! Why every file: what a log knows of itself is spread over them (the database, its write-ahead log, marks,
//! the crash log, the marker, the clock, backups), and each can rot. A log is tried as it lies after a clean
//! stop, after a power cut, after a kill, and as a backup. The files lie where they were written, since a
//! crash log belongs to its folder.
//! Not here: damage of many bits (`rot`), each bit of a small file (the modules' own tests).

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use grandstand_engine::link::PageOf;
use grandstand_engine::log::*;
use grandstand_engine::runtime::wall;
use grandstand_store::{Found, Store, backup, verify};
use proptest::prelude::*;
use support::*;

const ROOMS: [&str; 3] = ["ann", "ben", "cid"];
const EPOCH: u64 = 4;

/// The state in which a log is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    PowerCut,
    Kill,
}

/// A log as a process left it.
struct Image {
    dir: Dir,
    stop: Stop,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Where each room's log ended for its viewers, and how much of it was acknowledged.
    shown: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
}

/// The files of a folder.
fn read(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Close a log, and wait for its last thread: until then files of these names may still be removed.
fn close(rig: Rig) {
    rig.close();
    let is_reader = |task: std::io::Result<std::fs::DirEntry>| {
        let name = task.ok().and_then(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        name.is_some_and(|name| name.trim() == "log-reader")
    };
    let deadline = Instant::now() + DEADLINE;
    while std::fs::read_dir("/proc/self/task").unwrap().any(is_reader) {
        assert!(Instant::now() < deadline, "the reader does not end");
        std::thread::yield_now();
    }
}

impl Image {
    fn new(stop: Stop) -> Image {
        let dir = Dir::in_memory("flips");
        let mut rig = Rig::open(dir.config());
        for offset in 0..100 {
            for room in ROOMS {
                rig.log.push(batch(room, EPOCH, offset));
            }
        }
        assert!(rig.close());
        let mut rig = Rig::open(dir.config());
        let mut next: BTreeMap<String, u64> = ROOMS.map(|room| (room.to_owned(), 100)).into();
        for offset in 100..130 {
            let mut last = Position(0);
            for room in ROOMS {
                let change = (offset == 110).then(|| state(1, "pinned", Some(room)));
                last = rig.log.push(batch_of(room, EPOCH, offset, 1, change));
                next.insert(room.to_owned(), offset + 1);
            }
            rig.wait_durable(last);
        }
        let acknowledged = next.clone();
        let mut files = read(&dir.data());
        if stop == Stop::Kill {
            // The process dies before the next commit: the crash log alone has the rest, in two files.
            let full = Bytes::from(vec![b'.'; 64 << 10]);
            for offset in 130..155 {
                for room in ROOMS {
                    let mut entry = batch(room, EPOCH, offset);
                    if let Entry::Batch(batch) = &mut entry {
                        batch.full = Some(full.clone()).filter(|_| room == "ben" && offset < 150);
                    }
                    rig.log.push(entry);
                    next.insert(room.to_owned(), offset + 1);
                }
            }
            files.extend(read(&dir.path().join("crash-log")));
        }
        close(rig);
        if stop == Stop::Clean {
            files = read(&dir.data());
        }
        Image { dir, stop, files, shown: next, acknowledged }
    }

    /// Put the files back, with one bit of one of them flipped.
    fn put(&self, flip: Option<(usize, usize)>) {
        for dir in [self.dir.data(), self.dir.path().join("crash-log")] {
            for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_file() {
                    std::fs::remove_file(entry).unwrap();
                }
            }
        }
        for (at, (path, bytes)) in self.files.iter().enumerate() {
            match flip.filter(|(file, _)| *file == at) {
                Some((_, bit)) => {
                    let mut bytes = bytes.clone();
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    std::fs::write(path, bytes).unwrap();
                }
                None => std::fs::write(path, bytes).unwrap(),
            }
        }
    }

    fn name(&self, file: usize) -> String {
        self.files[file].0.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// What is wrong with how this flip ends, if anything is; and whether it was noticed.
    fn try_flip(&self, flip: Option<(usize, usize)>) -> Result<bool, String> {
        self.put(flip);
        let is_sound = verify::run(&self.dir.data())
            .is_ok_and(|report| report.fault_count == 0 && !report.is_last_unsure);
        self.put(flip);
        let store = match Store::open(self.dir.config()) {
            Ok(store) => store,
            Err(error) if is_sound => {
                return Err(format!("verify calls it sound; a start does not: {error}"));
            }
            Err(_) => return Ok(true),
        };
        let mut rig = Rig::of(store);
        let opening = rig.store.opening().clone();
        let mut said_by = BTreeMap::new();
        for stored in rig.rooms.clone() {
            let room = stored.room.room.to_string();
            let said = said(&rig.page(&room, 0, PageOf::Shown));
            if said.iter().any(|(offset, said)| *said != text(&room, *offset)) {
                return Err(format!("room {room}: rot is served"));
            }
            said_by.insert(room, (stored.room.epoch, stored.next_offset, said.len() as u64));
        }
        let rotten = rig.store.status().rotten.load(std::sync::atomic::Ordering::Relaxed);
        let is_noticed = !opening.rotten.is_empty()
            || opening.cut > 0
            || opening.lost_commits > 0
            || opening.unsure.is_some()
            || rotten > 0;
        close(rig);
        for room in ROOMS {
            let there = said_by.get(room).copied();
            let (epoch, next, said) = there.unwrap_or((0, 0, 0));
            let (acknowledged, shown) = (self.acknowledged[room], self.shown[room]);
            let what = format!("room {room}: {said} of {shown} messages, epoch {epoch}: {opening:?}");
            if said < acknowledged && !is_noticed {
                return Err(format!("acknowledged messages are lost silently: {what}"));
            }
            if said < acknowledged && is_sound {
                return Err(format!("verify calls it sound: {what}"));
            }
            if next < shown && epoch == EPOCH {
                return Err(format!("what was shown is gone, and the epoch stays: {what}"));
            }
            if self.stop == Stop::Kill && said < shown && !is_noticed {
                return Err(format!("what was shown is lost silently: {what}"));
            }
            if self.stop == Stop::PowerCut && epoch == EPOCH {
                return Err(format!("no new epoch after a power cut: {what}"));
            }
            // Files that hold no messages cost none.
            let holds_none = flip.is_none_or(|(file, _)| {
                self.name(file).starts_with("log.") || self.name(file).ends_with("-shm")
            });
            if holds_none && (said < shown || opening.lost_commits > 0) {
                return Err(format!("messages went with a file that has none: {what}"));
            }
        }
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        if wall::unix_ms().abs_diff(now_ms) > 5_000 {
            return Err("a damaged time is believed".to_owned());
        }
        Ok(is_noticed)
    }
}

/// Flip bits of every file, by turns: at its beginning, where heads are, and anywhere.
fn try_all(stop: Stop, flips: u32, expected: &[&str]) {
    let image = Image::new(stop);
    let names: Vec<String> = (0..image.files.len()).map(|file| image.name(file)).collect();
    for due in expected {
        assert!(names.iter().any(|name| name.ends_with(due)), "no {due} in {names:?}");
    }
    assert_eq!(image.try_flip(None), Ok(false), "without a flip");
    let found = {
        image.put(None);
        let rig = Rig::open(image.dir.config());
        let found = rig.store.opening().found;
        close(rig);
        found
    };
    match stop {
        Stop::Clean => assert_eq!(found, Found::Clean),
        Stop::PowerCut => assert_eq!(found, Found::PowerCut),
        Stop::Kill => assert_eq!(found, Found::Crashed { recovered: 75 }),
    }
    for file in 0..image.files.len() {
        let bits = image.files[file].1.len() * 8;
        if bits == 0 {
            continue;
        }
        let places = prop_oneof![0..bits.min(8 * 96), 0..bits];
        let config = ProptestConfig { cases: flips, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let noticed = Cell::new(0);
        let result = runner.run(&places, |bit| {
            let ended = image.try_flip(Some((file, bit)));
            noticed.set(noticed.get() + u32::from(ended == Ok(true)));
            prop_assert!(ended.is_ok(), "{}: {}", image.name(file), ended.unwrap_err());
            Ok(())
        });
        result.unwrap_or_else(|fault| panic!("{stop:?}: {fault}"));
        println!(
            "{stop:?}, {}: {} of {flips} noticed, the others changed nothing",
            image.name(file),
            noticed.get()
        );
    }
}

#[test]
fn after_a_clean_stop() {
    try_all(Stop::Clean, 48, &["grandstand.db", "log.id", "log.marks", "log.clock"]);
}

#[test]
fn after_a_power_cut() {
    try_all(Stop::PowerCut, 48, &["grandstand.db", "-wal", "-shm", "log.id", "log.marks", "log.clock"]);
}

#[test]
fn after_a_kill() {
    try_all(
        Stop::Kill,
        48,
        &["grandstand.db", "-wal", "-shm", "log.id", "log.marks", "log.clock", "0-0.rec", "0-1.rec"],
    );
}

#[test]
fn in_a_backup() {
    let image = Image::new(Stop::Clean);
    image.put(None);
    let file = image.dir.path().join("backup.db");
    backup::run(&image.dir.data(), &file).unwrap();
    let written = std::fs::read(&file).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bits = written.len() * 8;
    let (refused, whole) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&prop_oneof![0..8 * 100usize, 0..bits], |bit| {
        let mut rotten = written.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&file, rotten).unwrap();
        let is_sound = verify::run(&file).is_ok_and(|report| report.fault_count == 0);
        let to = Dir::in_memory("flips-restored");
        let restored = backup::restore(&file, &to.data(), false);
        prop_assert!(is_sound || restored.is_err(), "what is not sound is put in place");
        if restored.is_err() {
            refused.set(refused.get() + 1);
            return Ok(());
        }
        let store = Store::open(to.config());
        prop_assert!(store.is_ok(), "verify calls it sound; a start does not: {:?}", store.err());
        let mut rig = Rig::of(store.unwrap());
        for room in ROOMS {
            let said = said(&rig.page(room, 0, PageOf::Shown));
            prop_assert_eq!(said, expected(room, 0..image.acknowledged[room]));
        }
        whole.set(whole.get() + 1);
        Ok(())
    });
    result.unwrap();
    println!("{} refused, {} whole", refused.get(), whole.get());
    assert!(refused.get() > 0 && whole.get() > 0);
}

#[test]
fn in_every_bit_of_the_databases_header() {
    const HEADER_BYTES: usize = 100;
    let image = Image::new(Stop::Clean);
    let file = (0..image.files.len()).find(|&file| image.name(file) == "grandstand.db").unwrap();
    for bit in 0..8 * HEADER_BYTES {
        let ended = image.try_flip(Some((file, bit)));
        assert!(ended.is_ok(), "bit {} of byte {}: {}", bit % 8, bit / 8, ended.unwrap_err());
    }
}
