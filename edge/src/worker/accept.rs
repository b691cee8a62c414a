//! New TCP connections: past the gate, to the least loaded worker, under its poller.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use grandstand_engine::message::Now;
use grandstand_protocol::websocket::handshake::write_refusal;
use grandstand_queue::SendError;
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketFlags};

use super::tls::Tls;
use super::wire::{Line, Stage};
use super::{Command, Worker};
use crate::gate::Pass;
use crate::metrics::{Transport, TurnedAway};

/// Newcomers taken per turn and listener, so that a rush does not hold up those who are inside.
const ACCEPTS_PER_TURN: usize = 64;

/// A newcomer that is turned away may try again after this: handshakes that hang are gone by then.
const RETRY_AFTER_S: u32 = 10;

impl Worker {
    /// Take newcomers; `true` when more may be waiting.
    pub(super) fn accept(&mut self, now: Now, is_tls: bool) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            if is_tls && self.handshakes.is_behind() {
                return true;
            }
            let Some(listener) = (if is_tls { &self.wss } else { &self.ws }) else { return false };
            match rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, address)) => self.admit(now, TcpStream::from(socket), address, is_tls),
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(error) => {
                    self.stats.accept_errors.inc();
                    tracing::warn!(%error, "accepting a connection failed");
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, now: Now, stream: TcpStream, address: Option<SocketAddrAny>, is_tls: bool) {
        let Some(peer) = address.and_then(ip_of) else { return };
        let pass = match self.shared.gate.try_enter(peer, now.us) {
            Ok(pass) => pass,
            Err(refusal) => return self.turn_away(&stream, refusal.into(), is_tls),
        };
        if !self.shared.gate.try_begin_handshake() {
            self.shared.gate.leave(pass);
            return self.turn_away(&stream, TurnedAway::HandshakesPending, is_tls);
        }
        self.stats.accepts.of(transport(is_tls)).inc();
        let target = self.shared.least_loaded(self.id);
        self.shared.loads[target].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if target == self.id {
            return self.adopt(now, stream, is_tls, pass);
        }
        let command = Command::Adopt { stream, is_tls, pass };
        if let Err(SendError::Full(command) | SendError::Closed(command)) =
            self.shared.commands[target].try_send(command)
            && let Command::Adopt { stream, is_tls, pass } = command
        {
            self.adopt(now, stream, is_tls, pass);
        }
    }

    /// A newcomer that may not come in costs its accept, one lock and one send. Without TLS it is told when to come
    /// back, unasked and at once; under TLS only its connection could be told, and it is closed.
    fn turn_away(&self, stream: &TcpStream, why: TurnedAway, is_tls: bool) {
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
        write_refusal(status, "no room for another connection now", Some(RETRY_AFTER_S), &mut answer);
        // What does not fit an empty socket is not worth a second try.
        let _ = rustix::net::send(stream, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }

    /// Make a newcomer one of this worker's wires.
    pub(super) fn adopt(&mut self, now: Now, stream: TcpStream, is_tls: bool, pass: Pass) {
        if let Err(error) = self.try_adopt(now, stream, is_tls, pass) {
            self.stats.accept_errors.inc();
            tracing::warn!(%error, "a new connection could not be set up");
            self.shared.gate.end_handshake();
            self.shared.gate.leave(pass);
        }
    }

    fn try_adopt(&mut self, now: Now, stream: TcpStream, is_tls: bool, pass: Pass) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (stage, line) = if is_tls {
            let tls = Tls::new(self.shared.tls.clone()).map_err(io::Error::other)?;
            (Stage::Tls, Line::Tls(stream, Box::new(tls)))
        } else {
            (Stage::Upgrade, Line::Plain(stream))
        };
        let ix = self.wires.insert(stage, line, Some(pass), (now.us / 1_000_000) as u32);
        let wire = self.wires.get(ix).expect("just inserted");
        let (Line::Plain(socket) | Line::Tls(socket, _)) = &wire.line else { unreachable!("a TCP wire") };
        if let Err(error) = self.poller.add_stream(socket.as_fd(), self.wires.token(ix)) {
            self.wires.remove(ix);
            return Err(error);
        }
        Ok(())
    }
}

fn ip_of(address: SocketAddrAny) -> Option<std::net::IpAddr> {
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            std::net::SocketAddr::try_from(address).ok().map(|address| address.ip())
        }
        _ => None,
    }
}

pub(super) fn transport(is_tls: bool) -> Transport {
    if is_tls { Transport::WebSocketTls } else { Transport::WebSocket }
}
