//! Events: everything that a session reports to the application, in the order in which it happened.
//!
//! Why generic over the text type: a load generator with fifteen thousand sessions borrows events from one
//! scratch buffer and keeps none; an app keeps them across tasks. One definition serves both ([`Event`],
//! [`OwnedEvent`]).
//! Invariant: each publication that a session accepted ends in exactly one of `Published`, `Refused`,
//! `Uncertain` and `NotSent`, and all of them come before `Closed`.
//! Not here: what causes an event (`session`, `batch`, `outcomes`).

use grandstand_protocol::frame::{ActKind, Durability, GapReason, NoticeKind, Outcome, Phase, Role};
use grandstand_protocol::refusal::Refusal;

use super::removal::RemovalRule;
use super::{Reason, RoomId};

/// An event that borrows its texts and values from its frame.
pub type Event<'a> = EventOf<&'a str, &'a [u8]>;

/// An event that owns its texts and values, so an application can keep it.
pub type OwnedEvent = EventOf<Box<str>, Box<[u8]>>;

/// A room, by its number in this session and by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomOf<S> {
    /// Number in this session, never used twice.
    pub id: RoomId,
    /// The room's name.
    pub name: S,
}

/// A room that borrows its name.
pub type Room<'a> = RoomOf<&'a str>;

/// A breach of the protocol by the node, which the session noticed. The session counts each in
/// [`Faults`](super::Faults) too, and passes none on as chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node delivered a message twice; the session dropped the second one.
    Duplicate {
        /// Its offset.
        offset: u64,
    },
    /// Offsets are missing, and the node sent no gap notice.
    Skipped {
        /// First offset missing.
        from: u64,
        /// Next offset that arrived.
        to: u64,
    },
    /// A batch did not continue the position; the session subscribes to the room again from there.
    Desync {
        /// The offset expected.
        expected: u64,
        /// The check byte found.
        check: u8,
    },
}

/// Something that the session reports to the application. See [`Event`] and [`OwnedEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOf<S, B> {
    /// The node accepted the session.
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
        /// Heartbeat interval, within which the client must send something; the session does so by itself.
        heartbeat_ms: u32,
        /// Longest text that the node accepts, in bytes.
        text_bytes_max: u32,
        /// Most rooms that the session may follow.
        rooms_max: u32,
        /// The node's clock, milliseconds since 1970.
        server_ms: u64,
        /// Whether the node continued an earlier session.
        resumed: bool,
    },
    /// The session follows a room from now on.
    Subscribed {
        /// The room.
        room: RoomOf<S>,
        /// How the subscription begins.
        outcome: Outcome,
        /// Identity of the room's log.
        epoch: u64,
        /// The next offset that will be delivered.
        offset: u64,
        /// Messages before this offset are replay.
        head: u64,
        /// The room's phase.
        phase: Phase,
    },
    /// The session no longer follows a room.
    Unsubscribed {
        /// The room.
        room: RoomOf<S>,
        /// Whether this side asked to stop following.
        asked: bool,
    },
    /// A chat message. Within an epoch, the offsets of a room's messages rise.
    Message {
        /// The room.
        room: RoomOf<S>,
        /// Its offset in the room's log.
        offset: u64,
        /// Time of its batch, milliseconds since 1970.
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
        /// Whether it is replay: older than the (re)subscription.
        replay: bool,
    },
    /// The place of a message that moderators removed before this session read it.
    Removed {
        /// The room.
        room: RoomOf<S>,
        /// Its offset in the room's log.
        offset: u64,
        /// Whether it is replay.
        replay: bool,
    },
    /// Moderators removed earlier messages: the application must no longer show those that the rule covers.
    Removal {
        /// The room.
        room: RoomOf<S>,
        /// Which they are.
        rule: Box<RemovalRule>,
        /// A word for people; mostly empty.
        note: S,
    },
    /// A run of adjacent offsets that pacing left out of one batch.
    Omitted {
        /// The room.
        room: RoomOf<S>,
        /// First offset left out.
        from: u64,
        /// Next offset that will be delivered.
        to: u64,
    },
    /// A message that pacing left out, and that answers this session's user or names them. Its offset is in
    /// the range of an [`Omitted`](EventOf::Omitted), which may come before or after. It does not change the
    /// position.
    Personal {
        /// The room.
        room: RoomOf<S>,
        /// Its offset in the room's log.
        offset: u64,
        /// Time of its batch, milliseconds since 1970.
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
    /// An earlier message, requested by [`Session::history`](super::Session::history); the offsets of one
    /// request rise.
    History {
        /// The room.
        room: RoomOf<S>,
        /// Number of the request.
        request: u32,
        /// Its offset in the room's log.
        offset: u64,
        /// Time of its batch, milliseconds since 1970.
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
    /// The end of a request for earlier messages: all requested ones, or all existing ones, have been given.
    HistoryEnd {
        /// The room.
        room: RoomOf<S>,
        /// Number of the request.
        request: u32,
        /// The first offset that was not given.
        next: u64,
        /// The next offset that the room will assign. When `next` equals it, there is nothing more to
        /// request.
        head: u64,
    },
    /// Reactions of one tick. Replayed ones are not reported.
    Tally {
        /// The room.
        room: RoomOf<S>,
        /// The reaction.
        key: S,
        /// Its count in this tick.
        count: u64,
    },
    /// A whole state follows: forget the keys known so far. One [`State`](EventOf::State) per key follows.
    Snapshot {
        /// The room.
        room: RoomOf<S>,
        /// The state's version.
        version: u64,
        /// Number of keys that follow.
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
    /// The session has read a batch to its end.
    BatchEnd {
        /// The room.
        room: RoomOf<S>,
        /// Number of its messages that were given to the application.
        messages: u32,
        /// Its bytes on the wire, frame header included; not those of TLS or below.
        wire_bytes: u32,
        /// Whether it is replay.
        replay: bool,
    },
    /// A range of messages that this viewer did not get.
    Gap {
        /// The room.
        room: RoomOf<S>,
        /// Identity of the room's log, of which these are offsets.
        epoch: u64,
        /// First offset missed.
        from: u64,
        /// Next offset that will be delivered.
        to: u64,
        /// Number of missed messages.
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
        /// Time of the change of phase, milliseconds since 1970.
        at_ms: u64,
        /// Detail for people.
        detail: S,
    },
    /// A publication was accepted.
    Published {
        /// Nonce of the publication.
        nonce: u64,
        /// Epoch of the log that holds it.
        epoch: u64,
        /// Its offset.
        offset: u64,
        /// Its durability.
        durability: Durability,
        /// Whether the node had accepted it before.
        repeated: bool,
        /// Time from [`Session::publish`](super::Session::publish) to this event.
        rtt_us: u64,
    },
    /// The fate of a publication is unknown: it may or may not be in the log. It was sent, and its answer
    /// never came. Then the session ended, could not be continued, or was away for longer than the room
    /// remembers nonces. A retry could publish it twice, so the decision is left to a person.
    Uncertain {
        /// Nonce of the publication.
        nonce: u64,
        /// Its text.
        text: S,
    },
    /// A publication was never sent, and will not be: the session ended before. It is not in the log, so a
    /// new session may publish it.
    NotSent {
        /// Nonce of the publication.
        nonce: u64,
        /// Its text.
        text: S,
    },
    /// A state change was accepted.
    StateSet {
        /// Number of the request.
        request: u32,
        /// The state's version with it.
        version: u64,
    },
    /// A state change has no answer, and gets none: the session ended before, or no longer follows the room.
    StateUnanswered {
        /// Number of the request.
        request: u32,
        /// Its key.
        key: S,
        /// Whether it was sent, so that it may be in effect.
        sent: bool,
    },
    /// One request was refused; the connection stays open.
    Refused {
        /// Kind of the request: the number of a [`grandstand_protocol::frame::Kind`].
        kind: u8,
        /// Its `request` or `nonce`.
        id: u64,
        /// The room, if the request was to subscribe.
        room: Option<RoomOf<S>>,
        /// Why.
        reason: Refusal,
        /// Delay after which the same request may succeed; `None` if it needs a change first.
        retry_after_ms: Option<u32>,
        /// Detail for people.
        detail: S,
    },
    /// Answer to a ping.
    Pong {
        /// Time from ping to pong.
        rtt_us: u64,
        /// The node's clock, milliseconds since 1970.
        server_ms: u64,
    },
    /// The node asks the session to move to another node; the session does so by itself.
    GoAway {
        /// Address of the other node; empty for the same address.
        where_to: S,
        /// Delay before the move.
        after_ms: u32,
        /// Why, for people.
        detail: S,
    },
    /// The node broke a rule of the protocol.
    Fault {
        /// The room that it concerns.
        room: RoomOf<S>,
        /// The breach.
        fault: Fault,
    },
    /// The connection has ended.
    Disconnected {
        /// Why.
        reason: Reason,
    },
    /// The session will try a new connection.
    Reconnecting {
        /// Delay before the try.
        after_us: u64,
        /// Tries since the last connection that stayed established.
        attempt: u32,
    },
    /// The session's token runs out soon: give another one with [`set_token`](super::Session::set_token).
    TokenExpires {
        /// After this time; the node ends the session soon after.
        in_ms: u64,
    },
    /// The node took a new token: what the session is and may do from now on.
    Renewed {
        /// The name under which the session publishes.
        name: S,
        /// The role under which it publishes.
        role: Role,
        /// What it may do: bits of [`grandstand_protocol::frame::permission`].
        permissions: u32,
        /// When the token runs out; 0 for never.
        expires_in_ms: u64,
    },
    /// An act took effect.
    Acted {
        /// Number of the request.
        request: u32,
        /// Epoch of the log.
        epoch: u64,
        /// The act's offset, if it is an entry of the log.
        offset: Option<u64>,
        /// How many messages it removed.
        count: u64,
    },
    /// No answer to an act will come: the session or the subscription ended, or the connection on which it
    /// was sent, and it may not be done twice.
    ActUnanswered {
        /// Number of the request.
        request: u32,
        /// What was to be done.
        act: ActKind,
        /// Whether it was sent, so that it may have taken effect.
        sent: bool,
    },
    /// What moderators did that concerns this session's person, or what became of something held.
    Notice {
        /// The room.
        room: Option<RoomOf<S>>,
        /// What it tells.
        notice: NoticeKind,
        /// The number of a warning, the nonce of a publication, or a count.
        id: u64,
        /// Until when, milliseconds since 1970; 0: for ever, or without a time.
        until_ms: u64,
        /// For people.
        text: S,
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
    /// A copy that owns its texts and values.
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
            E::Removed { room, offset, replay } => E::Removed { room: room.map(t), offset, replay },
            E::Removal { room, rule, note } => E::Removal { room: room.map(&t), rule, note: t(note) },
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
            E::Gap { room, epoch, from, to, count, reason } => {
                E::Gap { room: room.map(t), epoch, from, to, count, reason }
            }
            E::Phase { room, phase, at_ms, detail } => {
                E::Phase { room: room.map(&t), phase, at_ms, detail: t(detail) }
            }
            E::Published { nonce, epoch, offset, durability, repeated, rtt_us } => {
                E::Published { nonce, epoch, offset, durability, repeated, rtt_us }
            }
            E::Uncertain { nonce, text } => E::Uncertain { nonce, text: t(text) },
            E::NotSent { nonce, text } => E::NotSent { nonce, text: t(text) },
            E::StateUnanswered { request, key, sent } => E::StateUnanswered { request, key: t(key), sent },
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
            E::TokenExpires { in_ms } => E::TokenExpires { in_ms },
            E::Renewed { name, role, permissions, expires_in_ms } => {
                E::Renewed { name: t(name), role, permissions, expires_in_ms }
            }
            E::Acted { request, epoch, offset, count } => E::Acted { request, epoch, offset, count },
            E::ActUnanswered { request, act, sent } => E::ActUnanswered { request, act, sent },
            E::Notice { room, notice, id, until_ms, text } => {
                E::Notice { room: room.map(|r| r.map(&t)), notice, id, until_ms, text: t(text) }
            }
            E::TokenWanted => E::TokenWanted,
            E::Closed { reason } => E::Closed { reason },
        }
    }
}
