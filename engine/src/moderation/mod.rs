//! Moderation of one room: what moderators did there, and what follows for those who speak. Pure decisions.
//!
//! Why hidden state: what is kept here must come back by every path by which a room comes back. So each fact
//! has a key in the room's hidden state (`gs.!...`), and this is what the keys say.
//! Invariant: a room in which no moderator ever did anything has none of this.
//! Not here: the requests (`shard::acts`), which publications are judged when (`room::judge`).

use bytes::Bytes;

use crate::link::{Actor, ReplyTo};
use crate::room::authors::Author;
use crate::room::removals::Removals;

/// What an act removes, when it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The message at an offset.
    One(u64),
    /// What an author said from an offset on.
    Of(Author, u64),
    /// Everything from an offset on.
    All(u64),
}

/// An act that waits for the next seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) from: ReplyTo,
    pub(crate) request: u32,
    pub(crate) by: Actor,
    /// A word for people.
    pub(crate) note: Box<str>,
    /// What it removes; `None`: it is no entry of the log, and its changes wait in the hidden state.
    pub(crate) scope: Option<Scope>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Moderation {
    pub(crate) removals: Removals,
    pub(crate) waiting: Vec<Waiting>,
}

impl Moderation {
    /// What the hidden state of a room says; `None`: nothing.
    pub(crate) fn restored<'a>(
        hidden: impl Iterator<Item = (&'a str, &'a Bytes)> + Clone,
    ) -> Option<Box<Moderation>> {
        let removals = Removals::restored(hidden);
        (!removals.is_empty()).then(|| Box::new(Moderation { removals, waiting: Vec::new() }))
    }
}
