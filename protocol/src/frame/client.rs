//! Frames that clients send.
//!
//! Not here: sizes of texts, attachments and room names (`rules`). A server refuses one request for a text
//! that is too large; that is not a fault of the frame.

use super::acts::{self, Act};
use super::{FrameFault, Kind, Role, blob, fb, split, table, text};
use crate::limits;

/// First frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest version that the client speaks.
    pub min_version: u16,
    /// Highest version that the client speaks.
    pub max_version: u16,
    /// Capability bits offered.
    pub capabilities: u64,
    /// Signed token; empty for none.
    pub token: &'a str,
    /// Display name that the client asks for, in any form: the server mends it (`text::mend_name`). A name in
    /// the token takes precedence.
    pub name: &'a str,
    /// Ticket of an earlier `Welcome`, to continue its session; empty for none.
    pub ticket: &'a [u8],
    /// The client's name and version, in its own words.
    pub agent: &'a str,
}

impl Default for Hello<'_> {
    fn default() -> Self {
        let (min_version, max_version) = (crate::version::VERSION, crate::version::VERSION);
        Hello { min_version, max_version, capabilities: 0, token: "", name: "", ticket: &[], agent: "" }
    }
}

/// Follow a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Request number, repeated in the answer.
    pub request: u32,
    /// The room's name.
    pub room: &'a str,
    /// Continue after an earlier position: its epoch, and the next offset wanted.
    pub resume: Option<(u64, u64)>,
    /// How many of the newest messages to replay when not resuming.
    pub replay: u32,
}

/// Publish a message in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The room.
    pub alias: u32,
    /// Chosen by the client, new for each publication. The room answers a repeated nonce without publishing
    /// again.
    pub nonce: u64,
    /// The text.
    pub text: &'a str,
    /// Offset of the message that this one answers.
    pub reply_to: Option<u64>,
    /// Reference to an attachment; empty for none.
    pub attachment: &'a str,
    /// A bridge's author; empty for the session's own name.
    pub author: &'a str,
    /// A bridge's author's role.
    pub role: Role,
    /// Of a retry: the age of the first attempt, in milliseconds. 0: this is the first attempt.
    pub age_ms: u32,
}

/// Send a reaction to a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct React<'a> {
    /// The room.
    pub alias: u32,
    /// The reaction.
    pub key: &'a str,
    /// Number of these reactions since the client's last `React` frame.
    pub count: u32,
}

/// Set or remove a key of a room's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetState<'a> {
    /// Request number, repeated in the answer.
    pub request: u32,
    /// The room.
    pub alias: u32,
    /// The key.
    pub key: &'a str,
    /// Its value; `None` removes the key.
    pub value: Option<&'a [u8]>,
}

/// Ask for a page of the room's log as stored: with the messages that pacing left out, and nothing folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Request number, repeated in the answer; not 0.
    pub request: u32,
    /// The room.
    pub alias: u32,
    /// Epoch of the log that the client means.
    pub epoch: u64,
    /// First offset wanted.
    pub from: u64,
    /// Most messages wanted; 0, and more than [`limits::HISTORY_MESSAGES_MAX`], mean that limit.
    pub count_max: u32,
}

/// Replace the session's token while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renew<'a> {
    /// Request number, repeated in the answer.
    pub request: u32,
    /// The new token, of the same user.
    pub token: &'a str,
}

/// A frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// See [`Hello`].
    Hello(Hello<'a>),
    /// See [`Subscribe`].
    Subscribe(Subscribe<'a>),
    /// Stop following a room.
    Unsubscribe {
        /// Request number, repeated in the answer.
        request: u32,
        /// The room.
        alias: u32,
    },
    /// See [`Publish`].
    Publish(Publish<'a>),
    /// See [`React`].
    React(React<'a>),
    /// See [`SetState`].
    SetState(SetState<'a>),
    /// Ask for a `Pong` with the same clock value.
    Ping {
        /// The client's clock, in microseconds; the client chooses its zero.
        client_us: u64,
    },
    /// See [`History`].
    History(History),
    /// See [`Renew`].
    Renew(Renew<'a>),
    /// See [`Act`].
    Act(Act<'a>),
}

impl<'a> ClientFrame<'a> {
    /// Verify and read a frame.
    pub fn decode(frame: &'a [u8]) -> Result<Self, FrameFault> {
        let (kind, bytes) = split(frame)?;
        Ok(match kind {
            Kind::Hello => ClientFrame::Hello(hello(&table::<fb::Hello<'_>>(kind, bytes)?)?),
            Kind::Subscribe => ClientFrame::Subscribe(subscribe(&table::<fb::Subscribe<'_>>(kind, bytes)?)),
            Kind::Unsubscribe => {
                let t = table::<fb::Unsubscribe<'_>>(kind, bytes)?;
                ClientFrame::Unsubscribe { request: t.request(), alias: t.alias() }
            }
            Kind::Publish => ClientFrame::Publish(publish(&table::<fb::Publish<'_>>(kind, bytes)?)),
            Kind::React => ClientFrame::React(react(&table::<fb::React<'_>>(kind, bytes)?)?),
            Kind::SetState => ClientFrame::SetState(set_state(&table::<fb::SetState<'_>>(kind, bytes)?)),
            Kind::Ping => ClientFrame::Ping { client_us: table::<fb::Ping<'_>>(kind, bytes)?.client_us() },
            Kind::History => ClientFrame::History(history(&table::<fb::History<'_>>(kind, bytes)?)),
            Kind::Renew => ClientFrame::Renew(renew(&table::<fb::Renew<'_>>(kind, bytes)?)?),
            Kind::Act => ClientFrame::Act(acts::act(&table::<fb::Act<'_>>(kind, bytes)?)),
            other => return Err(FrameFault::WrongSide(other)),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            ClientFrame::Hello(_) => Kind::Hello,
            ClientFrame::Subscribe(_) => Kind::Subscribe,
            ClientFrame::Unsubscribe { .. } => Kind::Unsubscribe,
            ClientFrame::Publish(_) => Kind::Publish,
            ClientFrame::React(_) => Kind::React,
            ClientFrame::SetState(_) => Kind::SetState,
            ClientFrame::Ping { .. } => Kind::Ping,
            ClientFrame::History(_) => Kind::History,
            ClientFrame::Renew(_) => Kind::Renew,
            ClientFrame::Act(_) => Kind::Act,
        }
    }
}

fn hello<'a>(t: &fb::Hello<'a>) -> Result<Hello<'a>, FrameFault> {
    let kind = Kind::Hello;
    Ok(Hello {
        min_version: t.min_version(),
        max_version: t.max_version(),
        capabilities: t.capabilities(),
        token: text(kind, "token", t.token(), limits::TOKEN_BYTES_MAX)?,
        name: t.name().unwrap_or(""),
        ticket: blob(kind, "ticket", t.ticket(), limits::TICKET_BYTES_MAX)?,
        agent: text(kind, "agent", t.agent(), limits::AGENT_BYTES_MAX)?,
    })
}

fn subscribe<'a>(t: &fb::Subscribe<'a>) -> Subscribe<'a> {
    Subscribe {
        request: t.request(),
        room: t.room().unwrap_or(""),
        resume: t.resume_offset().map(|offset| (t.resume_epoch(), offset)),
        replay: t.replay(),
    }
}

fn publish<'a>(t: &fb::Publish<'a>) -> Publish<'a> {
    Publish {
        alias: t.alias(),
        nonce: t.nonce(),
        text: t.text().unwrap_or(""),
        reply_to: t.reply_to(),
        attachment: t.attachment().unwrap_or(""),
        author: t.author().unwrap_or(""),
        role: Role::from_wire(t.role().0),
        age_ms: t.age_ms(),
    }
}

fn react<'a>(t: &fb::React<'a>) -> Result<React<'a>, FrameFault> {
    let key = text(Kind::React, "key", t.key(), limits::REACTION_KEY_BYTES_MAX)?;
    if !crate::rules::is_name(key) {
        return Err(FrameFault::Field(Kind::React, "key"));
    }
    Ok(React { alias: t.alias(), key, count: t.count().clamp(1, limits::REACTION_COUNT_MAX) })
}

fn history(t: &fb::History<'_>) -> History {
    let (request, alias, epoch) = (t.request(), t.alias(), t.epoch());
    History { request, alias, epoch, from: t.from(), count_max: t.count_max() }
}

fn renew<'a>(t: &fb::Renew<'a>) -> Result<Renew<'a>, FrameFault> {
    let token = text(Kind::Renew, "token", t.token(), limits::TOKEN_BYTES_MAX)?;
    Ok(Renew { request: t.request(), token })
}

fn set_state<'a>(t: &fb::SetState<'a>) -> SetState<'a> {
    SetState {
        request: t.request(),
        alias: t.alias(),
        key: t.key().unwrap_or(""),
        value: if t.remove() { None } else { Some(t.value().map_or(&[][..], |v| v.bytes())) },
    }
}
