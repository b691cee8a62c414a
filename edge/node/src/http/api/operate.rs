//! Operation: drains and backups, for programs that replace nodes and keep copies.
//!
//! Invariant: the first drain takes effect, and a second request only tells its progress; one backup is made
//! at a time, also with the admin port's.
//! Not here: what a drain does (`shutdown`), the copy itself (`http::admin::StorePort`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::values::Whole;
use super::{Api, Shared};
use crate::http::admin::{BackupError, DrainRequest, DrainStatus};
use crate::http::extract::OptionalJson;
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// The longest time of a drain's phase: a day.
const MS_MAX: u64 = 86_400_000;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show_drain, begin_drain)).routes(routes!(backup))
}

/// A drain that is to begin. What is left out is as configured (`drain.*`).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDrain {
    /// Where clients are sent, host and port.
    #[schema(max_length = 200, format = "authority")]
    where_to: Option<String>,
    /// Time for which the node is not ready and still takes everybody.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 86400000)]
    announce_ms: Option<Whole<0, MS_MAX>>,
    /// Least time for which new connections are refused with an answer.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 86400000)]
    refuse_ms: Option<Whole<0, MS_MAX>>,
    /// Time over which clients leave.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 86400000)]
    spread_ms: Option<Whole<0, MS_MAX>>,
    /// Time after the announcement at which everything is closed.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 86400000)]
    deadline_ms: Option<Whole<0, MS_MAX>>,
}

/// The progress of a drain.
#[derive(Debug, Serialize, ToSchema)]
struct Drain {
    /// `serving`, `draining` or `handed_over`.
    state: &'static str,
    /// `announce`, `move` or `refuse`; empty while it serves.
    phase: &'static str,
    /// Connections that are established or in their handshake.
    connections: usize,
    /// Connections when the drain began.
    connections_at_start: usize,
    /// Where clients are sent.
    where_to: String,
    /// Time since the drain began.
    elapsed_ms: u64,
    /// Time after the announcement at which everything is closed.
    deadline_ms: u64,
}

/// A backup.
#[derive(Debug, Serialize, ToSchema)]
struct Backup {
    /// Its file, at the node.
    file: String,
    /// Its size.
    bytes: u64,
    /// Messages in it.
    messages: u64,
    /// How long it took.
    took_ms: u64,
}

/// Show how far a drain is
#[utoipa::path(get, path = "/v1/drain", tag = "node", operation_id = "drain_show",
    responses((status = 200, description = "Its progress.", body = Drain)))]
async fn show_drain(_: Grant<{ needs::DRAIN }>, State(api): Shared) -> axum::Json<Drain> {
    axum::Json(Drain::from(api.drain.status()))
}

/// Drain the node that answers: its clients leave, and the process ends
#[utoipa::path(post, path = "/v1/drain", tag = "node", operation_id = "drain_begin", request_body = Option<NewDrain>,
    responses((status = 202, description = "It is under way.", body = Drain)))]
async fn begin_drain(
    _: Grant<{ needs::DRAIN }>,
    State(api): Shared,
    OptionalJson(new): OptionalJson<NewDrain>,
) -> Result<(StatusCode, axum::Json<Drain>), Problem> {
    if new.where_to.as_ref().is_some_and(|to| to.len() > 200 || to.chars().any(char::is_control)) {
        return Err(Problem::in_body("/where_to", "expected host and port, at most 200 bytes"));
    }
    let ms = |given: Option<Whole<0, MS_MAX>>| given.map(Whole::as_u32);
    let request = DrainRequest {
        where_to: new.where_to,
        announce_ms: ms(new.announce_ms),
        refuse_ms: ms(new.refuse_ms),
        spread_ms: ms(new.spread_ms),
        deadline_ms: ms(new.deadline_ms),
    };
    Ok((StatusCode::ACCEPTED, axum::Json(Drain::from(api.drain.drain(&request)))))
}

/// Back the durable log of the node that answers up
#[utoipa::path(post, path = "/v1/backups", tag = "node", operation_id = "backups_create",
    responses((status = 201, description = "It is made.", body = Backup)))]
async fn backup(
    _: Grant<{ needs::BACKUPS }>,
    State(api): Shared,
) -> Result<(StatusCode, axum::Json<Backup>), Problem> {
    let store = api.store.as_ref().ok_or_else(|| {
        let detail = "this node keeps nothing on disk: start it with log.dir, a folder for the log";
        Problem::new(StatusCode::CONFLICT, "NoLog", detail)
    })?;
    let made = store.back_up(api.clock).await.map_err(|error| match error {
        BackupError::UnderWay => {
            let detail = "a backup is being made: repeat this request when it is done";
            Problem::new(StatusCode::CONFLICT, "BackupUnderWay", detail).with_retry(Some(10_000))
        }
        BackupError::Failed(fault) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "BackupFailed", fault),
    })?;
    let (file, took_ms) = (made.file, made.took_ms);
    Ok((
        StatusCode::CREATED,
        axum::Json(Backup { file, bytes: made.bytes, messages: made.messages, took_ms }),
    ))
}

impl From<DrainStatus> for Drain {
    fn from(status: DrainStatus) -> Drain {
        let DrainStatus {
            state,
            phase,
            connections,
            connections_at_start,
            where_to,
            elapsed_ms,
            deadline_ms,
            ..
        } = status;
        Drain { state, phase, connections, connections_at_start, where_to, elapsed_ms, deadline_ms }
    }
}
