//! Planted faults: mistakes that a test puts into the crate on purpose, and that a simulation must find.
//!
//! Why: a simulation that finds nothing proves nothing until it has found what is known to be wrong.
//! Invariant: outside of the crate's own tests, and of a simulator that is built with the feature `planted`,
//! no fault is ever there, and the question costs nothing.

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "planted")), allow(dead_code, reason = "simulations name all of them"))]
pub enum Fault {
    /// Repetitions are recognised by shard, term and position alone.
    IdWithoutSum,
    /// "Wrong last sequence" counts as a proof that the record is kept.
    WrongLastIsKept,
    /// An answer to an attempt of an earlier life of the node counts for this one.
    AttemptWithoutLife,
    /// A second record is sent before the first one is kept.
    TwoInFlight,
    /// Entries of a lower term than was promised are taken from a link.
    LinkWithoutTerm,
    /// One promise, a node's own, is enough for a claim.
    ClaimWithoutMajority,
    /// What the last owner had shown and not kept is forgotten.
    AdoptedDropped,
    /// An echo counts for the lease of an owner, although the node that echoes promised a higher term.
    EchoOfPromised,
    /// An entry is acknowledged when it is pushed, and not when the log has kept it.
    AckAtPublish,
    /// Rooms keep their epoch after a claim.
    EpochUnchanged,
    /// A new owner does not know which publications were accepted before.
    NoncesNotRestored,
}

#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn is(_: Fault) -> bool {
    false
}

#[cfg(any(test, feature = "planted"))]
pub(crate) use planting::is;
#[cfg(any(test, feature = "planted"))]
pub use planting::plant;

#[cfg(any(test, feature = "planted"))]
mod planting {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn is(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// From now on, on this thread; none to be right again.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }
}
