//! The PROXY protocol, versions 1 and 2: a header that a proxy sends before the first byte of its client.
//!
//! Why strict: a receiver that guesses lets a client write the header itself. So the receiver knows whether a
//! header is due, and everything else than a whole valid one is a fault.
//! Invariants: a header is refused as soon as its bytes show a fault; at most [`HEADER_BYTES_MAX`] bytes are
//! asked for; the extensions of version 2 (TLVs) are passed over.
//! Not here: from whom a header is taken (the edge).
//!
//! The document is "The PROXY protocol, Versions 1 & 2" of HAProxy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most bytes of a header with its extensions. Proxies send under 200; a client certificate that a proxy adds
/// is some 2 KB.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// Most bytes of a header of version 1, its line end included.
const V1_BYTES_MAX: usize = 107;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before its addresses.
const V2_FIXED_BYTES: usize = 16;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The address for which the proxy speaks.
    pub source: Source,
    /// The length of the header. The bytes after it are the client's.
    pub len: usize,
}

/// For whom a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// For a client with this address.
    Client(SocketAddr),
    /// For itself (a health check: `LOCAL`), or for a client without an IP address (`UNKNOWN`, a unix
    /// socket). The connection's own address counts.
    Proxy,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They do not begin as a header does.
    Missing,
    /// They break a rule of the header; the text says which.
    Malformed(&'static str),
    /// The header is longer than [`HEADER_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Missing => f.write_str("no PROXY header came"),
            HeaderFault::Malformed(rule) => write!(f, "a malformed PROXY header came: {rule}"),
            HeaderFault::TooLong => {
                write!(f, "a PROXY header of more than {HEADER_BYTES_MAX} bytes came")
            }
        }
    }
}

impl std::error::Error for HeaderFault {}

/// Whether these bytes begin as a header of either version does.
#[must_use]
pub fn begins_header(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_SIGNATURE) || bytes.starts_with(V2_SIGNATURE)
}

/// The header at the start of `bytes`, or `None` while more bytes are needed.
///
/// # Errors
/// A [`HeaderFault`], as soon as the given bytes show one.
pub fn parse_header(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let begins = |signature: &[u8]| {
        let len = bytes.len().min(signature.len());
        bytes[..len] == signature[..len]
    };
    if begins(V1_SIGNATURE) {
        parse_v1(bytes)
    } else if begins(V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        let is_over = within.len() == V1_BYTES_MAX;
        return if is_over { Err(HeaderFault::Malformed("a line of over 107 bytes")) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&within[..end]).map_err(|_| HeaderFault::Malformed("not ASCII"))?;
    let source = v1_source(&line[V1_SIGNATURE.len().min(line.len())..])?;
    Ok(Some(Header { source, len: end + 2 }))
}

/// What follows `PROXY `.
fn v1_source(line: &str) -> Result<Source, HeaderFault> {
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Source::Proxy);
    }
    let (Some(from), Some(to), Some(from_port), Some(to_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeaderFault::Malformed("not a protocol, two addresses and two ports"));
    };
    let address = |text: &str| match family {
        Some("TCP4") => text.parse().ok().map(IpAddr::V4),
        Some("TCP6") => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    match (address(from), address(to), v1_port(from_port), v1_port(to_port)) {
        (Some(from), Some(_), Some(port), Some(_)) => Ok(Source::Client(SocketAddr::new(from, port))),
        _ => Err(HeaderFault::Malformed("an address or a port that is none")),
    }
}

fn v1_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let is_command = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(HeaderFault::Malformed("another version than 2, or an unknown command")),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    // Families and the bytes of their two addresses and ports.
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ if !is_command => 0,
        _ => return Err(HeaderFault::Malformed("an unknown address family")),
    };
    let Some(rest) = bytes.get(14..16) else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let len = V2_FIXED_BYTES + rest;
    if len > HEADER_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    if is_command && rest < addresses {
        return Err(HeaderFault::Malformed("shorter than the addresses of its family"));
    }
    let Some(block) = bytes.get(V2_FIXED_BYTES..len) else { return Ok(None) };
    let source = if is_command { v2_source(family, block) } else { Source::Proxy };
    Ok(Some(Header { source, len }))
}

/// The addresses of TCP; any other family names no client of a TCP connection.
fn v2_source(family: u8, block: &[u8]) -> Source {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    match (family, block.first_chunk::<4>(), block.first_chunk::<16>()) {
        (0x11, Some(from), _) => Source::Client(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*from)), port(8))),
        (0x21, _, Some(from)) => Source::Client(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*from)), port(32))),
        _ => Source::Proxy,
    }
}

/// Appends a header of version 1; `None` is `UNKNOWN`. Both addresses are written in the family of `from`.
pub fn write_v1(addresses: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let line = match addresses.map(same_family) {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((from, to)) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
    };
    out.extend_from_slice(line.as_bytes());
}

/// Appends a header of version 2 with these TLVs; `None` is `LOCAL`.
///
/// # Panics
/// `tlvs` are longer than a header can be.
pub fn write_v2(addresses: Option<(SocketAddr, SocketAddr)>, tlvs: &[u8], out: &mut Vec<u8>) {
    let mut block = Vec::new();
    let (command, family) = match addresses.map(same_family) {
        None => (0x20, 0x00),
        Some((from, to)) => {
            for address in [from.ip(), to.ip()] {
                match address {
                    IpAddr::V4(v4) => block.extend_from_slice(&v4.octets()),
                    IpAddr::V6(v6) => block.extend_from_slice(&v6.octets()),
                }
            }
            [from.port(), to.port()].iter().for_each(|port| block.extend_from_slice(&port.to_be_bytes()));
            (0x21, if from.is_ipv4() { 0x11 } else { 0x21 })
        }
    };
    block.extend_from_slice(tlvs);
    out.extend_from_slice(V2_SIGNATURE);
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&u16::try_from(block.len()).expect("a header is short").to_be_bytes());
    out.extend_from_slice(&block);
}

/// Both in the family of the first.
fn same_family((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(_), IpAddr::V6(v6)) => IpAddr::V4(v6.to_ipv4().unwrap_or(Ipv4Addr::UNSPECIFIED)),
        (IpAddr::V6(_), IpAddr::V4(v4)) => IpAddr::V6(v4.to_ipv6_mapped()),
        (_, ip) => ip,
    };
    (from, SocketAddr::new(ip, to.port()))
}

#[cfg(test)]
mod tests;
