//! Session tickets of TLS, sealed with keys that come from the keys of resume tickets.
//!
//! Why: keys of the process alone would make every client of a dead node, and of the last process, a stranger
//! to the next one. A storm of strangers costs full handshakes, and strangers wait behind those who return.
//! Why periods: each has a key of its own, derived from its number, so a key seals for [`PERIOD_S`] only and
//! a ticket ends by itself. The period before and the one after are opened too: a ticket is good for at least
//! one period, and clocks of nodes differ.
//! Invariant: a ticket that was changed in any bit, sealed with another key, or of another time is treated as
//! a missing one.
//! Not here: the bytes of a ticket (`tls_key`), early data (the node takes none), the files of the keys
//! (`ticket_keys`).

use std::fmt;
use std::sync::Arc;

use rustls::server::ProducesTickets;

use super::ticket::Tickets;
use super::tls_key::period_of;
use crate::clock::Clock;

/// Seconds for which one derived key seals: half a day.
const PERIOD_S: u64 = 12 * 3_600;

/// Seals and opens TLS's tickets. See the file's head.
pub struct TlsTickets {
    tickets: Arc<Tickets>,
    clock: Clock,
}

impl fmt::Debug for TlsTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTickets").finish_non_exhaustive()
    }
}

impl TlsTickets {
    /// With the keys of resume tickets, as they are at each time.
    pub fn new(tickets: Arc<Tickets>, clock: Clock) -> TlsTickets {
        TlsTickets { tickets, clock }
    }

    fn period(&self) -> u32 {
        (self.clock.unix().as_secs() / PERIOD_S) as u32
    }

    fn open(&self, now: u32, ticket: &[u8]) -> Option<Vec<u8>> {
        let is_of_this_time = period_of(ticket)?.abs_diff(now) <= 1;
        let keys = self.tickets.keys();
        keys.iter().filter(|_| is_of_this_time).find_map(|key| key.tls.open(ticket))
    }
}

impl ProducesTickets for TlsTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD_S as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.keys()[0].tls.seal(self.period(), plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(self.period(), ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keys: &[[u8; 32]]) -> TlsTickets {
        TlsTickets::new(Arc::new(Tickets::with_keys(keys, 1_000)), Clock::start())
    }

    #[test]
    fn a_ticket_is_opened_by_every_node_with_its_key_and_by_no_other() {
        let (old, new) = ([1; 32], [2; 32]);
        let sealed = of(&[old]).encrypt(b"a session").unwrap();
        assert_eq!(of(&[old]).decrypt(&sealed).as_deref(), Some(&b"a session"[..]));
        assert_eq!(of(&[new, old]).decrypt(&sealed).as_deref(), Some(&b"a session"[..]), "a rotation");
        assert_eq!(of(&[new]).decrypt(&sealed), None);
        let newer = of(&[new, old]).encrypt(b"a session").unwrap();
        assert_eq!(of(&[old]).decrypt(&newer), None, "the newest key seals");
    }

    #[test]
    fn a_ticket_ends_after_its_period_and_the_next() {
        let node = of(&[[7; 32]]);
        let sealed = |period| node.tickets.keys()[0].tls.seal(period, b"x").unwrap();
        for (period, is_good) in [(98, false), (99, true), (100, true), (101, true), (102, false)] {
            assert_eq!(node.open(100, &sealed(period)).is_some(), is_good, "{period}");
        }
        assert_eq!(node.open(0, &sealed(u32::MAX)), None);
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_is_a_missing_one() {
        let node = of(&[[7; 32]]);
        let sealed = node.encrypt(&[3; 90]).unwrap();
        for at in 0..sealed.len() {
            assert_eq!(node.decrypt(&sealed[..at]), None);
            let mut changed = sealed.clone();
            changed[at] ^= 1 << (at % 8);
            assert_eq!(node.decrypt(&changed), None, "byte {at}");
        }
        assert_ne!(node.encrypt(&[3; 90]).unwrap(), sealed, "each has a nonce of its own");
    }
}
