//! Acts: what somebody does to keep order in a room, and what persons are told of it.
//!
//! Why persons and not connections: what moderators do holds a person over reconnects and sessions, so a
//! worker gives a notice to every session of that person in the room.
//! Not here: who may do what, and what it means (`moderation`, `shard::acts`).

use grandstand_protocol::frame::{ActKind, Category, NoticeKind};

use super::id::{Alias, PersonId, ReplyTo, UserId};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: UserId,
    /// What a reconnect does not change; the same number for a named user.
    pub person: PersonId,
    /// Its name, for the audit log alone.
    pub name: Box<str>,
    /// May it do more than everybody may?
    pub may_moderate: bool,
}

/// An act that was not accepted yet; answered by [`AnswerKind::Acted`](super::AnswerKind::Acted) or
/// [`AnswerKind::ActRefused`](super::AnswerKind::ActRefused). Its fields are those of the protocol's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRequest {
    /// Where the answer goes.
    pub from: ReplyTo,
    /// The request's number, returned in the answer.
    pub request: u32,
    /// The room.
    pub alias: Alias,
    /// Who acts.
    pub by: Actor,
    /// What is done.
    pub act: ActKind,
    /// The log to which an offset in `target` belongs; 0: whatever log the room has, for operators.
    pub epoch: u64,
    /// An offset, or the number of what is held or acknowledged.
    pub target: Option<u64>,
    /// For how long, or how far back.
    pub seconds: u32,
    /// Why, of a report.
    pub category: Category,
    /// A reason, a warning, or an appeal.
    pub text: Box<str>,
}

/// Whom a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Every session whose user or person has this number. A sanction is told once for each number that it
    /// holds.
    Person(PersonId),
    /// Every session that may moderate.
    Moderators,
}

/// What an act means for a person. A worker gives it to the sessions that it is for, in this room. A worker
/// that begins to follow a room gets one for each ban, behind [`Output::Attached`](super::Output::Attached):
/// it lets nobody in whom one holds, until `until_ms` or until `Lifted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomNotice {
    /// The room.
    pub alias: Alias,
    /// Whom it is for.
    pub to: Recipient,
    /// What it tells.
    pub notice: NoticeKind,
    /// The number of a warning, the nonce of a publication, or a count.
    pub id: u64,
    /// Until when, milliseconds since 1970; 0: for ever, or without a time.
    pub until_ms: u64,
    /// For people.
    pub text: Box<str>,
}
