//! The canon: frames that a viewer has had, by the place where they begin, so that another viewer's bytes
//! need only be compared.
//!
//! Method: a frame that is met for the first time is parsed by its talk ([`Canon::learn`]); each further
//! viewer at the same place with the same bytes ([`Canon::meet`]) costs one look-up, one comparison and one
//! addition. Frames that begin at the same place may differ in how far they reach, so that a place has a few
//! of them; their messages must be the same. Latency: a frame counts its arrivals in steps of [`STEP_NS`];
//! [`Canon::flush`] turns them into the times of every delivery, message by message.
//! Invariant: memory is bounded by [`FRAMES_MAX`] and [`TEXTS_MAX`], oldest first.
//! Not here: what a frame means (talks).

use super::stage::Tally;
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// Frames kept: over ten minutes of one busy room, a second of ten thousand.
const FRAMES_MAX: usize = 16_384;

/// Messages whose hash is kept.
const TEXTS_MAX: usize = 262_144;

/// Frames without messages that are kept for comparison: those of a tick or two.
const SIDE_MAX: usize = 16;

/// Arrivals are told apart in steps of 2^18 ns, about a quarter of a millisecond.
const STEP_BITS: u32 = 18;

/// The same, in nanoseconds.
const STEP_NS: u64 = 1 << STEP_BITS;

/// Steps for which a frame counts arrivals (4 s); what comes later is counted by itself.
const STEPS_MAX: usize = 1 << 14;

/// Frames that begin at one place: joins and lag cut differently, but not at will.
const VARIANTS_MAX: usize = 64;

/// What a talk found in a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Messages: offset, when due (nanoseconds of [`crate::clock`]), hash of the content ([`hash`]).
    pub messages: Vec<(u64, Option<u64>, u64)>,
    /// Offsets that the frame says are left out.
    pub omitted: u64,
    /// The offset behind it.
    pub next: u64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Canon {
    frames: HashMap<(u32, u64), Vec<Known>, FixedState>,
    order: VecDeque<(u32, u64)>,
    texts: HashMap<(u32, u64), u64, FixedState>,
    texts_order: VecDeque<(u32, u64)>,
    side: VecDeque<(u32, Box<[u8]>)>,
}

#[derive(Debug)]
struct Known {
    bytes: Box<[u8]>,
    next: u64,
    deliveries: u64,
    omitted: u64,
    due_ns: Box<[u64]>,
    first_ns: u64,
    arrivals: Vec<u32>,
}

/// A hash of a message's content.
#[must_use]
pub fn hash(content: impl std::hash::Hash) -> u64 {
    FixedState::default().hash_one(content)
}

impl Canon {
    /// A viewer at `next` got these bytes. If they are known there, they are counted, and the next offset is
    /// returned.
    #[inline]
    pub fn meet(
        &mut self,
        room: u32,
        next: u64,
        bytes: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Option<u64> {
        let known = self.frames.get_mut(&(room, next))?.iter_mut().find(|known| *known.bytes == *bytes)?;
        known.count(now_ns, tally);
        Some(known.next)
    }

    /// The same for bytes that hold no message, and so have no place.
    pub fn meet_side(&self, room: u32, bytes: &[u8]) -> bool {
        self.side.iter().any(|(of, known)| *of == room && **known == *bytes)
    }

    /// Bytes without messages, met for the first time.
    pub fn learn_side(&mut self, room: u32, bytes: &[u8]) {
        if self.side.len() == SIDE_MAX {
            self.side.pop_back();
        }
        self.side.push_front((room, bytes.into()));
    }

    /// Bytes met for the first time at this place: they are counted, and compared by message with what others
    /// got.
    pub fn learn(
        &mut self,
        room: u32,
        next: u64,
        bytes: &[u8],
        parsed: &Parsed,
        now_ns: u64,
        tally: &mut Tally,
    ) {
        for &(offset, _, hash) in &parsed.messages {
            let known = *self.texts.entry((room, offset)).or_insert_with(|| {
                self.texts_order.push_back((room, offset));
                hash
            });
            if known != hash {
                tally.wrong += 1;
                tally.fault(|| format!("offset {offset} is not the message that others got"));
            }
        }
        let due_ns = parsed.messages.iter().filter_map(|&(_, due_ns, _)| due_ns).collect();
        let deliveries = parsed.messages.len() as u64;
        let (bytes, arrivals) = (bytes.into(), Vec::new());
        let mut known = Known {
            bytes,
            next: parsed.next,
            deliveries,
            omitted: parsed.omitted,
            due_ns,
            first_ns: now_ns,
            arrivals,
        };
        known.count(now_ns, tally);
        let variants = self.frames.entry((room, next)).or_insert_with(|| {
            self.order.push_back((room, next));
            Vec::with_capacity(1)
        });
        if variants.len() == VARIANTS_MAX {
            variants.remove(0).flush(tally);
        }
        variants.push(known);
        self.forget(tally);
    }

    /// The place at which these bytes are known, if any: for a frame that came where it was not expected.
    #[must_use]
    pub fn place_of(&self, room: u32, bytes: &[u8]) -> Option<u64> {
        let mut places = self.frames.iter().filter(|((of, _), _)| *of == room);
        places.find(|(_, known)| known.iter().any(|known| *known.bytes == *bytes)).map(|((_, at), _)| *at)
    }

    /// Turns counted arrivals into times.
    pub(super) fn flush(&mut self, tally: &mut Tally) {
        self.frames.values_mut().flatten().for_each(|known| known.flush(tally));
    }

    fn forget(&mut self, tally: &mut Tally) {
        while self.order.len() > FRAMES_MAX {
            let oldest = self.order.pop_front().expect("more than none");
            self.frames.remove(&oldest).into_iter().flatten().for_each(|mut known| known.flush(tally));
        }
        while self.texts_order.len() > TEXTS_MAX {
            let oldest = self.texts_order.pop_front().expect("more than none");
            self.texts.remove(&oldest);
        }
    }
}

impl Known {
    #[inline]
    fn count(&mut self, now_ns: u64, tally: &mut Tally) {
        tally.frames += 1;
        tally.deliveries += self.deliveries;
        tally.omitted += self.omitted;
        let step = (now_ns.saturating_sub(self.first_ns) >> STEP_BITS) as usize;
        if let Some(count) = self.arrivals.get_mut(step) {
            *count += 1;
        } else if step < STEPS_MAX {
            self.arrivals.resize(step + 1, 0);
            self.arrivals[step] = 1;
        } else {
            record(&self.due_ns, now_ns, 1, tally);
        }
    }

    fn flush(&mut self, tally: &mut Tally) {
        for (step, count) in self.arrivals.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            record(
                &self.due_ns,
                self.first_ns + step as u64 * STEP_NS,
                u64::from(std::mem::take(count)),
                tally,
            );
        }
    }
}

fn record(due_ns: &[u64], now_ns: u64, count: u64, tally: &mut Tally) {
    for due_ns in due_ns {
        tally.latency.record_n(now_ns.saturating_sub(*due_ns) / 1_000, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(first: u64, texts: &[&str]) -> Parsed {
        let message = |(n, text): (usize, &&str)| (first + n as u64, Some(1_000_000), hash(text));
        Parsed {
            messages: texts.iter().enumerate().map(message).collect(),
            omitted: 0,
            next: first + texts.len() as u64,
        }
    }

    #[test]
    fn the_second_viewer_needs_no_parsing_and_both_are_timed() {
        let (mut canon, mut tally) = (Canon::default(), Tally::default());
        assert_eq!(canon.meet(0, 5, b"ab", 2_000_000, &mut tally), None);
        canon.learn(0, 5, b"ab", &parsed(5, &["a", "b"]), 2_000_000, &mut tally);
        assert_eq!(canon.meet(0, 5, b"ab", 3_100_000, &mut tally), Some(7));
        assert_eq!(canon.meet(1, 5, b"ab", 3_100_000, &mut tally), None);
        canon.flush(&mut tally);
        canon.flush(&mut tally);
        let seen = tally.latency.summary();
        assert_eq!((tally.frames, tally.deliveries, seen.count, tally.wrong), (2, 4, 4, 0));
        assert!(seen.p50_us == 1_000 && seen.max_us.abs_diff(2_100) <= STEP_NS / 1_000, "{seen:?}");
    }

    #[test]
    fn frames_that_reach_differently_far_are_no_fault_but_another_text_is() {
        let (mut canon, mut tally) = (Canon::default(), Tally::default());
        canon.learn(0, 5, b"ab", &parsed(5, &["a", "b"]), 0, &mut tally);
        canon.learn(0, 5, b"a", &parsed(5, &["a"]), 0, &mut tally);
        assert_eq!((canon.meet(0, 5, b"a", 0, &mut tally), tally.wrong), (Some(6), 0));
        canon.learn(0, 6, b"x", &parsed(6, &["x"]), 0, &mut tally);
        assert_eq!(tally.wrong, 1);
        assert_eq!((canon.place_of(0, b"x"), canon.place_of(1, b"x")), (Some(6), None));
    }

    #[test]
    fn what_is_forgotten_was_counted() {
        let (mut canon, mut tally) = (Canon::default(), Tally::default());
        let frames = FRAMES_MAX as u64 + 10;
        for at in 0..frames {
            canon.learn(0, at, b"a", &parsed(at, &["a"]), 2_000_000, &mut tally);
        }
        assert_eq!((canon.frames.len(), canon.order.len()), (FRAMES_MAX, FRAMES_MAX));
        canon.flush(&mut tally);
        assert_eq!(tally.latency.summary().count, frames);
    }
}
