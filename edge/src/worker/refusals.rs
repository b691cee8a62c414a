//! Refusals: each connection that is refused or closed, with its reason and its client's address in the log.
//!
//! Why one place: an operator who looks for a client that cannot get in needs the reason beside the address,
//! whatever refused it. The log bounds how often the lines repeat.
//! Invariant: the address is the client's where a trusted proxy told it, else the peer's.
//! Not here: what the client is told (`accept`, `begin`, `upgrade`, `close`).

use std::net::IpAddr;

use grandstand_edge_core::admission::limits::Address;
use grandstand_protocol::close::{CloseCode, Retry};

use crate::stats::{Label, Stats, Transport, TurnedAway};

/// A connection from this address is refused before its handshake.
pub(super) fn refused(stats: &Stats, client: IpAddr, transport: Transport, why: TurnedAway) {
    stats.turned_away.of(why).inc();
    let (transport, reason) = (Transport::word(transport.index()), TurnedAway::word(why.index()));
    tracing::info!(%client, %transport, %reason, "a connection was refused");
}

/// The node closes a client's connection. An operator is told of what the client did wrong.
pub(super) fn closed(client: Address, transport: Transport, code: CloseCode) {
    let (transport, name) = (Transport::word(transport.index()), CloseCode::word(code.index()));
    if code.retry() != Retry::Backoff || code == CloseCode::Flooding {
        tracing::info!(%client, %transport, code = %name, "a connection was closed");
    } else {
        tracing::debug!(%client, %transport, code = %name, "a connection was closed");
    }
}

/// A request from this address is refused. What is no WebSocket at all is of little interest.
pub(super) fn request_refused(client: IpAddr, status: u16, reason: &str) {
    if matches!(status, 403 | 429 | 503) {
        tracing::info!(%client, status, reason, "an upgrade was refused");
    } else {
        tracing::debug!(%client, status, reason, "a request was refused");
    }
}
