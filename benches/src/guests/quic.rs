//! QUIC connections of all guests, on one UDP socket, driven by the guests' own loop.
//!
//! Why one socket: what a client's socket costs is not the node's affair, and the node sees connections, not
//! sockets.
//! Invariant: after `drive` nothing that could be sent waits, but for a full socket.
//! Not here: what is said (`session`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use grandstand_protocol::version::ALPN;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    IdleTimeout, StreamEvent, StreamId, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::trust::{self, Tickets};

/// Kernel buffers of the socket: bursts to thousands of connections end in this one.
const SOCKET_BYTES: usize = 32 << 20;

pub(super) enum QuicEvent {
    /// The handshake is done and the stream is open.
    Open {
        guest: usize,
    },
    Bytes {
        guest: usize,
        bytes: Vec<u8>,
    },
    /// More can be written.
    Room {
        guest: usize,
    },
    Gone {
        guest: usize,
        slot: usize,
        why: String,
    },
}

struct QuicLine {
    quinn: Connection,
    guest: usize,
    stream: Option<StreamId>,
    armed: Option<Instant>,
    is_queued: bool,
    is_closed: bool,
}

/// See the file's head.
pub(super) struct QuicLines {
    endpoint: Endpoint,
    config: ClientConfig,
    socket: UdpSocket,
    lines: Vec<Option<Box<QuicLine>>>,
    timers: BTreeSet<(Instant, usize)>,
    queue: VecDeque<usize>,
    events: VecDeque<QuicEvent>,
    buffer: Vec<u8>,
    /// A datagram that the kernel had no room for.
    unsent: Option<(SocketAddr, Vec<u8>)>,
    scratch: Vec<u8>,
}

impl QuicLines {
    pub(super) fn new(tickets: &Tickets) -> anyhow::Result<QuicLines> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
        if set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES).is_err() {
            set_socket_recv_buffer_size(&socket, SOCKET_BYTES)?;
        }
        socket.set_send_buffer_size(SOCKET_BYTES)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let tls = trust::config(ALPN, tickets)?;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .enable_segmentation_offload(false)
            .max_idle_timeout(Some(IdleTimeout::try_from(Duration::from_secs(600))?));
        config.transport_config(Arc::new(transport));
        Ok(QuicLines {
            endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None),
            config,
            socket: socket.into(),
            lines: Vec::new(),
            timers: BTreeSet::new(),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            buffer: Vec::with_capacity(2048),
            unsent: None,
            scratch: vec![0; 64 * 1024],
        })
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Begin a connection for a guest: its slot.
    pub(super) fn connect(&mut self, now: Instant, door: SocketAddr, guest: usize) -> anyhow::Result<usize> {
        let (handle, quinn) = self.endpoint.connect(now, self.config.clone(), door, "localhost")?;
        if self.lines.len() <= handle.0 {
            self.lines.resize_with(handle.0 + 1, || None);
        }
        let (stream, armed, is_queued, is_closed) = (None, None, false, false);
        self.lines[handle.0] = Some(Box::new(QuicLine { quinn, guest, stream, armed, is_queued, is_closed }));
        self.enqueue(handle.0);
        Ok(handle.0)
    }

    pub(super) fn close(&mut self, now: Instant, slot: usize) {
        if let Some(line) = self.lines.get_mut(slot).and_then(Option::as_mut) {
            line.is_closed = true;
            line.quinn.close(now, VarInt::from_u32(0), bytes::Bytes::new());
            self.enqueue(slot);
        }
    }

    /// Write from `out` what the stream takes.
    pub(super) fn send(&mut self, slot: usize, out: &mut Vec<u8>) {
        let Some(line) = self.lines.get_mut(slot).and_then(Option::as_mut) else { return };
        let Some(id) = line.stream.filter(|_| !line.is_closed && !out.is_empty()) else { return };
        while !out.is_empty() {
            match line.quinn.send_stream(id).write(out) {
                Ok(taken) => drop(out.drain(..taken)),
                Err(_) => break,
            }
        }
        self.enqueue(slot);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn poll_event(&mut self) -> Option<QuicEvent> {
        self.events.pop_front()
    }

    /// Take what the socket has.
    pub(super) fn handle_readable(&mut self, now: Instant) -> anyhow::Result<()> {
        loop {
            let (len, from) = match self.socket.recv_from(&mut self.scratch) {
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let datagram = BytesMut::from(&self.scratch[..len]);
            self.buffer.clear();
            match self.endpoint.handle(now, from, None, None, datagram, &mut self.buffer) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(line) = self.lines.get_mut(handle.0).and_then(Option::as_mut) {
                        line.quinn.handle_event(event);
                        self.enqueue(handle.0);
                    }
                }
                Some(DatagramEvent::Response(transmit)) => {
                    let bytes = self.buffer[..transmit.size].to_vec();
                    self.send_datagram(transmit.destination, bytes);
                }
                Some(DatagramEvent::NewConnection(_)) | None => {}
            }
        }
    }

    /// Timers, events and packets of all who have some.
    pub(super) fn drive(&mut self, now: Instant) {
        if let Some((to, bytes)) = self.unsent.take() {
            self.send_datagram(to, bytes);
        }
        while let Some(&(at, slot)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(line) = self.lines[slot].as_mut() {
                line.armed = None;
                line.quinn.handle_timeout(now);
                self.enqueue(slot);
            }
        }
        while self.unsent.is_none()
            && let Some(slot) = self.queue.pop_front()
        {
            self.drive_one(now, slot);
        }
    }

    fn drive_one(&mut self, now: Instant, slot: usize) {
        let Some(mut line) = self.lines[slot].take() else { return };
        line.is_queued = false;
        loop {
            while let Some(event) = line.quinn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(ConnectionHandle(slot), event) {
                    line.quinn.handle_event(event);
                }
            }
            match line.quinn.poll() {
                Some(event) => self.handle_event(slot, &mut line, event),
                None => break,
            }
        }
        while self.unsent.is_none() {
            self.buffer.clear();
            let Some(transmit) = line.quinn.poll_transmit(now, 1, &mut self.buffer) else { break };
            let bytes = std::mem::take(&mut self.buffer);
            self.buffer = self.send_datagram(transmit.destination, bytes).unwrap_or_default();
        }
        if self.unsent.is_some() {
            line.is_queued = true;
            self.queue.push_back(slot);
        }
        if line.quinn.is_drained() {
            if let Some(at) = line.armed {
                self.timers.remove(&(at, slot));
            }
            return;
        }
        let deadline = line.quinn.poll_timeout();
        if deadline != line.armed {
            if let Some(at) = line.armed {
                self.timers.remove(&(at, slot));
            }
            line.armed = deadline;
            self.timers.extend(deadline.map(|at| (at, slot)));
        }
        self.lines[slot] = Some(line);
    }

    fn handle_event(&mut self, slot: usize, line: &mut QuicLine, event: Event) {
        let guest = line.guest;
        match event {
            Event::Connected => {
                line.stream = line.quinn.streams().open(Dir::Bi);
                self.events.push_back(QuicEvent::Open { guest });
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(line, id),
            Event::Stream(StreamEvent::Writable { .. }) => self.events.push_back(QuicEvent::Room { guest }),
            Event::ConnectionLost { reason } if !line.is_closed => {
                self.events.push_back(QuicEvent::Gone { guest, slot, why: reason.to_string() });
            }
            _ => {}
        }
    }

    fn read(&mut self, line: &mut QuicLine, id: StreamId) {
        let guest = line.guest;
        let mut stream = line.quinn.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.events.push_back(QuicEvent::Bytes { guest, bytes: chunk.bytes.to_vec() });
        }
        // What it would send goes out with this turn anyway.
        let _ = chunks.finalize();
    }

    fn enqueue(&mut self, slot: usize) {
        if let Some(line) = self.lines[slot].as_mut()
            && !std::mem::replace(&mut line.is_queued, true)
        {
            self.queue.push_back(slot);
        }
    }

    /// The buffer back, unless the datagram has to wait.
    fn send_datagram(&mut self, to: SocketAddr, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self.socket.send_to(&bytes, to) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = Some((to, bytes));
                None
            }
            // A peer that is gone: its connection's timers will notice.
            _ => Some(bytes),
        }
    }
}
