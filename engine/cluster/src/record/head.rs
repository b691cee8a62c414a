//! Chain head: how far a log is valid, as a node keeps it beside its copy.
//!
//! Why bytes of a fixed layout: the copy stores them in one transaction with what was applied, without
//! knowing what they mean, and another release reads them.
//!
//! ```text
//! head = version:u8 (1)  position:u64  sum:u64  term:u64  has owner:u8  node:u8  incarnation:u64
//!        entries in term:u64  check:u32
//! check = the lower half of XXH3-64 of all before
//! ```
//!
//! Numbers are little-endian.
//! Invariant: [`ChainHead::decode`] returns what [`ChainHead::encode`] wrote; other bytes give a
//! [`HeadFault`], never a panic.

use std::fmt;

use bytes::Bytes;
use twox_hash::XxHash3_64;

use crate::id::{Incarnation, NodeId, Position, Term};

const VERSION: u8 = 1;
const CHECKED_BYTES: usize = 1 + 3 * 8 + 1 + 1 + 8 + 8;

/// How far a chain is valid: what a node keeps beside its copy of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainHead {
    /// The position of the last valid record.
    pub position: Position,
    /// Its sum.
    pub sum: u64,
    /// The current term.
    pub term: Term,
    /// Its owner, and which life of that node; none before the first term.
    pub owner: Option<(NodeId, Incarnation)>,
    /// How many entries valid records hold since that term began, without those that it adopted.
    pub entries_in_term: u64,
}

/// Why bytes are not a chain head. The copy that has them must be built anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// Of another length than any head.
    Length(usize),
    /// Of a layout that this release does not know.
    Version(u8),
    /// They were changed.
    Sum,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadFault::Length(got) => {
                write!(f, "got {got} bytes, expected {}: build this node's copy anew", ChainHead::BYTES)
            }
            HeadFault::Version(got) => {
                write!(f, "got layout {got}, expected {VERSION}: start a release that wrote it")
            }
            HeadFault::Sum => write!(f, "its sum is wrong, it was changed: build this node's copy anew"),
        }
    }
}

impl std::error::Error for HeadFault {}

impl ChainHead {
    /// How long an encoded head is.
    pub const BYTES: usize = CHECKED_BYTES + 4;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(ChainHead::BYTES);
        out.push(VERSION);
        for number in [self.position.0, self.sum, self.term.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let (node, life) = self.owner.unwrap_or((NodeId(0), Incarnation(0)));
        out.extend_from_slice(&[u8::from(self.owner.is_some()), node.0]);
        out.extend_from_slice(&life.0.to_le_bytes());
        out.extend_from_slice(&self.entries_in_term.to_le_bytes());
        out.extend_from_slice(&check_of(&out));
        out.into()
    }

    /// The head that these bytes are.
    ///
    /// # Errors
    /// See [`HeadFault`].
    pub fn decode(bytes: &[u8]) -> Result<ChainHead, HeadFault> {
        match bytes.first() {
            Some(&VERSION) if bytes.len() == ChainHead::BYTES => {}
            Some(&VERSION) | None => return Err(HeadFault::Length(bytes.len())),
            Some(&other) => return Err(HeadFault::Version(other)),
        }
        let (checked, check) = bytes.split_at(CHECKED_BYTES);
        if check != check_of(checked) || checked[25] > 1 {
            return Err(HeadFault::Sum);
        }
        let u64_at = |at: usize| u64::from_le_bytes(checked[at..at + 8].try_into().expect("eight bytes"));
        Ok(ChainHead {
            position: Position(u64_at(1)),
            sum: u64_at(9),
            term: Term(u64_at(17)),
            owner: (checked[25] == 1).then(|| (NodeId(checked[26]), Incarnation(u64_at(27)))),
            entries_in_term: u64_at(35),
        })
    }
}

fn check_of(bytes: &[u8]) -> [u8; 4] {
    (XxHash3_64::oneshot(bytes) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_head() -> impl Strategy<Value = ChainHead> {
        let owner = proptest::option::of((any::<u8>(), any::<u64>()));
        (any::<[u64; 4]>(), owner).prop_map(|([position, sum, term, entries_in_term], owner)| ChainHead {
            position: Position(position),
            sum,
            term: Term(term),
            owner: owner.map(|(node, life)| (NodeId(node), Incarnation(life))),
            entries_in_term,
        })
    }

    proptest! {
        #[test]
        fn a_head_is_decoded_as_it_was_encoded_and_every_change_is_found(
            head in any_head(), bit in 0..ChainHead::BYTES * 8, cut in 0..ChainHead::BYTES,
        ) {
            let bytes = head.encode();
            prop_assert!(bytes.len() <= 64);
            prop_assert_eq!(ChainHead::decode(&bytes), Ok(head));
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ChainHead::decode(&changed).is_err());
            prop_assert_eq!(ChainHead::decode(&bytes[..cut]), Err(HeadFault::Length(cut)));
        }

        #[test]
        fn any_bytes_are_a_head_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ChainHead::decode(&bytes);
        }
    }

    /// Bytes that never change: another release reads them.
    #[test]
    fn a_head_is_the_bytes_that_the_layout_says() {
        let head = ChainHead {
            position: Position(0x0102),
            sum: 0x1122_3344_5566_7788,
            term: Term(3),
            owner: Some((NodeId(2), Incarnation(0x0405))),
            entries_in_term: 9,
        };
        let hex: String = head.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex[..86],
            *concat!(
                "01",
                "0201000000000000",
                "8877665544332211",
                "0300000000000000",
                "01",
                "02",
                "0504000000000000",
                "0900000000000000"
            )
        );
        let later = [&[2], &head.encode()[1..]].concat();
        let fault = ChainHead::decode(&later).unwrap_err();
        assert_eq!(fault, HeadFault::Version(2));
        assert_eq!(fault.to_string(), "got layout 2, expected 1: start a release that wrote it");
    }
}
