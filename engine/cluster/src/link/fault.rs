//! Faults of messages between nodes: bytes that are no message, and messages that are too long.
//!
//! Invariant: each says what was expected, so that an operator can tell a version that is too old from bytes
//! that something changed on the way.

use std::fmt;

use super::{MESSAGE_BYTES_MAX, VERSIONS};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    Long(usize),
    /// The first byte is that of another kind of message, or of none.
    Kind(Option<u8>),
    /// Not a valid table.
    Table,
    /// A later release wrote it, for readers of at least this version.
    TooNew(u16),
    /// An earlier release wrote it, by a version that this one no longer reads.
    TooOld(u16),
    /// A field of the table.
    Field(&'static str),
    /// An item: the number of its kind, and what was expected in it.
    Item(u8, &'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (VERSIONS.min, VERSIONS.max);
        match self {
            Malformed::Long(bytes) => {
                write!(f, "a message of {bytes} bytes, expected at most {MESSAGE_BYTES_MAX}")
            }
            Malformed::Kind(None) => write!(f, "an empty message"),
            Malformed::Kind(Some(kind)) => write!(f, "a message of kind {kind}, which belongs elsewhere"),
            Malformed::Table => write!(f, "not a valid table of its kind"),
            Malformed::TooNew(needs) => {
                write!(f, "a message for version {needs}, this node reads {min} to {max}: upgrade this node")
            }
            Malformed::TooOld(version) => {
                write!(
                    f,
                    "a message of version {version}, this node reads {min} to {max}: upgrade its sender"
                )
            }
            Malformed::Field(expected) => write!(f, "malformed: expected {expected}"),
            Malformed::Item(kind, expected) => {
                write!(f, "malformed item of kind {kind}: expected {expected}")
            }
        }
    }
}

impl std::error::Error for Malformed {}

/// A message or an item that does not fit into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What it is.
    pub what: &'static str,
    /// How long the message would be.
    pub bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { what, bytes } = self;
        write!(f, "{what} of {bytes} bytes, expected at most {MESSAGE_BYTES_MAX}: it is not sent")
    }
}

impl std::error::Error for TooLong {}
