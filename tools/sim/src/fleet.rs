//! A fleet: many worlds, one after the other on each thread, and their results.
//!
//! Invariant: a world that panics is a broken promise like any other (`panic`), with the text of the panic.
//! Not here: a world (`world`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::checker::{Counts, Violation};
use crate::plan::Plan;
use crate::story::{Step, story};
use crate::world::{Outcome, play};

/// What came of a seed's world.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// The outcome, with a violation.
    pub outcome: Outcome,
}

/// What came of all worlds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds played.
    pub seeds: u64,
    /// Steps of their stories.
    pub steps: u64,
    /// Events that they had.
    pub events: u64,
    /// Virtual time, seconds.
    pub virtual_s: u64,
    /// Processes that there were.
    pub lives: u64,
    /// What was seen.
    pub counts: Counts,
    /// Those that went wrong, by seed.
    pub found: Vec<Found>,
}

/// The plan of a seed, of one kind of world: [`Plan::new`] or [`Plan::cluster`].
pub type Kind = fn(u64) -> Plan;

/// Play the world of a seed.
pub fn play_seed(kind: Kind, seed: u64, steps: usize) -> Outcome {
    let plan = kind(seed);
    let story = story(&plan, steps);
    play_caught(&plan, &story)
}

/// As [`play`]; a panic is a violation.
pub fn play_caught(plan: &Plan, story: &[Step]) -> Outcome {
    #[cfg(feature = "planted")]
    crate::planted::obey();
    catch_unwind(AssertUnwindSafe(|| play(plan, story))).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let detail = said.unwrap_or("without a word").to_owned();
        let violation = Some((Violation { kind: "panic", detail }, story.len()));
        Outcome { violation, trace: 0, events: 0, us: 0, counts: Counts::default(), lives: 0 }
    })
}

/// Play the worlds of `count` seeds from `first` on, on so many threads; stop after `found_max` that went
/// wrong.
pub fn run(
    kind: Kind,
    (first, count): (u64, u64),
    steps: usize,
    threads: usize,
    found_max: usize,
) -> Summary {
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let seed = first + at;
            let outcome = play_seed(kind, seed, steps);
            let mut sum = summary.lock().expect("no panics here");
            sum.seeds += 1;
            sum.steps += outcome.violation.as_ref().map_or(steps, |(_, at)| *at) as u64;
            sum.events += outcome.events;
            sum.virtual_s += outcome.us / 1_000_000;
            sum.lives += outcome.lives;
            sum.counts.add(&outcome.counts);
            if outcome.violation.is_some() {
                sum.found.push(Found { seed, outcome });
                is_over.fetch_or(sum.found.len() >= found_max, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    let mut summary = summary.into_inner().expect("no panics here");
    summary.found.sort_by_key(|found| found.seed);
    summary
}
