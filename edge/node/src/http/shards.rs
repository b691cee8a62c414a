//! Requests of HTTP handlers to shards, each with a time limit.
//!
//! Why oneshots: a shard answers on its own thread and must not block, so this side waits. The admin port and
//! the API ask by it, and each says in its own form what failed.
//! Invariant: every request ends within its time, also when a shard is stuck, full or gone.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use grandstand_engine::link::{
    ActRequest, AdminAnswer, AdminRequest, AnswerKind, Publication, RoomInfo, ShardId,
};
#[cfg(feature = "api")]
use grandstand_engine::link::{Alias, HistoryPage, PageOf};
use grandstand_engine::runtime::Desk;
use grandstand_protocol::refusal::Refusal;
use tokio::sync::oneshot;

use super::problem::Problem;
use super::response::Failure;

/// How long a request waits. A shard answers between two batches, so a wait of seconds means that it is
/// stuck.
const WAIT: Duration = Duration::from_secs(5);

/// How long a publication waits. This is longer than the shard waits for the disk by default
/// (`log.answer_within_ms`), so that its refusal comes first, and shorter than a connection's life.
const PUBLISH_WAIT: Duration = Duration::from_secs(8);

pub(crate) struct Shards {
    desk: Arc<Desk>,
}

/// Why a request of a handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardError {
    /// The shard refused it.
    Refused(Refusal),
    /// The shard's inbox is full.
    Full,
    /// The node is stopping.
    Stopping,
    /// There was no answer in time, which may come of it all the same; what to do.
    Late(&'static str),
}

type Asked<T> = Result<oneshot::Receiver<T>, ShardError>;

/// A publication whose answer is awaited.
#[must_use]
pub(super) struct Publishing(Asked<AnswerKind>);

impl Publishing {
    /// The answer that a connection would get.
    pub(super) async fn answer(self) -> Result<AnswerKind, ShardError> {
        answered(self.0, PUBLISH_WAIT, PUBLISH_HINT).await
    }
}

impl Shards {
    pub(crate) fn new(desk: Arc<Desk>) -> Shards {
        Shards { desk }
    }

    /// Ask the shard of a room.
    pub(super) async fn ask(&self, room: &str, request: AdminRequest) -> Result<AdminAnswer, ShardError> {
        let asked = self.send(self.desk.backbone().shard_of(room), request);
        answered(asked, WAIT, REQUEST_HINT).await?.map_err(ShardError::Refused)
    }

    /// Publish in the node's name: the shard has it when this returns, or it is refused.
    pub(super) fn publish(&self, publication: Publication) -> Publishing {
        let (reply, answer) = oneshot::channel();
        let asked = self.desk.publish(Box::new(publication), move |answer| {
            // The handler may have stopped waiting; then the answer is not needed.
            let _ = reply.send(answer);
        });
        Publishing(asked.map(|()| answer).map_err(|_| ShardError::Full))
    }

    /// Read a page of a room's history.
    #[cfg(feature = "api")]
    pub(super) async fn history(
        &self,
        log: (Alias, u64),
        from: u64,
        of: PageOf,
    ) -> Result<HistoryPage, ShardError> {
        let (reply, page) = oneshot::channel();
        // The handler may have stopped waiting; then the page is not needed.
        let asked = self.desk.history(log, from, of, move |got| drop(reply.send(got)));
        answered(asked.map(|()| page).map_err(|_| ShardError::Full), WAIT, REQUEST_HINT).await
    }

    /// Find a room by its name. The engine lists by prefix, and the name itself is the first that begins with
    /// it.
    pub(super) async fn find(&self, name: &str) -> Result<RoomInfo, ShardError> {
        let request = AdminRequest::List { prefix: name.to_owned(), after: String::new(), limit: 1 };
        let rooms = rooms([self.ask(name, request).await?]);
        rooms.into_iter().find(|info| info.name == name).ok_or(ShardError::Refused(Refusal::UnknownRoom))
    }

    /// Change a room, and return its state afterwards.
    pub(super) async fn change(
        &self,
        name: &str,
        request: impl FnOnce(String) -> AdminRequest,
    ) -> Result<RoomInfo, ShardError> {
        match self.ask(name, request(name.to_owned())).await? {
            AdminAnswer::Room(info) => Ok(info),
            other => unreachable!("a change of a room is answered with it, not {other:?}"),
        }
    }

    /// Rooms whose names begin with `prefix`, in order of name, after `after`; and whether there are more.
    pub(super) async fn list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> Result<(Vec<RoomInfo>, bool), ShardError> {
        // One more than the limit shows whether there is a next page.
        let request = AdminRequest::List { prefix, after, limit: limit + 1 };
        let mut rooms = rooms(self.all(&request).await?);
        rooms.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let more = rooms.len() > limit;
        rooms.truncate(limit);
        Ok((rooms, more))
    }

    /// Keep order in a room.
    pub(super) async fn act(&self, request: ActRequest) -> Result<AnswerKind, ShardError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.desk.act(Box::new(request), move |answer| {
            // The handler may have stopped waiting; then the answer is not needed.
            let _ = reply.send(answer);
        });
        answered(asked.map(|()| answer).map_err(|_| ShardError::Full), PUBLISH_WAIT, ACT_HINT).await
    }

    /// Ask all shards at once and wait for all together. The answers are in the order of the shards.
    pub(super) async fn ask_all(
        &self,
        request: &AdminRequest,
        wait: Duration,
    ) -> Vec<Result<AdminAnswer, ShardError>> {
        let asked: Vec<_> = (0..self.desk.backbone().shards())
            .map(|shard| self.send(ShardId(shard), request.clone()))
            .collect();
        let deadline = tokio::time::Instant::now() + wait;
        let mut answers = Vec::with_capacity(asked.len());
        for one in asked {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer = answered(one, left, REQUEST_HINT).await;
            answers.push(answer.and_then(|answer| answer.map_err(ShardError::Refused)));
        }
        answers
    }

    /// Like [`Shards::ask_all`], within the time of one request. Returns the first failure, if there is one.
    pub(super) async fn all(&self, request: &AdminRequest) -> Result<Vec<AdminAnswer>, ShardError> {
        self.ask_all(request, WAIT).await.into_iter().collect()
    }

    /// Like [`Shards::all`], for who answers no request; a failure is a text for the log.
    #[cfg(feature = "guide")]
    pub(crate) async fn every(&self, request: &AdminRequest) -> Result<Vec<AdminAnswer>, String> {
        self.all(request).await.map_err(|failure| format!("{failure:?}"))
    }

    /// A room looks at the times of its show again; a failure is a text for the log.
    #[cfg(feature = "guide")]
    pub(crate) async fn follow_show(&self, room: &str) -> Result<(), String> {
        let asked = self.ask(room, AdminRequest::FollowShow { room: room.to_owned() }).await;
        asked.map(drop).map_err(|failure| format!("{failure:?}"))
    }

    fn send(&self, shard: ShardId, request: AdminRequest) -> Asked<Result<AdminAnswer, Refusal>> {
        let (reply, answer) = oneshot::channel();
        // The handler may have stopped waiting; then the answer is not needed.
        let asked = self.desk.ask(shard, request, move |result| drop(reply.send(result)));
        asked.map(|()| answer).map_err(|_| ShardError::Full)
    }
}

/// What to do when a request was not answered in time.
const REQUEST_HINT: &str =
    "look at the room again before repeating it; the metrics and the log tell what keeps the shard busy";

/// What to do when an act was not answered in time.
const ACT_HINT: &str = "repeat it: what is removed or held already stays so";

/// What to do when a publication was not answered in time.
const PUBLISH_HINT: &str = "repeat it with the same nonce and its age_ms: it is then in the log once";

impl ShardError {
    /// The status, what failed, and what to do about it.
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            ShardError::Refused(refusal) => {
                (StatusCode::INTERNAL_SERVER_ERROR, refusal.text(), "the node's log may tell more")
            }
            ShardError::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the room's shard has more to do than it can take",
                "try again later",
            ),
            ShardError::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping", "ask again when it is back")
            }
            ShardError::Late(hint) => (
                StatusCode::GATEWAY_TIMEOUT,
                "the room's shard did not answer in time; the request may still be done",
                hint,
            ),
        }
    }
}

impl From<ShardError> for Failure {
    fn from(error: ShardError) -> Failure {
        if let ShardError::Refused(refusal) = error {
            return refusal.into();
        }
        let (status, what, hint) = error.told();
        Failure::new(status, what, hint)
    }
}

impl From<ShardError> for Problem {
    fn from(error: ShardError) -> Problem {
        let code = match error {
            ShardError::Refused(refusal) => return refusal.into(),
            ShardError::Full => "Overloaded",
            ShardError::Stopping => "Stopping",
            ShardError::Late(_) => "NoAnswer",
        };
        let (status, what, hint) = error.told();
        Problem::new(status, code, format!("{what}: {hint}"))
    }
}

fn rooms(answers: impl IntoIterator<Item = AdminAnswer>) -> Vec<RoomInfo> {
    let rooms = answers.into_iter().map(|answer| match answer {
        AdminAnswer::Rooms(rooms) => rooms,
        other => unreachable!("a list is answered with rooms, not {other:?}"),
    });
    rooms.flatten().collect()
}

async fn answered<T>(asked: Asked<T>, wait: Duration, hint: &'static str) -> Result<T, ShardError> {
    match tokio::time::timeout(wait, asked?).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ShardError::Stopping),
        Err(_) => Err(ShardError::Late(hint)),
    }
}
