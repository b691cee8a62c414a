//! The endpoint of one worker: datagrams in, events out, and every connection driven in the same burst.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use grandstand_edge_core::gate::Pass;
use grandstand_protocol::close::CloseCode;
use grandstand_queue::prefetch;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, Incoming, ReadError, StreamEvent,
    StreamId, VarInt, WriteError,
};

use super::connection::{QuicConnection, Sending, split_frames};
use super::socket::{Datagram, Socket};
use super::timers::Timers;

/// Datagrams taken from the kernel per turn: a burst of one receive batch each, so that fan-out is not
/// starved.
const RECEIVE_BATCHES_PER_TURN: usize = 16;

/// Connections that were written to and have not sent yet, while others are being written to. Few, so that
/// their state is still in the cache when they send; more than one, so that an answer and a batch share a
/// packet.
const UNSENT_MAX: usize = 8;

/// A datagram below this held everything that was written: the largest thing that moves on whole to the next
/// datagram, a close with its reason apart, is a connection ID of 60 bytes, and none is smaller than 1,200
/// bytes when full.
const FULL_BYTES_MIN: usize = 1_000;

/// Somebody wants to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewConnection {
    /// Names it until it is begun or refused.
    pub(crate) number: u64,
    pub(crate) peer: IpAddr,
    /// It showed a token that was given to its address on an earlier connection.
    pub(crate) is_returning: bool,
}

/// What happened to a connection. `slot` names it until `Gone`.
#[derive(Debug)]
pub(crate) enum QuicEvent {
    /// The client opened the session's stream.
    Opened { slot: u32 },
    /// A whole frame.
    Frame { slot: u32, frame: Bytes },
    /// There is room to send again.
    Writable { slot: u32 },
    /// A fault of the peer.
    Fault { slot: u32, code: CloseCode, detail: &'static str },
    /// The handshake is done.
    Established,
    /// It is gone; its pass is to be given back. `was_established` tells whether `Established` had been said.
    Gone { slot: u32, pass: Pass, was_established: bool },
}

/// See the file's head.
pub(crate) struct Quic {
    endpoint: Endpoint,
    socket: Socket,
    connections: Vec<Option<Box<QuicConnection>>>,
    timers: Timers,
    /// Connections with something to send or to say.
    queue: VecDeque<usize>,
    events: VecDeque<QuicEvent>,
    /// Those who wait for their handshakes to begin, by the number of their knock.
    incoming: HashMap<u64, (Incoming, Pass), RandomState>,
    incoming_seen: u64,
    /// Slots whose time has come.
    due: Vec<usize>,
    /// The connection of the last datagram, not driven yet: more of its datagrams may follow.
    reading: Option<usize>,
    /// For each slot, the one that was written to after it.
    written_after: Vec<u32>,
    written_last: u32,
    /// The time of the worker's turn.
    now: Instant,
    buffer: Vec<u8>,
    /// Of one receive; empty between turns, and kept for its room.
    received: Vec<Datagram>,
    frame_bytes_max: usize,
    retry_above: usize,
    /// Handshakes that are not finished.
    pub(crate) pending: usize,
    /// Retry packets sent.
    pub(crate) retries: u64,
    /// Connections refused.
    pub(crate) refused: u64,
    /// Established connections.
    pub(crate) established: usize,
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quic").field("established", &self.established).finish_non_exhaustive()
    }
}

impl Quic {
    pub(crate) fn new(
        socket: Socket,
        config: quinn_proto::EndpointConfig,
        server: Arc<quinn_proto::ServerConfig>,
        frame_bytes_max: usize,
        retry_above: usize,
    ) -> Self {
        let config = Arc::new(config);
        let allow_mtud = !socket.may_fragment();
        let now = Instant::now();
        Quic {
            endpoint: Endpoint::new(config, Some(server), allow_mtud, None),
            socket,
            connections: Vec::new(),
            timers: Timers::new(now),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            incoming: HashMap::default(),
            incoming_seen: 0,
            due: Vec::new(),
            reading: None,
            written_after: Vec::new(),
            written_last: u32::MAX,
            now,
            buffer: Vec::with_capacity(2048),
            received: Vec::new(),
            frame_bytes_max,
            retry_above,
            pending: 0,
            retries: 0,
            refused: 0,
            established: 0,
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

    /// Take datagrams; those for which `claim` says no belong to another worker. `true` when more may be
    /// waiting.
    pub(crate) fn handle_readable(
        &mut self,
        now: Instant,
        mut claim: impl FnMut(Datagram) -> Option<Datagram>,
        mut admit: impl FnMut(NewConnection) -> Option<Pass>,
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

    /// Datagrams of one connection mostly come together: drive it when another one's turn has come.
    fn drive_reading(&mut self) {
        if let Some(slot) = self.reading.take() {
            self.drive_queued(slot);
        }
    }

    /// One datagram, from the own socket or passed on by another worker.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        d: Datagram,
        admit: &mut impl FnMut(NewConnection) -> Option<Pass>,
    ) {
        self.now = now;
        self.buffer.clear();
        match self.endpoint.handle(now, d.from, d.to, d.ecn, d.bytes, &mut self.buffer) {
            None => {}
            Some(DatagramEvent::Response(transmit)) => self.socket.send(transmit, &self.buffer),
            Some(DatagramEvent::NewConnection(incoming)) => self.handle_incoming(incoming, admit),
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if self.reading.is_some_and(|slot| slot != handle.0) {
                    self.drive_reading();
                }
                self.settle(handle.0);
                if let Some(connection) = self.connections.get_mut(handle.0).and_then(Option::as_mut) {
                    connection.quinn.handle_event(event);
                    self.reading = Some(handle.0);
                }
            }
        }
    }

    fn handle_incoming(&mut self, incoming: Incoming, admit: &mut impl FnMut(NewConnection) -> Option<Pass>) {
        self.buffer.clear();
        if self.pending >= self.retry_above && !incoming.remote_address_validated() && incoming.may_retry() {
            if let Ok(transmit) = self.endpoint.retry(incoming, &mut self.buffer) {
                self.retries += 1;
                self.socket.send(transmit, &self.buffer);
            }
            return;
        }
        self.incoming_seen += 1;
        let new = NewConnection {
            number: self.incoming_seen,
            peer: incoming.remote_address().ip(),
            // A Retry's token proves the address only.
            is_returning: incoming.remote_address_validated() && incoming.may_retry(),
        };
        let Some(pass) = admit(new) else { return self.turn_away(incoming) };
        self.pending += 1;
        self.incoming.insert(new.number, (incoming, pass));
    }

    /// Begin the handshake of one who knocked; `false` if there is none. It costs as much as a hundred
    /// packets.
    pub(crate) fn begin(&mut self, now: Instant, number: u64) -> bool {
        let Some((incoming, pass)) = self.incoming.remove(&number) else { return false };
        self.accept(now, incoming, pass);
        true
    }

    /// Send one who knocked away: its pass, to be given back.
    pub(crate) fn refuse(&mut self, number: u64) -> Option<Pass> {
        let (incoming, pass) = self.incoming.remove(&number)?;
        self.pending -= 1;
        self.turn_away(incoming);
        Some(pass)
    }

    /// CONNECTION_REFUSED in an Initial: no state, and none of TLS' cryptography.
    fn turn_away(&mut self, incoming: Incoming) {
        self.buffer.clear();
        self.refused += 1;
        let transmit = self.endpoint.refuse(incoming, &mut self.buffer);
        self.socket.send(transmit, &self.buffer);
    }

    fn accept(&mut self, now: Instant, incoming: Incoming, pass: Pass) {
        self.buffer.clear();
        match self.endpoint.accept(incoming, now, &mut self.buffer, None) {
            Ok((handle, quinn)) => self.insert(now, handle, quinn, pass),
            Err(error) => {
                self.pending -= 1;
                self.events.push_back(QuicEvent::Gone { slot: u32::MAX, pass, was_established: false });
                if let Some(transmit) = error.response {
                    self.socket.send(transmit, &self.buffer);
                }
            }
        }
    }

    fn insert(&mut self, now: Instant, handle: ConnectionHandle, quinn: Connection, pass: Pass) {
        if self.connections.len() <= handle.0 {
            self.connections.resize_with(handle.0 + 1, || None);
            self.written_after.resize(handle.0 + 1, u32::MAX);
        }
        self.connections[handle.0] = Some(Box::new(QuicConnection {
            quinn,
            stream: None,
            pass,
            since: now,
            is_established: false,
            is_closed: false,
            queued: None,
            is_unsettled: false,
            partial: BytesMut::new(),
        }));
        self.enqueue(handle.0, Sending::All);
    }

    fn enqueue(&mut self, slot: usize, sending: Sending) {
        let Some(connection) = self.connections[slot].as_mut() else { return };
        if connection.queued.is_none() {
            self.queue.push_back(slot);
        }
        connection.queued = connection.queued.max(Some(sending));
    }

    /// The next event, if any.
    pub(crate) fn poll_event(&mut self) -> Option<QuicEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ring the timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let mut due = std::mem::take(&mut self.due);
        self.timers.ring(now, |slot| due.push(slot));
        for slot in due.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) {
                connection.quinn.handle_timeout(now);
                self.drive_queued(slot);
            }
        }
        self.due = due;
    }

    /// Ask a connection that has sent what was written whether there is more.
    ///
    /// Why not at once: mostly there is not, and the question costs a fifth of a frame. Why at all: by an
    /// answer of nothing quinn knows that the window was not used up, which it must know before it counts an
    /// acknowledgement.
    fn settle(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut)
            && std::mem::take(&mut connection.is_unsettled)
            && !self.socket.is_blocked()
        {
            self.buffer.clear();
            if let Some(transmit) = connection.quinn.poll_transmit(self.now, 1, &mut self.buffer) {
                self.socket.send(transmit, &self.buffer);
            }
        }
    }

    /// Drive every connection that has something to do: its events, its packets, its timer. Stops while the
    /// socket is full.
    pub(crate) fn drive(&mut self, now: Instant) {
        self.now = now;
        self.drive_reading();
        self.drive_down_to(0);
    }

    /// Drive the connections that wait longest, until so many are left or the socket is full.
    fn drive_down_to(&mut self, left: usize) {
        while self.queue.len() > left
            && !self.socket.is_blocked()
            && let Some(slot) = self.queue.pop_front()
        {
            // Otherwise it has been driven since.
            if let Some(sending) = self.connections[slot].as_ref().and_then(|connection| connection.queued) {
                self.drive_one(slot, sending);
            }
        }
    }

    /// Drive one connection, now if the socket has room.
    fn drive_queued(&mut self, slot: usize) {
        if self.socket.is_blocked() {
            self.enqueue(slot, Sending::All);
        } else {
            self.drive_one(slot, Sending::All);
        }
    }

    fn drive_one(&mut self, slot: usize, sending: Sending) {
        let handle = ConnectionHandle(slot);
        if let Some(connection) = self.connections[slot].as_mut() {
            connection.queued = None;
        }
        loop {
            let Some(connection) = self.connections[slot].as_mut() else { return };
            while let Some(event) = connection.quinn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.quinn.handle_event(event);
                }
            }
            match connection.quinn.poll() {
                Some(event) => self.handle_quinn_event(slot, &event),
                None => break,
            }
        }
        let Some(connection) = self.connections[slot].as_mut() else { return };
        while !self.socket.is_blocked() {
            self.buffer.clear();
            let transmit = connection.quinn.poll_transmit(self.now, 1, &mut self.buffer);
            connection.is_unsettled = transmit.is_some();
            let Some(transmit) = transmit else { break };
            let is_last = sending == Sending::Written && transmit.size < FULL_BYTES_MIN;
            self.socket.send(transmit, &self.buffer);
            if is_last {
                break;
            }
        }
        self.timers.arm(slot, connection.quinn.poll_timeout());
        if connection.quinn.is_drained() {
            self.forget(slot);
        } else if self.socket.is_blocked() {
            self.enqueue(slot, Sending::All);
        }
    }

    fn forget(&mut self, slot: usize) {
        let Some(mut connection) = self.connections[slot].take() else { return };
        self.timers.arm(slot, None);
        while let Some(event) = connection.quinn.poll_endpoint_events() {
            self.endpoint.handle_event(ConnectionHandle(slot), event);
        }
        self.lose(&mut connection, slot);
    }

    /// Say once that a connection is gone.
    fn lose(&mut self, connection: &mut QuicConnection, slot: usize) {
        if std::mem::replace(&mut connection.is_closed, true) {
            return;
        }
        if connection.is_established {
            self.established -= 1;
        } else {
            self.pending -= 1;
        }
        let (pass, was_established) = (connection.pass, connection.is_established);
        self.events.push_back(QuicEvent::Gone { slot: slot as u32, pass, was_established });
    }

    fn handle_quinn_event(&mut self, slot: usize, event: &Event) {
        match event {
            Event::Connected => {
                let connection = self.connections[slot].as_mut().expect("an event has a connection");
                if !connection.is_closed && !std::mem::replace(&mut connection.is_established, true) {
                    self.pending -= 1;
                    self.established += 1;
                    self.events.push_back(QuicEvent::Established);
                }
            }
            Event::ConnectionLost { .. } => {
                let mut connection = self.connections[slot].take().expect("an event has a connection");
                self.lose(&mut connection, slot);
                self.connections[slot] = Some(connection);
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => self.handle_opened(slot),
            Event::Stream(StreamEvent::Readable { id }) => self.read(slot, *id),
            Event::Stream(StreamEvent::Writable { .. }) => {
                self.events.push_back(QuicEvent::Writable { slot: slot as u32 });
            }
            Event::Stream(StreamEvent::Stopped { .. }) => {
                let (slot, code) = (slot as u32, CloseCode::Normal);
                self.events.push_back(QuicEvent::Fault { slot, code, detail: "the client stopped reading" });
            }
            _ => {}
        }
    }

    fn handle_opened(&mut self, slot: usize) {
        let connection = self.connections[slot].as_mut().expect("an event has a connection");
        let Some(id) = connection.quinn.streams().accept(Dir::Bi) else { return };
        connection.stream = Some(id);
        self.events.push_back(QuicEvent::Opened { slot: slot as u32 });
        self.read(slot, id);
    }

    fn read(&mut self, slot: usize, id: StreamId) {
        let connection = self.connections[slot].as_mut().expect("an event has a connection");
        if connection.is_closed || connection.stream != Some(id) {
            return;
        }
        let slot = slot as u32;
        let mut stream = connection.quinn.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let fault = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    let take = |frame| self.events.push_back(QuicEvent::Frame { slot, frame });
                    let split =
                        split_frames(&mut connection.partial, chunk.bytes, self.frame_bytes_max, take);
                    if let Err(fault) = split {
                        break Some(fault);
                    }
                }
                // A finished or reset sending side ends the session.
                Ok(None) | Err(ReadError::Reset(_)) => {
                    break Some((CloseCode::Normal, "the client ended its stream"));
                }
                Err(ReadError::Blocked) => break None,
            }
        };
        // What it asks to be sent goes out with this drive, which reads before it sends.
        let _ = chunks.finalize();
        if let Some((code, detail)) = fault {
            self.events.push_back(QuicEvent::Fault { slot, code, detail });
        }
    }

    /// Offer frames to a connection's stream: how many bytes it took.
    pub(crate) fn send(&mut self, slot: u32, frames: &[&Bytes]) -> usize {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_mut) else {
            return 0;
        };
        let Some(id) = connection.stream.filter(|_| !connection.is_closed) else { return 0 };
        let mut stream = connection.quinn.send_stream(id);
        let mut taken = 0;
        'frames: for frame in frames {
            let mut rest = [Bytes::clone(frame)];
            // Until it says that it is blocked: quinn tells of room only to a stream that met its bound.
            while !rest[0].is_empty() {
                match stream.write_chunks(&mut rest) {
                    // What it took is gone from `rest`.
                    Ok(written) => taken += written.bytes,
                    Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => {
                        break 'frames;
                    }
                }
            }
        }
        if taken > 0 {
            self.enqueue(slot as usize, Sending::Written);
            self.prefetch_after(slot);
            self.drive_down_to(UNSENT_MAX);
        }
        taken
    }

    /// Fan-out writes to connections in much the same order each time: ask for the state of the one that came
    /// after this one the last time.
    fn prefetch_after(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.written_last, slot);
        if let Some(after) = self.written_after.get_mut(before as usize) {
            *after = slot;
        }
        let next =
            self.written_after.get(slot as usize).and_then(|&next| self.connections.get(next as usize));
        if let Some(Some(next)) = next {
            prefetch(&**next);
        }
    }

    /// Close a connection: the code and detail reach the peer in QUIC's own close frame, behind what was
    /// written before.
    pub(crate) fn close(&mut self, now: Instant, slot: u32, code: CloseCode, detail: &str) {
        self.now = now;
        let is_unsent = |c: &QuicConnection| c.queued.is_some();
        if self.connections.get(slot as usize).is_some_and(|c| c.as_deref().is_some_and(is_unsent)) {
            // A closed connection sends nothing but its close: what is written goes out first.
            self.drive_queued(slot as usize);
        }
        if let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_mut) {
            let reason = Bytes::copy_from_slice(detail.as_bytes());
            connection.quinn.close(now, VarInt::from_u32(code.wire().into()), reason);
            self.enqueue(slot as usize, Sending::All);
        }
        let Some(mut connection) = self.connections.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.lose(&mut connection, slot as usize);
        self.connections[slot as usize] = Some(connection);
    }

    /// Close connections that have not opened the session's stream within `timeout`.
    pub(crate) fn close_unopened(&mut self, now: Instant, timeout: Duration) {
        let is_late = |c: &QuicConnection| c.stream.is_none() && !c.is_closed && now - c.since > timeout;
        let late: Vec<usize> = (0..self.connections.len())
            .filter(|&slot| self.connections[slot].as_deref().is_some_and(is_late))
            .collect();
        for slot in late {
            self.close(now, slot as u32, CloseCode::HandshakeTimeout, CloseCode::HandshakeTimeout.text());
        }
    }
}
