//! The crash log: entries that were shown and are not yet synced, in files in memory that outlive the
//! process.
//!
//! Why: the sync of a disk takes milliseconds, and viewers do not wait for it. After kill -9 the next process
//! finds here what the database lacks, and every room continues where its viewers are. A power cut erases
//! these files, and their absence tells the next start that there was one.
//!
//! ```text
//! file   = magic:8  run:u64  shard:u64  boot:16  sum:u64   frame*
//! frame  = length:u32  position:u64  sum:u64  record  sum: XXH3-64 of the record, seeded with run ^ position
//! ```
//!
//! Each shard has a pair of files, used in turn. A file is overwritten from its beginning once everything in
//! it is synced. Old frames behind the new ones are recognised by their lower positions. When memory is full,
//! a pair in the data directory takes over. It survives the process too, though the kernel writes it to the
//! disk later.
//!
//! Invariants: a frame is whole or absent. The positions of one run and shard have no holes over all files.
//! Not here: what follows from the frames that are found (`recovery`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::checksum::checksum;
use crate::status::Status;

const MAGIC: [u8; 8] = *b"GSrec\0\0\x01";
const HEADER_BYTES: usize = 8 + 8 + 8 + 16 + 8;
const FRAME_BYTES: usize = 4 + 8 + 8;

/// A full file: above this size, the pair's other file is used if it is free. This is half a second of a
/// loaded node.
const FILE_BYTES: u64 = 1 << 20;

/// The folders and names of one log's crash log files.
#[derive(Clone, Debug)]
pub(crate) struct CrashLogFiles {
    dirs: Vec<PathBuf>,
    /// Derived from the data directory and the database's number, since a copy of either is another log.
    identity: u64,
    boot: [u8; 16],
}

impl CrashLogFiles {
    /// The files of the log in `dir` whose database has this number. Files are searched for in both folders,
    /// and written to the first folder that accepts them.
    pub(crate) fn new(crash_log_dir: &Path, dir: &Path, number: u64) -> io::Result<CrashLogFiles> {
        let (canonical, facts) = (fs::canonicalize(dir)?, fs::metadata(dir)?);
        let place = [facts.dev().to_le_bytes(), facts.ino().to_le_bytes()].concat();
        let identity = checksum(checksum(number, &place), canonical.as_os_str().as_encoded_bytes());
        let mut dirs = vec![crash_log_dir.to_owned(), dir.to_owned()];
        dirs.dedup();
        Ok(CrashLogFiles { dirs, identity, boot: boot() })
    }

    fn prefix(&self) -> String {
        format!("grandstand-{:016x}-", self.identity)
    }

    fn path(&self, dir: &Path, run: u64, shard: usize, which: usize) -> PathBuf {
        dir.join(format!("{}{run:016x}-{shard}-{which}.rec", self.prefix()))
    }

    /// All files of this log.
    fn files(&self) -> Vec<PathBuf> {
        let prefix = self.prefix();
        let is_ours = |path: &PathBuf| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".rec"))
        };
        let entries = self.dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_ours).collect()
    }

    /// Remove all files of this log except those of `run`.
    pub(crate) fn remove_others(&self, run: Option<u64>) {
        let own = run.map(|run| format!("{}{run:016x}-", self.prefix()));
        for path in self.files() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !own.as_ref().is_some_and(|own| name.starts_with(own)) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The records that a run left, shard by shard, with their positions, in order and without gaps after
    /// `positions`. `None`: no file of that run and boot exists, or the files do not continue at `positions`.
    pub(crate) fn found(&self, run: u64, positions: &[u64]) -> Option<Vec<Vec<(u64, Bytes)>>> {
        let mut shards: Vec<Vec<(u64, Bytes)>> = vec![Vec::new(); positions.len()];
        let mut is_there = vec![false; positions.len()];
        for path in self.files() {
            let Ok(data) = fs::read(&path) else { continue };
            let data = Bytes::from(data);
            let Some(shard) = self.shard_of(&data, run).filter(|&shard| shard < positions.len()) else {
                continue;
            };
            is_there[shard] = true;
            frames(run, data.slice(HEADER_BYTES..), &mut shards[shard]);
        }
        if !is_there.iter().all(|&is| is) {
            return None;
        }
        for (found, &committed) in shards.iter_mut().zip(positions) {
            found.sort_by_key(|&(position, _)| position);
            found.dedup_by_key(|&mut (position, _)| position);
            found.retain(|&(position, _)| position > committed);
            let is_whole = found.iter().zip(committed + 1..).all(|(&(position, _), due)| position == due);
            if !is_whole {
                return None;
            }
        }
        Some(shards)
    }

    fn shard_of(&self, data: &Bytes, run: u64) -> Option<usize> {
        let header = data.get(..HEADER_BYTES)?;
        let shard = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
        (header == self.header(run, shard)).then_some(shard as usize)
    }

    fn header(&self, run: u64, shard: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&run.to_le_bytes());
        header.extend_from_slice(&shard.to_le_bytes());
        header.extend_from_slice(&self.boot);
        let own = checksum(self.identity, &header);
        header.extend_from_slice(&own.to_le_bytes());
        header
    }
}

/// The boot's identity. Files in memory survive a process, not a boot. A file in the data directory would
/// survive the boot, but without the part that was not synced.
fn boot() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut boot = [0; 16];
    boot[..8].copy_from_slice(&checksum(0, text.trim().as_bytes()).to_le_bytes());
    boot[8..].copy_from_slice(&checksum(1, text.trim().as_bytes()).to_le_bytes());
    boot
}

fn frames(run: u64, mut data: Bytes, into: &mut Vec<(u64, Bytes)>) {
    let mut due = None;
    loop {
        let Some(header) = data.get(..FRAME_BYTES) else { return };
        let len = u32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
        let position = u64::from_le_bytes(header[4..12].try_into().expect("eight bytes"));
        let own = u64::from_le_bytes(header[12..20].try_into().expect("eight bytes"));
        let Some(end) = FRAME_BYTES.checked_add(len).filter(|&end| end <= data.len()) else { return };
        let record = data.slice(FRAME_BYTES..end);
        if due.is_some_and(|due| due != position) || checksum(run ^ position, &record) != own {
            return;
        }
        into.push((position, record));
        due = Some(position + 1);
        data = data.slice(end..);
    }
}

/// One shard's crash log.
#[derive(Debug)]
pub(crate) struct CrashLog {
    place: CrashLogFiles,
    run: u64,
    shard: usize,
    pairs: Vec<Pair>,
    /// Index into `pairs`.
    at: usize,
    frame: Vec<u8>,
    status: Arc<Status>,
    is_off: bool,
}

#[derive(Debug)]
struct Pair {
    dir: PathBuf,
    files: [Option<LogFile>; 2],
    active: usize,
}

#[derive(Debug)]
struct LogFile {
    file: File,
    len: u64,
    newest: u64,
}

impl CrashLog {
    /// Make the first file at once, so that a process that is killed immediately leaves it behind.
    pub(crate) fn begin(place: &CrashLogFiles, run: u64, shard: usize, status: Arc<Status>) -> CrashLog {
        let pair = |dir: &PathBuf| Pair { dir: dir.clone(), files: [None, None], active: 0 };
        let pairs = place.dirs.iter().map(pair).collect();
        let (place, frame) = (place.clone(), Vec::new());
        let mut crash_log = CrashLog { place, run, shard, pairs, at: 0, frame, status, is_off: false };
        crash_log.first();
        crash_log
    }

    fn first(&mut self) {
        for at in 0..self.pairs.len() {
            match self.open(at, 0) {
                Ok(()) => return self.use_pair(at),
                Err(error) => self.note(at, &error),
            }
        }
        self.turn_off(true);
    }

    /// Do written records survive the death of the process?
    pub(crate) fn is_on(&self) -> bool {
        !self.is_off
    }

    /// Write a record. Records up to `durable` are no longer needed.
    pub(crate) fn write(&mut self, position: u64, record: &[u8], durable: u64) {
        self.frame.clear();
        self.frame.extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.frame.extend_from_slice(&position.to_le_bytes());
        self.frame.extend_from_slice(&checksum(self.run ^ position, record).to_le_bytes());
        self.frame.extend_from_slice(record);
        // The first pair is tried again each time the other pair's file changes: memory may be free again.
        let from = if self.is_turn(self.at, durable) { 0 } else { self.at };
        for at in from..self.pairs.len() {
            match self.write_to(at, position, durable) {
                Ok(true) => {
                    self.use_pair(at);
                    return self.turn_off(false);
                }
                Ok(false) => {}
                Err(error) => self.note(at, &error),
            }
        }
        self.turn_off(true);
    }

    fn is_turn(&self, at: usize, durable: u64) -> bool {
        let pair = &self.pairs[at];
        let is_full = pair.files[pair.active].as_ref().is_none_or(|kept| kept.len >= FILE_BYTES);
        is_full && pair.files[1 - pair.active].as_ref().is_none_or(|kept| kept.newest <= durable)
    }

    /// Write the frame to a pair. Returns `false` if the pair still holds needed records of an earlier use.
    fn write_to(&mut self, at: usize, position: u64, durable: u64) -> io::Result<bool> {
        if self.is_turn(at, durable) && self.pairs[at].files[self.pairs[at].active].is_some() {
            let pair = &mut self.pairs[at];
            pair.active = 1 - pair.active;
            if let Some(kept) = &mut pair.files[pair.active] {
                kept.len = HEADER_BYTES as u64;
            }
        }
        let active = self.pairs[at].active;
        if self.pairs[at].files[active].is_none() {
            self.open(at, active)?;
        }
        let kept = self.pairs[at].files[active].as_mut().expect("opened above");
        // The frames of one file have no gaps. So after writing elsewhere the file is begun anew, once
        // nothing in it is needed.
        if kept.newest != 0 && kept.len > HEADER_BYTES as u64 && kept.newest + 1 != position {
            if kept.newest > durable {
                return Ok(false);
            }
            kept.len = HEADER_BYTES as u64;
        }
        kept.file.write_all_at(&self.frame, kept.len)?;
        kept.len += self.frame.len() as u64;
        kept.newest = position;
        Ok(true)
    }

    fn open(&mut self, at: usize, which: usize) -> io::Result<()> {
        let path = self.place.path(&self.pairs[at].dir, self.run, self.shard, which);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(&self.place.header(self.run, self.shard as u64), 0)?;
        self.pairs[at].files[which] = Some(LogFile { file, len: HEADER_BYTES as u64, newest: 0 });
        Ok(())
    }

    fn use_pair(&mut self, at: usize) {
        if at != self.at {
            let fallbacks = &self.status.crash_log_fallbacks;
            if at > 0 {
                fallbacks.fetch_add(1, Ordering::Relaxed)
            } else {
                fallbacks.fetch_sub(1, Ordering::Relaxed)
            };
            self.at = at;
        }
    }

    fn note(&self, at: usize, error: &io::Error) {
        self.status.crash_log_faults.fetch_add(1, Ordering::Relaxed);
        self.status.set_fault(format!("crash log in {}: {error}", self.pairs[at].dir.display()));
    }

    fn turn_off(&mut self, is_off: bool) {
        if is_off != self.is_off {
            let off = &self.status.crash_log_off;
            if is_off {
                off.fetch_add(1, Ordering::Relaxed)
            } else {
                off.fetch_sub(1, Ordering::Relaxed)
            };
            self.is_off = is_off;
        }
    }
}
