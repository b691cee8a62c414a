//! The log: a room's sealed batches, further back than any worker's ring.
//!
//! Why a trait: rooms do not know whether batches go to memory, a disk or other nodes.
//!
//! [`MemoryLog`] keeps two runs of a room, by reference: the newest batches of every kind, for workers that attach, and
//! batches with chat, for history. Bounds: per room in batches and bytes, where the oldest go; and over all rooms in
//! bytes, where the room that keeps the most loses its oldest: so a loud room pays for itself, and a quiet one keeps what
//! was said an hour ago.
//!
//! Invariants: the newest batches are without holes in `seq`, the kept chat without holes in offsets; what was removed for
//! a bound never comes back. Kept batches carry no image of the state: the room has the only one that counts.
//! Not here: sealing (`seal`), pages and epochs (`shard`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use grandstand_protocol::frame::Durability;

use crate::config::ShardConfig;
use crate::message::{Alias, Batch};

/// Keeps batches.
pub trait Log: Send {
    /// Add a room's next batch. Another epoch than before begins the room's log anew.
    fn append(&mut self, room: Alias, epoch: u64, batch: &Arc<Batch>);

    /// The newest batches without holes, oldest first, ending with the last one appended.
    fn newest(&self, room: Alias, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>>;

    /// Batches with chat from the one that covers `from_offset`, or the oldest there is, oldest first and without holes:
    /// at most `batches_max`, and `bytes_max` but for the first.
    fn read(&self, room: Alias, from_offset: u64, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>>;

    /// First offset that is kept; `None` when no chat is.
    fn oldest_offset(&self, room: Alias) -> Option<u64>;

    /// Bytes kept of a room.
    fn bytes(&self, room: Alias) -> usize;

    /// Bytes kept of all rooms.
    fn bytes_total(&self) -> usize;

    /// Forget a room.
    fn remove(&mut self, room: Alias);

    /// How safe a batch is when `append` has returned.
    fn durability(&self) -> Durability;
}

/// What a kept batch costs beside its bytes: the record with its counters, and a slot in both runs.
const BATCH_OVERHEAD_BYTES: usize = size_of::<Batch>() + 2 * size_of::<usize>() + 2 * size_of::<Arc<Batch>>();

/// Keeps batches in memory.
#[derive(Debug)]
pub struct MemoryLog {
    rooms: HashMap<Alias, RoomLog, FixedState>,
    // Every room of `rooms` by its bytes, to find the one that keeps the most.
    by_bytes: BTreeSet<(usize, Alias)>,
    bytes: usize,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    newest_batches: usize,
    newest_bytes: usize,
    chat_batches: usize,
    room_bytes: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct RoomLog {
    epoch: u64,
    // Every kind, without holes in `seq`. Those with chat are in `chat` too.
    newest: VecDeque<Arc<Batch>>,
    newest_bytes: usize,
    // Only with chat, without holes in offsets.
    chat: VecDeque<Arc<Batch>>,
    // Each batch once.
    bytes: usize,
}

impl MemoryLog {
    /// With the bounds of a shard that has its share of the node's bytes.
    pub fn new(config: &ShardConfig, shards: u16) -> Self {
        let bounds = Bounds {
            newest_batches: config.ring_batches_max,
            newest_bytes: config.ring_bytes_max,
            chat_batches: config.history_batches_max,
            room_bytes: config.history_bytes_max,
            bytes: config.history_bytes_total_max / usize::from(shards),
        };
        MemoryLog { rooms: HashMap::default(), by_bytes: BTreeSet::new(), bytes: 0, bounds }
    }

    fn account(&mut self, room: Alias, before: usize, after: usize) {
        self.by_bytes.remove(&(before, room));
        self.by_bytes.insert((after, room));
        self.bytes = self.bytes - before + after;
    }

    /// Shrink the rooms that keep the most.
    fn keep_total(&mut self) {
        while self.bytes > self.bounds.bytes {
            let Some(&(before, room)) = self.by_bytes.last() else { break };
            let kept = self.rooms.get_mut(&room).expect("every room in the order is kept");
            kept.remove_oldest();
            let after = kept.bytes;
            self.account(room, before, after);
        }
    }
}

impl Log for MemoryLog {
    fn append(&mut self, room: Alias, epoch: u64, batch: &Arc<Batch>) {
        let kept = self.rooms.entry(room).or_default();
        let before = kept.bytes;
        if kept.epoch != epoch {
            *kept = RoomLog { epoch, ..RoomLog::default() };
        }
        kept.append(without_image(batch));
        kept.keep(self.bounds);
        let after = kept.bytes;
        self.account(room, before, after);
        self.keep_total();
    }

    fn newest(&self, room: Alias, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>> {
        let Some(kept) = self.rooms.get(&room) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |batch: &&Arc<Batch>| {
            bytes += batch.wire.len();
            bytes <= bytes_max
        };
        let count = kept.newest.iter().rev().take(batches_max).take_while(fits).count();
        kept.newest.range(kept.newest.len() - count..).cloned().collect()
    }

    fn read(&self, room: Alias, from_offset: u64, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>> {
        let Some(kept) = self.rooms.get(&room) else { return Vec::new() };
        let first = kept.chat.partition_point(|batch| batch.next_offset <= from_offset);
        let mut bytes = 0;
        let fits = |batch: &&Arc<Batch>| {
            let is_first = bytes == 0;
            bytes += batch.wire.len();
            is_first || bytes <= bytes_max
        };
        kept.chat.range(first..).take(batches_max).take_while(fits).cloned().collect()
    }

    fn oldest_offset(&self, room: Alias) -> Option<u64> {
        self.rooms.get(&room)?.chat.front().map(|batch| batch.first_offset)
    }

    fn bytes(&self, room: Alias) -> usize {
        self.rooms.get(&room).map_or(0, |kept| kept.bytes)
    }

    fn bytes_total(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, room: Alias) {
        if let Some(kept) = self.rooms.remove(&room) {
            self.by_bytes.remove(&(kept.bytes, room));
            self.bytes -= kept.bytes;
        }
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }
}

impl RoomLog {
    fn append(&mut self, batch: Arc<Batch>) {
        self.bytes += cost(&batch);
        self.newest_bytes += cost(&batch);
        if batch.has_chat() {
            self.chat.push_back(batch.clone());
        }
        self.newest.push_back(batch);
    }

    fn keep(&mut self, bounds: Bounds) {
        while self.newest.len() > bounds.newest_batches || self.newest_bytes > bounds.newest_bytes {
            self.remove_newests_oldest();
        }
        while self.chat.len() > bounds.chat_batches || self.bytes > bounds.room_bytes {
            self.remove_oldest();
        }
    }

    /// Remove the oldest batch of the room from wherever it is.
    fn remove_oldest(&mut self) {
        let seq = |batches: &VecDeque<Arc<Batch>>| batches.front().map(|batch| batch.seq);
        let (chat, newest) = (seq(&self.chat), seq(&self.newest));
        if newest.is_some() && newest <= chat.or(newest) {
            self.remove_newests_oldest();
        }
        if chat.is_some() && chat <= newest.or(chat) {
            let batch = self.chat.pop_front().expect("just seen");
            self.bytes -= cost(&batch);
        }
    }

    fn remove_newests_oldest(&mut self) {
        let Some(batch) = self.newest.pop_front() else { return };
        self.newest_bytes -= cost(&batch);
        if !batch.has_chat() {
            self.bytes -= cost(&batch);
        }
    }
}

fn cost(batch: &Batch) -> usize {
    batch.wire.len() + BATCH_OVERHEAD_BYTES
}

fn without_image(batch: &Arc<Batch>) -> Arc<Batch> {
    match batch.snapshot {
        None => batch.clone(),
        Some(_) => Arc::new(Batch { snapshot: None, ..(**batch).clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const COST: usize = 100 + BATCH_OVERHEAD_BYTES;

    fn config(total: usize) -> ShardConfig {
        ShardConfig {
            ring_batches_max: 4,
            ring_bytes_max: 4 * COST,
            history_batches_max: 8,
            history_bytes_max: 100 * COST,
            history_bytes_total_max: total,
            ..ShardConfig::default()
        }
    }

    fn batch(seq: u64, first_offset: u64, messages: u32) -> Arc<Batch> {
        Arc::new(Batch {
            seq,
            first_offset,
            next_offset: first_offset + u64::from(messages),
            messages,
            base_time_ms: 0,
            time_ms: 0,
            wire: Bytes::from(vec![0; 100]),
            snapshot: None,
        })
    }

    fn seqs(batches: &[Arc<Batch>]) -> Vec<u64> {
        batches.iter().map(|b| b.seq).collect()
    }

    const A: Alias = Alias(1);
    const B: Alias = Alias(2);

    #[test]
    fn a_room_is_bounded_and_quiet_batches_do_not_push_out_chat() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        log.append(A, 1, &batch(0, 0, 2));
        for seq in 1..=20 {
            log.append(A, 1, &batch(seq, 2, 0));
        }
        assert_eq!(seqs(&log.newest(A, 99, 1 << 20)), [17, 18, 19, 20]);
        assert_eq!(seqs(&log.newest(A, 2, 1 << 20)), [19, 20]);
        assert_eq!(seqs(&log.newest(A, 9, 300)), [18, 19, 20]);
        assert_eq!(seqs(&log.read(A, 1, 9, 1 << 20)), [0]);
        assert_eq!((log.bytes(A), log.bytes_total()), (5 * COST, 5 * COST));
        for i in 0..20 {
            log.append(A, 1, &batch(21 + i, 2 + i, 1));
        }
        assert_eq!(log.oldest_offset(A), Some(14));
        assert_eq!(log.bytes(A), 8 * COST);
    }

    #[test]
    fn reading_begins_with_the_batch_that_covers_the_offset() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        for i in 0..4 {
            log.append(A, 1, &batch(i, i * 3, 3));
        }
        assert_eq!(seqs(&log.read(A, 4, 9, 1 << 20)), [1, 2, 3]);
        assert_eq!(seqs(&log.read(A, 5, 2, 1 << 20)), [1, 2]);
        assert_eq!(seqs(&log.read(A, 6, 9, 1)), [2], "one at least");
        assert_eq!(seqs(&log.read(A, 12, 9, 1 << 20)), [0; 0]);
        assert_eq!(seqs(&log.read(B, 0, 9, 1 << 20)), [0; 0]);
    }

    #[test]
    fn the_room_that_keeps_the_most_pays_for_the_total() {
        let mut log = MemoryLog::new(&config(6 * COST), 1);
        log.append(A, 1, &batch(0, 0, 1));
        for i in 0..7 {
            log.append(B, 1, &batch(i, i, 1));
        }
        assert_eq!((log.oldest_offset(A), log.oldest_offset(B)), (Some(0), Some(2)));
        assert_eq!(log.bytes_total(), 6 * COST);
        log.remove(B);
        assert_eq!((log.bytes_total(), log.bytes(B)), (COST, 0));
    }

    #[test]
    fn another_epoch_begins_anew() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        log.append(A, 1, &batch(0, 0, 1));
        log.append(A, 2, &batch(0, 0, 5));
        assert_eq!(log.read(A, 0, 9, 1 << 20)[0].messages, 5);
        assert_eq!(log.bytes_total(), COST);
    }

    proptest! {
        #[test]
        fn bytes_are_accounted_and_runs_have_no_holes(steps in prop::collection::vec((0u32..3, 0u32..3), 1..300), total in 3usize..30) {
            let mut log = MemoryLog::new(&config(total * COST), 1);
            let mut next = [(0, 0); 3];
            for (room, messages) in steps {
                let (seq, offset) = next[room as usize];
                log.append(Alias(room), 1, &batch(seq, offset, messages));
                next[room as usize] = (seq + 1, offset + u64::from(messages));
                prop_assert!(log.bytes_total() <= total * COST);
                let mut sum = 0;
                for (alias, kept) in &log.rooms {
                    prop_assert!(kept.newest.iter().zip(kept.newest.iter().skip(1)).all(|(a, b)| a.seq + 1 == b.seq));
                    prop_assert!(kept.chat.iter().zip(kept.chat.iter().skip(1)).all(|(a, b)| a.next_offset == b.first_offset));
                    let quiet = kept.newest.iter().filter(|b| !b.has_chat()).count();
                    prop_assert_eq!(kept.bytes, (kept.chat.len() + quiet) * COST);
                    prop_assert!(kept.newest.iter().filter(|b| b.has_chat()).all(|b| kept.chat.iter().any(|c| c.seq == b.seq)));
                    prop_assert_eq!(log.bytes(*alias), kept.bytes);
                    sum += kept.bytes;
                }
                prop_assert_eq!(log.bytes_total(), sum);
            }
        }
    }
}
