//! Records: the byte layout of one message of a shard's log.
//!
//! Why sums that are chained: a log that lets a record through against its own condition, swaps two or
//! flips a bit must be found out by every reader alone. Each record names the sum of the valid record
//! before it.
//!
//! ```text
//! record = magic "GSL1"  kind:u8  shard:u16  term:u64  position:u64  base:u64  sum:u64  body
//! sum    = XXH3-64 of body, seeded with XXH3-64 of magic to base, seeded with base
//! base   = sum of the valid record before, or 0
//! kind 1 = entries: the bytes of entries, each with its length in front, as a journal row of the store has
//! them kind 2 = term: version:u16 node:u8 incarnation:u64 cause:u8 previous:u64, then adopted entries
//! ```
//!
//! Numbers are little-endian.
//! Invariants: [`decode`] returns what [`encode`] wrote; any other bytes give a [`RecordFault`], never a
//! panic. No record is longer than [`RECORD_BYTES_MAX`].
//! Not here: which records are valid ([`Chain`]); what an entry means (the store).

mod chain;
mod entries;
mod head;
mod renewal;
mod term;

use std::fmt;

use bytes::Bytes;
use grandstand_engine::link::ShardId;
use twox_hash::XxHash3_64;

use crate::id::{Position, Term};

pub use chain::{Chain, Hole, Verdict, VoidCause, Voids};
pub use entries::{ENTRY_BYTES_MIN, Entries, EntriesBuilder, EntryFault};
pub use head::{ChainHead, HeadFault};
pub use renewal::Renewal;
pub use term::{Cause, TermBody};

/// The most bytes of a record. The servers take 1 MB; half of it leaves room for headers and for a base64
/// form.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Bytes before the body.
pub const HEAD_BYTES: usize = 4 + 1 + 2 + 8 + 8 + 8 + 8;

/// The most bytes of a body of entries.
pub const BODY_BYTES_MAX: usize = RECORD_BYTES_MAX - HEAD_BYTES;

const MAGIC: &[u8; 4] = b"GSL1";

/// Where the sum is.
const SUM_AT: usize = HEAD_BYTES - 8;

mod kind {
    pub(super) const ENTRIES: u8 = 1;
    pub(super) const TERM: u8 = 2;
}

/// Where a record belongs: everything of it but the body and the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of which shard's log.
    pub shard: ShardId,
    /// Under which term it is written; for a term record, the term that it begins.
    pub term: Term,
    /// At which sequence number of the stream.
    pub position: Position,
    /// The sum of the last valid record before it; 0 for the first.
    pub base: u64,
}

/// The contents of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// What the shard sealed, in its order.
    Entries(Entries),
    /// A new term: from here on another owner writes, or the same one again.
    Term(TermBody),
    /// Of a kind that this release does not know. Its sum is right: a later release wrote it.
    Unknown {
        /// The number of the kind.
        kind: u8,
        /// Its body.
        bytes: Bytes,
    },
}

/// A record that was decoded: its sum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it says that it belongs.
    pub place: Place,
    /// Its sum.
    pub sum: u64,
    /// Its contents.
    pub body: Body,
}

/// A record as bytes, with what must be known of it to send it and to recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Where it belongs.
    pub place: Place,
    /// Its sum, the base of the record after it.
    pub sum: u64,
    /// All of its bytes.
    pub bytes: Bytes,
}

impl Encoded {
    /// The identity under which the log drops repetitions.
    ///
    /// Why the sum is part of it: two claims of one term at one position have the same shard, term and
    /// position. Without the sum the log would take the second for a repetition of the first, acknowledge it,
    /// and both nodes would take themselves for the owner.
    #[must_use]
    pub fn message_id(&self) -> String {
        let Place { shard, term, position, .. } = self.place;
        if crate::planted::is(crate::planted::Fault::IdWithoutSum) {
            return format!("{}.{}.{}", shard.0, term.0, position.0);
        }
        format!("{}.{}.{}.{:016x}", shard.0, term.0, position.0, self.sum)
    }
}

/// A body that does not fit into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// How long the record would be.
    pub bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of {} bytes, expected at most {RECORD_BYTES_MAX}: split it", self.bytes)
    }
}

impl std::error::Error for TooLong {}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// Shorter than a head.
    Short,
    /// Longer than [`RECORD_BYTES_MAX`].
    Long,
    /// It begins with other bytes than `GSL1`.
    Magic,
    /// Its sum is wrong: it was changed.
    Sum,
    /// Its sum is right, but its body is not what its kind says.
    Malformed(&'static str),
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordFault::Short => write!(f, "shorter than the {HEAD_BYTES} bytes of a record's head"),
            RecordFault::Long => write!(f, "longer than the {RECORD_BYTES_MAX} bytes of a record"),
            RecordFault::Magic => write!(f, "begins without `GSL1`: it is no record"),
            RecordFault::Sum => write!(f, "its sum is wrong: it was changed"),
            RecordFault::Malformed(expected) => write!(f, "malformed: expected {expected}"),
        }
    }
}

impl std::error::Error for RecordFault {}

/// Encode a record.
///
/// # Errors
/// If it would be longer than [`RECORD_BYTES_MAX`].
pub fn encode(place: Place, body: &Body) -> Result<Encoded, TooLong> {
    let body_bytes = match body {
        Body::Entries(entries) => entries.bytes().len(),
        Body::Term(term) => term.encoded_bytes(),
        Body::Unknown { bytes, .. } => bytes.len(),
    };
    let bytes = HEAD_BYTES + body_bytes;
    if bytes > RECORD_BYTES_MAX {
        return Err(TooLong { bytes });
    }
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(MAGIC);
    out.push(match body {
        Body::Entries(_) => kind::ENTRIES,
        Body::Term(_) => kind::TERM,
        Body::Unknown { kind, .. } => *kind,
    });
    out.extend_from_slice(&place.shard.0.to_le_bytes());
    out.extend_from_slice(&place.term.0.to_le_bytes());
    out.extend_from_slice(&place.position.0.to_le_bytes());
    out.extend_from_slice(&place.base.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    match body {
        Body::Entries(entries) => out.extend_from_slice(entries.bytes()),
        Body::Term(term) => term.put(&mut out),
        Body::Unknown { bytes, .. } => out.extend_from_slice(bytes),
    }
    let sum = sum_of(&out, place.base);
    out[SUM_AT..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    Ok(Encoded { place, sum, bytes: Bytes::from(out) })
}

/// Decode the bytes of one message.
///
/// # Errors
/// See [`RecordFault`].
pub fn decode(bytes: &Bytes) -> Result<Record, RecordFault> {
    if bytes.len() < HEAD_BYTES {
        return Err(RecordFault::Short);
    }
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordFault::Long);
    }
    if &bytes[..4] != MAGIC {
        return Err(RecordFault::Magic);
    }
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let kind = bytes[4];
    let place = Place {
        shard: ShardId(u16::from_le_bytes([bytes[5], bytes[6]])),
        term: Term(u64_at(7)),
        position: Position(u64_at(15)),
        base: u64_at(23),
    };
    let sum = u64_at(SUM_AT);
    if sum_of(bytes, place.base) != sum {
        return Err(RecordFault::Sum);
    }
    let body = bytes.slice(HEAD_BYTES..);
    let body = match kind {
        kind::ENTRIES => {
            let entries = Entries::check(body).map_err(|fault| RecordFault::Malformed(fault.expected()))?;
            if entries.is_empty() {
                return Err(RecordFault::Malformed("at least one entry"));
            }
            Body::Entries(entries)
        }
        kind::TERM => Body::Term(TermBody::take(&body).map_err(RecordFault::Malformed)?),
        kind => Body::Unknown { kind, bytes: body },
    };
    Ok(Record { place, sum, body })
}

/// The sum of the body, seeded with the sum of what is before the sum field, seeded with the base. Two sums,
/// so that the two parts need not be copied into one.
fn sum_of(record: &[u8], base: u64) -> u64 {
    let head = XxHash3_64::oneshot_with_seed(base, &record[..SUM_AT]);
    XxHash3_64::oneshot_with_seed(head, &record[HEAD_BYTES..])
}

#[cfg(test)]
mod tests;
