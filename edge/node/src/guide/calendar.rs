//! The times of airings' rooms, for shards: from when people may come, and until when their messages stay.
//!
//! Why in memory: a shard asks when somebody comes, and waits for no disk. Why by hash: a hundred thousand
//! names would take ten times as much.
//! Invariant: what a shard reads is one import's state, whole. An airing that nobody asks for costs the
//! engine nothing. Not here: what a phase allows (`grandstand_engine`).

use std::hash::Hasher;
use std::sync::{Arc, PoisonError, RwLock};

use grandstand_edge::config;
use grandstand_engine::{Schedule, ShowTimes};
use grandstand_guide::store::{GuideError, Queries};
use siphasher::sip::SipHasher13;

/// Airings that begin later are not known yet: they are read again before.
const AHEAD_S: i64 = 2 * 86_400;

/// Start and stop of an airing by the hash of its room's name, sorted.
type Times = Vec<(u64, u32, u32)>;

/// The times of rooms that are or will soon be those of airings.
pub(crate) struct AiringTimes {
    times: RwLock<Arc<Times>>,
    before_s: u64,
    after_s: u64,
    archive_s: u64,
}

impl AiringTimes {
    /// Of no airing yet.
    pub(crate) fn new(guide: &config::Guide) -> AiringTimes {
        AiringTimes {
            times: RwLock::default(),
            before_s: u64::from(guide.opens_before_min) * 60,
            after_s: u64::from(guide.closes_after_min) * 60,
            archive_s: guide.archive_hours * 3_600,
        }
    }

    /// Read the airings around `now`.
    ///
    /// # Errors
    /// The guide cannot be read.
    pub(crate) fn read(&self, queries: &Queries, now: i64) -> Result<usize, GuideError> {
        let past = (self.archive_s + self.after_s) as i64 + 86_400;
        let mut times = Times::new();
        queries.times(now - past, now + AHEAD_S, |room, start, stop| {
            if let (Ok(start), Ok(stop)) = (u32::try_from(start), u32::try_from(stop)) {
                times.push((hash(room), start, stop));
            }
        })?;
        times.sort_unstable();
        times.shrink_to_fit();
        let count = times.len();
        *self.times.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(times);
        Ok(count)
    }
}

impl Schedule for AiringTimes {
    fn times(&self, room: &str) -> Option<ShowTimes> {
        if !room.starts_with("airing/") {
            return None;
        }
        let times = self.times.read().unwrap_or_else(PoisonError::into_inner).clone();
        let hash = hash(room);
        let (_, start, stop) =
            *times.get(times.partition_point(|entry| entry.0 < hash)).filter(|e| e.0 == hash)?;
        let (begins, ends) = (u64::from(start), u64::from(stop));
        let ms = |seconds: u64| seconds * 1_000;
        Some(ShowTimes {
            opens_ms: ms(begins.saturating_sub(self.before_s)),
            begins_ms: ms(begins),
            ends_ms: ms(ends),
            closes_ms: ms(ends + self.after_s),
            gone_ms: ms(ends + self.after_s + self.archive_s),
        })
    }
}

fn hash(room: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6775_6964, 0x7469_6d65);
    hasher.write(room.as_bytes());
    hasher.finish()
}
