//! One wire: a TCP connection, plain or under TLS, or a QUIC connection's stream; what the driver keeps of
//! it.
//!
//! Why small: beside the audience's own records this is all that an idle viewer costs.
//! Invariant: a wire's generation stands in its epoll token, so that an event for a closed one is recognised.

use std::io;
use std::net::TcpStream;

use bytes::Bytes;
use grandstand_protocol::websocket::Reader;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use smallvec::SmallVec;

use super::tls::{PLAIN_BYTES_PER_SEND, Tls, TlsFault};
use crate::audience::ConnectionKey;
use crate::gate::Pass;

/// How far a TCP wire has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Accepted; nothing has come yet.
    Door { is_tls: bool },
    /// Its first bytes are there, unread: it waits for its handshake's turn.
    Waiting { is_tls: bool },
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

impl Stage {
    /// Holds one of the gate's places for unfinished handshakes.
    pub(super) fn is_handshake(self) -> bool {
        matches!(self, Stage::Door { .. } | Stage::Tls | Stage::Upgrade)
    }
}

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Line {
    Plain(TcpStream),
    Tls(TcpStream, Box<Tls>),
    Quic(u32),
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) generation: u32,
    pub(super) stage: Stage,
    /// The audience's name for it, once frames may flow.
    pub(super) connection: Option<ConnectionKey>,
    /// Given back to the gate when the wire goes; the endpoint keeps those of QUIC.
    pub(super) pass: Option<Pass>,
    /// When this stage began, seconds of the monotonic clock.
    pub(super) since_s: u32,
    /// WebSocket code of a fault of that layer, in place of the audience's.
    pub(super) websocket_code: Option<u16>,
    pub(super) reader: Reader,
    /// Of an unfinished HTTP request, or an echo that did not fit.
    #[expect(clippy::box_collection, reason = "absent on every open wire: a word there, not three")]
    pub(super) pending: Option<Box<Vec<u8>>>,
    pub(super) line: Line,
}

/// How a read ended.
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing more for now.
    Blocked,
    /// The peer closed, or the connection broke.
    Ended,
}

impl Wire {
    /// Read from the socket into `scratch`.
    pub(super) fn read(&self, scratch: &mut [u8]) -> Read {
        let (Line::Plain(socket) | Line::Tls(socket, _)) = &self.line else { return Read::Blocked };
        loop {
            return match recv(socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Read::Ended,
                Ok((_, n)) => Read::Bytes(n),
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Read::Blocked,
                Err(_) => Read::Ended,
            };
        }
    }

    /// Look at what has come, and leave it there.
    pub(super) fn peek<'a>(&self, scratch: &'a mut [u8]) -> &'a [u8] {
        let (Line::Plain(socket) | Line::Tls(socket, _)) = &self.line else { return &[] };
        let seen = recv(socket, &mut *scratch, RecvFlags::DONTWAIT | RecvFlags::PEEK).map_or(0, |(_, n)| n);
        &scratch[..seen]
    }

    /// From here on it is TLS that comes.
    pub(super) fn begin_tls(&mut self, tls: Tls) {
        self.line = match std::mem::replace(&mut self.line, Line::Quic(u32::MAX)) {
            Line::Plain(socket) => Line::Tls(socket, Box::new(tls)),
            other => other,
        };
        self.stage = Stage::Tls;
    }

    /// Offer frames to a TCP wire: how many of their bytes it took for good.
    pub(super) fn send(&mut self, frames: &[&Bytes], cipher: &mut Vec<u8>, plain: &mut Vec<u8>) -> usize {
        match &mut self.line {
            Line::Plain(socket) => send_plain(socket, frames),
            Line::Tls(socket, tls) => send_tls(socket, tls, frames, cipher, plain),
            Line::Quic(_) => unreachable!("the driver sends by the endpoint"),
        }
    }

    /// Send encrypted bytes that did not fit; `true` when none are left.
    pub(super) fn flush_tls(&mut self) -> bool {
        match &mut self.line {
            Line::Tls(socket, tls) => flush_unsent(socket, tls),
            _ => true,
        }
    }

    /// Close our sending side.
    pub(super) fn shutdown_write(&self) {
        if let Line::Plain(socket) | Line::Tls(socket, _) = &self.line {
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
            // Keys are used up or the peer said goodbye: the next read ends the wire.
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
    fn a_wire_is_small() {
        assert!(size_of::<Wire>() <= 120, "{}", size_of::<Wire>());
    }
}
