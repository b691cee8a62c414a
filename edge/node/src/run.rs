//! A node in the foreground: from its start until a signal, the admin port or the successor ends it.
//!
//! Why apart from the node: tests and the demo start nodes too, and have neither signals nor a service
//! manager.
//! Invariants: the first request to stop drains, the second ends at once. The service manager hears of every
//! change, and a sign of life only while the node is well.
//! Not here: which signal asks for what (`signals`), the words for the service manager (`service_manager`).

use std::sync::Arc;
use std::time::Duration;

use grandstand_edge::config::{Config, Effective, LogFormat};
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};

use crate::http::admin::DrainRequest;
use crate::signals::{Signals, Wish};
use crate::{Node, NodeError, clock_steps, file_limit, file_modes, logging, service_manager};

/// Interval at which a drain is checked; no caller needs to see its end sooner.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Interval at which the service manager is told how far a drain is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Added to the time that a drain may still take, for the end of threads.
const TO_END: Duration = Duration::from_secs(10);

/// Run a node until it is told to stop (by a signal or the admin port) or another process takes over, then
/// drain it. A second signal ends it at once. `read_config` reads the configuration again, for a reload.
///
/// # Errors
/// See [`Node::start`].
pub fn run(
    effective: Effective,
    read_config: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
) -> Result<(), NodeError> {
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
        // First of all: most signals would kill the process.
        let mut signals = Signals::new()?;
        file_modes::close_old_files(&config);
        let node = Node::start(config)?;
        node.reload().read_config_by(Box::new(move || {
            // As at the start.
            let mut config = read_config()?;
            let _ = file_limit::fit(&mut config);
            Ok(config)
        }));
        announce(&node);
        service_manager::ready();
        let pulse = node.health().pulses().register("main");
        serve(&node, &mut signals, &pulse).await;
        if !node.is_handed_over() {
            service_manager::stopping();
        }
        end(&node, &mut signals, &pulse).await;
        pulse.end();
        node.stop();
        tracing::info!("stopped");
        Ok(())
    })
}

/// Serve until a drain begins.
async fn serve(node: &Node, signals: &mut Signals, pulse: &Pulse) {
    let mut draining = node.watch_drain();
    let mut turn = tokio::time::interval(TURN_EVERY / 2);
    let mut alive = tokio::time::interval(service_manager::watchdog_interval().unwrap_or(TELL_EVERY));
    loop {
        tokio::select! {
            wish = signals.next() => if obey(node, wish) { return },
            // Requested by the admin port, or by the successor.
            _ = draining.wait_for(Option::is_some) => return,
            _ = turn.tick() => {
                pulse.turn();
                clock_steps::report();
            }
            _ = alive.tick() => sign_of_life(node),
        }
    }
}

/// Wait for the end of a drain, or for a second request to stop.
async fn end(node: &Node, signals: &mut Signals, pulse: &Pulse) {
    let mut tell = tokio::time::interval(TELL_EVERY);
    let mut alive = tokio::time::interval(service_manager::watchdog_interval().unwrap_or(TELL_EVERY));
    while !node.is_over() {
        pulse.turn();
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Drain { .. } => return tracing::info!("told to stop again: the drain ends now"),
                wish => drop(obey(node, wish)),
            },
            _ = tell.tick() => tell_progress(node),
            _ = alive.tick() => sign_of_life(node),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn tell_progress(node: &Node) {
    if let Some(left) = node.drain_time_left().filter(|_| !node.is_handed_over()) {
        let status = node.drain_status();
        service_manager::draining(status.phase, status.connections, left + TO_END);
    }
}

/// Tell the service manager that the node is well, if every thread turns and another process has not taken
/// over.
fn sign_of_life(node: &Node) {
    let is_asked = service_manager::watchdog_interval().is_some() && !node.is_handed_over();
    if is_asked && node.health().verdict().is_live() {
        service_manager::alive();
    }
}

/// Do what a signal asks for. Returns whether it began a drain.
fn obey(node: &Node, wish: Wish) -> bool {
    match wish {
        Wish::Drain { at_terminal: true } => {
            let at_once =
                DrainRequest { announce_ms: Some(0), refuse_ms: Some(0), ..DrainRequest::default() };
            node.drain_control().drain(&at_once);
        }
        Wish::Drain { at_terminal: false } | Wish::DrainOnce => node.drain(),
        Wish::Reload => {
            logging::reopen();
            reload(node);
            return false;
        }
        Wish::ReopenLog => {
            logging::reopen();
            tracing::info!("SIGUSR1: the log file is opened again");
            return false;
        }
    }
    true
}

/// Reload on a thread of its own, since a disk may be slow and signals must not wait.
fn reload(node: &Node) {
    let reload = Arc::clone(node.reload());
    service_manager::reloading();
    let run = move || {
        reload.reload("SIGHUP");
        service_manager::ready();
    };
    if let Err(error) = std::thread::Builder::new().name("grandstand-reload".to_owned()).spawn(run) {
        tracing::error!(%error, "nothing is read again: the system gives no thread; send SIGHUP again");
        service_manager::ready();
    }
}

fn announce(node: &Node) {
    let (a, config) = (node.addresses(), node.config());
    let path = &config.ws.path;
    let scheme = if config.api.is_tls() { "https" } else { "http" };
    let listeners = [
        ("websocket", "WebSocket          ", a.ws.map(|ws| format!("ws://{ws}{path}"))),
        ("websocket_tls", "WebSocket over TLS ", a.wss.map(|wss| format!("wss://{wss}{path}"))),
        ("quic", "QUIC               ", a.quic.map(|quic| format!("quic://{quic}"))),
        ("admin", "admin              ", a.admin.map(|admin| format!("http://{admin}/"))),
        ("api", "HTTP API           ", a.api.map(|api| format!("{scheme}://{api}/v1"))),
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
