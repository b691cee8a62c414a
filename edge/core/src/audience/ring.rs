//! The newest encoded batches of one room, as one worker keeps them: what cursors point into.
//!
//! Why bounded: a viewer that lags costs nothing, because the ring forgets and the viewer skips.
//! Invariant: batches have consecutive numbers; offsets never go back; bytes and count stay within the
//! bounds, but for the newest batch, which always stays.

use std::collections::VecDeque;
use std::sync::Arc;

use grandstand_engine::link::Batch;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Ring {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    next_seq: u64,
}

impl Ring {
    /// The newest of these batches that continue each other up to the head, within the bounds.
    pub(super) fn new(
        batches: Vec<Arc<Batch>>,
        (next_seq, next_offset): (u64, u64),
        batches_max: usize,
        bytes_max: usize,
    ) -> Self {
        let mut ring = Ring { batches: VecDeque::new(), bytes: 0, next_seq };
        let (mut seq, mut offset) = (next_seq, next_offset);
        for batch in batches.into_iter().rev() {
            let continues = batch.seq.checked_add(1) == Some(seq)
                && batch.next_offset == offset
                && batch.first_offset <= offset;
            let bytes = ring.bytes + batch.kept_bytes();
            let fits = ring.batches.is_empty() || (ring.batches.len() < batches_max && bytes <= bytes_max);
            if !continues || !fits {
                break;
            }
            (seq, offset, ring.bytes) = (batch.seq, batch.first_offset, bytes);
            ring.batches.push_front(batch);
        }
        ring
    }

    /// Add a batch that has the next number and begins at the head.
    pub(super) fn push(&mut self, batch: Arc<Batch>, batches_max: usize, bytes_max: usize) {
        debug_assert_eq!(batch.seq, self.next_seq);
        self.next_seq = batch.seq + 1;
        self.bytes += batch.kept_bytes();
        self.batches.push_back(batch);
        while self.batches.len() > 1 && (self.batches.len() > batches_max || self.bytes > bytes_max) {
            let gone = self.batches.pop_front().expect("two or more");
            self.bytes -= gone.kept_bytes();
        }
    }

    /// Replace batches that cover offsets from `from` on, where this gives others in their place: how many.
    /// Numbers and offsets stay, so cursors do.
    pub(super) fn redact(
        &mut self,
        from: u64,
        mut redacted: impl FnMut(&Batch) -> Option<Arc<Batch>>,
    ) -> u64 {
        let first = self.batches.partition_point(|batch| batch.next_offset <= from);
        let mut replaced = 0;
        for batch in self.batches.range_mut(first..) {
            if let Some(new) = redacted(batch) {
                debug_assert_eq!(
                    (new.seq, new.first_offset, new.next_offset),
                    (batch.seq, batch.first_offset, batch.next_offset)
                );
                self.bytes = self.bytes + new.kept_bytes() - batch.kept_bytes();
                *batch = new;
                replaced += 1;
            }
        }
        replaced
    }

    /// Number of the next batch: where a cursor at the head stands.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.next_seq - self.batches.len() as u64
    }

    /// Batches from a cursor to the head; `None` when it fell off.
    pub(super) fn since_seq(&self, seq: u64) -> Option<impl Iterator<Item = &Arc<Batch>>> {
        let at = seq.checked_sub(self.first_seq())?;
        Some(self.batches.range((at as usize).min(self.batches.len())..))
    }

    /// All of them, from the head backwards.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.iter().rev()
    }

    /// First offset that some batch of the ring covers.
    pub(super) fn first_offset(&self) -> Option<u64> {
        self.batches.front().map(|b| b.first_offset)
    }

    /// Batches with chat, from the one that covers `offset`; `None` when that one is no longer here.
    pub(super) fn since_offset(&self, offset: u64) -> Option<impl Iterator<Item = &Arc<Batch>>> {
        if self.first_offset().is_none_or(|first| offset < first) {
            return None;
        }
        let at = self.batches.partition_point(|b| b.next_offset <= offset);
        Some(self.batches.range(at..).filter(|b| b.has_chat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use grandstand_engine::link::Compressed;

    fn batch(seq: u64, first: u64, next: u64) -> Arc<Batch> {
        Arc::new(Batch {
            seq,
            first_offset: first,
            next_offset: next,
            messages: next.saturating_sub(first) as u32,
            base_time_ms: 0,
            time_ms: 0,
            wire: Bytes::from_static(&[0; 10]),
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: None,
        })
    }

    #[test]
    fn it_forgets_the_oldest_and_knows_what_it_has() {
        let mut ring = Ring::new(vec![], (5, 10), 3, 1000);
        for (seq, first, next) in [(5, 10, 12), (6, 12, 12), (7, 12, 13), (8, 13, 20)] {
            ring.push(batch(seq, first, next), 3, 1000);
        }
        assert_eq!((ring.first_seq(), ring.next_seq()), (6, 9));
        assert!(ring.since_seq(5).is_none());
        assert_eq!(ring.since_seq(7).unwrap().count(), 2);
        assert_eq!(ring.since_seq(9).unwrap().count(), 0);
        assert!(ring.since_offset(11).is_none());
        assert_eq!(ring.since_offset(12).unwrap().map(|b| b.seq).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(ring.since_offset(15).unwrap().map(|b| b.seq).collect::<Vec<_>>(), [8]);
        assert_eq!(ring.since_offset(20).unwrap().count(), 0);
        ring.push(batch(9, 20, 21), 3, 30);
        assert_eq!((ring.first_seq(), ring.bytes), (9, 20));
    }

    #[test]
    fn it_takes_what_continues_to_the_head_and_nothing_else() {
        let of = |batches: &[(u64, u64, u64)], head| {
            let batches = batches.iter().map(|&(seq, first, next)| batch(seq, first, next)).collect();
            let ring = Ring::new(batches, head, 3, 1000);
            assert_eq!((ring.next_seq(), ring.bytes), (head.0, 20 * ring.batches.len()));
            ring.batches.iter().map(|b| b.seq).collect::<Vec<_>>()
        };
        assert_eq!(of(&[(5, 10, 12), (6, 12, 12), (7, 12, 13)], (8, 13)), [5, 6, 7]);
        assert_eq!(of(&[(4, 9, 10), (5, 10, 12), (6, 12, 12), (7, 12, 13)], (8, 13)), [5, 6, 7], "bounds");
        assert_eq!(of(&[(5, 10, 12), (7, 12, 13)], (8, 13)), [7], "a hole in the numbers");
        assert_eq!(of(&[(6, 10, 11), (7, 12, 13)], (8, 13)), [7], "a hole in the offsets");
        assert_eq!(of(&[(7, 14, 13)], (8, 13)), [0; 0], "backwards");
        assert_eq!(of(&[(7, 12, 13)], (9, 13)), [0; 0], "not up to the head");
        assert_eq!(of(&[(7, 12, 13)], (8, 14)), [0; 0], "not up to the head's offset");
        assert_eq!(of(&[(u64::MAX, 12, 13)], (0, 13)), [0; 0], "no number follows");
    }
}
