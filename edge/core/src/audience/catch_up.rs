//! Members that read the past: a replay, or a resume, from the ring or by pages of history, until they reach
//! the head.
//!
//! Why apart from the walk: such a member is at a place of its own, so that nothing is gathered for several.
//! Only batches with chat are sent: tallies are never replayed, and the state comes as a snapshot.
//! Invariants: offsets reach such a member without holes, but for a gap that names them. A connection has one
//! page at a time, on its way or not yet taken; its rooms take turns, and none asks while it takes nothing.
//! Not here: where it begins (`subscribe`), pages that clients ask for (`history`).

use std::sync::Arc;

use grandstand_engine::link::{Batch, ConnectionToken, HistoryPage, Input, PageOf};
use grandstand_protocol::frame::{Gap, GapReason};

use super::connection::Connection;
use super::connections::Connections;
use super::frame_sink::FrameSink;
use super::history::continuous;
use super::pages::PageFor;
use super::reattach::Attachments;
use super::room::{Attached, CatchUp, Cursor, Known, RoomKey, STATE_NOT_GIVEN};
use super::rooms::Rooms;
use super::subscriptions::Subscriptions;
use super::write_run::WriteRun;

impl Subscriptions {
    /// Offer a catching member the next run of its past; `false` when its connection can take no more now.
    pub(super) fn flush_catch_up(
        &mut self,
        ix: u32,
        key: RoomKey,
        at: u32,
        sink: &mut impl FrameSink,
    ) -> bool {
        let (member, attached) = self.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return true };
        if catching.waits_for.is_some() {
            return true;
        }
        if catching.unanswered.is_some() {
            if !self.answer_from_ring(key, at) {
                self.ask_page(key, ix, at);
            }
            return true;
        }
        if catching.known != Known::Log {
            Attachments(self).flush_restart(ix, key, at);
            return true;
        }
        if catching.state_version == STATE_NOT_GIVEN {
            catching.state_version = attached.state_version();
            if let Some(snapshot) = attached.snapshot.clone() {
                self.connections.write_shared(ix, &snapshot.wire);
                return true;
            }
        }
        if member.offset == attached.next_offset {
            self.go_live(ix, key, at);
            return true;
        }
        let in_ring = || attached.ring.since_offset(member.offset).and_then(|mut batches| batches.next());
        let Some(first) = catching.page.front().or_else(in_ring) else {
            self.ask_page(key, ix, at);
            return true;
        };
        if first.first_offset != member.offset {
            // Another owner sealed it otherwise: it can't be given in part.
            Attachments(self).pass_over(ix, key, at);
            return true;
        }
        let batches_max = self.settings.batches_per_write_max;
        let Connections { slab, counters, .. } = &mut self.connections;
        let connection = &mut slab[ix as usize];
        let mut run = WriteRun::default();
        if catching.page.is_empty() {
            let in_ring = attached.ring.since_offset(member.offset).into_iter().flatten();
            run.gather(in_ring.take(batches_max), connection.takes_compressed);
        } else {
            run.gather(catching.page.iter().take(batches_max), connection.takes_compressed);
        }
        let sent = run.send(connection, sink, counters);
        if let Some(last) = run.last_of(sent) {
            member.offset = last.next_offset;
        }
        drop(run);
        if !catching.page.is_empty() {
            catching.page.drain(..sent);
        }
        if connection.blocked {
            return false;
        }
        self.connections.queue_flush(ix);
        true
    }

    /// The past is read: follow the room, with the state as it is now if it changed meanwhile.
    fn go_live(&mut self, ix: u32, key: RoomKey, at: u32) {
        let (member, attached) = self.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &member.cursor else { return };
        let is_state_old = catching.state_version != attached.state_version();
        member.cursor = Cursor::Live(attached.ring.next_seq());
        if let Some(snapshot) = attached.snapshot.clone().filter(|_| is_state_old) {
            self.connections.write_shared(ix, &snapshot.wire);
        }
    }

    /// Ask the shard for the page from a member's offset on, if it is this member's turn.
    pub(super) fn ask_page(&mut self, key: RoomKey, ix: u32, at: u32) {
        let Subscriptions { settings, shards, connections, rooms, pages, sweeps, .. } = self;
        if rooms[key].asks_at.is_some() || !takes_a_page(&connections[ix], rooms) {
            return;
        }
        let (token, session) = connections.requester(ix);
        let ticket = pages.insert(PageFor::Member { room: key, connection: token }, *sweeps);
        session.is_page_asked = true;
        // The others have their turn before it has another one.
        let memberships = &mut session.memberships;
        if let Some(asks) = memberships.iter().position(|m| m.room == key) {
            memberships[asks..].rotate_left(1);
        }
        let (member, attached) = rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return };
        catching.waits_for = Some(ticket);
        let (_, from) = attached.begins_at(member.offset, catching.known);
        let (alias, epoch) = (attached.alias, attached.epoch);
        let (worker, request, of) = (settings.worker, ticket, PageOf::Shown);
        shards.submit_surely(alias, Input::History { worker, request, alias, epoch, from, of });
    }

    /// A page came for a member that catches up.
    pub(super) fn handle_members_page(
        &mut self,
        key: RoomKey,
        token: ConnectionToken,
        ticket: u64,
        page: &HistoryPage,
    ) {
        let Some((ix, connection)) = self.connections.named_mut(token).filter(|(_, c)| !c.closing) else {
            return;
        };
        let Some(session) = connection.session.as_mut() else { return };
        // Whatever became of the member: another one of the connection has its turn.
        session.is_page_asked = false;
        let place = session.membership(key).and_then(|m| m.place);
        if let Some(place) = place.filter(|_| self.rooms.get(key).is_some()) {
            self.take_page(ix, key, place.member, ticket, page);
        }
        self.connections.queue_flush(ix);
    }

    fn take_page(&mut self, ix: u32, key: RoomKey, at: u32, ticket: u64, page: &HistoryPage) {
        let (member, attached) = self.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return };
        if catching.waits_for != Some(ticket) {
            // It was asked for by an earlier subscription, to this room or to one that had this key before.
            return;
        }
        catching.waits_for = None;
        let is_denied_first = !page.same_epoch && !catching.was_denied;
        catching.was_denied = !page.same_epoch;
        if is_denied_first {
            // The shard has another log: it tells of it first.
            return Attachments(self).ask_attach(key);
        }
        let (_, asked) = attached.begins_at(member.offset, catching.known);
        let batches = if page.same_epoch { continuous(&page.batches, asked) } else { &[] };
        let first = batches.first();
        let is_ahead = catching.unanswered.is_some() && asked > attached.next_offset;
        if is_ahead && first.is_none() && page.retry_after_ms.is_some() {
            // Nobody knows yet whether the log goes so far: the owner was not reached, or the disk not read.
            return;
        }
        let time_ms = first.map_or(attached.time_ms, |batch| batch.base_time_ms);
        if let Some(join) = catching.unanswered.take() {
            let offset = self.answer_resume(key, &join, asked, first.map(|batch| &**batch));
            // The answer may have been one too many for its control queue: then it has left.
            if self.connections[ix].closing {
                return;
            }
            self.rooms.member(key, at).0.offset = offset;
        } else if catching.known != Known::Log {
            Attachments(self).tell_restart(ix, key, at, time_ms);
            if self.connections[ix].closing {
                return;
            }
        }
        let gap = self.close_hole(key, at, batches);
        if let Cursor::CatchUp(catching) = &mut self.rooms.member(key, at).0.cursor {
            catching.page = batches.iter().cloned().collect();
        }
        if let Some(gap) = gap {
            self.send_gap(ix, &gap, None);
        }
    }

    /// What lies between a member's offset and the first batch that there is, is gone: go on behind it, and
    /// name it.
    fn close_hole(&mut self, key: RoomKey, at: u32, batches: &[Arc<Batch>]) -> Option<Gap> {
        let (member, attached) = self.rooms.member(key, at);
        let from = member.offset;
        let in_ring = attached.ring.since_offset(attached.ring.first_offset().unwrap_or(u64::MAX));
        let first = batches.first().or_else(|| in_ring.and_then(|mut b| b.next()));
        let (to, time_ms) = match first {
            Some(batch) => (batch.first_offset, batch.base_time_ms),
            None => (attached.next_offset, attached.time_ms),
        };
        if to <= from {
            return None;
        }
        member.offset = to;
        let (alias, epoch, reason) = (attached.alias.0, attached.epoch, GapReason::Expired);
        Some(Gap { alias, epoch, from, to, count: to - from, reason, time_ms })
    }
}

/// Is a page all that this member, at this offset, can go on with?
pub(super) fn needs_page(offset: u64, catching: &CatchUp, attached: &Attached) -> bool {
    let may_read = catching.known != Known::Log || catching.state_version != STATE_NOT_GIVEN;
    let is_in_ring = || attached.has_from(attached.begins_at(offset, catching.known).1);
    catching.unanswered.is_some() || (may_read && catching.page.is_empty() && !is_in_ring())
}

/// May a page be asked for, for some member of this connection? One at a time is on its way or waits to be
/// taken, in whatever room: what a connection holds is bounded by what it takes, however much it asks for.
pub(super) fn takes_a_page(connection: &Connection, rooms: &Rooms) -> bool {
    let Some(session) = connection.session.as_ref() else { return false };
    let places = session.memberships.iter().filter_map(|m| Some((m.room, m.place?)));
    !connection.blocked
        && !session.is_page_asked
        && places.into_iter().all(|(room, place)| !rooms[room].holds_page(place.member))
}
