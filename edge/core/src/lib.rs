//! The core of Grandstand's edge: decisions about connections and viewers, without IO.
//!
//! - [`audience`]: sessions, rooms, viewers as cursors, fan-out;
//! - [`admission`]: every refusal before a session: limits on connections, the queue of handshakes, overload;
//! - [`auth`]: who a session is, as data, and the traits by which a driver decides that;
//! - [`people`]: what a node knows of a person over connections, so that limits are the person's;
//! - [`key`]: session numbers and hashing that strangers cannot foresee;
//! - [`testing`]: the parts that tests, the simulator and the micro benches start an audience with.
//!
//! Why a crate: it takes the time, bytes and a seed, and returns what to do. It cannot name a runtime, TLS or
//! a database, since cargo resolves none of them for it. So a whole cluster runs in one test in virtual time,
//! and the same code runs in a node.
//! Arrows point one way: edge -> edge/core -> engine.
#![forbid(unsafe_code)]

pub mod admission;
pub mod audience;
pub mod auth;
pub mod key;
#[expect(clippy::disallowed_types, reason = "all workers of a node share what they know of people")]
pub mod people;
pub mod testing;
