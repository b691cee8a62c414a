//! What nodes of a cluster tell each other of people: what they took of their allowances, and which sessions
//! have come.
//!
//! Why each take and not a count of sessions: whoever is at one node only must lose nothing by it, and
//! whoever is at several gets what one person gets. What was taken elsewhere is owed here, so it is paid from
//! the same rate.
//! Why bounded: news beyond [`SHARED_MAX`] waits for the next time. Then a person has more for a moment, and
//! owes it after.
//! Invariants: over any time a person gets at all nodes together at most a burst for each node and the rate,
//! and what is taken between two messages. A node that stands alone keeps nothing here.
//! Not here: how the news travels (the node).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use grandstand_engine::link::Now;

use super::People;
use super::allowances::{KINDS, Taken};
use crate::audience::Rate;

/// Entries of each kind in one message.
pub const SHARED_MAX: usize = 2_048;

/// Sessions that a ticket continued here, since somebody asked.
#[derive(Debug, Default)]
pub(super) struct Returned {
    is_asked: AtomicBool,
    sessions: Mutex<Vec<u64>>,
}

impl People {
    /// A ticket continued a session here.
    pub(crate) fn note_returned(&self, session: u64) {
        if self.returned.is_asked.load(Ordering::Relaxed) {
            let mut sessions = self.returned.sessions.lock().expect("nothing panics under this lock");
            if sessions.len() < 32 * SHARED_MAX {
                sessions.push(session);
            }
        }
    }

    /// Sessions that tickets continued here since the last call, at most [`SHARED_MAX`].
    pub fn take_returned(&self) -> Vec<u64> {
        self.returned.is_asked.store(true, Ordering::Relaxed);
        let mut sessions = self.returned.sessions.lock().expect("nothing panics under this lock");
        let rest = sessions.len().saturating_sub(SHARED_MAX);
        sessions.split_off(rest)
    }

    /// What people took here since the last call, at most [`SHARED_MAX`] entries.
    pub fn take_taken(&self) -> Vec<Taken> {
        self.allowances.take_taken(SHARED_MAX)
    }

    /// What people took at another node. `rates` are those of everybody, by the kind of limit.
    pub fn owe(&self, now: Now, taken: &[Taken], rates: &[Rate; KINDS]) {
        for one in taken {
            self.allowances.owe(now, one, rates[one.what as usize]);
        }
    }
}
