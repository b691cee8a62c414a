//! A node: the process around the edge and the engine, as a library for its binary, tests and the demo.
//!
//! - [`Node`] and [`run`]: start, drain (`shutdown`) and stop; `listeners`; `handover` to the successor;
//! - [`http`]: the admin port, for operators; [`metrics`]: the numbers of the scrape;
//! - [`file_limit`]: connections fitted to the limit of open files;
//! - [`database`]: what a node keeps besides rooms; [`api_keys`]: who may use the HTTP API;
//! - `cluster`: several nodes as one; `guide`: TV listings;
//! - [`health`]: which threads turn and which hang;
//! - [`certificates`], [`logging`], [`file_modes`], `reload`: parts that a process has once;
//! - `signals`, `service_manager`: what a supervisor asks for, and hears;
//! - [`config_command`], [`store_command`], [`cluster_command`], [`key_command`], [`check`]: the
//!   command line.
//!
//! Why a library: tests and the demo start nodes in their own process. Arrows point one way: this crate knows
//! the edge, the engine and the store; none of them knows it.
#![forbid(unsafe_code)]
// Tests may read clocks.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod api_keys;
pub mod certificates;
pub mod check;
mod clock_steps;
mod cluster;
pub mod cluster_command;
mod cluster_import;
mod cluster_repair;
pub mod config_command;
pub mod database;
mod durable_log;
mod error;
pub mod events;
pub mod file_limit;
pub mod file_modes;
#[cfg(feature = "guide")]
mod guide;
#[cfg(not(feature = "guide"))]
#[path = "guide/absent.rs"]
mod guide;
mod handover;
pub mod health;
pub mod house;
pub mod http;
pub mod key_command;
mod keys;
mod listeners;
pub mod logging;
#[cfg(feature = "media")]
mod media;
pub mod metrics;
mod node;
mod reload;
mod rooms;
mod run;
mod service_manager;
mod settings;
mod shutdown;
mod signals;
pub mod store_command;
pub mod webhook_command;
pub mod webhooks;
mod word_lists;

pub use error::NodeError;
pub use listeners::Addresses;
pub use node::Node;
pub use run::run;
