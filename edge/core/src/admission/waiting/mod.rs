//! The waiting line: connections that have been accepted and are not a session yet, and who must leave when
//! it is full.
//!
//! Why: whoever opens connections and says nothing costs the node a place each, for as long as a handshake
//! may take. Without a share, a handful of addresses hold every place and keep everybody else out. What one
//! address, and one neighbourhood of addresses, may hold is bounded by a share. When the line is full, a new
//! connection takes the place of another: of the neighbourhood that holds the most, and of the address in it
//! that holds the most, the connection that has done the least, and of these the oldest. It does so only if
//! its own holds fewer. Within one address a new connection replaces only a connection that has had
//! [`Settings::grace_us`]. Clients that have proved an earlier visit have places of their own beyond the
//! others. Invariants: at most `places_max` connections wait, and `returning_max` returning ones more. No
//! connection is replaced for one whose address holds as many. Every operation costs a logarithm of the
//! number that waits. Not here: what a replaced client is told (the driver), the order in which handshakes
//! begin (`queue`).

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
    /// Returning clients beyond `places_max`.
    pub returning_max: usize,
    /// How long a connection may be silent before a new connection of its own address may replace it.
    pub grace_us: u64,
}

impl Settings {
    /// A line of this size: a quarter for one address, half for one neighbourhood, and a quarter more for
    /// returning clients.
    pub fn of_size(places_max: usize) -> Settings {
        let places_max = places_max.max(1);
        Settings {
            places_max,
            address_max: places_max.div_ceil(4),
            net_max: places_max.div_ceil(2),
            returning_max: places_max.div_ceil(4),
            grace_us: 1_000_000,
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
    /// It has proved an earlier visit.
    Returning,
}

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
    /// All but returning ones by age.
    by_age: BTreeMap<(u64, u64), K>,
    returning: usize,
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
            returning: 0,
            number: 0,
        }
    }

    /// A connection of this address wants to wait. `None` is an address that is exempt from shares.
    pub fn admit(&mut self, key: K, address: Option<Address>, stage: Stage, now_us: u64) -> Admission<K> {
        debug_assert!(!self.waiting.contains_key(&key), "a connection waits once");
        let is_full = self.common() >= self.settings.places_max
            && (stage < Stage::Returning || self.returning >= self.settings.returning_max);
        let is_over = address.is_some()
            && (self.of_address(address) >= self.settings.address_max
                || self.of_net(address) >= self.settings.net_max);
        let replaced = if is_over {
            let own = if self.of_address(address) >= self.settings.address_max {
                address
            } else {
                self.heaviest_of(net(address))
            };
            self.own(own, stage, now_us)
        } else if is_full {
            self.victim(address, stage, now_us)
        } else {
            self.insert(key, address, stage, now_us);
            return Admission::Admitted;
        };
        let Some(replaced) = replaced else { return Admission::Refused };
        self.leave(replaced);
        self.insert(key, address, stage, now_us);
        Admission::Replaces(replaced)
    }

    /// Could a connection of an address that holds few be admitted now?
    pub fn has_room(&self, now_us: u64) -> bool {
        self.common() < self.settings.places_max || self.oldest(now_us).is_some()
    }

    /// Could a returning client be admitted beyond the others?
    pub fn has_room_for_returning(&self) -> bool {
        self.returning < self.settings.returning_max
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
        if place.stage == Stage::Returning {
            self.returning -= 1;
        } else {
            self.by_age.remove(&(place.since_us, place.number));
        }
        self.recount(address, before, before - 1);
        true
    }

    /// The connection that gives way first, of all that are not returning; it has left the line.
    pub fn displace(&mut self) -> Option<K> {
        let &(_, net) = self.heaviest.last()?;
        let key = self.worst_of(self.heaviest_of(net), Stage::Silent, None)?;
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
        if stage == Stage::Returning {
            self.returning += 1;
        } else {
            self.by_age.insert((since_us, place.number), key);
        }
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

    /// Places that are taken of those for everybody.
    fn common(&self) -> usize {
        self.len() - self.returning.min(self.settings.returning_max)
    }

    /// Who gives way to a new connection in a full line.
    fn victim(&self, address: Option<Address>, stage: Stage, now_us: u64) -> Option<K> {
        let &(most, net_of_most) = self.heaviest.last()?;
        if most > self.of_net(address) + 1 {
            let worst = self.worst_of(self.heaviest_of(net_of_most), stage, None);
            return worst.or_else(|| self.oldest(now_us));
        }
        let heaviest = self.heaviest_of(net(address));
        if self.of_address(heaviest) > self.of_address(address) + 1 {
            return self.worst_of(heaviest, stage, None);
        }
        // Nobody holds clearly more: one of its own that has had its time, or else the oldest of all.
        if self.of_address(address) > 0 {
            self.own(address, stage, now_us)
        } else if self.of_net(address) > 0 {
            self.own(heaviest, stage, now_us)
        } else {
            self.oldest(now_us)
        }
    }

    /// The oldest connection that is not returning, if it has had its time.
    fn oldest(&self, now_us: u64) -> Option<K> {
        let (&(since_us, _), key) = self.by_age.first_key_value()?;
        (since_us + self.settings.grace_us <= now_us).then_some(*key)
    }

    fn own(&self, address: Option<Address>, stage: Stage, now_us: u64) -> Option<K> {
        self.worst_of(address, stage, Some(now_us.checked_sub(self.settings.grace_us)?))
    }

    /// Of an address, the connection that has done the least, and of these the oldest; none that has done
    /// more than the new connection. `before_us`: none that is younger.
    fn worst_of(&self, address: Option<Address>, stage: Stage, before_us: Option<u64>) -> Option<K> {
        let (place, key) = self.addresses.get(&address)?.first_key_value()?;
        let is_old = before_us.is_none_or(|before_us| place.since_us <= before_us);
        (is_old && (place.stage < Stage::Returning || stage == Stage::Returning)).then_some(*key)
    }
}

fn net(address: Option<Address>) -> Option<AddressNet> {
    address.map(Address::net)
}
