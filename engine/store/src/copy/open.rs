//! Opens the copies of a data directory.
//!
//! Invariants: a directory holds either the log of a single node or copies, of a number of shards that never
//! changes. Each copy begins at the head of the last commit that is there.
//! Not here: what the database has (`recovery`), threads (`store`).

use std::collections::VecDeque;
use std::sync::Arc;

use grandstand_engine::runtime::pulse::Pulses;
use grandstand_queue::thread_bell;
use rusqlite::Connection;

use super::ShardCopy;
use super::room::Bounds;
use super::rooms::CopiedRooms;
use crate::clock;
use crate::compaction::Rooms;
use crate::config::StoreConfig;
use crate::directory::{self, Marker};
use crate::error::StoreError;
use crate::memtable::Shared;
use crate::recovery::{self, RecoveredCopies, recover_copies};
use crate::restore;
use crate::store::{Directory, Opened, Store, open_directory};

/// Bytes of the newest batches that one shard's rooms keep in memory: some minutes of a busy shard.
pub(super) const NEWEST_BYTES_MAX: usize = 8 << 20;

impl Store {
    /// Open this node's copies of the logs of a cluster's shards, or begin them: copy `n` is of shard `n`.
    /// Drop the copies before the store is closed. `config.shards`, `config.crash_log_dir` have no meaning
    /// here.
    ///
    /// # Errors
    /// [`StoreError`]: each says what to do. [`StoreError::OtherKind`]: the directory holds the log of a
    /// single node, or copies of another number of shards.
    pub fn open_copies(config: StoreConfig, shards: u16) -> Result<(Store, Vec<ShardCopy>), StoreError> {
        Store::open_copies_watched(config, shards, &Pulses::default())
    }

    /// The same, with threads that show there that they turn.
    ///
    /// # Errors
    /// As [`Store::open_copies`].
    pub fn open_copies_watched(
        config: StoreConfig,
        shards: u16,
        pulses: &Pulses,
    ) -> Result<(Store, Vec<ShardCopy>), StoreError> {
        let began = clock::now();
        let shards = shards.max(1);
        let Directory { path, lock, marker, is_new, wal, mut conn, migrated_from, number } =
            open_directory(&config, true)?;
        let run = recovery::number();
        let recovered = recover_copies(&mut conn, &path, (run, shards), is_new, wal)?;
        let RecoveredCopies { rooms, journal, shards: found, mut opening } = recovered;
        if marker.as_ref().is_none_or(|marker| marker.is_damaged || marker.number != number) {
            // From now on an empty directory is an error. So the database must be there after a power cut.
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(StoreError::sqlite(&path))?;
            Marker::new(number, vec![run]).write(&config.dir)?;
        }
        if marker.is_some_and(|marker| marker.is_damaged) {
            opening.rotten.push(format!("{} is damaged; it is written anew", directory::MARKER));
        }
        opening.migrated_from = migrated_from;
        let (bell, parker) = thread_bell();
        let shared = Shared::new(shards, config.queue_bytes_max, bell, true);
        let parts = journal.copies.as_deref().unwrap_or_default();
        let mut copies = Vec::with_capacity(found.len());
        let mut newest_ms = 0;
        for (shard, (found, part)) in found.into_iter().zip(parts).enumerate() {
            if part.is_damaged {
                shared.shards[shard].set_damaged();
            }
            newest_ms = found.views.iter().map(|state| state.time_ms).fold(newest_ms, u64::max);
            let kept = restore_rooms(&conn, &rooms, (shard, found), (&shared, &config));
            copies.push((shard, part.head.clone(), kept));
        }
        opening.clock = clock::begin(&config.dir, newest_ms);
        let log = Opened { path, lock, conn, rooms, journal, number, opening, began };
        let store = Store::begin(config, log, shared.clone(), (parker, pulses))?;
        let copy = |(shard, head, rooms)| ShardCopy {
            shard,
            shared: shared.clone(),
            asks: store.asks(),
            head,
            position: 0,
            rooms,
            news: VecDeque::new(),
            adopting: None,
        };
        let copies = copies.into_iter().map(copy).collect();
        Ok((store, copies))
    }
}

/// Read what a shard's copy keeps in memory.
fn restore_rooms(
    conn: &Connection,
    rows: &Rooms,
    (shard, found): (usize, recovery::ShardRooms),
    (shared, config): (&Arc<Shared>, &StoreConfig),
) -> CopiedRooms {
    let mut kept = CopiedRooms::new(Bounds::of(config), NEWEST_BYTES_MAX);
    let recovery::ShardRooms { mut views, memtables } = found;
    views.sort_by_key(|state| state.time_ms);
    let empty = VecDeque::new();
    for state in views {
        let name = state.room.room.clone();
        let id = rows.live.get(&name).map(|row| row.id);
        let memtable = memtables.get(&name).unwrap_or(&empty);
        let (stored, fault) = restore::room(conn, id, state.clone(), memtable, config);
        if let Some(text) = fault {
            shared.shards[shard].set_damaged();
            shared.status.note_rot(text);
        }
        shared.set_owner(&name, shard);
        kept.restore_owned(state, stored);
    }
    for name in memtables.keys() {
        shared.set_owner(name, shard);
    }
    shared.shards[shard].memtable().rooms = memtables;
    kept
}
