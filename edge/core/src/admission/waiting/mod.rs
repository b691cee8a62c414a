//! The waiting line: connections that have been accepted and are not a session yet, and who must leave when
//! it is full.
//!
//! Why: whoever opens connections and says nothing costs the node a place each, for as long as a handshake
//! may take. Without a share, a handful of addresses hold every place and keep everybody else out. What one
//! address, and one neighbourhood of addresses, may hold is bounded by a share. A new connection takes the
//! place of another when the line is full, or its neighbourhood has its share: of the neighbourhood that
//! holds the most, and of the address in it that holds the most, the connection that has done the least, and
//! of these the oldest. It does so only if its own holds fewer. Within one address a new connection replaces
//! only a connection that has had [`Settings::grace_us`].
//! Invariants: at most `places_max` connections wait. No connection is replaced for one whose address holds
//! as many, unless it has had its time. Every operation costs a logarithm of the number that waits.
//! Not here: the lines of returning clients (`lines`), what a replaced client is told (the driver), the order
//! in which handshakes begin (`queue`).

pub mod lines;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::address::{Address, AddressNet};
use crate::key::Key;

/// The size of a line and of its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections that wait.
    pub places_max: usize,
    /// Of them, those of one address.
    pub address_max: usize,
    /// Of them, those of one neighbourhood.
    pub net_max: usize,
    /// How long a connection may be silent before a new connection of its own address may replace it.
    pub grace_us: u64,
}

impl Settings {
    /// A line of this size: a quarter for one address, and half for one neighbourhood.
    pub fn of_size(places_max: usize, grace_us: u64) -> Settings {
        let places_max = places_max.max(1);
        Settings {
            places_max,
            address_max: places_max.div_ceil(4),
            net_max: places_max.div_ceil(2),
            grace_us,
        }
    }
}

/// What a waiting connection has done so far; the least is replaced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has sent nothing whole.
    Silent,
    /// Its handshake has begun.
    Begun,
}

/// An address that holds one part in so many of a line clearly holds more than its own.
const HEAVY_PART: usize = 16;

/// The answer to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission<K> {
    /// It waits.
    Admitted,
    /// It waits in the place of this one, which has left the line and is to be closed.
    Replaces(K),
    /// It does not wait.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// `None`: an address that is exempt from shares.
    address: Option<Address>,
    place: Place,
}

/// The order of replacement within one address: the least done first, then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stage: Stage,
    since_us: u64,
    number: u64,
}

/// Addresses or neighbourhoods in the order of how many connections they hold.
type ByWeight<A> = BTreeSet<(usize, Option<A>)>;

/// See the module's head. `K` names a connection to the caller.
#[derive(Debug)]
pub struct WaitingLine<K> {
    settings: Settings,
    waiting: HashMap<K, Waiting, Key>,
    addresses: HashMap<Option<Address>, BTreeMap<Place, K>, Key>,
    /// Addresses of a neighbourhood by how many they hold.
    nets: HashMap<Option<AddressNet>, ByWeight<Address>, Key>,
    net_counts: HashMap<Option<AddressNet>, usize, Key>,
    /// Neighbourhoods by how many they hold.
    heaviest: ByWeight<AddressNet>,
    by_age: BTreeMap<(u64, u64), K>,
    number: u64,
}

impl<K: Copy + Eq + Hash> WaitingLine<K> {
    /// An empty line. `key` hashes addresses, which strangers choose.
    pub fn new(settings: Settings, key: Key) -> Self {
        WaitingLine {
            settings,
            waiting: HashMap::with_hasher(key),
            addresses: HashMap::with_hasher(key),
            nets: HashMap::with_hasher(key),
            net_counts: HashMap::with_hasher(key),
            heaviest: BTreeSet::new(),
            by_age: BTreeMap::new(),
            number: 0,
        }
    }

    /// A connection of this address wants to wait. `None` is an address that is exempt from shares.
    pub fn admit(&mut self, key: K, address: Option<Address>, stage: Stage, now_us: u64) -> Admission<K> {
        debug_assert!(!self.waiting.contains_key(&key), "a connection waits once");
        let admission = self.judge(address, now_us);
        if let Admission::Replaces(other) = admission {
            self.leave(other);
        }
        if admission != Admission::Refused {
            self.insert(key, address, stage, now_us);
        }
        admission
    }

    /// What [`Self::admit`] would answer.
    pub fn judge(&self, address: Option<Address>, now_us: u64) -> Admission<K> {
        let of_address = self.of_address(address);
        let replaced = if address.is_some() && of_address >= self.settings.address_max {
            self.worst_of(address, Some(now_us))
        } else if address.is_some() && self.of_net(address) >= self.settings.net_max {
            self.of_own_net(address, now_us)
        } else if self.len() >= self.settings.places_max {
            self.victim(address, now_us)
        } else {
            return Admission::Admitted;
        };
        replaced.map_or(Admission::Refused, Admission::Replaces)
    }

    /// The node has no place for another connection: one that waits here gives way to a new one of this
    /// address, by the rules of a full line. It has left the line. Nobody gives way to an exempt address only
    /// for its age.
    pub fn give_way(&mut self, address: Option<Address>, now_us: u64) -> Option<K> {
        let gone = match address {
            Some(_) => self.victim(address, now_us),
            None => self.heavier(None),
        }?;
        self.leave(gone);
        Some(gone)
    }

    /// This address has as many connections as it may: of its own, the one that has done the least gives way
    /// to a new one, once it has had its time. It has left the line.
    pub fn give_way_to_own(&mut self, address: Address, now_us: u64) -> Option<K> {
        let gone = self.worst_of(Some(address), Some(now_us))?;
        self.leave(gone);
        Some(gone)
    }

    /// Is it worth while to admit anybody now? While all that wait are young and of many neighbourhoods,
    /// a new one would only take the place of another.
    pub fn has_room(&self, now_us: u64) -> bool {
        let heavy = (self.settings.places_max / HEAVY_PART).max(2);
        let mut heaviest = self.heaviest.iter().rev().filter(|(_, net)| net.is_some());
        self.len() < self.settings.places_max
            || self.oldest(now_us).is_some()
            || heaviest.next().is_some_and(|&(held, _)| held > heavy)
    }

    /// The connection has done more.
    pub fn advance(&mut self, key: K, stage: Stage) {
        if let Some(Waiting { address, place }) = self.waiting.get(&key).copied()
            && place.stage < stage
        {
            self.leave(key);
            self.insert(key, address, stage, place.since_us);
        }
    }

    /// The connection waits no longer, however that came. Returns whether it did.
    pub fn leave(&mut self, key: K) -> bool {
        let Some(Waiting { address, place }) = self.waiting.remove(&key) else { return false };
        let before = self.of_address(address);
        if let Some(places) = self.addresses.get_mut(&address) {
            places.remove(&place);
        }
        self.by_age.remove(&(place.since_us, place.number));
        self.recount(address, before, before - 1);
        true
    }

    /// The connection that gives way first; it has left the line.
    pub fn displace(&mut self) -> Option<K> {
        let &(_, net) = self.heaviest.last()?;
        let key = self.worst_of(self.heaviest_of(net), None)?;
        self.leave(key);
        Some(key)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn insert(&mut self, key: K, address: Option<Address>, stage: Stage, since_us: u64) {
        self.number += 1;
        let place = Place { stage, since_us, number: self.number };
        let before = self.of_address(address);
        self.waiting.insert(key, Waiting { address, place });
        self.addresses.entry(address).or_default().insert(place, key);
        self.by_age.insert((since_us, place.number), key);
        self.recount(address, before, before + 1);
    }

    /// An address holds `after` places in place of `before`.
    fn recount(&mut self, address: Option<Address>, before: usize, after: usize) {
        let net = net(address);
        let of_net = self.net_counts.get(&net).copied().unwrap_or(0);
        let now = of_net + after - before;
        self.heaviest.remove(&(of_net, net));
        let addresses = self.nets.entry(net).or_default();
        addresses.remove(&(before, address));
        if after > 0 {
            addresses.insert((after, address));
        } else {
            self.addresses.remove(&address);
        }
        if now > 0 {
            self.net_counts.insert(net, now);
            self.heaviest.insert((now, net));
        } else {
            self.net_counts.remove(&net);
            self.nets.remove(&net);
        }
    }

    fn of_address(&self, address: Option<Address>) -> usize {
        self.addresses.get(&address).map_or(0, BTreeMap::len)
    }

    fn of_net(&self, address: Option<Address>) -> usize {
        self.net_counts.get(&net(address)).copied().unwrap_or(0)
    }

    fn heaviest_of(&self, net: Option<AddressNet>) -> Option<Address> {
        self.nets.get(&net).and_then(|addresses| addresses.last()).and_then(|&(_, address)| address)
    }

    /// Who gives way to a new connection when no place is left.
    fn victim(&self, address: Option<Address>, now_us: u64) -> Option<K> {
        // Where nobody holds clearly more: one of its own that has had its time, or else the oldest of all.
        self.heavier(address).or_else(|| match self.of_net(address) {
            0 => self.oldest(now_us),
            _ => self.of_own_net(address, now_us),
        })
    }

    /// The worst place of whoever holds clearly more than this address.
    fn heavier(&self, address: Option<Address>) -> Option<K> {
        let &(most, net_of_most) = self.heaviest.last()?;
        if most > self.of_net(address) + 1 {
            return self.worst_of(self.heaviest_of(net_of_most), None);
        }
        self.heavier_in_net(address)
    }

    fn heavier_in_net(&self, address: Option<Address>) -> Option<K> {
        let heaviest = self.heaviest_of(net(address));
        let is_heavier = self.of_address(heaviest) > self.of_address(address) + 1;
        is_heavier.then(|| self.worst_of(heaviest, None)).flatten()
    }

    /// The worst place of its own neighbourhood: of an address that holds clearly more; else one of its own
    /// address, or of one that holds as many, that has had its time.
    fn of_own_net(&self, address: Option<Address>, now_us: u64) -> Option<K> {
        self.heavier_in_net(address).or_else(|| {
            let own = if self.of_address(address) > 0 { address } else { self.heaviest_of(net(address)) };
            self.worst_of(own, Some(now_us))
        })
    }

    /// The oldest connection, if it has had its time.
    fn oldest(&self, now_us: u64) -> Option<K> {
        let (&(since_us, _), key) = self.by_age.first_key_value()?;
        (since_us + self.settings.grace_us <= now_us).then_some(*key)
    }

    /// Of an address, the connection that has done the least, and of these the oldest. With a time, only one
    /// that has had its grace then.
    fn worst_of(&self, address: Option<Address>, now_us: Option<u64>) -> Option<K> {
        let (place, key) = self.addresses.get(&address)?.first_key_value()?;
        now_us.is_none_or(|now_us| place.since_us + self.settings.grace_us <= now_us).then_some(*key)
    }
}

fn net(address: Option<Address>) -> Option<AddressNet> {
    address.map(Address::net)
}
