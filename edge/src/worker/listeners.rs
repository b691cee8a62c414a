//! Listeners: the TCP sockets on which a worker accepts connections, shared with the other workers.
//!
//! Invariant: the worker's poller watches every listener here, except during a pause: a listener stays ready
//! while accepting fails, and would be tried without an end.
//! Not here: the handling of an accepted connection (`accept`).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom_with};

use super::poller::Poller;
use super::token;

/// The first pause after accepting has failed, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The TCP listeners of one worker.
pub(super) struct Listeners {
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
    pause: Duration,
    resume_at: Option<Instant>,
}

/// The result of one attempt to accept.
pub(super) enum Accepted {
    /// A connection, and its peer's IP address, if it has one.
    Connection(TcpStream, Option<IpAddr>),
    /// A connection that broke, or a call that a signal ended. The next attempt may bring a connection.
    Nothing,
    /// No connection is waiting, or there is no listener.
    Empty,
}

impl Listeners {
    pub(super) fn new(
        ws: Option<TcpListener>,
        wss: Option<TcpListener>,
        poller: &Poller,
    ) -> io::Result<Self> {
        let listeners = Listeners { ws, wss, pause: PAUSE_MIN, resume_at: None };
        listeners.watch(poller)?;
        Ok(listeners)
    }

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        for (listener, token) in [(&self.ws, token::WS), (&self.wss, token::WSS)] {
            if let Some(listener) = listener {
                poller.add_listener(listener.as_fd(), token)?;
            }
        }
        Ok(())
    }

    /// Accepting fails: the poller leaves the listeners alone for a time, which doubles with each pause.
    pub(super) fn pause(&mut self, poller: &Poller, now: Instant) -> Duration {
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        self.resume_at = Some(now + pause);
        [&self.ws, &self.wss].into_iter().flatten().for_each(|listener| poller.remove(listener.as_fd()));
        pause
    }

    /// Watch the listeners again when a pause is over.
    pub(super) fn resume(&mut self, poller: &Poller, now: Instant) {
        if self.resume_at.is_some_and(|at| now >= at) {
            self.resume_at = None;
            if self.watch(poller).is_err() {
                self.pause(poller, now);
            }
        }
    }

    /// A connection was accepted, so the next pause is short again.
    pub(super) fn handle_accepted(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// When a pause is over.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    pub(super) fn accept(&self, is_tls: bool) -> io::Result<Accepted> {
        let Some(listener) = (if is_tls { &self.wss } else { &self.ws }) else { return Ok(Accepted::Empty) };
        match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((socket, address)) => {
                Ok(Accepted::Connection(TcpStream::from(socket), address.and_then(ip_of)))
            }
            Err(Errno::AGAIN) => Ok(Accepted::Empty),
            Err(Errno::INTR | Errno::CONNABORTED) => Ok(Accepted::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Close this worker's listeners. Other holders of the same sockets keep them open.
    pub(super) fn close(&mut self, poller: &Poller) {
        self.resume_at = None;
        for listener in [self.ws.take(), self.wss.take()].into_iter().flatten() {
            poller.remove(listener.as_fd());
        }
    }
}

fn ip_of(address: SocketAddrAny) -> Option<IpAddr> {
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            SocketAddr::try_from(address).ok().map(|address| address.ip())
        }
        _ => None,
    }
}
