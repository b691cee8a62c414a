//! Subscriptions of one worker: which connection follows which rooms, and how both part.
//!
//! Why a type: a peer that lets its control queue fill is closed, a closed connection leaves its rooms, and a
//! room that nobody follows is detached from its shard. So whatever sends a control frame may change
//! connections, rooms and the link to the shards together, and nothing else of an audience.
//! Invariants: a member's session knows its place, and a place its member; a room without members and joiners
//! is not followed.
//! Other files add methods by task: `subscribe` (joining), `catch_up` (the past), `fanout` (writes),
//! `history` (pages that clients ask for).
//! Not here: sessions and tokens (`hello`), outputs of shards (`outputs`), time (`timeouts`, `drain`).

use std::sync::Arc;

use grandstand_engine::link::{Backbone, Input};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Kind, Refused, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use super::Settings;
use super::connection::slot;
use super::connections::Connections;
use super::pages::Pages;
use super::room::{Cursor, RoomKey};
use super::rooms::Rooms;
use super::session::Membership;
use super::shards::ShardLink;
use crate::key::Key;

/// See the file's head.
pub(super) struct Subscriptions {
    pub(super) settings: Settings,
    pub(super) shards: ShardLink,
    pub(super) connections: Connections,
    pub(super) rooms: Rooms,
    pub(super) pages: Pages,
}

impl Subscriptions {
    pub(super) fn new(settings: Settings, backbone: Arc<dyn Backbone>, key: Key) -> Self {
        Subscriptions {
            shards: ShardLink::new(backbone),
            connections: Connections::with_capacity(settings.connections_reserved),
            rooms: Rooms::new(key),
            pages: Pages::default(),
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
        for membership in &session.memberships {
            self.leave(ix, *membership);
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

    /// Take a member out of its room.
    pub(super) fn leave(&mut self, ix: u32, membership: Membership) {
        let Some(room) = self.rooms.get_mut(membership.room) else { return };
        let Some(place) = membership.place else {
            room.joining.retain(|join| slot(join.connection) != ix);
            return self.forget_if_empty(membership.room);
        };
        self.connections.counters.members -= 1;
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

    /// The room's members lose it: it is gone, or its log is another one. Those whose subscription has not
    /// been answered are refused. A room that is not attached has no members.
    pub(super) fn send_members_away(&mut self, key: RoomKey, reason: Refusal) {
        let room = &mut self.rooms[key];
        let Some(alias) = room.attached.as_ref().map(|a| a.alias.0) else { return };
        room.walk = 0;
        room.members_compressed = 0;
        for member in std::mem::take(&mut room.members) {
            self.connections.counters.members -= 1;
            if let Some(session) = self.connections.session_mut(member.connection) {
                session.memberships.retain(|m| m.room != key);
            }
            let unanswered =
                if let Cursor::CatchUp(catching) = member.cursor { catching.unanswered } else { None };
            match unanswered {
                Some(join) => {
                    self.refuse(member.connection, Kind::Subscribe, join.request.into(), reason, None);
                }
                None => {
                    self.send_control(member.connection, &ServerFrame::Unsubscribed { request: 0, alias });
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
        let Some(alias) = room.attached.as_ref().map(|a| a.alias).filter(|_| !room.tallies.is_empty()) else {
            return;
        };
        let tallies = std::mem::take(&mut room.tallies);
        self.shards.submit_surely(alias, Input::React { alias, tallies });
    }

    /// Tell a shard how many members its room has here.
    pub(super) fn flush_recount(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if !std::mem::take(&mut room.is_recount_due) {
            return;
        }
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        let (worker, count) = (self.settings.worker, room.members.len() as u32);
        self.shards.submit_surely(alias, Input::Viewers { worker, alias, count });
    }
}
