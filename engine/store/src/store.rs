//! A store: an open data directory, its threads, and the handle of each shard.
//!
//! Invariants: one process at a time holds the directory (`directory`). Nothing is served before the
//! recovered records are committed. A database that is missing is an error, never an empty log.
//! Not here: reading the log at a start (`recovery`), the threads' work (`committer`, `reader`), copies of a
//! cluster's logs (`copy`).

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, unbounded};
use foldhash::quality::RandomState;
use grandstand_engine::link::ShardId;
use grandstand_engine::log::{DurableLog, LogSource, StoredRoom};
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_queue::{Doorbell, Parker, thread_bell};
use rusqlite::Connection;

use crate::backup;
use crate::clock::{self, unix_ms};
use crate::committer::Committer;
use crate::compaction::Rooms;
use crate::config::StoreConfig;
use crate::crash_log::{CrashLog, CrashLogFiles};
use crate::directory::{self, Marker, check_marker, default_crash_log_dir, lock};
use crate::error::StoreError;
use crate::journal::Journal;
use crate::marks;
use crate::memtable::Shared;
use crate::reader::{Ask, Reader};
use crate::recovery::{self, Opening, Recovered};
use crate::restore;
use crate::room_state::RoomState;
use crate::schema;
use crate::shard_end::ShardEnd;
use crate::shard_log::ShardLog;
use crate::status::Status;
use crate::tables::{self, Name};
use crate::wal;

/// Pause between two checks whether a released owner's entries are synced.
const LEFT_EVERY: Duration = Duration::from_millis(1);

/// An open log. Give it to the engine, stop the engine, then [`close`](Store::close) it.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    shared: Arc<Shared>,
    opening: Opening,
    /// Not there for copies.
    place: Option<CrashLogFiles>,
    /// Reads the rooms for restore.
    conn: Connection,
    views: HashMap<Name, RoomState, RandomState>,
    ids: HashMap<Name, i64, RandomState>,
    /// The crash log of each shard, until the shard's log is opened for the first time.
    crash_logs: Vec<Option<CrashLog>>,
    asks: Option<Sender<Ask>>,
    writer: Option<JoinHandle<bool>>,
    reader: Option<JoinHandle<()>>,
    backups: Option<backup::Schedule>,
    // Released last.
    _lock: File,
}

impl Store {
    /// Open the log in `config.dir`, or create it.
    ///
    /// # Errors
    /// [`StoreError`]: each says what to do. Damaged data is never replaced by empty data.
    pub fn open(config: StoreConfig) -> Result<Store, StoreError> {
        Store::open_watched(config, &Pulses::default())
    }

    /// The same, with threads that show there that they turn.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_watched(config: StoreConfig, pulses: &Pulses) -> Result<Store, StoreError> {
        let began = clock::now();
        let Directory { path, lock, marker, is_new, wal, mut conn, migrated_from, number } =
            open_directory(&config, false)?;
        let dir = &config.dir;
        let is_marker_damaged = marker.as_ref().is_some_and(|marker| marker.is_damaged);
        let crash_log_dir = config.crash_log_dir.clone().unwrap_or_else(|| default_crash_log_dir(dir));
        let _ = fs::create_dir_all(&crash_log_dir);
        let place = CrashLogFiles::new(&crash_log_dir, dir, number).map_err(StoreError::io(dir, "read"))?;
        let (run, (bell, parker)) = (recovery::number(), thread_bell());
        let shared = Shared::new(config.shards, config.queue_bytes_max, bell, false);
        let mut crash_logs = Vec::new();
        let runs = marker.filter(|marker| marker.number == number).map(|marker| marker.runs);
        let mut marks = marks::read(dir).map_err(StoreError::io(&dir.join(marks::FILE), "read"))?;
        marks.retain(|mark| mark.number == number);
        let found = (is_new, wal, &*marks);
        let recovered = recovery::recover(
            &mut conn,
            &path,
            (&place, run, config.shards),
            found,
            runs.as_deref(),
            |last| {
                Marker::new(number, vec![last, run]).write(dir)?;
                let begin = |shard| CrashLog::begin(&place, run, shard, shared.status.clone());
                crash_logs.extend((0..shared.shards.len()).map(begin).map(Some));
                Ok(())
            },
        )?;
        Marker::new(number, vec![run]).write(dir)?;
        place.remove_others(Some(run));
        let Recovered { rooms, views, memtables, journal, mut opening } = recovered;
        let newest_ms = views.values().map(|state| state.time_ms).max().unwrap_or(0);
        opening.clock = clock::begin(dir, newest_ms);
        if is_marker_damaged {
            opening.rotten.push(format!("{} is damaged; it is written anew", directory::MARKER));
        }
        let ids = rooms.live.iter().map(|(name, row)| (name.clone(), row.id)).collect();
        *shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner) = memtables;
        opening.migrated_from = migrated_from;
        let log = Opened { path, lock, conn, rooms, journal, number, opening, began };
        let mut store = Store::begin(config, log, shared, (parker, pulses))?;
        (store.place, store.crash_logs) = (Some(place), crash_logs);
        (store.views, store.ids) = (views, ids);
        Ok(store)
    }

    /// Begin the threads of a log that was recovered.
    pub(crate) fn begin(
        config: StoreConfig,
        log: Opened,
        shared: Arc<Shared>,
        (parker, pulses): (Parker, &Pulses),
    ) -> Result<Store, StoreError> {
        let Opened { path, lock, conn, rooms, journal, number, mut opening, began } = log;
        let dir = &config.dir;
        let (writer_state, retention) = ((rooms, journal), config.retention);
        let mut writer = Committer::new(
            shared.clone(),
            path.clone(),
            conn,
            (parker, pulses),
            writer_state,
            retention,
            number,
        );
        writer.make_marks();
        writer.look();
        let (asks, receiver) = unbounded();
        let pulse = pulses.register("log-reader");
        let reader = Reader { shared: shared.clone(), path: path.clone(), asks: receiver, conn: None, pulse };
        let spawn = StoreError::io(dir, "begin a thread for");
        let writer = thread::Builder::new().name("log".into()).spawn(move || writer.run()).map_err(spawn)?;
        let spawn = StoreError::io(dir, "begin a thread for");
        let reader =
            thread::Builder::new().name("log-reader".into()).spawn(move || reader.run()).map_err(spawn)?;
        let conn = schema::open_reader(&path).map_err(StoreError::sqlite(&path))?;
        let backups = config.backups.clone().map(|plan| {
            backup::Schedule::begin(plan, &path, shared.status.clone(), pulses.register("log-backup"))
        });
        opening.took_ms = clock::elapsed(began).as_millis() as u64;
        shared.status.lost_commits.store(opening.lost_commits, Ordering::Relaxed);
        shared.status.unsure_commits.store(opening.unsure.is_some().into(), Ordering::Relaxed);
        let lost = opening.missing.iter().map(|missing| missing.to - missing.from).sum();
        shared.status.lost_messages.store(lost, Ordering::Relaxed);
        for text in &opening.rotten {
            shared.status.note_rot(text.clone());
        }
        Ok(Store {
            config,
            shared,
            opening,
            place: None,
            conn,
            views: HashMap::default(),
            ids: HashMap::default(),
            crash_logs: Vec::new(),
            asks: Some(asks),
            writer: Some(writer),
            reader: Some(reader),
            backups,
            _lock: lock,
        })
    }

    /// What a reader of this store's pages needs.
    pub(crate) fn asks(&self) -> Sender<Ask> {
        self.asks.clone().expect("there until the store is closed")
    }

    /// The result of opening.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The status of the store, which is updated while it runs.
    pub fn status(&self) -> Arc<Status> {
        self.shared.status.clone()
    }

    /// Write outstanding entries, mark the log as closed and release the directory. Shards must have been
    /// stopped. `false`: the disk did not accept everything in time, and the crash log keeps it for the next
    /// start on this machine.
    pub fn close(mut self) -> bool {
        self.end()
    }

    fn end(&mut self) -> bool {
        self.backups = None;
        self.asks = None;
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        let is_clean = self.writer.take().is_some_and(|writer| writer.join().unwrap_or(false));
        if let Some(place) = self.place.as_ref().filter(|_| is_clean) {
            place.remove_others(None);
        }
        // It ends by itself when the last shard's handle is dropped.
        drop(self.reader.take());
        is_clean
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.end();
        }
    }
}

impl LogSource for Store {
    /// Waits until the entries of the previous owner are synced.
    fn open(
        &mut self,
        shard: ShardId,
        owns: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>) {
        let shard = usize::from(shard.0);
        self.shared.shards[shard].set_bell(bell);
        let (end, stored) = match self.shared.shards[shard].take_left() {
            Some(end) => self.open_again(shard, end),
            None => self.open_first(shard, owns),
        };
        let asks = self.asks();
        (Box::new(ShardLog { shard, shared: self.shared.clone(), end, asks }), stored)
    }

    fn close(&mut self, shard: ShardId) {
        let left = &self.shared.shards[usize::from(shard.0)];
        assert!(left.has_left(), "a log is closed after its shard has dropped it");
    }
}

impl Store {
    /// Open a shard's log for the first time, with the rooms that the last process left.
    fn open_first(&mut self, shard: usize, owns: &dyn Fn(&str) -> bool) -> (ShardEnd, Vec<StoredRoom>) {
        let side = &self.shared.shards[shard];
        let owned: Vec<Name> = self.views.keys().filter(|name| owns(name)).cloned().collect();
        let (mut checksums, mut stored) = (HashMap::default(), Vec::with_capacity(owned.len()));
        for name in owned {
            let Some(state) = self.views.remove(&name) else { continue };
            checksums.insert(name.clone(), (state.room.epoch, state.checksum));
            self.shared.set_owner(&name, shard);
            // A statement of its own, since the lock must not be held when the shard's is taken.
            let memtable = self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            let memtable = memtable.unwrap_or_default();
            let room =
                restore::room(&self.conn, self.ids.get(&name).copied(), state, &memtable, &self.config);
            room.1.into_iter().for_each(|text| self.shared.status.note_rot(text));
            stored.push(room.0);
            if !memtable.is_empty() {
                side.memtable().rooms.insert(name, memtable);
            }
        }
        // Names of removed rooms that are still in the journal: the owner of the name takes them too.
        let mut unclaimed = self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Name> = unclaimed.keys().filter(|name| owns(name)).cloned().collect();
        for name in gone {
            if let Some(memtable) = unclaimed.remove(&name) {
                side.memtable().rooms.insert(name, memtable);
            }
        }
        drop(unclaimed);
        let crash_log = self.crash_logs.get_mut(shard).and_then(Option::take);
        assert!(crash_log.is_some(), "shard {shard} is open, or the store has no such shard");
        (ShardEnd { checksums, position: 0, told: 0, crash_log, generation: 0 }, stored)
    }

    /// Open a shard's log again, after the entries of the previous owner are synced.
    fn open_again(&mut self, shard: usize, mut end: ShardEnd) -> (ShardEnd, Vec<StoredRoom>) {
        let side = &self.shared.shards[shard];
        while side.durable() < end.position {
            thread::park_timeout(LEFT_EVERY);
        }
        (end.told, end.generation) = (end.position, end.generation.wrapping_add(1));
        let mut stored = Vec::with_capacity(end.checksums.len());
        for name in end.checksums.keys() {
            // The memtable is read first. So records that are moved into segments meanwhile are in both, and
            // never in neither.
            let memtable = side.memtable().rooms.get(name).cloned().unwrap_or_default();
            match restore::state_now(&self.conn, name, &memtable) {
                Ok((id, Some(state))) => {
                    let (room, fault) = restore::room(&self.conn, id, state, &memtable, &self.config);
                    fault.into_iter().for_each(|text| self.shared.status.note_rot(text));
                    stored.push(room);
                }
                Ok((_, None)) => self.shared.status.note_rot(format!("room {name}: its row is missing")),
                Err(fault) => self.shared.status.note_rot(format!("room {name}: {fault}")),
            }
        }
        (end, stored)
    }
}

/// A data directory that this process holds, and its database.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) lock: File,
    pub(crate) marker: Option<Marker>,
    pub(crate) is_new: bool,
    pub(crate) wal: wal::Found,
    pub(crate) conn: Connection,
    pub(crate) migrated_from: Option<i64>,
    pub(crate) number: u64,
}

/// A log that was recovered, and whose threads have not begun.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) lock: File,
    pub(crate) conn: Connection,
    pub(crate) rooms: Rooms,
    pub(crate) journal: Journal,
    pub(crate) number: u64,
    pub(crate) opening: Opening,
    pub(crate) began: Instant,
}

/// Take a data directory, and open its database or create it.
pub(crate) fn open_directory(config: &StoreConfig, is_copy: bool) -> Result<Directory, StoreError> {
    let dir = &config.dir;
    fs::create_dir_all(dir).map_err(StoreError::io(dir, "make"))?;
    let lock = lock(dir, Duration::from_millis(config.lock_wait_ms))?;
    let path = dir.join(schema::DATABASE);
    let marker = Marker::read(dir);
    let is_new = check_marker(marker.as_ref(), &path)?;
    let wal = wal::look(&path).map_err(StoreError::io(&path, "read the write-ahead log of"))?;
    let (conn, migrated_from) = open_database(config, &path, (is_new, is_copy))?;
    if wal.lost > 0 {
        check_pages(&conn, &path)?;
    }
    let number = tables::meta(&conn).map_err(|fault| StoreError::corrupt(&path, fault.to_string()))?.0;
    Ok(Directory { path, lock, marker, is_new, wal, conn, migrated_from, number })
}

fn open_database(
    config: &StoreConfig,
    path: &Path,
    (is_new, is_copy): (bool, bool),
) -> Result<(Connection, Option<i64>), StoreError> {
    let fault = StoreError::sqlite(path);
    let mut conn = schema::open_writer(path, is_copy).map_err(&fault)?;
    let found = schema::migrate(&mut conn, path, schema::MIGRATIONS, |version| {
        let dir = config.backup_dir.clone().unwrap_or_else(|| config.dir.join("backups"));
        backup::before_migration(path, &dir, version)
    })?;
    if is_new || found == 0 {
        tables::put_meta(&conn, recovery::number(), unix_ms()).map_err(&fault)?;
    }
    let is_old = found > 0 && found < schema::MIGRATIONS.len() as i64;
    Ok((conn, is_old.then_some(found)))
}

/// A torn write-ahead log may have left pages of different times side by side.
fn check_pages(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String =
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(StoreError::sqlite(path))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(StoreError::corrupt(path, format!("after a torn write-ahead log: {found}")))
    }
}
