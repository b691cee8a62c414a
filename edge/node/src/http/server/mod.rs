//! An HTTP server: one port on a thread of its own, until it is told to stop.
//!
//! Why a thread of its own: a scrape or a slow operator must not delay a worker's turn. Why bounds: probes
//! and scrapes must be answered even when strangers open connections and send nothing, when the node has no
//! descriptor left, and when the thread of the other resources hangs (`offload`). Every connection is
//! accepted at once. One that has sent no request waits in a line; when the line is full, the newest one
//! takes the place of a silent one. Invariants: a connection ends at the latest `Bounds::life` after it was
//! accepted, and `Bounds::head` after that if it has sent no request. A stop takes at most `STOP_GRACE`. Not
//! here: who may use the port (`access`), the answers (the resources).

mod connections;
mod offload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use grandstand_protocol::websocket::handshake::HEADERS_MAX;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use connections::{Connections, Slot};
#[cfg(test)]
pub(super) use offload::REQUESTS_MAX;
pub(super) use offload::{Offloaded, offload};

/// How long a stop waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after an accept that failed and that nothing here can help.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of one request's head that are read at all. Up to here `access` says what is too long.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Bounds of a port's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time that have sent no request.
    pub(super) silent_max: usize,
    /// How long a connection may take to send the head of its request.
    pub(super) head: Duration,
    /// The longest life of a connection: one request and its answer.
    pub(super) life: Duration,
}

/// Serve `router` on `listener`, on a thread with this name, until `stop` becomes true or its sender is
/// dropped.
///
/// # Errors
/// The system gives no thread, or `listener` cannot be used.
pub(super) fn start(
    name: &str,
    listener: std::net::TcpListener,
    bounds: Bounds,
    router: Router,
    stop: watch::Receiver<bool>,
    pulse: Pulse,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let connections = Arc::new(Connections::new(bounds.silent_max)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            tokio::select! {
                served = serve(listener, bounds, connections, router, stop) => served,
                () = turns(&pulse) => unreachable!("it turns for ever"),
            }
        });
        match served {
            Ok(()) => pulse.end(),
            Err(error) => tracing::error!(%error, "an HTTP port stopped"),
        }
        runtime.shutdown_background();
    })
}

/// Show that this runtime turns.
async fn turns(pulse: &Pulse) {
    loop {
        pulse.turn();
        tokio::time::sleep(TURN_EVERY / 2).await;
    }
}

async fn serve(
    listener: std::net::TcpListener,
    bounds: Bounds,
    connections: Arc<Connections>,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut tasks = JoinSet::new();
    let stopped = stopped(stop);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(slot) = connections.begin(peer) {
                        let id = slot.id();
                        let task = tasks.spawn(answer(stream, slot, bounds, router.clone(), peer));
                        connections.watch(id, task);
                    }
                    // Its request may be here already: it is read before the next connection may replace it.
                    tokio::task::yield_now().await;
                }
                Err(error) if connections.make_room(&error) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(%error, "an HTTP port cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.end_silent();
    let under_way = async { while tasks.join_next().await.is_some() {} };
    // What is under way after the grace is cut off.
    let _ = tokio::time::timeout(STOP_GRACE, under_way).await;
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender was dropped, and the node with it.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// One connection: one request and its answer.
async fn answer(stream: TcpStream, slot: Slot, bounds: Bounds, router: Router, peer: SocketAddr) {
    let slot = Arc::new(slot);
    let asked = slot.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        asked.handle_request();
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        request.extensions_mut().insert(asked.clone());
        async move { router.call(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off, or is too slow, gets no answer.
    let _ = tokio::time::timeout(bounds.life, connection).await;
}

#[cfg(test)]
mod tests;
