//! Simulation: worlds of three nodes and a nasty log in virtual time, and the faults that they must find.
//!
//! Why inside the crate: planted faults are not part of its interface.

mod chance;
mod checker;
mod faults;
mod model;
mod node;
mod world;

use crate::planted::{Fault, plant};

/// Seeds of a test run; more by `CLUSTER_SEEDS`, others by `CLUSTER_FIRST`, one by `CLUSTER_SEED`.
const SEEDS: u64 = 300;
/// A planted fault must be found within this many.
const PLANTED_SEEDS: u64 = 100;
/// It takes a node that claims a term a second time at the same position.
const SEEDS_OF_A_RARE_FAULT: u64 = 300;

fn seeds() -> std::ops::Range<u64> {
    let text = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(first) = text("CLUSTER_FIRST") {
        return first..first + text("CLUSTER_SEEDS").unwrap_or(SEEDS);
    }
    match text("CLUSTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..text("CLUSTER_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn owners_change_and_nothing_acknowledged_is_lost() {
    let mut claims = 0;
    let mut broken = Vec::new();
    for seed in seeds() {
        match faults::play(seed) {
            Ok(n) => claims += n,
            Err(says) => broken.push(format!("seed {seed}: {says}")),
        }
    }
    assert!(broken.is_empty(), "{} worlds:\n{}", broken.len(), broken.join("\n"));
    assert!(claims > 2 * seeds().count() as u64, "only {claims} owner changes");
}

/// The first seed whose world is broken in a way that says this.
fn found_within(seeds: u64, fault: Fault, says: &str) -> Option<(u64, String)> {
    plant(Some(fault));
    let is_it = |told: &String| told.contains(says);
    let play = |seed| Some((seed, faults::play(seed).err().filter(is_it)?));
    let found = (0..seeds).find_map(play);
    plant(None);
    found
}

macro_rules! planted {
    ($($name:ident: $fault:ident, $says:literal, $seeds:expr;)*) => {$(
        #[test]
        fn $name() {
            let (seed, says) = found_within($seeds, Fault::$fault, $says).expect("not found as what it is");
            eprintln!("found by seed {seed}: {says}");
        }
    )*};
}

planted! {
    planted_identities_without_sum_are_found: IdWithoutSum, "two owners", SEEDS_OF_A_RARE_FAULT;
    planted_wrong_last_as_kept_is_found: WrongLastIsKept, "was acknowledged", PLANTED_SEEDS;
    planted_answers_of_an_earlier_life_are_found: AttemptWithoutLife, "", PLANTED_SEEDS;
    planted_two_in_flight_are_found: TwoInFlight, "was acknowledged", PLANTED_SEEDS;
    planted_links_without_term_check_are_found: LinkWithoutTerm, "showed entry", PLANTED_SEEDS;
    planted_claims_without_majority_are_found: ClaimWithoutMajority, "nobody promised", PLANTED_SEEDS;
    planted_loss_of_adopted_entries_is_found: AdoptedDropped, "showed entry", PLANTED_SEEDS;
    planted_echoes_of_promised_nodes_are_found: EchoOfPromised, "act at once", PLANTED_SEEDS;
}
