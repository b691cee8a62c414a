//! Listeners: the TCP sockets on which a worker accepts connections, shared with the other workers.
//!
//! Invariant: the worker's poller watches every listener here.
//! Not here: the handling of an accepted connection (`accept`).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom_with};

use super::poller::Poller;
use super::token;

/// The TCP listeners of one worker.
pub(super) struct Listeners {
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
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

    /// Close this worker's listeners. Other holders of the same sockets keep them open.
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
