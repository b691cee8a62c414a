//! The show of a room: when it begins, ends and is gone, and the phase that follows from it.
//!
//! Why a function of the time and not commands: a programme guide knows 50,000 shows, of which a few hundred
//! are watched. A room asks for its times when somebody comes, and again when its phase ends; a show that
//! nobody watches costs the engine nothing.
//! Invariant: the phase of a show depends on its times and the believed wall clock only, so two owners of a
//! room agree on it, whatever happened before.
//! Not here: where the times come from (the node's guide), what a phase allows (`judge`).

use std::sync::Arc;

use grandstand_protocol::frame::Phase;

/// The times of a show, in milliseconds since 1970, none before the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShowTimes {
    /// From here on people may come, some time before the show.
    pub opens_ms: u64,
    /// The show begins.
    pub begins_ms: u64,
    /// The show is over.
    pub ends_ms: u64,
    /// The room takes no publications from here on.
    pub closes_ms: u64,
    /// The room is removed, and its log with it.
    pub gone_ms: u64,
}

/// Where a show is at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody may come yet.
    Announced,
    /// People may be there, in this phase, until this time.
    Present { phase: Phase, until_ms: u64 },
    /// It is past, and nothing of it is kept.
    Gone,
}

impl ShowTimes {
    pub(crate) fn stage(&self, unix_ms: u64) -> Stage {
        let present = |phase, until_ms| Stage::Present { phase, until_ms };
        match unix_ms {
            now if now < self.opens_ms => Stage::Announced,
            now if now < self.begins_ms => present(Phase::PreShow, self.begins_ms),
            now if now < self.ends_ms => present(Phase::Open, self.ends_ms),
            now if now < self.closes_ms => present(Phase::Closing, self.closes_ms),
            now if now < self.gone_ms => present(Phase::Closed, self.gone_ms),
            _ => Stage::Gone,
        }
    }
}

/// Knows the shows of rooms.
pub trait Schedule: Send + Sync {
    /// The times of a room's show; `None`: it is no room of a show. Called when somebody comes and at each
    /// change, on the shard's thread, so it must answer from memory.
    fn times(&self, room: &str) -> Option<ShowTimes>;
}

/// The schedule of an engine, if it has one.
#[derive(Clone, Default)]
pub struct Calendar(Option<Arc<dyn Schedule>>);

impl Calendar {
    /// With this schedule.
    pub fn new(schedule: Arc<dyn Schedule>) -> Self {
        Calendar(Some(schedule))
    }

    /// See [`Schedule::times`].
    pub(crate) fn times(&self, room: &str) -> Option<ShowTimes> {
        self.0.as_ref()?.times(room)
    }
}

impl std::fmt::Debug for Calendar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Calendar").field(&self.0.is_some()).finish()
    }
}

/// The same schedule, or none.
impl PartialEq for Calendar {
    fn eq(&self, other: &Calendar) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Calendar {}
