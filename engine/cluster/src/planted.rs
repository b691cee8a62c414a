//! Planted faults: mistakes that a test puts into the crate on purpose, and that its simulation must find.
//!
//! Why: a simulation that finds nothing proves nothing until it has found what is known to be wrong.
//! Invariant: outside of the crate's own tests no fault is ever there, and the question costs nothing.

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "tests name all of them"))]
pub(crate) enum Fault {
    /// Repetitions are recognised by shard, term and position alone.
    IdWithoutSum,
}

#[cfg(not(test))]
pub(crate) const fn is(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use in_tests::{is, plant};

#[cfg(test)]
mod in_tests {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn is(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// From now on, on this thread; none to be right again.
    pub(crate) fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }
}
