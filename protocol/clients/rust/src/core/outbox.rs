//! The outbox: publications, state changes, acts and reactions that the node has not answered.
//!
//! Why kept: a connection may end between a publication and its answer. A retry with the same nonce on the
//! next connection gets that answer, so no publication is lost or published twice.
//! Invariants: `unanswered_max` bounds it; publications of one room are sent in the order in which the
//! application gave them; reactions are dropped at a disconnect, because they soon lose their meaning.
//! Not here: which rooms are followed (`subscriptions`), entries that get no answer (`outcomes`).

use std::collections::VecDeque;

use grandstand_protocol::frame::{ClientFrame, Encoder, Publish, React, Role, SetState};
use grandstand_protocol::limits::REACTION_COUNT_MAX;

use super::acts::Acts;
use super::{Publication, RequestError, RoomId};

/// Most reactions with different keys that wait to be sent: more than people see in one tick.
const REACTIONS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct PendingPublication {
    pub(super) nonce: u64,
    pub(super) room: RoomId,
    pub(super) queued_us: u64,
    /// Whether it was sent on this connection.
    pub(super) in_flight: bool,
    /// Time of the first attempt, on any connection, or before the application gave it to this session.
    first_us: Option<i64>,
    pub(super) text: Box<str>,
    pub(super) attachment: Box<str>,
    pub(super) author: Box<str>,
    pub(super) role: Role,
    pub(super) reply_to: Option<u64>,
}

#[derive(Debug)]
pub(super) struct PendingState {
    pub(super) request: u32,
    pub(super) room: RoomId,
    pub(super) in_flight: bool,
    /// Whether it was sent on any connection.
    pub(super) sent: bool,
    pub(super) key: Box<str>,
    pub(super) value: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(super) struct PendingReaction {
    pub(super) room: RoomId,
    pub(super) key: Box<str>,
    pub(super) count: u32,
}

impl PendingPublication {
    /// Whether it was sent on any connection, so that it may be in the log.
    pub(super) fn was_sent(&self) -> bool {
        self.first_us.is_some()
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    publications: VecDeque<PendingPublication>,
    states: VecDeque<PendingState>,
    pub(super) acts: Acts,
    reactions: Vec<PendingReaction>,
}

impl Outbox {
    /// Publications, state changes and acts without an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.publications.len() + self.states.len() + self.acts.len()
    }

    /// # Errors
    /// [`RequestError::Full`].
    pub(super) fn check_room_left(&self, unanswered_max: u32) -> Result<(), RequestError> {
        if self.unanswered() < unanswered_max as usize { Ok(()) } else { Err(RequestError::Full) }
    }

    /// Whether a publication with this nonce waits for its answer.
    pub(super) fn has_nonce(&self, nonce: u64) -> bool {
        self.publications.iter().any(|p| p.nonce == nonce)
    }

    /// Whether anything sent on this connection is waiting for its answer.
    pub(super) fn has_in_flight(&self) -> bool {
        self.publications.iter().any(|p| p.in_flight)
            || self.states.iter().any(|s| s.in_flight)
            || self.acts.has_in_flight()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unanswered() == 0 && self.reactions.is_empty()
    }

    pub(super) fn publish(&mut self, nonce: u64, room: RoomId, queued_us: u64, p: &Publication<'_>) {
        self.publications.push_back(PendingPublication {
            nonce,
            room,
            queued_us,
            in_flight: false,
            first_us: (p.age_ms > 0).then(|| queued_us as i64 - i64::from(p.age_ms) * 1000),
            text: p.text.into(),
            attachment: p.attachment.into(),
            author: p.author.into(),
            role: p.role,
            reply_to: p.reply_to,
        });
    }

    pub(super) fn set_state(&mut self, request: u32, room: RoomId, key: &str, value: Option<&[u8]>) {
        let (key, value) = (key.into(), value.map(Box::from));
        self.states.push_back(PendingState { request, room, in_flight: false, sent: false, key, value });
    }

    /// Adds to the count of a reaction that is not sent yet.
    ///
    /// # Errors
    /// [`RequestError::Full`] when too many different ones wait.
    pub(super) fn react(&mut self, room: RoomId, key: &str, count: u32) -> Result<(), RequestError> {
        let is_full = self.reactions.len() >= REACTIONS_MAX;
        match self.reactions.iter_mut().find(|r| r.room == room && *r.key == *key) {
            Some(waiting) => waiting.count = waiting.count.saturating_add(count),
            None if is_full => return Err(RequestError::Full),
            None => self.reactions.push(PendingReaction { room, key: key.into(), count }),
        }
        Ok(())
    }

    /// Writes the next frame for a room that has an alias by `alias`; `false` if there is none.
    pub(super) fn encode_next(
        &mut self,
        now_us: u64,
        alias: impl Fn(RoomId) -> Option<u32>,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.acts.encode_next(&alias, encoder, out) {
            // Order is kept first: what a moderator removes is not read meanwhile.
        } else if let Some((alias, age_ms, p)) = self.poll_publication(now_us, &alias) {
            let publish = Publish {
                alias,
                nonce: p.nonce,
                text: &p.text,
                reply_to: p.reply_to,
                attachment: &p.attachment,
                author: &p.author,
                role: p.role,
                age_ms,
            };
            encoder.client(&ClientFrame::Publish(publish), out);
        } else if let Some((alias, s)) = self.poll_state(&alias) {
            let set = SetState { request: s.request, alias, key: &s.key, value: s.value.as_deref() };
            encoder.client(&ClientFrame::SetState(set), out);
        } else if let Some((alias, r)) = self.poll_reaction(&alias) {
            let count = r.count.min(REACTION_COUNT_MAX);
            encoder.client(&ClientFrame::React(React { alias, key: &r.key, count }), out);
            if r.count > count {
                let left = r.count - count;
                self.reactions.push(PendingReaction { count: left, ..r });
            }
        } else {
            return false;
        }
        true
    }

    /// The first due publication in a room that has an alias by `alias`, with its age in milliseconds. It is
    /// then marked as sent.
    fn poll_publication(
        &mut self,
        now_us: u64,
        alias: impl Fn(RoomId) -> Option<u32>,
    ) -> Option<(u32, u32, &PendingPublication)> {
        let first = self.publications.iter().position(|p| !p.in_flight && alias(p.room).is_some())?;
        let p = &mut self.publications[first];
        p.in_flight = true;
        let age_ms = match p.first_us {
            Some(first_us) => ((now_us as i64 - first_us) / 1000).clamp(1, i64::from(u32::MAX)) as u32,
            None => 0,
        };
        p.first_us.get_or_insert(now_us as i64);
        Some((alias(p.room)?, age_ms, p))
    }

    /// As [`Outbox::poll_publication`], for state changes.
    fn poll_state(&mut self, alias: impl Fn(RoomId) -> Option<u32>) -> Option<(u32, &PendingState)> {
        let state = self.states.iter_mut().find(|s| !s.in_flight && alias(s.room).is_some())?;
        (state.in_flight, state.sent) = (true, true);
        Some((alias(state.room)?, state))
    }

    /// A reaction that is due; it is then removed.
    fn poll_reaction(&mut self, alias: impl Fn(RoomId) -> Option<u32>) -> Option<(u32, PendingReaction)> {
        let at = self.reactions.iter().position(|r| alias(r.room).is_some())?;
        let reaction = self.reactions.swap_remove(at);
        Some((alias(reaction.room)?, reaction))
    }

    /// The answer to a publication arrived.
    pub(super) fn take_publication(&mut self, nonce: u64) -> Option<PendingPublication> {
        let at = self.publications.iter().position(|p| p.nonce == nonce)?;
        let taken = self.publications.remove(at);
        if self.publications.is_empty() {
            self.publications = VecDeque::new(); // an idle session keeps no heap
        }
        taken
    }

    /// The answer to a state change arrived.
    pub(super) fn take_state(&mut self, request: u32) -> bool {
        let before = self.states.len();
        self.states.retain(|s| s.request != request);
        self.states.len() < before
    }

    /// Removes the reactions of a room that the session no longer follows.
    pub(super) fn forget_reactions(&mut self, room: RoomId) {
        self.reactions.retain(|r| r.room != room);
    }

    /// Removes the publications of which this is true, in their order.
    pub(super) fn take_publications(
        &mut self,
        which: impl FnMut(&PendingPublication) -> bool,
    ) -> Vec<PendingPublication> {
        let all = std::mem::take(&mut self.publications).into_iter();
        let (taken, kept): (Vec<_>, Vec<_>) = all.partition(which);
        self.publications = kept.into();
        taken
    }

    /// Removes the state changes of which this is true, in their order.
    pub(super) fn take_states(&mut self, which: impl FnMut(&PendingState) -> bool) -> Vec<PendingState> {
        let all = std::mem::take(&mut self.states).into_iter();
        let (taken, kept): (Vec<_>, Vec<_>) = all.partition(which);
        self.states = kept.into();
        taken
    }

    /// The connection has ended.
    pub(super) fn handle_disconnected(&mut self) {
        self.reactions = Vec::new();
        self.publications.iter_mut().for_each(|p| p.in_flight = false);
        self.states.iter_mut().for_each(|s| s.in_flight = false);
        self.acts.handle_disconnected();
    }
}
