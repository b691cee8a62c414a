//! New QUIC connections: those that wait for their handshakes to begin, and those that must first prove their
//! address (Retry) or are refused.
//!
//! Why they wait: a handshake costs as much as a hundred packets, so the worker begins one only when its turn
//! allows it. Until then a connection costs its first packet and no cryptography.
//! Invariants: a waiting connection holds a permit of the limiter, so the limiter bounds their number. They
//! are found by a number of ours, which no stranger chooses; the table is ordered and has no hash.
//! Not here: who may wait, and which handshake is next (the worker and its handshake queue).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use grandstand_edge_core::admission::limits::Permit;
use quinn_proto::{Connection, ConnectionHandle, Endpoint, Incoming};

use super::socket::Socket;

/// A client that wants to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewConnection {
    /// Its number until it is begun or refused.
    pub(crate) number: u64,
    pub(crate) peer: IpAddr,
    /// It showed a token that its address got on an earlier connection.
    pub(crate) is_returning: bool,
}

/// The new connections of one endpoint.
pub(super) struct NewConnections {
    waiting: BTreeMap<u64, (Incoming, Permit)>,
    /// The number of the newest connection.
    newest: u64,
    /// With this many unfinished handshakes, a new client must prove its address first.
    retry_above: usize,
}

/// The outcome for a client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Waits,
    Retried,
    Refused,
}

impl NewConnections {
    pub(super) fn new(retry_above: usize) -> Self {
        NewConnections { waiting: BTreeMap::new(), newest: 0, retry_above }
    }

    /// Handle a client's first packet, while `pending` handshakes are unfinished. `admit` decides whether the
    /// client may wait.
    pub(super) fn handle(
        &mut self,
        incoming: Incoming,
        pending: usize,
        answers: Answers<'_>,
        admit: &mut impl FnMut(NewConnection) -> Option<Permit>,
    ) -> Outcome {
        let (is_proven, may_retry) = (incoming.remote_address_validated(), incoming.may_retry());
        if pending >= self.retry_above && !is_proven && may_retry {
            return answers.retry(incoming);
        }
        self.newest += 1;
        let new = NewConnection {
            number: self.newest,
            peer: incoming.remote_address().ip(),
            // A Retry's token proves the address only.
            is_returning: is_proven && may_retry,
        };
        let Some(permit) = admit(new) else { return answers.refuse(incoming) };
        self.waiting.insert(new.number, (incoming, permit));
        Outcome::Waits
    }

    /// The permit of the connection with this number, if it still waits.
    pub(super) fn permit(&self, number: u64) -> Option<Permit> {
        self.waiting.get(&number).map(|(_, permit)| *permit)
    }

    /// The connection with this number, if it still waits.
    pub(super) fn take(&mut self, number: u64) -> Option<(Incoming, Permit)> {
        self.waiting.remove(&number)
    }
}

/// Sends the answers to a first packet that needs no connection.
pub(super) struct Answers<'a> {
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) socket: &'a mut Socket,
    pub(super) buffer: &'a mut Vec<u8>,
}

impl Answers<'_> {
    /// Send CONNECTION_REFUSED in an Initial, which needs no state and none of TLS' cryptography.
    pub(super) fn refuse(self, incoming: Incoming) -> Outcome {
        self.buffer.clear();
        let transmit = self.endpoint.refuse(incoming, self.buffer);
        self.socket.send(transmit, self.buffer);
        Outcome::Refused
    }

    /// Begin a handshake. If it fails at once, as for an unknown ALPN, its answer is sent.
    pub(super) fn accept(self, now: Instant, incoming: Incoming) -> Option<(ConnectionHandle, Connection)> {
        self.buffer.clear();
        match self.endpoint.accept(incoming, now, self.buffer, None) {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.socket.send(transmit, self.buffer);
                }
                None
            }
        }
    }

    fn retry(self, incoming: Incoming) -> Outcome {
        self.buffer.clear();
        // It cannot fail here, since this client may be sent a Retry.
        if let Ok(transmit) = self.endpoint.retry(incoming, self.buffer) {
            self.socket.send(transmit, self.buffer);
        }
        Outcome::Retried
    }
}
