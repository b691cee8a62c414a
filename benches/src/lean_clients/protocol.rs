//! Protocol: the trait that an application protocol implements for lean clients.
//!
//! Why a trait: the same clients with the same checks measure other servers too, so that only the server
//! differs. A protocol handles WebSocket messages (over QUIC: the frames of Grandstand's stream). The clients
//! handle sockets, TLS, the upgrade, fragments, pings and closes of WebSocket.
//! Invariant: a protocol keeps nothing of a client but its [`Client`].
//! Not here: the known frames (`frame_cache`), the counts (`context`).

use super::context::Context;
use anyhow::Result;
use grandstand_protocol::frame;
use grandstand_protocol::websocket::Opcode;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// One application protocol.
pub trait Protocol {
    /// Path and subprotocol of the WebSocket upgrade; `None` for bare bytes, which are heard as they come.
    fn upgrade(&self, role: Role) -> Option<Upgrade>;

    /// The connection is established: greet, and follow the client's rooms ([`Context::say`]).
    ///
    /// # Errors
    /// The client ends with this fault.
    fn open(&mut self, client: &mut Client, context: &mut Context) -> Result<()>;

    /// One whole message from the server. A protocol sets [`Client::is_joined`] when the client follows all
    /// of its rooms.
    ///
    /// # Errors
    /// The client ends with this fault.
    fn hear(
        &mut self,
        client: &mut Client,
        opcode: Opcode,
        payload: &[u8],
        context: &mut Context,
    ) -> Result<()>;

    /// Publishes a text.
    fn publish(&mut self, client: &mut Client, publication: &Publication<'_>, context: &mut Context);

    /// Reacts `count` times in the client's first room.
    fn react(&mut self, _: &mut Client, _key: &str, _count: u32, _: &mut Context) {}

    /// Says something, so that the server does not take the client for gone: by default nothing, for servers
    /// that ask by themselves.
    fn keep_alive(&mut self, _: &mut Client, _: &mut Context) {}
}

/// Finds a protocol by its name.
pub type ByName = fn(&str) -> Option<Box<dyn Protocol>>;

/// How a WebSocket begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Path and query.
    pub path: &'static str,
    /// Subprotocol asked for.
    pub subprotocol: Option<&'static str>,
}

/// The role of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows its rooms and checks what it gets; may publish too.
    #[default]
    Viewer,
    /// Publishes, and checks only the answers.
    Publisher,
}

/// A publication.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication<'a> {
    /// Which of the client's rooms.
    pub room: usize,
    /// The text.
    pub text: &'a str,
    /// In whose name; empty for the client's own.
    pub author: &'a str,
    /// That author's role.
    pub role: frame::Role,
    /// When it was due; its answer is timed from then.
    pub due_ns: u64,
}

/// A client, as a protocol sees it.
#[derive(Debug, Default)]
pub struct Client {
    /// Its number, from 0.
    pub number: u32,
    /// Its role.
    pub role: Role,
    /// The rooms that it follows.
    pub rooms: SmallVec<[Membership; 1]>,
    /// Whether it follows them all.
    pub is_joined: bool,
    /// Reactions that it was told of.
    pub reactions: u64,
    /// The nonce of its newest publication.
    pub nonce: u64,
    /// Publications without an answer: nonce, when it was due, which of the client's rooms.
    pub unanswered: VecDeque<(u64, u64, usize)>,
    /// The ticket of its session, if clients resume theirs ([`Context::resumes`]).
    pub ticket: Box<[u8]>,
    /// Whether the server continued its session.
    pub is_continued: bool,
}

/// A client's place in one room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Index into the rooms of the context.
    pub room: u32,
    /// The room's number on this connection.
    pub alias: u32,
    /// The next offset that the client expects.
    pub next: u64,
    /// Whether `alias` and `next` are known.
    pub is_open: bool,
    /// The log that `next` is in; 0 before the first subscription.
    pub epoch: u64,
    /// The room's head when a resumed subscription began: the client has returned once it has reached it.
    pub head: u64,
}
