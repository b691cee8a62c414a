//! QUIC without tasks: quinn's sans-IO core, driven by the worker like any other socket.
//!
//! Why not quinn's own driver: it wakes a task, takes a lock and arms a timer for each connection and frame.
//! A loop over the same protocol core does the fan-out with six tenths of the CPU and two thirds of the
//! memory.
//! Each worker has a UDP socket of its own on the shared port, and the kernel spreads peers over the sockets
//! by address. So a peer that changes its address may reach another worker's socket. Every connection ID that
//! we issue has its worker's number and its process's generation (`connection_id`), by which datagrams are
//! forwarded to that worker, or to a process that handed over to this one (`forward`).
//! - `endpoint`: datagrams in, frames out; `incoming`: new connections; `drive`: visits to established ones;
//! - `protocol`: the protocols, by ALPN; `streams`, `connection`: the state of each;
//! - `paths`, `padding`: what an address without proof may get;
//! - `tls`, `settings`, `tokens`: the beginning of connections; `timers`, `socket`: what wakes them.
//!
//! Invariants: one datagram per send, since segmentation offload joins packets of one connection only and
//! costs 12 KB for each; only QUIC version 1 is spoken.
//! Not here: what frames mean (`audience`), who may connect (`admission::limits`), when a handshake begins
//! (`worker`).

mod connection;
mod connection_id;
mod drive;
mod endpoint;
mod forward;
mod incoming;
mod padding;
mod paths;
mod protocol;
mod settings;
mod socket;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod tls;
mod tokens;
mod varint;
mod write_order;

pub use connection_id::WORKERS_MAX;
pub(crate) use connection_id::{Route, route};
pub(crate) use endpoint::{Quic, QuicEvent};
pub use forward::pair;
pub(crate) use forward::{Forwarded, Forwarder, Inflow};
pub(crate) use incoming::NewConnection;
pub(crate) use settings::{endpoint_config, server_config};
pub(crate) use socket::{Datagram, Socket};
