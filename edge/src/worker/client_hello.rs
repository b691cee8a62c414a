//! The reader of a TLS ClientHello's session ticket, before the handshake begins.
//!
//! Why: a client that shows a ticket of this node is returning, and its handshake costs less. The handshake
//! queue needs to know both before the cost of the handshake. A ClientHello in several records is not
//! read: its client is treated as a new one. One that has not arrived whole is waited for.
//! Invariant: whatever bytes a client sends, nothing here panics, allocates, or loops beyond them.
//! Not here: whether a ticket is valid (rustls decrypts it).

/// The type of a TLS record with a message of a handshake.
const HANDSHAKE: u8 = 22;

/// Whether a ClientHello at the start of `bytes` is complete, as far as its first record goes, so that its
/// handshake can begin. Bytes that begin no handshake, and as many as are ever read, are complete: TLS tells
/// the client what is wrong with them.
pub(super) fn is_whole(bytes: &[u8], bytes_max: usize) -> bool {
    let mut record = Bytes(bytes);
    let Some(kind) = record.number(1) else { return false };
    if kind != u32::from(HANDSHAKE) || bytes.len() >= bytes_max {
        return true;
    }
    record.take(2).and_then(|_| record.vector(2)).is_some()
}

/// The first ticket that a ClientHello (RFC 8446, 4.1.2) at the start of `bytes` offers to resume.
pub(super) fn ticket_of(bytes: &[u8]) -> Option<&[u8]> {
    const CLIENT_HELLO: u8 = 1;
    const PRE_SHARED_KEY: u16 = 41;
    let mut record = Bytes(bytes);
    if record.number(1)? != u32::from(HANDSHAKE) {
        return None;
    }
    record.take(2)?;
    let mut message = Bytes(record.vector(2)?);
    if message.number(1)? != u32::from(CLIENT_HELLO) {
        return None;
    }
    let mut hello = Bytes(message.vector(3)?);
    hello.take(2 + 32)?; // version, random
    hello.vector(1)?; // session
    hello.vector(2)?; // cipher suites
    hello.vector(1)?; // compression
    let mut extensions = Bytes(hello.vector(2)?);
    loop {
        let kind = extensions.number(2)?;
        let body = extensions.vector(2)?;
        if kind == u32::from(PRE_SHARED_KEY) {
            let mut identities = Bytes(Bytes(body).vector(2)?);
            return identities.vector(2);
        }
    }
}

/// Bytes that are left.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Big-endian, of at most four bytes.
    fn number(&mut self, bytes: usize) -> Option<u32> {
        Some(self.take(bytes)?.iter().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    /// A vector: its length in `length_bytes` bytes, then its contents.
    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let len = self.number(length_bytes)?;
        self.take(len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut tail = Vec::new();
        for (kind, body) in extensions {
            tail.extend(kind.to_be_bytes());
            tail.extend((body.len() as u16).to_be_bytes());
            tail.extend(body);
        }
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([2, 1, 1, 0, 2, 0x13, 1, 1, 0]);
        hello.extend((tail.len() as u16).to_be_bytes());
        hello.extend(tail);
        let mut record = vec![22, 3, 1];
        record.extend((hello.len() as u16 + 4).to_be_bytes());
        record.push(1);
        record.extend(&(hello.len() as u32).to_be_bytes()[1..]);
        record.extend(hello);
        record
    }

    /// An offer of one identity with its age, followed by a binder.
    fn offer(ticket: &[u8]) -> Vec<u8> {
        let mut body = (ticket.len() as u16 + 6).to_be_bytes().to_vec();
        body.extend((ticket.len() as u16).to_be_bytes());
        body.extend(ticket);
        body.extend([0, 0, 0, 9, 0, 2, 1, 5]);
        body
    }

    #[test]
    fn a_ticket_is_found_behind_other_extensions() {
        let with = hello(&[(0, b"name".to_vec()), (41, offer(b"my ticket"))]);
        assert_eq!(ticket_of(&with), Some(&b"my ticket"[..]));
        assert_eq!(ticket_of(&hello(&[(0, b"name".to_vec())])), None);
        assert_eq!(ticket_of(b"GET / HTTP/1.1\r\n\r\n"), None);
        assert!((0..with.len()).all(|cut| ticket_of(&with[..cut]).is_none()), "cut anywhere");
        assert!((0..with.len()).all(|cut| !is_whole(&with[..cut], 4_096)) && is_whole(&with, 4_096));
        assert!(is_whole(&with[..20], 20), "no more is read");
        assert!(is_whole(b"GET", 4_096) && !is_whole(b"", 4_096));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..600), at in any::<prop::sample::Index>()) {
            let _ = (ticket_of(&bytes), is_whole(&bytes, 4_096));
            let mut good = hello(&[(41, offer(b"t"))]);
            let at = at.index(good.len());
            good[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = ticket_of(&good);
            bytes.splice(0..0, good);
            let _ = ticket_of(&bytes);
        }
    }
}
