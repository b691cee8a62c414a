//! Term body: what the record that begins a term says.
//!
//! Why adopted entries are in it: entries that the last owner had shown at nodes that live on, and that the
//! log has not, become part of the log with the term itself. So they can neither come twice nor in another
//! order.
//! Invariant: [`TermBody::take`] returns what [`TermBody::put`] wrote; other bytes give an expectation,
//! never a panic.

use bytes::Bytes;

use super::Entries;
use crate::id::{Incarnation, NodeId, Term};

/// Bytes before the adopted entries.
const FIXED_BYTES: usize = 2 + 1 + 8 + 1 + 8;

/// Why a term begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The log was empty.
    First,
    /// The last owner handed the shard over: everything that it had shown is in the log.
    Clean,
    /// The last owner was not heard any more.
    Claim,
}

impl Cause {
    const ALL: [Cause; 3] = [Cause::First, Cause::Clean, Cause::Claim];

    fn number(self) -> u8 {
        match self {
            Cause::First => 1,
            Cause::Clean => 2,
            Cause::Claim => 3,
        }
    }
}

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermBody {
    /// The version of the cluster's formats that the owner writes.
    pub version: u16,
    /// Who owns the shard from here on.
    pub owner: NodeId,
    /// Which life of that node.
    pub incarnation: Incarnation,
    /// Why.
    pub cause: Cause,
    /// The term before; 0 if there was none.
    pub previous: Term,
    /// What the last owner had shown and not kept.
    pub adopted: Entries,
}

impl TermBody {
    /// How many bytes of adopted entries fit.
    pub const ADOPTED_BYTES_MAX: usize = super::BODY_BYTES_MAX - FIXED_BYTES;

    pub(super) fn encoded_bytes(&self) -> usize {
        FIXED_BYTES + self.adopted.bytes().len()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.push(self.owner.0);
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.push(self.cause.number());
        out.extend_from_slice(&self.previous.0.to_le_bytes());
        out.extend_from_slice(self.adopted.bytes());
    }

    pub(super) fn take(body: &Bytes) -> Result<TermBody, &'static str> {
        let fixed = body.get(..FIXED_BYTES).ok_or("the owner of a term")?;
        let u64_at = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes"));
        let cause = Cause::ALL.into_iter().find(|cause| cause.number() == fixed[11]);
        Ok(TermBody {
            version: u16::from_le_bytes([fixed[0], fixed[1]]),
            owner: NodeId(fixed[2]),
            incarnation: Incarnation(u64_at(3)),
            cause: cause.ok_or("a cause of 1, 2 or 3")?,
            previous: Term(u64_at(12)),
            adopted: Entries::check(body.slice(FIXED_BYTES..)).map_err(super::EntryFault::expected)?,
        })
    }
}
