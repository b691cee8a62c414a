//! Fan-out: offers every connection what its cursors have not sent, within a budget of writes.
//!
//! The walk is a loop over a dense list; a member at the head costs one comparison. Rooms with news take
//! turns, so that a giant one, whose head moves again before its round is over, keeps nobody else waiting.
//! What a connection does not take at once stays a cursor. A frame taken in part is pinned by its connection
//! and finished first.
//! Invariant: a member's `offset` and cursor move only by whole frames that the transport took or the
//! connection pinned.

use grandstand_engine::link::StateImage;
use grandstand_protocol::frame::{Gap, GapReason, ServerFrame};
use smallvec::SmallVec;

use super::Counters;
use super::catch_up::{needs_page, takes_a_page};
use super::connection::Connection;
use super::connections::Connections;
use super::frame_sink::FrameSink;
use super::ring::Ring;
use super::room::{Cursor, Member, RoomKey};
use super::subscriptions::Subscriptions;
use super::write_run::WriteRun;

/// Writes to one room before the next one with news has its turn: under half a millisecond, so that a small
/// room does not wait for a round over thousands, and long enough that changing rooms costs nothing beside
/// it.
const WRITES_PER_ROOM: usize = 64;

/// How an offer ended.
enum Offer {
    /// Everything up to the head was taken.
    Done,
    /// There is more for this member.
    More,
    /// The transport is full.
    Blocked,
    /// The member fell off the ring.
    Lost,
}

impl Subscriptions {
    /// Write until nothing is left or the budget of writes is used up; `true` when there is more to do.
    pub(super) fn poll_writes(&mut self, sink: &mut impl FrameSink, writes_max: usize) -> bool {
        let mut budget = writes_max;
        while budget > 0
            && let Some(ix) = self.connections.flush.pop_front()
        {
            self.flush_connection(ix, sink, &mut budget);
        }
        while budget > 0
            && let Some(key) = self.rooms.dirty.pop_front()
        {
            let slice = budget.min(WRITES_PER_ROOM);
            let mut left = slice;
            if !self.walk(key, sink, &mut left) {
                self.rooms.dirty.push_back(key);
            }
            budget -= slice - left;
        }
        !self.connections.flush.is_empty() || !self.rooms.dirty.is_empty()
    }

    /// Walk a room's members; `true` when the round is finished and nobody moved the head meanwhile.
    fn walk(&mut self, key: RoomKey, sink: &mut impl FrameSink, budget: &mut usize) -> bool {
        let Some(room) = self.rooms.get_mut(key) else { return true };
        let Some(attached) = room.attached.as_ref() else { return true };
        let batches_max = self.settings.batches_per_write_max;
        let Connections { slab, flush, counters, .. } = &mut self.connections;
        let mut runs = WriteRuns::default();
        loop {
            if room.walk == 0 {
                room.walk_again = false;
            }
            let head = attached.ring.next_seq();
            while let Some(member) = room.members.get_mut(room.walk) {
                if *budget == 0 {
                    return false;
                }
                let Cursor::Live(seq) = member.cursor else {
                    room.walk += 1;
                    continue;
                };
                let connection = &mut slab[member.connection as usize];
                if seq == head || connection.blocked || connection.out.is_some() {
                    room.walk += 1;
                    continue;
                }
                *budget -= 1;
                let ring = &attached.ring;
                match offer_live(ring, &mut runs, member, connection, sink, batches_max, counters) {
                    Offer::More => {}
                    Offer::Done | Offer::Blocked => room.walk += 1,
                    // Its notice goes through the control queue, and it with it.
                    Offer::Lost => {
                        room.walk += 1;
                        if !std::mem::replace(&mut connection.queued, true) {
                            flush.push_back(member.connection);
                        }
                    }
                }
            }
            room.walk = 0;
            if !room.walk_again {
                room.is_dirty = false;
                return true;
            }
        }
    }

    /// Send what waits for a connection, then bring its members to the head.
    fn flush_connection(&mut self, ix: u32, sink: &mut impl FrameSink, budget: &mut usize) {
        let Connections { slab, counters, .. } = &mut self.connections;
        let Some(connection) = slab.get_mut(ix as usize) else { return };
        connection.queued = false;
        if connection.blocked {
            return;
        }
        if connection.out.is_some() {
            *budget -= 1;
            if !send_waiting(connection, sink, counters) {
                return;
            }
        }
        if connection.closing {
            return;
        }
        let Some(session) = connection.session.as_ref() else { return };
        let members: SmallVec<[(RoomKey, u32); 4]> =
            session.memberships.iter().filter_map(|m| Some((m.room, m.place?.member))).collect();
        for (key, at) in members {
            if !self.has_news(key, at) {
                continue;
            }
            // A notice that the member before left behind goes before this one's batches.
            if *budget == 0 || self.connections[ix].out.is_some() {
                return self.connections.queue_flush(ix);
            }
            *budget -= 1;
            if !self.flush_member(ix, key, at, sink) {
                return;
            }
        }
    }

    /// Is there anything to offer to a member? Those at the head cost no budget, so that a small one reaches
    /// the others.
    fn has_news(&self, key: RoomKey, at: u32) -> bool {
        let Some(room) = self.rooms.get(key) else { return false };
        let Some(attached) = room.attached.as_ref() else { return false };
        let Some(member) = room.members.get(at as usize) else { return false };
        match &member.cursor {
            Cursor::Live(seq) => *seq != attached.ring.next_seq(),
            // Who waits for its turn to have a page must not use up the budget of the others.
            Cursor::CatchUp(catching) => {
                catching.waits_for.is_none()
                    && (!needs_page(member.offset, catching, attached)
                        || (room.asks_at.is_none()
                            && takes_a_page(&self.connections[member.connection], &self.rooms)))
            }
        }
    }

    /// Offer one member what it lacks; `false` when its connection can take no more now.
    fn flush_member(&mut self, ix: u32, key: RoomKey, at: u32, sink: &mut impl FrameSink) -> bool {
        let room = &mut self.rooms[key];
        let Some(attached) = room.attached.as_ref() else { return true };
        let member = &mut room.members[at as usize];
        if let Cursor::CatchUp(_) = member.cursor {
            return self.flush_catch_up(ix, key, at, sink);
        }
        let batches_max = self.settings.batches_per_write_max;
        let Connections { slab, counters, .. } = &mut self.connections;
        let (ring, connection) = (&attached.ring, &mut slab[ix as usize]);
        let mut runs = WriteRuns::default();
        let offer = offer_live(ring, &mut runs, member, connection, sink, batches_max, counters);
        drop(runs);
        match offer {
            Offer::Done => true,
            Offer::Blocked => false,
            Offer::More => {
                self.connections.queue_flush(ix);
                true
            }
            Offer::Lost => {
                self.skip_to_head(ix, key, at, GapReason::Slow);
                true
            }
        }
    }

    /// Move a member to the head, and tell it what it missed.
    pub(super) fn skip_to_head(&mut self, ix: u32, key: RoomKey, at: u32, reason: GapReason) {
        let (member, attached) = self.rooms.member(key, at);
        let (from, to) = (member.offset, attached.next_offset);
        member.offset = to;
        member.cursor = Cursor::Live(attached.ring.next_seq());
        let gap = Gap {
            alias: attached.alias.0,
            epoch: attached.epoch,
            from,
            to,
            count: to - from,
            reason,
            time_ms: attached.time_ms,
        };
        let snapshot = attached.snapshot.clone();
        self.send_gap(ix, &gap, snapshot.as_deref());
    }

    /// Tell of a gap, if there is one, and give the state that the lost batches may have changed.
    pub(super) fn send_gap(&mut self, ix: u32, gap: &Gap, snapshot: Option<&StateImage>) {
        if gap.count > 0 {
            self.write_gap(ix, gap);
        }
        if let Some(snapshot) = snapshot {
            self.connections.write_shared(ix, &snapshot.wire);
        }
    }

    pub(super) fn write_gap(&mut self, ix: u32, gap: &Gap) {
        let counters = &mut self.connections.counters;
        counters.gaps[gap.reason as usize] += 1;
        counters.gap_messages = counters.gap_messages.saturating_add(gap.count);
        self.send_control(ix, &ServerFrame::Gap(*gap));
    }
}

/// Send the begun frame and the control frames; `true` when all of it went.
fn send_waiting(connection: &mut Connection, sink: &mut impl FrameSink, counters: &mut Counters) -> bool {
    let Some(out) = connection.out.as_mut() else { return true };
    while !out.is_empty() {
        counters.writes += 1;
        let next = out.next();
        if !out.advance(sink.send(connection.wire, &[&next])) {
            counters.writes_blocked += 1;
            connection.blocked = true;
            return false;
        }
    }
    connection.out = None;
    true
}

/// WriteRuns from where a live member stood, one per form of batch.
#[derive(Default)]
struct WriteRuns<'a> {
    by_form: [WriteRun<'a>; 2],
    from_seq: [Option<u64>; 2],
}

impl<'a> WriteRuns<'a> {
    /// The run from this place on, at most `batches_max` batches; `None` when it fell off the ring.
    fn run_from(
        &mut self,
        ring: &'a Ring,
        seq: u64,
        is_compressed: bool,
        batches_max: usize,
    ) -> Option<&WriteRun<'a>> {
        let at = usize::from(is_compressed);
        if self.from_seq[at] != Some(seq) {
            self.by_form[at].gather(ring.since_seq(seq)?.take(batches_max), is_compressed);
            self.from_seq[at] = Some(seq);
        }
        Some(&self.by_form[at])
    }
}

/// Offer a live member everything from its cursor, at most `batches_max` batches.
fn offer_live<'a>(
    ring: &'a Ring,
    runs: &mut WriteRuns<'a>,
    member: &mut Member,
    connection: &mut Connection,
    sink: &mut impl FrameSink,
    batches_max: usize,
    counters: &mut Counters,
) -> Offer {
    let Cursor::Live(seq) = &mut member.cursor else { return Offer::Done };
    let Some(run) = runs.run_from(ring, *seq, connection.takes_compressed, batches_max) else {
        return Offer::Lost;
    };
    let sent = run.send(connection, sink, counters);
    if let Some(last) = run.last_of(sent) {
        *seq = last.seq + 1;
        member.offset = last.next_offset;
    }
    match (connection.blocked, *seq == ring.next_seq()) {
        (true, _) => Offer::Blocked,
        (false, true) => Offer::Done,
        (false, false) => Offer::More,
    }
}
