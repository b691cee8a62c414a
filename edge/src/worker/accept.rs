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

use grandstand_edge_core::admission::limits::{LimitReached, Permit};
use grandstand_edge_core::admission::queue::HandshakeKind;
use grandstand_edge_core::admission::waiting::Stage;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::handshake::write_refusal;
use grandstand_queue::SendError;

use super::begin::handshake_time;
use super::lines::Waiter;
use super::listeners::{Accepted, Listeners};
use super::reserve::{Reserve, is_out_of_files};
use super::shared::Adoption;
use super::{Command, Worker};
use crate::stats::{Stats, Transport, TurnedAway};
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
        let (began, time) = (clock.instant(), handshake_time(&self.driver) / 4);
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
                Ok(Accepted::Connection(stream, peer)) => {
                    self.listeners.handle_accepted();
                    self.admit(now, stream, peer, is_tls);
                }
                Ok(Accepted::Nothing) => {}
                Ok(Accepted::Empty) => return false,
                Err(error) => {
                    self.stats.accept_errors.inc();
                    match accept_into_reserve(&self.listeners, &mut self.reserve, &self.stats, is_tls, &error)
                    {
                        Some(true) => {}
                        Some(false) => return false,
                        None => {
                            // It will fail again, and the listeners stay ready: they are left alone for a
                            // while.
                            let now = self.shared.clock.instant();
                            let pause_ms = self.listeners.pause(&self.poller, now).as_millis() as u64;
                            tracing::warn!(%error, pause_ms, "connections cannot be accepted: trying again later");
                            return false;
                        }
                    }
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
        let (permit, giver) = match self.driver.acquire(self.id, now, peer) {
            Ok(acquired) => acquired,
            Err(limit) => return refuse(&self.stats, &stream, limit.into(), is_tls, retry_after_s(limit)),
        };
        // Under TLS the first bytes decide, and they have not arrived yet.
        if !is_tls && self.handshakes.queue.is_full_for(HandshakeKind::Upgrade) {
            return self.refuse_permitted(&stream, permit, TurnedAway::Overloaded, is_tls);
        }
        self.stats.accepts.of(transport(is_tls)).inc();
        let target = giver.unwrap_or_else(|| self.shared.least_loaded(self.id));
        self.shared.loads[target].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let adoption = Adoption { stream, peer, is_tls, permit, is_in_place: giver.is_some() };
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

    /// Refuse a connection that has been accepted and not adopted.
    fn refuse_permitted(&mut self, stream: &TcpStream, permit: Permit, why: TurnedAway, is_tls: bool) {
        self.shared.limiter.release(permit);
        let queue = &mut self.handshakes.queue;
        let after_s = if is_tls { 0 } else { queue.refuse(HandshakeKind::Upgrade).retry_after_s() };
        refuse(&self.stats, stream, why, is_tls, after_s);
    }

    /// Make a new connection one of this worker's links, if its line has a place for it.
    pub(super) fn adopt(&mut self, now: Now, adoption: Adoption) {
        let Adoption { stream, is_tls, permit, is_in_place, .. } = &adoption;
        let (is_tls, permit) = (*is_tls, *permit);
        if *is_in_place && !self.driver.lines.give_way(permit.counted(), now) {
            return self.refuse_permitted(stream, permit, TurnedAway::NodeFull, is_tls);
        }
        self.driver.end_leaving();
        if !self.driver.lines.handshakes.would_admit(permit.counted(), false, now.us) {
            return self.refuse_permitted(stream, permit, TurnedAway::HandshakesPending, is_tls);
        }
        match self.try_adopt(now, adoption) {
            Ok(token) => {
                let waiter = Waiter::Link(token);
                let has_place =
                    self.driver.wait_for_handshake(now, waiter, permit.counted(), Stage::Silent, false);
                debug_assert!(has_place, "nothing has come between the question and its answer");
            }
            Err(error) => {
                self.stats.accept_errors.inc();
                tracing::warn!(%error, "a new connection could not be set up");
                self.shared.limiter.release(permit);
            }
        }
    }

    /// Returns the link's token. An error of the poller is told to the client; one of the socket's own is
    /// not, since it is broken.
    fn try_adopt(&mut self, now: Now, adoption: Adoption) -> io::Result<u64> {
        let Adoption { stream, peer, is_tls, permit, .. } = adoption;
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
            if let Some(Stream::Tcp(socket)) = self.driver.links.remove(ix).map(|link| link.stream) {
                refuse(&self.stats, &socket, TurnedAway::FilesExhausted, is_tls, RETRY_AFTER_S);
            }
            return Err(error);
        }
        Ok(token)
    }
}

/// No descriptor is left: tell a new connection, in the reserve's place. Returns whether there may be more,
/// and `None` where that does not help.
fn accept_into_reserve(
    listeners: &Listeners,
    reserve: &mut Reserve,
    stats: &Stats,
    is_tls: bool,
    error: &io::Error,
) -> Option<bool> {
    if !is_out_of_files(error) {
        return None;
    }
    tracing::warn!(
        %error,
        "no descriptor is left for a new connection: it is told and closed; raise the limit of open files, or \
         lower limits.connections_max"
    );
    let told = reserve.lend(|| match listeners.accept(is_tls) {
        Ok(Accepted::Connection(stream, _)) => {
            refuse(stats, &stream, TurnedAway::FilesExhausted, is_tls, RETRY_AFTER_S);
            Some(true)
        }
        Ok(Accepted::Nothing) => Some(true),
        Ok(Accepted::Empty) => Some(false),
        Err(_) => None,
    });
    told.flatten()
}

/// Refuse a new connection. Without TLS the client is told at once when to retry. Under TLS it could be told
/// only after a handshake, so the connection is closed.
fn refuse(stats: &Stats, stream: &TcpStream, why: TurnedAway, is_tls: bool, after_s: u32) {
    stats.turned_away.of(why).inc();
    if is_tls {
        return tcp::close_cleanly(stream);
    }
    let mut answer = Vec::new();
    let is_of_address = matches!(why, TurnedAway::TooManyConnections | TurnedAway::TooManyHandshakes);
    let status = if is_of_address { 429 } else { 503 };
    write_refusal(status, "no room for another connection now", Some(after_s), &mut answer);
    tcp::answer_and_close(stream, &answer);
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
