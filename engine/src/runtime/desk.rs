//! The desk: the node's own requests to shards, and the table of closures that take the answers.
//!
//! Why: an HTTP handler, or other code without a connection, must be able to ask a shard and to publish. An
//! input with a closure could not cross a network. So the closure stays here in a table, and the input
//! carries its number: its [`ReplyTo`] names the node itself ([`WorkerId::of_node`]), and the number in place
//! of the connection. The answer comes back as an output for that worker, and a seat gives it to
//! [`Desk::handle_output`] instead of a ring.
//!
//! An HTTP handler publishes in two steps. It finds the room's alias with [`Desk::ask`] (`AdminRequest::List`
//! with the whole name as prefix). Then it calls [`Desk::publish`] with a closure that wakes it (a oneshot
//! channel's `send`). The closure gets the same [`AnswerKind`] that a connection would get.
//!
//! Invariants: a closure is called at most once, on a seat's thread, so it must not block. It is dropped
//! without a call when the seat ends first. The table holds one entry for each request in a shard, so the
//! inboxes bound it.
//! Not here: requests to all shards (`admin`), time limits (the caller).

#![expect(
    clippy::disallowed_types,
    reason = "one lock, a handful of instructions, only for requests of the node"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use grandstand_protocol::refusal::Refusal;

use crate::link::{
    ActRequest, AdminAnswer, AdminRequest, Alias, AnswerKind, Backbone, ConnectionToken, HistoryPage, Input,
    Output, PageOf, Publication, ReplyTo, ShardId, StateChange, WorkerId,
};

/// The answer to an operator's request.
pub type Answered = Result<AdminAnswer, Refusal>;

/// Sends the node's own requests and keeps their closures.
pub struct Desk {
    node: WorkerId,
    backbone: Arc<dyn Backbone>,
    requests: Mutex<Requests>,
}

#[derive(Default)]
struct Requests {
    next: u64,
    waiting: HashMap<u64, (ShardId, Waiting)>,
    ended: Vec<ShardId>,
}

enum Waiting {
    Admin(Box<dyn FnOnce(Answered) + Send>),
    Publisher(Box<dyn FnOnce(AnswerKind) + Send>),
    Reader(Box<dyn FnOnce(HistoryPage) + Send>),
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Desk {
    /// The desk of a node.
    pub fn new(node: u8, backbone: Arc<dyn Backbone>) -> Self {
        Desk { node: WorkerId::of_node(node), backbone, requests: Mutex::default() }
    }

    /// The backbone that takes the desk's inputs.
    pub fn backbone(&self) -> &Arc<dyn Backbone> {
        &self.backbone
    }

    /// Ask one shard as an operator.
    ///
    /// # Errors
    /// `Overloaded`, and `reply` is dropped: the shard's inbox is full, or the shard has stopped.
    pub fn ask(
        &self,
        shard: ShardId,
        request: AdminRequest,
        reply: impl FnOnce(Answered) + Send + 'static,
    ) -> Result<(), Refusal> {
        let waiting = Waiting::Admin(Box::new(reply));
        self.submit(shard, waiting, |from| Input::Admin { from, request: Box::new(request) })
    }

    /// Publish in the node's name. This call fills in `from` of the publication.
    ///
    /// # Errors
    /// `Overloaded`, and `reply` is dropped: the shard's inbox is full, or the shard has stopped.
    pub fn publish(
        &self,
        publication: Box<Publication>,
        reply: impl FnOnce(AnswerKind) + Send + 'static,
    ) -> Result<(), Refusal> {
        let shard = self.backbone.shard_of_alias(publication.alias);
        let waiting = Waiting::Publisher(Box::new(reply));
        self.submit(shard, waiting, |from| {
            let mut publication = publication;
            publication.from = from;
            Input::Publish(publication)
        })
    }

    /// Set a key of a room's state in the node's name, under the rules of connections.
    ///
    /// # Errors
    /// `Overloaded`, and `reply` is dropped: the shard's inbox is full, or the shard has stopped.
    pub fn set_state(
        &self,
        alias: Alias,
        key: Box<str>,
        value: Option<Bytes>,
        reply: impl FnOnce(AnswerKind) + Send + 'static,
    ) -> Result<(), Refusal> {
        let shard = self.backbone.shard_of_alias(alias);
        self.submit(shard, Waiting::Publisher(Box::new(reply)), |from| {
            Input::SetState(Box::new(StateChange { from, request: 0, alias, key, value }))
        })
    }

    /// Keep order in a room, as somebody of this node. This call fills in `from` of the act.
    ///
    /// # Errors
    /// `Overloaded`, and `reply` is dropped: the shard's inbox is full, or the shard has stopped.
    pub fn act(
        &self,
        act: Box<ActRequest>,
        reply: impl FnOnce(AnswerKind) + Send + 'static,
    ) -> Result<(), Refusal> {
        let shard = self.backbone.shard_of_alias(act.alias);
        self.submit(shard, Waiting::Publisher(Box::new(reply)), |from| {
            Input::Act(Box::new(ActRequest { from, ..*act }))
        })
    }

    /// Read a page of a room's history.
    ///
    /// # Errors
    /// `Overloaded`, and `reply` is dropped: the shard's inbox is full, or the shard has stopped.
    pub fn history(
        &self,
        (alias, epoch): (Alias, u64),
        from: u64,
        of: PageOf,
        reply: impl FnOnce(HistoryPage) + Send + 'static,
    ) -> Result<(), Refusal> {
        let shard = self.backbone.shard_of_alias(alias);
        self.submit(shard, Waiting::Reader(Box::new(reply)), |to| {
            let (worker, request) = (to.worker, to.connection.0);
            Input::History { worker, request, alias, epoch, from, of }
        })
    }

    fn submit(
        &self,
        shard: ShardId,
        waiting: Waiting,
        input: impl FnOnce(ReplyTo) -> Input,
    ) -> Result<(), Refusal> {
        let number = self.requests().enter(shard, waiting).ok_or(Refusal::Overloaded)?;
        let from = ReplyTo { worker: self.node, connection: ConnectionToken(number) };
        self.backbone.submit(shard, input(from)).map_err(|_| {
            let forgotten = self.requests().waiting.remove(&number);
            drop(forgotten);
            Refusal::Overloaded
        })
    }

    /// Take an output for the node itself. Outputs that answer no request of the desk are ignored.
    pub fn handle_output(&self, output: Output) {
        match output {
            Output::Admin(reply) => {
                if let Some(Waiting::Admin(call)) = self.take(reply.connection) {
                    call(reply.answer);
                }
            }
            Output::History { request, page } => {
                if let Some(Waiting::Reader(call)) = self.take(ConnectionToken(request)) {
                    call(*page);
                }
            }
            Output::Answers(answers) => {
                for answer in answers {
                    if let Some(Waiting::Publisher(call)) = self.take(answer.connection) {
                        call(answer.kind);
                    }
                }
            }
            _ => {}
        }
    }

    /// A seat ends: drop the closures of its unanswered requests.
    pub fn handle_end(&self, shard: ShardId) {
        let dropped: Vec<_> = {
            let mut requests = self.requests();
            requests.ended.push(shard);
            requests.waiting.extract_if(|_, (asked, _)| *asked == shard).collect()
        };
        // The closures may call the desk when they are dropped, so they are dropped after the lock.
        drop(dropped);
    }

    fn take(&self, ConnectionToken(number): ConnectionToken) -> Option<Waiting> {
        self.requests().waiting.remove(&number).map(|(_, waiting)| waiting)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requests {
    /// Enter a request, and return its number; `None`: the shard's seat has ended.
    fn enter(&mut self, shard: ShardId, waiting: Waiting) -> Option<u64> {
        if self.ended.contains(&shard) {
            return None;
        }
        self.next += 1;
        self.waiting.insert(self.next, (shard, waiting));
        Some(self.next)
    }
}
