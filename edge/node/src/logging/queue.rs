//! The queue of log lines, and the thread that writes them.
//!
//! Why a thread: a pipe that nobody reads, a terminal that is stopped or a slow disk must not hold up a
//! thread that serves. A thread that logs only puts its line into the queue, under a lock that is held for as
//! long as one line takes to move. When the queue is full the line is dropped and counted. Invariants: at
//! most [`LINES_MAX`] lines and [`BYTES_MAX`] bytes wait, and as many again are being written. Lines are
//! written in the order in which they came. A flush ends within its time. Not here: the destination (`sink`),
//! what is logged.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grandstand_edge::clock::Clock;
use grandstand_engine::runtime::pulse::{Pulse, Pulses, TURN_EVERY, ThreadPulse};

use super::repeats::Repeats;
use super::sink::Sink;

/// Lines that wait: some seconds of a noisy node.
pub(super) const LINES_MAX: usize = 4_096;

/// Bytes of these lines.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Lines dropped because the queue was full, in this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines dropped since start because they could not be written as fast as they came.
pub(super) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The lines that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A line came, or something was requested.
    wake: Condvar,
    /// Everything is written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Vec<u8>>,
    bytes: usize,
    /// Dropped since the last line that was not.
    dropped: u64,
    is_writing: bool,
    wants_reopen: bool,
}

/// What the writer does next.
#[derive(Debug, Default)]
struct Work {
    lines: Vec<Vec<u8>>,
    dropped: u64,
    wants_reopen: bool,
}

impl Queue {
    /// Add a line; it is dropped when there is no room. Never waits for the destination.
    pub(super) fn push(&self, line: &[u8]) {
        let line = line.to_vec();
        let mut state = self.state();
        if state.lines.len() >= LINES_MAX || state.bytes + line.len() > BYTES_MAX {
            state.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push(line);
        drop(state);
        self.wake.notify_one();
    }

    /// Wait until every line is written, at most so long; `false` if some are not.
    pub(super) fn flush(&self, wait: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self.idle.wait_timeout_while(self.state(), wait, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Open the destination anew before the next line.
    pub(super) fn reopen(&self) {
        self.state().wants_reopen = true;
        self.wake.notify_one();
    }

    /// Start the thread that writes to `sink`. Returns the watchdog's side of its pulse.
    pub(super) fn start(
        self: &Arc<Self>,
        sink: Sink,
        repeats: Option<Arc<Repeats>>,
        clock: Clock,
    ) -> io::Result<Arc<ThreadPulse>> {
        let pulse = Pulses::default().register("log-lines");
        let (queue, watched) = (self.clone(), pulse.watched());
        // Its own lines go where those of the caller go.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let run = move || {
            tracing::dispatcher::with_default(&dispatch, || {
                queue.run(sink, &pulse, repeats.as_deref(), clock);
            });
        };
        std::thread::Builder::new().name("log-lines".to_owned()).spawn(run)?;
        Ok(watched)
    }

    /// Write lines for as long as the process runs.
    fn run(&self, mut sink: Sink, pulse: &Pulse, repeats: Option<&Repeats>, clock: Clock) {
        loop {
            pulse.turn();
            let work = self.take();
            if work.wants_reopen {
                sink.reopen();
            }
            for line in &work.lines {
                sink.line(line, pulse);
            }
            self.finish_work();
            if work.dropped > 0 {
                tracing::warn!(
                    target: super::repeats::TARGET,
                    lines = work.dropped,
                    "log lines were dropped: they came faster than they could be written"
                );
            }
            if let Some(repeats) = repeats {
                repeats.tell_due(clock.instant());
            }
        }
    }

    /// What has come, or nothing after a turn's time.
    fn take(&self) -> Work {
        let is_idle = |state: &mut State| state.lines.is_empty() && !state.wants_reopen;
        let waited = self.wake.wait_timeout_while(self.state(), TURN_EVERY, is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.is_writing = true;
        state.bytes = 0;
        // What was dropped is told once lines can be written again: then the next ones are taken.
        Work {
            lines: std::mem::take(&mut state.lines),
            dropped: std::mem::take(&mut state.dropped),
            wants_reopen: std::mem::take(&mut state.wants_reopen),
        }
    }

    fn finish_work(&self) {
        let mut state = self.state();
        state.is_writing = false;
        if state.lines.is_empty() {
            self.idle.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
