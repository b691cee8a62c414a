//! A node as its supervisor has it: signals, the service manager, renewed certificates and keys, rotated
//! logs, drains behind a load balancer, and the modes of its files.
//!
//! Why the binary: signals, standard error and the process's mask are a process's.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

#[path = "../common/mod.rs"]
mod common;
mod credentials;
mod drain;
mod files;
mod notify;
mod rig;
mod signals;
mod unit;
