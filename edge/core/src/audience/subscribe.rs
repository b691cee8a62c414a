//! Joining and leaving rooms, and where a reader begins.
//!
//! A room that nobody here follows is attached first: the shard answers with its newest batches, which become
//! the ring.
//! Invariant: `Subscribed` names the offset and time at which the reader begins, and stands before the first
//! batch.

use std::collections::VecDeque;
use std::sync::Arc;

use grandstand_engine::link::{Attachment, Batch, Input};
use grandstand_protocol::frame::{Kind, Outcome, ServerFrame, Subscribe, Subscribed};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::Audience;
use super::connection::slot;
use super::room::{Attached, CatchUp, Cursor, Join, Member, Room, RoomKey};
use super::session::Membership;

/// Inputs that may wait for full shards before subscriptions are refused with `Overloaded`: each may add one.
/// A shard that takes inputs again empties as many within a turn.
const DEFERRED_MAX: usize = 1024;

/// Where a reader begins.
struct Start {
    outcome: Outcome,
    offset: u64,
    time_ms: u64,
}

impl Audience {
    pub(super) fn handle_subscribe(&mut self, ix: u32, s: &Subscribe<'_>) {
        if let Err(reason) = self.try_subscribe(ix, s) {
            self.refuse(ix, Kind::Subscribe as u8, s.request.into(), reason, None);
        }
    }

    fn try_subscribe(&mut self, ix: u32, s: &Subscribe<'_>) -> Result<(), Refusal> {
        rules::check_room_name(s.room, self.settings.room_name_bytes_max)?;
        let connection = &self.connections[ix as usize];
        let session = connection.session.as_ref().expect("a request has a session");
        if session.scope.as_ref().is_some_and(|scope| !scope.allows(s.room)) {
            return Err(Refusal::Forbidden);
        }
        if session.memberships.len() >= self.settings.rooms_per_session_max as usize {
            return Err(Refusal::TooManyRooms);
        }
        if self.by_name.get(s.room).is_some_and(|key| session.membership(*key).is_some()) {
            return Err(Refusal::AlreadySubscribed);
        }
        if self.shards.deferred() >= DEFERRED_MAX {
            return Err(Refusal::Overloaded);
        }
        let (connection, replay) = (connection.token(ix), s.replay.min(self.settings.replay_max));
        let join = Join { connection, request: s.request, resume: s.resume, replay };
        let key = self.room_named(s.room);
        let room = &mut self.rooms[key.0 as usize];
        let alias = room.attached.as_ref().map(|a| a.alias);
        if alias.is_none() {
            room.joining.push(join);
        }
        let session = self.connections[ix as usize].session.as_mut().expect("checked above");
        let unknown = grandstand_engine::link::Alias(u32::MAX);
        session.memberships.push(Membership { room: key, member: u32::MAX, alias: alias.unwrap_or(unknown) });
        if alias.is_some() {
            self.join(key, join);
        }
        Ok(())
    }

    /// The room of this name, attached or about to be.
    fn room_named(&mut self, name: &str) -> RoomKey {
        if let Some(&key) = self.by_name.get(name) {
            return key;
        }
        let name: Arc<str> = name.into();
        let key = RoomKey(self.rooms.insert(Room::new(name.clone())) as u32);
        self.by_name.insert(name.clone(), key);
        let shard = self.shards.shard_of(&name);
        self.shards.submit_surely_to(shard, Input::Attach { worker: self.settings.worker, room: name });
        key
    }

    /// The shard's answer: the room stands, or everyone who waits for it is refused.
    pub(super) fn handle_attached(&mut self, name: &str, result: Result<Box<Attachment>, Refusal>) {
        let Some(&key) = self.by_name.get(name) else { return };
        match result {
            Ok(attachment) => self.attach(key, *attachment),
            Err(reason) => self.detach_refused(key, reason),
        }
    }

    fn attach(&mut self, key: RoomKey, attachment: Attachment) {
        let room = &mut self.rooms[key.0 as usize];
        let is_other_log = room.attached.as_ref().is_some_and(|a| a.epoch != attachment.epoch);
        if let Some(before) = room.attached.as_ref().map(|a| a.alias) {
            self.by_alias.remove(&before);
        }
        if is_other_log {
            self.send_members_away(key, Refusal::Other);
        }
        let room = &mut self.rooms[key.0 as usize];
        self.by_alias.insert(attachment.alias, key);
        room.attached = Some(Attached::new(attachment));
        // Taken from the end, in the order in which they came. A joiner that is closed over its answer may
        // take the room with it when it was the last.
        room.joining.reverse();
        while let Some(join) = self.rooms.get_mut(key.0 as usize).and_then(|room| room.joining.pop()) {
            self.join(key, join);
        }
        if self.rooms.contains(key.0 as usize) {
            self.mark_dirty(key);
            self.forget_if_empty(key);
        }
    }

    fn detach_refused(&mut self, key: RoomKey, reason: Refusal) {
        if let Some(before) = self.rooms[key.0 as usize].attached.as_ref().map(|a| a.alias) {
            self.by_alias.remove(&before);
            self.send_members_away(key, reason);
        }
        let room = self.rooms.remove(key.0 as usize);
        self.by_name.remove(&room.name);
        for join in room.joining {
            let ix = slot(join.connection);
            let Some(connection) = self.connections.get_mut(ix as usize).filter(|c| c.is(join.connection))
            else {
                continue;
            };
            if let Some(session) = connection.session.as_mut() {
                session.memberships.retain(|m| m.room != key);
                self.refuse(ix, Kind::Subscribe as u8, join.request.into(), reason, None);
            }
        }
    }

    /// Make a member of one who waited for an attached room.
    fn join(&mut self, key: RoomKey, join: Join) {
        let ix = slot(join.connection);
        let Some(connection) = self.connections.get_mut(ix as usize).filter(|c| c.is(join.connection)) else {
            return;
        };
        let Some(membership) = connection.session.as_mut().and_then(|s| s.membership_mut(key)) else {
            return;
        };
        let room = &mut self.rooms[key.0 as usize];
        let attached = room.attached.as_ref().expect("joined when attached");
        membership.member = room.members.len() as u32;
        membership.alias = attached.alias;
        room.members_compressed += u32::from(connection.takes_compressed);
        self.counters.joins += 1;
        self.counters.members += 1;
        // Before its answer: if that closes it, the room may be gone after.
        if !std::mem::replace(&mut room.is_recount_due, true) {
            self.recount.push(key);
        }
        match start(attached, &join) {
            Some(start) => {
                let (offset, state_version) = (start.offset, attached.state_version());
                let cursor = if offset == attached.next_offset {
                    Cursor::Live(attached.ring.next_seq())
                } else {
                    let (page, waits_for, unanswered) = (VecDeque::new(), None, None);
                    Cursor::CatchUp(Box::new(CatchUp { state_version, page, waits_for, unanswered }))
                };
                room.members.push(Member { connection: ix, offset, cursor });
                self.answer_join(key, &join, &start);
            }
            None => {
                let (_, offset) = join.resume.expect("only a resume needs the past");
                let state_version = attached.state_version();
                let (page, waits_for, unanswered) = (VecDeque::new(), None, Some(join));
                let catching = CatchUp { state_version, page, waits_for, unanswered };
                room.members.push(Member {
                    connection: ix,
                    offset,
                    cursor: Cursor::CatchUp(Box::new(catching)),
                });
                self.ask_page(key, ix);
            }
        }
    }

    fn answer_join(&mut self, key: RoomKey, join: &Join, start: &Start) {
        let ix = slot(join.connection);
        let attached = self.rooms[key.0 as usize].attached.as_ref().expect("joined when attached");
        let subscribed = Subscribed {
            request: join.request,
            alias: attached.alias.0,
            epoch: attached.epoch,
            offset: start.offset,
            head: attached.next_offset,
            time_ms: start.time_ms,
            outcome: start.outcome,
            phase: attached.phase,
        };
        let snapshot = attached.snapshot.clone();
        self.counters.resumes += u64::from(start.outcome == Outcome::Resumed);
        self.send_control(ix, &ServerFrame::Subscribed(subscribed));
        if let Some(snapshot) = snapshot {
            self.push_shared(ix, &snapshot.wire);
        }
    }

    /// Answer a resume whose beginning the first page of history shows.
    pub(super) fn answer_resume(&mut self, key: RoomKey, join: &Join, first: Option<&Batch>) -> u64 {
        let attached = self.rooms[key.0 as usize].attached.as_ref().expect("joined when attached");
        let (_, asked) = join.resume.expect("only a resume needs the past");
        let start = match first {
            Some(batch) if batch.first_offset <= asked => {
                Start { outcome: Outcome::Resumed, offset: batch.first_offset, time_ms: batch.base_time_ms }
            }
            // It was ahead of this worker, which has heard since of everything that the shard had sealed.
            None if asked == attached.next_offset => {
                Start { outcome: Outcome::Resumed, offset: asked, time_ms: attached.time_ms }
            }
            None if asked > attached.next_offset => anew(attached, join),
            _ => Start { outcome: Outcome::Gapped, offset: asked, time_ms: attached.time_ms },
        };
        self.answer_join(key, join, &start);
        start.offset
    }

    /// Take a member out of its room.
    pub(super) fn leave(&mut self, ix: u32, membership: Membership) {
        let Some(room) = self.rooms.get_mut(membership.room.0 as usize) else { return };
        if membership.member == u32::MAX {
            room.joining.retain(|join| slot(join.connection) != ix);
            return self.forget_if_empty(membership.room);
        }
        self.counters.members -= 1;
        let takes_compressed = self.connections.get(ix as usize).is_some_and(|c| c.takes_compressed);
        room.members_compressed -= u32::from(takes_compressed);
        if let Some(moved) = room.remove_member(membership.member) {
            let session = self.connections.get_mut(moved as usize).and_then(|c| c.session.as_mut());
            if let Some(place) = session.and_then(|s| s.membership_mut(membership.room)) {
                place.member = membership.member;
            }
        }
        self.recount(membership.room);
        self.forget_if_empty(membership.room);
    }

    /// The room's members lose it: it is gone, or its log is another one. Those whose subscription has not
    /// been answered are refused.
    pub(super) fn send_members_away(&mut self, key: RoomKey, reason: Refusal) {
        let room = &mut self.rooms[key.0 as usize];
        let alias = room.attached.as_ref().map_or(u32::MAX, |a| a.alias.0);
        room.walk = 0;
        room.members_compressed = 0;
        for member in std::mem::take(&mut room.members) {
            self.counters.members -= 1;
            if let Some(session) =
                self.connections.get_mut(member.connection as usize).and_then(|c| c.session.as_mut())
            {
                session.memberships.retain(|m| m.room != key);
            }
            let unanswered =
                if let Cursor::CatchUp(catching) = member.cursor { catching.unanswered } else { None };
            match unanswered {
                Some(join) => {
                    self.refuse(member.connection, Kind::Subscribe as u8, join.request.into(), reason, None);
                }
                None => {
                    self.send_control(member.connection, &ServerFrame::Unsubscribed { request: 0, alias });
                }
            }
        }
    }

    /// A room without members or joiners is not followed any longer.
    pub(super) fn forget_if_empty(&mut self, key: RoomKey) {
        let room = &self.rooms[key.0 as usize];
        if !room.members.is_empty() || !room.joining.is_empty() {
            return;
        }
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        self.flush_tallies(key);
        let room = self.rooms.remove(key.0 as usize);
        self.by_name.remove(&room.name);
        self.by_alias.remove(&alias);
        self.shards.submit_surely(alias, Input::Detach { worker: self.settings.worker, alias });
    }

    fn recount(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key.0 as usize];
        if !std::mem::replace(&mut room.is_recount_due, true) {
            self.recount.push(key);
        }
    }
}

/// Begin anew: the position asked for is none of this log.
fn anew(room: &Attached, join: &Join) -> Start {
    let head = || Start { outcome: Outcome::Restarted, offset: room.next_offset, time_ms: room.time_ms };
    replay_start(room, join.replay, Outcome::Restarted).unwrap_or_else(head)
}

/// Where a reader begins, if the ring can tell.
fn start(room: &Attached, join: &Join) -> Option<Start> {
    // It comes from a worker that is ahead of this one: the shard's page comes after what this one has not
    // heard of yet.
    if join.resume.is_some_and(|(epoch, offset)| epoch == room.epoch && offset > room.next_offset) {
        return None;
    }
    let head = |outcome| Start { outcome, offset: room.next_offset, time_ms: room.time_ms };
    match join.resume.map(|position| room.goes_on_at(position)) {
        Some(Some(offset)) if offset == room.next_offset => Some(head(Outcome::Resumed)),
        Some(Some(offset)) => {
            let batch = room.ring.since_offset(offset)?.next()?;
            Some(Start { outcome: Outcome::Resumed, offset: batch.first_offset, time_ms: batch.base_time_ms })
        }
        Some(None) => Some(
            replay_start(room, join.replay, Outcome::Restarted).unwrap_or_else(|| head(Outcome::Restarted)),
        ),
        None => Some(replay_start(room, join.replay, Outcome::Live).unwrap_or_else(|| head(Outcome::Live))),
    }
}

/// The batch that holds the `replay`-th message from the end of those that are shown, or the oldest in the
/// ring.
fn replay_start(room: &Attached, replay: u32, outcome: Outcome) -> Option<Start> {
    let mut left = u64::from(replay);
    let mut first = None;
    for batch in room.ring.newest_first().filter(|batch| batch.has_chat()) {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(batch.messages.into());
        first = Some(batch);
    }
    first.map(|batch| Start { outcome, offset: batch.first_offset, time_ms: batch.base_time_ms })
}
