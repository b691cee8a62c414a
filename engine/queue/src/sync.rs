//! The one door to atomics, cells, shared ownership and parking: the standard library's, or loom's under
//! `cfg(loom)`.
//!
//! Why: loom can only explore what it sees, so nothing else in this crate names `std::sync::atomic`,
//! `std::cell` or `std::thread`.
//! Not here: any logic.

#[cfg(loom)]
pub(crate) use self::model::*;
#[cfg(not(loom))]
pub(crate) use self::real::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub(crate) use std::thread::{Thread, current, park, park_timeout};

    /// `std::cell::UnsafeCell` behind loom's interface: the pointer is lent to a closure, so that loom knows
    /// for how long it is in use.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod model {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub(crate) use loom::thread::{Thread, current, park};

    /// Loom has no clock: a timeout that could fire at any moment is a turn given to the others.
    pub(crate) fn park_timeout(_timeout: std::time::Duration) {
        loom::thread::yield_now();
    }
}
