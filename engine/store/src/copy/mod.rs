//! The copy of one shard's log: the log is kept by the cluster, and every node applies it to its own
//! database.
//!
//! Why: from its copy a node reads history, and takes a shard over without reading anything from elsewhere.
//! The way of a record: the holder of the copy reads it from the cluster's log and *applies* its entries.
//! They are in memory at once, for pages of history and for [`ShardCopy::rooms`]. The committer writes them
//! later, in one transaction with the *head* that came with them. After a crash the copy is at an earlier
//! head, with exactly the entries up to there, and its holder applies the log again from there.
//!
//! An entry counts if it continues its room: a description begins a room, and everything else must be of the
//! room's epoch and follow its offsets. Any other entry is left out and counted. All copies of a shard apply
//! the same records in the same order, so all leave out the same. After a term without a clean hand-over
//! every room has the epoch that [`epoch_after`] says, and an entry of the epoch before is left out.
//!
//! Invariants: nothing waits for the disk. A head is never committed without its entries. A record at or
//! below the head changes nothing. What cannot be understood makes the copy unsound, and is never passed over
//! in silence: another node may understand it.
//! Not here: which records of the cluster's log are valid (`grandstand-cluster`), how records reach the disk
//! (`committer`), pages (`reader`).

mod adopting;
mod entry;
mod open;
mod room;
mod rooms;
mod snapshot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crossbeam::channel::Sender;
use grandstand_engine::link::{PreviousEpoch, epoch_after};
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};
use grandstand_queue::Doorbell;

pub use entry::{NotAnEntry, decode_entry, encode_entry};
pub use snapshot::Snapshot;

use crate::copy_head::CopyHead;
use crate::memtable::Shared;
use crate::reader::Ask;
use crate::record::{self, Record, Sealed};
use crate::room_state::RoomState;
use crate::status::Health;
use crate::tables::Name;
use rooms::CopiedRooms;

/// See the file's head. A handle for one thread; the copies of one store share its threads and its database.
#[derive(Debug)]
pub struct ShardCopy {
    shard: usize,
    shared: Arc<Shared>,
    asks: Sender<Ask>,
    head: Option<CopyHead>,
    /// Of the newest record or head, counted from the start of the process.
    position: u64,
    rooms: CopiedRooms,
    /// News that was seen and not polled.
    news: VecDeque<News>,
    /// A snapshot that is taking the place of what is here.
    adopting: Option<adopting::Adopting>,
}

/// The records that one record of the log comes to.
#[derive(Debug, Default)]
struct Group {
    records: Vec<(Name, Bytes, bool, u64)>,
}

impl Group {
    fn push(&mut self, name: Name, sealed: &Sealed, begins: bool) {
        self.records.push((name, sealed.bytes.clone(), begins, sealed.record.next_offset()));
    }
}

impl ShardCopy {
    /// The head that came with the last applied record, also after a restart. `None`: nothing was applied.
    #[must_use]
    pub fn head(&self) -> Option<&CopyHead> {
        self.head.as_ref()
    }

    /// Apply a record of the log that holds entries (see [`encode_entry`]). Never waits. `false`: the record
    /// is at or below the head, and nothing changed.
    pub fn apply(&mut self, head: CopyHead, entries: &[Bytes]) -> bool {
        if !self.is_next(&head) {
            return false;
        }
        let mut group = Group::default();
        entries.iter().for_each(|entry| self.take(entry, &mut group));
        self.keep(head, group);
        true
    }

    /// Apply a record of the log that begins a term. `adopted` are entries that the last owner had shown and
    /// not kept; they are of the epochs before. Then, unless the shard was handed over cleanly, every room
    /// gets the epoch that [`epoch_after`] says, and its lineage says up to where it goes on the old one.
    /// Never waits. `false`: the record is at or below the head, and nothing changed.
    pub fn begin_term(&mut self, head: CopyHead, term: u64, is_clean: bool, adopted: &[Bytes]) -> bool {
        if !self.is_next(&head) {
            return false;
        }
        let mut group = Group::default();
        adopted.iter().for_each(|entry| self.take(entry, &mut group));
        if !is_clean {
            let names: Vec<Name> = self.rooms.names().cloned().collect();
            names.into_iter().for_each(|name| self.renew(name, term, &mut group));
        }
        self.keep(head, group);
        true
    }

    /// What is being replaced takes nothing more: the holder applies the log again behind the snapshot.
    fn is_next(&self, head: &CopyHead) -> bool {
        let is_behind = |applied: &CopyHead| applied.position() < head.position();
        self.adopting.is_none() && self.head.as_ref().is_none_or(is_behind)
    }

    /// Apply one entry.
    fn take(&mut self, entry: &Bytes, group: &mut Group) {
        let sealed = match entry::read_entry(entry) {
            Ok(sealed) => sealed,
            Err(fault) => return self.note_damage(&fault.to_string()),
        };
        let name = sealed.record.room();
        let Some((name, room)) = self.rooms.get(name) else { return self.begin(&sealed, group) };
        let (name, base) = (name.clone(), room.state.checksum);
        let sealed = record::rebase(&sealed, base);
        if let Record::Entry(Entry::Removed { epoch, .. }) = sealed.record {
            if epoch != room.state.room.epoch {
                return self.leave_out();
            }
            self.rooms.remove(&name);
            return group.push(name, &sealed, true);
        }
        if self.rooms.take(&name, &sealed) { group.push(name, &sealed, false) } else { self.leave_out() }
    }

    /// An entry of a room that is not there: only its description begins it.
    fn begin(&mut self, sealed: &Sealed, group: &mut Group) {
        let name = sealed.record.room();
        let is_other = self.shared.owner(name).is_some_and(|owner| owner != self.shard);
        if is_other || !matches!(sealed.record, Record::Entry(Entry::Room(_))) {
            return self.leave_out();
        }
        // Its bytes are copied, so that they do not keep those of the whole record of the log.
        let sealed = record::rebase(sealed, 0);
        let mut state = None;
        if RoomState::advance(&mut state, &sealed).is_ok()
            && let Some(state) = state
        {
            let name = state.room.room.clone();
            self.shared.set_owner(&name, self.shard);
            self.rooms.begin(state);
            group.push(name, &sealed, true);
        }
    }

    /// A room gets the epoch after a term.
    fn renew(&mut self, name: Name, term: u64, group: &mut Group) {
        let Some((_, room)) = self.rooms.get(&name) else { return };
        let state = &room.state;
        let previous = PreviousEpoch { epoch: state.room.epoch, next_offset: state.next_offset };
        let epoch = epoch_after(previous.epoch, term);
        let record = Record::Epoch { room: name.clone(), epoch, previous };
        let (bytes, _) = record::encode(&record, state.checksum);
        let sealed = record::read(&bytes).expect("a record that was just encoded");
        let follows = self.rooms.take(&name, &sealed);
        debug_assert!(follows, "an epoch follows the epoch that it names");
        group.push(name, &sealed, false);
    }

    fn leave_out(&self) {
        self.shared.status.left_out.fetch_add(1, Ordering::Relaxed);
    }

    fn note_damage(&self, text: &str) {
        self.shared.shards[self.shard].set_damaged();
        self.shared.status.note_rot(format!("the copy of shard {}: {text}", self.shard));
    }

    /// Leave a record for readers and for the committer, with its head.
    fn keep(&mut self, head: CopyHead, group: Group) {
        let (side, status) = (&self.shared.shards[self.shard], &self.shared.status);
        let bytes: usize = group.records.iter().map(|(_, bytes, ..)| bytes.len()).sum();
        let count = group.records.len() as u64 + 1;
        status.queue_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        {
            let mut memtable = side.memtable();
            for (name, bytes, begins, next_offset) in group.records {
                self.position += 1;
                memtable.queue.push_back((self.position, bytes.clone()));
                memtable.keep(name, self.position, bytes, begins, next_offset);
            }
            self.position += 1;
            memtable.heads.push_back((self.position, head.clone()));
            // Counted before the committer can take it; otherwise the committer would subtract first.
            status.queue_entries.fetch_add(count, Ordering::Release);
        }
        self.head = Some(head);
        self.shared.bell.ring();
    }

    /// The rooms as of all that was applied, from memory. A room's newest batches may be fewer than its
    /// bounds allow, since all rooms of the copy share one; a page of history has them.
    pub fn rooms(&mut self) -> Vec<StoredRoom> {
        while let Some(news) = self.next_news() {
            self.news.push_back(news);
        }
        self.rooms.all().map(room::CopiedRoom::stored).collect()
    }

    /// Begin to read; answered by [`News::Page`].
    pub fn read(&mut self, request: ReadRequest) {
        // The reader ends only when the store is being closed, and then no page is needed.
        let _ = self.asks.send(Ask { shard: self.shard, request });
    }

    /// The next news: a page, or what retention removed. A copy has no [`News::Durable`]: what is
    /// acknowledged is decided by the cluster's log.
    pub fn poll(&mut self) -> Option<News> {
        self.news.pop_front().or_else(|| self.next_news())
    }

    fn next_news(&mut self) -> Option<News> {
        loop {
            let news = self.shared.shards[self.shard].poll_copied()?;
            let News::Trimmed { room, epoch, oldest_offset } = news else { return Some(news) };
            // Its row may be of an epoch before.
            if let Some(epoch) = self.rooms.trim(&room, epoch, oldest_offset) {
                return Some(News::Trimmed { room, epoch, oldest_offset });
            }
        }
    }

    /// Ring this bell when news waits. The first one counts.
    pub fn set_bell(&mut self, bell: Arc<Doorbell>) {
        self.shared.shards[self.shard].set_bell(bell);
    }

    /// Is the copy what the log says, and does its disk take more? If not, this node should not own the
    /// shard, and should ask the owner for history.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_disk_good = matches!(self.shared.status.health(), Health::Good | Health::Slow);
        let is_whole = !self.is_damaged() && self.adopting.is_none();
        is_disk_good && is_whole && self.accepts()
    }

    /// Is something of it not as it was written? Only a snapshot of another node mends that.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.shared.shards[self.shard].is_damaged()
    }

    /// May more be applied without memory growing beyond its bound? The disk is full or too slow otherwise;
    /// the log has what is not applied.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.shared.status.queue_bytes.load(Ordering::Relaxed) < self.shared.queue_bytes_max
    }

    /// Is everything that was applied in the database? A crash of the process then loses nothing of it; a
    /// power cut may.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.shared.shards[self.shard].durable() >= self.position
    }
}

#[cfg(test)]
mod tests;
