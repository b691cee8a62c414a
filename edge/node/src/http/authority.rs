//! Authorities: the host and the port in a `Host` header and in an origin, read strictly.
//!
//! Why strict: what two programs read differently (`127.0.0.1:1@evil.example`, `127.1`) is how a foreign page
//! gets past a list of names.
//! Invariant: a text that is not exactly a host with or without a port is none.
//! Not here: which names are a port's own (`access`).

use std::net::IpAddr;

/// A host by its name, in lower case, or by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Address(IpAddr),
    Text(String),
}

/// A host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) name: Name,
    port: Option<u16>,
}

impl Name {
    /// A name of ASCII letters, digits, `-`, `_` and `.`, or an address without brackets.
    pub(super) fn parse(text: &str) -> Option<Name> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Name::Address(address.to_canonical()));
        }
        let is_name = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_name.then(|| Name::Text(text.to_ascii_lowercase()))
    }
}

impl Authority {
    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub(super) fn parse(text: &str) -> Option<Authority> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (v6, rest) = inner.split_once(']')?;
                (Name::Address(v6.parse::<std::net::Ipv6Addr>().map(IpAddr::V6).ok()?.to_canonical()), rest)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Name::parse(host)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some(digits) => Some(digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?),
        };
        Some(Authority { name, port })
    }

    /// The port, or this one if none is named.
    pub(super) fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }
}

/// The authority of a page's origin, and the default port of its scheme.
pub(super) fn origin(text: &str) -> Option<(Authority, u16)> {
    let (scheme, authority) = text.split_once("://")?;
    let default =
        [("http", 80), ("https", 443)].into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name))?.1;
    Some((Authority::parse(authority)?, default))
}
