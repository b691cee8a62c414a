//! The reasons why no connection was made, each with what a person can do about it.
//!
//! Why in the core: the session decides by them whether a retry can help, and an application shows them.
//! Not here: finding the reason (`net`).

use std::fmt::{self, Write};
use std::net::SocketAddr;

/// Why no connection was made. Its text names what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The name of the host cannot be resolved.
    UnknownHost {
        /// The name.
        host: Box<str>,
    },
    /// No program listens at the address.
    NobodyThere {
        /// The address.
        address: SocketAddr,
    },
    /// Nothing came back from the address in time.
    NoAnswer {
        /// The address; `None` if the name of the host was not resolved in time.
        address: Option<SocketAddr>,
        /// Whether it was tried over UDP, which many networks block.
        udp: bool,
    },
    /// The server does not speak TLS.
    NotTls,
    /// The server speaks TLS only.
    OnlyTls,
    /// The server has another certificate than the one that is trusted.
    WrongFingerprint {
        /// SHA-256 of the trusted certificate.
        expected: [u8; 32],
        /// SHA-256 of the server's certificate.
        found: [u8; 32],
    },
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// No trusted authority signed the server's certificate.
    UnknownAuthority,
    /// The server's certificate is for another name.
    WrongName {
        /// The name or address that the client asked for.
        host: Box<str>,
    },
    /// The server's certificate has another fault.
    BadCertificate {
        /// The fault.
        detail: Box<str>,
    },
    /// The server speaks another version of the protocol, or another protocol.
    NoCommonVersion,
    /// Something answered that is no node.
    NotANode {
        /// What it did.
        detail: Box<str>,
    },
    /// This client was built without that transport, or has no roots to trust, or no socket.
    Local {
        /// What is missing.
        detail: Box<str>,
    },
}

impl ConnectError {
    /// Whether it is a matter of this device and its settings alone, so that no retry can help.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, ConnectError::Local { .. })
    }

    /// Whether something between this client and the node may be the cause, such as a proxy or a login page.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            ConnectError::UnknownHost { .. }
            | ConnectError::NobodyThere { .. }
            | ConnectError::NoAnswer { .. }
            | ConnectError::Local { .. } => false,
            ConnectError::NotTls
            | ConnectError::OnlyTls
            | ConnectError::WrongFingerprint { .. }
            | ConnectError::Expired
            | ConnectError::NotYetValid
            | ConnectError::UnknownAuthority
            | ConnectError::WrongName { .. }
            | ConnectError::BadCertificate { .. }
            | ConnectError::NoCommonVersion
            | ConnectError::NotANode { .. } => true,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::UnknownHost { host } => {
                write!(f, "unknown host {host}: check the name, and whether this device is online")
            }
            ConnectError::NobodyThere { address } => {
                write!(f, "no node at {address} (connection refused): check host and port, and whether it runs")
            }
            ConnectError::NoAnswer { address: None, .. } => {
                f.write_str("the name of the host was not resolved in time: check whether this device is online")
            }
            ConnectError::NoAnswer { address: Some(address), udp: true } => write!(
                f,
                "no answer from {address} over UDP: the network may block UDP (try wss://), or no node is there"
            ),
            ConnectError::NoAnswer { address: Some(address), udp: false } => {
                write!(f, "no answer from {address}: check host and port, and firewalls between")
            }
            ConnectError::NotTls => f.write_str("the server does not speak TLS at this port: try ws://"),
            ConnectError::OnlyTls => f.write_str("the server speaks only TLS at this port: try wss://"),
            ConnectError::WrongFingerprint { expected, found } => write!(
                f,
                "the server has another certificate: expected {}, found {}; \
                 a node makes a new development certificate when its files are gone",
                hex(expected),
                hex(found)
            ),
            ConnectError::Expired => {
                f.write_str("the server's certificate has expired: renew it, or check this device's clock")
            }
            ConnectError::NotYetValid => {
                f.write_str("the server's certificate is not valid yet: check this device's clock")
            }
            ConnectError::UnknownAuthority => f.write_str(
                "no trusted authority signed the server's certificate: trust its authority or its fingerprint",
            ),
            ConnectError::WrongName { host } => {
                write!(f, "the server's certificate is not for {host}: use a name that it holds")
            }
            ConnectError::BadCertificate { detail } => write!(f, "the server's certificate is bad: {detail}"),
            ConnectError::NoCommonVersion => {
                f.write_str("the server speaks another protocol or version: check the port, update the older side")
            }
            ConnectError::NotANode { detail } => write!(
                f,
                "something that is no node answered ({detail}): check the address, or log in to the network"
            ),
            ConnectError::Local { detail } => f.write_str(detail),
        }
    }
}

impl std::error::Error for ConnectError {}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
