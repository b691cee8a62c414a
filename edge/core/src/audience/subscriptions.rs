//! Subscriptions of one worker: which connection follows which rooms, and how both part.
//!
//! Why a type: a peer that lets its control queue fill is closed, a closed connection leaves its rooms, and a
//! room that nobody follows is detached from its shard. So whatever sends a control frame may change
//! connections, rooms and the link to the shards together, and nothing else of an audience.
//! Invariants: a member's session knows its place, and a place its member; a room without members and joiners
//! is not followed.
//! Other files add methods by task: `subscribe` (joining), `catch_up` (the past), `fanout` (writes),
//! `history` (pages that clients ask for), `reattach` (a room's shard tells of it, and tells again).
//! Not here: sessions and tokens (`hello`), outputs of shards (`outputs`), time (`timeouts`, `drain`).

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use grandstand_engine::link::{Backbone, ConnectionToken, Input};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Kind, Refused, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use super::Settings;
use super::connection::slot;
use super::connections::Connections;
use super::pages::Pages;
use super::room::{Cursor, RoomKey};
use super::rooms::Rooms;
use super::scrub::scrub_room;
use super::session::Membership;
use super::shards::ShardLink;
use crate::key::Key;
use crate::people::People;

/// See the file's head.
pub(super) struct Subscriptions {
    pub(super) settings: Settings,
    pub(super) shards: ShardLink,
    pub(super) connections: Connections,
    pub(super) rooms: Rooms,
    pub(super) pages: Pages,
    /// What all workers know of people.
    pub(super) people: Arc<People>,
    /// Members whose session counts by another connection.
    pub(super) uncounted: HashSet<(ConnectionToken, RoomKey), RandomState>,
    /// Seconds since the start, as the sweep over connections counts them.
    pub(super) sweeps: u32,
}

impl Subscriptions {
    pub(super) fn new(
        settings: Settings,
        backbone: Arc<dyn Backbone>,
        people: Arc<People>,
        key: Key,
    ) -> Self {
        Subscriptions {
            shards: ShardLink::new(backbone),
            connections: Connections::with_capacity(settings.connections_reserved),
            rooms: Rooms::new(key),
            pages: Pages::default(),
            people,
            uncounted: HashSet::default(),
            sweeps: 0,
            settings,
        }
    }

    /// Decide a connection's end, and tell the peer why.
    pub(super) fn close(&mut self, ix: u32, code: CloseCode, detail: &str) {
        let detail = if detail.is_empty() { code.text() } else { detail };
        if self.end(ix, code, detail) {
            self.connections.write_error(ix, code, 0, detail);
        }
    }

    /// Decide a connection's end: read no more, leave its rooms. `false` if it had been decided.
    pub(super) fn end(&mut self, ix: u32, code: CloseCode, detail: &str) -> bool {
        let is_decided_now = self.connections.end(ix, code, detail);
        if is_decided_now {
            self.end_session(ix);
        }
        is_decided_now
    }

    /// Take the session off a connection, and its members out of their rooms.
    pub(super) fn end_session(&mut self, ix: u32) {
        let Some(session) = self.connections.take_session(ix) else { return };
        self.people.leave(&session.person);
        if !session.is_anonymous {
            self.people.end_session(session.user, session.number);
        }
        for membership in &session.memberships {
            self.leave(ix, session.number, *membership);
        }
    }

    pub(super) fn refuse(
        &mut self,
        ix: u32,
        kind: Kind,
        id: u64,
        reason: Refusal,
        retry_after_ms: Option<u32>,
    ) {
        self.connections.counters.refused(reason);
        let refused = Refused { kind: kind as u8, id, reason, retry_after_ms, detail: reason.text() };
        self.send_control(ix, &ServerFrame::Refused(refused));
    }

    /// Queue a control frame; a peer that lets its control queue fill is closed.
    pub(super) fn send_control(&mut self, ix: u32, frame: &ServerFrame<'_>) {
        if self.connections.get(ix).is_none_or(|c| c.closing) {
            return;
        }
        self.connections.write_control(ix, frame);
        self.close_if_full(ix);
    }

    pub(super) fn close_if_full(&mut self, ix: u32) {
        let connection = &self.connections[ix];
        if connection.blocked && connection.control_bytes() > self.settings.control_queue_bytes_max {
            self.close(ix, CloseCode::ControlQueueFull, "");
        }
    }

    /// Take a session's member out of its room.
    pub(super) fn leave(&mut self, ix: u32, session: u64, membership: Membership) {
        let Some(room) = self.rooms.get_mut(membership.room) else { return };
        let Some(place) = membership.place else {
            room.joining.retain(|join| slot(join.connection) != ix);
            return self.forget_if_empty(membership.room);
        };
        self.forget_staff(membership.room, ix);
        // It hears no more of what is removed from the room.
        scrub_room(&mut self.connections, ix, place.alias.0);
        let Some(room) = self.rooms.get_mut(membership.room) else { return };
        self.connections.counters.members -= 1;
        self.people.unwatch(session, place.alias.0, place.is_counted);
        room.viewers -= u32::from(place.is_counted);
        let takes_compressed = self.connections.get(ix).is_some_and(|c| c.takes_compressed);
        room.members_compressed -= u32::from(takes_compressed);
        if let Some(moved) = room.remove_member(place.member) {
            let session = self.connections.session_mut(moved);
            let moved = session.and_then(|s| s.membership_mut(membership.room));
            if let Some(moved) = moved.and_then(|m| m.place.as_mut()) {
                moved.member = place.member;
            }
        }
        self.rooms.mark_recount(membership.room);
        self.forget_if_empty(membership.room);
    }

    /// The room's members lose it: it is gone, or has another alias. Those whose subscription has not been
    /// answered are refused. A room that is not attached has no members.
    pub(super) fn send_members_away(&mut self, key: RoomKey, reason: Refusal) {
        let room = &mut self.rooms[key];
        let Some(alias) = room.attached.as_ref().map(|a| a.alias.0) else { return };
        room.walk = 0;
        (room.members_compressed, room.viewers) = (0, 0);
        room.staff.clear();
        for member in std::mem::take(&mut room.members) {
            self.connections.counters.members -= 1;
            scrub_room(&mut self.connections, member.connection, alias);
            if let Some(session) = self.connections.session_mut(member.connection) {
                if let Some(place) = session.membership(key).and_then(|m| m.place) {
                    self.people.unwatch(session.number, place.alias.0, place.is_counted);
                }
                session.memberships.retain(|m| m.room != key);
            }
            let unanswered =
                if let Cursor::CatchUp(catching) = member.cursor { catching.unanswered } else { None };
            match unanswered {
                Some(join) => {
                    self.refuse(member.connection, Kind::Subscribe, join.request.into(), reason, None);
                }
                None => {
                    self.send_control(
                        member.connection,
                        &ServerFrame::Unsubscribed { request: 0, alias, reason },
                    );
                }
            }
        }
    }

    /// A room without members or joiners is not followed any longer.
    pub(super) fn forget_if_empty(&mut self, key: RoomKey) {
        let room = &self.rooms[key];
        if !room.members.is_empty() || !room.joining.is_empty() {
            return;
        }
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        self.flush_tallies(key);
        self.rooms.remove(key);
        self.shards.submit_surely(alias, Input::Detach { worker: self.settings.worker, alias });
    }

    /// Hand a room's reactions to its shard.
    pub(super) fn flush_tallies(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(alias) = room.attached.as_ref().map(|a| a.alias).filter(|_| !room.reactions.is_empty())
        else {
            return;
        };
        let tallies = room.reactions.take();
        self.shards.submit_surely(alias, Input::React { alias, tallies });
    }

    /// Members whose session counted by another connection: count them where that one has left.
    pub(super) fn claim_uncounted(&mut self) {
        let mut uncounted = std::mem::take(&mut self.uncounted);
        uncounted.retain(|&(token, key)| !self.is_counted_now(token, key));
        self.uncounted = uncounted;
    }

    /// Does a member count, or is it gone?
    fn is_counted_now(&mut self, token: ConnectionToken, key: RoomKey) -> bool {
        let Some((_, connection)) = self.connections.named_mut(token) else { return true };
        let Some(session) = connection.session.as_mut() else { return true };
        let number = session.number;
        let Some(place) = session.membership_mut(key).and_then(|m| m.place.as_mut()) else { return true };
        if place.is_elsewhere {
            return true;
        }
        if !place.is_counted && self.people.claim(number, place.alias.0) {
            place.is_counted = true;
            self.rooms[key].viewers += 1;
            self.rooms.mark_recount(key);
        }
        place.is_counted
    }

    /// Tell a shard how many viewers its room has here.
    pub(super) fn flush_recount(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if !std::mem::take(&mut room.is_recount_due) {
            return;
        }
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        let (worker, count) = (self.settings.worker, room.viewers);
        self.shards.submit_surely(alias, Input::Viewers { worker, alias, count });
    }
}
