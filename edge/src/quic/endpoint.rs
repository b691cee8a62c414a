//! The QUIC endpoint of one worker: takes datagrams, sends frames, and reports events to the worker.
//!
//! Invariants: a slot names one connection from `Opened` until `Gone`. A connection that is written to is
//! visited in the same turn, if the socket has room.
//! Not here: connections that wait for a handshake (`incoming`), visits to connections (`drive`), the worker
//! of a datagram (`connection_id`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_edge_core::admission::limits::{Address, Permit};
use grandstand_protocol::close::CloseCode;
use quinn_proto::{DatagramEvent, Endpoint, VarInt, WriteError};

use super::connection::{Connections, QuicConnection, Sending};
use super::incoming::{Answers, NewConnection, NewConnections, Outcome};
use super::socket::{Datagram, Socket};
use super::timers::Timers;
use super::write_order::WriteOrder;

/// Receive batches taken from the kernel per turn, few enough that fan-out is not starved.
const RECEIVE_BATCHES_PER_TURN: usize = 16;

/// Connections that were written to and have not sent yet. They are few, so that their state is still in the
/// cache when they send. There are more than one, so that an answer and a batch share a packet.
const UNSENT_MAX: usize = 8;

/// An event of a connection. `slot` names the connection until `Gone`.
#[derive(Debug)]
pub(crate) enum QuicEvent {
    /// The client opened the session's stream.
    Opened { slot: u32 },
    /// A whole frame.
    Frame { slot: u32, frame: Bytes },
    /// The connection can send again.
    Writable { slot: u32 },
    /// The peer broke a rule.
    Fault { slot: u32, code: CloseCode, detail: &'static str },
    /// The handshake is done.
    Established { slot: u32, is_resumed: bool },
    /// The connection is gone. Its permit must be given back. `was_established` says whether `Established`
    /// came before.
    Gone { slot: u32, permit: Permit, was_established: bool },
}

/// The counters of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndpointCounts {
    /// Handshakes that are not finished, and connections that wait for theirs to begin.
    pub(crate) pending: usize,
    /// Established connections.
    pub(crate) established: usize,
    /// Retry packets sent.
    pub(crate) retries: u64,
    /// Datagrams that were not sent to an address that has proven nothing.
    pub(crate) withheld: u64,
    /// Datagrams of new addresses beyond what a connection may have.
    pub(crate) strayed: u64,
}

/// The QUIC endpoint of one worker.
pub(crate) struct Quic {
    pub(super) endpoint: Endpoint,
    pub(super) socket: Socket,
    pub(super) connections: Connections,
    incoming: NewConnections,
    pub(super) timers: Timers,
    /// Connections with something to send or to report, in the order of their visits.
    pub(super) queue: VecDeque<usize>,
    pub(super) events: VecDeque<QuicEvent>,
    /// Slots whose timers are due.
    pub(super) due: Vec<usize>,
    /// The connection of the last datagram, which is not visited yet, since more of its datagrams may follow.
    pub(super) reading: Option<usize>,
    pub(super) write_order: WriteOrder,
    /// The time of the worker's turn.
    pub(super) now: Instant,
    pub(super) buffer: Vec<u8>,
    /// Datagrams of one receive; empty between turns, and kept for its capacity.
    received: Vec<Datagram>,
    pub(super) frame_bytes_max: usize,
    pub(crate) counts: EndpointCounts,
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quic").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Quic {
    pub(crate) fn new(
        now: Instant,
        socket: Socket,
        config: quinn_proto::EndpointConfig,
        server: Arc<quinn_proto::ServerConfig>,
        frame_bytes_max: usize,
        retry_above: usize,
    ) -> Self {
        let allow_mtud = !socket.may_fragment();
        Quic {
            endpoint: Endpoint::new(Arc::new(config), Some(server), allow_mtud, None),
            socket,
            connections: Connections::default(),
            incoming: NewConnections::new(retry_above),
            timers: Timers::new(now),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            due: Vec::new(),
            reading: None,
            write_order: WriteOrder::default(),
            now,
            buffer: Vec::with_capacity(2048),
            received: Vec::new(),
            frame_bytes_max,
            counts: EndpointCounts::default(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket has room again.
    pub(crate) fn handle_writable(&mut self, now: Instant) {
        self.socket.handle_writable();
        self.drive(now);
    }

    /// Take datagrams. `claim` forwards those of other workers, `admit` decides on new connections. Returns
    /// `true` when more may be waiting.
    pub(crate) fn handle_readable(
        &mut self,
        now: Instant,
        mut claim: impl FnMut(Datagram) -> Option<Datagram>,
        mut admit: impl FnMut(NewConnection) -> Option<Permit>,
    ) -> bool {
        let mut datagrams = std::mem::take(&mut self.received);
        let mut has_more = true;
        for _ in 0..RECEIVE_BATCHES_PER_TURN {
            let is_empty = match self.socket.receive(|datagram| datagrams.push(datagram)) {
                Ok(received) => !received,
                Err(error) => {
                    tracing::warn!(%error, "receiving datagrams failed");
                    true
                }
            };
            if is_empty {
                has_more = false;
                break;
            }
            for datagram in datagrams.drain(..) {
                if let Some(datagram) = claim(datagram) {
                    self.handle_datagram(now, datagram, &mut admit);
                }
            }
            self.drive_reading();
        }
        self.received = datagrams;
        has_more
    }

    /// Take one datagram, from this worker's socket or forwarded by another worker.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        d: Datagram,
        admit: &mut impl FnMut(NewConnection) -> Option<Permit>,
    ) {
        self.now = now;
        self.buffer.clear();
        let (from, bytes) = (d.from, d.bytes.len());
        match self.endpoint.handle(now, d.from, d.to, d.ecn, d.bytes, &mut self.buffer) {
            None => {}
            Some(DatagramEvent::Response(transmit)) => self.socket.send(transmit, &self.buffer),
            Some(DatagramEvent::NewConnection(incoming)) => {
                let answers = Answers {
                    endpoint: &mut self.endpoint,
                    socket: &mut self.socket,
                    buffer: &mut self.buffer,
                };
                match self.incoming.handle(incoming, self.counts.pending, answers, admit) {
                    Outcome::Waits => self.counts.pending += 1,
                    Outcome::Retried => self.counts.retries += 1,
                    Outcome::Refused => {}
                }
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if self.reading.is_some_and(|slot| slot != handle.0) {
                    self.drive_reading();
                }
                self.settle(handle.0);
                if let Some(connection) = self.connections.get_mut(handle.0) {
                    if connection.receive(now, from, bytes, event) {
                        self.reading = Some(handle.0);
                    } else {
                        self.counts.strayed += 1;
                    }
                }
            }
        }
    }

    /// The permit of a connection that waits for its handshake to begin.
    pub(crate) fn permit_of_waiting(&self, number: u64) -> Option<Permit> {
        self.incoming.permit(number)
    }

    /// Begin the handshake of a waiting connection. Returns its slot, unless none has this number or its
    /// handshake has failed at once.
    pub(crate) fn begin(&mut self, now: Instant, number: u64) -> Option<u32> {
        let (incoming, permit) = self.incoming.take(number)?;
        let is_proven = incoming.remote_address_validated();
        match self.answers().accept(now, incoming) {
            Some((handle, quinn)) => {
                self.connections.insert(handle, QuicConnection::new(now, quinn, permit, is_proven));
                self.write_order.insert(handle.0);
                self.enqueue(handle.0, Sending::All);
                Some(handle.0 as u32)
            }
            None => {
                self.counts.pending -= 1;
                self.events.push_back(QuicEvent::Gone { slot: u32::MAX, permit, was_established: false });
                None
            }
        }
    }

    /// Refuse a waiting connection. Returns its permit, which must be given back.
    pub(crate) fn refuse(&mut self, number: u64) -> Option<Permit> {
        let (incoming, permit) = self.incoming.take(number)?;
        self.counts.pending -= 1;
        self.answers().refuse(incoming);
        Some(permit)
    }

    fn answers(&mut self) -> Answers<'_> {
        Answers { endpoint: &mut self.endpoint, socket: &mut self.socket, buffer: &mut self.buffer }
    }

    /// The next event, if any.
    pub(crate) fn poll_event(&mut self) -> Option<QuicEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What the shares of its address count a connection by.
    pub(crate) fn counted(&self, slot: u32) -> Option<Address> {
        self.connections.get(slot as usize).and_then(|connection| connection.permit.counted())
    }

    /// The address under which a connection was let in.
    pub(crate) fn address(&self, slot: u32) -> Option<Address> {
        self.connections.get(slot as usize).map(|connection| connection.permit.address())
    }

    /// Offer frames to a connection's session. Returns the number of bytes taken.
    pub(crate) fn send(&mut self, slot: u32, frames: &[&Bytes]) -> usize {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return 0 };
        let Some(id) = connection.streams.session().filter(|_| !connection.is_closed) else { return 0 };
        let mut stream = connection.quinn.send_stream(id);
        let mut taken = 0;
        'frames: for frame in frames {
            let mut rest = [Bytes::clone(frame)];
            // Write until the stream says that it is blocked: quinn reports new room only to a stream that
            // was blocked.
            while !rest[0].is_empty() {
                match stream.write_chunks(&mut rest) {
                    // The bytes that it took are removed from `rest`.
                    Ok(written) => taken += written.bytes,
                    Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => {
                        break 'frames;
                    }
                }
            }
        }
        if taken > 0 {
            self.enqueue(slot as usize, Sending::Written);
            self.write_order.handle_write(slot, &self.connections);
            self.drive_down_to(UNSENT_MAX);
        }
        taken
    }

    /// Close a connection. The peer gets the code and the detail in QUIC's own close frame, after everything
    /// that was written before.
    pub(crate) fn close(&mut self, now: Instant, slot: u32, code: CloseCode, detail: &str) {
        self.now = now;
        let slot = slot as usize;
        if self.connections.get(slot).is_some_and(|connection| connection.queued.is_some()) {
            // A closed connection sends nothing but its close, so written bytes are sent first.
            self.drive_queued(slot);
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let reason = Bytes::copy_from_slice(detail.as_bytes());
        connection.quinn.close(now, VarInt::from_u32(code.wire().into()), reason);
        self.report_gone(slot);
        self.enqueue(slot, Sending::All);
    }

    /// Close connections that have not opened the session's stream within `timeout`.
    pub(crate) fn close_unopened(&mut self, now: Instant, timeout: Duration) {
        let is_late =
            |c: &QuicConnection| c.streams.session().is_none() && !c.is_closed && now - c.since > timeout;
        let late: Vec<usize> =
            self.connections.iter().filter(|(_, c)| is_late(c)).map(|(slot, _)| slot).collect();
        for slot in late {
            self.close(now, slot as u32, CloseCode::HandshakeTimeout, CloseCode::HandshakeTimeout.text());
        }
    }
}
