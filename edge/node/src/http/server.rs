//! An HTTP server: one port on a thread of its own, until it is told to stop.
//!
//! Why a thread of its own: a scrape or a slow operator must not delay a worker's turn. Why bounds: probes
//! and scrapes must be answered even when a client opens connections and sends nothing.
//! Invariants: a connection's slot is free again at the latest `Bounds::life` after it was taken. A stop
//! takes at most `STOP_GRACE`.
//! Not here: who may use the port (`access`), the answers (the resources).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

/// How long a stop waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept: the process has no file descriptor left, or the peer is gone already.
const PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a port's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub(super) connections_max: usize,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            tokio::select! {
                served = serve(listener, bounds, router, stop) => served,
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
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = BoundedListener::new(TcpListener::from_std(listener)?, bounds);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stopped(stop.clone()));
    let overdue = async {
        stopped(stop).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender was dropped, and the node with it.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// A listener that bounds the number and the life of its connections.
struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    life: Duration,
}

impl BoundedListener {
    fn new(listener: TcpListener, bounds: Bounds) -> BoundedListener {
        BoundedListener {
            listener,
            slots: Arc::new(Semaphore::new(bounds.connections_max)),
            life: bounds.life,
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = TimedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedConnection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let end = Box::pin(tokio::time::sleep(self.life));
                    return (TimedConnection { stream, end, _slot: slot }, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "an HTTP port cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself at the end of its life.
struct TimedConnection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl TimedConnection {
    /// Is its life over? Otherwise the task is woken when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for TimedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::future::IntoFuture;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    /// A client takes the only slot and sends nothing: the slot becomes free, and the next client is served.
    #[test]
    fn who_says_nothing_is_let_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let bounds = Bounds { connections_max: 1, life: Duration::from_millis(50) };
            let app = Router::new().route("/", get(async || "here"));
            let serving = axum::serve(BoundedListener::new(listener, bounds), app);
            let served = tokio::spawn(serving.into_future());
            let client = tokio::task::spawn_blocking(move || {
                let mut silent = Client::connect(at).unwrap();
                let mut next = Client::connect(at).unwrap();
                next.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
                let (mut nothing, mut answer) = (Vec::new(), String::new());
                silent.read_to_end(&mut nothing).unwrap();
                next.read_to_string(&mut answer).unwrap();
                (nothing, answer)
            });
            let (nothing, answer) = client.await.unwrap();
            assert!(nothing.is_empty() && answer.starts_with("HTTP/1.1 200"), "{answer}");
            served.abort();
        });
    }
}
