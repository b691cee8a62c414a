//! The committer's part of an adoption: a snapshot takes the place of one shard's copy.
//!
//! Invariants: no commit and no round of compaction is under way meanwhile. What waits of the old copy is
//! dropped together with it, under the lock of its memtable, so that nothing of it is written behind it.
//! Not here: what is written (`crate::adopt`).

use std::sync::atomic::Ordering::{Relaxed, Release};

use super::Committer;
use crate::adopt::adopt;
use crate::adoption::Adoption;
use crate::clock;
use crate::error::StoreError;
use crate::schema;

impl Committer {
    /// Take a snapshot in place, if one waits and nothing else is under way.
    pub(super) fn take_snapshot(&mut self) {
        if self.pending.is_some() || self.backoff.is_some() {
            return;
        }
        let Some(adoption) = self.shared.adoptions.take() else { return };
        let result = self.adopt(&adoption);
        if let Err(error) = &result {
            self.shared.status.set_fault(format!("the snapshot of shard {}: {error}", adoption.shard));
            // The next commit says whether the disk takes anything.
            self.conn = None;
        }
        self.shared.adoptions.end(adoption.shard, result.map_err(|error| error.to_string()));
        self.shared.shards[adoption.shard].wake();
    }

    fn adopt(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        let _disk = self.pulse.wait_outside();
        let fault = StoreError::sqlite(&self.path);
        if self.conn.is_none() {
            self.conn = Some(schema::open_writer(&self.path, true).map_err(&fault)?);
        }
        // A round that is cut off begins again; what it moved is in the rows of its rooms.
        if self.round.take().is_some() {
            self.waiting_since = Some(clock::now());
        }
        let shared = self.shared.clone();
        let side = &shared.shards[adoption.shard];
        let unwritten = side.memtable().rooms.keys().cloned().collect();
        let conn = self.conn.as_mut().expect("opened above");
        let adopted = adopt(conn, (&self.rooms, &self.journal), adoption, unwritten)?;
        let mut memtable = side.memtable();
        let dropped = (memtable.queue.len() + memtable.heads.len()) as u64;
        let bytes: usize = memtable.queue.iter().map(|(_, bytes)| bytes.len()).sum();
        shared.status.queue_entries.fetch_sub(dropped, Release);
        shared.status.queue_bytes.fetch_sub(bytes as u64, Relaxed);
        memtable.queue.clear();
        memtable.heads.clear();
        memtable.rooms.clear();
        drop(memtable);
        self.wal_bytes += adopted.bytes;
        adopted.settle(&mut self.rooms, &mut self.journal);
        side.clear_damaged();
        side.set_committed(adoption.position);
        self.trims.is_due = true;
        self.waiting_since.get_or_insert_with(clock::now);
        Ok(())
    }
}
