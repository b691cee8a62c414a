//! Requests of HTTP handlers to shards, each with a time limit.
//!
//! Why oneshots: a shard answers on its own thread and must not block, so this side waits.
//! Invariant: every request ends within its time, also when a shard is stuck, full or gone.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use grandstand_engine::link::{ActRequest, AdminAnswer, AdminRequest, AnswerKind, Publication, ShardId};
use grandstand_engine::runtime::Desk;
use grandstand_protocol::refusal::Refusal;
use tokio::sync::oneshot;

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

type Asked<T> = Result<oneshot::Receiver<T>, Failure>;

impl Shards {
    pub(crate) fn new(desk: Arc<Desk>) -> Shards {
        Shards { desk }
    }

    /// Ask the shard of a room.
    pub(super) async fn ask(&self, room: &str, request: AdminRequest) -> Result<AdminAnswer, Failure> {
        Ok(answered(self.send(self.desk.backbone().shard_of(room), request), WAIT, REQUEST_HINT).await??)
    }

    /// Publish in the node's name. The answer is the one that a connection would get.
    pub(super) async fn publish(&self, publication: Publication) -> Result<AnswerKind, Failure> {
        let (reply, answer) = oneshot::channel();
        let asked = self.desk.publish(Box::new(publication), move |answer| {
            // The handler may have stopped waiting; then the answer is not needed.
            let _ = reply.send(answer);
        });
        answered(asked.map(|()| answer).map_err(|_| full()), PUBLISH_WAIT, PUBLISH_HINT).await
    }

    /// Keep order in a room.
    pub(super) async fn act(&self, request: ActRequest) -> Result<AnswerKind, Failure> {
        let (reply, answer) = oneshot::channel();
        let asked = self.desk.act(Box::new(request), move |answer| {
            // The handler may have stopped waiting; then the answer is not needed.
            let _ = reply.send(answer);
        });
        answered(asked.map(|()| answer).map_err(|_| full()), PUBLISH_WAIT, ACT_HINT).await
    }

    /// Ask all shards at once and wait for all together. The answers are in the order of the shards.
    pub(super) async fn ask_all(
        &self,
        request: &AdminRequest,
        wait: Duration,
    ) -> Vec<Result<AdminAnswer, Failure>> {
        let asked: Vec<_> = (0..self.desk.backbone().shards())
            .map(|shard| self.send(ShardId(shard), request.clone()))
            .collect();
        let deadline = tokio::time::Instant::now() + wait;
        let mut answers = Vec::with_capacity(asked.len());
        for one in asked {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer = answered(one, left, REQUEST_HINT).await;
            answers.push(answer.and_then(|answer| answer.map_err(Failure::from)));
        }
        answers
    }

    /// Like [`Shards::ask_all`], within the time of one request. Returns the first failure, if there is one.
    pub(super) async fn all(&self, request: &AdminRequest) -> Result<Vec<AdminAnswer>, Failure> {
        self.ask_all(request, WAIT).await.into_iter().collect()
    }

    /// Like [`Shards::all`], for who answers no request; a failure is a text for the log.
    #[cfg(feature = "guide")]
    pub(crate) async fn every(&self, request: &AdminRequest) -> Result<Vec<AdminAnswer>, String> {
        self.all(request).await.map_err(|failure| format!("{failure:?}"))
    }

    fn send(&self, shard: ShardId, request: AdminRequest) -> Asked<Result<AdminAnswer, Refusal>> {
        let (reply, answer) = oneshot::channel();
        // The handler may have stopped waiting; then the answer is not needed.
        let asked = self.desk.ask(shard, request, move |result| drop(reply.send(result)));
        asked.map(|()| answer).map_err(|_| full())
    }
}

/// What to do when a request was not answered in time.
const REQUEST_HINT: &str =
    "look at the room again before repeating it; the metrics and the log tell what keeps the shard busy";

/// What to do when an act was not answered in time.
const ACT_HINT: &str = "repeat it: what is removed or held already stays so";

/// What to do when a publication was not answered in time.
const PUBLISH_HINT: &str = "repeat it with the same nonce and its age_ms: it is then in the log once";

fn full() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the room's shard has more to do than it can take",
        "try again later",
    )
}

async fn answered<T>(asked: Asked<T>, wait: Duration, hint: &str) -> Result<T, Failure> {
    match tokio::time::timeout(wait, asked?).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the node is stopping",
            "ask again when it is back",
        )),
        Err(_) => Err(Failure::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the room's shard did not answer in time; the request may still be done",
            hint,
        )),
    }
}
