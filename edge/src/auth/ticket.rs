//! Resume tickets: a session's number and user, sealed so that only a holder of the key can write them.
//!
//! Why: the node keeps nothing of a session that is away, so the client carries what must be restored. Where
//! the key outlives the process (`ticket_keys`), or is shared, the next process or another node continues the
//! session.
//! Layout, 57 bytes: version 1, session u64, user u64, end in ms since 1970 u64 (all little-endian),
//! HMAC-SHA256 over these.
//! Invariant: a ticket that was changed in any bit, sealed with another key, or has expired is treated as a
//! missing one.
//! Not here: positions in rooms (the client's subscriptions carry them); what the session may do (its token
//! decides again).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{hkdf, hmac};
use grandstand_edge_core::auth::{SealTickets, Subject, TicketBody};
use grandstand_engine::link::UserId;

use super::bans::Bans;
use super::quic_key;
use super::ticket_keys::{self, Key};
use super::tls_key::TlsKey;
use crate::config::Config;

/// The first byte. Tickets of another layout are treated as missing.
const VERSION: u8 = 1;
/// The file of the node's own keys, in `log.dir`.
const FILE: &str = "tickets.key";
const BODY_BYTES: usize = 1 + 8 + 8 + 8;
const TAG_BYTES: usize = 32;
const TICKET_BYTES: usize = BODY_BYTES + TAG_BYTES;
// `limits::TICKET_BYTES_MAX` allows at most 97.
const _: () = assert!(TICKET_BYTES <= 97);

/// What one key seals with.
pub(super) struct Seal {
    resume: hmac::Key,
    pub(super) tls: TlsKey,
}

/// Issues tickets and reads them back.
pub struct Tickets {
    /// The newest key comes first and seals. Read once per hello.
    keys: RwLock<Arc<[Seal]>>,
    ttl_ms: u64,
    /// The key that seals, if it ends with the process.
    of_process: Option<Key>,
    /// Key of QUIC's own tokens, which a client may bring to the next process.
    quic: Key,
    bans: Arc<Bans>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys().len()).field("ttl_ms", &self.ttl_ms).finish()
    }
}

impl Tickets {
    /// Tickets with this key, valid for `ttl_ms`.
    pub fn new(key: [u8; 32], ttl_ms: u64) -> Tickets {
        Tickets::with_keys(&[key], ttl_ms)
    }

    /// Tickets with these keys, the newest first: the first seals, all open.
    ///
    /// # Panics
    /// If there is no key.
    pub fn with_keys(keys: &[[u8; 32]], ttl_ms: u64) -> Tickets {
        let quic = *keys.first().expect("tickets need a key");
        Tickets { keys: RwLock::new(seals(keys)), ttl_ms, of_process: None, quic, bans: Arc::default() }
    }

    /// The same, which continue no session that these name.
    #[must_use]
    pub fn with_bans(self, bans: Arc<Bans>) -> Tickets {
        Tickets { bans, ..self }
    }

    /// Read the keys of the configuration's file again, for every ticket from now on. QUIC's own tokens keep
    /// the key of the start. Without a file nothing changes.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged; the keys that were in force stay.
    pub fn reload(&self, config: &Config) -> Result<(), String> {
        let Some(path) = Tickets::file(config) else { return Ok(()) };
        let keys = seals(&ticket_keys::read(&path)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// The file that [`Self::reload`] reads.
    pub fn file(config: &Config) -> Option<PathBuf> {
        let in_log_dir = || config.log.dir.as_ref().map(|dir| dir.join(FILE));
        config.auth.ticket_key_file.clone().or_else(in_log_dir)
    }

    pub(super) fn keys(&self) -> Arc<[Seal]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tickets with the keys that the configuration names: of `auth.ticket_key_file`, or of `tickets.key` in
    /// `log.dir`, or else one that ends with the process. QUIC's tokens then have a key
    /// of their own (`quic_key`).
    ///
    /// # Errors
    /// A file that cannot be read or made, or is damaged. The text says what to do.
    pub fn from_config(config: &Config) -> Result<Tickets, String> {
        let ttl_ms = config.auth.ticket_lifetime_ms;
        let mut tickets = match (&config.auth.ticket_key_file, &config.log.dir) {
            (Some(path), _) => Tickets::with_keys(&ticket_keys::read(path)?, ttl_ms),
            (None, Some(dir)) => Tickets::with_keys(&ticket_keys::read_or_make(&dir.join(FILE))?, ttl_ms),
            (None, None) => Tickets::with_random_key(ttl_ms)?,
        };
        let outlives = config.auth.ticket_key_file.is_some() || config.log.dir.is_some();
        if (!outlives || config.quic.key_file.is_some())
            && let Some(key) = quic_key::of_config(config)?
        {
            tickets.quic = key;
        }
        Ok(tickets)
    }

    /// The key that seals QUIC's address tokens.
    pub(crate) fn quic_token_key(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"grandstand quic tokens").extract(&self.quic)
    }

    /// The key of the tokens of QUIC's stateless resets.
    pub(crate) fn quic_reset_key(&self) -> hmac::Key {
        let label = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.quic), b"grandstand quic resets");
        hmac::Key::new(hmac::HMAC_SHA256, label.as_ref())
    }

    /// Prints of the keys, that of the key that seals first: nodes that compare them know whether a session
    /// can move between them, and learn nothing of the keys.
    pub fn prints(&self) -> Vec<u64> {
        let print = |seal: &Seal| {
            let tag = hmac::sign(&seal.resume, b"grandstand ticket key print");
            u64::from_le_bytes(*tag.as_ref().first_chunk().expect("a tag has 32 bytes"))
        };
        self.keys().iter().map(print).collect()
    }

    /// The key by which all nodes of a cluster know people without a token, and slow mode holds them at each.
    pub fn people_key(&self) -> [u8; 16] {
        let tag = hmac::sign(&self.keys()[0].resume, b"grandstand people");
        *tag.as_ref().first_chunk().expect("a tag has 32 bytes")
    }

    /// Tickets with a random key: they end with the process.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn with_random_key(ttl_ms: u64) -> Result<Tickets, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|e| format!("the system gives no random bytes for the ticket key: {e}"))?;
        Ok(Tickets { of_process: Some(key), ..Tickets::new(key, ttl_ms) })
    }

    /// The key that seals, if it ends with the process: for the next process.
    pub fn key_of_process(&self) -> Option<[u8; 32]> {
        self.of_process
    }

    /// After a process with this key: where no file has the keys, this one goes on with it.
    #[must_use]
    pub fn after(self, key: Option<[u8; 32]>) -> Tickets {
        let (Some(own), Some(key)) = (self.of_process, key) else { return self };
        let quic = if self.quic == own { key } else { self.quic };
        Tickets { of_process: Some(key), quic, ..Tickets::new(key, self.ttl_ms) }
    }

    /// How long a ticket is valid.
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }
}

fn seals(keys: &[Key]) -> Arc<[Seal]> {
    let seal = |key: &Key| Seal { resume: hmac::Key::new(hmac::HMAC_SHA256, key), tls: TlsKey::of(key) };
    keys.iter().map(seal).collect()
}

impl SealTickets for Tickets {
    fn issue(&self, body: &TicketBody, now_unix_ms: u64) -> Vec<u8> {
        let mut ticket = Vec::with_capacity(TICKET_BYTES);
        ticket.push(VERSION);
        for number in [body.session, body.user.0, now_unix_ms.saturating_add(self.ttl_ms)] {
            ticket.extend_from_slice(&number.to_le_bytes());
        }
        let tag = hmac::sign(&self.keys()[0].resume, &ticket);
        ticket.extend_from_slice(tag.as_ref());
        ticket
    }

    fn read(&self, ticket: &[u8], now_unix_ms: u64) -> Option<TicketBody> {
        if ticket.len() != TICKET_BYTES || ticket[0] != VERSION {
            return None;
        }
        let (body, tag) = ticket.split_at(BODY_BYTES);
        self.keys().iter().find(|key| hmac::verify(&key.resume, body, tag).is_ok())?;
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let (session, user, ends_unix_ms) = (number(1)?, number(9)?, number(17)?);
        let is_revoked = self.bans.deny(now_unix_ms, Subject::Session(session)).is_some();
        let is_good = now_unix_ms < ends_unix_ms && !is_revoked;
        is_good.then_some(TicketBody { session, user: UserId(user) })
    }
}
