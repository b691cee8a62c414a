//! Administration: an operator's requests to a shard, and their answers.
//!
//! Not here: what a shard does with a request (`shard::admin`), requests to all shards (`runtime::admin`).

use grandstand_protocol::frame::{Category, Durability, Phase};
use grandstand_protocol::refusal::Refusal;

use super::id::{Alias, ConnectionToken, PersonId};
use super::settings::RoomSettings;

/// An operator's request to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Make a room, or return the room that exists, with the settings that it has.
    Create {
        /// Its name.
        room: String,
        /// The settings of a room that is made, checked ([`RoomSettings::check`]).
        settings: RoomSettings,
    },
    /// Accept publications (again).
    Open {
        /// Its name.
        room: String,
    },
    /// Look at the times of the room's show: they may have changed.
    FollowShow {
        /// Its name.
        room: String,
    },
    /// Refuse publications from now on; viewers stay.
    Close {
        /// Its name.
        room: String,
    },
    /// Remove the room and detach its members.
    Remove {
        /// Its name.
        room: String,
    },
    /// Set a key of its state.
    SetState {
        /// Its name.
        room: String,
        /// The key.
        key: String,
        /// The value; `None` removes.
        value: Option<Vec<u8>>,
    },
    /// Give a room settings of its own, which replace all its earlier ones.
    Configure {
        /// Its name.
        room: String,
        /// The settings, checked ([`RoomSettings::check`]).
        settings: RoomSettings,
    },
    /// This shard's rooms whose names begin with `prefix`, in name order, after `after`, at most `limit`.
    List {
        /// Beginning of the names.
        prefix: String,
        /// Names after this one.
        after: String,
        /// The most rooms in the answer.
        limit: usize,
    },
    /// Who is held in a room, and what is reported there.
    Moderation {
        /// Its name.
        room: String,
    },
    /// Take back what holds a person in a room.
    Lift {
        /// Its name.
        room: String,
        /// The number of the person, as [`Moderated`] has it.
        person: PersonId,
    },
    /// A room's state, without the node's own viewer count.
    State {
        /// Its name.
        room: String,
    },
    /// This shard's counters.
    Counters,
}

impl AdminRequest {
    /// The room of the request; `None`: the request is for all shards.
    pub fn room(&self) -> Option<&str> {
        match self {
            AdminRequest::Create { room, .. }
            | AdminRequest::Open { room }
            | AdminRequest::Close { room }
            | AdminRequest::FollowShow { room }
            | AdminRequest::Remove { room }
            | AdminRequest::State { room }
            | AdminRequest::SetState { room, .. }
            | AdminRequest::Configure { room, .. }
            | AdminRequest::Moderation { room }
            | AdminRequest::Lift { room, .. } => Some(room),
            AdminRequest::List { .. } | AdminRequest::Counters => None,
        }
    }
}

/// The answer to one [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminReply {
    /// Who asked: a connection, or the request's number when the node itself asked.
    pub connection: ConnectionToken,
    /// The answer, or why the request was refused.
    pub answer: Result<AdminAnswer, Refusal>,
}

/// See [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAnswer {
    /// One room.
    Room(RoomInfo),
    /// Several rooms.
    Rooms(Vec<RoomInfo>),
    /// What moderators look after in a room.
    Moderation(Moderated),
    /// A room's state.
    State {
        /// Its version.
        version: u64,
        /// Keys, in order, and their values.
        entries: Vec<(String, Vec<u8>)>,
    },
    /// Counters of the shard, by metric name. The names are a fixed list, so a decoder can look them up in
    /// its own.
    Counters(Vec<(&'static str, u64)>),
}

/// What moderators look after in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moderated {
    /// People who are held.
    pub held: Vec<HeldPerson>,
    /// Messages that people reported, in the order of offsets.
    pub reported: Vec<Reported>,
}

/// A person who is held in a room. Times are ends, in milliseconds since 1970: `None` is not held, 0 is for
/// ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPerson {
    /// The number of the user, or of the place of an anonymous session.
    pub person: PersonId,
    /// May not speak.
    pub timeout_ms: Option<u64>,
    /// May not be in the room.
    pub ban_ms: Option<u64>,
    /// Is shown to nobody else.
    pub shadow_ms: Option<u64>,
    /// Must acknowledge this first.
    pub warning: Option<Box<str>>,
}

/// A message that people reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Its offset.
    pub offset: u64,
    /// Why, and a word of whoever reported it; not who that was.
    pub reports: Vec<(Category, Box<str>)>,
}

/// A room as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub name: String,
    /// Its alias.
    pub alias: Alias,
    /// The epoch of its log.
    pub epoch: u64,
    /// Its phase.
    pub phase: Phase,
    /// Next offset: the number of messages that it ever accepted.
    pub next_offset: u64,
    /// Oldest offset still kept.
    pub oldest_offset: u64,
    /// Members over all workers.
    pub viewers: u64,
    /// Bytes of history kept.
    pub history_bytes: u64,
    /// Version of its state.
    pub state_version: u64,
    /// Shortest time between two of its batches at present.
    pub tick_ms: u64,
    /// The room's own settings.
    pub settings: RoomSettings,
    /// Where its log is kept.
    pub durability: Durability,
}
