//! A room that a session follows: the state of the subscription, the reader's position, and the known state
//! keys.
//!
//! Invariants: `floor` is the lowest offset that the application may still get. It never falls within an
//! epoch, so no message is delivered twice, whatever the node sends. Messages between `floor` and `position`
//! were missed: a gap announces them, or they are counted as a fault.
//! Not here: reading batches (`batch`), sending (`session`).

use grandstand_protocol::batch::Position;
use grandstand_protocol::frame::{Gap, GapReason, Outcome, Snapshot, Subscribed};

use super::state::StateTable;
use super::{Event, Fault, Faults, Room, SubscribeOptions};

/// A room's number in its session, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u32);

/// The state of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionState {
    /// `Subscribe` is due.
    Wanted,
    /// `Subscribe` is due at this time, after a temporary refusal.
    Waiting(u64),
    /// `Subscribe` was sent.
    Asked,
    /// The session follows the room, under the alias.
    Live,
    /// `Unsubscribe` is due.
    Unwanted,
    /// `Unsubscribe` was sent.
    Leaving,
}

#[derive(Debug)]
pub(super) struct RoomState {
    pub(super) id: RoomId,
    pub(super) name: Box<str>,
    pub(super) state: SubscriptionState,
    /// Number of the last `Subscribe` or `Unsubscribe` request.
    pub(super) request: u32,
    /// Valid while `Live`, `Unwanted` or `Leaving`.
    pub(super) alias: u32,
    /// An alias to release before subscribing again.
    pub(super) stale_alias: Option<u32>,
    /// Whether to unsubscribe as soon as the answer to `Subscribe` arrives.
    pub(super) leave: bool,
    /// Desyncs since the last batch that continued the position.
    pub(super) desyncs: u8,
    replay: u32,
    /// Whether `position` is valid: the session has subscribed to the room before, or resumes from an earlier
    /// run.
    begun: bool,
    pub(super) position: Position,
    pub(super) floor: u64,
    pub(super) head: u64,
    pub(super) lane: StateLane,
}

impl RoomState {
    pub(super) fn new(id: RoomId, name: &str, options: SubscribeOptions, keep_state: bool) -> RoomState {
        let (epoch, offset) = options.resume.unwrap_or_default();
        RoomState {
            id,
            name: name.into(),
            state: SubscriptionState::Wanted,
            request: 0,
            alias: 0,
            stale_alias: None,
            leave: false,
            desyncs: 0,
            replay: options.replay,
            begun: options.resume.is_some(),
            position: Position { epoch, offset, time_ms: 0 },
            floor: offset,
            head: 0,
            lane: StateLane { version: 0, keep: keep_state, values: StateTable::default() },
        }
    }

    pub(super) fn room(&self) -> Room<'_> {
        Room { id: self.id, name: &self.name }
    }

    /// The fields of `Subscribe`: where to resume, or else how much to replay.
    pub(super) fn wish(&self) -> (Option<(u64, u64)>, u32) {
        (self.resume_point(), self.replay)
    }

    /// Whether the room is followed, or about to be.
    pub(super) fn is_wanted(&self) -> bool {
        !self.leave && !matches!(self.state, SubscriptionState::Unwanted | SubscriptionState::Leaving)
    }

    /// Epoch and next offset, once they are known.
    pub(super) fn resume_point(&self) -> Option<(u64, u64)> {
        self.begun.then_some((self.position.epoch, self.floor))
    }

    /// The connection has ended; the room subscribes again on the next one. `false`: forget the room instead.
    pub(super) fn handle_disconnected(&mut self) -> bool {
        self.stale_alias = None;
        let stays = self.is_wanted();
        self.state = SubscriptionState::Wanted;
        stays
    }

    /// A batch did not continue the position: release the alias and subscribe again, from the floor.
    pub(super) fn resubscribe(&mut self) {
        self.stale_alias = Some(self.alias);
        self.state = SubscriptionState::Wanted;
        self.desyncs += 1;
    }

    pub(super) fn handle_subscribed(&mut self, s: &Subscribed, emit: &mut impl FnMut(Event<'_>)) {
        self.state = if self.leave { SubscriptionState::Unwanted } else { SubscriptionState::Live };
        self.alias = s.alias;
        self.head = s.head;
        let floor = (self.begun && goes_on(s.outcome)).then_some(self.floor);
        // Also in the same log: the offset asked for was beyond its head, so it is no floor.
        self.begun &= s.outcome != Outcome::Restarted;
        self.enter(s.epoch, s.offset, s.time_ms);
        // Also where the log has another name now: what was seen of it is seen.
        self.floor = floor.unwrap_or(self.floor);
        emit(Event::Subscribed {
            room: self.room(),
            outcome: s.outcome,
            epoch: s.epoch,
            offset: s.offset,
            head: s.head,
            phase: s.phase,
        });
    }

    pub(super) fn handle_gap(&mut self, gap: &Gap, faults: &mut Faults, emit: &mut impl FnMut(Event<'_>)) {
        let is_restart = gap.reason == GapReason::Restarted;
        if !is_restart && self.position.epoch == gap.epoch && gap.from > self.floor {
            let fault = Fault::Skipped { from: self.floor, to: gap.from };
            faults.skipped += gap.from - self.floor;
            emit(Event::Fault { room: self.room(), fault });
        }
        // The new log goes on where this one was read: what was seen is seen, and comes to an end here.
        let seen = (is_restart && gap.from == self.position.offset).then_some(self.floor.max(gap.to));
        // Also in the same log: what was seen beyond `from` is not in it.
        self.begun &= !is_restart;
        self.enter(gap.epoch, gap.to, gap.time_ms);
        self.floor = seen.unwrap_or(self.floor.max(gap.to));
        let (from, to) = seen.map_or((gap.from, gap.to), |seen| (gap.from.max(seen), seen));
        let (count, reason) = (gap.count, gap.reason);
        emit(Event::Gap { room: self.room(), epoch: gap.epoch, from, to, count, reason });
    }

    /// `false`: the node sent more than a room's state may have.
    pub(super) fn handle_snapshot(&mut self, s: &Snapshot<'_>, emit: &mut impl FnMut(Event<'_>)) -> bool {
        if s.epoch == self.position.epoch && self.lane.version > s.version {
            return true;
        }
        let mut fits = true;
        self.lane.version = s.version;
        self.lane.values.clear();
        emit(Event::Snapshot { room: self.room(), version: s.version, entries: s.entries.len() as u32 });
        for &(key, value) in &s.entries {
            fits &= self.lane.apply(key, Some(value));
            let room = Room { id: self.id, name: &self.name };
            emit(Event::State { room, version: s.version, key, value: Some(value) });
        }
        fits
    }

    /// Move to a position that the node named. In another log, the old floor and state are not valid.
    fn enter(&mut self, epoch: u64, offset: u64, time_ms: u64) {
        if !self.begun || self.position.epoch != epoch {
            self.begun = true;
            self.floor = offset;
            self.lane.version = 0;
            self.lane.values.clear();
        }
        self.position = Position { epoch, offset, time_ms };
    }
}

/// Whether a subscription continues from the position of the last one.
fn goes_on(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Resumed | Outcome::Gapped)
}

/// The state lane: latest value per key.
#[derive(Debug)]
pub(super) struct StateLane {
    /// Version up to which all changes are known; older changes are ignored.
    pub(super) version: u64,
    keep: bool,
    pub(super) values: StateTable,
}

impl StateLane {
    /// `false`: the state is larger than a room's state may be.
    pub(super) fn apply(&mut self, key: &str, value: Option<&[u8]>) -> bool {
        !self.keep || self.values.apply(key, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::frame::Phase;

    fn subscribed(epoch: u64, offset: u64, outcome: Outcome) -> Subscribed {
        let (request, alias, head, time_ms, phase) = (1, 1, offset, 0, Phase::Open);
        Subscribed { request, alias, epoch, offset, head, time_ms, outcome, phase }
    }

    fn restart(room: &mut RoomState, epoch: u64, from: u64, to: u64) -> (u64, u64) {
        let (alias, count, reason, time_ms) = (1, 0, GapReason::Restarted, 5);
        let (mut faults, mut told) = (Faults::default(), None);
        room.handle_gap(&Gap { alias, epoch, from, to, count, reason, time_ms }, &mut faults, &mut |event| {
            if let Event::Gap { from, to, .. } = event {
                told = Some((from, to));
            }
        });
        assert_eq!(faults, Faults::default());
        assert_eq!(room.position, Position { epoch, offset: to, time_ms });
        assert_eq!(room.lane.version, 0, "versions of state begin anew");
        room.lane.version = 9;
        told.expect("an event")
    }

    #[test]
    fn another_log_goes_on_where_it_holds_what_was_read() {
        let resume = Some((7, 15));
        let options = SubscribeOptions { resume, ..SubscribeOptions::default() };
        let mut room = RoomState::new(RoomId(0), "r", options, true);
        // The batch that holds 15 begins at 13.
        room.handle_subscribed(&subscribed(7, 13, Outcome::Resumed), &mut |_| {});
        assert_eq!(restart(&mut room, 8, 13, 13), (15, 15), "13 and 14 are not shown again");
        assert_eq!(room.resume_point(), Some((8, 15)));
        assert_eq!(restart(&mut room, 9, 10, 10), (10, 10), "what was seen from 10 on is not in it");
        assert_eq!(room.resume_point(), Some((9, 10)));
        assert_eq!(restart(&mut room, 9, 6, 6), (6, 6), "also under the same epoch");
        assert_eq!(room.resume_point(), Some((9, 6)));
        assert_eq!(restart(&mut room, 10, 0, 40), (0, 40), "a log begun anew");
        assert_eq!(room.resume_point(), Some((10, 40)));
    }
}
