//! Handed rooms: the rooms of an owner that ends, as data for the owner that follows in another process.
//!
//! Why beside the durable log: a log brings back what it stored, and rooms in memory have none. What a
//! hand-over keeps is the same for both: identity, positions, state, recent messages, and the memories of
//! nonces and of slow mode.
//! Invariants: everything is sealed, so nothing waits in a lane. Times are ages, since the clock of a shard
//! begins with its process.
//! Not here: how rooms are taken out and put in (`shard::handing`), the bytes between processes (the node).

use std::sync::Arc;

use bytes::Bytes;

use super::{RoomEntry, StoredNonce};
use crate::link::{Batch, Lineage, PersonId};

/// The rooms of an owner that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// The rooms, of all shards.
    pub rooms: Vec<HandedRoom>,
    /// How long ago they were taken out.
    pub elapsed_us: u64,
}

/// A room, as one owner leaves it to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedRoom {
    /// Its description.
    pub room: RoomEntry,
    /// Is it in the durable log? Then the log brings it back, and only `spoke` of the rest is used.
    pub is_on_disk: bool,
    /// What only a live room has; `None` for a dormant one.
    pub live: Option<HandedLive>,
    /// Its batches with chat, oldest first, ending with the next offset, each with its full form where pacing
    /// omitted messages.
    pub batches: Vec<(Arc<Batch>, Option<Bytes>)>,
}

/// The live part of a handed room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedLive {
    /// Time of the last batch with chat, milliseconds since 1970.
    pub time_ms: u64,
    /// The latest time that an answer gave for an accepted publication.
    pub accepted_ms: u64,
    /// Its state, without the viewer count.
    pub state: Vec<(Box<str>, Bytes)>,
    /// The version of its state.
    pub state_version: u64,
    /// The earlier epochs of its log.
    pub previous: Lineage,
    /// Its memory of nonces.
    pub nonces: HandedNonces,
    /// Who has to wait for slow mode, and how long ago each spoke, longest first.
    pub spoke: Vec<(PersonId, u64)>,
}

/// The nonces that a handed room remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedNonces {
    /// How long ago the memory became complete; `None`: nothing was ever forgotten.
    pub complete_for_us: Option<i64>,
    /// One for each of the last offsets, oldest first.
    pub entries: Vec<StoredNonce>,
}
