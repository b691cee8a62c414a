//! The listener of the API: connections that stay open between requests, with TLS where others could listen.
//!
//! Why another one than the admin port's: applications send thousands of requests over few connections, and
//! TLS is made once for each. Why a thread of its own: a slow request delays neither a worker nor a probe.
//! Invariants: a TLS handshake, a head, and a request with its answer each end within their time. A stop
//! lets requests under way end, for [`STOP_GRACE`] at most.
//! Not here: which connection gives way (`connections`), what becomes of a request (`requests`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use grandstand_protocol::websocket::handshake::HEADERS_MAX;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::connections::{Connections, Place};

/// How long a stop waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after an accept that failed: descriptors come back when connections end.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection may be idle, and its next head may take.
pub(super) const IDLE: Duration = Duration::from_secs(75);

/// How long a request and its answer may take: longer than any wait of an operation.
const LIFE: Duration = Duration::from_secs(60);

/// Bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What is served, and how.
pub(super) struct Served {
    pub(super) router: Router,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) connections_max: usize,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serve on this listener, on a thread of its own, until told to stop.
///
/// # Errors
/// The system gives no thread, or `listener` cannot be used.
pub(super) fn start(
    listener: std::net::TcpListener,
    served: Served,
    pulse: Pulse,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("api".to_owned()).spawn(move || {
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = serve(listener, served) => ended,
                () = turns(&pulse) => unreachable!("it turns for ever"),
            }
        });
        match ended {
            Ok(()) => pulse.end(),
            Err(error) => tracing::error!(%error, "the API's port stopped"),
        }
        runtime.shutdown_background();
    })
}

async fn turns(pulse: &Pulse) {
    loop {
        pulse.turn();
        tokio::time::sleep(TURN_EVERY / 2).await;
    }
}

async fn serve(listener: std::net::TcpListener, served: Served) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let Served { router, tls, connections_max, mut stop } = served;
    let (acceptor, connections) = (tls.map(TlsAcceptor::from), Connections::new(connections_max));
    let mut tasks = JoinSet::new();
    let stopping = stop.clone();
    loop {
        tokio::select! {
            biased;
            // An error means that the sender was dropped, and the node with it.
            _ = stop.wait_for(|&stop| stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Small answers must not wait for the acknowledgement of the one before.
                    let _ = stream.set_nodelay(true);
                    if let Some(place) = connections.begin() {
                        let task = connection((stream, peer), acceptor.clone(), router.clone(), place.clone(), stopping.clone());
                        place.watch(tasks.spawn(task));
                    }
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the API's port cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let under_way = async { while tasks.join_next().await.is_some() {} };
    // What is under way after the grace is cut off.
    let _ = tokio::time::timeout(STOP_GRACE, under_way).await;
    Ok(())
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    acceptor: Option<TlsAcceptor>,
    router: Router,
    place: Arc<Place>,
    stop: watch::Receiver<bool>,
) {
    match acceptor {
        None => answer(stream, peer, router, place, stop).await,
        Some(acceptor) => {
            // Whoever speaks no TLS, or is too slow, gets no answer.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                answer(stream, peer, router, place, stop).await;
            }
        }
    }
}

async fn answer<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    place: Arc<Place>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (mut router, under_way) = (router.clone(), place.begin_request());
        async move {
            let answered = tokio::time::timeout(LIFE, router.call(request.map(Body::new))).await;
            drop(under_way);
            // Hyper ends the connection of a request that fails.
            answered.map(|Ok(response)| response).map_err(|_| "the request took too long")
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks off gets no answer.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|&stop| stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
