//! The edge: connections, sessions, cursors and fan-out, and the node that holds it all together.
//!
//! - [`audience`], the core: sessions, rooms, members as cursors, fan-out; knows no socket, clock or thread;
//! - [`auth`]: who a session is and what it may do;
//! - `worker`: one thread that drives an audience over sockets; `transport`: the links it drives; `quic`: QUIC
//!   without tasks;
//! - [`gate`]: who may connect at all; [`admission`]: when, while many do; `listen`: binding;
//! - [`store_command`]: backup, restore, verify;
//! - [`node`]: start and stop; [`admin`], [`metrics`], [`logging`], [`certificates`], [`config`] around it.
//!
//! Arrows point one way: worker -> audience -> engine; nothing here is known to the engine.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod audience;
pub mod auth;
pub mod certificates;
pub mod config;
pub mod gate;
mod listen;
pub mod logging;
pub mod metrics;
pub mod node;
mod quic;
pub mod store_command;
mod transport;
mod worker;
