//! Attachments: what a shard tells of a room becomes the room's ring, and members go on in it.
//!
//! Why apart from subscribing: an attachment comes again whenever the shard has another owner, or when what
//! it sent was lost on the way. The new owner may number batches anew, and may have another log. So members
//! go on by offset, never by number.
//! Invariants: a member that had read up to an offset goes on there, if the log holds what it read. Else it
//! is told up to where the log does. Nobody loses a subscription but by another alias or a final refusal.
//! What was asked of the owner before is asked again.
//! Not here: members that catch up (`catch_up`), where a subscriber begins (`subscribe`).

use grandstand_engine::link::{Attachment, ConnectionToken, Input, Opener, PageOf};
use grandstand_protocol::frame::{Gap, GapReason, Kind, ServerFrame, permission};
use grandstand_protocol::refusal::Refusal;

use super::pages::{Asked, OVERLOADED_RETRY_MS, PageFor};
use super::room::{Attached, CatchUp, Cursor, Known, RoomKey, STATE_NOT_GIVEN};
use super::scrub::scrub_room;
use super::subscriptions::Subscriptions;

/// Sweeps, so seconds, after which what a shard was asked for is asked again. The shard's next owner says so
/// at once: this is for answers that nobody knows to be lost. A disk may take as long.
const LATE_SWEEPS: u32 = 15;

/// Subscriptions while something of a room is told by its shard, or asked of it.
pub(super) struct Attachments<'a>(pub(super) &'a mut Subscriptions);

impl Attachments<'_> {
    /// The shard tells of a room, or refuses it.
    pub(super) fn handle_attached(&mut self, name: &str, result: Result<Box<Attachment>, Refusal>) {
        let Some(key) = self.0.rooms.named(name) else {
            // Everybody has left meanwhile.
            return result.into_iter().for_each(|attachment| self.decline(&attachment));
        };
        match result {
            Ok(attachment) => self.attach(key, *attachment),
            // The members stay where they are, until the shard can tell more.
            Err(reason) if reason.may_retry() && self.0.rooms[key].attached.is_some() => {
                self.0.rooms[key].asks_at = Some(self.0.sweeps.wrapping_add(1));
            }
            Err(reason) => self.lose_room(key, reason),
        }
    }

    /// Nobody here follows the room that a shard tells of.
    fn decline(&mut self, attachment: &Attachment) {
        let (worker, alias) = (self.0.settings.worker, attachment.alias);
        if self.0.rooms.with_alias(alias).is_none() {
            self.0.shards.submit_surely(alias, Input::Detach { worker, alias });
        }
    }

    fn attach(&mut self, key: RoomKey, attachment: Attachment) {
        let (batches_max, bytes_max) = (self.0.settings.ring_batches_max, self.0.settings.ring_bytes_max);
        // The room that had this alias is gone, and the notice of it was lost.
        if let Some(other) = self.0.rooms.with_alias(attachment.alias).filter(|other| *other != key) {
            self.lose_room(other, Refusal::UnknownRoom);
            if self.0.rooms.get(key).is_none() {
                return self.decline(&attachment);
            }
        }
        // A subscription has one alias for its whole life.
        if self.0.rooms[key].attached.as_ref().is_some_and(|before| before.alias != attachment.alias) {
            self.0.send_members_away(key, Refusal::Other);
        }
        let before = self.0.rooms.attach(key, Attached::new(attachment, batches_max, bytes_max));
        let phase_before = before.as_ref().map(|before| (before.phase, before.until_ms));
        if let Some(before) = before {
            self.map_members(key, before);
        }
        // A shard that has another owner knows none of them.
        if !self.0.rooms[key].staff.is_empty() {
            self.0.tell_staff(key);
        }
        self.0.rooms.mark_recount(key);
        self.0.rooms.mark_dirty(key);
        // From here on a connection may be closed over what it is sent, and take the room with it.
        let lost = self.0.pages.take_of(key);
        self.ask_pages_again(lost);
        if let Some(attached) = self.0.rooms.get(key).and_then(|room| room.attached.as_ref())
            && phase_before.is_some_and(|before| before != (attached.phase, attached.until_ms))
        {
            self.0.tell_phase(key);
        }
        // Taken from the end, in the order in which they came.
        if let Some(room) = self.0.rooms.get_mut(key) {
            room.joining.reverse();
        }
        while let Some(join) = self.0.rooms.get_mut(key).and_then(|room| room.joining.pop()) {
            self.0.join(key, join);
        }
        if self.0.rooms.get(key).is_some() {
            self.0.forget_if_empty(key);
        }
    }

    /// Members go on in what was told now, by offset.
    fn map_members(&mut self, key: RoomKey, before: Attached) {
        let Subscriptions { connections, rooms, .. } = &mut *self.0;
        let room = &mut rooms[key];
        let Some(attached) = room.attached.as_mut() else { return };
        if before.is_at(attached) {
            // Nothing was lost. What is here may reach further back.
            attached.ring = before.ring;
            return;
        }
        // Acts may be among what was lost: what was read before is read again.
        let alias = attached.alias.0;
        let is_same_log = before.epoch == attached.epoch;
        let held = attached.holds(before.epoch);
        let (state_version, state_before) = (attached.state_version(), before.state_version());
        for member in &mut room.members {
            let holds_all = is_same_log && member.offset <= attached.next_offset;
            let known =
                |known: Known| if holds_all && known == Known::Log { known } else { known.then(held) };
            match &mut member.cursor {
                Cursor::Live(seq) => {
                    let known = known(Known::Log);
                    let is_at_head = *seq == before.ring.next_seq();
                    let has_state = known == Known::Log
                        && state_version == state_before
                        && (is_at_head || attached.snapshot.is_none());
                    let state_given = if has_state { state_version } else { STATE_NOT_GIVEN };
                    member.cursor = match attached.seq_at(member.offset).filter(|_| has_state) {
                        Some(seq) => Cursor::Live(seq),
                        None => Cursor::CatchUp(CatchUp::new(known, state_given, None)),
                    };
                }
                // Where it begins is looked for again.
                Cursor::CatchUp(catching) if catching.unanswered.is_some() => {}
                Cursor::CatchUp(catching) => {
                    catching.was_denied &= is_same_log;
                    catching.page.clear();
                    catching.known = known(catching.known);
                    if catching.known != Known::Log {
                        catching.state_version = STATE_NOT_GIVEN;
                    }
                }
            }
            if matches!(member.cursor, Cursor::CatchUp(_)) {
                connections.queue_flush(member.connection);
            }
        }
        room.walk = 0;
        for member in &room.members {
            scrub_room(connections, member.connection, alias);
        }
    }

    /// Tell a member's client of the log that its room has now, and where it goes on in it.
    pub(super) fn tell_restart(&mut self, ix: u32, key: RoomKey, at: u32, time_ms: u64) {
        let (member, attached) = self.0.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return };
        let (from, to) = attached.begins_at(member.offset, catching.known);
        // Of a log that continues others it is not known what its client has read.
        let is_other = attached.previous.epochs().is_empty();
        let count = if is_other { to - from } else { 0 };
        (catching.known, catching.state_version) = (Known::Log, STATE_NOT_GIVEN);
        member.offset = to;
        let (alias, epoch, reason) = (attached.alias.0, attached.epoch, GapReason::Restarted);
        self.0.write_gap(ix, &Gap { alias, epoch, from, to, count, reason, time_ms });
    }

    /// Tell a member of the log that its room has now, or ask for the page that shows where it goes on.
    pub(super) fn flush_restart(&mut self, ix: u32, key: RoomKey, at: u32) {
        let (member, attached) = self.0.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &member.cursor else { return };
        let (_, to) = attached.begins_at(member.offset, catching.known);
        let first = attached.ring.since_offset(to).and_then(|mut batches| batches.next());
        let time_ms = match first {
            _ if to == attached.next_offset => attached.time_ms,
            Some(batch) => batch.base_time_ms,
            None => return self.0.ask_page(key, ix, at),
        };
        self.tell_restart(ix, key, at, time_ms);
    }

    /// Go on behind the batch that a member is in the middle of, and name the rest of it.
    pub(super) fn pass_over(&mut self, ix: u32, key: RoomKey, at: u32) {
        let (member, attached) = self.0.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return };
        let in_ring = || attached.ring.since_offset(member.offset).and_then(|mut batches| batches.next());
        let Some(batch) = catching.page.pop_front().or_else(|| in_ring().cloned()) else { return };
        let (from, to) = (member.offset, batch.next_offset.max(member.offset));
        member.offset = to;
        let (alias, epoch, reason) = (attached.alias.0, attached.epoch, GapReason::Expired);
        let gap = Gap { alias, epoch, from, to, count: to - from, reason, time_ms: batch.time_ms };
        self.0.send_gap(ix, &gap, None);
        self.0.connections.queue_flush(ix);
    }

    /// A room is gone: its members lose it, and those who wait for it are refused.
    pub(super) fn lose_room(&mut self, key: RoomKey, reason: Refusal) {
        self.0.send_members_away(key, reason);
        let joining = self.0.rooms.remove(key).joining;
        for join in joining {
            let Some((ix, connection)) = self.0.connections.named_mut(join.connection) else { continue };
            if let Some(session) = connection.session.as_mut() {
                session.memberships.retain(|m| m.room != key);
                self.0.refuse(ix, Kind::Subscribe, join.request.into(), reason, None);
            }
        }
        let lost = self.0.pages.take_of(key);
        self.ask_pages_again(lost);
    }

    /// Something of a room was lost on the way: ask its shard how the room is now, unless that is awaited.
    pub(super) fn ask_attach(&mut self, key: RoomKey) {
        if self.0.rooms.get(key).is_some_and(|room| room.asks_at.is_none()) {
            self.submit_attach(key);
        }
    }

    fn submit_attach(&mut self, key: RoomKey) {
        let Some(room) = self.0.rooms.get_mut(key) else { return };
        room.asks_at = Some(self.0.sweeps.wrapping_add(LATE_SWEEPS));
        let (name, opens) = (room.name.clone(), room.joining.first().map(|join| join.connection));
        let opener = opens.map_or(Opener::UNKNOWN, |connection| self.opener_of(connection));
        let attach = Input::Attach { worker: self.0.settings.worker, room: name.clone(), opener };
        self.0.shards.submit_surely_to(self.0.shards.shard_of(&name), attach);
    }

    fn opener_of(&self, connection: ConnectionToken) -> Opener {
        let session = self.0.connections.named(connection).and_then(|(_, c)| c.session.as_deref());
        session.map_or(Opener::UNKNOWN, |session| session.person.opener(session.may(permission::BRIDGE)))
    }

    /// A room was inserted whose shard is asked now.
    pub(super) fn note_asked(&mut self, key: RoomKey) {
        self.0.rooms[key].asks_at = Some(self.0.sweeps.wrapping_add(LATE_SWEEPS));
    }

    /// A second has passed: what should have come by now is asked for again.
    pub(super) fn handle_sweep(&mut self) {
        self.0.sweeps = self.0.sweeps.wrapping_add(1);
        let now = self.0.sweeps;
        // Shards take nothing now: what waits for them has not been lost.
        if self.0.shards.deferred() > 0 {
            return;
        }
        let late = self.0.pages.take_late(now, LATE_SWEEPS);
        self.ask_pages_again(late);
        let is_due = |asks_at: u32| now.wrapping_sub(asks_at) < u32::MAX / 2;
        let rooms = self.0.rooms.slab.iter().filter(|(_, room)| room.asks_at.is_some_and(is_due));
        let due: Vec<RoomKey> = rooms.map(|(key, _)| RoomKey(key as u32)).collect();
        due.into_iter().for_each(|key| self.submit_attach(key));
    }

    /// Pages that will not come.
    fn ask_pages_again(&mut self, lost: Vec<(u64, PageFor)>) {
        for (ticket, page_for) in lost {
            match page_for {
                PageFor::Member { room, connection } => self.lose_page(room, connection, ticket),
                PageFor::Client(asked) => self.ask_history_again(asked),
            }
        }
    }

    /// Ask a room's shard for a client's page; `false` if it takes nothing now.
    pub(super) fn ask_history(&mut self, asked: Asked) -> bool {
        let Some(attached) = self.0.rooms.get(asked.room).and_then(|room| room.attached.as_ref()) else {
            return false;
        };
        let ticket = self.0.pages.insert(PageFor::Client(asked), self.0.sweeps);
        let (worker, alias, of) =
            (self.0.settings.worker, attached.alias, PageOf::Full { messages_max: asked.messages_max });
        let (epoch, from) = (asked.epoch, asked.from);
        let input = Input::History { worker, request: ticket, alias, epoch, from, of };
        let is_taken = self.0.shards.submit(alias, input).is_ok();
        if !is_taken {
            self.0.pages.remove(ticket);
        }
        is_taken
    }

    /// A client's page was lost: ask for it again, in the log that the room has now.
    fn ask_history_again(&mut self, asked: Asked) {
        let named = self.0.connections.named_mut(asked.connection);
        let Some((ix, connection)) = named.filter(|(_, c)| !c.closing) else { return };
        let Some(session) = connection.session.as_mut() else { return };
        let is_member = session.membership(asked.room).is_some();
        let attached = self.0.rooms.get(asked.room).and_then(|room| room.attached.as_ref());
        let refusal = match attached.filter(|_| is_member) {
            None => (Refusal::NotSubscribed, None),
            Some(attached) if !attached.answers_for(asked.epoch, asked.from) => (Refusal::UnknownEpoch, None),
            Some(attached) => {
                let epoch = attached.epoch;
                if self.ask_history(Asked { epoch, ..asked }) {
                    return;
                }
                (Refusal::Overloaded, Some(OVERLOADED_RETRY_MS))
            }
        };
        if let Some(session) = self.0.connections.session_mut(ix) {
            session.pages_asked -= 1;
        }
        self.0.refuse_history(ix, asked.request, refusal.0, refusal.1);
    }

    /// A member's page will not come: another one of its connection may have its turn.
    fn lose_page(&mut self, key: RoomKey, token: ConnectionToken, ticket: u64) {
        let Some((ix, connection)) = self.0.connections.named_mut(token).filter(|(_, c)| !c.closing) else {
            return;
        };
        let Some(session) = connection.session.as_mut() else { return };
        session.is_page_asked = false;
        let place = session.membership(key).and_then(|m| m.place);
        if let Some(room) = self.0.rooms.get_mut(key)
            && let Some(member) = place.and_then(|place| room.members.get_mut(place.member as usize))
            && let Cursor::CatchUp(catching) = &mut member.cursor
            && catching.waits_for == Some(ticket)
        {
            catching.waits_for = None;
        }
        self.0.connections.queue_flush(ix);
    }
}

impl Subscriptions {
    /// Tell the members of a room of its phase.
    pub(super) fn tell_phase(&mut self, key: RoomKey) {
        let room = &self.rooms[key];
        let Some(event) = room.attached.as_ref().map(Attached::event) else { return };
        // Who waits for its subscription's answer learns the phase with it.
        let answered = (0..).zip(&room.members).filter(|(at, _)| !room.is_unanswered(*at));
        let members: Vec<u32> = answered.map(|(_, m)| m.connection).collect();
        for ix in members {
            self.send_control(ix, &ServerFrame::RoomEvent(event));
        }
    }
}
