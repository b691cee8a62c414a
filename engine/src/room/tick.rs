//! The tick: how often a room seals, so that fan-out takes at most its share of the workers' time.
//!
//! Why measured and not from a table: the cost of a write depends on the transport, the kernel, the machine
//! and its other processes. Workers report the time and the number of writes of their fan-out ([`Load`]).
//! From these reports follow two controls:
//!
//! - **feed-forward**: a round of a room costs a worker `members * cost of a write`. With a tick of that cost
//!   divided by the share, the room keeps to the share by itself. A giant room gets the tick that it needs,
//!   and a small room beside it keeps the shortest;
//! - **feedback**: the measured share also shows the effects of several rooms together, of other shards'
//!   rooms and of errors in the estimate. While the share is above the target, the worker's *stretch* grows,
//!   and every tick on it grows in proportion. While the share is below, the stretch falls back towards 1.
//!
//! A room's tick is the longest that any of its workers asks for, within the room's bounds.
//!
//! The feedback acts once per *window*. Rounds come in bursts, so a window spans several of the longest ticks
//! on the worker. It ends early once it holds as much fan-out as a whole window may, so overload is noticed
//! soon. Each step is the square root of the wanted factor, since a part of each window was under the ticks
//! before. Rooms that are at their longest tick cannot be stretched further, so their cost is subtracted from
//! the target. At least a part of the target ([`FREE_PART`]) is left to the other rooms, so a giant room over
//! every bound does not slow the small rooms down.
//!
//! Invariants: a tick is within its room's bounds. One report raises the cost by at most [`COST_STEP_UP`];
//! one window moves the stretch by at most [`STRETCH_STEP`].
//! Not here: when a room seals (`room`), measuring (edge), the size of the share (`config`).

use crate::config::ShardConfig;
use crate::link::{Load, PerWorker, RoomSettings, WorkerId};

/// Cost of a write before any was measured: a plain socket on a current server takes 3 to 5 µs.
const PRIOR_NS_PER_WRITE: f64 = 5_000.0;

/// Bounds of the cost of a write: no kernel writes to a socket in less than 100 ns, and above a millisecond
/// the writes are not the cause.
const NS_PER_WRITE: (f64, f64) = (100.0, 1_000_000.0);

/// A report has half its weight at this many writes: the first few after a pause pay for cold caches.
const WRITES_HALF: f64 = 100.0;

/// The highest weights of a report, upwards and downwards. The upward one is lower, since a preempted round
/// looks expensive and no round looks too cheap.
const WEIGHT: (f64, f64) = (0.25, 0.5);

/// A report's cost is capped at this multiple of the cost so far, so a report raises the cost by at most a
/// quarter.
const COST_STEP_UP: f64 = 2.0;

/// Longest ticks in a window: with fewer, the result would depend on how many rounds fall into it.
const WINDOW_TICKS: u64 = 4;

/// Bounds of a window: four reports, and four of the longest default ticks.
const WINDOW_US: (u64, u64) = (400_000, 4_000_000);

/// The share may miss its target by this part before the stretch moves, so that noise does not move ticks.
const TOLERANCE: f64 = 0.1;

/// The largest factor by which a window moves the stretch.
const STRETCH_STEP: f64 = 2.0;

/// The largest stretch: from the shortest to the longest default tick. A larger one would change nothing.
const STRETCH_MAX: f64 = 100.0;

/// Part of the share that is left to rooms that can be stretched, whatever the other rooms take.
const FREE_PART: f64 = 0.25;

/// Windows made up for at once after a pause. Half as many halvings bring the stretch back to 1.
const WINDOWS_MISSED_MAX: u64 = 8;

/// Shortest and longest tick of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TickBounds {
    pub(crate) min_us: u64,
    pub(crate) max_us: u64,
}

impl TickBounds {
    /// The node's bounds, or the room's own in their place. When the two contradict each other, the room's
    /// own take precedence.
    pub(crate) fn new(config: &ShardConfig, settings: &RoomSettings) -> Self {
        let (min_ms, max_ms) = match config.tick_ms {
            0 => (config.tick_min_ms, config.tick_max_ms),
            fixed_ms => (fixed_ms, fixed_ms),
        };
        let (own_min_ms, own_max_ms) =
            (settings.tick_min_ms.map(u64::from), settings.tick_max_ms.map(u64::from));
        let min_ms = own_min_ms.unwrap_or_else(|| min_ms.min(own_max_ms.unwrap_or(u64::MAX)));
        let max_ms = own_max_ms.unwrap_or(max_ms).max(min_ms);
        TickBounds { min_us: min_ms.saturating_mul(1000), max_us: max_ms.saturating_mul(1000) }
    }
}

/// The ticks of one shard's rooms.
#[derive(Debug)]
pub(crate) struct Ticks {
    // A part of a worker's time, 0 to 1.
    share: f64,
    workers: PerWorker<Pace>,
    // The pace of a worker that has not reported.
    unknown: Pace,
}

/// The measurements of one worker.
#[derive(Debug)]
struct Pace {
    ns_per_write: f64,
    // At least 1.
    stretch: f64,
    window: Window,
    // Longest tick in the previous window.
    longest_before_us: u64,
}

/// The load since the stretch was last adjusted.
#[derive(Debug, Default)]
struct Window {
    elapsed_us: u64,
    fanout_us: u64,
    longest_us: u64,
    // Cost of the planned rounds: of rooms that cannot be stretched further, and of the others.
    stuck_us: f64,
    free_us: f64,
}

impl Ticks {
    /// Ticks without any measurement.
    pub(crate) fn new(config: &ShardConfig) -> Self {
        let share = f64::from(config.fanout_share_percent) / 100.0;
        Ticks { share, workers: PerWorker::default(), unknown: Pace::new() }
    }

    /// Take a worker's report.
    pub(crate) fn handle_load(&mut self, worker: WorkerId, load: &Load) {
        let pace = self.workers.entry(worker, Pace::new);
        pace.learn(load);
        pace.window.elapsed_us += load.elapsed_us;
        pace.window.fanout_us += load.fanout_us;
        pace.steer(self.share);
    }

    /// The tick of a room with these members per worker.
    pub(crate) fn tick_us(&self, members: impl Iterator<Item = (WorkerId, u32)>, bounds: TickBounds) -> u64 {
        let wanted = |(worker, members): (WorkerId, u32)| {
            let pace = self.workers.get(worker).unwrap_or(&self.unknown);
            pace.stretch * pace.own_us(members, bounds, self.share)
        };
        let longest_us = members.map(wanted).fold(0.0, f64::max);
        (longest_us as u64).clamp(bounds.min_us, bounds.max_us)
    }

    /// The same, for a room that is about to seal.
    pub(crate) fn plan_us(
        &mut self,
        members: impl Iterator<Item = (WorkerId, u32)> + Clone,
        bounds: TickBounds,
    ) -> u64 {
        let tick_us = self.tick_us(members.clone(), bounds);
        for (worker, members) in members {
            let pace = self.workers.entry(worker, Pace::new);
            let cost_us = pace.cost_us(members);
            // From the point where its tick cannot grow, to the point where it would have doubled: a
            // threshold would make the stretch swing about it.
            let over = pace.stretch * pace.own_us(members, bounds, self.share) / bounds.max_us as f64;
            let stuck = (over - 1.0).clamp(0.0, 1.0);
            pace.window.longest_us = pace.window.longest_us.max(tick_us);
            pace.window.stuck_us += stuck * cost_us;
            pace.window.free_us += (1.0 - stuck) * cost_us;
        }
        tick_us
    }

    /// A worker is gone: forget its measurements.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.workers.remove(worker);
    }

    /// The largest stretch of any worker, in thousandths.
    pub(crate) fn stretch_permille(&self) -> u64 {
        (self.workers.values().map(|pace| pace.stretch).fold(1.0, f64::max) * 1000.0) as u64
    }
}

impl Pace {
    fn new() -> Self {
        Pace {
            ns_per_write: PRIOR_NS_PER_WRITE,
            stretch: 1.0,
            window: Window::default(),
            longest_before_us: 0,
        }
    }

    /// The cost of a round of this many writes.
    fn cost_us(&self, members: u32) -> f64 {
        f64::from(members) * self.ns_per_write / 1000.0
    }

    /// The tick that a room needs by itself.
    fn own_us(&self, members: u32, bounds: TickBounds, share: f64) -> f64 {
        (self.cost_us(members) / share).max(bounds.min_us as f64)
    }

    fn learn(&mut self, load: &Load) {
        if load.writes == 0 {
            return;
        }
        let before = self.ns_per_write;
        let seen = (load.fanout_us as f64 * 1000.0 / load.writes as f64).min(before * COST_STEP_UP);
        let weight = if seen > before { WEIGHT.0 } else { WEIGHT.1 };
        let weight = weight * load.writes as f64 / (load.writes as f64 + WRITES_HALF);
        self.ns_per_write = (before + weight * (seen - before)).clamp(NS_PER_WRITE.0, NS_PER_WRITE.1);
    }

    /// Adjust the stretch, if the window is full.
    fn steer(&mut self, share: f64) {
        let longest_us = self.window.longest_us.max(self.longest_before_us);
        let full_us = longest_us.saturating_mul(WINDOW_TICKS).clamp(WINDOW_US.0, WINDOW_US.1);
        let Window { elapsed_us, fanout_us, .. } = self.window;
        if elapsed_us < full_us && (fanout_us as f64) < share * full_us as f64 {
            return;
        }
        let off = self.window.off_target(share);
        if off > 1.0 + TOLERANCE {
            self.stretch *= off.sqrt().min(STRETCH_STEP);
        } else if off < 1.0 - TOLERANCE {
            let windows = (elapsed_us / full_us).clamp(1, WINDOWS_MISSED_MAX) as i32;
            self.stretch *= off.sqrt().max(1.0 / STRETCH_STEP).powi(windows);
        }
        self.stretch = self.stretch.clamp(1.0, STRETCH_MAX);
        self.longest_before_us = self.window.longest_us;
        self.window = Window::default();
    }
}

impl Window {
    /// The cost of the rooms that can be stretched, as a multiple of the share left to them.
    fn off_target(&self, share: f64) -> f64 {
        let measured = self.fanout_us as f64 / self.elapsed_us.max(1) as f64;
        let planned_us = self.stuck_us + self.free_us;
        let stuck = if planned_us > 0.0 { measured * self.stuck_us / planned_us } else { 0.0 };
        (measured - stuck) / (share - stuck).max(share * FREE_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: WorkerId = WorkerId(0);

    fn bounds(config: &ShardConfig, min: Option<u32>, max: Option<u32>) -> (u64, u64) {
        let settings = RoomSettings { tick_min_ms: min, tick_max_ms: max, ..RoomSettings::default() };
        let TickBounds { min_us, max_us } = TickBounds::new(config, &settings);
        (min_us / 1000, max_us / 1000)
    }

    fn report(elapsed_ms: u64, fanout_ms: u64, writes: u64) -> Load {
        Load { elapsed_us: elapsed_ms * 1000, fanout_us: fanout_ms * 1000, writes }
    }

    #[test]
    fn a_rooms_own_bounds_stand_in_place_of_the_nodes() {
        let adaptive = ShardConfig::for_tests();
        assert_eq!(bounds(&adaptive, None, None), (10, 1000));
        assert_eq!(bounds(&adaptive, Some(50), None), (50, 1000));
        assert_eq!(bounds(&adaptive, None, Some(5)), (5, 5), "its own counts");
        assert_eq!(bounds(&adaptive, Some(2000), None), (2000, 2000));
        let fixed = ShardConfig { tick_ms: 100, ..ShardConfig::for_tests() };
        assert_eq!(bounds(&fixed, None, None), (100, 100));
        assert_eq!(bounds(&fixed, Some(20), None), (20, 100), "between its own and the node's");
        assert_eq!(bounds(&fixed, Some(70), Some(70)), (70, 70));
    }

    #[test]
    fn the_cost_follows_what_is_measured_in_bounded_steps() {
        let mut pace = Pace::new();
        pace.learn(&report(100, 100, 5_000));
        assert!((5_000.0..=6_250.0).contains(&pace.ns_per_write), "{}", pace.ns_per_write);
        for _ in 0..40 {
            pace.learn(&report(100, 100, 5_000));
        }
        assert!((19_000.0..20_001.0).contains(&pace.ns_per_write), "{}", pace.ns_per_write);
        for _ in 0..10 {
            pace.learn(&report(100, 10, 5_000));
        }
        assert!((2_000.0..2_500.0).contains(&pace.ns_per_write), "{}", pace.ns_per_write);
        pace.learn(&report(100, 1, 1));
        assert!(pace.ns_per_write < 2_520.0, "one write says little");
        pace.learn(&report(100, 0, 0));
    }

    #[test]
    fn the_stretch_moves_once_per_window_and_falls_back_in_a_pause() {
        let config = ShardConfig::for_tests();
        let mut ticks = Ticks::new(&config);
        let bounds = TickBounds::new(&config, &RoomSettings::default());
        let room = [(W, 100)];
        ticks.plan_us(room.into_iter(), bounds);
        ticks.handle_load(W, &report(100, 100, 20_000));
        assert_eq!(ticks.stretch_permille(), 1000, "not yet as much as a window may hold");
        ticks.handle_load(W, &report(100, 100, 20_000));
        let after_one = ticks.stretch_permille();
        assert!((1_500..=2_000).contains(&after_one), "{after_one}");
        for _ in 0..100 {
            ticks.plan_us(room.into_iter(), bounds);
            ticks.handle_load(W, &report(100, 100, 20_000));
        }
        assert!(ticks.stretch_permille() <= 100_000);
        ticks.handle_load(W, &report(60_000, 1, 200));
        assert_eq!(ticks.stretch_permille(), 1000);
    }
}
