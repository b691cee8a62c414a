//! Errors of a node's start, in words for operators: the fault, and what to do about it.
//!
//! Why a hint for each: an operator must be able to act on the text alone.
//! Not here: faults of the configuration (`grandstand_edge::config`).

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a node does not start or go on.
#[derive(Debug)]
pub struct NodeError {
    what: String,
    hint: String,
}

impl NodeError {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        NodeError { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn bind(key: &str, address: SocketAddr, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program, perhaps another node, has this port: stop it, or set {key} to another one"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need privileges: set {key} to a higher one")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("no interface has this address: set {key} to one of this machine")
            }
            _ => format!("check {key}"),
        };
        NodeError::new(format!("cannot listen on {address} ({key}): {error}"), hint)
    }

    /// What the operator can do.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for NodeError {}
