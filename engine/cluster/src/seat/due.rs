//! Due: when a seat must be polled next, so that its driver may sleep until then.
//!
//! Why computed and not a fixed beat: a busy shard appends every 40 ms and a lease ends on a millisecond,
//! while a quiet follower has nothing to do for as long as it hears its owner.
//! Invariants: until the returned time, and without an input, [`Seat::poll`] does nothing; only a node that
//! waits to claim is looked at each 20 ms, whatever it waits for. After a poll at a time the seat is due
//! later than that.
//! Not here: what is done then (`turn`).

use super::claim::{CLAIM_WITHIN_MS, PROMISED_WITHIN_MS, Step};
use super::turn::LOOK_AGAIN_MS;
use super::{Seat, State};
use crate::membership::{Membership, SILENCE_MS};
use crate::time::OwnTime;

/// A seat looks at its peers at least this often: what they said ages.
const LOOK_MS: u64 = 100;

impl Seat {
    /// When [`Seat::poll`] is due next; a time that passed means now.
    #[must_use]
    pub fn due(&self, now: OwnTime, membership: &Membership) -> OwnTime {
        let next = match &self.state {
            State::Following => self.chain.head().owner.map(|(node, life)| membership.missed_at(node, life)),
            State::Orphan { since } => Some((*since).max(self.withdrawn_until).max(now.plus(LOOK_AGAIN_MS))),
            State::Claiming(claim) => Some(match &claim.step {
                Step::Asking { next_ask } => (*next_ask).min(claim.began.plus(PROMISED_WITHIN_MS)),
                Step::Reading => claim.began.plus(CLAIM_WITHIN_MS),
                Step::Appending(flight) => flight.due().min(claim.began.plus(CLAIM_WITHIN_MS)),
            }),
            State::Owning(owner) => {
                let freeze = match owner.frozen_since {
                    None => Some(self.lease.until().unwrap_or(now)),
                    Some(since) => Some(since.plus(SILENCE_MS)).filter(|due| *due > now),
                };
                [freeze, owner.due(&self.reading, membership)].into_iter().flatten().min()
            }
        };
        let looks = now.plus(LOOK_MS);
        [next, self.reading.due()].into_iter().flatten().fold(looks, OwnTime::min)
    }
}
