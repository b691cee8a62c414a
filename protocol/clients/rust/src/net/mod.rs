//! Sessions over real sockets: WebSocket (plain and TLS) and QUIC (feature `quic`) behind one [`Driver`] and
//! one [`Client`].
//!
//! - [`Url`], [`Urls`], [`Trust`], [`Connector`]: addresses, the accepted certificates, and the shared state
//!   of connections;
//! - [`Driver`], [`Handler`], [`Control`]: one session as one future, events by callback: for load, bridges,
//!   tests;
//! - [`Client`]: the same in its own task, with a bounded queue of events: for apps.
//!
//! Invariant: a connection without data in transit holds no buffer; all drivers of a thread read into one
//! scratch buffer.
//! Not here: all decisions (`core`).

mod acts;
mod addresses;
mod answers;
mod bridge;
mod client;
mod clock;
mod connector;
mod diagnosis;
mod driver;
mod history;
mod link;
mod migration;
mod publication;
mod queues;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "quic")]
mod quic_stream;
mod race;
mod setup_error;
mod tcp;
mod tickets;
mod tls;
mod tokens;
mod trust;
mod url;
mod view;
mod websocket;

pub use acts::{ActError, ActReceipt, OwnedAct};
pub use addresses::{NoUrl, Urls};
pub use client::{Client, ClientOptions, Events};
pub use clock::now_us;
pub use connector::{Connector, ConnectorBuilder};
pub use driver::{Control, Driver, Finished, Handler, Stats};
pub use history::{History, HistoryError, HistoryMessage};
pub use publication::{Again, OwnedPublication, PublishError, Receipt};
#[cfg(feature = "quic")]
pub use quic::QuicEndpoint;
pub use setup_error::SetupError;
pub use tokens::TokenProvider;
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
