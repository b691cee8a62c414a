//! A node in the foreground: from its start until a signal, the admin port or the successor ends it.
//!
//! Why apart from the node: tests and the demo start nodes too, and have no signals of their own.
//! Invariant: the first signal drains, the second ends at once.

use std::io;
use std::time::Duration;

use grandstand_edge::config::{Effective, LogFormat};
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};

use crate::{Node, NodeError, file_limit};

/// Interval at which a drain is checked; no caller needs to see its end sooner.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Run a node until it is told to stop (SIGTERM or SIGINT, or by the admin port) or another process takes
/// over, then drain it. A second signal ends it at once.
///
/// # Errors
/// See [`Node::start`].
pub fn run(effective: Effective) -> Result<(), NodeError> {
    let mut config = effective.config;
    if let Some(fitted) = file_limit::fit(&mut config) {
        tracing::warn!(
            files = fitted.files,
            connections = fitted.connections,
            wanted = fitted.wanted,
            "{fitted}"
        );
    }
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
    let path = &config.ws.path;
    let listeners = [
        ("websocket", "WebSocket          ", a.ws.map(|ws| format!("ws://{ws}{path}"))),
        ("websocket_tls", "WebSocket over TLS ", a.wss.map(|wss| format!("wss://{wss}{path}"))),
        ("quic", "QUIC               ", a.quic.map(|quic| format!("quic://{quic}"))),
        ("admin", "admin              ", a.admin.map(|admin| format!("http://{admin}/"))),
    ];
    for (name, column, url) in listeners {
        let Some(url) = url else { continue };
        let resources = if name == "admin" { " (rooms, /metrics, /healthz, /readyz)" } else { "" };
        // People read columns, and programs read fields.
        match config.log.format {
            LogFormat::Text => tracing::info!("{column}{url}{resources}"),
            LogFormat::Json => tracing::info!(listener = name, url, "listening"),
        }
    }
    if config.tls.cert.is_none() {
        match config.log.format {
            LogFormat::Text => tracing::info!("development certificate, SHA-256 {}", node.fingerprint()),
            LogFormat::Json => tracing::info!(sha256 = node.fingerprint(), "development certificate"),
        }
    }
    if node.runs_open() {
        tracing::warn!("no key is configured: the node runs open, everyone may do what auth.open_may lists");
    }
    tracing::info!(node = config.node.name, workers = node.worker_count(), "ready");
}
