//! Resume tickets: a session's number and user, sealed so that only this node can have written them.
//!
//! Why: the node keeps nothing of a session that is away; what must come back, the client carries.
//! Layout, 57 bytes: version 1, session u64, user u64, end in ms since 1970 u64 (all little-endian), HMAC-SHA256 over these.
//! Invariant: a ticket that was changed in any bit, by another key or out of time reads as none.
//! Not here: positions in rooms (the client's subscriptions carry them); what the session may do (its token, anew).

use aws_lc_rs::hmac;
use grandstand_engine::message::UserId;

/// The first byte: tickets of another layout read as none.
const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 8 + 8 + 8;
const TAG_BYTES: usize = 32;
const TICKET_BYTES: usize = BODY_BYTES + TAG_BYTES;
// `limits::TICKET_BYTES_MAX` counts on at most 97.
const _: () = assert!(TICKET_BYTES <= 97);

/// What a ticket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketBody {
    /// The session.
    pub session: u64,
    /// Scope of its nonces.
    pub user: UserId,
}

/// Issues tickets and reads them back.
#[derive(Debug)]
pub struct Tickets {
    key: hmac::Key,
    ttl_ms: u64,
}

impl Tickets {
    /// With this key; tickets hold for `ttl_ms`.
    pub fn new(key: [u8; 32], ttl_ms: u64) -> Tickets {
        Tickets { key: hmac::Key::new(hmac::HMAC_SHA256, &key), ttl_ms }
    }

    /// With a key that nobody else has: tickets end with the process.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn with_random_key(ttl_ms: u64) -> Result<Tickets, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|e| format!("the system gives no random bytes for the ticket key: {e}"))?;
        Ok(Tickets::new(key, ttl_ms))
    }

    /// How long a ticket holds.
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// Seals a session.
    pub fn issue(&self, body: &TicketBody, now_unix_ms: u64) -> Vec<u8> {
        let mut ticket = Vec::with_capacity(TICKET_BYTES);
        ticket.push(VERSION);
        for number in [body.session, body.user.0, now_unix_ms.saturating_add(self.ttl_ms)] {
            ticket.extend_from_slice(&number.to_le_bytes());
        }
        let tag = hmac::sign(&self.key, &ticket);
        ticket.extend_from_slice(tag.as_ref());
        ticket
    }

    /// Opens a ticket; `None` for one that is not ours, not whole or out of time.
    pub fn read(&self, ticket: &[u8], now_unix_ms: u64) -> Option<TicketBody> {
        if ticket.len() != TICKET_BYTES || ticket[0] != VERSION {
            return None;
        }
        let (body, tag) = ticket.split_at(BODY_BYTES);
        hmac::verify(&self.key, body, tag).ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let (session, user, ends_unix_ms) = (number(1)?, number(9)?, number(17)?);
        (now_unix_ms < ends_unix_ms).then_some(TicketBody { session, user: UserId(user) })
    }
}
