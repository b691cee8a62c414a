//! Members that read the past: a replay, or a resume, from the ring or by pages of history, until they reach
//! the head.
//!
//! Only batches with chat are sent: tallies are never replayed, and the state comes as a snapshot.
//! Invariant: offsets reach such a member without holes, but for a gap that names them.

use std::sync::Arc;

use grandstand_engine::link::{Batch, ConnectionToken, HistoryPage, Input, PageOf};
use grandstand_protocol::frame::{Gap, GapReason};

use super::Audience;
use super::connection::slot;
use super::history::PageFor;
use super::room::{Cursor, RoomKey};
use super::transport::Transport;
use super::write_run::WriteRun;

impl Audience {
    /// Offer a catching member the next run of its past; `false` when its connection can take no more now.
    pub(super) fn flush_catch_up(
        &mut self,
        ix: u32,
        key: RoomKey,
        at: u32,
        transport: &mut impl Transport,
    ) -> bool {
        let room = &mut self.rooms[key.0 as usize];
        let attached = room.attached.as_ref().expect("members have an attached room");
        let member = &mut room.members[at as usize];
        let Cursor::CatchUp(catching) = &mut member.cursor else { return true };
        if catching.waits_for.is_some() || catching.unanswered.is_some() {
            return true;
        }
        if member.offset == attached.next_offset {
            self.go_live(ix, key, at);
            return true;
        }
        if catching.page.is_empty() && attached.ring.since_offset(member.offset).is_none() {
            self.ask_page(key, ix);
            return true;
        }
        let batches_max = self.settings.batches_per_write_max;
        let connection = &mut self.connections[ix as usize];
        let mut run = WriteRun::default();
        if catching.page.is_empty() {
            let in_ring = attached.ring.since_offset(member.offset).into_iter().flatten();
            run.gather(in_ring.take(batches_max), connection.takes_compressed);
        } else {
            run.gather(catching.page.iter().take(batches_max), connection.takes_compressed);
        }
        let sent = run.send(connection, transport, &mut self.counters);
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
        self.queue_flush(ix);
        true
    }

    /// The past is read: follow the room, with the state as it is now if it changed meanwhile.
    fn go_live(&mut self, ix: u32, key: RoomKey, at: u32) {
        let room = &mut self.rooms[key.0 as usize];
        let attached = room.attached.as_ref().expect("members have an attached room");
        let member = &mut room.members[at as usize];
        let Cursor::CatchUp(catching) = &member.cursor else { return };
        let is_state_old = catching.state_version != attached.state_version();
        member.cursor = Cursor::Live(attached.ring.next_seq());
        if let Some(snapshot) = attached.snapshot.clone().filter(|_| is_state_old) {
            self.push_shared(ix, &snapshot.wire);
        }
    }

    /// Ask the shard for the page from a member's offset on.
    pub(super) fn ask_page(&mut self, key: RoomKey, ix: u32) {
        let room = &mut self.rooms[key.0 as usize];
        let attached = room.attached.as_ref().expect("members have an attached room");
        let (alias, epoch) = (attached.alias, attached.epoch);
        let connection = &self.connections[ix as usize];
        let Some(at) = connection.session.as_ref().and_then(|s| s.membership(key)).map(|m| m.member) else {
            return;
        };
        let member = &mut room.members[at as usize];
        let from = member.offset;
        let Cursor::CatchUp(catching) = &mut member.cursor else { return };
        let ticket =
            self.pages.insert(PageFor::Member { room: key, connection: connection.token(ix) }) as u64;
        catching.waits_for = Some(ticket);
        self.shards.submit_surely(
            alias,
            Input::History {
                worker: self.settings.worker,
                request: ticket,
                alias,
                epoch,
                from,
                of: PageOf::Shown,
            },
        );
    }

    /// A page came for a member that catches up.
    pub(super) fn handle_members_page(
        &mut self,
        key: RoomKey,
        token: ConnectionToken,
        ticket: u64,
        page: HistoryPage,
    ) {
        let ix = slot(token);
        let Some(connection) = self.connections.get(ix as usize).filter(|c| c.is(token) && !c.closing) else {
            return;
        };
        let Some(membership) = connection.session.as_ref().and_then(|s| s.membership(key)).copied() else {
            return;
        };
        if membership.member == u32::MAX || !self.rooms.contains(key.0 as usize) {
            return;
        }
        self.take_page(ix, key, membership.member, ticket, page);
        self.queue_flush(ix);
    }

    fn take_page(&mut self, ix: u32, key: RoomKey, at: u32, ticket: u64, page: HistoryPage) {
        let Cursor::CatchUp(catching) = &mut self.rooms[key.0 as usize].members[at as usize].cursor else {
            return;
        };
        if catching.waits_for != Some(ticket) {
            // It was asked for by an earlier subscription, to this room or to one that had this key before.
            return;
        }
        catching.waits_for = None;
        let unanswered = catching.unanswered.take();
        let batches = if page.same_epoch { page.batches } else { Vec::new() };
        if let Some(join) = unanswered {
            let offset = self.answer_resume(key, &join, batches.first().map(|b| &**b));
            // The answer may have been one too many for its control queue: then it has left.
            if self.connections[ix as usize].closing {
                return;
            }
            self.rooms[key.0 as usize].members[at as usize].offset = offset;
        }
        let gap = self.close_hole(key, at, &batches);
        if let Cursor::CatchUp(catching) = &mut self.rooms[key.0 as usize].members[at as usize].cursor {
            catching.page = batches.into();
        }
        if let Some(gap) = gap {
            self.send_gap(ix, &gap, None);
        }
    }

    /// What lies between a member's offset and the first batch that there is, is gone: go on behind it, and
    /// name it.
    fn close_hole(&mut self, key: RoomKey, at: u32, batches: &[Arc<Batch>]) -> Option<Gap> {
        let room = &mut self.rooms[key.0 as usize];
        let attached = room.attached.as_ref().expect("members have an attached room");
        let member = &mut room.members[at as usize];
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
