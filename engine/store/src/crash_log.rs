//! The crash log: entries that were shown and are not yet synced, in files in memory that outlive the
//! process.
//!
//! Why: the sync of a disk takes milliseconds, and viewers do not wait for it. After kill -9 the next process
//! finds here what the database lacks, and every room continues where its viewers are. A power cut erases
//! these files, and their absence tells the next start that there was one.
//!
//! ```text
//! file   = magic:8  run:u64  shard:u64  boot:16  sum:u64   frame*
//! frame  = length:u32  position:u64  sum:u64  record  end:u64
//! sum: XXH3-64 of the record, seeded with run ^ position; end: run ^ position, inverted
//! ```
//!
//! Each shard has a pair of files, used in turn. A file is overwritten from its beginning once everything in
//! it is synced. Old frames behind the new ones are recognised by their lower positions. When memory is full,
//! a pair in the data directory takes over. It survives the process too, though the kernel writes it to the
//! disk later.
//!
//! A process that is killed while it writes a frame leaves a beginning of it, which nobody was shown. Damage
//! is told from that by the frame's end, which is written last: a frame that is whole and has another sum was
//! shown, and what followed it too. Its own numbers are mended where the sum proves them.
//! Invariants: a frame is whole or absent. The positions of one run and shard have no holes over all files.
//! What was shown and cannot be read is never taken for what was never written.
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

const MAGIC: [u8; 8] = *b"GSrec\0\0\x02";

/// Of files whose frames have no end, which a process of an earlier version may have left.
const MAGIC_1: [u8; 8] = *b"GSrec\0\0\x01";

const HEADER_BYTES: usize = 8 + 8 + 8 + 16 + 8;
const FRAME_BYTES: usize = 4 + 8 + 8;
const END_BYTES: usize = 8;

/// A full file: above this size, the pair's other file is used if it is free. This is half a second of a
/// loaded node.
const FILE_BYTES: u64 = 1 << 20;

/// What a run left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The records of each shard with their positions, in order and without gaps.
    pub(crate) shards: Vec<Vec<(u64, Bytes)>>,
    /// Description of records that were there and cannot be read.
    pub(crate) damage: Option<String>,
}

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

    /// The records that a run left after `positions`. `None`: a shard has no file of that run and boot, or
    /// its files do not continue at its position.
    pub(crate) fn found(&self, run: u64, positions: &[u64]) -> Option<Left> {
        let mut left = Left { shards: vec![Vec::new(); positions.len()], damage: None };
        let mut is_there = vec![false; positions.len()];
        let mut damaged: Vec<Vec<u64>> = vec![Vec::new(); positions.len()];
        for path in self.files() {
            let Some(shard) = self.named(&path, run).filter(|&shard| shard < positions.len()) else {
                continue;
            };
            let data = match fs::read(&path) {
                // It was about to be made.
                Ok(data) if data.is_empty() => continue,
                Ok(data) => Bytes::from(data),
                Err(error) => {
                    is_there[shard] = true;
                    left.damage = Some(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            match self.check_header(&data, run, shard) {
                Header::OtherBoot => {}
                Header::Damaged => {
                    is_there[shard] = true;
                    left.damage = Some(format!("the head of {} is damaged", path.display()));
                }
                Header::Sound { has_ends } => {
                    is_there[shard] = true;
                    let frames = data.slice(HEADER_BYTES..);
                    damaged[shard].extend(read_frames(run, has_ends, frames, &mut left.shards[shard]));
                }
            }
        }
        if !is_there.iter().all(|&is| is) {
            return None;
        }
        for ((found, &committed), mut damaged) in left.shards.iter_mut().zip(positions).zip(damaged) {
            damaged.retain(|&position| position > committed);
            found.sort_by_key(|&(position, _)| position);
            found.dedup_by_key(|&mut (position, _)| position);
            found.retain(|&(position, _)| position > committed);
            let whole =
                found.iter().zip(committed + 1..).take_while(|((position, _), due)| position == due).count();
            if whole == 0 && !found.is_empty() && damaged.is_empty() {
                return None;
            }
            let next = committed + 1 + whole as u64;
            if whole < found.len() || !damaged.is_empty() {
                found.truncate(whole);
                left.damage = Some(format!("its entry {next} is damaged, and what followed it is not there"));
            }
        }
        Some(left)
    }

    /// The shard whose file of this run has this name.
    fn named(&self, path: &Path, run: u64) -> Option<usize> {
        let name = path.file_name()?.to_str()?.strip_prefix(&self.prefix())?;
        name.strip_prefix(&format!("{run:016x}-"))?.split('-').next()?.parse().ok()
    }

    fn check_header(&self, data: &Bytes, run: u64, shard: usize) -> Header {
        let Some(header) = data.get(..HEADER_BYTES) else { return Header::Damaged };
        let boot: [u8; 16] = header[24..40].try_into().expect("sixteen bytes");
        for (magic, has_ends) in [(MAGIC, true), (MAGIC_1, false)] {
            // All of it is known, so a single changed bit is mended. Another boot differs in many.
            let own = self.header_of(magic, run, shard as u64, self.boot);
            if header.iter().zip(&own).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() <= 1 {
                return Header::Sound { has_ends };
            }
            if header == self.header_of(magic, run, shard as u64, boot) {
                return Header::OtherBoot;
            }
        }
        Header::Damaged
    }

    fn header(&self, run: u64, shard: u64) -> Vec<u8> {
        self.header_of(MAGIC, run, shard, self.boot)
    }

    fn header_of(&self, magic: [u8; 8], run: u64, shard: u64, boot: [u8; 16]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&magic);
        header.extend_from_slice(&run.to_le_bytes());
        header.extend_from_slice(&shard.to_le_bytes());
        header.extend_from_slice(&boot);
        let own = checksum(self.identity, &header);
        header.extend_from_slice(&own.to_le_bytes());
        header
    }
}

/// What the head of a file says.
enum Header {
    Sound {
        has_ends: bool,
    },
    /// The file survived a boot, without what was not synced.
    OtherBoot,
    Damaged,
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

/// The numbers in front of a record.
#[derive(Clone, Copy)]
struct FrameHead {
    len: u64,
    position: u64,
    own: u64,
}

impl FrameHead {
    fn read(data: &Bytes) -> Option<FrameHead> {
        let head = data.get(..FRAME_BYTES)?;
        let u64 = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let len = u32::from_le_bytes(head[..4].try_into().expect("four bytes")).into();
        Some(FrameHead { len, position: u64(4), own: u64(12) })
    }

    fn record(self, data: &Bytes) -> Option<Bytes> {
        let end = FRAME_BYTES.checked_add(usize::try_from(self.len).ok()?)?;
        (end <= data.len()).then(|| data.slice(FRAME_BYTES..end))
    }

    /// Whether the sum is that of the record, or was before one of its bits changed.
    fn is_sound(self, run: u64, data: &Bytes) -> bool {
        let sum = |record: Bytes| checksum(run ^ self.position, &record);
        self.record(data).is_some_and(|record| (sum(record) ^ self.own).count_ones() <= 1)
    }

    /// The head as it was, where the sum proves it.
    fn mended(self, run: u64, due: Option<u64>, data: &Bytes) -> Option<FrameHead> {
        let is_due = |head: &FrameHead| due.is_none_or(|due| due == head.position);
        let is_good = |head: &FrameHead| is_due(head) && head.is_sound(run, data);
        let positions = (0..64).map(|bit| FrameHead { position: self.position ^ (1 << bit), ..self });
        let lengths = (0..32).map(|bit| FrameHead { len: self.len ^ (1 << bit), ..self });
        std::iter::once(self).chain(positions).chain(lengths).find(is_good)
    }
}

/// Read the frames of a file. Returns the positions of those that were written to their ends and cannot be
/// read.
fn read_frames(run: u64, has_ends: bool, mut data: Bytes, into: &mut Vec<(u64, Bytes)>) -> Vec<u64> {
    let (mut due, mut damaged) = (None, Vec::new());
    while let Some(head) = FrameHead::read(&data) {
        let mended = head.mended(run, due, &data);
        let head = mended.unwrap_or(head);
        let Some(record) = head.record(&data) else { break };
        let record_end = FRAME_BYTES + record.len();
        let end = data.get(record_end..).and_then(|rest| rest.get(..END_BYTES));
        if mended.is_some() {
            into.push((head.position, record));
        } else if has_ends && end.is_some_and(|end| *end == frame_end(run, head.position)) {
            damaged.push(head.position);
        } else {
            break;
        }
        due = Some(head.position + 1);
        data = data.slice((record_end + if has_ends { END_BYTES } else { 0 }).min(data.len())..);
    }
    damaged
}

fn frame_end(run: u64, position: u64) -> [u8; END_BYTES] {
    (!(run ^ position)).to_le_bytes()
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
        self.frame.extend_from_slice(&frame_end(self.run, position));
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

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 0x0123_4567_89ab_cdef;

    /// A folder that is gone with the test.
    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Crash log files in memory, and where they are.
    fn files(name: &str) -> (Dir, CrashLogFiles) {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let dir = parent.join(format!("grandstand-crash-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let files = CrashLogFiles::new(&dir, &dir, 7).unwrap();
        (Dir(dir), files)
    }

    fn record(position: u64) -> Vec<u8> {
        format!("entry {position} of the shard").into_bytes()
    }

    /// Write entries from one position to another, of which those up to `durable` are synced.
    fn write(log: &mut CrashLog, positions: std::ops::RangeInclusive<u64>, durable: u64) {
        positions.for_each(|position| log.write(position, &record(position), durable));
    }

    fn positions(left: &Left) -> Vec<u64> {
        left.shards[0].iter().map(|(position, _)| *position).collect()
    }

    fn are_written(left: &Left) -> bool {
        left.shards[0].iter().all(|(position, bytes)| **bytes == record(*position))
    }

    #[test]
    fn every_flipped_bit_is_mended_or_seen() {
        let (_dir, files) = files("flip");
        let mut log = CrashLog::begin(&files, RUN, 0, Arc::default());
        // A file that was used before, so that old frames lie behind the new ones.
        write(&mut log, 1..=9, 0);
        log.pairs[0].files[0].as_mut().unwrap().len = HEADER_BYTES as u64;
        log.pairs[0].files[0].as_mut().unwrap().newest = 0;
        write(&mut log, 10..=14, 9);
        let path = files.path(&log.pairs[0].dir, RUN, 0, 0);
        let written = fs::read(&path).unwrap();
        let used = log.pairs[0].files[0].as_ref().unwrap().len as usize;
        let whole: Vec<u64> = (10..=14).collect();
        let (mut mended, mut seen) = (0, 0);
        for at in 0..written.len() {
            for bit in 0..8 {
                let mut rotten = written.clone();
                rotten[at] ^= 1 << bit;
                fs::write(&path, &rotten).unwrap();
                let left = files.found(RUN, &[9]).unwrap();
                assert!(are_written(&left), "byte {at}, bit {bit}: rot is taken");
                if positions(&left) == whole {
                    mended += 1;
                    continue;
                }
                assert!(at < used && left.damage.is_some(), "byte {at}, bit {bit}: {left:?}");
                assert!(whole.starts_with(&positions(&left)));
                seen += 1;
            }
        }
        println!("{mended} mended or beside it, {seen} seen");
        assert!(mended > 0 && seen > 5 * 20 * 8);
    }

    #[test]
    fn damage_of_what_is_synced_hides_nothing_behind_it() {
        let (_dir, files) = files("synced");
        let mut log = CrashLog::begin(&files, RUN, 0, Arc::default());
        write(&mut log, 1..=9, 0);
        let path = files.path(&log.pairs[0].dir, RUN, 0, 0);
        let mut rotten = fs::read(&path).unwrap();
        rotten[HEADER_BYTES + FRAME_BYTES + 2] ^= 1;
        fs::write(&path, &rotten).unwrap();
        let left = files.found(RUN, &[4]).unwrap();
        assert!(positions(&left) == [5, 6, 7, 8, 9] && left.damage.is_none(), "{left:?}");
        let left = files.found(RUN, &[0]).unwrap();
        assert!(positions(&left).is_empty() && left.damage.is_some(), "{left:?}");
    }

    #[test]
    fn a_kill_within_a_write_is_no_damage() {
        let (_dir, files) = files("torn");
        let mut log = CrashLog::begin(&files, RUN, 0, Arc::default());
        write(&mut log, 1..=9, 0);
        let path = files.path(&log.pairs[0].dir, RUN, 0, 0);
        let old = fs::read(&path).unwrap();
        log.pairs[0].files[0].as_mut().unwrap().len = HEADER_BYTES as u64;
        log.pairs[0].files[0].as_mut().unwrap().newest = 0;
        write(&mut log, 10..=12, 9);
        let used = log.pairs[0].files[0].as_ref().unwrap().len as usize;
        let new = fs::read(&path).unwrap();
        for at in HEADER_BYTES..=used {
            // Over old frames, and at the end of a file that grows.
            for torn in [[&new[..at], &old[at..]].concat(), new[..at].to_vec()] {
                fs::write(&path, &torn).unwrap();
                let left = files.found(RUN, &[9]).unwrap();
                assert!(left.damage.is_none() && are_written(&left), "{at} bytes: {left:?}");
                let frame = FRAME_BYTES + record(10).len() + END_BYTES;
                // A frame whose end alone is missing is whole.
                let whole = (at + END_BYTES - HEADER_BYTES) / frame;
                assert_eq!(positions(&left), (10..10 + whole as u64).collect::<Vec<_>>(), "{at} bytes");
            }
        }
    }

    #[test]
    fn a_damaged_head_of_one_of_two_files_is_seen() {
        let (_dir, files) = files("heads");
        let mut log = CrashLog::begin(&files, RUN, 0, Arc::default());
        write(&mut log, 1..=4, 0);
        log.pairs[0].files[0].as_mut().unwrap().len = FILE_BYTES;
        write(&mut log, 5..=6, 0);
        assert_eq!(positions(&files.found(RUN, &[0]).unwrap()), [1, 2, 3, 4, 5, 6]);
        let path = files.path(&log.pairs[0].dir, RUN, 0, 1);
        let mut rotten = fs::read(&path).unwrap();
        rotten[20] ^= 4;
        rotten[21] ^= 4;
        fs::write(&path, &rotten).unwrap();
        let left = files.found(RUN, &[0]).unwrap();
        assert!(positions(&left) == [1, 2, 3, 4] && left.damage.is_some(), "{left:?}");
    }

    #[test]
    fn files_of_the_version_before_are_read() {
        let (_dir, files) = files("version-1");
        let mut file = files.header_of(MAGIC_1, RUN, 0, files.boot);
        for position in 1..=3 {
            let record = record(position);
            file.extend_from_slice(&(record.len() as u32).to_le_bytes());
            file.extend_from_slice(&position.to_le_bytes());
            file.extend_from_slice(&checksum(RUN ^ position, &record).to_le_bytes());
            file.extend_from_slice(&record);
        }
        fs::write(files.path(&files.dirs[0], RUN, 0, 0), file).unwrap();
        let left = files.found(RUN, &[1]).unwrap();
        assert!(positions(&left) == [2, 3] && left.damage.is_none());
    }
}
