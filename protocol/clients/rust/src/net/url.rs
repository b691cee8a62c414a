//! The URL of a node: `ws://host:port/path`, `wss://host:port/path` or `quic://host:port`.
//!
//! Not here: resolving names (`connector`).

use std::fmt;
use std::str::FromStr;

/// The transport to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// WebSocket over TCP, without encryption or authentication.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// QUIC.
    Quic,
}

/// The address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path: Box<str>,
}

/// A text that is not the URL of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    text: Box<str>,
    why: &'static str,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {}; for example ws://localhost:7400/v1 or quic://localhost:7443",
            self.text, self.why
        )
    }
}

impl std::error::Error for UrlError {}

impl Url {
    /// The transport.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name or an address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path with query; empty for QUIC.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port in the form of a URL and of HTTP's `Host`; the port only if it is not the default.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let host = &self.host;
        if self.port == self.scheme.port() {
            format!("{open}{host}{close}")
        } else {
            format!("{open}{host}{close}:{}", self.port)
        }
    }

    /// The address in a `GoAway`: a whole URL, or a host with or without a port for the same scheme and path.
    /// `None` for an address that is not understood or would give up encryption: the client then keeps its
    /// present address.
    pub fn moved(&self, where_to: &str) -> Option<Url> {
        let moved = if where_to.contains("://") {
            where_to.parse::<Url>().ok()?
        } else {
            let (host, port) = split_authority(where_to, self.port).ok()?;
            Url { host: host.into(), port, ..self.clone() }
        };
        (moved.scheme != Scheme::Ws || self.scheme == Scheme::Ws).then_some(moved)
    }
}

impl Scheme {
    const fn text(self) -> &'static str {
        match self {
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Quic => "quic",
        }
    }

    /// The port of a URL that names none: those of HTTP.
    const fn port(self) -> u16 {
        match self {
            Scheme::Ws => 80,
            Scheme::Wss | Scheme::Quic => 443,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.text(), self.authority(), self.path)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        parse(text).map_err(|why| UrlError { text: text.into(), why })
    }
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("no scheme")?;
    let scheme = match scheme {
        "ws" => Scheme::Ws,
        "wss" => Scheme::Wss,
        "quic" => Scheme::Quic,
        _ => return Err("the scheme must be ws, wss or quic"),
    };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    if path.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') || path.starts_with('?') {
        return Err("the path has characters that cannot stand in one");
    }
    let path = match (scheme, path) {
        (Scheme::Quic, "" | "/") => "",
        (Scheme::Quic, _) => return Err("a QUIC address has no path"),
        (_, "") => "/",
        (_, path) => path,
    };
    let (host, port) = split_authority(authority, scheme.port())?;
    Ok(Url { scheme, host: host.into(), port, path: path.into() })
}

fn split_authority(authority: &str, port: u16) -> Result<(&str, u16), &'static str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("an opening bracket without its closing one")?,
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    if host.is_empty() || host.bytes().any(|b| !b.is_ascii_graphic() || b"/?#@[]".contains(&b)) {
        return Err("no host name that can be used");
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) => {
            digits.parse().ok().filter(|&port| port != 0).ok_or("the port is not a number up to 65535")?
        }
        None if rest.is_empty() => port,
        None => return Err("something stands between host and port"),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for text in
            ["ws://localhost:7100/v1", "wss://chat.example/v1?x=1", "quic://[::1]:7100", "quic://10.0.0.1"]
        {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        let url: Url = "wss://[fe80::1]".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.path(), &*url.authority()),
            ("fe80::1", 443, "/", "[fe80::1]")
        );
    }

    #[test]
    fn others_are_refused_with_a_reason() {
        for (text, why) in [
            ("localhost:7100", "no scheme"),
            ("http://x", "the scheme must be ws, wss or quic"),
            ("ws:///v1", "no host name that can be used"),
            ("ws://a@b", "no host name that can be used"),
            ("ws://a:0", "the port is not a number up to 65535"),
            ("ws://a:70000", "the port is not a number up to 65535"),
            ("ws://[::1", "an opening bracket without its closing one"),
            ("quic://a/v1", "a QUIC address has no path"),
            ("ws://a/\r\nX: y", "the path has characters that cannot stand in one"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap_err().why, why, "{text}");
        }
    }

    #[test]
    fn moving_keeps_what_is_not_named_and_never_gives_up_encryption() {
        let url: Url = "wss://a:7100/v1".parse().unwrap();
        assert_eq!(url.moved("b:7200").unwrap().to_string(), "wss://b:7200/v1");
        assert_eq!(url.moved("b").unwrap().to_string(), "wss://b:7100/v1");
        assert_eq!(url.moved("quic://b:1").unwrap().to_string(), "quic://b:1");
        assert_eq!(url.moved("ws://b:1/v1"), None);
        assert_eq!(url.moved("::"), None);
    }
}
