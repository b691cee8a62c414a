//! Listeners: the TCP sockets on which a worker accepts connections, shared with the other workers.
//!
//! Invariant: a listener that is here is watched by the worker's poller.
//! Not here: what becomes of an accepted connection (`accept`).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom_with};

use super::poller::Poller;
use super::token;

/// See the file's head.
pub(super) struct Listeners {
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
}

/// What one attempt to accept brought.
pub(super) enum Accepted {
    /// A connection, and its peer's address if it is one of IP.
    Connection(TcpStream, Option<IpAddr>),
    /// A connection that broke, or a call that a signal ended: the next attempt may bring one.
    Nothing,
    /// None is waiting, or nobody listens.
    Empty,
}

impl Listeners {
    pub(super) fn new(
        ws: Option<TcpListener>,
        wss: Option<TcpListener>,
        poller: &Poller,
    ) -> io::Result<Self> {
        for (listener, token) in [(&ws, token::WS), (&wss, token::WSS)] {
            if let Some(listener) = listener {
                poller.add_listener(listener.as_fd(), token)?;
            }
        }
        Ok(Listeners { ws, wss })
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

    /// Close them here. Other holders of the same sockets go on.
    pub(super) fn close(&mut self, poller: &Poller) {
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
