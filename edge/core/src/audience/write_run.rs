//! A run: the batches that go out in one write, gathered once for all members that stand at the same place.
//!
//! Why kept: most members of a room have read the same, so the walk asks for the same run a thousand times in
//! a row. Gathering it anew for each took two thirds of the walk's instructions.
//! Invariant: while a run is kept, its ring does not change: it borrows from it.
//! Not here: who is offered what (`fanout`, `catch_up`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::Batch;
use smallvec::SmallVec;

use super::Counters;
use super::compression::form;
use super::connection::Connection;
use super::frame_sink::FrameSink;
use super::outgoing::Outgoing;

/// Batches that one write can carry without allocating; `batches_per_write_max` may allow more.
const INLINE: usize = 64;

/// See the file's head.
#[derive(Default)]
pub(super) struct WriteRun<'a> {
    batches: SmallVec<[&'a Arc<Batch>; INLINE]>,
    /// What stands for each batch on the wire.
    frames: SmallVec<[&'a Bytes; INLINE]>,
    bytes: usize,
    messages: u64,
}

impl<'a> WriteRun<'a> {
    /// Forget what is in it, and take these, in the form that a connection takes.
    pub(super) fn gather(&mut self, batches: impl Iterator<Item = &'a Arc<Batch>>, takes_compressed: bool) {
        (self.bytes, self.messages) = (0, 0);
        self.batches.clear();
        self.frames.clear();
        for batch in batches {
            let frame = form(batch, takes_compressed);
            self.bytes += frame.len();
            self.messages += u64::from(batch.messages);
            self.batches.push(batch);
            self.frames.push(frame);
        }
    }

    /// The last of the first `count` batches.
    pub(super) fn last_of(&self, count: usize) -> Option<&'a Batch> {
        Some(self.batches[count.checked_sub(1)?])
    }

    /// Offer it to a connection in one write: how many batches it took, the one that it only began included.
    pub(super) fn send(
        &self,
        connection: &mut Connection,
        sink: &mut impl FrameSink,
        counters: &mut Counters,
    ) -> usize {
        debug_assert!(connection.out.is_none(), "batches come after what waits");
        if self.frames.is_empty() {
            return 0;
        }
        counters.writes += 1;
        counters.batch_writes += 1;
        let taken = sink.send(connection.wire, &self.frames);
        counters.bytes_out += taken as u64;
        if taken < self.bytes {
            return self.take_part(taken, connection, counters);
        }
        counters.frames_out += self.frames.len() as u64;
        counters.deliveries += self.messages;
        self.frames.len()
    }

    /// The transport took only so many bytes: what of it was begun is pinned.
    #[cold]
    fn take_part(&self, mut taken: usize, connection: &mut Connection, counters: &mut Counters) -> usize {
        connection.blocked = true;
        counters.writes_blocked += 1;
        let mut sent = 0;
        for (batch, frame) in self.batches.iter().zip(&self.frames) {
            if taken == 0 {
                break;
            }
            sent += 1;
            counters.frames_out += 1;
            counters.deliveries += u64::from(batch.messages);
            if taken < frame.len() {
                connection.out = Some(Box::new(Outgoing::of((*frame).clone(), taken)));
                break;
            }
            taken -= frame.len();
        }
        if cfg!(feature = "planted-partial-write") && connection.out.is_none() {
            sent += 1;
        }
        sent
    }
}
