//! Backups: whole copies of a log, made while it serves, and verified before they get their name.
//!
//! How: SQLite's online backup copies page by page, from one read transaction on a connection of its own. So
//! the copy shows one moment, and it delays no commit. It is written under a temporary name, verified end to
//! end, synced, and only then renamed.
//! Invariants: a file with the name of a backup is whole and sound. [`restore`] replaces a log only with
//! `force`, and keeps the replaced log.
//! Not here: what sound means (`verify`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::clock::{stamp, unix_ms};
use crate::config::BackupPlan;
use crate::directory;
use crate::error::StoreError;
use crate::schema;
use crate::status::Status;
use crate::tables::{self, RowKind};
use crate::verify::{self, Report};

/// Pages copied at a time, and the pause after them: at most 100 MB/s, and others use the disk in between.
const PAGES: i32 = 256;
const PAUSE: Duration = Duration::from_millis(10);

/// Copy a log to the file `to`, whether a process has it open or not.
///
/// `from` is a data directory or a database's file.
///
/// # Errors
/// [`StoreError`] if `to` exists, if the disk fails, or if the copy is not sound; an unsound copy is removed.
pub fn run(from: &Path, to: &Path) -> Result<Report, StoreError> {
    if to.exists() {
        return Err(StoreError::InTheWay { path: to.to_owned() });
    }
    let source = database(from);
    let part = to.with_extension("part");
    let _ = fs::remove_file(&part);
    let result = copy(&source, &part).and_then(|()| check(&part));
    match result.and_then(|report| put(&part, to).map(|()| report)) {
        Ok(report) => Ok(report),
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Put a backup in place as the log of `dir`. With `force`, an existing log is kept aside; without, the
/// directory must have no log. Rooms get new epochs, since clients may have seen messages after the backup.
/// The rooms of a copy keep theirs: what followed the backup is in the cluster's log.
///
/// # Errors
/// [`StoreError`]: the backup is not sound, a process has `dir` open, or `dir` has a log.
pub fn restore(from: &Path, dir: &Path, force: bool) -> Result<Report, StoreError> {
    let source = database(from);
    let report = check(&source)?;
    fs::create_dir_all(dir).map_err(StoreError::io(dir, "make"))?;
    let _lock = directory::lock(dir, Duration::ZERO)?;
    let path = dir.join(schema::DATABASE);
    let is_there = path.exists() || dir.join(directory::MARKER).exists();
    if is_there && !force {
        return Err(StoreError::InTheWay { path });
    }
    let part = dir.join("restoring.part");
    let _ = fs::remove_file(&part);
    copy(&source, &part)?;
    mark_restored(&part)?;
    if is_there {
        keep_aside(dir, &path)?;
    }
    put(&part, &path)?;
    Ok(report)
}

fn database(from: &Path) -> PathBuf {
    if from.is_dir() { from.join(schema::DATABASE) } else { from.to_owned() }
}

fn copy(source: &Path, to: &Path) -> Result<(), StoreError> {
    let fault = StoreError::sqlite(source);
    if !source.exists() {
        return Err(StoreError::Missing { path: source.to_owned() });
    }
    let from = schema::open_reader(source).map_err(&fault)?;
    let tx = from.unchecked_transaction().map_err(&fault)?;
    tx.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(&fault)?;
    let mut target = Connection::open(to).map_err(StoreError::sqlite(to))?;
    {
        let backup = Backup::new(&tx, &mut target).map_err(&fault)?;
        loop {
            match backup.step(PAGES).map_err(&fault)? {
                StepResult::Done => break,
                _ => thread::sleep(PAUSE),
            }
        }
    }
    // One file that needs no other file beside it.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(StoreError::sqlite(to))?;
    drop(target);
    File::open(to).and_then(|file| file.sync_all()).map_err(StoreError::io(to, "sync"))
}

fn check(path: &Path) -> Result<Report, StoreError> {
    let report = verify::run(path)?;
    match report.faults.first() {
        None => Ok(report),
        Some(fault) => Err(StoreError::corrupt(path, fault.clone())),
    }
}

fn put(part: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(part, to).map_err(StoreError::io(to, "rename to"))?;
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io(dir, "sync"))
}

/// Make it another log: give it a new number, and a last row that records the restore.
fn mark_restored(path: &Path) -> Result<(), StoreError> {
    let fault = StoreError::sqlite(path);
    let mut conn = Connection::open(path).map_err(&fault)?;
    let tx = conn.transaction().map_err(&fault)?;
    let last = tables::journal(&tx).0.into_iter().rev().find_map(|(_, row)| row.ok());
    let (id, checksum) = last.as_ref().map_or((0, 0), |row| (row.id, row.checksum));
    // A copy goes on from where the backup has it.
    let mut copies = last.and_then(|row| row.copies);
    copies.iter_mut().flatten().for_each(|part| part.records = 0);
    let header = tables::journal_header(RowKind::Restored, 0, &[], checksum, copies.as_deref());
    tables::insert_journal(&tx, id + 1, &header).map_err(&fault)?;
    tables::renumber(&tx, crate::recovery::number()).map_err(&fault)?;
    tx.commit().map_err(&fault)?;
    drop(conn);
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path, "sync"))
}

fn keep_aside(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let aside = dir.join(format!("replaced-{}", stamp(unix_ms())));
    fs::create_dir(&aside).map_err(StoreError::io(&aside, "make"))?;
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for file in [path.to_owned(), named("-wal"), named("-shm"), dir.join(directory::MARKER)] {
        if let Some(name) = file.file_name().filter(|_| file.exists()) {
            fs::rename(&file, aside.join(name)).map_err(StoreError::io(&file, "keep aside"))?;
        }
    }
    Ok(())
}

/// A backup before a schema change.
pub(crate) fn before_migration(path: &Path, dir: &Path, version: i64) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io(dir, "make"))?;
    let to = dir.join(format!("before-{version}-{}.db", stamp(unix_ms())));
    let part = to.with_extension("part");
    copy(path, &part)?;
    put(&part, &to)
}

/// Makes backups on a schedule, until it is dropped.
#[derive(Debug)]
pub(crate) struct Schedule {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

const PREFIX: &str = "grandstand-";

impl Schedule {
    pub(crate) fn begin(plan: BackupPlan, path: &Path, status: Arc<Status>, pulse: Pulse) -> Schedule {
        let (stop, stopped) = bounded::<()>(0);
        let path = path.to_owned();
        status.backup_ms.store(newest_ms(&plan.dir).unwrap_or(0), Ordering::Relaxed);
        let body = move || {
            loop {
                pulse.turn();
                let due_ms = newest_ms(&plan.dir).map_or(0, |newest| newest + plan.every_ms);
                let wait = Duration::from_millis(due_ms.saturating_sub(unix_ms()));
                match stopped.recv_timeout(wait.min(TURN_EVERY)) {
                    Err(RecvTimeoutError::Timeout) if wait > TURN_EVERY => continue,
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return pulse.end(),
                }
                let disk = pulse.wait_outside();
                let failed = one(&plan, &path, &status).is_err();
                // A pause, so that a full disk does not cause a busy loop.
                let pause = Duration::from_millis(plan.every_ms.min(60_000));
                if failed && !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return pulse.end();
                }
                drop(disk);
            }
        };
        let thread = thread::Builder::new().name("log-backup".into()).spawn(body).ok();
        Schedule { stop: Some(stop), thread }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn one(plan: &BackupPlan, path: &Path, status: &Status) -> Result<(), StoreError> {
    let now_ms = unix_ms();
    let made = fs::create_dir_all(&plan.dir)
        .map_err(StoreError::io(&plan.dir, "make"))
        .and_then(|()| run(path, &plan.dir.join(format!("{PREFIX}{}.db", stamp(now_ms)))));
    match made {
        Ok(_) => {
            status.backups.fetch_add(1, Ordering::Relaxed);
            status.backup_ms.store(now_ms, Ordering::Relaxed);
            let names = names(&plan.dir);
            for old in &names[..names.len().saturating_sub(plan.keep.max(1))] {
                let _ = fs::remove_file(old);
            }
            Ok(())
        }
        Err(error) => {
            status.backup_failures.fetch_add(1, Ordering::Relaxed);
            status.set_fault(format!("backup: {error}"));
            Err(error)
        }
    }
}

/// Scheduled backups, the oldest first.
fn names(dir: &Path) -> Vec<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && name.ends_with(".db")
    };
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).collect();
    names.sort();
    names
}

fn newest_ms(dir: &Path) -> Option<u64> {
    let made = fs::metadata(names(dir).last()?).ok()?.modified().ok()?;
    made.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_millis() as u64)
}
