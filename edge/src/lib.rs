//! The edge: connections, sessions, cursors and fan-out, over sockets that it is given.
//!
//! - [`audience`], the core: sessions, rooms, members as cursors, fan-out; knows no socket, clock or thread;
//! - [`auth`]: who a session is and what it may do;
//! - `worker`: one thread that drives an audience over sockets; `transport`: the links it drives; `quic`: QUIC
//!   without tasks;
//! - [`workers`]: all of them, as a node starts and stops them; [`stats`]: what they count;
//! - [`gate`]: who may connect at all; [`admission`]: when, while many do;
//! - [`config`]: the table of the node's keys.
//!
//! Arrows point one way: worker -> audience -> engine; nothing here is known to the engine. Not here: the
//! process, HTTP, certificates and logs (the crate `grandstand`, in `edge/node`).
#![forbid(unsafe_code)]

pub mod admission;
pub mod audience;
pub mod auth;
pub mod config;
pub mod gate;
mod quic;
pub mod stats;
pub mod transport;
mod worker;
pub mod workers;
