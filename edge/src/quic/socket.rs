//! A UDP socket: datagrams come in batches and leave one by one.
//!
//! Invariant: nothing here waits; a datagram that the kernel has no room for is kept and sent before any
//! other.
//! Not here: when the socket is ready (`worker`), what datagrams hold (`endpoint`).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use bytes::BytesMut;
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

/// Bytes of one receive: enough for several datagrams that the kernel has joined.
const RECEIVE_BYTES: usize = 64 * 1024;

/// A received datagram.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<std::net::IpAddr>,
    pub(crate) ecn: Option<quinn_proto::EcnCodepoint>,
    pub(crate) bytes: BytesMut,
}

/// The UDP socket of one worker.
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<u8>,
    /// A datagram that the kernel had no room for: sent before any other.
    unsent: Option<(quinn_proto::Transmit, Vec<u8>)>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Socket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Socket { socket, state, buffers: vec![0; RECEIVE_BYTES * BATCH_SIZE], unsent: None })
    }

    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.socket)
    }

    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Take one batch from the kernel; `false` when there was nothing.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Datagram)) -> io::Result<bool> {
        let mut rest = self.buffers.chunks_mut(RECEIVE_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = match self.state.recv((&self.socket).into(), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // An ICMP error of an earlier send. It concerns one peer, whose own timers will notice.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
            Err(e) => return Err(e),
        };
        for (meta, slice) in metas.iter().zip(&slices).take(count) {
            for bytes in slice[..meta.len].chunks(meta.stride.max(1)) {
                let ecn = meta.ecn.and_then(|e| quinn_proto::EcnCodepoint::from_bits(e as u8));
                take(Datagram { from: meta.addr, to: meta.dst_ip, ecn, bytes: bytes.into() });
            }
        }
        Ok(true)
    }

    /// Is a datagram waiting for room?
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// The kernel has room again.
    pub(crate) fn handle_writable(&mut self) {
        if let Some((transmit, bytes)) = self.unsent.take() {
            self.send(transmit, &bytes);
        }
    }

    /// Send one datagram. If the kernel refuses it for good, it is lost, as datagrams may be, and the
    /// protocol recovers.
    pub(crate) fn send(&mut self, transmit: quinn_proto::Transmit, bytes: &[u8]) {
        let datagram = Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|e| EcnCodepoint::from_bits(e as u8)),
            contents: &bytes[..transmit.size],
            segment_size: None,
            src_ip: transmit.src_ip,
        };
        if let Err(e) = self.state.try_send((&self.socket).into(), &datagram)
            && e.kind() == io::ErrorKind::WouldBlock
        {
            self.unsent = Some((transmit, bytes.to_vec()));
        }
    }
}
