//! Connections of one QUIC endpoint, by the slot that quinn gives each.
//!
//! Why boxed: the state of a connection is several kilobytes, and growth of a table must not move it.
//! Not here: visiting connections (`drive`), their streams (`streams`).

use std::time::Instant;

use grandstand_edge_core::admission::limits::Permit;
use quinn_proto::{Connection, ConnectionHandle};

use super::protocol::Protocol;
use super::streams::Streams;

/// The amount that a connection may have to send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sending {
    /// The bytes that were written to its stream.
    Written,
    /// Anything.
    All,
}

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
}

impl QuicConnection {
    pub(super) fn new(now: Instant, quinn: Connection, permit: Permit) -> Self {
        QuicConnection {
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

    /// The protocol that TLS negotiated.
    pub(super) fn agreed_protocol(&self) -> Option<Protocol> {
        self.quinn.crypto_session().handshake_data()?.downcast::<Protocol>().ok().map(|protocol| *protocol)
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
