//! The data directory: its lock, its marker file, and the default folder of its crash log.
//!
//! Why a marker: an empty log must never replace a database that somebody deleted by accident. `log.id` is
//! written when a database is created, so a database that is gone is an error.
//! Invariant: one process at a time holds the directory, by a lock on `log.lock`.
//! Not here: the database (`schema`), the files of the crash log (`crash_log`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::checksum::checksum;
use crate::clock;
use crate::error::StoreError;

/// Name of the file that records that a database was created here.
pub(crate) const MARKER: &str = "log.id";

/// Pause between two attempts to take the lock (see [`StoreConfig::lock_wait_ms`](crate::StoreConfig)).
const LOCK_EVERY: Duration = Duration::from_millis(5);

/// Lock the directory `dir`, and wait up to `wait` for another process to release it. The lock lasts as long
/// as the returned file is open.
///
/// # Errors
/// [`StoreError::Locked`] when another process still holds it.
pub(crate) fn lock(dir: &Path, wait: Duration) -> Result<File, StoreError> {
    let path = dir.join("log.lock");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.map_err(StoreError::io(&path, "open"))?;
    let deadline = clock::now() + wait;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if clock::now() < deadline => thread::sleep(LOCK_EVERY),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::Locked { path }),
            Err(error) => return Err(StoreError::io(&path, "lock")(io::Error::from(error))),
        }
    }
    // The number is for people. The lock is what excludes other processes.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Does a process hold the directory? Nothing of it is changed.
pub(crate) fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join("log.lock")) else { return false };
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared);
    matches!(locked, Err(rustix::io::Errno::WOULDBLOCK))
}

/// Must the database be created? Only if neither the database nor a marker exists.
///
/// # Errors
/// [`StoreError::Missing`] when the marker exists and the database does not.
pub(crate) fn check_marker(marker: Option<&Marker>, path: &Path) -> Result<bool, StoreError> {
    let is_empty = fs::metadata(path).map_or(true, |facts| facts.len() == 0);
    match (is_empty, marker) {
        (true, Some(_)) => Err(StoreError::Missing { path: path.to_owned() }),
        (is_empty, _) => Ok(is_empty),
    }
}

/// The contents of `log.id`: the number of the database that was created here, and the runs of the processes
/// that may have written to it last. It distinguishes a database that was deleted, or has lost its newest
/// part, from one that never existed.
#[derive(Debug)]
pub(crate) struct Marker {
    pub(crate) number: u64,
    pub(crate) runs: Vec<u64>,
    /// It is there and differs from what was written: it says nothing.
    pub(crate) is_damaged: bool,
}

/// What stands before the checksum of a marker.
const SUM: &str = " sum-";

impl Marker {
    /// `None`: there is no marker. A marker that cannot be parsed still shows that there was a database.
    pub(crate) fn read(dir: &Path) -> Option<Marker> {
        let path = dir.join(MARKER);
        let bytes = fs::read(&path).ok().or_else(|| path.exists().then(Vec::new))?;
        let text = String::from_utf8_lossy(&bytes);
        // Versions before wrote none.
        let (body, sum) = text.trim_end().split_once(SUM).unwrap_or((&text, ""));
        let is_number = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_damaged = !body.split_whitespace().all(is_number)
            || !sum.is_empty() && u64::from_str_radix(sum, 16) != Ok(checksum(0, body.as_bytes()));
        if is_damaged {
            return Some(Marker { number: 0, runs: Vec::new(), is_damaged });
        }
        let mut numbers = body.split_whitespace().map(|word| u64::from_str_radix(word, 16).unwrap_or(0));
        Some(Marker { number: numbers.next().unwrap_or(0), runs: numbers.collect(), is_damaged })
    }

    pub(crate) fn new(number: u64, runs: Vec<u64>) -> Marker {
        Marker { number, runs, is_damaged: false }
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(MARKER);
        let part = dir.join("log.id.part");
        let runs: String = self.runs.iter().map(|run| format!(" {run:016x}")).collect();
        let write = || {
            let mut file = File::create(&part)?;
            let body = format!("{:016x}{runs}", self.number);
            writeln!(file, "{body}{SUM}{:016x}", checksum(0, body.as_bytes()))?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(StoreError::io(&path, "write"))
    }
}

/// The default folder of the crash log: a tmpfs, whose files survive the process. If /dev/shm is not a tmpfs,
/// it is the data directory.
pub(crate) fn default_crash_log_dir(dir: &Path) -> PathBuf {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let shm = Path::new("/dev/shm");
    #[allow(clippy::unnecessary_cast, reason = "its type is the platform's")]
    let is_memory = rustix::fs::statfs(shm).is_ok_and(|facts| facts.f_type as i64 == TMPFS_MAGIC);
    if is_memory { shm.to_owned() } else { dir.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_of_a_marker_is_seen_or_changes_nothing() {
        let dir = std::env::temp_dir().join(format!("grandstand-marker-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Marker::new(0x1234, vec![0xab, 0xcd]).write(&dir).unwrap();
        let written = fs::read(dir.join(MARKER)).unwrap();
        for bit in 0..8 * written.len() {
            let mut rotten = written.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.join(MARKER), &rotten).unwrap();
            let marker = Marker::read(&dir).unwrap();
            let is_whole = marker.number == 0x1234 && marker.runs.starts_with(&[0xab, 0xcd]);
            assert!(is_whole != marker.is_damaged, "bit {bit}: {marker:?}");
        }
        fs::write(dir.join(MARKER), "0000000000001234 00000000000000ab\n").unwrap();
        let of_before = Marker::read(&dir).unwrap();
        assert_eq!((of_before.number, of_before.runs, of_before.is_damaged), (0x1234, vec![0xab], false));
        fs::remove_dir_all(dir).unwrap();
    }
}
