//! Pages of history that this worker asked shards for and that have not come, and for whom they are.
//!
//! Why: a shard's answer names only the request's ticket. Its connection may have ended meanwhile, and the
//! room may no longer be followed.
//! Invariant: at most [`ASKED_MAX`] pages that clients asked for are under way.
//! Not here: what is done with a page (`catch_up`, `history`).

use grandstand_engine::link::ConnectionToken;
use slab::Slab;

use super::room::RoomKey;

/// Pages under way at one worker: a shard answers thousands a second, so more would only wait. Beyond:
/// refusal `Overloaded`.
const ASKED_MAX: usize = 256;

/// For whom a page was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageFor {
    /// A member that catches up.
    Member { room: RoomKey, connection: ConnectionToken },
    /// A client that asked.
    Client(Asked),
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) room: RoomKey,
    pub(super) connection: ConnectionToken,
    pub(super) request: u32,
    pub(super) epoch: u64,
    pub(super) from: u64,
}

/// Pages that were asked for and have not come, by the request's ticket.
#[derive(Default)]
pub(super) struct Pages {
    slab: Slab<PageFor>,
    /// Of them, those whose clients asked for one.
    asked: usize,
}

impl Pages {
    /// A page for a member that catches up: its ticket.
    pub(super) fn insert_member(&mut self, room: RoomKey, connection: ConnectionToken) -> u32 {
        self.slab.insert(PageFor::Member { room, connection }) as u32
    }

    /// A page for a client: its ticket.
    pub(super) fn insert_client(&mut self, asked: Asked) -> u64 {
        self.asked += 1;
        self.slab.insert(PageFor::Client(asked)) as u64
    }

    pub(super) fn is_full_for_clients(&self) -> bool {
        self.asked >= ASKED_MAX
    }

    /// The page came, or could not be asked for.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<PageFor> {
        let page_for = self.slab.try_remove(ticket as usize)?;
        self.asked -= usize::from(matches!(page_for, PageFor::Client(_)));
        Some(page_for)
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}
