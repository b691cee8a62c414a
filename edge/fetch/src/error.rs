//! Errors of a request: why there is no answer, and whether another try may help.
//!
//! Why so many kinds: a caller keeps a failure for a time that depends on its kind, and an operator must see
//! whether the guard refused a URL or a server did not answer.
//! Invariant: a text names the host and never the whole URL, since a path or a query may hold a secret.

use std::fmt;
use std::net::IpAddr;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The URL is refused before anything is asked of the network.
    Url(&'static str),
    /// The name has no address.
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: String,
    },
    /// An address of the host is not of the public Internet, and not configured.
    NotPublic {
        /// The host.
        host: String,
        /// The first such address.
        address: IpAddr,
    },
    /// No connection is established.
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        error: String,
    },
    /// The server's certificate or its TLS is not accepted.
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        error: String,
    },
    /// The request took longer than it may.
    TooSlow,
    /// The body is larger than the request takes, before or after decompression.
    TooLarge {
        /// Bytes that the request takes.
        max: usize,
    },
    /// The body has a type that the request does not take.
    Type(String),
    /// More redirects than the request follows.
    TooManyRedirects,
    /// A redirect without a place to go to.
    BadRedirect,
    /// The answer is not HTTP, or it ended early.
    Protocol(String),
    /// The body's encoding is unknown or damaged.
    Encoding(String),
    /// As many requests are under way and wait as may.
    Busy,
    /// The client cannot be set up.
    Setup(String),
}

impl FetchError {
    /// May the same request succeed a little later?
    pub fn is_passing(&self) -> bool {
        match self {
            FetchError::Resolve { .. }
            | FetchError::Connect { .. }
            | FetchError::TooSlow
            | FetchError::Protocol(_)
            | FetchError::Busy => true,
            FetchError::Url(_)
            | FetchError::NotPublic { .. }
            | FetchError::Tls { .. }
            | FetchError::TooLarge { .. }
            | FetchError::Type(_)
            | FetchError::TooManyRedirects
            | FetchError::BadRedirect
            | FetchError::Encoding(_)
            | FetchError::Setup(_) => false,
        }
    }

    /// Did the guard refuse it, so that nothing was sent?
    pub fn is_refused(&self) -> bool {
        matches!(self, FetchError::Url(_) | FetchError::NotPublic { .. })
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Url(fault) => write!(f, "the URL is refused: {fault}"),
            FetchError::Resolve { host, error } => write!(f, "{host} has no address: {error}"),
            FetchError::NotPublic { host, address } => {
                write!(f, "{host} is refused: its address {address} is not of the public Internet")
            }
            FetchError::Connect { host, error } => write!(f, "no connection to {host}: {error}"),
            FetchError::Tls { host, error } => write!(f, "no TLS with {host}: {error}"),
            FetchError::TooSlow => {
                f.write_str("the server did not answer in full within the time of the request")
            }
            FetchError::TooLarge { max } => write!(f, "the body has more than {max} bytes"),
            FetchError::Type(got) => write!(f, "the body has the type {got:?}, which is not asked for"),
            FetchError::TooManyRedirects => f.write_str("the server redirects too often"),
            FetchError::BadRedirect => f.write_str("the server redirects without a valid Location"),
            FetchError::Protocol(error) => write!(f, "the answer is not valid HTTP: {error}"),
            FetchError::Encoding(error) => write!(f, "the body cannot be decoded: {error}"),
            FetchError::Busy => f.write_str("too many requests are under way: try again later"),
            FetchError::Setup(error) => write!(f, "the HTTP client cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for FetchError {}
