//! The tokens of returning QUIC clients (NEW_TOKEN, RFC 9000, 8.1.4) that have been used already.
//!
//! Why: the first packet of a client with a token proves its address and an earlier visit, before any
//! cryptography but the token's own. A token is accepted once; otherwise one token would let a flood of
//! forged packets pass for viewers. Nonces are kept in two generations: when the newer one is full, it
//! replaces the older. So at most twice `NONCES_MAX` are remembered, 4 MB. A token older than those could be
//! accepted twice, but only from the right address.
//! Invariants: a nonce that is remembered is refused. The tables' hashes have a secret key, since nonces are
//! strangers' input to them.
//! Not here: sealing and opening tokens (quinn-proto).

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use grandstand_edge_core::key::Key;
use quinn_proto::{TokenLog, TokenReuseError};

/// Nonces of one generation: more than a node has viewers.
const NONCES_MAX: usize = 65_536;

/// The nonces of used tokens.
#[derive(Debug)]
pub(super) struct ShownTokens {
    generations: Mutex<[HashSet<u128, Key>; 2]>,
}

impl ShownTokens {
    /// None shown; `key` is secret.
    pub(super) fn new(key: Key) -> Self {
        ShownTokens { generations: Mutex::new([HashSet::with_hasher(key), HashSet::with_hasher(key)]) }
    }
}

impl TokenLog for ShownTokens {
    fn check_and_insert(&self, nonce: u128, _: SystemTime, _: Duration) -> Result<(), TokenReuseError> {
        let mut generations = self.generations.lock().expect("nothing panics here");
        let [newest, older] = &mut *generations;
        if older.contains(&nonce) || !newest.insert(nonce) {
            return Err(TokenReuseError);
        }
        if newest.len() >= NONCES_MAX {
            let none = HashSet::with_hasher(*newest.hasher());
            *older = std::mem::replace(newest, none);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_and_the_oldest_are_forgotten() {
        let shown = ShownTokens::new(Key::from_seed(7));
        let show = |nonce| shown.check_and_insert(nonce, SystemTime::UNIX_EPOCH, Duration::ZERO).is_ok();
        assert!(show(7) && !show(7));
        assert!((100..100 + NONCES_MAX as u128).all(show));
        assert!(!show(7) && !show(100), "a generation is not forgotten at once");
        assert!((1_000_000..1_000_000 + NONCES_MAX as u128).all(show));
        assert!(show(7), "two are");
    }
}
