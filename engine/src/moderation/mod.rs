//! Moderation of one room: what moderators did there, and what follows for those who speak. Pure decisions.
//!
//! Why hidden state: what is kept here must come back by every path by which a room comes back. So each fact
//! has a key in the room's hidden state (`gs.!...`), and this is what the keys say.
//! Invariant: a room in which no moderator ever did anything has none of this.
//! Not here: the requests (`shard::acts`), which publications are judged when (`room::judge`).

pub(crate) mod modes;
pub(crate) mod people;
pub(crate) mod reports;

use bytes::Bytes;

use crate::link::{Actor, ReplyTo};
use crate::moderation::people::People;
use crate::moderation::reports::Reports;
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
    /// How much it did, if it removes nothing.
    pub(crate) count: u64,
    /// What it removes; `None`: it is no entry of the log, and its changes wait in the hidden state.
    pub(crate) scope: Option<Scope>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Moderation {
    pub(crate) removals: Removals,
    pub(crate) people: People,
    pub(crate) reports: Reports,
    pub(crate) waiting: Vec<Waiting>,
    /// The offsets of waiting publications that nobody but their author is shown.
    pub(crate) shadowed: Vec<u64>,
}

impl Moderation {
    /// What the hidden state of a room says; `None`: nothing.
    pub(crate) fn restored<'a>(
        hidden: impl Iterator<Item = (&'a str, &'a Bytes)> + Clone,
    ) -> Option<Box<Moderation>> {
        let (removals, people) = (Removals::restored(hidden.clone()), People::restored(hidden.clone()));
        let reports = Reports::restored(hidden);
        let is_empty = removals.is_empty() && people.is_empty() && reports.is_empty();
        let moderation = || Moderation { removals, people, reports, ..Moderation::default() };
        (!is_empty).then(|| Box::new(moderation()))
    }
}
