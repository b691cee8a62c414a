//! One link: a TCP connection, plain or under TLS, or a QUIC connection's stream; what the driver keeps of
//! it.
//!
//! Why small: beside the audience's own records this is all that an idle viewer costs.
//! Invariant: a link's generation stands in its epoll token, so that an event for a closed one is recognised.

use std::io;
use std::net::TcpStream;

use bytes::Bytes;
use grandstand_protocol::websocket::Reader;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use smallvec::SmallVec;

use super::tls::{PLAIN_BYTES_PER_SEND, Tls, TlsFault};
use crate::audience::ConnectionKey;
use crate::gate::Pass;

/// How far a TCP link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Accepted; nothing has come yet.
    Accepted { is_tls: bool },
    /// Its first bytes are there, unread: it waits for its handshake's turn.
    Queued { is_tls: bool },
    /// TLS is being agreed on.
    Tls,
    /// The HTTP request is coming in.
    Upgrade,
    /// Frames.
    Open,
    /// The conformance echo.
    Echo,
    /// Our Close is out; what still comes is thrown away until the peer closes too, or its time is up.
    Lingering,
}

impl LinkState {
    /// Holds one of the gate's places for unfinished handshakes.
    pub(crate) fn is_handshake(self) -> bool {
        matches!(self, LinkState::Accepted { .. } | LinkState::Tls | LinkState::Upgrade)
    }
}

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Box<Tls>),
    Quic(u32),
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u32,
    pub(crate) state: LinkState,
    /// The audience's name for it, once frames may flow.
    pub(crate) connection: Option<ConnectionKey>,
    /// Given back to the gate when the link goes; the endpoint keeps those of QUIC.
    pub(crate) pass: Option<Pass>,
    /// When this state began, seconds of the monotonic clock.
    pub(crate) since_s: u32,
    /// WebSocket code of a fault of that layer, in place of the audience's.
    pub(crate) websocket_code: Option<u16>,
    pub(crate) reader: Reader,
    /// Of an unfinished HTTP request, or an echo that did not fit.
    #[expect(clippy::box_collection, reason = "absent on every open link: a word there, not three")]
    pub(crate) pending: Option<Box<Vec<u8>>>,
    pub(crate) stream: Stream,
}

/// How a read ended.
pub(crate) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing more for now.
    Blocked,
    /// The peer closed, or the connection broke.
    Ended,
}

impl Link {
    /// Read from the socket into `scratch`.
    pub(crate) fn read(&self, scratch: &mut [u8]) -> Received {
        let (Stream::Tcp(socket) | Stream::Tls(socket, _)) = &self.stream else { return Received::Blocked };
        loop {
            return match recv(socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Received::Ended,
                Ok((_, n)) => Received::Bytes(n),
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Received::Blocked,
                Err(_) => Received::Ended,
            };
        }
    }

    /// Look at what has come, and leave it there.
    pub(crate) fn peek<'a>(&self, scratch: &'a mut [u8]) -> &'a [u8] {
        let (Stream::Tcp(socket) | Stream::Tls(socket, _)) = &self.stream else { return &[] };
        let seen = recv(socket, &mut *scratch, RecvFlags::DONTWAIT | RecvFlags::PEEK).map_or(0, |(_, n)| n);
        &scratch[..seen]
    }

    /// From here on it is TLS that comes.
    pub(crate) fn begin_tls(&mut self, tls: Tls) {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Quic(u32::MAX)) {
            Stream::Tcp(socket) => Stream::Tls(socket, Box::new(tls)),
            other => other,
        };
        self.state = LinkState::Tls;
    }

    /// Offer frames to a TCP link: how many of their bytes it took for good.
    pub(crate) fn send(&mut self, frames: &[&Bytes], cipher: &mut Vec<u8>, plain: &mut Vec<u8>) -> usize {
        match &mut self.stream {
            Stream::Tcp(socket) => send_plain(socket, frames),
            Stream::Tls(socket, tls) => send_tls(socket, tls, frames, cipher, plain),
            Stream::Quic(_) => unreachable!("the driver sends by the endpoint"),
        }
    }

    /// Send encrypted bytes that did not fit; `true` when none are left.
    pub(crate) fn flush_tls(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tls(socket, tls) => flush_unsent(socket, tls),
            _ => true,
        }
    }

    /// Close our sending side.
    pub(crate) fn shutdown_write(&self) {
        if let Stream::Tcp(socket) | Stream::Tls(socket, _) = &self.stream {
            // It fails only when the peer has closed already.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }
}

fn send_plain(socket: &TcpStream, frames: &[&Bytes]) -> usize {
    if let [frame] = frames {
        return send_all_once(socket, frame);
    }
    let slices: SmallVec<[io::IoSlice<'_>; 64]> = frames.iter().map(|f| io::IoSlice::new(f)).collect();
    let mut socket = socket;
    loop {
        match io::Write::write_vectored(&mut socket, &slices) {
            Ok(n) => return n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Blocked; or broken, which the next read will show.
            Err(_) => return 0,
        }
    }
}

/// One send that takes what fits.
fn send_all_once(socket: &TcpStream, bytes: &[u8]) -> usize {
    loop {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n) => return n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 0,
        }
    }
}

fn flush_unsent(socket: &TcpStream, tls: &mut Tls) -> bool {
    if !tls.unsent.is_empty() {
        let sent = send_all_once(socket, &tls.unsent);
        if sent == tls.unsent.len() {
            tls.unsent = Vec::new();
        } else {
            tls.unsent.drain(..sent);
        }
    }
    tls.unsent.is_empty()
}

/// Encrypt and send until the socket is full. What was encrypted counts as taken.
fn send_tls(
    socket: &TcpStream,
    tls: &mut Tls,
    frames: &[&Bytes],
    cipher: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> usize {
    let mut taken = 0;
    let mut rest = frames;
    while !rest.is_empty() && flush_unsent(socket, tls) {
        let run = run_within(rest, PLAIN_BYTES_PER_SEND);
        cipher.clear();
        let sealed = match &rest[..run] {
            [frame] => tls.encrypt(frame, cipher),
            several => {
                plain.clear();
                several.iter().for_each(|frame| plain.extend_from_slice(frame));
                tls.encrypt(plain, cipher)
            }
        };
        if let Err(TlsFault) = sealed {
            // Keys are used up or the peer said goodbye: the next read ends the link.
            return taken;
        }
        taken += rest[..run].iter().map(|f| f.len()).sum::<usize>();
        let sent = send_all_once(socket, cipher);
        if sent < cipher.len() {
            tls.unsent.extend_from_slice(&cipher[sent..]);
        }
        rest = &rest[run..];
    }
    taken
}

/// How many frames go into one run of at most `bytes_max`; at least one.
fn run_within(frames: &[&Bytes], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = frames.iter().take_while(|frame| {
        bytes += frame.len();
        bytes <= bytes_max
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_bounded_and_never_empty() {
        let (a, b) = (Bytes::from(vec![0; 60]), Bytes::from(vec![0; 50]));
        assert_eq!(run_within(&[&a, &b], 110), 2);
        assert_eq!(run_within(&[&a, &b], 109), 1);
        assert_eq!(run_within(&[&a, &b], 10), 1);
    }

    #[test]
    fn a_link_is_small() {
        assert!(size_of::<Link>() <= 120, "{}", size_of::<Link>());
    }
}
