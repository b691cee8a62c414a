//! Who a session is and what it may do, as data; and the two traits by which a driver decides that.
//!
//! Why traits: the audience needs the answers and none of the cryptography behind them. Both are asked once
//! per `Hello`, never per frame.
//! Not here: tokens, keys and the layout of tickets (`grandstand_edge::auth`), what a permission allows
//! (`audience`), rates.

mod scope;

use grandstand_engine::link::UserId;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::Role;

pub use scope::{RoomPattern, RoomScope};

/// What a session may do, decided by its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who it is, across sessions; `None` is anonymous, and the scope of nonces is the session.
    pub user: Option<UserId>,
    /// Display name; empty where neither token nor client gave one: the audience makes one.
    pub name: Box<str>,
    /// Who the author is to the room.
    pub role: Role,
    /// Bits of [`grandstand_protocol::frame::permission`].
    pub permissions: u32,
    /// When its token runs out, and the session with it.
    pub expiry: Option<Expiry>,
    /// Rooms that it may enter.
    pub rooms: RoomScope,
    /// By which its token can be revoked; 0: the token has no id, or there is none.
    pub token: u64,
}

/// What an operator can end, everywhere in the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// All sessions of a user.
    User(u64),
    /// A session, and its ticket.
    Session(u64),
    /// All sessions with a token.
    Token(u64),
}

/// Something that was ended: how its connections are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What.
    pub subject: Subject,
    /// With which code.
    pub code: CloseCode,
    /// Why, for people.
    pub detail: Box<str>,
}

/// When a token runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its time, milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// How long a session may go on behind it: sessions of one expiry end spread over this time.
    pub leeway_ms: u64,
}

impl Grant {
    /// What a session without a token gets: the name that it wishes for, these permissions, every room.
    pub fn without_token(name: &str, permissions: u32) -> Grant {
        let (role, rooms) = (Role::Viewer, RoomScope::All);
        Grant { user: None, name: name.into(), role, permissions, expiry: None, rooms, token: 0 }
    }
}

/// A hello that was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What to close with.
    pub code: CloseCode,
    /// What was wrong, for people; holds nothing of the token.
    pub detail: &'static str,
    /// When it may be admitted, in milliseconds; 0: nobody knows.
    pub retry_after_ms: u32,
}

/// Decides what sessions may do.
pub trait Authorize: std::fmt::Debug + Send + Sync {
    /// Decides on a hello or a renewal: its token (empty for none), the display name that it wishes for
    /// (empty for none, else mended), and the time.
    ///
    /// # Errors
    /// `TokenExpired` for a token that was good and has run out, `TokenRevoked` and `Banned` for what an
    /// operator ended, `KeysPending` with a time while its issuer's keys are fetched, `Unauthorized` for
    /// everything else.
    fn authorize(&self, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied>;
}

/// What a resume ticket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketBody {
    /// The session.
    pub session: u64,
    /// Scope of its nonces.
    pub user: UserId,
}

/// Issues resume tickets and reads them back.
pub trait SealTickets: std::fmt::Debug + Send + Sync {
    /// Seals a session; at most [`grandstand_protocol::limits::TICKET_BYTES_MAX`] bytes.
    fn issue(&self, body: &TicketBody, now_unix_ms: u64) -> Vec<u8>;

    /// Opens a ticket; `None` for one that is not ours, not whole or out of time.
    fn read(&self, ticket: &[u8], now_unix_ms: u64) -> Option<TicketBody>;
}
