//! People: what a node knows of each person over connections, sessions and workers, so that a limit of a
//! person is not a limit of a connection.
//!
//! A *person* is who a limit holds. With a token that names a user, it is the user. An anonymous session is
//! held twice: by its number, which its ticket brings to the next connection, and by its *place* at its
//! address, which it has without any ticket. Places are numbered from 0, and a new session gets the lowest
//! that is free. So who reconnects without a ticket gets the place that it left, with what it owes there,
//! while many people behind one address have places of their own, up to a bound. Above the bound they share.
//! Clients of a trusted proxy that does not tell their addresses have places without a bound, at the proxy.
//! A bridge has allowances of its own, since its rates are others; they are a person's too.
//!
//! - `allowances`: the token buckets of people, and what a request takes from them;
//! - `shared`: what other nodes must hear of;
//! - `sessions`: the sessions of each named user;
//! - `places`: the places of anonymous sessions at each address;
//! - `watching`: which session counts as a viewer of which room, and on which connection.
//!
//! Why a table that workers share: one person may be on all workers at once. It is asked once per request
//! that a limit counts, once per hello and once per join, never per delivery; so its locks are short and
//! mostly free.
//! Invariants: every table here is bounded, and keyed by a secret: strangers choose neither what falls
//! together nor whom they share a bucket with. Whatever mixture of connections, reconnects, tickets and
//! workers a person uses, at most a burst and the rate times the time is accepted.
//! With several nodes each node asks its own table, and tells the others several times a second what was
//! taken (`shared`). So over nodes, too, a person gets one burst more for each further node, and then the
//! rate.
//! Not here: what is limited (`audience`), slow mode (the engine), connections and handshakes (`admission`).

mod allowances;
mod places;
mod sessions;
mod shared;
mod watching;

use std::hash::{BuildHasher, Hasher};

use grandstand_engine::link::{Now, Opener, PersonId, UserId};

use allowances::{Allowances, Hint};
pub use allowances::{KINDS, Limited, Taken};
use places::Places;
use sessions::Sessions;
use shared::Returned;
pub use shared::SHARED_MAX;
use watching::Watching;

use crate::admission::limits::Address;
use crate::audience::Rate;
use crate::key::Key;

/// The address of a client, as people know it: an IPv4 address or an IPv6 /64 under a secret. 0: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressBlock(u64);

impl AddressBlock {
    /// Whether it is a proxy's, behind which there may be any number of clients.
    fn is_shared(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Bounds of the tables. Each is explained at its key in the node's configuration.
#[derive(Clone, Copy, Debug)]
pub struct PeopleLimits {
    /// Places of anonymous sessions at one address: their limits together are so many times a person's.
    pub places_per_address: u32,
    /// People whose allowance is not full that are remembered. Above it, a person's limit is the
    /// connection's.
    pub remembered_max: usize,
    /// Sessions of a named user; 0 sets no bound.
    pub sessions_per_user: u32,
}

impl PeopleLimits {
    /// Bounds that suit tests, the simulator and the micro benches.
    pub fn for_tests() -> Self {
        PeopleLimits { places_per_address: 64, remembered_max: 65_536, sessions_per_user: 0 }
    }
}

/// Who a session is to the limits.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The user, or the number of an anonymous session.
    own: PersonId,
    /// The person that the place of an anonymous session stands for, and where that is; a block of 0: it has
    /// none.
    place: PersonId,
    block: AddressBlock,
    at: u32,
    /// Where the allowances of both were last.
    hints: [Hint; 2],
    is_bridge: bool,
}

/// What the allowances of a bridge are kept by: its rates are others, so they are none of its user's.
const OF_BRIDGE: u64 = 0x6272_6964_6765_7321;

impl Person {
    fn of(own: PersonId) -> Person {
        let (place, block) = (PersonId::NODE, AddressBlock::default());
        Person { own, place, block, at: 0, hints: [Hint::MAX; 2], is_bridge: false }
    }

    fn is_placed(&self) -> bool {
        self.block != AddressBlock::default()
    }

    /// The same person as a bridge, or as none.
    #[must_use]
    pub fn as_bridge(self, is_bridge: bool) -> Person {
        Person { is_bridge, ..self }
    }

    /// By what an allowance of these two is kept.
    #[inline]
    fn kept_by(&self, person: PersonId) -> PersonId {
        if self.is_bridge { PersonId(person.0 ^ OF_BRIDGE) } else { person }
    }

    /// The person besides the user whom slow mode holds.
    pub(crate) fn held(&self) -> PersonId {
        if self.is_placed() { self.place } else { self.own }
    }

    /// On whose account it opens rooms: an anonymous session on its address's, or, where nobody knows that,
    /// on its place's.
    pub(crate) fn opener(&self, is_trusted: bool) -> Opener {
        let person = match self.block {
            AddressBlock(0) => self.own,
            block if block.is_shared() => self.place,
            block => PersonId(block.0),
        };
        Opener { person: if is_trusted { PersonId::NODE } else { person }, is_trusted }
    }
}

/// See the file's head.
#[derive(Debug)]
pub struct People {
    key: Key,
    allowances: Allowances,
    places: Places,
    sessions: Sessions,
    watching: Watching,
    returned: Returned,
}

impl People {
    /// Nobody is known yet. A node draws the key from the kernel, a test fixes it.
    pub fn new(limits: PeopleLimits, key: Key) -> People {
        People {
            key,
            allowances: Allowances::new(limits.remembered_max, key),
            places: Places::new(limits.places_per_address, key),
            sessions: Sessions::new(limits.sessions_per_user, key),
            watching: Watching::new(key),
            returned: Returned::default(),
        }
    }

    /// The block of a client's address.
    pub fn block(&self, address: Address) -> AddressBlock {
        AddressBlock((self.hash_address(b"block", address) & !1).max(2))
    }

    /// The block of the clients of a proxy that does not tell their addresses.
    pub fn block_behind(&self, proxy: Address) -> AddressBlock {
        AddressBlock(self.hash_address(b"proxy", proxy) | 1)
    }

    /// A session begins, of this user or anonymous, on a connection from this address. Each is followed by
    /// one [`People::leave`].
    pub fn enter(&self, user: Option<UserId>, session: u64, block: AddressBlock) -> Person {
        let person = Person::of(user.map_or(PersonId(session), PersonId::of_user));
        if user.is_some() || block == AddressBlock::default() {
            return person;
        }
        let at = self.places.take(block);
        let place = PersonId(self.hash(b"place", block.0, at.into()));
        Person { place, block, at, ..person }
    }

    /// The session's connection is gone.
    pub fn leave(&self, person: &Person) {
        if person.is_placed() {
            self.places.give_back(person.block, person.at);
        }
    }

    /// A named user's session begins on one more connection. `false`: the user has as many as it may, and
    /// this is another one. Each that began is followed by one [`People::end_session`].
    pub fn begin_session(&self, user: UserId, session: u64, is_exempt: bool) -> bool {
        self.sessions.begin(user, session, is_exempt)
    }

    /// One connection of a named user's session is gone.
    pub fn end_session(&self, user: UserId, session: u64) {
        self.sessions.end(user, session);
    }

    /// Take from a person's allowance of `what`. `None`: this person is not remembered, since too many are:
    /// ask the connection's own.
    ///
    /// # Errors
    /// After how many milliseconds there is enough.
    #[inline]
    pub fn take(
        &self,
        now: Now,
        person: &mut Person,
        (what, rate): (Limited, Rate),
        tokens: u32,
    ) -> Option<Result<(), u32>> {
        let (own, place) = (person.kept_by(person.own), person.kept_by(person.place));
        // A bridge's rates are of another kind, and its operator's.
        let is_shared = !person.is_bridge;
        let taken =
            self.allowances.take(now, (own, &mut person.hints[0]), (what, rate), tokens, is_shared)?;
        if !person.is_placed() || taken.is_err() {
            return Some(taken);
        }
        let taken = self.allowances.take(now, (place, &mut person.hints[1]), (what, rate), tokens, is_shared);
        if !matches!(taken, Some(Ok(()))) {
            self.allowances.give_back(own, what, tokens);
        }
        taken
    }

    /// Take one frame from a person's allowance: an anonymous session's is its place's. `None` as for
    /// [`People::take`].
    ///
    /// # Errors
    /// After how many milliseconds there is one.
    #[inline]
    pub fn take_frame(&self, now: Now, person: &mut Person, rate: Rate) -> Option<Result<(), u32>> {
        let at = usize::from(person.is_placed());
        let of = person.kept_by([person.own, person.place][at]);
        self.allowances.take(now, (of, &mut person.hints[at]), (Limited::Frames, rate), 1, false)
    }

    /// People whose allowance is not full, as far as they are remembered.
    pub fn remembered(&self) -> usize {
        self.allowances.len()
    }

    /// A session follows a room on one more connection: does this connection count as its viewer?
    pub(crate) fn watch(&self, session: u64, room: u32) -> bool {
        self.watching.enter(self.hash(b"watch", session, room.into()))
    }

    /// A connection of the session that did not count looks whether the one that did has left.
    pub(crate) fn claim(&self, session: u64, room: u32) -> bool {
        self.watching.claim(self.hash(b"watch", session, room.into()))
    }

    /// The connection of the session that counted does so no more.
    pub(crate) fn uncount(&self, session: u64, room: u32) {
        self.watching.uncount(self.hash(b"watch", session, room.into()));
    }

    /// A connection of the session, which counted or did not, follows the room no longer.
    pub(crate) fn unwatch(&self, session: u64, room: u32, counted: bool) {
        self.watching.leave(self.hash(b"watch", session, room.into()), counted);
    }

    fn hash_address(&self, domain: &[u8; 5], address: Address) -> u64 {
        let (kind, bits) = match address {
            Address::V4(bits) => (4, u64::from(bits)),
            Address::V6(bits) => (6, bits),
        };
        self.hash(domain, kind, bits)
    }

    fn hash(&self, domain: &[u8; 5], a: u64, b: u64) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write(domain);
        hasher.write_u64(a);
        hasher.write_u64(b);
        hasher.finish()
    }
}

/// Parts of a table, each under a lock of its own: workers that ask at once mostly ask different ones.
const PARTS: usize = 64;

/// The part of a number that is evenly spread.
fn part_of(number: u64) -> usize {
    (number >> 58) as usize
}

#[cfg(test)]
mod tests;
