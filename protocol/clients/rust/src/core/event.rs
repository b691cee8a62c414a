//! Events: what the application learns, in the order in which it happened.
//!
//! Why generic over the text type: a load generator reads fifteen thousand rooms' worth of events borrowed
//! from one scratch buffer and keeps none; an app keeps them across tasks. One definition serves both
//! ([`Event`], [`OwnedEvent`]).
//! Not here: when an event is due (`session`, `batch`).

use grandstand_protocol::frame::{Durability, GapReason, Outcome, Phase, Role};
use grandstand_protocol::refusal::Refusal;

use super::{Reason, RoomId};

/// An event that borrows its texts and values from the frame it came in.
pub type Event<'a> = EventOf<&'a str, &'a [u8]>;

/// An event that can be kept.
pub type OwnedEvent = EventOf<Box<str>, Box<[u8]>>;

/// A room, by its number in this session and by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomOf<S> {
    /// Number in this session, never given twice.
    pub id: RoomId,
    /// The room's name.
    pub name: S,
}

/// A room that borrows its name.
pub type Room<'a> = RoomOf<&'a str>;

/// Something that the other side did against the protocol, noticed by this one. Each is counted in
/// [`Faults`](super::Faults) too; none is passed on as chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A message that was delivered before came again; it was dropped.
    Duplicate {
        /// Its offset.
        offset: u64,
    },
    /// Offsets went missing without a gap notice.
    Skipped {
        /// First offset missing.
        from: u64,
        /// Next offset that came.
        to: u64,
    },
    /// A batch did not continue the position; the room is subscribed to again from there.
    Desync {
        /// The offset expected.
        expected: u64,
        /// The check byte found.
        check: u8,
    },
}

/// Something that the application learns. See [`Event`] and [`OwnedEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOf<S, B> {
    /// The node took the session in.
    Welcome {
        /// The session's number, for logs and support.
        session: u64,
        /// The node's name.
        node: S,
        /// The name under which the session publishes.
        name: S,
        /// The role under which it publishes.
        role: Role,
        /// What it may do: bits of [`grandstand_protocol::frame::permission`].
        permissions: u32,
        /// Interval within which something has to be sent; the session sees to it.
        heartbeat_ms: u32,
        /// Longest text that the node takes, in bytes.
        text_bytes_max: u32,
        /// Most rooms that the session may follow.
        rooms_max: u32,
        /// The node's clock, milliseconds since 1970.
        server_ms: u64,
        /// Whether an earlier session was continued.
        resumed: bool,
    },
    /// A room is followed from here on.
    Subscribed {
        /// The room.
        room: RoomOf<S>,
        /// How it begins.
        outcome: Outcome,
        /// Identity of the room's log.
        epoch: u64,
        /// The next offset that comes.
        offset: u64,
        /// What lies before it is replay.
        head: u64,
        /// The room's phase.
        phase: Phase,
    },
    /// A room is no longer followed.
    Unsubscribed {
        /// The room.
        room: RoomOf<S>,
        /// Whether this side asked for it.
        asked: bool,
    },
    /// A chat message. Offsets of a room rise from one to the next, within an epoch.
    Message {
        /// The room.
        room: RoomOf<S>,
        /// Where it stands in the room's log.
        offset: u64,
        /// When it was sealed, milliseconds since 1970.
        time_ms: u64,
        /// Display name of the author.
        author: S,
        /// The author's role.
        role: Role,
        /// The text.
        text: S,
        /// Reference to an attachment; empty for none.
        attachment: S,
        /// Offset of the message that this one answers.
        reply_to: Option<u64>,
        /// How many equal texts were folded into this one.
        folded: u64,
        /// Whether it was said before the (re)subscription.
        replay: bool,
    },
    /// Offsets that pacing left out; all that come with one batch and lie together.
    Omitted {
        /// The room.
        room: RoomOf<S>,
        /// First offset left out.
        from: u64,
        /// Next offset that comes.
        to: u64,
    },
    /// A message that pacing left out, and that answers this session or names it. Its offset is among those
    /// of an [`Omitted`](EventOf::Omitted) that came or comes; it moves no position.
    Personal {
        /// The room.
        room: RoomOf<S>,
        /// Where it stands in the room's log.
        offset: u64,
        /// When it was sealed, milliseconds since 1970.
        time_ms: u64,
        /// Display name of the author.
        author: S,
        /// The author's role.
        role: Role,
        /// The text.
        text: S,
        /// Reference to an attachment; empty for none.
        attachment: S,
        /// Offset of the message that this one answers.
        reply_to: Option<u64>,
    },
    /// A message of the past that was asked for by [`Session::history`](super::Session::history); offsets
    /// rise.
    History {
        /// The room.
        room: RoomOf<S>,
        /// Of the request.
        request: u32,
        /// Where it stands in the room's log.
        offset: u64,
        /// When it was sealed, milliseconds since 1970.
        time_ms: u64,
        /// Display name of the author.
        author: S,
        /// The author's role.
        role: Role,
        /// The text.
        text: S,
        /// Reference to an attachment; empty for none.
        attachment: S,
        /// Offset of the message that this one answers.
        reply_to: Option<u64>,
    },
    /// All messages that were asked for, or all that there are.
    HistoryEnd {
        /// The room.
        room: RoomOf<S>,
        /// Of the request.
        request: u32,
        /// The next offset that was not given.
        next: u64,
        /// The offset that the room gives next: with `next` there, nothing is left to ask for.
        head: u64,
    },
    /// Reactions of one tick; live ones only.
    Tally {
        /// The room.
        room: RoomOf<S>,
        /// The reaction.
        key: S,
        /// How often.
        count: u64,
    },
    /// A whole state follows: forget the keys known so far. One [`State`](EventOf::State) per key comes next.
    Snapshot {
        /// The room.
        room: RoomOf<S>,
        /// The state's version.
        version: u64,
        /// Keys that follow.
        entries: u32,
    },
    /// A key of the room's state.
    State {
        /// The room.
        room: RoomOf<S>,
        /// The state's version with it.
        version: u64,
        /// The key.
        key: S,
        /// Its value; `None` when it was removed.
        value: Option<B>,
    },
    /// A batch was read to its end.
    BatchEnd {
        /// The room.
        room: RoomOf<S>,
        /// Messages passed on from it.
        messages: u32,
        /// Its bytes on the wire, frame header included; not those of TLS or below.
        wire_bytes: u32,
        /// Whether it was replay.
        replay: bool,
    },
    /// What this viewer did not get.
    Gap {
        /// The room.
        room: RoomOf<S>,
        /// First offset missed.
        from: u64,
        /// Next offset that comes.
        to: u64,
        /// Messages missed.
        count: u64,
        /// Why.
        reason: GapReason,
    },
    /// A room opens, is about to close, or is closed.
    Phase {
        /// The room.
        room: RoomOf<S>,
        /// Its phase.
        phase: Phase,
        /// Since or until when, milliseconds since 1970.
        at_ms: u64,
        /// More, for people.
        detail: S,
    },
    /// A publication was accepted.
    Published {
        /// Of the publication.
        nonce: u64,
        /// The log in which it stands.
        epoch: u64,
        /// Where it stands.
        offset: u64,
        /// How safe it is.
        durability: Durability,
        /// Whether the node had accepted it before.
        repeated: bool,
        /// From [`Session::publish`](super::Session::publish) to here.
        rtt_us: u64,
    },
    /// A publication was sent, its answer never came, and the session could not be continued, or was away for
    /// longer than the node remembers what it took: it may or may not stand in the room. Sending it again
    /// could say it twice, so that is left to a person.
    Uncertain {
        /// Of the publication.
        nonce: u64,
        /// Its text.
        text: S,
    },
    /// A state change was accepted.
    StateSet {
        /// Of the request.
        request: u32,
        /// The state's version with it.
        version: u64,
    },
    /// One request was refused; the connection goes on.
    Refused {
        /// Kind of the request: the number of a [`grandstand_protocol::frame::Kind`].
        kind: u8,
        /// Its `request` or `nonce`.
        id: u64,
        /// The room, where the request was one to subscribe.
        room: Option<RoomOf<S>>,
        /// Why.
        reason: Refusal,
        /// When the same request may succeed; `None` if not without a change.
        retry_after_ms: Option<u32>,
        /// More, for people.
        detail: S,
    },
    /// Answer to a ping.
    Pong {
        /// From ping to pong.
        rtt_us: u64,
        /// The node's clock, milliseconds since 1970.
        server_ms: u64,
    },
    /// The node asks to move; the session follows by itself.
    GoAway {
        /// Where to; empty for the same address.
        where_to: S,
        /// When.
        after_ms: u32,
        /// Why, for people.
        detail: S,
    },
    /// The other side broke a rule.
    Fault {
        /// In this room.
        room: RoomOf<S>,
        /// What it did.
        fault: Fault,
    },
    /// The connection is gone.
    Disconnected {
        /// Why.
        reason: Reason,
    },
    /// A new connection will be tried.
    Reconnecting {
        /// After this time.
        after_us: u64,
        /// Tries since the last connection that held.
        attempt: u32,
    },
    /// A new token is needed before the next try.
    TokenWanted,
    /// The session is over. The last event.
    Closed {
        /// Why.
        reason: Reason,
    },
}

impl Event<'_> {
    /// A copy that can be kept.
    pub fn to_owned(&self) -> OwnedEvent {
        self.clone().map(Box::from, Box::from)
    }
}

impl<S> RoomOf<S> {
    fn map<T>(self, text: impl FnOnce(S) -> T) -> RoomOf<T> {
        RoomOf { id: self.id, name: text(self.name) }
    }
}

impl<S, B> EventOf<S, B> {
    fn map<T, C>(self, t: impl Fn(S) -> T, b: impl Fn(B) -> C) -> EventOf<T, C> {
        use EventOf as E;
        match self {
            E::Welcome {
                session,
                node,
                name,
                role,
                permissions,
                heartbeat_ms,
                text_bytes_max,
                rooms_max,
                server_ms,
                resumed,
            } => E::Welcome {
                session,
                node: t(node),
                name: t(name),
                role,
                permissions,
                heartbeat_ms,
                text_bytes_max,
                rooms_max,
                server_ms,
                resumed,
            },
            E::Subscribed { room, outcome, epoch, offset, head, phase } => {
                E::Subscribed { room: room.map(t), outcome, epoch, offset, head, phase }
            }
            E::Unsubscribed { room, asked } => E::Unsubscribed { room: room.map(t), asked },
            E::Message {
                room,
                offset,
                time_ms,
                author,
                role,
                text,
                attachment,
                reply_to,
                folded,
                replay,
            } => E::Message {
                room: room.map(&t),
                offset,
                time_ms,
                author: t(author),
                role,
                text: t(text),
                attachment: t(attachment),
                reply_to,
                folded,
                replay,
            },
            E::Omitted { room, from, to } => E::Omitted { room: room.map(t), from, to },
            E::Personal { room, offset, time_ms, author, role, text, attachment, reply_to } => E::Personal {
                room: room.map(&t),
                offset,
                time_ms,
                author: t(author),
                role,
                text: t(text),
                attachment: t(attachment),
                reply_to,
            },
            E::History { room, request, offset, time_ms, author, role, text, attachment, reply_to } => {
                E::History {
                    room: room.map(&t),
                    request,
                    offset,
                    time_ms,
                    author: t(author),
                    role,
                    text: t(text),
                    attachment: t(attachment),
                    reply_to,
                }
            }
            E::HistoryEnd { room, request, next, head } => {
                E::HistoryEnd { room: room.map(t), request, next, head }
            }
            E::Tally { room, key, count } => E::Tally { room: room.map(&t), key: t(key), count },
            E::Snapshot { room, version, entries } => E::Snapshot { room: room.map(t), version, entries },
            E::State { room, version, key, value } => {
                E::State { room: room.map(&t), version, key: t(key), value: value.map(b) }
            }
            E::BatchEnd { room, messages, wire_bytes, replay } => {
                E::BatchEnd { room: room.map(t), messages, wire_bytes, replay }
            }
            E::Gap { room, from, to, count, reason } => E::Gap { room: room.map(t), from, to, count, reason },
            E::Phase { room, phase, at_ms, detail } => {
                E::Phase { room: room.map(&t), phase, at_ms, detail: t(detail) }
            }
            E::Published { nonce, epoch, offset, durability, repeated, rtt_us } => {
                E::Published { nonce, epoch, offset, durability, repeated, rtt_us }
            }
            E::Uncertain { nonce, text } => E::Uncertain { nonce, text: t(text) },
            E::StateSet { request, version } => E::StateSet { request, version },
            E::Refused { kind, id, room, reason, retry_after_ms, detail } => E::Refused {
                kind,
                id,
                room: room.map(|r| r.map(&t)),
                reason,
                retry_after_ms,
                detail: t(detail),
            },
            E::Pong { rtt_us, server_ms } => E::Pong { rtt_us, server_ms },
            E::GoAway { where_to, after_ms, detail } => {
                E::GoAway { where_to: t(where_to), after_ms, detail: t(detail) }
            }
            E::Fault { room, fault } => E::Fault { room: room.map(t), fault },
            E::Disconnected { reason } => E::Disconnected { reason },
            E::Reconnecting { after_us, attempt } => E::Reconnecting { after_us, attempt },
            E::TokenWanted => E::TokenWanted,
            E::Closed { reason } => E::Closed { reason },
        }
    }
}
