//! The sealed batch: one encoded run of a room, shared by reference between the shard and every worker.
//!
//! Invariants: a batch is never copied and never changes once it is sealed; its compressed form is made at
//! most once per node.
//! Not here: how a batch is encoded (`room::seal`), where batches are kept (`log`).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use grandstand_protocol::compress::Compressor;
use grandstand_protocol::stream;

/// A sealed, encoded run of one room: the same bytes for every viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the batch within the epoch; numbers have no gaps.
    pub seq: u64,
    /// First offset that it covers.
    pub first_offset: u64,
    /// Offset after the last that it covers; equal to `first_offset` when it holds no chat.
    pub next_offset: u64,
    /// Messages in it; fewer than the offsets covered when pacing omitted some.
    pub messages: u32,
    /// Time of the last batch with chat before this one. A reader that begins here adds time differences to
    /// it.
    pub base_time_ms: u64,
    /// Time of the last batch with chat, this one included.
    pub time_ms: u64,
    /// Does it hold acts, so that a worker redacts its ring before it offers this batch? `false` of what was
    /// read back from a log, since whoever read it has redacted it.
    pub has_acts: bool,
    /// Stream header and frame, ready for any transport.
    pub wire: Bytes,
    /// The same bytes compressed, once a worker has compressed them for the whole node.
    pub compressed: Compressed,
    /// The room's state after this batch, if the batch changes it.
    pub snapshot: Option<Arc<StateImage>>,
}

/// A batch's compressed form: not made yet, not smaller than the batch, or present. It follows from the
/// batch's bytes, so all values compare equal.
#[derive(Clone, Debug, Default)]
pub struct Compressed(OnceLock<Option<Bytes>>);

impl PartialEq for Compressed {
    fn eq(&self, _: &Compressed) -> bool {
        true
    }
}

impl Eq for Compressed {}

impl Batch {
    /// Does it cover any offsets?
    pub fn has_chat(&self) -> bool {
        self.first_offset != self.next_offset
    }

    /// Make the compressed form, unless another worker has. Returns `true` when this call made it.
    pub fn compress(&self, compressor: &mut Compressor) -> bool {
        let mut is_new = false;
        self.compressed.0.get_or_init(|| {
            is_new = true;
            let (header, _) = stream::read_header(&self.wire, usize::MAX).ok()??;
            compressor.batch_framed(self.wire.get(header + 1..)?)
        });
        is_new
    }

    /// Stream header and compressed frame, if it was made and is smaller.
    pub fn compressed(&self) -> Option<&Bytes> {
        self.compressed.0.get()?.as_ref()
    }

    /// The most bytes that it keeps. The compressed form is smaller and may be made later.
    pub fn kept_bytes(&self) -> usize {
        2 * self.wire.len()
    }
}

/// A room's whole state, encoded once per change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateImage {
    /// Version of the state.
    pub version: u64,
    /// Header and `Snapshot` frame.
    pub wire: Bytes,
}
