//! Sessions over real sockets: WebSocket (plain and TLS) and QUIC behind one [`Driver`] and one [`Client`].
//!
//! - [`Url`], [`Trust`], [`Connector`]: the address, the accepted certificates, and the shared state of
//!   connections;
//! - [`Driver`], [`Handler`], [`Control`]: one session as one future, events by callback: for load, bridges,
//!   tests;
//! - [`Client`]: the same in its own task, with a bounded queue of events: for apps.
//!
//! Invariant: a connection without data in transit holds no buffer; all drivers of a thread read into one
//! scratch buffer.
//! Not here: all decisions (`core`).

mod answers;
mod bridge;
mod client;
mod clock;
mod connector;
mod driver;
mod history;
mod link;
mod migration;
mod publication;
mod queues;
mod quic;
mod tickets;
mod tls;
mod trust;
mod url;
mod view;
mod websocket;

pub use client::{Client, ClientOptions, Events};
pub use clock::now_us;
pub use connector::{Connector, SetupError};
pub use driver::{Control, Driver, Finished, Handler, Stats};
pub use history::{History, HistoryError, HistoryMessage};
pub use publication::{Again, OwnedPublication, PublishError, Receipt};
pub use quic::QuicEndpoint;
pub use trust::Trust;
pub use url::{Scheme, Url, UrlError};
pub use view::{RoomInfo, Status};

/// A seed for [`Options::seed`](crate::core::Options::seed), from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn seed() -> u64 {
    getrandom::u64().expect("the operating system gives random bytes")
}
