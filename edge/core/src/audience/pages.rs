//! Pages of history that this worker asked shards for and that have not come, and for whom they are.
//!
//! Why: a shard's answer names only the request's ticket. Its connection may have ended meanwhile, and the
//! room may no longer be followed. A page may be lost with the shard's owner, and is asked for again.
//! Invariants: at most [`ASKED_MAX`] pages that clients asked for are under way. A ticket is not given again
//! while an answer to it may be on its way, so a late page is taken for no other.
//! Not here: what is done with a page (`catch_up`, `history`), asking again (`reattach`).

use grandstand_engine::link::ConnectionToken;
use slab::Slab;

use super::room::RoomKey;

/// Pages under way at one worker: a shard answers thousands a second, so more would only wait. Beyond:
/// refusal `Overloaded`.
const ASKED_MAX: usize = 256;

/// After `Overloaded`: by then a slow connection may have taken what it was sent.
pub(super) const OVERLOADED_RETRY_MS: u32 = 1000;

/// For whom a page was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageFor {
    /// A member that catches up.
    Member { room: RoomKey, connection: ConnectionToken },
    /// A client that asked.
    Client(Asked),
}

impl PageFor {
    fn room(&self) -> RoomKey {
        match self {
            PageFor::Member { room, .. } | PageFor::Client(Asked { room, .. }) => *room,
        }
    }
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) room: RoomKey,
    pub(super) connection: ConnectionToken,
    pub(super) request: u32,
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) messages_max: u32,
    /// The shard had another log than the one asked for.
    pub(super) was_denied: bool,
}

/// A page that was asked for and has not come.
struct UnderWay {
    /// The high half of its ticket.
    number: u32,
    /// The sweep at which it was asked for.
    sweep: u32,
    page_for: PageFor,
}

/// Pages that were asked for and have not come, by the request's ticket.
#[derive(Default)]
pub(super) struct Pages {
    slab: Slab<UnderWay>,
    given: u32,
    /// Of them, those whose clients asked for one.
    asked: usize,
}

impl Pages {
    /// A page is asked for: its ticket.
    pub(super) fn insert(&mut self, page_for: PageFor, sweep: u32) -> u64 {
        self.asked += usize::from(matches!(page_for, PageFor::Client(_)));
        self.given = self.given.wrapping_add(1);
        let number = self.given;
        let slot = self.slab.insert(UnderWay { number, sweep, page_for });
        u64::from(number) << 32 | slot as u64
    }

    pub(super) fn is_full_for_clients(&self) -> bool {
        self.asked >= ASKED_MAX
    }

    /// The page came, or could not be asked for.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<PageFor> {
        let slot = ticket as u32 as usize;
        self.slab.get(slot).filter(|under_way| u64::from(under_way.number) == ticket >> 32)?;
        let page_for = self.slab.remove(slot).page_for;
        self.asked -= usize::from(matches!(page_for, PageFor::Client(_)));
        Some(page_for)
    }

    /// The pages of a room: they will not come, or come too late.
    pub(super) fn take_of(&mut self, room: RoomKey) -> Vec<(u64, PageFor)> {
        self.take(|under_way| under_way.page_for.room() == room)
    }

    /// The pages that have not come within so many sweeps.
    pub(super) fn take_late(&mut self, sweep: u32, sweeps_max: u32) -> Vec<(u64, PageFor)> {
        self.take(|under_way| sweep.wrapping_sub(under_way.sweep) >= sweeps_max)
    }

    fn take(&mut self, is_taken: impl Fn(&UnderWay) -> bool) -> Vec<(u64, PageFor)> {
        let ticket = |(slot, of): (usize, &UnderWay)| u64::from(of.number) << 32 | slot as u64;
        let taken = self.slab.iter().filter(|(_, of)| is_taken(of)).map(ticket);
        let taken: Vec<u64> = taken.collect();
        taken.into_iter().filter_map(|ticket| Some((ticket, self.remove(ticket)?))).collect()
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
