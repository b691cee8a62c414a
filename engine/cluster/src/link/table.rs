//! Tables: the outer form of every message between nodes, one kind byte and one FlatBuffers table.
//!
//! Why a kind byte: a table of one kind may verify as one of another. What came by the wrong subject is
//! found at once.
//! Invariants: a table is verified once, here, before a field of it is read. A message whose version this
//! release cannot read is refused as that, and not as malformed.
//! Not here: the fields of each message (`message`, `frame`).

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, Follow, Verifiable, VerifierOptions, WIPOffset};

use super::fault::{Malformed, TooLong};
use super::{MESSAGE_BYTES_MAX, VERSIONS};

/// Kinds of messages: the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Heartbeat = 1,
    Ask = 2,
    Answer = 3,
    Announce = 4,
    Pong = 5,
    Up = 6,
    Down = 7,
    House = 8,
    Order = 9,
    Outcome = 10,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Heartbeat => "a heartbeat",
            Kind::Ask => "an ask",
            Kind::Answer => "an answer",
            Kind::Announce => "an announcement",
            Kind::Pong => "a pong",
            Kind::Up => "a frame to the owner",
            Kind::Down => "a frame of the owner",
            Kind::House => "a message of the house",
            Kind::Order => "an order",
            Kind::Outcome => "the outcome of an order",
        }
    }
}

/// Tables that the verifier follows in one message: a heartbeat has one for each shard and each node.
const TABLES_MAX: usize = 4096;

/// The lowest version that reads what this release writes, by whatever version.
pub(super) const NEEDS: u16 = 1;

/// Encode one message.
pub(super) fn encode<'a, T>(
    kind: Kind,
    build: impl FnOnce(&mut FlatBufferBuilder<'a>) -> WIPOffset<T>,
) -> Result<Bytes, TooLong> {
    encode_with(&mut FlatBufferBuilder::with_capacity(256), kind, build)
}

/// Encode one message with a builder that is used again and again.
pub(super) fn encode_with<'a, T>(
    fbb: &mut FlatBufferBuilder<'a>,
    kind: Kind,
    build: impl FnOnce(&mut FlatBufferBuilder<'a>) -> WIPOffset<T>,
) -> Result<Bytes, TooLong> {
    fbb.reset();
    let root = build(fbb);
    fbb.finish_minimal(root);
    let table = fbb.finished_data();
    let bytes = 1 + table.len();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(TooLong { what: kind.name(), bytes });
    }
    let mut out = Vec::with_capacity(bytes);
    out.push(kind as u8);
    out.extend_from_slice(table);
    Ok(Bytes::from(out))
}

/// Verify and open one message.
pub(super) fn open<'a, T>(kind: Kind, bytes: &'a [u8]) -> Result<T::Inner, Malformed>
where
    T: 'a + Follow<'a> + Verifiable,
{
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::Long(bytes.len()));
    }
    let (&first, table) = bytes.split_first().ok_or(Malformed::Kind(None))?;
    if first != kind as u8 {
        return Err(Malformed::Kind(Some(first)));
    }
    let options = VerifierOptions {
        max_depth: 4,
        max_tables: TABLES_MAX,
        max_apparent_size: MESSAGE_BYTES_MAX * 2,
        ignore_missing_null_terminator: true,
    };
    flatbuffers::root_with_opts::<T>(&options, table).map_err(|_| Malformed::Table)
}

/// Check the version fields of a table. A table without them is of no release.
pub(super) fn check_version(version: u16, needs: u16) -> Result<(), Malformed> {
    if needs > VERSIONS.max {
        return Err(Malformed::TooNew(needs));
    }
    if version < VERSIONS.min {
        return Err(Malformed::TooOld(version));
    }
    if needs == 0 || needs > version {
        return Err(Malformed::Field("a version that reads itself"));
    }
    Ok(())
}
