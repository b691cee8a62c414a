//! Forwarding: the process that reads the UDP sockets sends the previous process the datagrams of its
//! connections.
//!
//! Why a stream between two workers and not a datagram socket: the kernel lets only some ten datagrams wait
//! in a datagram socket, and a burst of acknowledgements is hundreds. One read of a stream also brings many.
//! Layout of each: length of the rest u16, ECN u8 (0 for none), the peer's address, our own address or none,
//! the datagram. An address is 4 or 6 and its bytes. The peer's is followed by its port u16 and scope u32.
//! All numbers are little-endian.
//! Invariants: neither side waits for the other. Datagrams beyond what the kernel holds ([`BUFFER_BYTES`])
//! are dropped, as a full socket drops them. Those that arrive are whole and in order.
//! Not here: which process a datagram is for (`connection_id`). Answers are not forwarded: the previous
//! process sends by the shared socket itself.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use rustix::net::{SendFlags, send};

use super::socket::Datagram;

/// Bytes of one worker's datagrams that the kernel may hold: a few times the size of a default UDP socket.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Reads in one turn, as for the socket itself.
const READS_PER_TURN: usize = 4;

/// A pair of sockets that forwards one worker's datagrams.
pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (from, to) = UnixStream::pair()?;
    for end in [&from, &to] {
        end.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_send_buffer_size(end, BUFFER_BYTES)?;
    }
    Ok((from, to))
}

/// Sends datagrams to a worker of the previous process.
#[derive(Debug)]
pub(crate) struct Forwarder {
    stream: UnixStream,
    /// The rest of a datagram that was sent in part.
    unsent: Vec<u8>,
    /// The previous process is gone.
    is_over: bool,
    frame: Vec<u8>,
}

impl Forwarder {
    pub(crate) fn new(stream: UnixStream) -> Forwarder {
        Forwarder { stream, unsent: Vec::new(), is_over: false, frame: Vec::new() }
    }

    /// Is the previous process gone?
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Forward a datagram, or drop it.
    pub(crate) fn forward(&mut self, datagram: &Datagram) {
        if !self.flush() {
            return;
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        encode(datagram, &mut frame);
        let sent = self.send(&frame);
        if sent > 0 && sent < frame.len() {
            self.unsent.extend_from_slice(&frame[sent..]);
        }
        self.frame = frame;
    }

    /// Send the rest of an earlier datagram. Returns `true` when nothing is left of it.
    pub(crate) fn flush(&mut self) -> bool {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let sent = self.send(&unsent);
            self.unsent.extend_from_slice(&unsent[sent..]);
        }
        self.unsent.is_empty()
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => 0,
            Err(_) => {
                self.is_over = true;
                0
            }
        }
    }
}

/// Receives datagrams from the process that reads the socket.
#[derive(Debug)]
pub(crate) struct Forwarded {
    stream: UnixStream,
    buffer: BytesMut,
}

/// How the reading of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inflow {
    /// Nothing more now.
    Empty,
    /// There may be more.
    More,
    /// The other process is gone.
    Over,
}

impl Forwarded {
    pub(crate) fn new(stream: UnixStream) -> Forwarded {
        Forwarded { stream, buffer: BytesMut::new() }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Take the datagrams that have arrived.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Datagram)) -> Inflow {
        for _ in 0..READS_PER_TURN {
            let start = self.buffer.len();
            self.buffer.resize(start + READ_BYTES, 0);
            let read = self.stream.read(&mut self.buffer[start..]);
            self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Inflow::Over,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Inflow::Empty,
                Err(_) => return Inflow::Over,
            }
            while let Some(frame) = next_frame(&mut self.buffer) {
                // A datagram that cannot be decoded is lost, as datagrams may be.
                if let Some(datagram) = decode(&frame) {
                    take(datagram);
                }
            }
        }
        Inflow::More
    }
}

fn next_frame(buffer: &mut BytesMut) -> Option<BytesMut> {
    let len = usize::from(u16::from_le_bytes(*buffer.first_chunk()?));
    if buffer.len() < 2 + len {
        return None;
    }
    let mut frame = buffer.split_to(2 + len);
    let _ = frame.split_to(2);
    Some(frame)
}

fn encode(d: &Datagram, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, d.ecn.map_or(0, |ecn| ecn as u8)]);
    encode_ip(Some(d.from.ip()), out);
    out.extend_from_slice(&d.from.port().to_le_bytes());
    let scope = if let SocketAddr::V6(v6) = d.from { v6.scope_id() } else { 0 };
    out.extend_from_slice(&scope.to_le_bytes());
    encode_ip(d.to, out);
    out.extend_from_slice(&d.bytes);
    match u16::try_from(out.len() - 2) {
        Ok(len) => out[..2].copy_from_slice(&len.to_le_bytes()),
        // Larger than any packet that we let peers send, so it is not ours.
        Err(_) => out.clear(),
    }
}

fn encode_ip(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        None => out.push(0),
        Some(IpAddr::V4(v4)) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        Some(IpAddr::V6(v6)) => {
            out.push(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn decode(frame: &[u8]) -> Option<Datagram> {
    let mut rest = frame;
    let ecn = EcnCodepoint::from_bits(*take::<1>(&mut rest)?.first()?);
    let ip = decode_ip(&mut rest)??;
    let port = u16::from_le_bytes(*take(&mut rest)?);
    let scope = u32::from_le_bytes(*take(&mut rest)?);
    let to = decode_ip(&mut rest)?;
    let from = match ip {
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, port),
    };
    Some(Datagram { from, to, ecn, bytes: rest.into() })
}

fn decode_ip(rest: &mut &[u8]) -> Option<Option<IpAddr>> {
    Some(match take::<1>(rest)? {
        [0] => None,
        [4] => Some(IpAddr::from(*take::<4>(rest)?)),
        [6] => Some(IpAddr::from(*take::<16>(rest)?)),
        _ => return None,
    })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(from: SocketAddr, to: Option<IpAddr>, ecn: u8, bytes: &[u8]) -> Datagram {
        Datagram { from, to, ecn: EcnCodepoint::from_bits(ecn), bytes: bytes.into() }
    }

    fn same(a: &Datagram, b: &Datagram) -> bool {
        (a.from, a.to, a.ecn, &a.bytes) == (b.from, b.to, b.ecn, &b.bytes)
    }

    proptest! {
        #[test]
        fn a_datagram_comes_as_it_was(
            from: SocketAddr, to: Option<IpAddr>, ecn in 0u8..4, bytes in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let from = match from {
                SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
                v4 => v4,
            };
            let sent = datagram(from, to, ecn, &bytes);
            let mut out = Vec::new();
            encode(&sent, &mut out);
            let frame = next_frame(&mut BytesMut::from(&out[..])).unwrap();
            prop_assert!(same(&decode(&frame).unwrap(), &sent));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_whole_and_the_rest_comes_in_order() {
        let (from, to) = pair().unwrap();
        let (mut forwarder, mut forwarded) = (Forwarder::new(from), Forwarded::new(to));
        let peer = "192.0.2.1:5".parse().unwrap();
        for n in 0..4_000u32 {
            forwarder.forward(&datagram(peer, None, 0, &[&n.to_le_bytes()[..], &[7; 1_200]].concat()));
        }
        let mut got = Vec::new();
        let mut take = |d: Datagram| {
            assert_eq!(d.bytes.len(), 1_204);
            got.push(u32::from_le_bytes(*d.bytes.first_chunk().unwrap()));
        };
        while forwarded.receive(&mut take) == Inflow::More || !forwarder.flush() {}
        assert!(got.len() > 200 && got.len() < 4_000, "bounded: {}", got.len());
        assert_eq!(got, (0..got.len() as u32).collect::<Vec<_>>(), "the newest were dropped, whole");
        drop(forwarded);
        forwarder.forward(&datagram(peer, None, 0, b"x"));
        assert!(forwarder.is_over());
    }
}
