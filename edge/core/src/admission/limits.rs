//! The connection limiter: how many connections a node holds, in all and from one address, and how fast one
//! address may open new ones.
//!
//! Why: one address must not fill the node, and a refusal must cost next to nothing: one lock and one map
//! entry, before any cryptography.
//! An address is an IPv4 address or an IPv6 /64, which is what one subscriber gets. Loopback is left out of
//! the bounds per address where `limits.loopback_exempt` says so, but counts towards the node's own.
//! A connection from a trusted proxy is counted under its client's address, once the proxy has told it.
//! The last tenth of the node's places is for addresses and neighbourhoods that hold little: a few that hold
//! as much as they may do not keep others out.
//! Rates are token buckets kept as one number: the time at which the bucket would be full again (GCRA, ITU-T
//! I.371).
//! Invariants: every `Permit` is given back exactly once; an address without connections and with a full
//! bucket costs nothing; at most `QUIET_MAX` addresses without connections are remembered.
//! Not here: what a refusal looks like on the wire (`tcp`, `quic`), rates within a session (`audience`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Mutex;

pub use super::address::Address;
use super::address::AddressNet;
use crate::key::Key;

/// Addresses without connections whose bucket is still remembered. 65,536 cost some 3 MB; an attacker with
/// more addresses than that is not held by a bound per address. Beyond it, the bucket of an address that
/// leaves is forgotten.
const QUIET_MAX: usize = 65_536;

/// How often full buckets are looked for: walking 65,536 entries takes under a millisecond.
const SWEEP_EVERY_US: u64 = 5_000_000;

/// Connections beyond the node's bound, while as many are about to give way to them.
const LEAVING_MAX: usize = 64;

/// The last part of the node's places is scarce: one in so many.
const SCARCE_PART: usize = 10;

/// Of scarce places an address gets none that holds one in so many of all, or more.
const FEW_PART: usize = 100;

/// The fewest that count as much, however small the node.
const FEW_MIN: usize = 4;

/// The same for a neighbourhood: half, as in a waiting line.
const NET_PART: usize = 2;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The address holds as many connections as it may.
    TooManyConnections,
    /// The address opens them too fast.
    TooManyHandshakes {
        /// When the next one would be let in.
        retry_after_ms: u32,
    },
    /// The node holds as many as it may, or as many as it may for an address that holds much already.
    NodeFull,
}

/// A place for one connection; given back with [`ConnectionLimiter::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back holds its place for ever"]
pub struct Permit {
    /// The address's number. Flat, since every link keeps one.
    bits: u64,
    is_v6: bool,
    /// Whether it counts towards the bounds of its address.
    is_counted: bool,
}

impl Permit {
    fn new(address: Address, is_counted: bool) -> Permit {
        match address {
            Address::V4(bits) => Permit { bits: bits.into(), is_v6: false, is_counted },
            Address::V6(bits) => Permit { bits, is_v6: true, is_counted },
        }
    }

    /// Where the bounds and shares per address count it; `None` where they do not.
    pub fn counted(&self) -> Option<Address> {
        self.is_counted.then(|| self.address())
    }

    /// The address that the connection comes from: the client's once it is named, else the peer's.
    pub fn address(&self) -> Address {
        if self.is_v6 { Address::V6(self.bits) } else { Address::V4(self.bits as u32) }
    }
}

/// Counts connections for all workers. See the file's head.
#[derive(Debug)]
pub struct ConnectionLimiter {
    bounds: Bounds,
    state: Mutex<State>,
}

/// What the limiter is made with. Each is explained at its key in the node's configuration, under `limits`.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections of the node.
    pub connections_max: usize,
    /// Connections of one address; 0: no bound.
    pub connections_per_address_max: usize,
    /// New connections per second of one address; 0: no bound.
    pub handshakes_per_address_per_s: u32,
    /// New connections of one address that may come at once.
    pub handshakes_per_address_burst: u32,
    /// Leaves loopback out of the bounds per address.
    pub loopback_exempt: bool,
}

#[derive(Debug)]
struct Bounds {
    connections_max: usize,
    per_address_max: usize,
    /// From this number of connections on, places are scarce.
    scarce_from: usize,
    /// Connections of an address, and of a neighbourhood, that gets no scarce place.
    few: usize,
    net_few: usize,
    loopback_exempt: bool,
    /// Time that one connection takes from a bucket; 0: no bound.
    interval_us: u64,
    /// Time that a full bucket holds.
    burst_us: u64,
}

#[derive(Debug)]
struct State {
    connections: usize,
    addresses: HashMap<Address, Count, Key>,
    /// Connections of each neighbourhood.
    nets: HashMap<AddressNet, u32, Key>,
    /// Entries of `addresses` without connections.
    quiet: usize,
    /// Newest time seen, for those who leave without one.
    now_us: u64,
    swept_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    connections: u32,
    /// When the bucket is full again.
    full_us: u64,
}

impl ConnectionLimiter {
    /// A limiter with these limits, and no connection. `key` hashes addresses: a node draws it from the
    /// kernel.
    pub fn new(limits: &ConnectionLimits, key: Key) -> ConnectionLimiter {
        let interval_us =
            1_000_000_u64.checked_div(u64::from(limits.handshakes_per_address_per_s)).unwrap_or(0);
        let bounds = Bounds {
            connections_max: limits.connections_max,
            per_address_max: if limits.connections_per_address_max == 0 {
                usize::MAX
            } else {
                limits.connections_per_address_max
            },
            scarce_from: limits.connections_max - limits.connections_max / SCARCE_PART,
            few: (limits.connections_max / FEW_PART).max(FEW_MIN),
            net_few: (limits.connections_max / NET_PART).max(FEW_MIN),
            loopback_exempt: limits.loopback_exempt,
            interval_us,
            burst_us: interval_us * u64::from(limits.handshakes_per_address_burst),
        };
        ConnectionLimiter { bounds, state: Mutex::new(State::new(key)) }
    }

    /// A connection came from this address; `now_us` is monotonic.
    ///
    /// # Errors
    /// Why it is refused; then nothing is counted.
    pub fn try_acquire(&self, addr: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(self.permit(addr), now_us, false)
    }

    /// The same, in the place of a connection that gives way and is about to be released: the node's own
    /// bound is not asked.
    ///
    /// # Errors
    /// Why it is refused; then nothing is counted.
    pub fn try_acquire_in_place(&self, addr: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(self.permit(addr), now_us, true)
    }

    /// What waiting lines count a new connection by; `None` where an address is exempt.
    pub fn counted(&self, addr: IpAddr) -> Option<Address> {
        self.permit(addr).counted()
    }

    fn permit(&self, addr: IpAddr) -> Permit {
        Permit::new(Address::of(addr), !self.bounds.is_exempt(addr))
    }

    /// A connection came from a trusted proxy, and its client's address is not known yet. It counts towards
    /// the node's bound only, until it is named.
    ///
    /// # Errors
    /// The node is full; then nothing is counted.
    pub fn try_acquire_unnamed(&self, proxy: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(Permit::new(Address::of(proxy), false), now_us, false)
    }

    /// The same, in the place of a connection that gives way.
    ///
    /// # Errors
    /// Too many are about to give way already.
    pub fn try_acquire_unnamed_in_place(&self, proxy: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(Permit::new(Address::of(proxy), false), now_us, true)
    }

    /// The address of an unnamed connection's client is known: from now on the bounds of that address count.
    /// An address that a proxy tells is never exempt as loopback.
    ///
    /// # Errors
    /// Why the connection is refused. Then the permit is as it was, and is to be released.
    pub fn name(&self, permit: &mut Permit, client: IpAddr, now_us: u64) -> Result<(), LimitReached> {
        assert!(!permit.is_counted, "a connection is named once");
        let named = Permit::new(Address::of(client), true);
        let mut state = self.state.lock().expect("nothing panics under this lock");
        state.now_us = state.now_us.max(now_us);
        let is_scarce = state.connections > self.bounds.scarce_from;
        state.count_in(&self.bounds, named.address(), is_scarce)?;
        *permit = named;
        Ok(())
    }

    fn acquire(&self, permit: Permit, now_us: u64, is_in_place: bool) -> Result<Permit, LimitReached> {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        state.now_us = state.now_us.max(now_us);
        let leaving_max = if is_in_place { LEAVING_MAX } else { 0 };
        if state.connections >= self.bounds.connections_max + leaving_max {
            return Err(LimitReached::NodeFull);
        }
        if permit.is_counted {
            let is_scarce = state.connections >= self.bounds.scarce_from && !is_in_place;
            state.count_in(&self.bounds, permit.address(), is_scarce)?;
        }
        state.connections += 1;
        Ok(permit)
    }

    /// The connection is gone.
    pub fn release(&self, permit: Permit) {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        state.connections = state.connections.checked_sub(1).expect("a permit is given back once");
        if permit.is_counted {
            state.count_out(permit.address());
        }
    }

    /// Does the address of a connection hold so little that it would get a scarce place?
    pub fn holds_few(&self, permit: &Permit) -> bool {
        let Some(address) = permit.counted() else { return true };
        let state = self.state.lock().expect("nothing panics under this lock");
        let held = state.addresses.get(&address).map_or(0, |count| count.connections as usize);
        let of_net = state.nets.get(&address.net()).map_or(0, |&held| held as usize);
        held <= self.bounds.few && of_net <= self.bounds.net_few
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("nothing panics under this lock").connections
    }
}

impl Bounds {
    /// Whether the bounds per address leave this one out.
    fn is_exempt(&self, addr: IpAddr) -> bool {
        self.loopback_exempt && addr.to_canonical().is_loopback()
    }

    /// The bucket after one more connection.
    fn take(&self, full_us: u64, now_us: u64) -> Result<u64, LimitReached> {
        let full_us = full_us.max(now_us) + self.interval_us;
        match full_us.saturating_sub(now_us + self.burst_us) {
            0 => Ok(full_us),
            early_us => Err(LimitReached::TooManyHandshakes {
                retry_after_ms: u32::try_from(early_us.div_ceil(1_000)).unwrap_or(u32::MAX),
            }),
        }
    }
}

impl State {
    fn new(key: Key) -> State {
        let (addresses, nets) = (HashMap::with_hasher(key), HashMap::with_hasher(key));
        State { connections: 0, addresses, nets, quiet: 0, now_us: 0, swept_us: 0 }
    }

    /// `is_scarce`: only an address that holds few gets one more, of a neighbourhood that does.
    fn count_in(&mut self, bounds: &Bounds, address: Address, is_scarce: bool) -> Result<(), LimitReached> {
        self.sweep();
        let of_net = self.nets.get(&address.net()).map_or(0, |&held| held as usize);
        if is_scarce && of_net >= bounds.net_few {
            return Err(LimitReached::NodeFull);
        }
        match self.addresses.entry(address) {
            Entry::Vacant(entry) => {
                let full_us = bounds.take(0, self.now_us)?;
                entry.insert(Count { connections: 1, full_us });
            }
            Entry::Occupied(mut entry) => {
                let count = entry.get_mut();
                let held = count.connections as usize;
                if held >= bounds.per_address_max {
                    return Err(LimitReached::TooManyConnections);
                }
                if is_scarce && held >= bounds.few {
                    return Err(LimitReached::NodeFull);
                }
                count.full_us = bounds.take(count.full_us, self.now_us)?;
                self.quiet -= usize::from(count.connections == 0);
                count.connections += 1;
            }
        }
        *self.nets.entry(address.net()).or_default() += 1;
        Ok(())
    }

    fn count_out(&mut self, address: Address) {
        if let Entry::Occupied(mut net) = self.nets.entry(address.net()) {
            *net.get_mut() -= 1;
            if *net.get() == 0 {
                net.remove();
            }
        }
        let count = self.addresses.get_mut(&address).expect("a permit's address is counted");
        count.connections -= 1;
        if count.connections > 0 {
            return;
        }
        if count.full_us <= self.now_us || self.quiet >= QUIET_MAX {
            self.addresses.remove(&address);
        } else {
            self.quiet += 1;
        }
    }

    /// Forget full buckets of addresses without connections.
    fn sweep(&mut self) {
        if self.quiet == 0 || self.now_us < self.swept_us + SWEEP_EVERY_US {
            return;
        }
        let now_us = self.now_us;
        self.swept_us = now_us;
        self.addresses.retain(|_, count| count.connections > 0 || count.full_us > now_us);
        self.quiet = self.addresses.values().filter(|count| count.connections == 0).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    const KEY: Key = Key::from_seed(1);

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            connections_max: 10,
            connections_per_address_max: 3,
            handshakes_per_address_per_s: 2,
            handshakes_per_address_burst: 4,
            loopback_exempt: true,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_holds_so_many_and_others_go_on() {
        let limiter = ConnectionLimiter::new(&limits(), KEY);
        let permites: Vec<_> = (0..3).map(|_| limiter.try_acquire(ip("192.0.2.1"), 0).unwrap()).collect();
        assert_eq!(limiter.try_acquire(ip("192.0.2.1"), 0), Err(LimitReached::TooManyConnections));
        let other = limiter.try_acquire(ip("192.0.2.2"), 0).unwrap();
        limiter.release(permites[0]);
        let again = limiter.try_acquire(ip("192.0.2.1"), 0).unwrap();
        [permites[1], permites[2], other, again].into_iter().for_each(|permit| limiter.release(permit));
        assert_eq!(limiter.connections(), 0);
    }

    #[test]
    fn a_slash_64_is_one_address_and_mapped_ipv4_is_ipv4() {
        let limiter = ConnectionLimiter::new(&limits(), KEY);
        let enter = |text| limiter.try_acquire(ip(text), 0).map(|_| ());
        for last in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"] {
            enter(last).unwrap();
        }
        assert_eq!(enter("2001:db8::4"), Err(LimitReached::TooManyConnections));
        enter("2001:db8:0:1::1").unwrap();
        (0..3).for_each(|_| enter("192.0.2.1").unwrap());
        assert_eq!(enter("::ffff:192.0.2.1"), Err(LimitReached::TooManyConnections));
    }

    #[test]
    fn a_rush_is_let_in_and_then_the_rate_counts() {
        let limiter =
            ConnectionLimiter::new(&ConnectionLimits { connections_per_address_max: 0, ..limits() }, KEY);
        let enter =
            |now_us| limiter.try_acquire(ip("192.0.2.1"), now_us).map(|permit| limiter.release(permit));
        (0..4).for_each(|_| enter(0).unwrap());
        assert_eq!(enter(0), Err(LimitReached::TooManyHandshakes { retry_after_ms: 500 }));
        assert_eq!(enter(SECOND_US / 4), Err(LimitReached::TooManyHandshakes { retry_after_ms: 250 }));
        assert_eq!(enter(SECOND_US / 2), Ok(()), "a refusal takes nothing from the bucket");
        assert!(enter(SECOND_US / 2).is_err());
        (0..4).for_each(|_| enter(10 * SECOND_US).unwrap());
        assert!(enter(10 * SECOND_US).is_err(), "a bucket fills no further than its burst");
    }

    #[test]
    fn the_node_is_full_for_everybody_loopback_included() {
        let limiter = ConnectionLimiter::new(&limits(), KEY);
        assert!((0..10).all(|_| limiter.try_acquire(ip("127.0.0.1"), 0).is_ok()));
        assert_eq!(limiter.try_acquire(ip("::1"), 0), Err(LimitReached::NodeFull));
        assert_eq!(limiter.try_acquire(ip("192.0.2.1"), 0), Err(LimitReached::NodeFull));
    }

    #[test]
    fn loopback_counts_per_address_when_it_is_not_exempt() {
        let limiter = ConnectionLimiter::new(&ConnectionLimits { loopback_exempt: false, ..limits() }, KEY);
        assert!((0..3).all(|_| limiter.try_acquire(ip("127.0.0.1"), 0).is_ok()));
        assert_eq!(limiter.try_acquire(ip("127.0.0.1"), 0), Err(LimitReached::TooManyConnections));
    }

    #[test]
    fn ten_thousand_behind_one_proxy_enter_and_one_of_them_is_limited() {
        let limits =
            ConnectionLimits { connections_max: 20_000, handshakes_per_address_per_s: 0, ..limits() };
        let (limiter, proxy) = (ConnectionLimiter::new(&limits, KEY), ip("192.0.2.80"));
        let enter = |client: IpAddr| {
            let mut permit = limiter.try_acquire_unnamed(proxy, 0).unwrap();
            assert_eq!(permit.address().to_string(), "192.0.2.80", "the proxy's, until it is named");
            match limiter.name(&mut permit, client, 0) {
                Ok(()) => Ok(permit),
                Err(why) => {
                    limiter.release(permit);
                    Err(why)
                }
            }
        };
        let many: Vec<_> =
            (0..10_000).map(|n| enter(IpAddr::V4((0x0b00_0000 + n).into())).unwrap()).collect();
        assert_eq!(limiter.connections(), 10_000);
        let one: Vec<_> = (0..3).map(|_| enter(ip("2001:db8::1")).unwrap()).collect();
        assert_eq!(one[0].address().to_string(), "2001:db8::/64");
        assert_eq!(enter(ip("2001:db8::2")), Err(LimitReached::TooManyConnections));
        // An address that a proxy tells is not this machine's.
        let local: Vec<_> = (0..3).map(|_| enter(ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(enter(ip("127.0.0.1")), Err(LimitReached::TooManyConnections));
        assert_eq!(limiter.connections(), 10_006, "who is refused holds no place");
        [many, one, local].into_iter().flatten().for_each(|permit| limiter.release(permit));
        assert_eq!(limiter.connections(), 0);
        assert!(limiter.state.lock().unwrap().addresses.is_empty(), "nobody is remembered without a rate");
    }

    #[test]
    fn the_rate_of_a_client_behind_a_proxy_is_its_own() {
        let limiter =
            ConnectionLimiter::new(&ConnectionLimits { connections_per_address_max: 0, ..limits() }, KEY);
        let enter = |client| {
            let mut permit = limiter.try_acquire_unnamed(ip("192.0.2.80"), 0).unwrap();
            let named = limiter.name(&mut permit, ip(client), 0);
            limiter.release(permit);
            named
        };
        (0..4).for_each(|_| enter("198.51.100.1").unwrap());
        assert_eq!(enter("198.51.100.1"), Err(LimitReached::TooManyHandshakes { retry_after_ms: 500 }));
        enter("198.51.100.2").unwrap();
    }

    #[test]
    fn addresses_vanish_when_they_are_quiet_and_are_capped_until_then() {
        let limiter = ConnectionLimiter::new(&limits(), KEY);
        let come_and_go = |n: u32, now_us| {
            let permit = limiter.try_acquire(IpAddr::V4(n.into()), now_us).unwrap();
            limiter.release(permit);
        };
        let known = || limiter.state.lock().unwrap().addresses.len();
        (0..3).for_each(|_| come_and_go(0, 0));
        assert_eq!(limiter.state.lock().unwrap().quiet, 1, "who comes again is not counted twice");
        (0..QUIET_MAX as u32 + 100).for_each(|n| come_and_go(n << 8, 0));
        assert_eq!(known(), QUIET_MAX);
        come_and_go(1, 10 * SECOND_US);
        assert_eq!(known(), 1, "only the one whose bucket is not full");
    }

    #[test]
    fn the_last_places_are_for_addresses_that_hold_few() {
        let limits = ConnectionLimits { connections_max: 1_000, connections_per_address_max: 0, ..limits() };
        let limits = ConnectionLimits { handshakes_per_address_per_s: 0, ..limits };
        let limiter = ConnectionLimiter::new(&limits, KEY);
        let enter = |text: &str| limiter.try_acquire(ip(text), 0);
        let mut held: Vec<_> = (0..900).map(|_| enter("192.0.2.1").unwrap()).collect();
        assert_eq!(enter("192.0.2.1"), Err(LimitReached::NodeFull), "a tenth is left");
        assert_eq!(enter("192.0.2.2"), Err(LimitReached::NodeFull), "its neighbourhood holds much");
        held.extend((0..10).map(|_| enter("2001:db8::1").unwrap()));
        assert_eq!(enter("2001:db8::2"), Err(LimitReached::NodeFull), "a hundredth is not few");
        held.push(enter("2001:db8:0:1::1").unwrap());
        // What a proxy tells counts in the same way, and who gives way makes room for anybody.
        let mut told = limiter.try_acquire_unnamed(ip("192.0.2.80"), 0).unwrap();
        assert_eq!(limiter.name(&mut told, ip("192.0.2.3"), 0), Err(LimitReached::NodeFull));
        limiter.name(&mut told, ip("198.51.100.7"), 0).unwrap();
        held.extend([told, limiter.try_acquire_in_place(ip("192.0.2.1"), 0).unwrap()]);
        let few = |at: usize| limiter.holds_few(&held[at]);
        assert!(!few(0) && few(900) && few(910) && few(911) && !few(912));
        held.extend((0..87).map(|n| enter(&format!("203.0.{n}.1")).unwrap()));
        assert_eq!(enter("203.1.0.1"), Err(LimitReached::NodeFull));
        let in_place = || limiter.try_acquire_unnamed_in_place(ip("192.0.2.80"), 0);
        held.extend((0..LEAVING_MAX).map(|_| in_place().unwrap()));
        assert_eq!(limiter.connections(), 1_000 + LEAVING_MAX, "until the others are released");
        assert_eq!(in_place(), Err(LimitReached::NodeFull));
        held.into_iter().for_each(|permit| limiter.release(permit));
        let state = limiter.state.lock().unwrap();
        assert!(state.nets.is_empty() && state.addresses.is_empty() && state.connections == 0);
    }
}
