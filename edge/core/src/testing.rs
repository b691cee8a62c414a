//! Stand-ins for a node's authority and ticket keys, for tests, the simulator and the micro benches.
//!
//! Why here: all of them start audiences, and none of them needs the cryptography of `grandstand_edge::auth`.
//! Not here: anything that a node uses.

use grandstand_engine::link::UserId;

use crate::auth::{Authorize, Denied, Grant, SealTickets, TicketBody};

/// Grants every hello the same permissions, as a node without a key does.
#[derive(Clone, Copy, Debug)]
pub struct OpenAuthority {
    /// Bits of [`grandstand_protocol::frame::permission`].
    pub permissions: u32,
}

impl Authorize for OpenAuthority {
    fn authorize(&self, _token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        Ok(Grant::without_token(wished_name, self.permissions))
    }
}

/// Tickets that a changed bit spoils and that anybody can make: FNV-1a in place of a keyed tag.
#[derive(Clone, Copy, Debug)]
pub struct OpenTickets {
    /// How long a ticket holds.
    pub ttl_ms: u64,
}

const BODY_BYTES: usize = 24;

impl SealTickets for OpenTickets {
    fn issue(&self, body: &TicketBody, now_unix_ms: u64) -> Vec<u8> {
        let numbers = [body.session, body.user.0, now_unix_ms.saturating_add(self.ttl_ms)];
        let mut ticket: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        ticket.extend_from_slice(&tag(&ticket));
        ticket
    }

    fn read(&self, ticket: &[u8], now_unix_ms: u64) -> Option<TicketBody> {
        let (body, told) = ticket.split_at_checked(BODY_BYTES)?;
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let (session, user, ends_unix_ms) = (number(0)?, number(8)?, number(16)?);
        let is_good = told == tag(body) && now_unix_ms < ends_unix_ms;
        is_good.then_some(TicketBody { session, user: UserId(user) })
    }
}

fn tag(bytes: &[u8]) -> [u8; 8] {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.to_le_bytes()
}
