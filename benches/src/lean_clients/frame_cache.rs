//! The frame cache: frames that some client has received, by their first offset, so that another client's
//! bytes need only a comparison.
//!
//! Method: a frame that is met for the first time is parsed by its protocol ([`FrameCache::insert`]); each
//! further client at the same place with the same bytes ([`FrameCache::find`]) costs one look-up, one
//! comparison and one addition. Frames that begin at the same place may differ in how far they reach, so that
//! a place has a few of them; their messages must be the same. Latency: the first [`EXACT_MAX`] arrivals of a
//! frame are timed exactly, later ones are counted in steps of [`STEP_NS`]; [`FrameCache::flush`] turns those
//! into the times of every delivery, message by message.
//! Invariant: memory is bounded by [`FRAMES_MAX`] and [`TEXTS_MAX`], oldest first.
//! Not here: the meaning of a frame (protocols).

use super::counters::Counters;
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// Frames kept: over ten minutes of one busy room, a second of ten thousand.
const FRAMES_MAX: usize = 16_384;

/// Messages whose hash is kept.
const TEXTS_MAX: usize = 262_144;

/// Frames without messages that are kept for comparison: those of a tick or two.
const SIDE_MAX: usize = 16;

/// Arrivals of a frame that are timed one by one: all of a small room.
const EXACT_MAX: u32 = 8;

/// Later arrivals are told apart in steps of 2^18 ns, about a quarter of a millisecond.
const STEP_BITS: u32 = 18;

/// The same, in nanoseconds.
const STEP_NS: u64 = 1 << STEP_BITS;

/// Steps for which a frame counts arrivals (4 s); what comes later is counted by itself.
const STEPS_MAX: usize = 1 << 14;

/// Frames that begin at one place: joins and lag cut differently, but not at will.
const VARIANTS_MAX: usize = 64;

/// The parsed content of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Messages: offset, when due (nanoseconds of the clock that all processes share), hash of the content.
    pub messages: Vec<(u64, Option<u64>, u64)>,
    /// Offsets that the frame says are left out.
    pub omitted: u64,
    /// Reactions that it tells of.
    pub reactions: u64,
    /// The offset behind it.
    pub next: u64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct FrameCache {
    frames: HashMap<(u32, u64), Vec<Known>, FixedState>,
    order: VecDeque<(u32, u64)>,
    texts: HashMap<(u32, u64), u64, FixedState>,
    texts_order: VecDeque<(u32, u64)>,
    side: VecDeque<(u32, Box<[u8]>, u64)>,
}

#[derive(Debug)]
struct Known {
    bytes: Box<[u8]>,
    next: u64,
    deliveries: u64,
    omitted: u64,
    reactions: u64,
    due_ns: Box<[u64]>,
    first_ns: u64,
    exact: u32,
    arrivals: Vec<u32>,
}

/// A hash of a message's content.
#[must_use]
pub fn hash(content: impl std::hash::Hash) -> u64 {
    FixedState::default().hash_one(content)
}

impl FrameCache {
    /// A client that expects `next` got these bytes. If they are known there they are counted; the next
    /// offset and the reactions in the frame.
    #[inline]
    pub fn find(
        &mut self,
        room: u32,
        next: u64,
        bytes: &[u8],
        now_ns: u64,
        seen: &mut Counters,
    ) -> Option<(u64, u64)> {
        let known = self.frames.get_mut(&(room, next))?.iter_mut().find(|known| *known.bytes == *bytes)?;
        known.count(now_ns, seen);
        Some((known.next, known.reactions))
    }

    /// The same for bytes that hold no message, and so have no place: the reactions in them.
    #[must_use]
    pub fn find_side(&self, room: u32, bytes: &[u8]) -> Option<u64> {
        let known = self.side.iter().find(|(of, known, _)| *of == room && **known == *bytes);
        known.map(|(_, _, reactions)| *reactions)
    }

    /// Bytes without messages, met for the first time.
    pub fn insert_side(&mut self, room: u32, bytes: &[u8], reactions: u64) {
        self.side.truncate(SIDE_MAX - 1);
        self.side.push_front((room, bytes.into(), reactions));
    }

    /// Bytes met for the first time at this place: they are counted, and compared by message with what others
    /// got.
    pub fn insert(
        &mut self,
        room: u32,
        next: u64,
        bytes: &[u8],
        parsed: &Parsed,
        now_ns: u64,
        seen: &mut Counters,
    ) {
        for &(offset, _, hash) in &parsed.messages {
            let known = *self.texts.entry((room, offset)).or_insert_with(|| {
                self.texts_order.push_back((room, offset));
                hash
            });
            if known != hash {
                seen.counts.wrong += 1;
                seen.counts.fault(|| format!("offset {offset} is not the message that others got"));
            }
        }
        let mut known = Known {
            bytes: bytes.into(),
            next: parsed.next,
            deliveries: parsed.messages.len() as u64,
            omitted: parsed.omitted,
            reactions: parsed.reactions,
            due_ns: parsed.messages.iter().filter_map(|&(_, due_ns, _)| due_ns).collect(),
            first_ns: now_ns,
            exact: 0,
            arrivals: Vec::new(),
        };
        known.count(now_ns, seen);
        let variants = self.frames.entry((room, next)).or_insert_with(|| {
            self.order.push_back((room, next));
            Vec::with_capacity(1)
        });
        if variants.len() == VARIANTS_MAX {
            variants.remove(0).flush(seen);
        }
        variants.push(known);
        self.forget(seen);
    }

    /// The place at which these bytes are known, if any: for a frame that came where it was not expected.
    #[must_use]
    pub fn place_of(&self, room: u32, bytes: &[u8]) -> Option<u64> {
        let mut places = self.frames.iter().filter(|((of, _), _)| *of == room);
        places.find(|(_, known)| known.iter().any(|known| *known.bytes == *bytes)).map(|((_, at), _)| *at)
    }

    /// Turns counted arrivals into times.
    pub(super) fn flush(&mut self, seen: &mut Counters) {
        self.frames.values_mut().flatten().for_each(|known| known.flush(seen));
    }

    fn forget(&mut self, seen: &mut Counters) {
        while self.order.len() > FRAMES_MAX {
            let oldest = self.order.pop_front().expect("more than none");
            self.frames.remove(&oldest).into_iter().flatten().for_each(|mut known| known.flush(seen));
        }
        while self.texts_order.len() > TEXTS_MAX {
            let oldest = self.texts_order.pop_front().expect("more than none");
            self.texts.remove(&oldest);
        }
    }
}

impl Known {
    #[inline]
    fn count(&mut self, now_ns: u64, seen: &mut Counters) {
        seen.counts.frames += 1;
        seen.counts.deliveries += self.deliveries;
        seen.counts.omitted += self.omitted;
        let step = (now_ns.saturating_sub(self.first_ns) >> STEP_BITS) as usize;
        if self.exact < EXACT_MAX || step >= STEPS_MAX {
            self.exact += 1;
            return record(&self.due_ns, now_ns, 1, seen);
        }
        if self.arrivals.len() <= step {
            self.arrivals.resize(step + 1, 0);
        }
        self.arrivals[step] += 1;
    }

    fn flush(&mut self, seen: &mut Counters) {
        for (step, count) in self.arrivals.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            let at_ns = self.first_ns + step as u64 * STEP_NS;
            record(&self.due_ns, at_ns, u64::from(std::mem::take(count)), seen);
        }
    }
}

fn record(due_ns: &[u64], now_ns: u64, count: u64, seen: &mut Counters) {
    for due_ns in due_ns {
        seen.latency.record_n(now_ns.saturating_sub(*due_ns) / 1_000, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(first: u64, texts: &[&str]) -> Parsed {
        let message = |(n, text): (usize, &&str)| (first + n as u64, Some(1_000_000), hash(text));
        let messages = texts.iter().enumerate().map(message).collect();
        Parsed { messages, next: first + texts.len() as u64, ..Parsed::default() }
    }

    #[test]
    fn the_second_viewer_needs_no_parsing_and_both_are_timed() {
        let (mut cache, mut seen) = (FrameCache::default(), Counters::default());
        assert_eq!(cache.find(0, 5, b"ab", 2_000_000, &mut seen), None);
        cache.insert(0, 5, b"ab", &parsed(5, &["a", "b"]), 2_000_000, &mut seen);
        assert_eq!(cache.find(0, 5, b"ab", 3_100_000, &mut seen), Some((7, 0)));
        assert_eq!(cache.find(1, 5, b"ab", 3_100_000, &mut seen), None);
        cache.flush(&mut seen);
        cache.flush(&mut seen);
        let (latency, counts) = (seen.latency.summary(), &seen.counts);
        assert_eq!((counts.frames, counts.deliveries, latency.count, counts.wrong), (2, 4, 4, 0));
        assert!(latency.p50_us == 1_000 && latency.max_us.abs_diff(2_100) <= 3, "{latency:?}");
    }

    #[test]
    fn many_arrivals_are_timed_in_steps() {
        let (mut cache, mut seen) = (FrameCache::default(), Counters::default());
        cache.insert(0, 5, b"a", &parsed(5, &["a"]), 2_000_000, &mut seen);
        (0..99).for_each(|_| assert!(cache.find(0, 5, b"a", 9_000_000, &mut seen).is_some()));
        cache.flush(&mut seen);
        let latency = seen.latency.summary();
        assert!(latency.count == 100 && latency.p50_us.abs_diff(8_000) <= STEP_NS / 1_000, "{latency:?}");
    }

    #[test]
    fn frames_that_reach_differently_far_are_no_fault_but_another_text_is() {
        let (mut cache, mut seen) = (FrameCache::default(), Counters::default());
        cache.insert(0, 5, b"ab", &parsed(5, &["a", "b"]), 0, &mut seen);
        cache.insert(0, 5, b"a", &parsed(5, &["a"]), 0, &mut seen);
        assert_eq!((cache.find(0, 5, b"a", 0, &mut seen), seen.counts.wrong), (Some((6, 0)), 0));
        cache.insert(0, 6, b"x", &parsed(6, &["x"]), 0, &mut seen);
        assert_eq!(seen.counts.wrong, 1);
        assert_eq!((cache.place_of(0, b"x"), cache.place_of(1, b"x")), (Some(6), None));
    }

    #[test]
    fn what_is_forgotten_was_counted() {
        let (mut cache, mut seen) = (FrameCache::default(), Counters::default());
        let frames = FRAMES_MAX as u64 + 10;
        for at in 0..frames {
            cache.insert(0, at, b"a", &parsed(at, &["a"]), 2_000_000, &mut seen);
        }
        assert_eq!((cache.frames.len(), cache.order.len()), (FRAMES_MAX, FRAMES_MAX));
        cache.flush(&mut seen);
        assert_eq!(seen.latency.summary().count, frames);
    }
}
