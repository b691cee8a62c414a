//! Losses: acknowledged commits that a start does not find, and the record of them that stays.
//!
//! Why a record: after the start the rooms continue under new epochs, and the database is sound again. What
//! was lost must still be known to whoever runs `grandstand verify` later.
//! Invariants: a commit that was marked as settled and is not there is a loss. One that was only under way is
//! not called a loss, and not called whole either, unless nothing of it was written: then it was not
//! acknowledged.
//! Not here: marks (`marks`), new epochs (`recovery`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::clock::{stamp, unix_ms};
use crate::error::StoreError;
use crate::marks::Mark;
use crate::recovery::{Missing, Opening};
use crate::tables::Name;
use crate::wal;

/// Rooms that a text names; the rest is counted.
const NAMED_MAX: usize = 20;

/// The beginning of a record's file name.
const PREFIX: &str = "lost-";

/// The last commit is not there, and the write-ahead log has a trace of it, or has suffered.
pub(crate) const UNSURE: &str =
    "the last commit was under way and is not there; whether it was acknowledged is not known";

/// The last commit is not there, and nothing of it was written.
pub(crate) const UNWRITTEN: &str =
    "the last commit was under way and nothing of it had reached the disk: it was not acknowledged";

/// What the marks say about a database.
#[derive(Debug, Default)]
pub(crate) struct Losses<'a> {
    /// Number of lost commits.
    pub(crate) commits: u64,
    /// Their marks, as far as they are there.
    pub(crate) lost: Vec<&'a Mark>,
    /// A commit that may have been acknowledged.
    pub(crate) unsure: Option<&'a Mark>,
}

impl Losses<'_> {
    /// Was nothing of the unsure commit written? A commit is acknowledged when the write-ahead log has it. So
    /// it was not, if it follows the newest row and the write-ahead log ends there, whole, without a frame of
    /// it behind its end. Damage leaves such frames; only the loss of all frames of one commit would not.
    pub(crate) fn is_unwritten(&self, last_row: Option<i64>, wal: wal::Found) -> bool {
        let follows = self.unsure.is_some_and(|mark| last_row.is_some_and(|last| mark.row == last + 1));
        follows && self.commits == 0 && wal.has_header && wal.lost == 0
    }
}

/// Compare marks with the newest row and its run, and with the positions that were reached.
pub(crate) fn find<'a>(last: Option<(i64, u64)>, reached: &[u64], marks: &'a [Mark]) -> Losses<'a> {
    let (last_row, last_run) = last.unwrap_or((0, 0));
    let is_reached = |mark: &Mark| {
        mark.run == last_run
            && mark.positions.len() == reached.len()
            && mark.positions.iter().zip(reached).all(|(position, reached)| position <= reached)
    };
    let is_there = |mark: &Mark| mark.row <= last_row || is_reached(mark);
    let settled = marks.iter().map(|mark| mark.settled).max().unwrap_or(0);
    // The crash log may have what the database lacks. Later marks have higher positions.
    let is_whole = settled <= last_row || marks.iter().any(|mark| mark.row >= settled && is_there(mark));
    let (lost, unsure): (Vec<&Mark>, Vec<&Mark>) =
        marks.iter().filter(|mark| !is_there(mark)).partition(|mark| mark.row <= settled);
    let from = lost.iter().map(|mark| mark.row).min().unwrap_or(last_row + 1).min(settled);
    let commits = if is_whole { 0 } else { (settled - from + 1).max(1) as u64 };
    Losses {
        commits,
        lost: if is_whole { Vec::new() } else { lost },
        unsure: unsure.into_iter().find(|mark| !mark.rooms.is_empty()),
    }
}

/// The messages of lost commits by room, when `next_offset` is where a room's log ends now.
pub(crate) fn missing(lost: &[&Mark], next_offset: impl Fn(&str, u64) -> u64) -> Vec<Missing> {
    let mut ends: BTreeMap<&Name, (u64, u64)> = BTreeMap::new();
    for room in lost.iter().flat_map(|mark| &mark.rooms) {
        ends.insert(&room.name, (room.epoch, room.next_offset));
    }
    let missing = ends.into_iter().map(|(name, (epoch, to))| {
        let from = next_offset(name, epoch);
        Missing { room: name.clone(), from, to }
    });
    missing.filter(|missing| missing.from < missing.to).collect()
}

/// A text with the rooms behind it.
pub(crate) fn describe(text: &str, missing: &[Missing]) -> String {
    let named: Vec<String> = missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match missing.len().saturating_sub(NAMED_MAX) {
        _ if named.is_empty() => text.to_owned(),
        0 => format!("{text}: {}", named.join("; ")),
        more => format!("{text}: {}; {more} more rooms", named.join("; ")),
    }
}

/// Keep a record of what a start did not find.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(database: &Path, opening: &Opening) -> Result<(), StoreError> {
    if opening.lost_commits == 0 {
        return Ok(());
    }
    let now_ms = unix_ms();
    let path = database.with_file_name(format!("{PREFIX}{}.txt", stamp(now_ms)));
    let mut text = format!(
        "{} acknowledged commits were missing at the start of {} UTC\n",
        opening.lost_commits,
        stamp(now_ms)
    );
    opening.missing.iter().for_each(|missing| text.push_str(&format!("{missing}\n")));
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(StoreError::io(&path, "write"))
}

/// The records of a directory, with their paths.
pub(crate) fn read(dir: &Path) -> Vec<(PathBuf, String)> {
    let is_record = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".txt"))
    };
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = entries.filter(is_record).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::RoomEnd;

    fn mark(run: u64, row: i64, settled: i64, position: u64) -> Mark {
        let rooms = vec![RoomEnd { name: "show".into(), epoch: 1, next_offset: position }];
        Mark { number: 1, run, row, settled, positions: vec![position], rooms }
    }

    fn judged(last: (i64, u64), reached: u64, marks: &[Mark]) -> (u64, bool) {
        let losses = find(Some(last), &[reached], marks);
        (losses.commits, losses.unsure.is_some())
    }

    #[test]
    fn a_settled_commit_that_is_not_there_is_lost_and_one_under_way_is_unsure() {
        let marks: Vec<Mark> = (2..=10).map(|row| mark(5, row, row - 1, row as u64 * 10)).collect();
        assert_eq!(judged((10, 5), 100, &marks), (0, false), "all is there");
        assert_eq!(judged((9, 5), 90, &marks), (0, true), "the last was under way");
        assert_eq!(judged((7, 5), 70, &marks), (2, true));
        assert_eq!(judged((7, 5), 100, &marks), (0, false), "the crash log has the rest");
        assert_eq!(judged((7, 5), 80, &marks), (1, true), "the crash log has one more");
        assert_eq!(judged((1, 4), 10, &marks), (8, true), "nothing of the last run is there");
        let settled = [&marks[..], &[Mark { rooms: Vec::new(), ..mark(5, 10, 10, 100) }]].concat();
        assert_eq!(judged((9, 5), 90, &settled), (1, false), "it was known to be synced");
        assert_eq!(judged((3, 5), 30, &[]), (0, false), "no marks, no judgement");
        let is_unwritten =
            |row: i64, wal| find(Some((row, 5)), &[row as u64 * 10], &marks).is_unwritten(Some(row), wal);
        let sound = wal::Found { has_header: true, sound: 9, lost: 0 };
        assert!(is_unwritten(9, sound), "the write-ahead log ends before it");
        assert!(!is_unwritten(9, wal::Found { lost: 1, ..sound }), "frames follow that are not sound");
        assert!(!is_unwritten(9, wal::Found::default()), "there is no write-ahead log");
        assert!(!is_unwritten(8, sound), "a settled commit is missing too");
        let losses = find(Some((7, 5)), &[70], &marks);
        let lost = missing(&losses.lost, |_, epoch| if epoch == 1 { 70 } else { 0 });
        assert_eq!(lost, [Missing { room: "show".into(), from: 70, to: 90 }]);
        assert_eq!(describe("gone", &lost), "gone: room show: offsets 70 to 89");
    }
}
