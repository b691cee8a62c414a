//! Marks: a second record of what was committed, in a file of its own beside the database.
//!
//! Why: SQLite reads its write-ahead log up to the first damaged frame and says nothing of the rest. If the
//! crash log is gone too, nothing in the database shows that its newest commits are missing. So each commit
//! is marked here, and a start compares.
//!
//! ```text
//! file = slot*                      1 MB, written in full when it is made, so a write changes no size
//! slot = magic:8  length:u32  sum:u64  body      at a multiple of 512 bytes; sum: XXH3-64 of the body
//! body = number run row settled positions rooms  see [`Mark`]
//! ```
//!
//! The order: the mark of a commit is written and synced by a thread while SQLite syncs the commit. Entries
//! are acknowledged after both. So a commit costs the slower of the two syncs. A mark names the newest commit
//! that was synced before it (`settled`); when nothing follows, another mark names it a moment later.
//! Invariants: what is acknowledged is marked, as settled or as the newest mark. A damaged slot is skipped;
//! the others are valid without it. Only marks of this database and after its last start are in the file.
//! Not here: the comparison (`recovery`), when a mark is written (`committer`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use grandstand_engine::runtime::pulse::{Pulses, TURN_EVERY};

use crate::checksum::checksum;
use crate::codec::{Decoder, Malformed, put_sized, put_varint};
use crate::tables::Name;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "log.marks";

const MAGIC: [u8; 8] = *b"GSmark\0\x01";
const HEAD_BYTES: usize = 8 + 4 + 8;

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// More commits than the write-ahead log holds before its pages are in the database.
const FILE_BYTES: usize = 1 << 20;

/// Rooms that a mark names; a loss of others is known by number only.
const ROOMS_MAX: usize = 256;

/// The end of a room's log after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomEnd {
    pub(crate) name: Name,
    pub(crate) epoch: u64,
    pub(crate) next_offset: u64,
}

/// The mark of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The database's own number.
    pub(crate) number: u64,
    pub(crate) run: u64,
    /// The row of the journal that the commit adds.
    pub(crate) row: i64,
    /// Rows up to this one were synced when the mark was written.
    pub(crate) settled: i64,
    /// The position of each shard with this commit.
    pub(crate) positions: Vec<u64>,
    /// The rooms of the commit.
    pub(crate) rooms: Vec<RoomEnd>,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(SECTOR);
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.run.to_le_bytes());
        for n in [self.row as u64, self.settled as u64, self.positions.len() as u64] {
            put_varint(n, &mut body);
        }
        self.positions.iter().for_each(|&position| put_varint(position, &mut body));
        let rooms = &self.rooms[..self.rooms.len().min(ROOMS_MAX)];
        put_varint(rooms.len() as u64, &mut body);
        for room in rooms {
            put_sized(room.name.as_bytes(), &mut body);
            body.extend_from_slice(&room.epoch.to_le_bytes());
            put_varint(room.next_offset, &mut body);
        }
        let mut slot = Vec::with_capacity(HEAD_BYTES + body.len() + SECTOR);
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&(body.len() as u32).to_le_bytes());
        slot.extend_from_slice(&checksum(0, &body).to_le_bytes());
        slot.extend_from_slice(&body);
        slot.resize(slot.len().next_multiple_of(SECTOR), 0);
        slot
    }

    fn decode(slot: &Bytes) -> Option<Mark> {
        let head = slot.get(..HEAD_BYTES)?;
        let len = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        let own = u64::from_le_bytes(head[12..].try_into().expect("eight bytes"));
        let end = HEAD_BYTES.checked_add(len).filter(|&end| end <= slot.len())?;
        let body = slot.slice(HEAD_BYTES..end);
        (head[..8] == MAGIC && checksum(0, &body) == own).then_some(())?;
        Mark::decode_body(Decoder::new(body)).ok()
    }

    fn decode_body(mut source: Decoder) -> Result<Mark, Malformed> {
        let (number, run) = (source.u64("a number")?, source.u64("a run")?);
        let (row, settled) = (source.varint("a row")? as i64, source.varint("a row")? as i64);
        let mut positions = Vec::new();
        for _ in 0..source.count(1, "a count of shards")? {
            positions.push(source.varint("a position")?);
        }
        let mut rooms = Vec::new();
        for _ in 0..source.count(10, "a count of rooms")? {
            let name = source.text("a room's name")?.into();
            rooms.push(RoomEnd {
                name,
                epoch: source.u64("an epoch")?,
                next_offset: source.varint("an offset")?,
            });
        }
        source.end("the end of a mark")?;
        Ok(Mark { number, run, row, settled, positions, rooms })
    }
}

/// The marks of a directory, in the order of their rows. A missing file has none.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(dir: &Path) -> io::Result<Vec<Mark>> {
    let data = match fs::read(dir.join(FILE)) {
        Ok(data) => Bytes::from(data),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Bytes::new(),
        Err(error) => return Err(error),
    };
    let slots = (0..data.len()).step_by(SECTOR).map(|at| data.slice(at..));
    let mut marks: Vec<Mark> = slots.filter_map(|slot| Mark::decode(&slot)).collect();
    marks.sort_by_key(|mark| (mark.row, mark.settled));
    Ok(marks)
}

/// Writes marks, in a thread of its own.
#[derive(Debug)]
pub(crate) struct Marks {
    asks: Option<Sender<Vec<u8>>>,
    done: Receiver<io::Result<()>>,
    /// Marks that were begun and are not known to be synced.
    under_way: usize,
    thread: Option<JoinHandle<()>>,
    /// The newest row that a mark calls settled.
    settled: i64,
}

impl Marks {
    /// Make the file anew, with its first mark.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(dir: &Path, first: &Mark, pulses: &Pulses) -> io::Result<Marks> {
        let (path, part) = (dir.join(FILE), dir.join("log.marks.part"));
        let mut data = first.encode();
        let at = data.len();
        data.resize(FILE_BYTES, 0);
        let options = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            options
        };
        let file = options().create(true).truncate(true).open(&part)?;
        file.write_all_at(&data, 0)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(dir)?.sync_all()?;
        let ((asks, jobs), (results, done)) = (unbounded::<Vec<u8>>(), unbounded());
        let pulse = pulses.register("log-marks");
        let thread = thread::Builder::new().name("log-marks".into()).spawn(move || {
            let mut at = at;
            loop {
                pulse.turn();
                let slot = match jobs.recv_timeout(TURN_EVERY) {
                    Ok(slot) => slot,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return pulse.end(),
                };
                let disk = pulse.wait_outside();
                if at + slot.len() > FILE_BYTES {
                    at = 0;
                }
                let written = file.write_all_at(&slot, at as u64).and_then(|()| file.sync_data());
                drop(disk);
                at += slot.len();
                if results.send(written).is_err() {
                    return pulse.end();
                }
            }
        })?;
        Ok(Marks { asks: Some(asks), done, under_way: 0, thread: Some(thread), settled: first.settled })
    }

    /// The newest row that a mark calls settled.
    pub(crate) fn settled(&self) -> i64 {
        self.settled
    }

    /// Begin to write a mark.
    pub(crate) fn begin(&mut self, mark: &Mark) {
        self.settled = mark.settled;
        let asks = self.asks.as_ref().expect("there until it is dropped");
        if asks.send(mark.encode()).is_ok() {
            self.under_way += 1;
        }
    }

    /// Wait until all marks that were begun are synced.
    ///
    /// # Errors
    /// One of them is not.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        while self.under_way > 0 {
            self.under_way -= 1;
            let one = self.done.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")));
            result = result.and(one);
        }
        result
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(row: i64, rooms: usize) -> Mark {
        let end = |n: usize| RoomEnd { name: format!("show/{n}").into(), epoch: 7, next_offset: row as u64 };
        Mark {
            number: 9,
            run: 4,
            row,
            settled: row - 1,
            positions: vec![row as u64, 3],
            rooms: (0..rooms).map(end).collect(),
        }
    }

    /// A directory that is removed when its test ends.
    struct Dir(std::path::PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn dir(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("grandstand-marks-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    #[test]
    fn the_newest_marks_are_read_after_the_file_was_filled_several_times() {
        let dir = dir("ring");
        let mut marks = Marks::create(&dir.0, &mark(1, 0), &Pulses::default()).unwrap();
        // Of different sizes, so that they end at other places in each round.
        for row in 2..=6_000 {
            marks.begin(&mark(row, row as usize % 70));
        }
        marks.wait().unwrap();
        drop(marks);
        let read = read(&dir.0).unwrap();
        assert!(read.len() > 500, "{}", read.len());
        let newest = &read[read.len() - 500..];
        assert!(newest.iter().zip(5_501..).all(|(m, row)| *m == mark(row, row as usize % 70)));
        assert_eq!(fs::metadata(dir.0.join(FILE)).unwrap().len(), FILE_BYTES as u64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_flipped_bit_costs_one_mark_at_most(flip in 0usize..20 * SECTOR * 8) {
            let mut data = Vec::new();
            (1..=10).for_each(|row| data.extend_from_slice(&mark(row, 20).encode()));
            let flip = flip % (data.len() * 8);
            data[flip / 8] ^= 1 << (flip % 8);
            let dir = dir(&format!("flip-{flip}"));
            fs::write(dir.0.join(FILE), &data).unwrap();
            let read = read(&dir.0).unwrap();
            prop_assert!(read.len() >= 9);
            prop_assert!(read.iter().all(|m| *m == mark(m.row, 20)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Mark::decode(&Bytes::from(bytes.clone()));
            let mut slot = mark(1, 3).encode();
            let end = slot.len().min(HEAD_BYTES + bytes.len());
            slot[HEAD_BYTES..end].copy_from_slice(&bytes[..end - HEAD_BYTES]);
            let body = slot[HEAD_BYTES..].to_vec();
            slot[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
            slot[12..20].copy_from_slice(&checksum(0, &body).to_le_bytes());
            let _ = Mark::decode(&Bytes::from(slot));
        }
    }
}
