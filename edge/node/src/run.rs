//! A node in the foreground: from its start until a signal, the admin port or the successor ends it.
//!
//! Why apart from the node: tests and the demo start nodes too, and have no signals of their own.
//! Invariant: the first signal drains, the second ends at once.

use std::io;
use std::time::Duration;

use grandstand_edge::config::{Config, Effective};
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};

use crate::{Node, NodeError};

/// Interval at which a drain is checked; no caller needs to see its end sooner.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Descriptors that a node needs besides one for each connection.
const OWN_FILES: u64 = 100;

/// Run a node until it is told to stop (SIGTERM or SIGINT, or by the admin port) or another process takes
/// over, then drain it. A second signal ends it at once.
///
/// # Errors
/// See [`Node::start`].
pub fn run(effective: Effective) -> Result<(), NodeError> {
    let config = effective.config;
    check_file_limit(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| NodeError::new(e.to_string(), "the system gives no resources to start"))?;
    runtime.block_on(async move {
        let mut signals = Signals::new()?;
        let node = Node::start(config)?;
        announce(&node);
        let pulse = node.health().pulses().register("main");
        let mut draining = node.watch_drain();
        tokio::select! {
            () = signals.next() => node.drain(),
            // Requested by the admin port, or by the successor.
            _ = draining.wait_for(Option::is_some) => {}
            () = turns(&pulse) => unreachable!("it turns for ever"),
        }
        while !node.is_over() {
            pulse.turn();
            tokio::select! {
                () = signals.next() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        pulse.end();
        node.stop();
        tracing::info!("stopped");
        Ok(())
    })
}

/// Show that this runtime turns.
async fn turns(pulse: &Pulse) {
    loop {
        pulse.turn();
        crate::clock_steps::report();
        tokio::time::sleep(TURN_EVERY / 2).await;
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, NodeError> {
        use tokio::signal::unix::{SignalKind, signal};
        let fault =
            |e: io::Error| NodeError::new(format!("cannot watch signals: {e}"), "check the system's limits");
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(fault)?,
            interrupt: signal(SignalKind::interrupt()).map_err(fault)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn announce(node: &Node) {
    let (a, config) = (node.addresses(), node.config());
    if let Some(ws) = a.ws {
        tracing::info!("WebSocket          ws://{ws}{}", config.ws.path);
    }
    if let Some(wss) = a.wss {
        tracing::info!("WebSocket over TLS wss://{wss}{}", config.ws.path);
    }
    if let Some(quic) = a.quic {
        tracing::info!("QUIC               quic://{quic}");
    }
    if let Some(admin) = a.admin {
        tracing::info!("admin              http://{admin}/ (rooms, /metrics, /healthz, /readyz)");
    }
    if config.tls.cert.is_none() {
        tracing::info!("development certificate, SHA-256 {}", node.fingerprint());
    }
    if node.runs_open() {
        tracing::warn!("no key is configured: the node runs open, everyone may do what auth.open_may lists");
    }
    tracing::info!(node = config.node.name, workers = node.worker_count(), "ready");
}

fn check_file_limit(config: &Config) {
    let limit = raise_file_limit();
    if limit < config.limits.connections_max as u64 + OWN_FILES {
        tracing::warn!(
            files = limit,
            connections_max = config.limits.connections_max,
            "fewer open files than connections are allowed: raise `ulimit -n` or lower limits.connections_max"
        );
    }
}

/// Raise the limit on open files as far as permitted. Returns the limit.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum;
    limit.current = wanted;
    // If it is not permitted, the warning about connections_max says so.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
