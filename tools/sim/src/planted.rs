//! Planted: the faults of a cluster that a simulator takes on purpose, by their names.
//!
//! Why: they prove that the simulation finds what it is for (`cargo xtask sim --planted`). Only a build with
//! the feature `planted` has this module.
//! Invariant: a process has one fault or none, on all threads that play worlds.

use std::sync::OnceLock;

use grandstand_cluster::planted::{Fault, plant};

/// Name and fault.
pub const FAULTS: [(&str, Fault); 8] = [
    ("ack-at-publish", Fault::AckAtPublish),
    ("wrong-last-is-kept", Fault::WrongLastIsKept),
    ("two-in-flight", Fault::TwoInFlight),
    ("link-without-term", Fault::LinkWithoutTerm),
    ("claim-without-majority", Fault::ClaimWithoutMajority),
    ("epoch-unchanged", Fault::EpochUnchanged),
    ("adopted-dropped", Fault::AdoptedDropped),
    ("nonces-not-restored", Fault::NoncesNotRestored),
];

static CHOSEN: OnceLock<Fault> = OnceLock::new();

/// From now on every world has this fault.
///
/// # Errors
/// The names that there are, if this is none.
pub fn choose(name: &str) -> Result<(), String> {
    let fault = FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault);
    let names = || FAULTS.map(|(name, _)| name).join(", ");
    CHOSEN.set(fault.ok_or_else(names)?).map_err(|_| "one fault a process".to_owned())
}

/// Before a world is played on this thread.
pub(crate) fn obey() {
    plant(CHOSEN.get().copied());
}
