//! Accepting: takes new TCP connections, asks the limiter, and passes each to the least loaded worker.
//!
//! Why another worker may get one: the kernel wakes any of them, and fan-out needs connections in equal
//! parts.
//! Invariant: a connection that is refused costs its accept, one lock and one send.
//! Not here: the listening sockets (`listeners`), the beginning of handshakes (`handshakes`).

use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use grandstand_edge_core::admission::limits::LimitReached;
use grandstand_edge_core::admission::queue::HandshakeKind;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::handshake::write_refusal;
use grandstand_queue::SendError;

use super::listeners::Accepted;
use super::shared::Adoption;
use super::{Command, Worker};
use crate::stats::{Transport, TurnedAway};
use crate::transport::link::{LinkState, Naming, Opening, Stream};
use crate::transport::tcp;

/// Connections accepted per turn and listener, within a quarter of a turn's time for handshakes, so that a
/// rush does not hold up established connections.
const ACCEPTS_PER_TURN: usize = 64;

/// A client that a limit refuses may try again after this: another may have left by then.
const RETRY_AFTER_S: u32 = 10;

impl Worker {
    /// Accept connections; `true` when more may be waiting.
    pub(super) fn accept(&mut self, now: Now, is_tls: bool) -> bool {
        let clock = self.shared.clock;
        let (began, time) = (clock.instant(), self.handshake_time() / 4);
        let more = self.accept_for(now, is_tls, began, time);
        self.handshakes.queue.handle_spent(clock.elapsed(began).as_nanos() as u64);
        self.stats.admission_us.add(clock.elapsed(began).as_micros() as u64);
        more
    }

    fn accept_for(&mut self, now: Now, is_tls: bool, began: Instant, time: Duration) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.shared.clock.elapsed(began) >= time {
                break;
            }
            match self.listeners.accept(is_tls) {
                Ok(Accepted::Connection(stream, peer)) => self.admit(now, stream, peer, is_tls),
                Ok(Accepted::Nothing) => {}
                Ok(Accepted::Empty) => return false,
                Err(error) => {
                    self.stats.accept_errors.inc();
                    tracing::warn!(%error, "accepting a connection failed");
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, now: Now, stream: TcpStream, peer: Option<IpAddr>, is_tls: bool) {
        if let Some(drain_reason) = self.driver.drain_reason() {
            return self.refuse_for_drain(&stream, &drain_reason, is_tls);
        }
        let Some(peer) = peer else { return };
        let limiter = &self.shared.limiter;
        let permit = if self.shared.config.proxy.is_trusted(peer) {
            limiter.try_acquire_unnamed(peer, now.us)
        } else {
            limiter.try_acquire(peer, now.us)
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(limit) => return self.refuse(&stream, limit.into(), is_tls, retry_after_s(limit)),
        };
        // Under TLS the first bytes decide, and they have not arrived yet.
        let is_full = !is_tls && self.handshakes.queue.is_full_for(HandshakeKind::Upgrade);
        if is_full || !self.shared.limiter.try_begin_handshake() {
            self.shared.limiter.release(permit);
            let why = if is_full { TurnedAway::Overloaded } else { TurnedAway::HandshakesPending };
            let after_s =
                if is_tls { 0 } else { self.handshakes.queue.refuse(HandshakeKind::Upgrade).retry_after_s() };
            return self.refuse(&stream, why, is_tls, after_s);
        }
        self.stats.accepts.of(transport(is_tls)).inc();
        let target = self.shared.least_loaded(self.id);
        self.shared.loads[target].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let adoption = Adoption { stream, peer, is_tls, permit };
        if target == self.id {
            return self.adopt(now, adoption);
        }
        if let Err(SendError::Full(command) | SendError::Closed(command)) =
            self.shared.commands[target].try_send(Command::Adopt(adoption))
            && let Command::Adopt(adoption) = command
        {
            self.adopt(now, adoption);
        }
    }

    /// Refuse a new connection. Without TLS the client is told at once when to retry. Under TLS it could be
    /// told only after a handshake, so the connection is closed.
    fn refuse(&self, stream: &TcpStream, why: TurnedAway, is_tls: bool, after_s: u32) {
        self.stats.turned_away.of(why).inc();
        if is_tls {
            return;
        }
        let mut answer = Vec::new();
        let status = if why == TurnedAway::TooManyConnections || why == TurnedAway::TooManyHandshakes {
            429
        } else {
            503
        };
        write_refusal(status, "no room for another connection now", Some(after_s), &mut answer);
        tcp::answer_and_close(stream, &answer);
    }

    /// Make a new connection one of this worker's links.
    pub(super) fn adopt(&mut self, now: Now, adoption: Adoption) {
        let permit = adoption.permit;
        if let Err(error) = self.try_adopt(now, adoption) {
            self.stats.accept_errors.inc();
            tracing::warn!(%error, "a new connection could not be set up");
            self.shared.limiter.end_handshake();
            self.shared.limiter.release(permit);
        }
    }

    fn try_adopt(&mut self, now: Now, adoption: Adoption) -> io::Result<()> {
        let Adoption { stream, peer, is_tls, permit } = adoption;
        stream.set_nodelay(true)?;
        let naming = Naming::of(&self.shared.config.proxy, peer);
        let ix = self.driver.links.insert(
            LinkState::Accepted { is_tls },
            Stream::Tcp(stream),
            Some(permit),
            (now.us / 1_000_000) as u32,
        );
        let token = self.driver.links.token(ix);
        let link = self.driver.links.get_mut(ix).expect("just inserted");
        link.opening = Some(Box::new(Opening { client: peer, naming, request: Vec::new() }));
        let Stream::Tcp(socket) = &link.stream else { unreachable!("a TCP link") };
        if let Err(error) = self.poller.add_stream(socket.as_fd(), token) {
            self.driver.links.remove(ix);
            return Err(error);
        }
        Ok(())
    }
}

/// When a client that a limit refuses may try again.
pub(super) fn retry_after_s(limit: LimitReached) -> u32 {
    match limit {
        LimitReached::TooManyHandshakes { retry_after_ms } => retry_after_ms.div_ceil(1_000),
        LimitReached::TooManyConnections | LimitReached::NodeFull => RETRY_AFTER_S,
    }
}

pub(super) fn transport(is_tls: bool) -> Transport {
    if is_tls { Transport::WebSocketTls } else { Transport::WebSocket }
}
