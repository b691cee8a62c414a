//! The log in memory: a room's sealed batches, further back than any worker's ring.
//!
//! Why a trait: rooms do not know where batches are kept. The log that outlives the process is in `durable`.
//!
//! A batch is what viewers were shown. Where pacing omitted or folded messages, the log keeps the *full* form
//! beside it: the chat of the same run with nothing missing, for readers that ask for it. Workers' rings
//! never hold the full form.
//!
//! [`MemoryLog`] keeps two runs of a room, by reference: the newest batches of every kind, for workers that
//! attach, and batches with chat, for history. Each room is bounded in batches and bytes; its oldest batches
//! are removed first. All rooms together are bounded in bytes; the room that keeps the most loses its oldest
//! batches. So only a loud room pays for its size, and a quiet room keeps its messages of an hour ago.
//!
//! Invariants: the newest batches have no gaps in `seq`, and the kept chat no gaps in offsets. A batch that
//! was removed for a bound never comes back. Kept batches carry no image of the state: the room has the only
//! valid one.
//! Not here: sealing (`seal`), pages and epochs (`shard`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::config::ShardConfig;
use crate::link::{Alias, Batch, Compressed};

/// Keeps batches.
pub trait Log: Send {
    /// Append a room's next batch. Another epoch than before clears the room's log first. `full` is the
    /// batch's chat with nothing omitted, header and frame, when the batch does not show all of it.
    fn append(&mut self, room: Alias, epoch: u64, batch: &Arc<Batch>, full: Option<Bytes>);

    /// The newest batches without gaps, oldest first, ending with the last one appended.
    fn newest(&self, room: Alias, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>>;

    /// Batches with chat from the one that covers `from_offset`, or the oldest kept, oldest first and without
    /// gaps: at most `batches_max`, and at most `bytes_max` unless the first alone is larger.
    fn read(&self, room: Alias, from_offset: u64, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>>;

    /// The same run with nothing omitted: batches as they would be without pacing, until they hold
    /// `messages_max`. Sections other than chat have no meaning in them.
    fn read_full(
        &self,
        room: Alias,
        from_offset: u64,
        messages_max: u64,
        bytes_max: usize,
    ) -> Vec<Arc<Batch>>;

    /// First offset that is kept; `None` when no chat is.
    fn oldest_offset(&self, room: Alias) -> Option<u64>;

    /// The first offset that is kept of what was said at a time or later; `None`: nothing is.
    fn offset_since(&self, room: Alias, time_ms: u64) -> Option<u64>;

    /// Every batch with chat that is kept of a room, oldest first, with its full form where there is one.
    fn kept(&self, room: Alias) -> Vec<(Arc<Batch>, Option<Bytes>)>;

    /// Bytes kept of a room.
    fn bytes(&self, room: Alias) -> usize;

    /// Bytes kept of all rooms.
    fn bytes_total(&self) -> usize;

    /// Keep only the newest batches of a room, within `bytes_max`.
    fn shrink(&mut self, room: Alias, bytes_max: usize);

    /// Forget a room.
    fn remove(&mut self, room: Alias);
}

/// The memory of a kept batch beside its bytes: the record with its counters, and a slot in both runs.
const BATCH_OVERHEAD_BYTES: usize =
    size_of::<Batch>() + 2 * size_of::<usize>() + size_of::<Arc<Batch>>() + size_of::<Kept>();

/// Keeps batches in memory.
#[derive(Debug)]
pub struct MemoryLog {
    rooms: HashMap<Alias, RoomLog, FixedState>,
    // Every room of `rooms`, sorted by its bytes, to find the room that keeps the most.
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
    // Batches of every kind, without gaps in `seq`. Those with chat are in `chat` too.
    newest: VecDeque<Arc<Batch>>,
    newest_bytes: usize,
    // Batches with chat only, without gaps in offsets.
    chat: VecDeque<Kept>,
    // Each batch is counted once, with its full form.
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    batch: Arc<Batch>,
    full: Option<Bytes>,
}

impl Kept {
    fn cost(&self) -> usize {
        cost(&self.batch) + self.full.as_ref().map_or(0, Bytes::len)
    }

    fn full_bytes(&self) -> usize {
        self.full.as_ref().unwrap_or(&self.batch.wire).len()
    }

    /// The batch as it would be without pacing.
    fn in_full(&self) -> Arc<Batch> {
        match &self.full {
            None => self.batch.clone(),
            Some(full) => Arc::new(Batch {
                messages: (self.batch.next_offset - self.batch.first_offset) as u32,
                wire: full.clone(),
                compressed: Compressed::default(),
                ..(*self.batch).clone()
            }),
        }
    }
}

impl MemoryLog {
    /// A log with the bounds of a shard, which has its share of the node's bytes.
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

    /// Remove batches of the largest rooms until all rooms are within the total bound.
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
    fn append(&mut self, room: Alias, epoch: u64, batch: &Arc<Batch>, full: Option<Bytes>) {
        let kept = self.rooms.entry(room).or_default();
        let before = kept.bytes;
        if kept.epoch != epoch {
            *kept = RoomLog { epoch, ..RoomLog::default() };
        }
        kept.append(without_image(batch), full);
        kept.keep(self.bounds);
        let after = kept.bytes;
        self.account(room, before, after);
        self.keep_total();
    }

    fn newest(&self, room: Alias, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>> {
        let Some(kept) = self.rooms.get(&room) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |batch: &&Arc<Batch>| {
            bytes += batch.kept_bytes();
            bytes <= bytes_max
        };
        let count = kept.newest.iter().rev().take(batches_max).take_while(fits).count();
        kept.newest.range(kept.newest.len() - count..).cloned().collect()
    }

    fn read(&self, room: Alias, from_offset: u64, batches_max: usize, bytes_max: usize) -> Vec<Arc<Batch>> {
        let Some(kept) = self.rooms.get(&room) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |batch: &&Arc<Batch>| {
            let is_first = bytes == 0;
            bytes += batch.wire.len();
            is_first || bytes <= bytes_max
        };
        kept.from(from_offset).map(|kept| &kept.batch).take(batches_max).take_while(fits).cloned().collect()
    }

    fn read_full(
        &self,
        room: Alias,
        from_offset: u64,
        messages_max: u64,
        bytes_max: usize,
    ) -> Vec<Arc<Batch>> {
        let Some(kept) = self.rooms.get(&room) else { return Vec::new() };
        let end_offset = from_offset.saturating_add(messages_max);
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            let is_first = bytes == 0;
            bytes += kept.full_bytes();
            is_first || (bytes <= bytes_max && kept.batch.first_offset < end_offset)
        };
        kept.from(from_offset).take_while(fits).map(Kept::in_full).collect()
    }

    fn oldest_offset(&self, room: Alias) -> Option<u64> {
        self.rooms.get(&room)?.chat.front().map(|kept| kept.batch.first_offset)
    }

    fn offset_since(&self, room: Alias, time_ms: u64) -> Option<u64> {
        let chat = &self.rooms.get(&room)?.chat;
        let at = chat.partition_point(|kept| kept.batch.time_ms < time_ms);
        chat.get(at).map(|kept| kept.batch.first_offset)
    }

    fn kept(&self, room: Alias) -> Vec<(Arc<Batch>, Option<Bytes>)> {
        let chat = self.rooms.get(&room).into_iter().flat_map(|kept| &kept.chat);
        chat.map(|kept| (kept.batch.clone(), kept.full.clone())).collect()
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

    fn shrink(&mut self, room: Alias, bytes_max: usize) {
        let Some(kept) = self.rooms.get_mut(&room) else { return };
        let before = kept.bytes;
        while kept.bytes > bytes_max {
            kept.remove_oldest();
        }
        let after = kept.bytes;
        self.account(room, before, after);
    }
}

impl RoomLog {
    fn append(&mut self, batch: Arc<Batch>, full: Option<Bytes>) {
        self.newest_bytes += cost(&batch);
        if batch.has_chat() {
            let kept = Kept { batch: batch.clone(), full };
            self.bytes += kept.cost();
            self.chat.push_back(kept);
        } else {
            self.bytes += cost(&batch);
        }
        self.newest.push_back(batch);
    }

    /// Batches with chat from the one that covers `offset`, or the oldest there is.
    fn from(&self, offset: u64) -> impl Iterator<Item = &Kept> {
        let first = self.chat.partition_point(|kept| kept.batch.next_offset <= offset);
        self.chat.range(first..)
    }

    fn keep(&mut self, bounds: Bounds) {
        while self.newest.len() > bounds.newest_batches || self.newest_bytes > bounds.newest_bytes {
            self.remove_newests_oldest();
        }
        while self.chat.len() > bounds.chat_batches || self.bytes > bounds.room_bytes {
            self.remove_oldest();
        }
    }

    /// Remove the oldest batch of the room from both runs.
    fn remove_oldest(&mut self) {
        let chat = self.chat.front().map(|kept| kept.batch.seq);
        let newest = self.newest.front().map(|batch| batch.seq);
        if newest.is_some() && newest <= chat.or(newest) {
            self.remove_newests_oldest();
        }
        if chat.is_some() && chat <= newest.or(chat) {
            let kept = self.chat.pop_front().expect("just seen");
            self.bytes -= kept.cost();
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
    batch.kept_bytes() + BATCH_OVERHEAD_BYTES
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
    use proptest::prelude::*;

    const COST: usize = 200 + BATCH_OVERHEAD_BYTES;

    fn config(total: usize) -> ShardConfig {
        ShardConfig {
            ring_batches_max: 4,
            ring_bytes_max: 4 * COST,
            history_batches_max: 8,
            history_bytes_max: 100 * COST,
            history_bytes_total_max: total,
            ..ShardConfig::for_tests()
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
            has_acts: false,
            compressed: Compressed::default(),
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
        log.append(A, 1, &batch(0, 0, 2), None);
        for seq in 1..=20 {
            log.append(A, 1, &batch(seq, 2, 0), None);
        }
        assert_eq!(seqs(&log.newest(A, 99, 1 << 20)), [17, 18, 19, 20]);
        assert_eq!(seqs(&log.newest(A, 2, 1 << 20)), [19, 20]);
        assert_eq!(seqs(&log.newest(A, 9, 600)), [18, 19, 20]);
        assert_eq!(seqs(&log.read(A, 1, 9, 1 << 20)), [0]);
        assert_eq!((log.bytes(A), log.bytes_total()), (5 * COST, 5 * COST));
        for i in 0..20 {
            log.append(A, 1, &batch(21 + i, 2 + i, 1), None);
        }
        assert_eq!(log.oldest_offset(A), Some(14));
        assert_eq!(log.bytes(A), 8 * COST);
    }

    #[test]
    fn reading_begins_with_the_batch_that_covers_the_offset() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        for i in 0..4 {
            log.append(A, 1, &batch(i, i * 3, 3), None);
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
        log.append(A, 1, &batch(0, 0, 1), None);
        for i in 0..7 {
            log.append(B, 1, &batch(i, i, 1), None);
        }
        assert_eq!((log.oldest_offset(A), log.oldest_offset(B)), (Some(0), Some(2)));
        assert_eq!(log.bytes_total(), 6 * COST);
        log.remove(B);
        assert_eq!((log.bytes_total(), log.bytes(B)), (COST, 0));
    }

    #[test]
    fn the_full_form_is_kept_beside_the_shown_one_and_pays_for_itself() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        let shown = |seq, first| Arc::new(Batch { messages: 1, ..(*batch(seq, first, 10)).clone() });
        for i in 0..4 {
            let full = (i != 2).then(|| Bytes::from(vec![1; 300]));
            log.append(A, 1, &shown(i, i * 10), full);
        }
        assert_eq!(log.bytes(A), 4 * COST + 3 * 300);
        let lengths = |batches: Vec<Arc<Batch>>| {
            batches.iter().map(|b| (b.seq, b.messages, b.wire.len())).collect::<Vec<_>>()
        };
        assert_eq!(lengths(log.read(A, 15, 2, 1 << 20)), [(1, 1, 100), (2, 1, 100)]);
        assert_eq!(lengths(log.read_full(A, 15, 10, 1 << 20)), [(1, 10, 300), (2, 1, 100)]);
        assert_eq!(lengths(log.read_full(A, 15, 99, 400)), [(1, 10, 300), (2, 1, 100)]);
        assert_eq!(lengths(log.read_full(A, 0, 99, 1)), [(0, 10, 300)], "one at least");
        assert_eq!(lengths(log.newest(A, 9, 1 << 20)).len(), 4);
    }

    #[test]
    fn another_epoch_begins_anew() {
        let mut log = MemoryLog::new(&config(1 << 20), 1);
        log.append(A, 1, &batch(0, 0, 1), None);
        log.append(A, 2, &batch(0, 0, 5), None);
        assert_eq!(log.read(A, 0, 9, 1 << 20)[0].messages, 5);
        assert_eq!(log.bytes_total(), COST);
    }

    proptest! {
        #[test]
        fn bytes_are_accounted_and_runs_have_no_holes(steps in prop::collection::vec((0u32..3, 0u32..3, any::<bool>()), 1..300), total in 8usize..30) {
            let mut log = MemoryLog::new(&config(total * COST), 1);
            let mut next = [(0, 0); 3];
            for (room, messages, is_paced) in steps {
                let (seq, offset) = next[room as usize];
                let full = (is_paced && messages > 0).then(|| Bytes::from(vec![0; 500]));
                log.append(Alias(room), 1, &batch(seq, offset, messages), full);
                next[room as usize] = (seq + 1, offset + u64::from(messages));
                prop_assert!(log.bytes_total() <= total * COST);
                let mut sum = 0;
                for (alias, kept) in &log.rooms {
                    prop_assert!(kept.newest.iter().zip(kept.newest.iter().skip(1)).all(|(a, b)| a.seq + 1 == b.seq));
                    prop_assert!(kept.chat.iter().zip(kept.chat.iter().skip(1)).all(|(a, b)| a.batch.next_offset == b.batch.first_offset));
                    let quiet = kept.newest.iter().filter(|b| !b.has_chat()).count();
                    let chat: usize = kept.chat.iter().map(Kept::cost).sum();
                    prop_assert_eq!(kept.bytes, chat + quiet * COST);
                    prop_assert!(kept.newest.iter().filter(|b| b.has_chat()).all(|b| kept.chat.iter().any(|c| c.batch.seq == b.seq)));
                    prop_assert_eq!(log.bytes(*alias), kept.bytes);
                    sum += kept.bytes;
                }
                prop_assert_eq!(log.bytes_total(), sum);
            }
        }
    }
}
