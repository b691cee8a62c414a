//! Timers of many connections: one table of deadlines, and two wheels over it.
//!
//! Why a table: a connection's deadline moves with every packet, nearly always to later. Here that writes one
//! word. A list that rings early reads the table and moves its entry, without touching the connection, whose
//! state has left the cache by then.
//! Why no heap: each frame would leave an entry in it for the 20 s of a keep-alive.
//! Invariants: nothing rings before it is due, nor more than a tick after. A slot is in at most one list,
//! which rings no later than the slot is due.
//! Not here: the work of a timer that rings (`drive`).

use std::time::{Duration, Instant};

/// A tick is a millisecond: QUIC's own granularity (RFC 9002, 6.1.2).
const TICK_NANOS: u32 = 1_000_000;

/// Whole ticks, without a division of 128 bits.
fn ticks(since: Duration) -> u64 {
    since.as_secs() * 1_000 + u64::from(since.subsec_nanos() / TICK_NANOS)
}

/// The near wheel covers half a second, with a list for each tick: loss probes, acknowledgements, pacing.
const NEAR_TICKS: u64 = 512;

/// The far wheel's lists ring at multiples of this; their entries move to the near wheel.
const TICKS_PER_FAR: u64 = NEAR_TICKS / 2;

/// The far wheel covers a minute: silence and keep-alives. Later deadlines ring in between.
const FAR_LISTS: u64 = 256;

/// A time that never comes.
const NEVER: u64 = u64::MAX;

/// The end of a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The tick at which the connection is due.
    due: u64,
    /// The tick at which its list rings; `NEVER` when it is in none.
    rings: u64,
    list: u32,
    previous: u32,
    next: u32,
}

const UNARMED: Slot = Slot { due: NEVER, rings: NEVER, list: NONE, previous: NONE, next: NONE };

/// The timers of one endpoint's connections.
#[derive(Debug)]
pub(super) struct Timers {
    epoch: Instant,
    slots: Vec<Slot>,
    /// First slot of each list: the near wheel's lists, then the far one's.
    heads: Vec<u32>,
    /// Everything up to this tick has rung.
    done: u64,
    rung: Vec<u32>,
}

impl Timers {
    pub(super) fn new(epoch: Instant) -> Self {
        let heads = vec![NONE; (NEAR_TICKS + FAR_LISTS) as usize];
        Timers { epoch, slots: Vec::new(), heads, done: 0, rung: Vec::new() }
    }

    /// Set the deadline of `slot`; `None` for never.
    pub(super) fn arm(&mut self, slot: usize, deadline: Option<Instant>) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, UNARMED);
        }
        self.slots[slot].due = deadline.map_or(NEVER, |at| {
            let since = at.saturating_duration_since(self.epoch);
            // Rounded up: never early.
            ticks(since) + u64::from(!since.subsec_nanos().is_multiple_of(TICK_NANOS))
        });
        self.place(slot as u32);
    }

    /// The time of the next [`Self::ring`], which may find nothing due.
    pub(super) fn next(&self) -> Option<Instant> {
        let near = (self.done + 1..=self.done + NEAR_TICKS)
            .find(|tick| self.heads[(tick % NEAR_TICKS) as usize] != NONE);
        let round = self.done / TICKS_PER_FAR;
        let far = (round + 1..=round + FAR_LISTS)
            .find(|round| self.heads[(NEAR_TICKS + round % FAR_LISTS) as usize] != NONE)
            .map(|round| round * TICKS_PER_FAR);
        let tick = near.into_iter().chain(far).min()?;
        Some(self.epoch + Duration::from_millis(tick))
    }

    /// Take the slots that are due, which are then no longer armed.
    pub(super) fn ring(&mut self, now: Instant, mut take: impl FnMut(usize)) {
        let now = ticks(now.saturating_duration_since(self.epoch));
        if now <= self.done {
            return;
        }
        let (first, round) = (self.done + 1, self.done / TICKS_PER_FAR + 1);
        for tick in first..=now.min(first + NEAR_TICKS - 1) {
            self.empty((tick % NEAR_TICKS) as usize);
        }
        for round in round..=(now / TICKS_PER_FAR).min(round + FAR_LISTS - 1) {
            self.empty((NEAR_TICKS + round % FAR_LISTS) as usize);
        }
        self.done = now;
        let rung = std::mem::take(&mut self.rung);
        for &at in &rung {
            if self.slots[at as usize].due <= now {
                self.slots[at as usize].due = NEVER;
                take(at as usize);
            } else {
                self.place(at);
            }
        }
        self.rung = rung;
        self.rung.clear();
    }

    /// Put a slot into a list that rings no later than the slot is due.
    fn place(&mut self, at: u32) {
        let slot = self.slots[at as usize];
        let due = slot.due.max(self.done + 1);
        if slot.due == NEVER || slot.rings <= due {
            return;
        }
        self.unlink(at);
        if due < self.done + NEAR_TICKS {
            self.link(at, due, (due % NEAR_TICKS) as usize);
        } else {
            let round = (due / TICKS_PER_FAR).min(self.done / TICKS_PER_FAR + FAR_LISTS - 1);
            self.link(at, round * TICKS_PER_FAR, (NEAR_TICKS + round % FAR_LISTS) as usize);
        }
    }

    fn link(&mut self, at: u32, rings: u64, list: usize) {
        let next = std::mem::replace(&mut self.heads[list], at);
        if next != NONE {
            self.slots[next as usize].previous = at;
        }
        let slot = &mut self.slots[at as usize];
        (slot.rings, slot.list, slot.previous, slot.next) = (rings, list as u32, NONE, next);
    }

    fn unlink(&mut self, at: u32) {
        let Slot { rings, list, previous, next, .. } = self.slots[at as usize];
        if rings == NEVER {
            return;
        }
        match previous {
            NONE => self.heads[list as usize] = next,
            previous => self.slots[previous as usize].next = next,
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
        self.slots[at as usize].rings = NEVER;
    }

    /// Move a list's slots into `rung`.
    fn empty(&mut self, list: usize) {
        let mut at = std::mem::replace(&mut self.heads[list], NONE);
        while at != NONE {
            self.rung.push(at);
            let slot = &mut self.slots[at as usize];
            slot.rings = NEVER;
            at = slot.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A slow model of the wheels.
    #[derive(Default)]
    struct Plain(std::collections::BTreeMap<usize, u64>);

    proptest! {
        #[test]
        fn everything_rings_in_its_tick_and_only_then(
            steps in prop::collection::vec(
                (0usize..12, prop::option::of(prop_oneof![0u64..40, 0u64..3_000, 0u64..200_000]), 0u64..2_000),
                1..200,
            ),
        ) {
            let epoch = Instant::now();
            let (mut timers, mut plain) = (Timers::new(epoch), Plain::default());
            let mut now = 0;
            for (slot, after, advance) in steps {
                timers.arm(slot, after.map(|ms| epoch + Duration::from_millis(now + ms)));
                match after {
                    // What is due at once rings with the next tick.
                    Some(ms) => plain.0.insert(slot, (now + ms).max(now + 1)),
                    None => plain.0.remove(&slot),
                };
                // Sleep as the worker does: until the next ring, but not past the step.
                let until = now + advance;
                loop {
                    let next = timers.next().map(|at| (at - epoch).as_millis() as u64);
                    prop_assert!(next.is_some() || plain.0.is_empty(), "something waits and nothing will ring");
                    if next.is_none_or(|at| at > until) {
                        prop_assert!(plain.0.values().all(|&at| at > until), "rings too late");
                        break;
                    }
                    now = next.unwrap();
                    let mut due = Vec::new();
                    timers.ring(epoch + Duration::from_millis(now), |slot| due.push(slot));
                    for slot in due {
                        prop_assert_eq!(plain.0.remove(&slot), Some(now), "rings in its tick");
                    }
                }
                // Or oversleep.
                now = until;
                timers.ring(epoch + Duration::from_millis(now), |slot| {
                    assert!(plain.0.remove(&slot).is_some_and(|at| at <= now), "not before its time");
                });
                prop_assert!(plain.0.values().all(|&at| at > now), "an overslept tick rings too");
            }
        }
    }
}
