//! The faults: what each does to the machines, how often a full run does it, and what must hold.
//!
//! - `deaths`: processes that are killed; `pauses`: processes that hang; `partitions`: links that are cut;
//! - `quorum`: a minority alone; `moves`: what operators do; `links`: bad ones;
//! - `disks`: full, slow and rotten ones; `power`: machines that forget what was not synced.
//!
//! Invariant: at the end of a fault everything runs again, so that the next one finds three machines.
//! Not here: what is measured (`trial`), whether it is right (`limits`).

mod deaths;
mod disks;
pub(crate) mod limits;
mod links;
mod moves;
mod partitions;
mod pauses;
mod power;
mod quorum;

use crate::trial::Act;
use limits::Limits;

/// A kind of fault.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Trials of a full run.
    pub(crate) times: usize,
    /// What happens.
    pub(crate) what: &'static str,
    pub(crate) limits: Limits,
    /// Its machines have disks of their own.
    pub(crate) needs_disks: bool,
    /// Quick enough for CI.
    pub(crate) is_smoke: bool,
    pub(crate) act: Act,
}

/// All of them, in the order of a full run.
pub(crate) fn all() -> Vec<Fault> {
    [
        deaths::FAULTS,
        pauses::FAULTS,
        partitions::FAULTS,
        quorum::FAULTS,
        moves::FAULTS,
        links::FAULTS,
        disks::FAULTS,
        power::FAULTS,
    ]
    .concat()
}
