//! People: what a node knows of each person over connections, sessions and workers, so that a limit of a
//! person is not a limit of a connection.
//!
//! A *person* is who a limit holds. With a token that names a user, it is the user. An anonymous session is
//! held twice: by its number, which its ticket brings to the next connection, and by its *place* at its
//! address, which it has without any ticket. Places are numbered from 0, and a new session gets the lowest
//! that is free. So who reconnects without a ticket gets the place that it left, with what it owes there,
//! while many people behind one address have places of their own, up to a bound. Above the bound they share.
//!
//! - `allowances`: the token buckets of people, and what a request takes from them;
//! - `places`: the places of anonymous sessions at each address;
//! - `watching`: which session counts as a viewer of which room, and on which connection.
//!
//! Why a table that workers share: one person may be on all workers at once. It is asked once per request
//! that a limit counts, once per hello and once per join, never per delivery; so its locks are short and
//! mostly free.
//! Invariants: every table here is bounded, and keyed by a secret: strangers choose neither what falls
//! together nor whom they share a bucket with. Whatever mixture of connections, reconnects, tickets and
//! workers a person uses, at most a burst and the rate times the time is accepted.
//! With several nodes (issue 11) this is the seam: each node asks its own table, and the nodes that hold a
//! person's sessions share what was taken.
//! Not here: what is limited (`audience`), slow mode (the engine), connections and handshakes (`admission`).

mod allowances;
mod places;
mod watching;

use std::hash::{BuildHasher, Hasher};

use grandstand_engine::link::{Now, Opener, PersonId, UserId};

use allowances::Allowances;
pub use allowances::Limited;
use places::Places;
use watching::Watching;

use crate::admission::limits::Address;
use crate::audience::Rate;
use crate::key::Key;

/// The address of a client, as people know it: an IPv4 address or an IPv6 /64 under a secret. 0: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressBlock(u64);

/// Bounds of the tables. Each is explained at its key in the node's configuration.
#[derive(Clone, Copy, Debug)]
pub struct PeopleLimits {
    /// Places of anonymous sessions at one address: their limits together are so many times a person's.
    pub places_per_address: u32,
    /// People whose allowance is not full that are remembered. Above it, a person's limit is the
    /// connection's.
    pub remembered_max: usize,
}

impl PeopleLimits {
    /// Bounds that suit tests, the simulator and the micro benches.
    pub fn for_tests() -> Self {
        PeopleLimits { places_per_address: 64, remembered_max: 65_536 }
    }
}

/// Who a session is to the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user, or the number of an anonymous session.
    own: PersonId,
    /// The place of an anonymous session, and the person that it stands for.
    place: Option<(AddressBlock, u32, PersonId)>,
}

impl Person {
    /// The person besides the user whom slow mode holds.
    pub(crate) fn held(&self) -> PersonId {
        self.place.map_or(self.own, |(_, _, person)| person)
    }

    /// On whose account it opens rooms: an anonymous session on its address's.
    pub(crate) fn opener(&self, is_trusted: bool) -> Opener {
        let person = self.place.map_or(self.own, |(block, ..)| PersonId(block.0));
        Opener { person: if is_trusted { PersonId::NODE } else { person }, is_trusted }
    }
}

/// See the file's head.
#[derive(Debug)]
pub struct People {
    key: Key,
    allowances: Allowances,
    places: Places,
    watching: Watching,
}

impl People {
    /// Nobody is known yet. A node draws the key from the kernel, a test fixes it.
    pub fn new(limits: PeopleLimits, key: Key) -> People {
        People {
            key,
            allowances: Allowances::new(limits.remembered_max, key),
            places: Places::new(limits.places_per_address, key),
            watching: Watching::new(key),
        }
    }

    /// The block of a client's address.
    pub fn block(&self, address: Address) -> AddressBlock {
        let (kind, bits) = match address {
            Address::V4(bits) => (4, u64::from(bits)),
            Address::V6(bits) => (6, bits),
        };
        AddressBlock(self.hash(b"block", kind, bits).max(1))
    }

    /// A session begins, of this user or anonymous, on a connection from this address. Each is followed by
    /// one [`People::leave`].
    pub fn enter(&self, user: Option<UserId>, session: u64, block: AddressBlock) -> Person {
        match user {
            Some(user) => Person { own: PersonId::of_user(user), place: None },
            None if block == AddressBlock::default() => Person { own: PersonId(session), place: None },
            None => {
                let at = self.places.take(block);
                let person = PersonId(self.hash(b"place", block.0, at.into()));
                Person { own: PersonId(session), place: Some((block, at, person)) }
            }
        }
    }

    /// The session's connection is gone.
    pub fn leave(&self, person: &Person) {
        if let Some((block, at, _)) = person.place {
            self.places.give_back(block, at);
        }
    }

    /// Take from a person's allowance of `what`. `None`: this person is not remembered, since too many are:
    /// ask the connection's own.
    ///
    /// # Errors
    /// After how many milliseconds there is enough.
    pub fn take(
        &self,
        now: Now,
        person: &Person,
        what: Limited,
        rate: Rate,
        tokens: u32,
    ) -> Option<Result<(), u32>> {
        let own = self.allowances.take(now, person.own, what, rate, tokens)?;
        let Some((_, _, place)) = person.place else { return Some(own) };
        if own.is_err() {
            return Some(own);
        }
        let taken = self.allowances.take(now, place, what, rate, tokens);
        if !matches!(taken, Some(Ok(()))) {
            self.allowances.give_back(person.own, what, tokens);
        }
        taken
    }

    /// A session follows a room on one more connection: does this connection count as its viewer?
    pub(crate) fn watch(&self, session: u64, room: u32) -> bool {
        self.watching.enter(self.hash(b"watch", session, room.into()))
    }

    /// A connection of the session that did not count looks whether the one that did has left.
    pub(crate) fn claim(&self, session: u64, room: u32) -> bool {
        self.watching.claim(self.hash(b"watch", session, room.into()))
    }

    /// A connection of the session, which counted or did not, follows the room no longer.
    pub(crate) fn unwatch(&self, session: u64, room: u32, counted: bool) {
        self.watching.leave(self.hash(b"watch", session, room.into()), counted);
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
