//! Talk: what an application protocol has to answer so that its viewers can be watched.
//!
//! Why a trait: a peer of Grandstand is measured by the same crowd, with the same checks, so that only the
//! server differs. A talk stands above WebSocket messages (over QUIC: above our stream's frames); sockets,
//! TLS, the upgrade, fragments, pings and closes of WebSocket are the crowd's.
//! Invariant: a talk keeps nothing of a viewer but its [`Seat`].
//! Not here: the cache of frames that a talk compares with (`canon`), the counts (`stage`).

pub use super::canon::{Canon, Parsed, hash};
pub use super::stage::{Stage, Tally};
use anyhow::Result;
use grandstand_protocol::websocket::Opcode;
use smallvec::SmallVec;

/// One application protocol.
pub trait Talk {
    /// Path and subprotocol of the WebSocket upgrade; `None` for bare bytes, which are heard as they come.
    fn upgrade(&self) -> Option<Upgrade>;

    /// The connection stands: greet, and follow the seat's rooms ([`Stage::say`]).
    ///
    /// # Errors
    /// The viewer ends with this fault.
    fn open(&mut self, seat: &mut Seat, stage: &mut Stage) -> Result<()>;

    /// One whole message from the server. A talk sets [`Seat::is_joined`] when the viewer follows all of its
    /// rooms.
    ///
    /// # Errors
    /// The viewer ends with this fault.
    fn hear(&mut self, seat: &mut Seat, opcode: Opcode, payload: &[u8], stage: &mut Stage) -> Result<()>;

    /// Says something, so that the server does not take the viewer for gone; called about every 15 s for each
    /// viewer.
    ///
    /// # Errors
    /// The viewer ends with this fault.
    fn keep_alive(&mut self, seat: &mut Seat, stage: &mut Stage) -> Result<()>;
}

/// How a WebSocket begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Path and query.
    pub path: &'static str,
    /// Subprotocol asked for.
    pub subprotocol: Option<&'static str>,
}

/// A viewer, as a talk sees it.
#[derive(Debug, Default)]
pub struct Seat {
    /// Its number, from 0.
    pub number: u32,
    /// The rooms that it follows.
    pub places: SmallVec<[Place; 1]>,
    /// Whether it follows them all.
    pub is_joined: bool,
    /// The talk's own: how far the greeting has come.
    pub step: u8,
}

/// A viewer's place in one room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index into the plan's rooms.
    pub room: u32,
    /// The room's number on this connection.
    pub alias: u32,
    /// The next offset that the viewer expects.
    pub next: u64,
    /// Whether `alias` and `next` hold.
    pub is_open: bool,
}

/// Finds a talk by its name.
pub type ByName = fn(&str) -> Option<Box<dyn Talk>>;

/// The talks of this library.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Talk>> {
    Some(match name {
        "grandstand" => Box::new(super::grandstand::Grandstand::default()),
        "raw" => Box::new(super::raw::Raw),
        _ => return None,
    })
}
