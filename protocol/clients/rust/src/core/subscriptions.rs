//! Subscriptions: the rooms that a session follows, across its connections.
//!
//! Invariants: a followed room has one entry. A room that is left and followed again has a second one. The
//! session subscribes for the second only after the first is removed, since a node allows one subscription
//! per room.
//! Not here: a room's position and state (`room`), the meaning of its frames (`receive`).

use grandstand_protocol::frame::{ClientFrame, Encoder, Subscribe};

use super::room::{RoomState, SubscriptionState};
use super::{RequestError, RoomId, SubscribeOptions};

/// Request numbers: never 0, which marks frames that the server sends unasked.
#[derive(Debug)]
pub(super) struct RequestNumbers(u32);

impl RequestNumbers {
    pub(super) fn new() -> RequestNumbers {
        RequestNumbers(1)
    }

    pub(super) fn take(&mut self) -> u32 {
        let number = self.0;
        self.0 = number.checked_add(1).unwrap_or(1);
        number
    }
}

/// Most rooms that are left while the node has not said so: it answers at once, so more are a node that does
/// not.
const LEAVING_MAX: usize = 256;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    rooms: Vec<RoomState>,
    next_id: u32,
}

impl Subscriptions {
    /// Follow a room. A room that is followed already keeps its options.
    pub(super) fn subscribe(&mut self, name: &str, options: SubscribeOptions, keep_state: bool) -> RoomId {
        if let Some(known) = self.id(name) {
            return known;
        }
        let id = RoomId(self.next_id);
        self.next_id += 1;
        self.rooms.push(RoomState::new(id, name, options, keep_state));
        id
    }

    /// Stop following a room. `true` when the node has no subscription for it, so that it can be forgotten at
    /// once.
    pub(super) fn unsubscribe(&mut self, id: RoomId) -> bool {
        let Some(at) = self.rooms.iter().position(|r| r.id == id) else { return false };
        let room = &mut self.rooms[at];
        match (room.state, room.stale_alias.take()) {
            (SubscriptionState::Live, _) | (SubscriptionState::Wanted, Some(_)) => {
                room.state = SubscriptionState::Unwanted;
            }
            (SubscriptionState::Unwanted | SubscriptionState::Leaving, _) => {}
            (SubscriptionState::Asked, _) => room.leave = true,
            (SubscriptionState::Wanted | SubscriptionState::Waiting(_), _) => {
                self.rooms.remove(at);
                return true;
            }
        }
        false
    }

    /// The number of a followed room.
    pub(super) fn id(&self, name: &str) -> Option<RoomId> {
        self.rooms.iter().find(|r| *r.name == *name && r.is_wanted()).map(|r| r.id)
    }

    /// How many rooms are followed, or about to be.
    pub(super) fn followed(&self) -> usize {
        self.rooms.iter().filter(|room| room.is_wanted()).count()
    }

    /// # Errors
    /// [`RequestError::Full`] while the node has not answered for too many rooms that were left.
    pub(super) fn check_leaving(&self) -> Result<(), RequestError> {
        let leaving = self.rooms.len() - self.followed();
        if leaving < LEAVING_MAX { Ok(()) } else { Err(RequestError::Full) }
    }

    pub(super) fn get(&self, id: RoomId) -> Option<&RoomState> {
        self.rooms.iter().find(|r| r.id == id)
    }

    /// A room that is followed at this moment.
    pub(super) fn live(&self, id: RoomId) -> Option<&RoomState> {
        self.get(id).filter(|r| r.state == SubscriptionState::Live)
    }

    /// As [`Subscriptions::live`], by the alias of this connection.
    pub(super) fn live_alias(&mut self, alias: u32) -> Option<&mut RoomState> {
        self.rooms.iter_mut().find(|r| r.alias == alias && r.state == SubscriptionState::Live)
    }

    /// The first room of which this is true.
    pub(super) fn position(&self, which: impl Fn(&RoomState) -> bool) -> Option<usize> {
        self.rooms.iter().position(which)
    }

    pub(super) fn at(&mut self, at: usize) -> &mut RoomState {
        &mut self.rooms[at]
    }

    pub(super) fn remove(&mut self, at: usize) -> RoomState {
        self.rooms.remove(at)
    }

    /// The connection has ended. Returns the rooms that are no longer followed, which the caller removes from
    /// the last on.
    pub(super) fn handle_disconnected(&mut self) -> Vec<usize> {
        let last_first = (0..self.rooms.len()).rev();
        last_first.filter(|&at| !self.rooms[at].handle_disconnected()).collect()
    }

    pub(super) fn handle_timeout(&mut self, now_us: u64) {
        for room in &mut self.rooms {
            if matches!(room.state, SubscriptionState::Waiting(until_us) if now_us >= until_us) {
                room.state = SubscriptionState::Wanted;
            }
        }
    }

    /// The time at which a refused subscription may be requested again.
    pub(super) fn due_us(&self) -> Option<u64> {
        let waiting = self.rooms.iter().filter_map(|room| match room.state {
            SubscriptionState::Waiting(until_us) => Some(until_us),
            _ => None,
        });
        waiting.min()
    }

    /// Writes the next `Subscribe` or `Unsubscribe`; `false` if none is due.
    pub(super) fn encode_next(
        &mut self,
        requests: &mut RequestNumbers,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_due = |at: usize| match self.rooms[at].state {
            SubscriptionState::Unwanted => true,
            // The node allows one subscription per room, so the earlier one must end first.
            SubscriptionState::Wanted => {
                self.rooms[..at].iter().all(|before| before.name != self.rooms[at].name)
            }
            _ => false,
        };
        let Some(at) = (0..self.rooms.len()).find(|&at| is_due(at)) else { return false };
        let request = requests.take();
        let room = &mut self.rooms[at];
        if let Some(alias) = room.stale_alias.take() {
            encoder.client(&ClientFrame::Unsubscribe { request, alias }, out);
            return true;
        }
        room.request = request;
        if room.state == SubscriptionState::Unwanted {
            room.state = SubscriptionState::Leaving;
            encoder.client(&ClientFrame::Unsubscribe { request, alias: room.alias }, out);
        } else {
            room.state = SubscriptionState::Asked;
            let (resume, replay) = room.wish();
            let subscribe = Subscribe { request, room: &room.name, resume, replay };
            encoder.client(&ClientFrame::Subscribe(subscribe), out);
        }
        true
    }
}
