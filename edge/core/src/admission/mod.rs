//! Admission: every refusal of a connection before its session.
//!
//! - [`limits`]: how many connections the node holds, in all and from one address; asked first, before any
//!   cryptography;
//! - [`address`]: what counts as one address, for limits and shares;
//! - [`waiting`]: connections that are not a session yet, by shares of their addresses, and who gives way;
//! - [`queue`]: which handshakes begin now, which wait, and which are refused;
//! - [`overload`]: new sessions refused at their `Hello`, where only that shows who is returning;
//! - [`retry_after`]: when a refused client is to come back.
//!
//! Why one folder: a client that cannot get in was refused by one of these, and nothing else.
//! Not here: what a refusal looks like on the wire (the driver), who a session is ([`crate::auth`]).

pub mod address;
#[expect(clippy::disallowed_types, reason = "all workers of a node share one limiter: see its head")]
pub mod limits;
pub mod overload;
pub mod queue;
pub mod retry_after;
pub mod waiting;
