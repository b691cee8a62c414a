//! A session: who speaks on a connection, what they may do, and the rooms that they follow.
//!
//! Why apart from the connection: a connection exists before its session, and a session could outlive it.

use grandstand_engine::link::{Alias, Now, PersonId, UserId};
use grandstand_protocol::frame::{Role, permission};
use smallvec::SmallVec;

use super::expiry::Ending;
use super::room::RoomKey;
use super::settings::Settings;
use super::token_bucket::{Rate, TokenBucket};
use crate::auth::{Grant, RoomScope, TicketBody};
use crate::people::{Limited, People, Person};

/// One room that a session follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) room: RoomKey,
    /// `None` while the room is being attached.
    pub(super) place: Option<Place>,
}

/// A session's place in an attached room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where the member is in the room's list.
    pub(super) member: u32,
    pub(super) alias: Alias,
    /// Whether this connection is the one by which the session counts as a viewer.
    pub(super) is_counted: bool,
    /// Whether the session has come to another node since, and counts there.
    pub(super) is_elsewhere: bool,
}

/// Heartbeats at once that are the connection's alone: so an idle viewer leaves no trace among people. A
/// handshake costs more than so many, so that nobody gains by reconnecting.
const HEARTBEATS_FREE: u32 = 32;

/// A connection whose person has used up its frames is closed when it has sent half of a burst itself. Below
/// that, others of that person did, or others at its place: it is refused, and stays.
const PART_OF_BURST: u32 = 2;

/// Whether a frame is within its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameVerdict {
    Taken,
    /// The person sends too many, over all its connections.
    Limited {
        after_ms: u32,
    },
    /// The connection does.
    Flooding,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) user: UserId,
    /// Who it is to the limits.
    pub(super) person: Person,
    pub(super) name: Box<str>,
    pub(super) role: Role,
    pub(super) permissions: u32,
    /// It has no user of its own: nonces are the session's.
    pub(super) is_anonymous: bool,
    /// By which its token can be revoked; 0 for none.
    pub(super) token: u64,
    /// When this connection of it began, by the monotonic clock.
    pub(super) begun_us: u64,
    /// When it ends because its token runs out; `None` for never, so that the common case costs a word.
    pub(super) ending: Option<Box<Ending>>,
    /// Rooms it may enter; `None` for all, so that the common case costs a word.
    pub(super) scope: Option<Box<RoomScope>>,
    /// Of a person's publications, where too many people are remembered.
    publish: TokenBucket,
    /// Of all else that a person is limited in, where too many people are remembered.
    rest: TokenBucket,
    /// Of the connection: what floods it is closed.
    frames: TokenBucket,
    /// The rooms that it follows; the one whose past was asked for last is last.
    pub(super) memberships: SmallVec<[Membership; 1]>,
    /// A page was asked for and has not come, for whatever room.
    pub(super) is_page_asked: bool,
    /// Pages that its client asked for and that have not come.
    pub(super) pages_asked: u32,
}

impl Session {
    /// A session that a ticket continues or that begins, of a person with these rights.
    pub(super) fn new(now: Now, body: TicketBody, person: Person, name: Box<str>, grant: Grant) -> Self {
        Session {
            number: body.session,
            user: body.user,
            person,
            name,
            role: grant.role,
            permissions: grant.permissions,
            is_anonymous: grant.user.is_none(),
            token: grant.token,
            begun_us: now.us,
            ending: None,
            scope: if matches!(grant.rooms, RoomScope::All) { None } else { Some(Box::new(grant.rooms)) },
            publish: TokenBucket::default(),
            rest: TokenBucket::default(),
            frames: TokenBucket::default(),
            memberships: SmallVec::new(),
            is_page_asked: false,
            pages_asked: 0,
        }
    }

    /// Take from what the person may do over all connections.
    pub(super) fn take(
        &mut self,
        people: &People,
        now: Now,
        (what, rate): (Limited, Rate),
        tokens: u32,
    ) -> Result<(), u32> {
        let taken = people.take(now, &mut self.person, (what, rate), tokens);
        let bucket = match what {
            Limited::Frames => &mut self.frames,
            Limited::Publications => &mut self.publish,
            Limited::Reactions | Limited::Pages | Limited::Renewals => &mut self.rest,
        };
        taken.unwrap_or_else(|| bucket.take(now, rate, tokens))
    }

    /// What a ban of it may name.
    pub(super) fn numbers(&self) -> [PersonId; 2] {
        [PersonId(self.user.0), self.person.held()]
    }

    pub(super) fn may(&self, permission: u32) -> bool {
        self.permissions & permission != 0
    }

    pub(super) fn membership(&self, room: RoomKey) -> Option<&Membership> {
        self.memberships.iter().find(|m| m.room == room)
    }

    pub(super) fn membership_mut(&mut self, room: RoomKey) -> Option<&mut Membership> {
        self.memberships.iter_mut().find(|m| m.room == room)
    }

    /// The room that an alias names in this session, and the place in it.
    pub(super) fn room(&self, alias: u32) -> Option<(RoomKey, Place)> {
        self.memberships.iter().find_map(|m| Some((m.room, m.place.filter(|p| p.alias.0 == alias)?)))
    }

    /// How many frames it may send.
    pub(super) fn frame_rate(&self, settings: &Settings) -> Rate {
        if self.may(permission::BRIDGE) { settings.bridge_publish } else { settings.frames }
    }

    /// Take one frame from what its connection and its person may send.
    pub(super) fn take_frame(
        &mut self,
        people: &People,
        now: Now,
        settings: &Settings,
        is_heartbeat: bool,
    ) -> FrameVerdict {
        let rate = self.frame_rate(settings);
        if self.frames.take(now, rate, 1).is_err() {
            return FrameVerdict::Flooding;
        }
        let sent = self.frames.missing();
        if is_heartbeat && sent <= HEARTBEATS_FREE {
            return FrameVerdict::Taken;
        }
        match people.take_frame(now, &mut self.person, rate) {
            Some(Err(_)) if sent > rate.burst / PART_OF_BURST => FrameVerdict::Flooding,
            Some(Err(after_ms)) => FrameVerdict::Limited { after_ms },
            Some(Ok(())) | None => FrameVerdict::Taken,
        }
    }
}
