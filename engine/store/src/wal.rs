//! SQLite's write-ahead log, examined before SQLite opens it: is it torn, and where?
//!
//! Why: SQLite reads it up to the first frame with a wrong checksum and ignores the rest silently. After kill
//! -9 only the last frame can be torn. A frame after a wrong one, from the same run of the file, means that
//! committed data would be lost. Then the start reports it, checks the pages of the database, and does not
//! treat the log as closed.
//!
//! Format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.
//! Not here: what follows from it (`recovery`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The write-ahead log of a database.
pub(crate) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// The frames of a write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether there is a sound header.
    pub(crate) has_header: bool,
    /// Frames that SQLite will read, if all belong to whole transactions.
    pub(crate) sound: usize,
    /// Frames of the same run of the file from the first one that is not sound.
    pub(crate) lost: usize,
}

/// Read the write-ahead log of a database; a missing file has no frames.
///
/// # Errors
/// It cannot be read.
pub(crate) fn look(database: &Path) -> io::Result<Found> {
    match fs::read(path(database)) {
        Ok(data) => Ok(judge(&data)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::default()),
        Err(error) => Err(error),
    }
}

fn judge(data: &[u8]) -> Found {
    let mut found = Found::default();
    let Some(header) = data.get(..HEADER_BYTES) else { return found };
    let be = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let page_bytes = be(header, 8) as usize;
    let is_big_endian = be(header, 0) & 1 == 1;
    let frames = data[HEADER_BYTES..].chunks_exact(FRAME_HEADER_BYTES + page_bytes.clamp(512, 65_536));
    let mut sums = checksum(is_big_endian, [0, 0], &header[..24]);
    let is_header_sound = be(header, 0) & !1 == 0x377f_0682 && sums == [be(header, 24), be(header, 28)];
    if !is_header_sound {
        // Its salt and the size of its pages are unknown: every frame may be lost, unless there is none.
        found.lost = frames.len().max(usize::from(data.len() > HEADER_BYTES));
        return found;
    }
    found.has_header = true;
    let salt = &header[16..24];
    let mut is_ended = false;
    for frame in frames {
        let is_same_run = &frame[8..16] == salt;
        // Behind the end there may be frames of earlier runs, and frames of this one if others are lost.
        if !is_ended && is_same_run {
            sums = checksum(is_big_endian, sums, &frame[..8]);
            sums = checksum(is_big_endian, sums, &frame[FRAME_HEADER_BYTES..]);
            if sums == [be(frame, 16), be(frame, 20)] {
                found.sound += 1;
                continue;
            }
        }
        // A salt that differs by a bit or so is damaged; another run's salt differs in many bits.
        let off = frame[8..16].iter().zip(salt).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        found.lost += usize::from(off <= 2);
        is_ended = true;
    }
    found
}

fn checksum(is_big_endian: bool, [mut a, mut b]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = pair[at..at + 4].try_into().expect("four bytes");
            if is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_wrote_is_sound_and_a_flipped_bit_is_not() {
        let dir = std::env::temp_dir().join(format!("grandstand-wal-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let database = dir.join("a.db");
        let conn = rusqlite::Connection::open(&database).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x); \
             INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);",
        )
        .unwrap();
        let data = fs::read(path(&database)).unwrap();
        let whole = judge(&data);
        assert!(whole.sound >= 3 && whole.lost == 0, "{whole:?}");
        assert_eq!(look(&database).unwrap(), whole);
        let mut rotten = data.clone();
        let at = HEADER_BYTES + FRAME_HEADER_BYTES + 4096 + 100;
        rotten[at] ^= 1;
        let found = judge(&rotten);
        assert_eq!((found.sound, found.lost), (1, whole.sound - 1));
        assert_eq!(judge(&rotten[..at]).sound, 1);
        // Every bit of the header, and of a frame's head: what follows it is lost, and seen to be.
        for bit in 0..8 * HEADER_BYTES {
            let mut rotten = data.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let found = judge(&rotten);
            assert!(found.lost > 0 && !found.has_header, "bit {bit}: {found:?}");
        }
        for bit in 0..8 * FRAME_HEADER_BYTES {
            let mut rotten = data.clone();
            rotten[HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
            let found = judge(&rotten);
            assert_eq!((found.sound, found.lost), (0, whole.sound), "bit {bit}");
        }
        // The head of a frame is gone, and a frame behind it is there.
        let mut rotten = data.clone();
        rotten[HEADER_BYTES..HEADER_BYTES + FRAME_HEADER_BYTES].fill(0);
        assert_eq!(judge(&rotten).lost, whole.sound - 1);
        drop(conn);
        fs::remove_dir_all(dir).unwrap();
    }
}
