//! The addresses of one connection whose peer has not proven one of them: what came from each, and what may
//! be sent there.
//!
//! Why: the owner of a connection can write any sender into its datagrams. quinn challenges each new address
//! with a padded datagram and a probe of the path's MTU, which is 70 times what came. It counts for one path
//! at a time, and what it sends beside the path not at all.
//! Invariants: an address gets at most three times what came from it until it is proven (RFC 9000, 8.1 and
//! 9.3.1). A connection has a bounded number of unproven addresses, and a bounded number of new ones in a
//! time. Only a packet that the connection accepted makes an address known, so a stranger uses up nothing.
//! Not here: which address is the connection's, and its proof (quinn-proto); the visits (`connection`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What an address may get, in parts of what came from it.
const FACTOR: u64 = 3;

/// New addresses that a connection may have at once: a phone between networks changes a few times.
const NEW_MAX: u32 = 8;

/// After this time it may have one more. A network that changes addresses faster than that drops packets of
/// TCP connections too.
const NEW_EVERY: Duration = Duration::from_secs(2);

/// An address that has proven nothing for this long is forgotten: quinn gives up after three times its probe
/// timeout.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// An address without proof.
#[derive(Debug)]
struct Unproven {
    address: SocketAddr,
    received: u64,
    sent: u64,
    since: Instant,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Paths {
    /// The address that the peer proved last; none during the handshake.
    proven: Option<SocketAddr>,
    /// At most [`NEW_MAX`], the oldest first.
    unproven: Vec<Unproven>,
    /// New addresses that are allowed now.
    new_left: u32,
    /// When `new_left` was counted.
    counted: Instant,
}

impl Paths {
    /// A connection with one proven address.
    pub(super) fn proven(address: SocketAddr, now: Instant) -> Paths {
        Paths { proven: Some(address), unproven: Vec::new(), new_left: NEW_MAX, counted: now }
    }

    /// A connection whose handshake began with this many bytes from an address.
    pub(super) fn handshake(address: SocketAddr, received: u64, now: Instant) -> Paths {
        let first = Unproven { address, received, sent: 0, since: now };
        Paths { proven: None, unproven: vec![first], new_left: 0, counted: now }
    }

    /// Count a datagram from a known address. Returns `None` if the address is not known.
    pub(super) fn handle_received(&mut self, from: SocketAddr, bytes: usize) -> Option<()> {
        if self.proven == Some(from) {
            return Some(());
        }
        let path = self.unproven.iter_mut().find(|path| path.address == from)?;
        path.received += bytes as u64;
        Some(())
    }

    /// May the connection have another address now?
    pub(super) fn may_open(&mut self, now: Instant) -> bool {
        let steps = now.saturating_duration_since(self.counted).as_nanos() / NEW_EVERY.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(NEW_MAX).min(NEW_MAX);
        if steps > 0 && self.proven.is_some() {
            self.new_left = (self.new_left + steps).min(NEW_MAX);
            self.counted = now;
        }
        self.new_left > 0
    }

    /// The connection accepted a packet of a new address, in a datagram of this many bytes.
    pub(super) fn open(&mut self, address: SocketAddr, bytes: usize, now: Instant) {
        self.new_left = self.new_left.saturating_sub(1);
        self.unproven.retain(|path| now.saturating_duration_since(path.since) < FORGET_AFTER);
        if self.unproven.len() >= NEW_MAX as usize {
            self.unproven.remove(0);
        }
        self.unproven.push(Unproven { address, received: bytes as u64, sent: 0, since: now });
    }

    /// Is an address without proof?
    pub(super) fn is_unproven(&self, address: SocketAddr) -> bool {
        self.unproven.iter().any(|path| path.address == address)
    }

    /// The fewest bytes that one of the unproven addresses may still get.
    pub(super) fn least_left(&self) -> usize {
        let left = self.unproven.iter().map(|path| (FACTOR * path.received).saturating_sub(path.sent));
        left.min().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Count a datagram to an address. Returns whether it may be sent.
    pub(super) fn try_send(&mut self, to: SocketAddr, bytes: usize) -> bool {
        if self.proven == Some(to) {
            return true;
        }
        let Some(path) = self.unproven.iter_mut().find(|path| path.address == to) else { return false };
        let sent = path.sent + bytes as u64;
        let may_send = sent <= FACTOR * path.received;
        if may_send {
            path.sent = sent;
        }
        may_send
    }

    /// The peer has proven an address.
    pub(super) fn prove(&mut self, address: SocketAddr) {
        self.unproven.retain(|path| path.address != address);
        self.proven = Some(address);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, (n >> 8) as u8, n as u8], 7))
    }

    proptest! {
        /// Whatever comes and goes, no address gets more than three times what came from it.
        #[test]
        fn no_address_gets_more_than_three_times_what_came(
            steps in prop::collection::vec((0u16..20, 1usize..1_500, 0u64..3_000, any::<bool>()), 1..300),
        ) {
            let mut now = Instant::now();
            let mut paths = Paths::proven(address(0), now);
            let mut opened = 0;
            let (mut came, mut went) = ([0usize; 20], [0usize; 20]);
            let begin = now;
            for (n, bytes, ms, is_sent) in steps {
                now += Duration::from_millis(ms);
                let at = address(n);
                if is_sent {
                    if paths.try_send(at, bytes) {
                        went[usize::from(n)] += bytes;
                    }
                } else if paths.handle_received(at, bytes).is_some() {
                    came[usize::from(n)] += bytes;
                } else if paths.may_open(now) {
                    opened += 1;
                    paths.open(at, bytes, now);
                    came[usize::from(n)] += bytes;
                }
                prop_assert!(paths.unproven.len() <= NEW_MAX as usize);
            }
            prop_assert!((1..20).all(|n| went[n] <= 3 * came[n]));
            let most = u128::from(NEW_MAX) + (now - begin).as_millis() / NEW_EVERY.as_millis() + 1;
            prop_assert!(opened <= most);
        }
    }

    #[test]
    fn what_is_proven_is_sent_to_without_a_bound() {
        let now = Instant::now();
        let mut paths = Paths::proven(address(0), now);
        assert!(paths.try_send(address(0), 1 << 20) && !paths.try_send(address(1), 1));
        paths.open(address(1), 34, now);
        assert_eq!(paths.least_left(), 102);
        assert!(!paths.try_send(address(1), 103) && paths.try_send(address(1), 102));
        assert!(!paths.try_send(address(1), 1));
        paths.prove(address(1));
        assert!(paths.try_send(address(1), 1 << 20) && !paths.is_unproven(address(1)));
        assert!(!paths.try_send(address(0), 1), "the address before is unproven again");
    }
}
