//! Asking shards: one, or all of them, with an end to waiting.
//!
//! Why oneshots: a shard answers on its own thread and must not block; the waiting is on this side.
//! Invariant: every question ends within its time, also when a shard is stuck, full or gone.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use grandstand_engine::link::{AdminAnswer, AdminRequest, ShardId};
use grandstand_engine::runtime::Desk;
use grandstand_protocol::refusal::Refusal;
use tokio::sync::oneshot;

use super::response::Failure;

/// How long a request waits: a shard answers between two batches, so seconds mean that it is stuck.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Shards {
    desk: Arc<Desk>,
}

type Asked = Result<oneshot::Receiver<Result<AdminAnswer, Refusal>>, Failure>;

impl Shards {
    pub(super) fn new(desk: Arc<Desk>) -> Shards {
        Shards { desk }
    }

    /// Asks the shard of a room.
    pub(super) async fn ask(&self, room: &str, request: AdminRequest) -> Result<AdminAnswer, Failure> {
        answered(self.send(self.desk.backbone().shard_of(room), request), WAIT).await
    }

    /// Asks all shards at once and waits for all together; answers in their order.
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
            answers.push(answered(one, left).await);
        }
        answers
    }

    /// As [`Shards::ask_all`], within the time of one request, or the first failure.
    pub(super) async fn all(&self, request: &AdminRequest) -> Result<Vec<AdminAnswer>, Failure> {
        self.ask_all(request, WAIT).await.into_iter().collect()
    }

    fn send(&self, shard: ShardId, request: AdminRequest) -> Asked {
        let (reply, answer) = oneshot::channel();
        // The asker may have stopped waiting; then nobody needs the answer.
        let asked = self.desk.ask(shard, request, move |result| drop(reply.send(result)));
        asked.map_err(|_| {
            Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the room's shard has more to do than it can take",
                "try again later",
            )
        })?;
        Ok(answer)
    }
}

async fn answered(asked: Asked, wait: Duration) -> Result<AdminAnswer, Failure> {
    match tokio::time::timeout(wait, asked?).await {
        Ok(Ok(result)) => result.map_err(Failure::from),
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the node is stopping",
            "ask again when it is back",
        )),
        Err(_) => Err(Failure::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the room's shard did not answer in time; the request may still be done",
            "look at the room again before repeating it; the metrics and the log tell what keeps the shard busy",
        )),
    }
}
