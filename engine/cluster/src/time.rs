//! Times: milliseconds of a monotonic clock, this node's own or another one's.
//!
//! Why two types: a lease compares times of one clock only. A time of another node can be echoed to it, and
//! means nothing else here.
//! Not here: who reads the clock. Wall clocks decide nothing in a cluster.

/// Milliseconds of this node's own monotonic clock, since any fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnTime(pub u64);

impl OwnTime {
    /// This many milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> OwnTime {
        OwnTime(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier time; 0 if it is a later one.
    #[must_use]
    pub fn since(self, earlier: OwnTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A time that another node sent: opaque here, and returned to it as an echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerTime(pub u64);

impl PeerTime {
    /// What a node sends of its own time.
    #[must_use]
    pub fn of_own(time: OwnTime) -> PeerTime {
        PeerTime(time.0)
    }

    /// An echo that came back to the node that sent it.
    #[must_use]
    pub fn into_own(self) -> OwnTime {
        OwnTime(self.0)
    }
}
