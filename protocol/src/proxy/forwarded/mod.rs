//! `X-Forwarded-For` and `Forwarded` (RFC 7239): whom a request comes from, as the proxies on its way tell.
//!
//! Each proxy appends the address from which it got the request. So the last entry is the nearest proxy's,
//! and a client can write everything before the first entry of a proxy. The client's address is therefore the
//! rightmost one that is not a trusted proxy's. If all are, it is the leftmost.
//! Why a malformed `Forwarded` is a fault: an open quotation mark that a client wrote would swallow the entry
//! that a proxy appended. `X-Forwarded-For` has no such syntax: its entries end at each comma.
//! Invariant: an entry left of one that is not trusted, or of one that hides its address, changes nothing.
//! Not here: from whom these headers are taken (the edge).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A `Forwarded` header that breaks a rule of RFC 7239, 4; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedFault(pub &'static str);

impl fmt::Display for ForwardedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed Forwarded: {}", self.0)
    }
}

impl std::error::Error for ForwardedFault {}

/// The client's address by the lines of `X-Forwarded-For`, in order; `None` if the nearest trusted proxy
/// tells none.
pub fn client_of_x_forwarded_for<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut client = None;
    for entry in lines.into_iter().flat_map(|line| line.split(|&byte| byte == b',')) {
        let entry = entry.trim_ascii();
        // An empty element of a list means nothing (RFC 9110, 5.6.1).
        if !entry.is_empty() {
            client = behind(client, address(unquoted(entry)), &is_trusted);
        }
    }
    client
}

/// The client's address by the lines of `Forwarded`, in order; `None` if the nearest trusted proxy tells
/// none.
///
/// # Errors
/// A line breaks the syntax, so that it is unknown where a client's entries end.
pub fn client_of_forwarded<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, ForwardedFault> {
    let mut client = None;
    for line in lines {
        let mut line = Line(line);
        while let Some(entry) = line.next_entry()? {
            client = behind(client, entry, &is_trusted);
        }
    }
    Ok(client)
}

/// The client's address after one entry more: `client` is the one by the entries before it.
fn behind(
    client: Option<IpAddr>,
    entry: Option<IpAddr>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    match entry {
        Some(address) if is_trusted(address) => client.or(entry),
        other => other,
    }
}

/// The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; `None`
/// for `unknown`, an obfuscated name (`_hidden`), and all else.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    let address = match node.strip_prefix('[') {
        Some(rest) => {
            let (v6, port) = rest.split_once(']')?;
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(v6.parse().ok().filter(|_| is_port)?)
        }
        None => match node.parse() {
            Ok(address) => address,
            Err(_) => {
                let (v4, port) = node.split_once(':')?;
                IpAddr::V4(v4.parse().ok().filter(|_| is_port(port))?)
            }
        },
    };
    Some(address.to_canonical())
}

/// Digits, or an obfuscated port (RFC 7239, 6.2).
fn is_port(port: &str) -> bool {
    let is_obfuscated = port.starts_with('_') && port.len() > 1;
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    is_obfuscated || is_number
}

/// Some proxies quote entries of `X-Forwarded-For` as they do those of `Forwarded`.
fn unquoted(entry: &[u8]) -> &[u8] {
    entry.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(entry)
}

/// The rest of a line of `Forwarded`.
struct Line<'a>(&'a [u8]);

impl<'a> Line<'a> {
    /// The address of the next element's `for`; `Some(None)` if it hides or lacks one.
    fn next_entry(&mut self) -> Result<Option<Option<IpAddr>>, ForwardedFault> {
        while self.skip(b',') {}
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut node = None;
        loop {
            while self.skip(b';') {}
            if self.0.is_empty() || self.skip(b',') {
                return Ok(Some(node.flatten()));
            }
            let name = self.take_while(is_token_byte);
            if name.is_empty() || !self.take(b'=') {
                return Err(ForwardedFault("not a name and a value"));
            }
            let value = self.value()?;
            if name.eq_ignore_ascii_case(b"for") && node.replace(address(&value)).is_some() {
                return Err(ForwardedFault("`for` twice in one element"));
            }
            self.skip_blanks();
            if !matches!(self.0.first(), None | Some(b';' | b',')) {
                return Err(ForwardedFault("neither `;` nor `,` after a value"));
            }
        }
    }

    /// A token or a quoted string. Many proxies leave the quotation marks of an address out.
    fn value(&mut self) -> Result<Cow<'a, [u8]>, ForwardedFault> {
        if !self.take(b'"') {
            return Ok(Cow::Borrowed(self.take_while(|byte| is_token_byte(byte) || b"[]:".contains(&byte))));
        }
        let mut text = Vec::new();
        loop {
            match self.next_byte() {
                Some(b'"') => return Ok(Cow::Owned(text)),
                Some(b'\\') => text.push(self.next_byte().ok_or(UNCLOSED)?),
                Some(byte) => text.push(byte),
                None => return Err(UNCLOSED),
            }
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        rest.inspect(|rest| self.0 = rest).is_some()
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.0.iter().take_while(|&&byte| fits(byte)).count();
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// Blanks, then this byte if it follows, then blanks.
    fn skip(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let is_there = self.take(byte);
        self.skip_blanks();
        is_there
    }
}

const UNCLOSED: ForwardedFault = ForwardedFault("a quotation mark is not closed");

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
