//! State of a room: keys and values that every viewer has.
//!
//! Why the body is the value: values are bytes, and what an application stores in them is its own.
//! Not here: bounds of keys and values (`grandstand_engine`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use grandstand_engine::check_reserved;
use grandstand_engine::link::AdminRequest;
use grandstand_protocol::refusal::Refusal;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rooms::Room;
use super::values::{RoomName, StateKey};
use super::{Api, Shared};
use crate::http::extract::{Body, Path};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(set, remove))
}

/// Set a key of a room's state
///
/// The body is the value, byte by byte.
#[utoipa::path(put, path = "/v1/rooms/{room}/state/{key}", tag = "state", operation_id = "state_set",
    params(("room" = RoomName, Path, description = "The room, percent-encoded."),
        ("key" = StateKey, Path, description = "The key, percent-encoded.")),
    request_body(content = Option<Vec<u8>>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The room after the change.", body = Room)))]
async fn set(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path((room, key)): Path<(RoomName, StateKey)>,
    Body(value): Body,
) -> Result<axum::Json<Room>, Problem> {
    grant.for_room(&room.0)?;
    check(&key.0, Some(&value))?;
    api.change(&room.0, |room| AdminRequest::SetState { room, key: key.0, value: Some(value.to_vec()) }).await
}

/// Remove a key of a room's state
#[utoipa::path(delete, path = "/v1/rooms/{room}/state/{key}", tag = "state", operation_id = "state_remove",
    params(("room" = RoomName, Path, description = "The room, percent-encoded."),
        ("key" = StateKey, Path, description = "The key, percent-encoded.")),
    responses((status = 204, description = "It is gone.")))]
async fn remove(
    grant: Grant<{ needs::ROOMS_WRITE }>,
    State(api): Shared,
    Path((room, key)): Path<(RoomName, StateKey)>,
) -> Result<StatusCode, Problem> {
    grant.for_room(&room.0)?;
    check(&key.0, None)?;
    api.shards.change(&room.0, |room| AdminRequest::SetState { room, key: key.0, value: None }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node's own keys are not an application's, but for slow mode.
fn check(key: &str, value: Option<&[u8]>) -> Result<(), Problem> {
    check_reserved(key, value).map_err(|fault| Problem::refused(Refusal::Forbidden, fault))
}
