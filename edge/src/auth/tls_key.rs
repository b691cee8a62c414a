//! What a key of resume tickets makes of TLS's session tickets: a key for each half a day.
//!
//! Layout: version 1, period u32 (big-endian), name of the key [u8; 8], nonce [u8; 12], AES-256-GCM of the
//! session with its tag; the first three are its associated data.
//! Why nothing is kept: deriving a key costs microseconds, and a handshake a hundred times that. What names
//! no key of this node costs a comparison.
//! Not here: which key, and which periods are good (`tls_tickets`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};

use super::ticket_keys::Key;

/// The first byte. Tickets of another layout are treated as missing.
const VERSION: u8 = 1;
const NAME_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + 4 + NAME_BYTES;
const LABEL: &[u8] = b"grandstand tls tickets";

/// What a key of resume tickets makes of TLS's.
pub(super) struct TlsKey {
    name: [u8; NAME_BYTES],
    root: hkdf::Prk,
}

impl TlsKey {
    pub(super) fn of(key: &Key) -> TlsKey {
        let name = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"grandstand tls ticket key name");
        let name = *name.as_ref().first_chunk().expect("a tag has 32 bytes");
        TlsKey { name, root: hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(key) }
    }

    fn of_period(&self, period: u32) -> Option<LessSafeKey> {
        let info = [&period.to_be_bytes()[..]];
        Some(LessSafeKey::new(UnboundKey::from(self.root.expand(&info, &AES_256_GCM).ok()?)))
    }

    /// Seal a session.
    pub(super) fn seal(&self, period: u32, plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = Vec::with_capacity(HEAD_BYTES + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.push(VERSION);
        ticket.extend_from_slice(&period.to_be_bytes());
        ticket.extend_from_slice(&self.name);
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(ticket.clone());
        self.of_period(period)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        ticket.extend_from_slice(&nonce);
        ticket.append(&mut sealed);
        Some(ticket)
    }

    /// Open what this key sealed.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = ticket.split_at_checked(HEAD_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if head[HEAD_BYTES - NAME_BYTES..] != self.name {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let key = self.of_period(period_of(ticket)?)?;
        let len = key.open_in_place(nonce, Aad::from(head), &mut opened).ok()?.len();
        opened.truncate(len);
        Some(opened)
    }
}

/// In which period a ticket says that it was sealed; `None` for one of another layout.
pub(super) fn period_of(ticket: &[u8]) -> Option<u32> {
    let (&version, rest) = ticket.split_first()?;
    (version == VERSION).then(|| Some(u32::from_be_bytes(*rest.first_chunk()?)))?
}
