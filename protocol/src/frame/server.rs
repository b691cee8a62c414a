//! Frames that servers send.
//!
//! Why apart from `client`: each side decodes only the frames that the other side sends.
//! Not here: batches, which have a layout of their own (`batch`).

use super::acts::{self, Acted, Notice};
use super::{Durability, FrameFault, Kind, Role, fb, split, table};
use crate::close::Retry;
use crate::refusal::Refusal;

/// Answer to `Hello`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The protocol version of this connection.
    pub version: u16,
    /// The capability bits that both sides use on this connection.
    pub capabilities: u64,
    /// The session's number, for logs and support.
    pub session: u64,
    /// Resume ticket, for a later `Hello` to continue this session.
    pub ticket: &'a [u8],
    /// How long the ticket stays valid after the connection ends.
    pub ticket_ttl_ms: u32,
    /// The longest time between two frames of the client.
    pub heartbeat_ms: u32,
    /// The name under which the session publishes.
    pub name: &'a str,
    /// The role under which it publishes.
    pub role: Role,
    /// What it may do: bits of [`super::permission`].
    pub permissions: u32,
    /// The node's clock, milliseconds since 1970.
    pub server_ms: u64,
    /// Largest frame that the node accepts.
    pub frame_bytes_max: u32,
    /// Longest text that the node accepts.
    pub text_bytes_max: u32,
    /// Most rooms that the session may follow at once.
    pub rooms_max: u32,
    /// The node's name.
    pub node: &'a str,
    /// Whether the node accepted the ticket.
    pub resumed: bool,
    /// Addresses at which the same rooms are served, separated by commas; empty: only this one.
    pub nodes: &'a str,
}

/// How a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// At the head, or at the start of the requested replay.
    #[default]
    Live = 0,
    /// Exactly after the requested position.
    Resumed = 1,
    /// After the requested position, with a `Gap` that follows at once.
    Gapped = 2,
    /// The room has another log than the one asked for: the client begins anew at the replay.
    Restarted = 3,
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// This viewer read too slowly, and the room's ring overwrote the messages before it read them.
    #[default]
    Slow = 0,
    /// Pacing left them out.
    Paced = 1,
    /// They are older than what the log keeps.
    Expired = 2,
    /// The room has a new log.
    Restarted = 3,
}

/// A room's phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Takes publications.
    #[default]
    Open = 0,
    /// About to close.
    Closing = 1,
    /// Takes none.
    Closed = 2,
    /// Takes publications; the show has not begun.
    PreShow = 3,
}

impl Phase {
    /// From its number; `None`: this version does not know it.
    pub fn known(n: u8) -> Option<Phase> {
        [Phase::Open, Phase::Closing, Phase::Closed, Phase::PreShow].into_iter().find(|p| *p as u8 == n)
    }
}

/// Answer to `Subscribe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscribed {
    /// Of the request.
    pub request: u32,
    /// The room's alias in this session from now on.
    pub alias: u32,
    /// Identity of the room's log.
    pub epoch: u64,
    /// Offset at which this viewer begins: the next batch with chat covers it first.
    pub offset: u64,
    /// Next offset that the room will assign: messages before it are replay.
    pub head: u64,
    /// Time of the last batch with chat before `offset`, milliseconds since 1970; times of batches add to it.
    pub time_ms: u64,
    /// How the subscription begins.
    pub outcome: Outcome,
    /// The room's phase.
    pub phase: Phase,
}

/// A publication was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Of the publication.
    pub nonce: u64,
    /// Epoch of the log that holds it.
    pub epoch: u64,
    /// Its offset.
    pub offset: u64,
    /// Time of its batch, milliseconds since 1970.
    pub time_ms: u64,
    /// Its durability.
    pub durability: Durability,
    /// Whether the room had seen the nonce before, and repeats its first answer.
    pub repeated: bool,
}

/// One request was refused; the connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Kind of the request.
    pub kind: u8,
    /// Its `request` or `nonce`; for `React` the alias.
    pub id: u64,
    /// Why.
    pub reason: Refusal,
    /// Delay after which the same request may succeed; `None` if it needs a change first.
    pub retry_after_ms: Option<u32>,
    /// Detail for people.
    pub detail: &'a str,
}

/// A range of messages that this viewer did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// The room.
    pub alias: u32,
    /// The log.
    pub epoch: u64,
    /// First offset missed.
    pub from: u64,
    /// Next offset that will be delivered.
    pub to: u64,
    /// Number of missed messages.
    pub count: u64,
    /// Why.
    pub reason: GapReason,
    /// Time of the last batch with chat before `to`; times of batches add to it.
    pub time_ms: u64,
}

/// A room opens, is about to close, or is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomEvent<'a> {
    /// The room.
    pub alias: u32,
    /// Its phase.
    pub phase: Phase,
    /// Time of the change of phase, milliseconds since 1970.
    pub at_ms: u64,
    /// Detail for people.
    pub detail: &'a str,
}

/// Move to another node, or come back later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// Address of the other node; empty for the same address.
    pub where_to: &'a str,
    /// Reconnect after this time.
    pub after_ms: u32,
    /// The node closes the connection after this time.
    pub deadline_ms: u32,
    /// Why, for people.
    pub detail: &'a str,
}

/// Why the connection is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFrame<'a> {
    /// A close code by its number, so that new ones pass through old clients.
    pub code: u16,
    /// What to do.
    pub retry: Retry,
    /// Not before this time.
    pub retry_after_ms: u32,
    /// What was wrong, for people.
    pub detail: &'a str,
}

/// A room's whole state at a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// The room.
    pub alias: u32,
    /// The log.
    pub epoch: u64,
    /// The state's version: the snapshot contains all changes up to it.
    pub version: u64,
    /// Keys and values.
    pub entries: Vec<(&'a str, &'a [u8])>,
}

/// Answer to `History`: a run of the log, with the messages that pacing left out, and nothing folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage<'a> {
    /// Of the request.
    pub request: u32,
    /// The room.
    pub alias: u32,
    /// The log.
    pub epoch: u64,
    /// Offset at which the first batch begins. It is above the requested one when the log no longer keeps the
    /// messages between.
    pub offset: u64,
    /// Time of the last batch with chat before `offset`, milliseconds since 1970; times of batches add to it.
    pub time_ms: u64,
    /// Offset at which the next page begins.
    pub next: u64,
    /// The next offset that the room will assign. When `next` equals it, there are no more pages.
    pub head: u64,
    /// Bodies of batches, without holes, for [`crate::batch::BatchReader`].
    pub batches: Vec<&'a [u8]>,
}

/// A message that pacing left out, sent to the person whom it answers or names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Personal<'a> {
    /// The room.
    pub alias: u32,
    /// The log.
    pub epoch: u64,
    /// Its offset: one of those that a batch, sent before or after it, leaves out.
    pub offset: u64,
    /// Time of its batch, milliseconds since 1970.
    pub time_ms: u64,
    /// Display name of the author.
    pub author: &'a str,
    /// The author's role.
    pub role: Role,
    /// The text.
    pub text: &'a str,
    /// Reference to an attachment; empty for none.
    pub attachment: &'a str,
    /// Offset of the message that it answers.
    pub reply_to: Option<u64>,
}

/// Answer to `Renew`: what the session is and may do by its new token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed<'a> {
    /// Of the request.
    pub request: u32,
    /// The name under which the session publishes from now on.
    pub name: &'a str,
    /// The role under which it publishes.
    pub role: Role,
    /// What it may do: bits of [`super::permission`].
    pub permissions: u32,
    /// When the token runs out; 0 for never.
    pub expires_in_ms: u64,
}

/// A frame from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack of one decode")]
pub enum ServerFrame<'a> {
    /// See [`Welcome`].
    Welcome(Welcome<'a>),
    /// See [`Subscribed`].
    Subscribed(Subscribed),
    /// The session no longer follows a room.
    Unsubscribed {
        /// Of the request; 0 when the server ended it.
        request: u32,
        /// The room.
        alias: u32,
        /// Why the server ended it; `Other` also where the client asked.
        reason: Refusal,
    },
    /// See [`Published`].
    Published(Published),
    /// A state change was accepted.
    StateSet {
        /// Of the request.
        request: u32,
        /// The state's version with it.
        version: u64,
    },
    /// See [`Refused`].
    Refused(Refused<'a>),
    /// A sealed batch: its packed body, for [`crate::batch::BatchReader`]. The body follows the kind byte
    /// directly, so decoding does not verify this one kind of frame.
    Batch(&'a [u8]),
    /// See [`Snapshot`].
    Snapshot(Snapshot<'a>),
    /// See [`Gap`].
    Gap(Gap),
    /// See [`RoomEvent`].
    RoomEvent(RoomEvent<'a>),
    /// Answer to `Ping`.
    Pong {
        /// The ping's clock value.
        client_us: u64,
        /// The node's clock, milliseconds since 1970.
        server_ms: u64,
    },
    /// See [`GoAway`].
    GoAway(GoAway<'a>),
    /// See [`ErrorFrame`].
    Error(ErrorFrame<'a>),
    /// See [`HistoryPage`].
    HistoryPage(HistoryPage<'a>),
    /// See [`Personal`].
    Personal(Personal<'a>),
    /// See [`Renewed`].
    Renewed(Renewed<'a>),
    /// The session's token is about to run out.
    Expiring {
        /// After this time it has; the server closes soon after.
        in_ms: u64,
    },
    /// See [`Acted`].
    Acted(Acted),
    /// See [`Notice`].
    Notice(Notice<'a>),
}

impl<'a> ServerFrame<'a> {
    /// Verify and read a frame. A batch has no table, so only its kind is checked.
    pub fn decode(frame: &'a [u8]) -> Result<Self, FrameFault> {
        let (kind, bytes) = split(frame)?;
        Ok(match kind {
            Kind::Batch => ServerFrame::Batch(bytes),
            Kind::Welcome => ServerFrame::Welcome(welcome(&table::<fb::Welcome<'_>>(kind, bytes)?)),
            Kind::Subscribed => {
                ServerFrame::Subscribed(subscribed(&table::<fb::Subscribed<'_>>(kind, bytes)?))
            }
            Kind::Unsubscribed => {
                let t = table::<fb::Unsubscribed<'_>>(kind, bytes)?;
                let reason = Refusal::from_wire(t.reason());
                ServerFrame::Unsubscribed { request: t.request(), alias: t.alias(), reason }
            }
            Kind::Published => ServerFrame::Published(published(&table::<fb::Published<'_>>(kind, bytes)?)),
            Kind::StateSet => {
                let t = table::<fb::StateSet<'_>>(kind, bytes)?;
                ServerFrame::StateSet { request: t.request(), version: t.version() }
            }
            Kind::Refused => ServerFrame::Refused(refused(&table::<fb::Refused<'_>>(kind, bytes)?)),
            Kind::Snapshot => ServerFrame::Snapshot(snapshot(&table::<fb::Snapshot<'_>>(kind, bytes)?)),
            Kind::Gap => ServerFrame::Gap(gap(&table::<fb::Gap<'_>>(kind, bytes)?)),
            Kind::RoomEvent => ServerFrame::RoomEvent(room_event(&table::<fb::RoomEvent<'_>>(kind, bytes)?)),
            Kind::Pong => {
                let t = table::<fb::Pong<'_>>(kind, bytes)?;
                ServerFrame::Pong { client_us: t.client_us(), server_ms: t.server_ms() }
            }
            Kind::GoAway => ServerFrame::GoAway(go_away(&table::<fb::GoAway<'_>>(kind, bytes)?)),
            Kind::Error => ServerFrame::Error(error(&table::<fb::Error<'_>>(kind, bytes)?)),
            Kind::HistoryPage => {
                ServerFrame::HistoryPage(history_page(&table::<fb::HistoryPage<'_>>(kind, bytes)?))
            }
            Kind::Personal => ServerFrame::Personal(personal(&table::<fb::Personal<'_>>(kind, bytes)?)),
            Kind::Renewed => ServerFrame::Renewed(renewed(&table::<fb::Renewed<'_>>(kind, bytes)?)),
            Kind::Expiring => {
                ServerFrame::Expiring { in_ms: table::<fb::Expiring<'_>>(kind, bytes)?.in_ms() }
            }
            Kind::Acted => ServerFrame::Acted(acts::acted(&table::<fb::Acted<'_>>(kind, bytes)?)),
            Kind::Notice => ServerFrame::Notice(acts::notice(&table::<fb::Notice<'_>>(kind, bytes)?)),
            other => return Err(FrameFault::WrongSide(other)),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            ServerFrame::Welcome(_) => Kind::Welcome,
            ServerFrame::Subscribed(_) => Kind::Subscribed,
            ServerFrame::Unsubscribed { .. } => Kind::Unsubscribed,
            ServerFrame::Published(_) => Kind::Published,
            ServerFrame::StateSet { .. } => Kind::StateSet,
            ServerFrame::Refused(_) => Kind::Refused,
            ServerFrame::Batch(_) => Kind::Batch,
            ServerFrame::Snapshot(_) => Kind::Snapshot,
            ServerFrame::Gap(_) => Kind::Gap,
            ServerFrame::RoomEvent(_) => Kind::RoomEvent,
            ServerFrame::Pong { .. } => Kind::Pong,
            ServerFrame::GoAway(_) => Kind::GoAway,
            ServerFrame::Error(_) => Kind::Error,
            ServerFrame::HistoryPage(_) => Kind::HistoryPage,
            ServerFrame::Personal(_) => Kind::Personal,
            ServerFrame::Renewed(_) => Kind::Renewed,
            ServerFrame::Expiring { .. } => Kind::Expiring,
            ServerFrame::Acted(_) => Kind::Acted,
            ServerFrame::Notice(_) => Kind::Notice,
        }
    }
}

fn welcome<'a>(t: &fb::Welcome<'a>) -> Welcome<'a> {
    Welcome {
        version: t.version(),
        capabilities: t.capabilities(),
        session: t.session(),
        ticket: t.ticket().map_or(&[][..], |v| v.bytes()),
        ticket_ttl_ms: t.ticket_ttl_ms(),
        heartbeat_ms: t.heartbeat_ms(),
        name: t.name().unwrap_or(""),
        role: Role::from_wire(t.role().0),
        permissions: t.permissions(),
        server_ms: t.server_ms(),
        frame_bytes_max: t.frame_bytes_max(),
        text_bytes_max: t.text_bytes_max(),
        rooms_max: t.rooms_max(),
        node: t.node().unwrap_or(""),
        resumed: t.resumed(),
        nodes: t.nodes().unwrap_or(""),
    }
}

fn renewed<'a>(t: &fb::Renewed<'a>) -> Renewed<'a> {
    Renewed {
        request: t.request(),
        name: t.name().unwrap_or(""),
        role: Role::from_wire(t.role().0),
        permissions: t.permissions(),
        expires_in_ms: t.expires_in_ms(),
    }
}

fn subscribed(t: &fb::Subscribed<'_>) -> Subscribed {
    Subscribed {
        request: t.request(),
        alias: t.alias(),
        epoch: t.epoch(),
        offset: t.offset(),
        head: t.head(),
        time_ms: t.time_ms(),
        outcome: match t.outcome().0 {
            1 => Outcome::Resumed,
            2 => Outcome::Gapped,
            3 => Outcome::Restarted,
            _ => Outcome::Live,
        },
        phase: phase(t.phase()),
    }
}

fn phase(p: fb::Phase) -> Phase {
    Phase::known(p.0).unwrap_or_default()
}

fn published(t: &fb::Published<'_>) -> Published {
    Published {
        nonce: t.nonce(),
        epoch: t.epoch(),
        offset: t.offset(),
        time_ms: t.time_ms(),
        durability: Durability::from_wire(t.durability().0),
        repeated: t.repeated(),
    }
}

fn refused<'a>(t: &fb::Refused<'a>) -> Refused<'a> {
    Refused {
        kind: t.kind(),
        id: t.id(),
        reason: Refusal::from_wire(t.reason()),
        retry_after_ms: t.retry_after_ms(),
        detail: t.detail().unwrap_or(""),
    }
}

fn snapshot<'a>(t: &fb::Snapshot<'a>) -> Snapshot<'a> {
    let entries = t.entries().map_or_else(Vec::new, |entries| {
        entries.iter().map(|e| (e.key().unwrap_or(""), e.value().map_or(&[][..], |v| v.bytes()))).collect()
    });
    Snapshot { alias: t.alias(), epoch: t.epoch(), version: t.version(), entries }
}

fn gap(t: &fb::Gap<'_>) -> Gap {
    Gap {
        alias: t.alias(),
        epoch: t.epoch(),
        from: t.from(),
        to: t.to(),
        count: t.count(),
        reason: match t.reason().0 {
            1 => GapReason::Paced,
            2 => GapReason::Expired,
            3 => GapReason::Restarted,
            _ => GapReason::Slow,
        },
        time_ms: t.time_ms(),
    }
}

fn room_event<'a>(t: &fb::RoomEvent<'a>) -> RoomEvent<'a> {
    RoomEvent {
        alias: t.alias(),
        phase: phase(t.phase()),
        at_ms: t.at_ms(),
        detail: t.detail().unwrap_or(""),
    }
}

fn go_away<'a>(t: &fb::GoAway<'a>) -> GoAway<'a> {
    GoAway {
        where_to: t.where_().unwrap_or(""),
        after_ms: t.after_ms(),
        deadline_ms: t.deadline_ms(),
        detail: t.detail().unwrap_or(""),
    }
}

fn history_page<'a>(t: &fb::HistoryPage<'a>) -> HistoryPage<'a> {
    let batches = t.batches().map_or_else(Vec::new, |batches| {
        batches.iter().map(|b| b.body().map_or(&[][..], |v| v.bytes())).collect()
    });
    HistoryPage {
        request: t.request(),
        alias: t.alias(),
        epoch: t.epoch(),
        offset: t.offset(),
        time_ms: t.time_ms(),
        next: t.next(),
        head: t.head(),
        batches,
    }
}

fn personal<'a>(t: &fb::Personal<'a>) -> Personal<'a> {
    Personal {
        alias: t.alias(),
        epoch: t.epoch(),
        offset: t.offset(),
        time_ms: t.time_ms(),
        author: t.author().unwrap_or(""),
        role: Role::from_wire(t.role().0),
        text: t.text().unwrap_or(""),
        attachment: t.attachment().unwrap_or(""),
        reply_to: t.reply_to(),
    }
}

fn error<'a>(t: &fb::Error<'a>) -> ErrorFrame<'a> {
    ErrorFrame {
        code: t.code(),
        retry: Retry::from_wire(t.retry()),
        retry_after_ms: t.retry_after_ms(),
        detail: t.detail().unwrap_or(""),
    }
}
