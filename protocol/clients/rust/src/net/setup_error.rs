//! Faults of the local setup of connections.
//!
//! Why apart from the connector: trust and QUIC, which a connector is made of, report them too.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A fault of the local setup, before any connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// The certificates to trust cannot be read.
    Pem(String),
    /// This system has no authorities to trust, or they cannot be read.
    SystemRoots(String),
    /// TLS cannot be set up.
    Tls(String),
    /// A socket cannot be bound.
    Socket(SocketAddr, io::Error),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Pem(why) => write!(f, "certificates to trust: {why}"),
            SetupError::SystemRoots(why) => {
                write!(f, "authorities of this system: {why}; give a fingerprint or a PEM file")
            }
            SetupError::Tls(why) => write!(f, "TLS: {why}"),
            SetupError::Socket(address, why) => write!(f, "cannot bind to {address}: {why}"),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SetupError::Socket(_, why) => Some(why),
            _ => None,
        }
    }
}
