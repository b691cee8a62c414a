//! The health verdict: which threads of the node turn, which hang, and which wait for something outside.
//!
//! Why one place: the health endpoint, the metrics, the log and the service manager's watchdog must give the
//! same answer. Everybody who asks looks at the pulses anew, so the verdict depends on no other thread, and
//! the watchdog's own thread is judged like every other. A thread hangs when its pulse has stood still for
//! `node.hung_after_ms`. Only time in which somebody looked counts, at most `CREDIT_MAX` a look: after a
//! suspend, or on a machine that stopped the whole process, no thread has had its time. Invariants: a look
//! takes no time that depends on a thread of the node. A thread that waits for a disk or another process
//! degrades the node, and never fails its liveness, since a restart would not help. Not here: how a thread
//! shows that it turns (`grandstand_engine::runtime::pulse`), answers over HTTP (`http::admin`).

mod watchdog;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grandstand_edge::clock::Clock;
use grandstand_engine::runtime::pulse::{Pulses, ThreadEnd, ThreadPulse};

pub(crate) use watchdog::Watchdog;

/// The most that one look adds to the time for which a thread stands still.
const CREDIT_MAX: Duration = Duration::from_secs(1);

/// Judges the threads of a node.
#[derive(Debug)]
pub struct Health {
    pulses: Pulses,
    clock: Clock,
    hung_after: Duration,
    looks: Mutex<Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    last: Option<Instant>,
    threads: Vec<Seen>,
}

/// A thread as it was at the last look.
#[derive(Debug)]
struct Seen {
    thread: Arc<ThreadPulse>,
    turns: u64,
    still: Duration,
}

/// What is wrong with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadFault {
    /// It does not turn.
    Hangs,
    /// It panicked, or ended with an error.
    Died,
    /// It waits for a disk or another process.
    WaitsOutside,
}

/// A thread of the node, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// Its name.
    pub name: String,
    /// How long it has not turned.
    pub still: Duration,
    /// What is wrong with it, if anything is.
    pub fault: Option<ThreadFault>,
}

/// The state of all threads at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Every thread, in the order in which they were started.
    pub threads: Vec<ThreadState>,
}

impl Health {
    /// Judges the threads of `pulses`.
    pub fn new(pulses: Pulses, clock: Clock, hung_after: Duration) -> Health {
        Health { pulses, clock, hung_after, looks: Mutex::default() }
    }

    /// The threads of the node.
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// Look at every thread now.
    pub fn verdict(&self) -> Verdict {
        self.verdict_at(self.clock.instant())
    }

    fn verdict_at(&self, now: Instant) -> Verdict {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let since =
            looks.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let credit = since.min(CREDIT_MAX);
        let known = std::mem::take(&mut looks.threads);
        for thread in self.pulses.all() {
            let turns = thread.turns();
            let before = known.iter().find(|seen| Arc::ptr_eq(&seen.thread, &thread));
            let still =
                before.filter(|seen| seen.turns == turns).map_or(Duration::ZERO, |seen| seen.still + credit);
            looks.threads.push(Seen { thread, turns, still });
        }
        Verdict { threads: looks.threads.iter().map(|seen| self.judge(seen)).collect() }
    }

    fn judge(&self, seen: &Seen) -> ThreadState {
        let is_still = seen.still >= self.hung_after;
        let fault = match (seen.thread.end(), is_still, seen.thread.is_outside()) {
            (ThreadEnd::Died, ..) => Some(ThreadFault::Died),
            (ThreadEnd::Runs, true, true) => Some(ThreadFault::WaitsOutside),
            (ThreadEnd::Runs, true, false) => Some(ThreadFault::Hangs),
            _ => None,
        };
        ThreadState { name: seen.thread.name().to_owned(), still: seen.still, fault }
    }
}

impl Verdict {
    /// Whether the process works: no thread hangs or has died.
    pub fn is_live(&self) -> bool {
        self.dead().next().is_none()
    }

    /// The threads for which a supervisor should restart the process.
    pub fn dead(&self) -> impl Iterator<Item = &ThreadState> {
        let is_dead = |fault| matches!(fault, Some(ThreadFault::Hangs | ThreadFault::Died));
        self.threads.iter().filter(move |thread| is_dead(thread.fault))
    }

    /// The threads that wait for something outside the process.
    pub fn waiting(&self) -> impl Iterator<Item = &ThreadState> {
        self.threads.iter().filter(|thread| thread.fault == Some(ThreadFault::WaitsOutside))
    }
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, still_s) = (&self.name, self.still.as_secs());
        match self.fault {
            None => write!(f, "thread {name} turns"),
            Some(ThreadFault::Hangs) => write!(f, "thread {name} has not turned for {still_s} s"),
            Some(ThreadFault::Died) => write!(f, "thread {name} has ended with an error: see the log"),
            Some(ThreadFault::WaitsOutside) => {
                write!(f, "thread {name} has waited {still_s} s for a disk or another process")
            }
        }
    }
}

#[cfg(test)]
mod tests;
