//! Waits: for a condition to become true, and for a port to become free.
//!
//! Why: a fixed sleep is too short on a busy machine and too long on a fast one.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// How long a test waits for something that must come: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until `is_so`.
///
/// # Panics
/// It is not so within [`PATIENCE`]; `what` says what was awaited.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(PAUSE);
    }
}

/// An address on loopback where nobody listens.
///
/// # Panics
/// The machine has no free port.
#[must_use]
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}
