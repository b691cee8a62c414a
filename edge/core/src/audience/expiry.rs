//! Expiry of tokens: when a session is told that its token runs out, and when it ends.
//!
//! Why spread: tokens that a login page issued in one minute run out in one minute. Sessions that were all
//! told at once would all ask the issuer at once, and come back at once when they end. So the notice comes
//! somewhere in the first half of its time, and the end somewhere in the leeway behind the expiry, each by a
//! number of the session, which is even over all sessions.
//! Why by the monotonic clock: a wall clock that jumps ahead must not end sessions.
//! Invariants: a session ends no later than its token and the leeway; it is told once per token; a session
//! without an expiry costs nothing here; at most two entries a session, and [`STALE_MAX`], are queued.
//! Not here: telling and ending (`renewal`), whether a token has run out at the hello (`auth`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use grandstand_engine::link::{ConnectionToken, Now};

use crate::auth::Expiry;

/// Without leeway a session ends at most this much before its token: the only room that is left to spread.
const EARLY_MS_MAX: u64 = 5_000;

/// And at most this part of the token's remaining time before it.
const EARLY_PART: u64 = 10;

/// When a session is told and ends, in microseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The token runs out.
    expires_us: u64,
    /// The session ends.
    pub(super) ends_us: u64,
    /// It is told; `None` once it was.
    pub(super) told_us: Option<u64>,
    /// What is in the queue for it.
    pub(super) queued_us: u64,
}

impl Ending {
    /// Of a token, for the session of this number.
    pub(super) fn of(expiry: Expiry, now: Now, number: u64, notice_ms: u64) -> Ending {
        let left_ms = expiry.expires_unix_ms.saturating_sub(now.unix_ms);
        let early_ms = if expiry.leeway_ms == 0 { (left_ms / EARLY_PART).min(EARLY_MS_MAX) } else { 0 };
        let earliest_ms = left_ms - early_ms;
        // Behind the expiry, or as much of it as is left.
        let overdue_ms = now.unix_ms.saturating_sub(expiry.expires_unix_ms);
        let window_ms = early_ms + expiry.leeway_ms.saturating_sub(overdue_ms);
        let notice_ms = notice_ms.min(left_ms / 2);
        let told_ms = left_ms - notice_ms + part_of(notice_ms / 2, number.rotate_left(32));
        let at = |ms: u64| now.us.saturating_add(ms.saturating_mul(1_000));
        Ending {
            expires_us: at(left_ms),
            ends_us: at(earliest_ms.saturating_add(part_of(window_ms, number))),
            told_us: (notice_ms > 0).then(|| at(told_ms)),
            queued_us: u64::MAX,
        }
    }

    /// In place of another of the same session, which may have an entry in the queue.
    pub(super) fn in_place_of(mut self, other: Option<&Ending>) -> Ending {
        self.queued_us = other.map_or(u64::MAX, |other| other.queued_us);
        self
    }

    /// When the token runs out, from now on.
    pub(super) fn expires_in_ms(&self, now: Now) -> u64 {
        (self.expires_us.saturating_sub(now.us) / 1_000).max(1)
    }

    fn next_us(&self) -> u64 {
        self.told_us.map_or(self.ends_us, |told_us| told_us.min(self.ends_us))
    }
}

/// A part of a time, by a number that is even over all numbers.
fn part_of(ms: u64, number: u64) -> u64 {
    ((u128::from(ms) * u128::from(number)) >> 64) as u64
}

/// Entries of sessions that are gone, or of tokens that were renewed, may be as many as there are sessions,
/// and this many.
pub(super) const STALE_MAX: usize = 1_024;

/// Sessions that have something due, by time; at most one entry each that is not superseded.
#[derive(Debug, Default)]
pub(super) struct Endings(BinaryHeap<Reverse<(u64, u64)>>);

impl Endings {
    /// A session has an ending now, or another one.
    pub(super) fn queue(&mut self, connection: ConnectionToken, ending: &mut Ending) {
        let next_us = ending.next_us();
        // What is queued earlier finds the new time when it comes up.
        if next_us < ending.queued_us {
            ending.queued_us = next_us;
            self.0.push(Reverse((next_us, connection.0)));
        }
    }

    /// Forget entries that are superseded once they are more than those of this many sessions: whoever
    /// reconnects, or renews a token, leaves one that is due only when the token would have run out.
    pub(super) fn tidy(&mut self, sessions: usize, is_queued: impl Fn(u64, ConnectionToken) -> bool) {
        if self.0.len() > 2 * sessions + STALE_MAX {
            self.0.retain(|Reverse((due_us, token))| is_queued(*due_us, ConnectionToken(*token)));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next one is due.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((due_us, _))| *due_us)
    }

    /// One that is due, if any: its time and its connection.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<(u64, ConnectionToken)> {
        self.0.peek().filter(|Reverse((due_us, _))| *due_us <= now.us)?;
        self.0.pop().map(|Reverse((due_us, token))| (due_us, ConnectionToken(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Now = Now { us: 7_000_000, unix_ms: 1_700_000_000_000 };

    fn of(left_ms: u64, leeway_ms: u64, number: u64) -> Ending {
        let expiry = Expiry { expires_unix_ms: NOW.unix_ms + left_ms, leeway_ms };
        Ending::of(expiry, NOW, number, 60_000)
    }

    proptest! {
        #[test]
        fn nobody_stays_longer_than_the_leeway_and_the_notice_comes_first(
            left_ms in 0..100_000_000u64, leeway_ms in prop_oneof![Just(0), 0..600_000u64], number: u64,
        ) {
            let ending = of(left_ms, leeway_ms, number);
            let expires_us = NOW.us + left_ms * 1_000;
            prop_assert!(ending.ends_us <= expires_us + leeway_ms * 1_000);
            prop_assert!(leeway_ms == 0 || ending.ends_us >= expires_us);
            prop_assert!(ending.ends_us + (left_ms / 10).min(5_000) * 1_000 >= expires_us);
            if let Some(told_us) = ending.told_us {
                prop_assert!(told_us >= NOW.us && told_us <= ending.ends_us);
            }
        }
    }

    #[test]
    fn a_token_within_its_leeway_ends_with_it() {
        let expiry = Expiry { expires_unix_ms: NOW.unix_ms - 20_000, leeway_ms: 30_000 };
        for number in [0, 1 << 63, u64::MAX] {
            let ends_us = Ending::of(expiry, NOW, number, 60_000).ends_us;
            assert!((NOW.us..=NOW.us + 10_000_000).contains(&ends_us));
        }
    }
}
