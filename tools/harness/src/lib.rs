//! The harness: code that tests, tools and benches share.
//!
//! - [`node`]: the built binary as a process; `local`: a node in this process (feature `in-process`);
//! - [`trust`]: a TLS client that trusts any certificate (feature `tls`);
//! - [`nats`]: servers of NATS on loopback;
//! - [`process`] and [`http`]: a process's CPU and memory, and the answers of its admin port;
//! - [`numbers`], [`command_line`]: bounds of options, and whether a program explains itself;
//! - [`histogram`], [`clock`], [`random`], [`wait`]: latencies, clocks, random numbers and waits;
//! - [`chat_log`]: recorded chats (feature `chat-log`);
//! - `pty`: a program on a terminal (feature `pty`).
//!
//! Why features: `cargo xtask` and the tests of small crates compile no TLS, no gzip and no node.
//! Invariant: no code of a node depends on this crate, except its tests.

#[cfg(feature = "chat-log")]
pub mod chat_log;
pub mod clock;
pub mod command_line;
pub mod histogram;
pub mod http;
#[cfg(feature = "in-process")]
pub mod local;
pub mod nats;
pub mod node;
pub mod numbers;
pub mod process;
#[cfg(feature = "pty")]
pub mod pty;
pub mod random;
#[cfg(feature = "tls")]
pub mod trust;
pub mod wait;
