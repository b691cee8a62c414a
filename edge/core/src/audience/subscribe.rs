//! Joining rooms: subscriptions are judged here, and it is decided where a reader begins.
//!
//! A room that nobody here follows is attached first: the shard answers with its newest batches, which become
//! the ring.
//! Invariant: `Subscribed` names the offset and time at which the reader begins, and goes out before the
//! first batch.
//! Not here: leaving rooms (`subscriptions`), a room that is attached again (`reattach`).

use std::sync::Arc;

use grandstand_engine::link::{Batch, Input};
use grandstand_protocol::frame::{Kind, Outcome, ServerFrame, Subscribe, Subscribed, permission};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::connection::slot;
use super::reattach::Attachments;
use super::requests::Request;
use super::room::{Attached, CatchUp, Cursor, Join, Known, Member, RoomKey, STATE_NOT_GIVEN};
use super::session::{Membership, Place};
use super::subscriptions::Subscriptions;

/// Inputs that may wait for full shards before subscriptions are refused with `Overloaded`: each may add one.
/// A shard that takes inputs again empties as many within a turn.
const DEFERRED_MAX: usize = 1024;

/// Where a reader begins.
struct Start {
    outcome: Outcome,
    offset: u64,
    time_ms: u64,
}

/// A resume whose position the ring does not hold: the shard's history shows where it can begin.
struct NotInRing {
    asked: u64,
}

impl Request<'_> {
    pub(super) fn handle_subscribe(&mut self, s: &Subscribe<'_>) {
        if let Err((reason, retry_after_ms)) = self.try_subscribe(s) {
            self.refuse(Kind::Subscribe, s.request.into(), reason, retry_after_ms);
        }
    }

    fn try_subscribe(&mut self, s: &Subscribe<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let (ix, Subscriptions { settings, shards, connections, rooms, .. }) =
            (self.ix, &mut *self.subscriptions);
        rules::check_room_name(s.room, settings.room_name_bytes_max).map_err(|reason| (reason, None))?;
        let (connection, session) = connections.requester(ix);
        if session.scope.as_ref().is_some_and(|scope| !scope.allows(s.room)) {
            return Err((Refusal::Forbidden, None));
        }
        if session.memberships.len() >= settings.rooms_per_session_max as usize {
            return Err((Refusal::TooManyRooms, None));
        }
        let known = rooms.named(s.room);
        if known.is_some_and(|key| session.membership(key).is_some()) {
            return Err((Refusal::AlreadySubscribed, None));
        }
        if known.is_some_and(|key| rooms[key].bans.hold(session.numbers(), self.now.unix_ms)) {
            return Err((Refusal::Banned, None));
        }
        if shards.deferred() >= DEFERRED_MAX {
            return Err((Refusal::Overloaded, None));
        }
        let opener = session.person.opener(session.may(permission::BRIDGE));
        let replay = s.replay.min(settings.replay_max);
        let join = Join { connection, request: s.request, resume: s.resume, replay };
        let key = known.unwrap_or_else(|| {
            let name: Arc<str> = s.room.into();
            let shard = shards.shard_of(&name);
            let attach = Input::Attach { worker: settings.worker, room: name.clone(), opener };
            shards.submit_surely_to(shard, attach);
            rooms.insert(name)
        });
        if known.is_none() {
            Attachments(self.subscriptions).note_asked(key);
        }
        let (_, session) = self.subscriptions.connections.requester(ix);
        session.memberships.push(Membership { room: key, place: None });
        let room = &mut self.subscriptions.rooms[key];
        if room.attached.is_some() {
            self.subscriptions.join(key, join);
        } else {
            room.joining.push(join);
        }
        Ok(())
    }
}

impl Subscriptions {
    /// Make a member of one who waited for an attached room.
    pub(super) fn join(&mut self, key: RoomKey, join: Join) {
        let Some((ix, connection)) = self.connections.named_mut(join.connection) else { return };
        let takes_compressed = connection.takes_compressed;
        let Some(session) = connection.session.as_mut() else { return };
        let number = session.number;
        let Some(membership) = session.membership_mut(key) else { return };
        // Before its answer: if that closes it, the room may be gone after.
        self.rooms.mark_recount(key);
        let room = &mut self.rooms[key];
        let attached = room.attached.as_ref().expect("joined when attached");
        let member = room.members.len() as u32;
        let is_counted = self.people.watch(number, attached.alias.0);
        membership.place = Some(Place { member, alias: attached.alias, is_counted, is_elsewhere: false });
        room.viewers += u32::from(is_counted);
        if !is_counted {
            self.uncounted.insert((join.connection, key));
        }
        room.members_compressed += u32::from(takes_compressed);
        self.connections.counters.joins += 1;
        self.connections.counters.members += 1;
        let has_role = self.connections[ix].session.as_ref().is_some_and(|s| s.role.keeps_its_name());
        if has_role {
            self.note_staff(key, ix);
        }
        let room = &mut self.rooms[key];
        let attached = room.attached.as_ref().expect("joined when attached");
        // The state follows when the connection has taken what was sent before.
        let state_version = if attached.snapshot.is_some() { STATE_NOT_GIVEN } else { 0 };
        let catch_up = |unanswered| Cursor::CatchUp(CatchUp::new(Known::Log, state_version, unanswered));
        match start(attached, &join) {
            Ok(start) => {
                let is_at_head = start.offset == attached.next_offset && attached.snapshot.is_none();
                let cursor = if is_at_head { Cursor::Live(attached.ring.next_seq()) } else { catch_up(None) };
                room.members.push(Member { connection: ix, offset: start.offset, cursor });
                self.answer_join(key, &join, &start);
            }
            Err(NotInRing { asked }) => {
                let cursor = catch_up(Some(join));
                room.members.push(Member { connection: ix, offset: asked, cursor });
                self.ask_page(key, ix, member);
            }
        }
    }

    fn answer_join(&mut self, key: RoomKey, join: &Join, start: &Start) {
        let ix = slot(join.connection);
        let attached = self.rooms.attached(key);
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
        self.connections.counters.resumes += u64::from(start.outcome == Outcome::Resumed);
        // The answer has no place for the time until which the phase lasts.
        let event = (attached.until_ms > 0).then(|| attached.event());
        self.send_control(ix, &ServerFrame::Subscribed(subscribed));
        if let Some(event) = event {
            self.send_control(ix, &ServerFrame::RoomEvent(event));
        }
    }

    /// Answer a resume that waited for its turn to have a page, if the ring has all that it needs by now.
    pub(super) fn answer_from_ring(&mut self, key: RoomKey, at: u32) -> bool {
        let (member, attached) = self.rooms.member(key, at);
        let Cursor::CatchUp(catching) = &mut member.cursor else { return true };
        let Some(join) = catching.unanswered else { return true };
        let Ok(start) = start(attached, &join) else { return false };
        (catching.unanswered, catching.state_version, member.offset) = (None, STATE_NOT_GIVEN, start.offset);
        self.answer_join(key, &join, &start);
        true
    }

    /// Answer a resume at the offset `asked`, now that the first page of history shows where it can begin.
    pub(super) fn answer_resume(
        &mut self,
        key: RoomKey,
        join: &Join,
        asked: u64,
        first: Option<&Batch>,
    ) -> u64 {
        let attached = self.rooms.attached(key);
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
}

/// Begin anew: the position asked for is none of this log.
fn anew(room: &Attached, join: &Join) -> Start {
    let head = || Start { outcome: Outcome::Restarted, offset: room.next_offset, time_ms: room.time_ms };
    replay_start(room, join.replay, Outcome::Restarted).unwrap_or_else(head)
}

/// Where the log parts from an earlier one, for a reader that read further in that: its owner died with what
/// it had shown. From here on the reader misses nothing.
fn after_fork(room: &Attached, epoch: u64) -> Option<Start> {
    let batch = room.ring.since_offset(room.holds(epoch)?)?.next()?;
    let (offset, time_ms) = (batch.first_offset, batch.base_time_ms);
    Some(Start { outcome: Outcome::Restarted, offset, time_ms })
}

/// Where a reader begins, if the ring can tell.
fn start(room: &Attached, join: &Join) -> Result<Start, NotInRing> {
    // It comes from a worker that is ahead of this one: the shard's page comes after what this one has not
    // heard of yet.
    if let Some((epoch, asked)) = join.resume
        && epoch == room.epoch
        && asked > room.next_offset
    {
        return Err(NotInRing { asked });
    }
    let head = |outcome| Start { outcome, offset: room.next_offset, time_ms: room.time_ms };
    let at_replay = |outcome| replay_start(room, join.replay, outcome).unwrap_or_else(|| head(outcome));
    match join.resume.map(|position| room.goes_on_at(position)) {
        Some(Some(offset)) if offset == room.next_offset => Ok(head(Outcome::Resumed)),
        Some(Some(asked)) => {
            let batch = room.ring.since_offset(asked).and_then(|mut batches| batches.next());
            let batch = batch.ok_or(NotInRing { asked })?;
            let (offset, time_ms) = (batch.first_offset, batch.base_time_ms);
            Ok(Start { outcome: Outcome::Resumed, offset, time_ms })
        }
        Some(None) => {
            let again = at_replay(Outcome::Restarted);
            let fork = join.resume.and_then(|(epoch, _)| after_fork(room, epoch));
            Ok(fork.filter(|fork| fork.offset < again.offset).unwrap_or(again))
        }
        None => Ok(at_replay(Outcome::Live)),
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
