//! Some worlds in every test run, and proof that a seed is played again exactly.
//!
//! Thousands of them: `cargo xtask sim`; the faults that must be found: `cargo xtask sim --planted`.
//!
//! Why: a simulator that nobody runs rots, and one that cannot repeat a seed is of no use.

use grandstand_sim::fleet::{play_caught, play_seed, run};
use grandstand_sim::plan::Plan;
use grandstand_sim::story::story;
use grandstand_sim::world::Outcome;

/// In a build without optimisation a world of 200 steps takes some tens of milliseconds.
const STEPS: usize = 200;

/// The world of a seed, with so many nodes.
fn play_nodes(seed: u64, nodes: usize) -> Outcome {
    let plan = Plan { nodes, ..Plan::new(seed) };
    play_caught(&plan, &story(&plan, STEPS))
}

#[test]
fn a_seed_is_played_again_exactly() {
    for seed in 1..=20 {
        let (first, second) = (play_seed(Plan::new, seed, STEPS), play_seed(Plan::new, seed, STEPS));
        assert_eq!(
            (first.trace, first.events, first.us),
            (second.trace, second.events, second.us),
            "seed {seed}"
        );
        assert_eq!(story(&Plan::new(seed), STEPS), story(&Plan::new(seed), STEPS));
    }
    assert_ne!(play_seed(Plan::new, 1, STEPS).trace, play_seed(Plan::new, 2, STEPS).trace);
}

#[test]
fn a_world_with_several_nodes_is_played_again_exactly() {
    for seed in 1..=8 {
        let (first, second) = (play_nodes(seed, 3), play_nodes(seed, 3));
        assert_eq!(
            (first.trace, first.events, first.us),
            (second.trace, second.events, second.us),
            "seed {seed}"
        );
        assert_ne!(first.trace, play_nodes(seed, 1).trace, "seed {seed}");
    }
}

#[test]
fn promises_hold_in_every_world() {
    let summary = run(Plan::new, (1, 200), STEPS, 2, 1);
    let found = summary.found.first().map(|found| (found.seed, &found.outcome.violation));
    assert_eq!(found, None, "again: cargo run -p grandstand-sim -- --seed N --steps {STEPS}");
    assert_eq!((summary.seeds, summary.steps), (200, 200 * STEPS as u64));
    // Worlds in which nothing happens would prove nothing.
    let of_cluster = ["claimed", "handed_over", "adopted", "left_out", "void_records"];
    let all = summary.counts.list().into_iter().filter(|(name, _)| !of_cluster.contains(name));
    let quiet: Vec<_> = all.filter(|(_, count)| *count < 10).collect();
    assert!(quiet.is_empty(), "{quiet:?}");
    assert!(summary.lives > 400, "{} processes", summary.lives);
}

#[test]
fn promises_hold_on_several_nodes_that_fail_one_by_one() {
    let (mut lives, mut messages) = (0, 0);
    for (seed, nodes) in (1..=60).zip([2, 3].into_iter().cycle()) {
        let outcome = play_nodes(seed, nodes);
        assert_eq!(outcome.violation, None, "seed {seed} with {nodes} nodes");
        assert!(outcome.lives >= nodes as u64, "seed {seed}: {} processes", outcome.lives);
        (lives, messages) = (lives + outcome.lives, messages + outcome.counts.messages);
    }
    // Worlds in which no node fails would prove nothing.
    assert!(lives > 200 && messages > 1000, "{lives} processes, {messages} messages");
}
