//! Grandstand's client for Rust: WebSocket and QUIC behind one API.
//!
//! - [`net::Client`]: a session in a task of its own, events by `await`: for apps;
//! - [`net::Driver`]: the same as one future with a [`net::Handler`]: for load generators, bridges, tests;
//! - [`core::Session`]: the state machine below both, without sockets and clocks.
//!
//! The cargo feature `net` (default) brings [`net`] with tokio, quinn and rustls. Without it only [`core`] is
//! compiled.
//!
//! A session recovers by itself: it reconnects with jitter, resumes every room after the last message that it
//! delivered, and retries what was not acknowledged, under the same nonce. What the viewer missed is an event
//! with numbers ([`Gap`](core::EventOf::Gap), [`Omitted`](core::EventOf::Omitted)), never silence. An app can
//! ask for what pacing left out ([`Client::history`](net::Client::history)); messages that mean this
//! session's user arrive by themselves ([`Personal`](core::EventOf::Personal)).
//!
//! ```no_run
//! use grandstand_client::core::{OwnedEvent, SubscribeOptions};
//! use grandstand_client::net::{Client, ClientOptions, Connector, OwnedPublication, Trust};
//!
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! // The hash that a node prints for its development certificate; `Trust::Pem` where there is a real one.
//! let trust = Trust::fingerprint("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08").unwrap();
//! let connector = Connector::new(&trust)?;
//! let client = Client::connect(&connector, &"quic://localhost:7443".parse()?, ClientOptions::default());
//! client.subscribe("show", SubscribeOptions { replay: 20, resume: None })?;
//! client.publish("show", OwnedPublication { text: "hello".into(), ..Default::default() })?;
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
//! Not here: what goes over the wire (`grandstand-protocol`, re-exported as [`protocol`]), user interfaces.
#![forbid(unsafe_code)]

pub mod core;
#[cfg(feature = "net")]
pub mod net;

pub use grandstand_protocol as protocol;
