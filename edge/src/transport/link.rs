//! A link: a worker's record of one connection: TCP, plain or under TLS, or the session stream of QUIC.
//!
//! Why small: beside the audience's own records, a link is all that an idle viewer costs.
//! Invariant: a link's generation is part of its epoll token, so that an event for a closed link is
//! recognised.
//! What a link needs only until it is open (`Opening`) lies apart, and is freed then.
//! Not here: all of a worker's links (`links`), the transfer of bytes (`tcp`, `tls`), their meaning
//! (`websocket`).

use std::net::{IpAddr, TcpStream};

use bytes::Bytes;
use grandstand_edge_core::admission::limits::Permit;
use grandstand_edge_core::audience::ConnectionKey;
use grandstand_protocol::websocket::Reader;

use super::tcp::{self, Received};
use super::tls::{self, Tls};
use crate::config;
use crate::stats::Transport;

/// The stage of a TCP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Accepted; no byte has come yet.
    Accepted { is_tls: bool },
    /// Its first bytes have arrived, unread, and it waits in the handshake queue.
    Queued { is_tls: bool },
    /// The TLS handshake is under way.
    Tls,
    /// The HTTP request is arriving.
    Upgrade,
    /// Frames pass, and no `Hello` has come.
    Greeting,
    /// Frames pass.
    Open,
    /// It gave its place to another before its `Hello`, and is about to be closed.
    Leaving,
    /// Our Close has been sent. Further bytes are dropped until the peer closes too, or its time is over.
    Lingering,
}

impl LinkState {
    /// Is its client waited for, to finish its handshake?
    pub(crate) fn is_handshake(self) -> bool {
        matches!(self, LinkState::Accepted { .. } | LinkState::Tls | LinkState::Upgrade)
    }
}

/// The carrier of the bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Box<Tls>),
    Quic(u32),
}

impl Stream {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Stream::Tcp(_) => Transport::WebSocket,
            Stream::Tls(..) => Transport::WebSocketTls,
            Stream::Quic(_) => Transport::Quic,
        }
    }
}

/// What a link keeps until it is open.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The address of the peer, or of the client for which a trusted proxy speaks.
    pub(crate) client: IpAddr,
    pub(crate) naming: Naming,
    /// The bytes of an unfinished HTTP request.
    pub(crate) request: Vec<u8>,
}

/// The address of a link that is open or gone.
pub(crate) const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// What may still tell the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Nothing: `client` is the client's.
    Done,
    /// The PROXY header with which the connection begins.
    Header,
    /// A header of the HTTP request.
    Request,
}

impl Naming {
    /// Of a connection from this peer.
    pub(crate) fn of(proxy: &config::Proxy, peer: IpAddr) -> Naming {
        match proxy.is_trusted(peer) {
            true if proxy.protocol => Naming::Header,
            true if proxy.has_header() => Naming::Request,
            _ => Naming::Done,
        }
    }
}

/// A worker's record of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u32,
    pub(crate) state: LinkState,
    /// The audience's key for it, once frames may pass.
    pub(crate) connection: Option<ConnectionKey>,
    /// Given back to the limiter when the link ends. The endpoint keeps the permits of QUIC.
    pub(crate) permit: Option<Permit>,
    /// When this state began, seconds of the monotonic clock.
    pub(crate) since_s: u32,
    /// WebSocket close code of a fault in that layer, which replaces the audience's.
    pub(crate) websocket_code: Option<u16>,
    pub(crate) reader: Reader,
    /// Absent on an open link.
    pub(crate) opening: Option<Box<Opening>>,
    pub(crate) stream: Stream,
}

impl Link {
    /// Read from the socket into `scratch`.
    pub(crate) fn receive(&self, scratch: &mut [u8]) -> Received {
        self.socket().map_or(Received::Blocked, |socket| tcp::receive(socket, scratch))
    }

    /// Read the bytes that have arrived, and leave them in the socket.
    pub(crate) fn peek<'a>(&self, scratch: &'a mut [u8]) -> &'a [u8] {
        self.socket().map_or(&[], |socket| tcp::peek(socket, scratch))
    }

    /// The client's address as far as it is known, while the link is not open.
    pub(crate) fn client(&self) -> IpAddr {
        self.opening.as_ref().map_or(UNKNOWN, |opening| opening.client)
    }

    /// Is a PROXY header due?
    pub(crate) fn awaits_proxy_header(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.naming == Naming::Header)
    }

    /// From now on the peer's bytes are TLS.
    pub(crate) fn begin_tls(&mut self, tls: Tls) {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Quic(u32::MAX)) {
            Stream::Tcp(socket) => Stream::Tls(socket, Box::new(tls)),
            other => other,
        };
        self.state = LinkState::Tls;
    }

    /// Offer frames to a TCP link. Returns the number of their bytes that it took for good.
    pub(crate) fn send(&mut self, frames: &[&Bytes], cipher: &mut Vec<u8>, plain: &mut Vec<u8>) -> usize {
        match &mut self.stream {
            Stream::Tcp(socket) => tcp::send_frames(socket, frames),
            Stream::Tls(socket, tls) => tls::send_frames(socket, tls, frames, cipher, plain),
            Stream::Quic(_) => unreachable!("`Links` sends by the endpoint"),
        }
    }

    /// Send encrypted bytes that did not fit; `true` when none are left.
    pub(crate) fn flush_tls(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tls(socket, tls) => tls::flush(socket, tls),
            _ => true,
        }
    }

    /// End the sending side, after TLS' closing alert.
    pub(crate) fn end(&mut self) {
        if let Stream::Tls(socket, tls) = &mut self.stream {
            tls::send_close_notify(socket, tls);
        }
        self.shutdown_write();
    }

    /// Close the sending side, without TLS' closing alert.
    pub(crate) fn shutdown_write(&self) {
        if let Some(socket) = self.socket() {
            tcp::shutdown_write(socket);
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Tcp(socket) | Stream::Tls(socket, _) => Some(socket),
            Stream::Quic(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_small() {
        assert!(size_of::<Link>() <= 120, "{}", size_of::<Link>());
    }
}
