//! Frames: one kind byte, then one FlatBuffers table of that kind. Only in a batch, the packed body follows
//! the kind directly.
//!
//! Why a kind byte and not a union: a union's wrapper costs 20 bytes in every frame, and the first byte alone
//! tells a reader whether it may ignore a frame of an unknown kind. Why a batch has no table: one around its
//! body would cost 26 bytes, a fifth of what a batch of one or two messages takes (docs/PROTOCOL.md has the
//! figures).
//! Invariants: a frame's table is verified once, here; the decoded values borrow from it and are within the
//! protocol's limits. A kind's bit 5 (0x20) marks it as ignorable; bit 7 as compressed (`compress`).
//! Not here: the headers around a frame (`stream`, `websocket`), a batch's body (`batch`).

mod acts;
mod client;
mod encoder;
mod server;

pub use acts::{Act, ActKind, Acted, Category, Notice, NoticeKind};
pub use client::{ClientFrame, Hello, History, Publish, React, Renew, SetState, Subscribe};
pub use encoder::Encoder;
pub use server::{
    ErrorFrame, Gap, GapReason, GoAway, HistoryPage, Outcome, Personal, Phase, Published, Refused, Renewed,
    RoomEvent, ServerFrame, Snapshot, Subscribed, Welcome,
};

use crate::generated as fb;
use crate::{close::CloseCode, limits};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => {
        /// The kind of a frame: its first byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $n,)* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// From a frame's first byte.
            pub fn from_wire(n: u8) -> Option<Kind> {
                match n { $($n => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// First frame of a client.
    Hello = 0x01;
    /// Follow a room.
    Subscribe = 0x02;
    /// Stop following a room.
    Unsubscribe = 0x03;
    /// Publish a message in a room.
    Publish = 0x04;
    /// Send a reaction to a room.
    React = 0x05;
    /// Set a key of a room's state.
    SetState = 0x06;
    /// Ask for a `Pong`; keeps the connection alive.
    Ping = 0x07;
    /// Ask for earlier messages, including those that pacing left out.
    History = 0x08;
    /// Replace the session's token while it runs.
    Renew = 0x09;
    /// Keep order in a room: remove, time out, report, and the like.
    Act = 0x0a;
    /// Answer to `Hello`.
    Welcome = 0x41;
    /// Answer to `Subscribe`.
    Subscribed = 0x42;
    /// Answer to `Unsubscribe`, or a notice that the server ended the subscription.
    Unsubscribed = 0x43;
    /// A publication was accepted.
    Published = 0x44;
    /// A state change was accepted.
    StateSet = 0x45;
    /// One request was refused.
    Refused = 0x46;
    /// What a room sealed in one tick.
    Batch = 0x47;
    /// A room's whole state.
    Snapshot = 0x48;
    /// A range of messages that this viewer did not get.
    Gap = 0x49;
    /// A room opens, is about to close, or is closed.
    RoomEvent = 0x4a;
    /// Answer to `Ping`.
    Pong = 0x4b;
    /// Move to another node, or come back later.
    GoAway = 0x4c;
    /// Why the connection is about to end.
    Error = 0x4d;
    /// Answer to `History`.
    HistoryPage = 0x4e;
    /// Answer to `Renew`.
    Renewed = 0x4f;
    /// Answer to `Act`.
    Acted = 0x50;
    /// A message that pacing left out, sent to the person whom it answers or names.
    Personal = 0x61;
    /// The session's token is about to run out.
    Expiring = 0x62;
    /// What an act means for this session's person.
    Notice = 0x63;
}

/// Whether a reader may ignore a frame of this unknown kind.
pub fn is_ignorable(kind: u8) -> bool {
    kind & 0xa0 == 0x20
}

/// An author's role in the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// A viewer without a special role.
    #[default]
    Viewer = 0,
    /// A supporter of the show.
    Subscriber = 1,
    /// A moderator, who keeps order.
    Moderator = 2,
    /// The host, who runs the show.
    Host = 3,
    /// A program, not a person.
    Bot = 4,
}

impl Role {
    /// Whether viewers rely on whose name this is: a moderator's, a host's or a program's. Nobody without
    /// such a role is shown under a name that looks like it.
    pub fn keeps_its_name(self) -> bool {
        matches!(self, Role::Moderator | Role::Host | Role::Bot)
    }

    /// From its number on the wire; unknown roles are viewers.
    pub fn from_wire(n: u8) -> Role {
        match n {
            1 => Role::Subscriber,
            2 => Role::Moderator,
            3 => Role::Host,
            4 => Role::Bot,
            _ => Role::Viewer,
        }
    }
}

/// Bits of `Welcome.permissions`: what a session may do.
pub mod permission {
    /// Publish chat.
    pub const PUBLISH: u32 = 1;
    /// Send reactions.
    pub const REACT: u32 = 2;
    /// Set state.
    pub const STATE: u32 = 4;
    /// Publish under other people's names and roles, at a bridge's rate.
    pub const BRIDGE: u32 = 8;
    /// Keep order: remove what others said, and decide who may speak.
    pub const MODERATE: u32 = 16;
}

/// How safe an accepted publication is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Durability {
    /// In the memory of one node.
    #[default]
    Memory = 0,
    /// Synced to the disk of one node.
    Disk = 1,
    /// On a majority of nodes.
    Replicated = 2,
}

impl Durability {
    /// From its number on the wire; an unknown level means the weakest.
    pub fn from_wire(n: u8) -> Durability {
        match n {
            1 => Durability::Disk,
            2 => Durability::Replicated,
            _ => Durability::Memory,
        }
    }
}

/// Bytes that are not a frame of this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// No bytes at all.
    Empty,
    /// An unknown kind; a reader ignores those that are marked as ignorable.
    UnknownKind(u8),
    /// A kind that only the other side sends.
    WrongSide(Kind),
    /// Not a valid table of its kind.
    Table(Kind),
    /// A field outside its limits.
    Field(Kind, &'static str),
}

impl FrameFault {
    /// The close code that answers it.
    pub fn close_code(&self) -> CloseCode {
        match self {
            FrameFault::UnknownKind(_) => CloseCode::UnknownKind,
            FrameFault::WrongSide(_) => CloseCode::WrongOrder,
            FrameFault::Empty | FrameFault::Table(_) | FrameFault::Field(..) => CloseCode::Malformed,
        }
    }

    /// Whether the reader may ignore the frame and go on.
    pub fn is_ignorable(&self) -> bool {
        matches!(self, FrameFault::UnknownKind(kind) if is_ignorable(*kind))
    }
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameFault::Empty => write!(f, "an empty frame"),
            FrameFault::UnknownKind(kind) => write!(f, "unknown frame kind {kind:#04x}"),
            FrameFault::WrongSide(kind) => write!(f, "{kind:?} comes from the other side only"),
            FrameFault::Table(kind) => write!(f, "not a valid {kind:?} table"),
            FrameFault::Field(kind, field) => write!(f, "{kind:?}.{field} is outside its limits"),
        }
    }
}

impl std::error::Error for FrameFault {}

/// Verify and open a table.
fn table<'a, T>(kind: Kind, bytes: &'a [u8]) -> Result<T::Inner, FrameFault>
where
    T: 'a + flatbuffers::Follow<'a> + flatbuffers::Verifiable,
{
    let options = flatbuffers::VerifierOptions {
        max_depth: limits::VERIFY_DEPTH_MAX,
        max_tables: limits::VERIFY_TABLES_MAX,
        max_apparent_size: limits::SERVER_FRAME_BYTES_MAX * 2,
        ignore_missing_null_terminator: true,
    };
    flatbuffers::root_with_opts::<T>(&options, bytes).map_err(|_| FrameFault::Table(kind))
}

/// A string field with a length limit; missing is empty.
fn text<'a>(
    kind: Kind,
    name: &'static str,
    s: Option<&'a str>,
    bytes_max: usize,
) -> Result<&'a str, FrameFault> {
    let s = s.unwrap_or("");
    if s.len() > bytes_max { Err(FrameFault::Field(kind, name)) } else { Ok(s) }
}

/// A byte-vector field with a length limit; missing is empty.
fn blob<'a>(
    kind: Kind,
    name: &'static str,
    v: Option<flatbuffers::Vector<'a, u8>>,
    bytes_max: usize,
) -> Result<&'a [u8], FrameFault> {
    let v = v.map_or(&[][..], |v| v.bytes());
    if v.len() > bytes_max { Err(FrameFault::Field(kind, name)) } else { Ok(v) }
}

/// Split a frame into its kind and the bytes behind it.
fn split(frame: &[u8]) -> Result<(Kind, &[u8]), FrameFault> {
    let (&kind, bytes) = frame.split_first().ok_or(FrameFault::Empty)?;
    Ok((Kind::from_wire(kind).ok_or(FrameFault::UnknownKind(kind))?, bytes))
}
