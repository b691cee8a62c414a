//! The edge: connections, sessions, cursors and fan-out, over sockets that the node passes in.
//!
//! - [`auth`]: who a session is and what it may do;
//! - `worker`: one thread that drives an audience over sockets;
//! - [`transport`]: the links of a worker; `quic`: QUIC without tasks;
//! - [`workers`]: all workers, which a node starts and stops; [`stats`]: their counters;
//! - [`config`]: the table of the node's keys; [`clock`]: the reading of the time.
//!
//! Arrows point one way: edge/node -> edge -> edge/core -> engine.
//! Not here: the audience, the admission of handshakes and the limits on connections (`edge/core`); the
//! process, HTTP, certificates and logs (`edge/node`).
#![forbid(unsafe_code)]
// Tests may read clocks.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod auth;
pub mod clock;
pub mod config;
mod quic;
pub mod stats;
pub mod transport;
mod worker;
pub mod workers;
