//! The harness of tests, tools and benches: what each of them would otherwise write for itself.
//!
//! - [`node`]: the built binary as a process; [`local`]: a node in this process (feature `in-process`);
//! - [`trust`]: a TLS client that trusts any certificate (feature `tls`);
//! - [`process`] and [`http`]: what a process costs, and what its admin port answers;
//! - [`histogram`], [`clock`], [`random`], [`wait`]: times, clocks, random numbers and patience;
//! - [`chat_log`]: recorded chats (feature `chat-log`).
//!
//! Why features: `cargo xtask` and the tests of small crates compile no TLS, no gzip and no node.
//! Invariant: nothing that a node runs depends on this crate, but for its tests.

#[cfg(feature = "chat-log")]
pub mod chat_log;
pub mod clock;
pub mod histogram;
pub mod http;
#[cfg(feature = "in-process")]
pub mod local;
pub mod node;
pub mod process;
pub mod random;
#[cfg(feature = "tls")]
pub mod trust;
pub mod wait;
