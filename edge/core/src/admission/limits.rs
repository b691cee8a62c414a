//! The connection limiter: how many connections a node holds, in all and from one address, and how fast one
//! address may open new ones.
//!
//! Why: one address must not fill the node, and a refusal must cost next to nothing: one lock and one map
//! entry, before any cryptography.
//! An address is an IPv4 address or an IPv6 /64, which is what one subscriber gets. Loopback is left out of
//! the bounds per address where `limits.loopback_exempt` says so, but counts towards the node's own.
//! A connection from a trusted proxy is counted under its client's address, once the proxy has told it.
//! Rates are token buckets kept as one number: the time at which the bucket would be full again (GCRA, ITU-T
//! I.371).
//! Invariants: every `Permit` is given back exactly once; an address without connections and with a full
//! bucket costs nothing; at most `QUIET_MAX` addresses without connections are remembered.
//! Not here: what a refusal looks like on the wire (`tcp`, `quic`), rates within a session (`audience`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use super::address::Address;
use crate::key::Key;

/// Addresses without connections whose bucket is still remembered. 65,536 cost some 3 MB; an attacker with
/// more addresses than that is not held by a bound per address. Beyond it, the bucket of an address that
/// leaves is forgotten.
const QUIET_MAX: usize = 65_536;

/// How often full buckets are looked for: walking 65,536 entries takes under a millisecond.
const SWEEP_EVERY_US: u64 = 5_000_000;

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
    /// The node holds as many as it may.
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
    handshakes: AtomicUsize,
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
    /// Handshakes that are not finished, over all workers.
    pub handshakes_pending_max: usize,
    /// Leaves loopback out of the bounds per address.
    pub loopback_exempt: bool,
}

#[derive(Debug)]
struct Bounds {
    connections_max: usize,
    per_address_max: usize,
    handshakes_max: usize,
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
            handshakes_max: limits.handshakes_pending_max,
            loopback_exempt: limits.loopback_exempt,
            interval_us,
            burst_us: interval_us * u64::from(limits.handshakes_per_address_burst),
        };
        ConnectionLimiter { bounds, state: Mutex::new(State::new(key)), handshakes: AtomicUsize::new(0) }
    }

    /// A connection came from this address; `now_us` is monotonic.
    ///
    /// # Errors
    /// Why it is refused; then nothing is counted.
    pub fn try_acquire(&self, addr: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(Permit::new(Address::of(addr), !self.bounds.is_exempt(addr)), now_us)
    }

    /// A connection came from a trusted proxy, and its client's address is not known yet. It counts towards
    /// the node's bound only, until it is named.
    ///
    /// # Errors
    /// The node is full; then nothing is counted.
    pub fn try_acquire_unnamed(&self, proxy: IpAddr, now_us: u64) -> Result<Permit, LimitReached> {
        self.acquire(Permit::new(Address::of(proxy), false), now_us)
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
        state.count_in(&self.bounds, named.address())?;
        *permit = named;
        Ok(())
    }

    fn acquire(&self, permit: Permit, now_us: u64) -> Result<Permit, LimitReached> {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        state.now_us = state.now_us.max(now_us);
        if state.connections >= self.bounds.connections_max {
            return Err(LimitReached::NodeFull);
        }
        if permit.is_counted {
            state.count_in(&self.bounds, permit.address())?;
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

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("nothing panics under this lock").connections
    }

    /// A handshake begins, on any worker; false when as many as may are unfinished already. Every true is
    /// followed by one [`ConnectionLimiter::end_handshake`], however it ends.
    #[must_use]
    pub fn try_begin_handshake(&self) -> bool {
        let more = |n| (n < self.bounds.handshakes_max).then_some(n + 1);
        self.handshakes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// A handshake is finished, or its connection is gone.
    pub fn end_handshake(&self) {
        let before = self.handshakes.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a handshake ends once");
    }

    /// Handshakes that are not finished.
    pub fn handshakes_pending(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
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
        State { connections: 0, addresses: HashMap::with_hasher(key), quiet: 0, now_us: 0, swept_us: 0 }
    }

    fn count_in(&mut self, bounds: &Bounds, address: Address) -> Result<(), LimitReached> {
        self.sweep();
        match self.addresses.entry(address) {
            Entry::Vacant(entry) => {
                let full_us = bounds.take(0, self.now_us)?;
                entry.insert(Count { connections: 1, full_us });
            }
            Entry::Occupied(mut entry) => {
                let count = entry.get_mut();
                if count.connections as usize >= bounds.per_address_max {
                    return Err(LimitReached::TooManyConnections);
                }
                count.full_us = bounds.take(count.full_us, self.now_us)?;
                self.quiet -= usize::from(count.connections == 0);
                count.connections += 1;
            }
        }
        Ok(())
    }

    fn count_out(&mut self, address: Address) {
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
            handshakes_pending_max: 2,
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
    fn unfinished_handshakes_are_bounded_over_all_workers() {
        let limiter = ConnectionLimiter::new(&limits(), KEY);
        assert!(
            limiter.try_begin_handshake() && limiter.try_begin_handshake() && !limiter.try_begin_handshake()
        );
        limiter.end_handshake();
        assert!(limiter.try_begin_handshake());
        assert_eq!(limiter.handshakes_pending(), 2);
    }
}
