//! The retry: opens the durable log as soon as its disk allows it, after a start on a disk that did not.
//!
//! Why a thread: opening recovers the log, which takes as long as the disk does.
//! Invariants: the log is opened once. A fault is said when it begins and when it changes, not at each try.
//! Not here: what stands in meanwhile (`closed`), how rooms move over (`rooms`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::config::Config;
use grandstand_engine::runtime::pulse::{Pulses, TURN_EVERY};
use grandstand_store::Store;

use super::{announce, try_open};
use crate::http::admin::StorePort;

/// Time between two tries.
const EVERY: Duration = Duration::from_secs(2);

/// The thread that tries. Dropping it ends the thread.
pub(crate) struct Retry {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Retry {
    /// Try until the log is open, then give it to `adopt`.
    pub(crate) fn start(
        config: Arc<Config>,
        pulses: Pulses,
        port: Arc<StorePort>,
        adopt: impl FnOnce(Store) + Send + 'static,
    ) -> io::Result<Retry> {
        let (stop, stopped) = mpsc::channel::<()>();
        let pulse = pulses.register("log-retry");
        let run = move || {
            let mut waited = Duration::ZERO;
            loop {
                pulse.turn();
                match stopped.recv_timeout(TURN_EVERY / 2) {
                    Err(mpsc::RecvTimeoutError::Timeout) => waited += TURN_EVERY / 2,
                    _ => return pulse.end(),
                }
                if waited < EVERY {
                    continue;
                }
                waited = Duration::ZERO;
                let _disk = pulse.wait_outside();
                match try_open(&config, &pulses) {
                    Ok(store) => {
                        announce(&store, &config);
                        adopt(store);
                        return pulse.end();
                    }
                    Err(error) if error.to_string() != port.status().fault() => {
                        tracing::error!("the durable log still cannot be opened: {error}");
                        port.cannot_open(&error);
                    }
                    Err(_) => {}
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-retry".to_owned()).spawn(run)?;
        Ok(Retry { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}
