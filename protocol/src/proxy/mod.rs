//! Proxies before a server: how they tell the client's address, read without IO.
//!
//! Why: behind a proxy every connection comes from the proxy's address. Limits, logs and bans need the
//! client's own, which a proxy tells in a header, and which a client can write into the same header.
//!
//! - [`network`]: a network in CIDR notation, in which proxies are trusted;
//! - [`header`]: the PROXY protocol, versions 1 and 2: bytes before the first byte of the client;
//! - [`forwarded`]: `X-Forwarded-For`, and `Forwarded` (RFC 7239): headers of an HTTP request.
//!
//! Invariants: no bytes from a peer cause a panic or are read beyond their bound. What a client wrote never
//! takes precedence over what a trusted proxy wrote behind it.
//! Not here: which proxies are trusted, and what is done with a wrong header (the edge).

pub mod forwarded;
pub mod header;
pub mod network;

pub use forwarded::{ForwardedFault, client_of_forwarded, client_of_x_forwarded_for};
pub use header::{
    HEADER_BYTES_MAX, Header, HeaderFault, Source, begins_header, parse_header, write_v1, write_v2,
};
pub use network::{Network, NetworkFault};
