//! Presence: the sessions of a worker, as an operator sees them, and which rooms they are in.
//!
//! Why in order of their numbers: pages of several workers are merged, and a session that comes or goes
//! meanwhile is never the cause that another one is missed.
//! Invariant: a page looks at each session once and keeps no more than its limit.
//! Not here: who may ask, the sum over workers (the node).

use grandstand_engine::link::Now;
use grandstand_protocol::frame::Role;

use super::Audience;
use super::rooms::Rooms;
use super::session::Session;

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct PresenceQuery {
    /// Only those with higher numbers.
    pub after: u64,
    /// The most of them.
    pub limit: usize,
    /// Only those in this room.
    pub room: Option<Box<str>>,
    /// Only those of this user.
    pub user: Option<u64>,
}

/// A session that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its number.
    pub number: u64,
    /// Its display name.
    pub name: Box<str>,
    /// Its role.
    pub role: Role,
    /// Has it no user of its own?
    pub is_anonymous: bool,
    /// How long this connection of it has been open.
    pub age_us: u64,
    /// The rooms that it follows.
    pub rooms: Vec<Box<str>>,
}

/// A page of the sessions with open connections, in order of their numbers.
pub fn presence(audience: &Audience, now: Now, query: &PresenceQuery) -> Vec<Present> {
    let (connections, rooms) = (&audience.subscriptions.connections, &audience.subscriptions.rooms);
    let mut found: Vec<(u64, u32)> = Vec::new();
    for ix in connections.slots() {
        let Some(session) = connections[ix].session.as_deref() else { continue };
        if session.number > query.after && is_wanted(rooms, session, query) {
            found.push((session.number, ix));
        }
    }
    found.sort_unstable();
    // While a session moves from one connection to the next it has two.
    found.dedup_by_key(|(number, _)| *number);
    found.truncate(query.limit);
    let present = |(_, ix): &(u64, u32)| connections[*ix].session.as_deref().map(|s| present(rooms, now, s));
    found.iter().filter_map(present).collect()
}

fn is_wanted(rooms: &Rooms, session: &Session, query: &PresenceQuery) -> bool {
    let of_user = |user: u64| !session.is_anonymous && session.user.0 == user;
    query.user.is_none_or(of_user)
        && query.room.as_deref().is_none_or(|room| rooms_of(rooms, session).any(|name| name == room))
}

fn rooms_of<'a>(rooms: &'a Rooms, session: &'a Session) -> impl Iterator<Item = &'a str> {
    let joined = session.memberships.iter().filter(|membership| membership.place.is_some());
    joined.map(|membership| &*rooms[membership.room].name)
}

fn present(rooms: &Rooms, now: Now, session: &Session) -> Present {
    Present {
        number: session.number,
        name: session.name.clone(),
        role: session.role,
        is_anonymous: session.is_anonymous,
        age_us: now.us.saturating_sub(session.begun_us),
        rooms: rooms_of(rooms, session).map(Box::from).collect(),
    }
}
