//! QUIC without tasks: quinn's sans-IO core, driven by the worker like any other socket.
//!
//! Why not quinn's own driver: it wakes a task, takes a lock and arms a timer per connection and frame; a
//! loop over the same protocol core does the fan-out for six tenths of the CPU, and in two thirds of the
//! memory.
//! Each worker has a UDP socket of its own on the shared port. The kernel spreads peers over the sockets by
//! address; a peer that migrates may so reach another worker's socket, and its datagrams are passed on by the
//! worker's number that stands in every connection ID that we issue. So are those of a process that hands
//! over to this one (`forward`). One visit to a connection does all that it needs, since its state has left
//! the cache by the next; see docs/ARCHITECTURE.md, which says what driving it ourselves costs.
//! Invariants: one datagram per send (no segmentation offload: it joins packets of one connection only and
//! costs 12 KB for each); one bidirectional stream per connection, opened by the client; only QUIC version 1
//! is spoken.
//! Not here: what frames mean (`audience`), who may connect (`gate`).

mod connection;
mod connection_id;
mod endpoint;
mod forward;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod timers;
mod tls;
mod tokens;

pub use connection_id::WORKERS_MAX;
pub(crate) use connection_id::{Route, route};
pub(crate) use endpoint::{NewConnection, Quic, QuicEvent};
pub use forward::pair;
pub(crate) use forward::{Forwarded, Forwarder, Inflow};
pub(crate) use settings::{endpoint_config, server_config};
pub(crate) use socket::{Datagram, Socket};
