//! Links: what two nodes say to each other, as messages and as frames of items in both directions.
//!
//! Why frames: a turn of the owner seals many rooms, and one message per turn and node costs the network
//! the same whatever it holds.
//! Invariants: decoding returns what was encoded, or a [`Malformed`]; no bytes make it panic or take more
//! memory than a fixed multiple of theirs. A frame belongs to one term and one life of its sender, and its
//! number shows every hole. The layout is in `protocol/schema/cluster.fbs`.
//! Not here: what an input or an output means (`grandstand_engine`), who owns the shard (`seat`), how frames
//! travel (`stand::wire`).

mod act;
mod admin;
mod answer;
mod down;
mod fault;
mod frame;
mod handed;
mod house;
mod input;
mod message;
mod order;
mod output;
mod pack;
mod receiver;
mod sender;
mod table;
mod unpack;
mod up;

pub use answer::{AnswerParts, PARTS_MAX, encode_answer, encode_answer_as};
pub use down::DownSender;
pub use fault::{Malformed, TooLong};
pub use frame::{DownFrame, DownItem, UpFrame, UpItem};
pub use message::{Announce, Message, Pong};
pub use receiver::{Head, OldCause, Receiver, ReceiverCounts, Verdict};
pub use sender::SenderCounts;
pub use up::UpSender;

use crate::membership::Versions;

/// The version by which this release writes.
const VERSION: u16 = 1;

/// Versions of messages between nodes that this release reads and writes.
pub const VERSIONS: Versions = Versions { min: 1, max: VERSION };

/// The most bytes of a message. The servers take 1 MiB with its headers, which have the rest.
pub const MESSAGE_BYTES_MAX: usize = (1 << 20) - 4096;

/// Bytes of items at which a frame is cut. One item that is longer is a frame of its own.
pub const FRAME_BYTES: usize = 512 * 1024;

/// How long a direction is silent before it sends an empty frame, which shows the loss of the last one.
pub const KEEPALIVE_MS: u64 = 250;

/// By which version a frame was written.
#[cfg(test)]
pub(crate) fn version_of(frame: &[u8]) -> u16 {
    flatbuffers::root::<crate::generated::Frame<'_>>(&frame[1..]).expect("a frame").version()
}

#[cfg(test)]
mod tests;
