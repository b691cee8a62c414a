//! Connections of one QUIC endpoint, by the slot that quinn gives each.
//!
//! Why boxed: the state of a connection is several kilobytes, and growth of a table must not move it.
//! Invariant: every datagram of a connection comes and goes here, so that what an address without proof gets
//! is counted (`paths`).
//! Not here: visiting connections (`drive`), their streams (`streams`).

use std::net::SocketAddr;
use std::time::Instant;

use grandstand_edge_core::admission::limits::Permit;
use quinn_proto::{Connection, ConnectionEvent, ConnectionHandle, Transmit};

use super::padding;
use super::paths::Paths;
use super::protocol::Protocol;
use super::streams::Streams;
use super::tls::Agreed;

/// The amount that a connection may have to send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sending {
    /// The bytes that were written to its stream.
    Written,
    /// Anything.
    All,
}

/// Bytes of a datagram with a client's first packet, at least (RFC 9000, 14.1).
const INITIAL_BYTES_MIN: u64 = 1_200;

/// One connection.
pub(super) struct QuicConnection {
    pub(super) quinn: Connection,
    /// Set when it is established.
    pub(super) protocol: Option<Protocol>,
    pub(super) streams: Streams,
    pub(super) permit: Permit,
    /// When it was accepted.
    pub(super) since: Instant,
    pub(super) is_established: bool,
    pub(super) is_closed: bool,
    /// Set while it is in the list of connections to drive: the amount that it may have to send.
    pub(super) queued: Option<Sending>,
    /// Quinn has not been asked for more since the connection last sent: see `Quic::settle`.
    pub(super) is_unsettled: bool,
    /// Set during the handshake, and from the first datagram of another address on.
    paths: Option<Box<Paths>>,
}

impl QuicConnection {
    /// A connection whose handshake begins. `is_proven`: its address was validated by a token.
    pub(super) fn new(now: Instant, quinn: Connection, permit: Permit, is_proven: bool) -> Self {
        let paths = (!is_proven).then(|| {
            // What came while it waited for its handshake included.
            let received = INITIAL_BYTES_MIN + quinn.stats().udp_rx.bytes;
            Box::new(Paths::handshake(quinn.remote_address(), received, now))
        });
        QuicConnection {
            paths,
            quinn,
            protocol: None,
            streams: Streams::default(),
            permit,
            since: now,
            is_established: false,
            is_closed: false,
            queued: None,
            is_unsettled: false,
        }
    }

    /// The handshake is done, which proves the address.
    pub(super) fn handle_proven(&mut self) {
        self.paths = None;
    }

    /// Take a datagram of this many bytes. Returns whether it was taken: too many new addresses are refused.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: usize,
        event: ConnectionEvent,
    ) -> bool {
        if self.paths.is_none() && from == self.quinn.remote_address() {
            self.quinn.handle_event(event);
            return true;
        }
        let before = self.quinn.remote_address();
        let paths = self.paths.as_deref_mut();
        let is_known = paths.is_some_and(|paths| paths.handle_received(from, bytes).is_some());
        if !is_known && self.paths.as_mut().is_some_and(|paths| !paths.may_open(now)) {
            return false;
        }
        let challenges = |quinn: &Connection| quinn.stats().frame_rx.path_challenge;
        let before_challenges = if is_known { 0 } else { challenges(&self.quinn) };
        self.quinn.handle_event(event);
        // A packet that did not open under the connection's key changed neither.
        if !is_known && (self.quinn.remote_address() == from || challenges(&self.quinn) > before_challenges) {
            let paths = self.paths.get_or_insert_with(|| Box::new(Paths::proven(before, now)));
            paths.open(from, bytes, now);
        }
        true
    }

    /// The next datagram, if there is one. `withheld` counts those that are not sent, since their addresses
    /// have proven nothing.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        withheld: &mut u64,
    ) -> Option<Transmit> {
        buffer.clear();
        let Some(paths) = &mut self.paths else { return self.quinn.poll_transmit(now, 1, buffer) };
        loop {
            buffer.clear();
            let is_unproven = paths.is_unproven(self.quinn.remote_address());
            let before = is_unproven.then(|| self.quinn.stats());
            let limit = paths.least_left();
            let (transmit, shortened) =
                padding::without_beyond(limit, || self.quinn.poll_transmit(now, 1, buffer));
            let mut transmit = transmit?;
            transmit.size = shortened.unwrap_or(transmit.size);
            // Until it has the answer, quinn sends a challenge with every datagram to an address, except
            // probes of the MTU and a close.
            if let Some(before) = before.filter(|_| self.is_established && !self.quinn.is_closed()) {
                let after = self.quinn.stats();
                let is_quiet = after.frame_tx.path_challenge == before.frame_tx.path_challenge
                    && after.path.sent_plpmtud_probes == before.path.sent_plpmtud_probes;
                if is_quiet && transmit.destination == self.quinn.remote_address() {
                    paths.prove(transmit.destination);
                }
            }
            if paths.try_send(transmit.destination, transmit.size) {
                return Some(transmit);
            }
            *withheld += 1;
        }
    }

    /// What TLS negotiated.
    pub(super) fn agreed(&self) -> Option<Agreed> {
        self.quinn.crypto_session().handshake_data()?.downcast::<Agreed>().ok().map(|agreed| *agreed)
    }
}

/// The connections of one endpoint.
#[derive(Default)]
pub(super) struct Connections(Vec<Option<Box<QuicConnection>>>);

impl Connections {
    pub(super) fn insert(&mut self, handle: ConnectionHandle, connection: QuicConnection) {
        if self.0.len() <= handle.0 {
            self.0.resize_with(handle.0 + 1, || None);
        }
        self.0[handle.0] = Some(Box::new(connection));
    }

    pub(super) fn get(&self, slot: usize) -> Option<&QuicConnection> {
        self.0.get(slot)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut QuicConnection> {
        self.0.get_mut(slot)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Box<QuicConnection>> {
        self.0.get_mut(slot)?.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &QuicConnection)> {
        self.0.iter().enumerate().filter_map(|(slot, connection)| Some((slot, connection.as_deref()?)))
    }
}
