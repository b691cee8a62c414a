//! The head of a copy: how far a shard's log was applied.
//!
//! Why apart: rows of the journal hold heads, and copies are made of rows.
//! Not here: when a head is committed (`copy`).

use bytes::Bytes;

/// How far a shard's log was applied: the position of a record of it, and what else the holder of the copy
/// needs in order to go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyHead {
    position: u64,
    bytes: Bytes,
}

impl CopyHead {
    /// The most bytes of a head.
    pub const BYTES_MAX: usize = 256;

    /// The head after the record at `position`. Positions rise along a log, from 1; they may leave numbers
    /// out.
    ///
    /// # Panics
    /// If there are more bytes than [`Self::BYTES_MAX`].
    #[must_use]
    pub fn new(position: u64, bytes: Bytes) -> CopyHead {
        CopyHead::try_new(position, bytes).expect("a head of at most 256 bytes")
    }

    pub(crate) fn try_new(position: u64, bytes: Bytes) -> Option<CopyHead> {
        (bytes.len() <= Self::BYTES_MAX).then_some(CopyHead { position, bytes })
    }

    /// The position of the record.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the holder gave with it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
