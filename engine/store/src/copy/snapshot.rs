//! A snapshot as the node that takes it reads it.
//!
//! Invariant: what was read was checked from end to end.
//! Not here: how it is written (`snapshot`), how it takes the place of a copy (`adopt`).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::open::NEWEST_BYTES_MAX;
use super::room::Bounds;
use super::rooms::CopiedRooms;
use crate::config::StoreConfig;
use crate::copy_head::CopyHead;
use crate::error::{LogKind, StoreError};
use crate::recovery::Survey;
use crate::restore;
use crate::tables::Name;
use crate::verify;

/// A snapshot that was checked and read, to be taken by the copy of its shard.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) path: PathBuf,
    pub(super) shard: usize,
    pub(super) head: CopyHead,
    pub(super) rooms: CopiedRooms,
}

impl Snapshot {
    /// Check a file from end to end, and read what a copy keeps in memory.
    ///
    /// # Errors
    /// It is not a whole and sound snapshot of this shard, of a cluster of this number of shards.
    pub fn read(
        path: &Path,
        (shard, shards): (u16, u16),
        config: &StoreConfig,
    ) -> Result<Snapshot, StoreError> {
        let report = verify::run(path)?;
        if let Some(fault) = report.faults.first() {
            return Err(StoreError::corrupt(path, fault.clone()));
        }
        let survey = Survey::of(path)?;
        let found = survey.copies.as_ref().map(|parts| LogKind::Copies(parts.len() as u16));
        let expected = LogKind::Copies(shards);
        if found != Some(expected) {
            let found = found.unwrap_or(LogKind::Own);
            return Err(StoreError::OtherKind { path: path.to_owned(), found, expected });
        }
        let part = survey.copies.as_ref().and_then(|parts| parts.get(usize::from(shard)));
        let head = part.and_then(|part| part.head.clone());
        let Some(head) = head.filter(|_| part.is_some_and(|part| !part.is_damaged)) else {
            return Err(StoreError::corrupt(path, format!("it has no copy of shard {shard}")));
        };
        let mut rooms = CopiedRooms::new(Bounds::of(config), NEWEST_BYTES_MAX);
        let mut views: Vec<_> = survey.views.values().cloned().collect();
        views.sort_by_key(|state| state.time_ms);
        for state in views {
            let name = state.room.room.clone();
            let id = survey.rooms.live.get(&name).map(|row| row.id);
            let (stored, fault) = restore::room(&survey.conn, id, state.clone(), &VecDeque::new(), config);
            if let Some(text) = fault {
                return Err(StoreError::corrupt(path, text));
            }
            rooms.restore_owned(state, stored);
        }
        Ok(Snapshot { path: path.to_owned(), shard: usize::from(shard), head, rooms })
    }

    /// Up to where it has the shard's log.
    #[must_use]
    pub fn head(&self) -> &CopyHead {
        &self.head
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.rooms.names()
    }
}
