//! Clusters of three nodes in every test run: hundreds of worlds, and proof that a seed is played again
//! exactly.
//!
//! Why: what goes wrong between an election, a cut and a kill shows in no test of one part.
//! Thousands of them: `gs-sim --nodes 3 --seeds 10000`; the faults that must be found: `cargo xtask sim
//! --planted`.

use grandstand_sim::fleet::{play_seed, run};
use grandstand_sim::plan::Plan;

/// In a build without optimisation a world takes about a tenth of a second.
const STEPS: usize = 120;

/// Seeds of a test run.
const SEEDS: u64 = 200;

#[test]
fn a_clusters_seed_is_played_again_exactly() {
    for seed in 1..=6 {
        let [first, second] = [0, 1].map(|_| play_seed(Plan::cluster, seed, STEPS));
        assert_eq!((first.trace, first.events, first.us), (second.trace, second.events, second.us));
    }
}

#[test]
fn promises_hold_in_every_cluster() {
    let summary = run(Plan::cluster, (1, SEEDS), STEPS, 2, 1);
    let found = summary.found.first().map(|found| (found.seed, &found.outcome.violation));
    assert_eq!(found, None, "again: cargo run -p grandstand-sim -- --nodes 3 --seed N --steps {STEPS}");
    assert_eq!(summary.seeds, SEEDS);
    // Worlds in which nothing happens would prove nothing.
    let counts = summary.counts;
    assert!(counts.claimed > 3 * SEEDS && counts.handed_over > SEEDS / 4, "{counts:?}");
    assert!(counts.adopted > SEEDS && counts.acknowledged_disk > 20 * SEEDS, "{counts:?}");
}
