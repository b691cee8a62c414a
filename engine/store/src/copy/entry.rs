//! Entries as bytes, as they pass between nodes and lie in a cluster's log.
//!
//! Why the store encodes them: a record of a room's log is laid out in one place (`record`). Between nodes it
//! has no record before it, so its base is 0; each copy gives it the base that it has there.
//! Invariant: [`decode_entry`] returns what [`encode_entry`] was given, except the batch's compressed form
//! and the snapshot of its state, which are not kept. Other bytes give an error, never a panic.

use std::fmt;

use bytes::Bytes;
use grandstand_engine::log::Entry;

use crate::record::{self, Record, RecordFault, Sealed};

/// Bytes that are not exactly one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEntry {
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an entry of a log: expected {}", self.expected)
    }
}

impl std::error::Error for NotAnEntry {}

/// Encode an entry: the length of the rest in four bytes, the lowest first, and the rest.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    record::encode(&Record::Entry(entry.clone()), 0).0
}

/// The entry that these bytes are. Its values share them.
///
/// # Errors
/// The bytes are not exactly one entry.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, NotAnEntry> {
    match read_entry(bytes)?.record {
        Record::Entry(entry) => Ok(entry),
        Record::Epoch { .. } => Err(NotAnEntry { expected: "an entry of a shard" }),
    }
}

/// The record of an entry.
pub(super) fn read_entry(bytes: &Bytes) -> Result<Sealed, NotAnEntry> {
    let sealed = record::read(bytes).map_err(|fault| NotAnEntry {
        expected: match fault {
            RecordFault::Short => "all of its bytes",
            RecordFault::Checksum { .. } => "the bytes that its checksum belongs to",
            RecordFault::Malformed { expected, .. } => expected,
        },
    })?;
    if sealed.bytes.len() != bytes.len() {
        return Err(NotAnEntry { expected: "nothing after it" });
    }
    if sealed.base != 0 || matches!(sealed.record, Record::Epoch { .. }) {
        return Err(NotAnEntry { expected: "an entry of a shard" });
    }
    Ok(sealed)
}
