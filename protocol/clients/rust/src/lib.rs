//! Grandstand's client library for Rust: WebSocket and QUIC behind one API.
//!
//! - [`net::Client`]: a session in its own task, events by `await`: for apps;
//! - [`net::Driver`]: a session as one future with a [`net::Handler`]: for load generators, bridges, tests;
//! - [`core::Session`]: the state machine under both, without sockets and clocks.
//!
//! The cargo feature `net` adds [`net`] with tokio and rustls, `quic` adds QUIC to it, `system-roots` the
//! trust in the system's authorities; all three are on by default. Without them only [`core`] is compiled.
//! The feature `tracing` reports connections and their ends.
//!
//! A session recovers by itself: it reconnects with jitter, resumes every room after the last message that it
//! delivered, and retries unacknowledged publications under the same nonce. It reports messages that the
//! viewer missed as an event with their offsets ([`Gap`](core::EventOf::Gap),
//! [`Omitted`](core::EventOf::Omitted)), never silence. An app can request the messages that pacing left out
//! ([`Client::history`](net::Client::history)); those that answer or name this session's user arrive by
//! themselves ([`Personal`](core::EventOf::Personal)).
//!
//! ```no_run
//! use grandstand_client::core::{OwnedEvent, SubscribeOptions};
//! use grandstand_client::net::{Client, ClientOptions, Connector, Trust, Url};
//!
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! // The hash that a node prints for its development certificate; `Trust::Pem` where there is a real one.
//! let trust = Trust::fingerprint("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08").unwrap();
//! let connector = Connector::new(&trust)?;
//! let url: Url = "quic://localhost:7443".parse()?;
//! let client = Client::connect(&connector, &url, ClientOptions::default())?;
//! client.subscribe("show", SubscribeOptions { replay: 20, resume: None })?;
//! client.publish("show", "hello").await?;
//! while let Some(event) = client.next_event().await {
//!     match event {
//!         OwnedEvent::Message { author, text, .. } => println!("{author}: {text}"),
//!         OwnedEvent::Gap { count, .. } => println!("({count} messages missed)"),
//!         OwnedEvent::Closed { reason } => println!("over: {reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Not here: frames and their layout (`grandstand-protocol`, re-exported as [`protocol`]), user interfaces.
#![forbid(unsafe_code)]

pub mod core;
#[cfg(feature = "net")]
pub mod net;

pub use grandstand_protocol as protocol;

/// The README's example compiles.
#[cfg(all(doctest, feature = "quic", feature = "system-roots"))]
#[doc = include_str!("../README.md")]
struct Readme;
