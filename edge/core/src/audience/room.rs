//! A room as one worker sees it: its ring, its members and what it collects for the shard.
//!
//! Invariants: members lie together in the order in which fan-out walks them; joining and leaving are O(1),
//! and the session of a member that is moved by a leave is told its new place.

use std::sync::Arc;

use grandstand_engine::link::{Alias, Attachment, Batch, ConnectionToken, Lineage, StateImage};
use grandstand_protocol::frame::{Phase, RoomEvent};
use grandstand_protocol::text::Likeness;

use super::bans::Bans;
use super::reactions::Reactions;
use super::ring::Ring;

/// In place of a version: the member waits for its first snapshot. One snapshot at a time waits for a
/// connection, so who asks again and again without reading is given one.
pub(super) const STATE_NOT_GIVEN: u64 = u64::MAX;

/// Names a room within one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoomKey(pub(super) u32);

/// A session in a room.
#[derive(Debug)]
pub(super) struct Member {
    /// Slot of its connection.
    pub(super) connection: u32,
    /// Next offset that it will be sent.
    pub(super) offset: u64,
    pub(super) cursor: Cursor,
}

/// How a member reads.
#[derive(Debug)]
pub(super) enum Cursor {
    /// With the room: number of the next batch.
    Live(u64),
    /// From `Member.offset` on, until it reaches the head.
    CatchUp(Box<CatchUp>),
}

/// What a client knows of the log that its room has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It reads this log.
    Log,
    /// It read another log, which is the same up to this offset. It has not been told of this one.
    Until(u64),
    /// It read another log, and how much of it this one holds is not known. It has not been told of this one.
    Nothing,
}

impl Known {
    /// After a change to a log that holds the one before up to an offset, as far as that is known.
    pub(super) fn then(self, held: Option<u64>) -> Known {
        match (self, held) {
            (Known::Nothing, _) | (_, None) => Known::Nothing,
            (Known::Log, Some(held)) => Known::Until(held),
            (Known::Until(before), Some(held)) => Known::Until(before.min(held)),
        }
    }
}

/// A member that reads the past.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// Whether its client knows the log that the room has now.
    pub(super) known: Known,
    /// Version of the state that it was given, or [`STATE_NOT_GIVEN`].
    pub(super) state_version: u64,
    /// A page of history, oldest first, when the past is older than the ring.
    pub(super) page: std::collections::VecDeque<Arc<Batch>>,
    /// The ticket of the page that was asked for and has not come.
    pub(super) waits_for: Option<u64>,
    /// The last page that it asked for was of another log than the shard's.
    pub(super) was_denied: bool,
    /// The subscription is answered when the first page shows where it can begin.
    pub(super) unanswered: Option<Join>,
}

impl CatchUp {
    /// At the beginning of what it reads.
    pub(super) fn new(known: Known, state_version: u64, unanswered: Option<Join>) -> Box<CatchUp> {
        let page = std::collections::VecDeque::new();
        Box::new(CatchUp { known, state_version, page, waits_for: None, was_denied: false, unanswered })
    }
}

/// What a subscriber asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    pub(super) connection: ConnectionToken,
    pub(super) request: u32,
    pub(super) resume: Option<(u64, u64)>,
    pub(super) replay: u32,
}

/// A room that the shard has told us of.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) alias: Alias,
    pub(super) epoch: u64,
    pub(super) ring: Ring,
    pub(super) next_offset: u64,
    pub(super) time_ms: u64,
    pub(super) snapshot: Option<Arc<StateImage>>,
    pub(super) phase: Phase,
    /// Until when the phase lasts; 0: that is not known.
    pub(super) until_ms: u64,
    pub(super) previous: Lineage,
}

impl Attached {
    /// What a shard told of a room, within the ring's bounds.
    pub(super) fn new(a: Attachment, batches_max: usize, bytes_max: usize) -> Self {
        Attached {
            alias: a.alias,
            epoch: a.epoch,
            ring: Ring::new(a.batches, (a.next_seq, a.next_offset), batches_max, bytes_max),
            next_offset: a.next_offset,
            time_ms: a.time_ms,
            snapshot: a.snapshot,
            phase: a.phase,
            until_ms: a.until_ms,
            previous: a.previous,
        }
    }

    /// The notice of its phase.
    pub(super) fn event(&self) -> RoomEvent<'static> {
        RoomEvent { alias: self.alias.0, phase: self.phase, at_ms: self.until_ms, detail: "" }
    }

    /// The offset at which a reader of a log goes on in this one: the same log, or one that the
    /// room had before, as far as that still holds. `None`: it can't go on.
    pub(super) fn goes_on_at(&self, (epoch, offset): (u64, u64)) -> Option<u64> {
        self.holds(epoch).filter(|held| offset <= *held).map(|_| offset)
    }

    /// Up to which offset this log is that of an epoch, if that is known.
    pub(super) fn holds(&self, epoch: u64) -> Option<u64> {
        if epoch == self.epoch {
            return Some(self.next_offset);
        }
        let earlier = self.previous.epochs().iter().find(|earlier| earlier.epoch == epoch)?;
        Some(earlier.next_offset.min(self.next_offset))
    }

    /// Can a page of another epoch, from an offset on, be read in this log?
    pub(super) fn answers_for(&self, epoch: u64, from: u64) -> bool {
        epoch == self.epoch || self.holds(epoch).is_some_and(|held| from <= held)
    }

    /// Where a member goes on whose client read up to `offset`: up to where the log is the one that it knows,
    /// and the first offset that it is given.
    pub(super) fn begins_at(&self, offset: u64, known: Known) -> (u64, u64) {
        let at = match known {
            Known::Log => offset,
            Known::Until(held) => offset.min(held),
            Known::Nothing => {
                let mut newest = self.ring.since_offset(self.ring.first_offset().unwrap_or(u64::MAX));
                let oldest = newest.as_mut().and_then(Iterator::next);
                return (0, oldest.map_or(self.next_offset, |batch| batch.first_offset));
            }
        };
        (at, at)
    }

    /// Has the ring everything from an offset on?
    pub(super) fn has_from(&self, offset: u64) -> bool {
        offset == self.next_offset || self.ring.since_offset(offset).is_some()
    }

    /// The number of the batch that begins at an offset, or of the next one at the head.
    pub(super) fn seq_at(&self, offset: u64) -> Option<u64> {
        if offset == self.next_offset {
            return Some(self.ring.next_seq());
        }
        let first = self.ring.since_offset(offset)?.next()?;
        (first.first_offset == offset).then_some(first.seq)
    }

    /// Are both at one head, by the same numbers?
    pub(super) fn is_at(&self, other: &Attached) -> bool {
        let head = |a: &Attached| (a.epoch, a.alias, a.ring.next_seq(), a.next_offset, a.state_version());
        head(self) == head(other) && self.ring.newest_first().next() == other.ring.newest_first().next()
    }

    pub(super) fn state_version(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.version.min(STATE_NOT_GIVEN - 1))
    }
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Arc<str>,
    /// `None` until the shard has answered.
    pub(super) attached: Option<Attached>,
    /// Those who wait for that answer.
    pub(super) joining: Vec<Join>,
    pub(super) members: Vec<Member>,
    /// Who is kept out.
    pub(super) bans: Bans,
    /// Members with a role, by their connections, and what their names look like.
    pub(super) staff: Vec<(u32, Likeness)>,
    /// Members that open compressed batches.
    pub(super) members_compressed: u32,
    /// Sessions among the members, without those that count by another connection.
    pub(super) viewers: u32,
    /// Where fan-out goes on in `members`.
    pub(super) walk: usize,
    /// Members may be behind the head; the room is in the list of rooms to walk.
    pub(super) is_dirty: bool,
    /// The head moved, or a member moved to a place already passed, since the walk began.
    pub(super) walk_again: bool,
    /// Reactions not handed to the shard yet.
    pub(super) reactions: Reactions,
    /// The shard knows a count of members that is no longer right.
    pub(super) is_recount_due: bool,
    /// What the shard tells of the room is awaited; the sweep at which it is asked again.
    pub(super) asks_at: Option<u32>,
}

impl Room {
    pub(super) fn new(name: Arc<str>) -> Self {
        Room {
            name,
            attached: None,
            joining: Vec::new(),
            members: Vec::new(),
            bans: Bans::default(),
            staff: Vec::new(),
            members_compressed: 0,
            viewers: 0,
            walk: 0,
            is_dirty: false,
            walk_again: false,
            reactions: Reactions::default(),
            is_recount_due: false,
            asks_at: None,
        }
    }

    /// Take a member out; the slot of the connection whose member now stands at `at`, if one was moved there.
    pub(super) fn remove_member(&mut self, at: u32) -> Option<u32> {
        self.members.swap_remove(at as usize);
        let moved = self.members.get(at as usize).map(|m| m.connection);
        if moved.is_some() && (at as usize) < self.walk {
            self.walk_again = true;
        }
        self.walk = self.walk.min(self.members.len());
        moved
    }

    /// The request of a member that waits for the answer to its subscription.
    pub(super) fn unanswered(&self, at: u32) -> Option<u32> {
        match &self.members[at as usize].cursor {
            Cursor::CatchUp(catching) => catching.unanswered.map(|join| join.request),
            Cursor::Live(_) => None,
        }
    }

    /// Does a member hold a page that its connection has not taken?
    pub(super) fn holds_page(&self, at: u32) -> bool {
        matches!(&self.members[at as usize].cursor, Cursor::CatchUp(c) if !c.page.is_empty())
    }

    /// Does a member wait for the answer to its subscription?
    pub(super) fn is_unanswered(&self, at: u32) -> bool {
        matches!(&self.members[at as usize].cursor, Cursor::CatchUp(c) if c.unanswered.is_some())
    }

    /// Does a member's client follow the log that the room has now?
    pub(super) fn is_told(&self, at: u32) -> bool {
        match &self.members[at as usize].cursor {
            Cursor::CatchUp(c) => c.unanswered.is_none() && c.known == Known::Log,
            Cursor::Live(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_small() {
        assert!(size_of::<Member>() <= 32, "{}", size_of::<Member>());
    }

    #[test]
    fn a_member_moved_behind_the_walk_is_visited_again() {
        let mut room = Room::new("r".into());
        for connection in 0..4 {
            room.members.push(Member { connection, offset: 0, cursor: Cursor::Live(0) });
        }
        room.walk = 2;
        assert_eq!(room.remove_member(3), None);
        assert!(!room.walk_again);
        assert_eq!(room.remove_member(0), Some(2));
        assert!(room.walk_again);
        assert_eq!(room.walk, 2);
    }
}
