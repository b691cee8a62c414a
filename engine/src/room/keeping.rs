//! Keeping: how much of a room is in the durable log, and how safely.
//!
//! Why a head: a room whose chat is in memory must still be the same room under the next owner of its shard.
//! A log that a cluster shares keeps the heads of such rooms: description and state, and no chat.
//! Invariant: a room is announced, by its description, before anything else of it is in the log.
//! Not here: when a room is announced (`shard`).

use grandstand_protocol::frame::Durability;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is in memory only.
    Memory,
    /// Its head belongs into the log, and is not there yet, since nobody has said or set anything. Chat alone
    /// does not wait for a log that accepts nothing.
    UnannouncedHead,
    /// Its head is in the log.
    Head,
    /// It is not in the log yet, because the log accepted nothing when the room was made. The first batch
    /// that must be kept adds it.
    Unannounced(Durability),
    /// It is in the log.
    Logged(Durability),
}

impl Keeping {
    /// Is its chat kept in the log?
    pub(crate) fn keeps_chat(self) -> bool {
        matches!(self, Keeping::Unannounced(_) | Keeping::Logged(_))
    }

    /// Are at least its description and its state kept in the log?
    pub(crate) fn keeps_head(self) -> bool {
        self != Keeping::Memory
    }

    /// Is the room in the log by now?
    pub(crate) fn is_announced(self) -> bool {
        matches!(self, Keeping::Head | Keeping::Logged(_))
    }

    /// The same, once the room is announced.
    pub(crate) fn announced(self) -> Keeping {
        match self {
            Keeping::UnannouncedHead => Keeping::Head,
            Keeping::Unannounced(level) => Keeping::Logged(level),
            Keeping::Memory | Keeping::Head | Keeping::Logged(_) => self,
        }
    }

    /// The durability of its messages.
    pub(crate) fn durability(self) -> Durability {
        match self {
            Keeping::Memory | Keeping::UnannouncedHead | Keeping::Head => Durability::Memory,
            Keeping::Unannounced(level) | Keeping::Logged(level) => level,
        }
    }
}
