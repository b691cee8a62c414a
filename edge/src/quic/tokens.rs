//! Tokens of QUIC clients that were here (NEW_TOKEN, RFC 9000, 8.1.4): which were shown already.
//!
//! Why: a client that shows one has proved its address and an earlier visit with its first packet, before any
//! cryptography but the token's own. Each counts once, or one token would let a flood of forged packets pass
//! for viewers. Two generations of nonces, as a full one takes the other's place: the newest are remembered,
//! at most twice `NONCES_MAX`, 4 MB. A token older than what is remembered could count twice; it also has to
//! be of the right address.
//! Invariant: a nonce that is remembered is refused.
//! Not here: sealing and opening tokens (quinn-proto).

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use quinn_proto::{TokenLog, TokenReuseError};

/// Of one generation: more than a node has viewers.
const NONCES_MAX: usize = 65_536;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct ShownTokens {
    generations: Mutex<[HashSet<u128, RandomState>; 2]>,
}

impl TokenLog for ShownTokens {
    fn check_and_insert(&self, nonce: u128, _: SystemTime, _: Duration) -> Result<(), TokenReuseError> {
        let mut generations = self.generations.lock().expect("nothing panics here");
        let [newest, older] = &mut *generations;
        if older.contains(&nonce) || !newest.insert(nonce) {
            return Err(TokenReuseError);
        }
        if newest.len() >= NONCES_MAX {
            *older = std::mem::take(newest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_and_the_oldest_are_forgotten() {
        let shown = ShownTokens::default();
        let show = |nonce| shown.check_and_insert(nonce, SystemTime::UNIX_EPOCH, Duration::ZERO).is_ok();
        assert!(show(7) && !show(7));
        assert!((100..100 + NONCES_MAX as u128).all(show));
        assert!(!show(7) && !show(100), "a generation is not forgotten at once");
        assert!((1_000_000..1_000_000 + NONCES_MAX as u128).all(show));
        assert!(show(7), "two are");
    }
}
