//! The watchdog: a thread that looks at all threads twice a second, and logs when one stops or goes on.
//!
//! Why: a thread that hangs can log nothing, and nobody may ask for the health of a node for hours.
//! Invariant: each change of a thread's state is logged once.
//! Not here: the verdict (`Health`), which needs no watchdog.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Health, ThreadFault, ThreadState};

/// Interval of the looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The watchdog's thread. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Begin to look at the threads of `health`.
    pub(crate) fn start(health: Arc<Health>) -> io::Result<Watchdog> {
        let (stop, stopped) = mpsc::channel();
        let pulse = health.pulses().register("watchdog");
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut faults = HashMap::new();
            while matches!(stopped.recv_timeout(LOOK_EVERY), Err(mpsc::RecvTimeoutError::Timeout)) {
                pulse.turn();
                tell(&mut faults, &health.verdict().threads);
            }
            pulse.end();
        })?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

/// Log what has changed since the last look; `faults` has the state at that look.
fn tell(faults: &mut HashMap<String, ThreadFault>, threads: &[ThreadState]) {
    for thread in threads {
        let (name, still_ms) = (&thread.name, thread.still.as_millis() as u64);
        let before = match thread.fault {
            Some(fault) => faults.insert(name.clone(), fault),
            None => faults.remove(name),
        };
        if before == thread.fault {
            continue;
        }
        match thread.fault {
            Some(ThreadFault::Hangs) => tracing::error!(
                thread = name,
                still_ms,
                "a thread hangs: what it serves is not answered, and /healthz fails until it goes on; restart the node"
            ),
            Some(ThreadFault::Died) => tracing::error!(
                thread = name,
                "a thread has ended with an error: what it served is not answered, and /healthz fails; restart the node"
            ),
            Some(ThreadFault::WaitsOutside) => {
                tracing::warn!(thread = name, still_ms, "a thread waits for a disk or another process");
            }
            None => tracing::info!(thread = name, "a thread goes on"),
        }
    }
    faults.retain(|name, _| threads.iter().any(|thread| thread.name == *name));
}
