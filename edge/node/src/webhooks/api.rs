//! Webhooks over the HTTP API: endpoints, their secrets, tests, dead letters and replays.
//!
//! Why a secret is shown once: it is in the answer to the request that made it, and nowhere else.
//! Invariant: each operation needs the scope `webhooks`, for all rooms.
//! Not here: the outbox (`store`), the same by command (`webhook_command`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ENDPOINTS_MAX, Endpoint, Secret, Store, Webhooks, fault};
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;

/// Dead letters in one answer.
const LETTERS_MAX: usize = 1_000;

type Shared = State<Arc<Webhooks>>;
type Key = Grant<{ needs::WEBHOOKS }>;

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEndpoint {
    /// Its address: `https`, and public unless the node's configuration names its host.
    #[schema(max_length = 2048)]
    url: String,
    /// The events that it gets; left out or empty: all.
    #[serde(default)]
    events: Vec<String>,
    /// It gets events of rooms whose names begin so; empty: those of all rooms and of the node.
    #[serde(default)]
    room_prefix: String,
    /// `whsec_` and 24 to 64 bytes in base64; left out: the node makes one.
    secret: Option<String>,
}

/// A new secret for an endpoint.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    /// `whsec_` and 24 to 64 bytes in base64; left out: the node makes one.
    secret: Option<String>,
}

/// Which dead letters to send again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// The id of one message; left out: all.
    message: Option<String>,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
struct ShownEndpoint {
    /// Its number.
    id: String,
    /// Its address.
    url: String,
    /// The events that it gets; empty: all.
    events: Vec<String>,
    /// It gets events of rooms whose names begin so.
    room_prefix: String,
    /// Why nothing is sent to it; null: it is in use.
    disabled: Option<String>,
    /// Attempts that failed since the last one that did not.
    failures: i64,
    /// The last failure, in words.
    last_failure: Option<String>,
    /// When that was, in milliseconds since 1970.
    last_failure_ms: Option<i64>,
    /// When it last took a message, in milliseconds since 1970.
    last_success_ms: Option<i64>,
    /// The new secret, in the answer to the request that made it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// All endpoints.
#[derive(Debug, Serialize, ToSchema)]
struct Endpoints {
    endpoints: Vec<ShownEndpoint>,
}

/// A message that an endpoint did not get.
#[derive(Debug, Serialize, ToSchema)]
struct ShownLetter {
    /// Its id.
    id: String,
    /// What happened.
    r#type: String,
    /// In which room; null: in none.
    room: Option<String>,
    /// Why it was given up.
    why: String,
    /// When that was, in milliseconds since 1970.
    dead_ms: i64,
}

/// Dead letters, the newest first.
#[derive(Debug, Serialize, ToSchema)]
struct Letters {
    dead: Vec<ShownLetter>,
}

/// How many messages are sent again.
#[derive(Debug, Serialize, ToSchema)]
struct Replayed {
    replayed: usize,
}

impl ShownEndpoint {
    fn of(endpoint: Endpoint, secret: Option<&Secret>) -> ShownEndpoint {
        let (last_failure, last_failure_ms) = endpoint.last_failure.unzip();
        ShownEndpoint {
            id: endpoint.id.to_string(),
            url: endpoint.url,
            events: endpoint.kinds,
            room_prefix: endpoint.room_prefix,
            disabled: endpoint.disabled,
            failures: endpoint.failures,
            last_failure,
            last_failure_ms,
            last_success_ms: endpoint.last_success_ms,
            secret: secret.map(Secret::written),
        }
    }
}

pub(super) fn router(webhooks: Arc<Webhooks>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, remove))
        .routes(routes!(change_secret))
        .routes(routes!(test))
        .routes(routes!(dead))
        .routes(routes!(replay))
        .with_state(webhooks)
}

/// The endpoints of this node
#[utoipa::path(get, path = "", tag = "webhooks", operation_id = "webhooks_list",
    responses((status = 200, description = "All endpoints.", body = Endpoints)))]
async fn list(key: Key, State(webhooks): Shared) -> Result<axum::Json<Endpoints>, Problem> {
    key.for_all_rooms()?;
    let all = with(&webhooks, |store| store.endpoints()).await?;
    let endpoints = all.into_iter().map(|one| ShownEndpoint::of(one, None)).collect();
    Ok(axum::Json(Endpoints { endpoints }))
}

/// Add an endpoint
#[utoipa::path(post, path = "", tag = "webhooks", operation_id = "webhooks_add", request_body = NewEndpoint,
    responses((status = 201, description = "The endpoint, with its secret.", body = ShownEndpoint),
        (status = 409, description = "There are 64 already.", content_type = "application/problem+json", body = Object)))]
async fn add(
    key: Key,
    State(webhooks): Shared,
    Json(new): Json<NewEndpoint>,
) -> Result<(StatusCode, axum::Json<ShownEndpoint>), Problem> {
    key.for_all_rooms()?;
    if let Some((pointer, what)) = fault(&webhooks.fetcher, &new.url, &new.events, &new.room_prefix) {
        return Err(Problem::in_body(pointer, what));
    }
    let secret = secret(new.secret.as_deref())?;
    let (now_ms, kept) = (webhooks.now_ms(), secret.clone());
    let added = with(&webhooks, move |store| {
        let is_full = store.endpoints()?.len() >= ENDPOINTS_MAX;
        if is_full {
            return Ok(None);
        }
        store.add(now_ms, &new.url, &new.events, &new.room_prefix, &kept).map(Some)
    });
    let Some(endpoint) = added.await? else {
        let detail = format!("there are {ENDPOINTS_MAX} endpoints already: remove one");
        return Err(Problem::new(StatusCode::CONFLICT, "TooManyEndpoints", detail));
    };
    webhooks.note_change();
    Ok((StatusCode::CREATED, axum::Json(ShownEndpoint::of(endpoint, Some(&secret)))))
}

/// An endpoint
#[utoipa::path(get, path = "/{id}", tag = "webhooks", operation_id = "webhooks_show",
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 200, description = "The endpoint.", body = ShownEndpoint)))]
async fn show(
    key: Key,
    State(webhooks): Shared,
    Path(id): Path<String>,
) -> Result<axum::Json<ShownEndpoint>, Problem> {
    key.for_all_rooms()?;
    let id = number(&id)?;
    let endpoint = with(&webhooks, move |store| store.endpoint(id)).await?.ok_or_else(none)?;
    Ok(axum::Json(ShownEndpoint::of(endpoint, None)))
}

/// Remove an endpoint, with the messages that it has not got
#[utoipa::path(delete, path = "/{id}", tag = "webhooks", operation_id = "webhooks_remove",
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 204, description = "It is removed.")))]
async fn remove(key: Key, State(webhooks): Shared, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    key.for_all_rooms()?;
    let id = number(&id)?;
    let is_removed = with(&webhooks, move |store| store.remove(id)).await?;
    webhooks.note_change();
    if is_removed { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}

/// Give an endpoint a new secret; the one before is good beside it until the next change
#[utoipa::path(post, path = "/{id}/secret", tag = "webhooks", operation_id = "webhooks_change_secret",
    request_body(content = NewSecret, description = "May be left out."),
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 200, description = "The endpoint, with its new secret.", body = ShownEndpoint)))]
async fn change_secret(
    key: Key,
    State(webhooks): Shared,
    Path(id): Path<String>,
    OptionalJson(new): OptionalJson<NewSecret>,
) -> Result<axum::Json<ShownEndpoint>, Problem> {
    key.for_all_rooms()?;
    let (id, secret) = (number(&id)?, secret(new.secret.as_deref())?);
    let kept = secret.clone();
    let changed =
        with(&webhooks, move |store| store.change_secret(id, &kept).and_then(|_| store.endpoint(id)));
    let endpoint = changed.await?.ok_or_else(none)?;
    webhooks.note_change();
    Ok(axum::Json(ShownEndpoint::of(endpoint, Some(&secret))))
}

/// Send a test (`webhook.test`) to an endpoint
#[utoipa::path(post, path = "/{id}/test", tag = "webhooks", operation_id = "webhooks_test",
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 202, description = "It is in the outbox.")))]
async fn test(key: Key, State(webhooks): Shared, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    key.for_all_rooms()?;
    let (id, now_ms) = (number(&id)?, webhooks.now_ms());
    let put = with(&webhooks, move |store| match store.endpoint(id)? {
        None => Ok(false),
        Some(_) => store.put_test(now_ms, id).map(|()| true),
    });
    if !put.await? {
        return Err(none());
    }
    webhooks.note_change();
    Ok(StatusCode::ACCEPTED)
}

/// Messages that an endpoint did not get
#[utoipa::path(get, path = "/{id}/dead", tag = "webhooks", operation_id = "webhooks_dead",
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 200, description = "At most 1,000, the newest first.", body = Letters)))]
async fn dead(
    key: Key,
    State(webhooks): Shared,
    Path(id): Path<String>,
) -> Result<axum::Json<Letters>, Problem> {
    key.for_all_rooms()?;
    let id = number(&id)?;
    let found = with(&webhooks, move |store| match store.endpoint(id)? {
        None => Ok(None),
        Some(_) => store.dead(id, LETTERS_MAX).map(Some),
    });
    let shown = |letter: super::DeadLetter| ShownLetter {
        id: letter.id,
        r#type: letter.kind,
        room: Some(letter.room).filter(|room| !room.is_empty()),
        why: letter.why,
        dead_ms: letter.dead_ms,
    };
    let dead = found.await?.ok_or_else(none)?.into_iter().map(shown).collect();
    Ok(axum::Json(Letters { dead }))
}

/// Send dead letters again; a disabled endpoint is used again
#[utoipa::path(post, path = "/{id}/replay", tag = "webhooks", operation_id = "webhooks_replay",
    request_body(content = Replay, description = "May be left out."),
    params(("id" = String, Path, description = "The endpoint's number.")),
    responses((status = 200, description = "How many are sent again.", body = Replayed)))]
async fn replay(
    key: Key,
    State(webhooks): Shared,
    Path(id): Path<String>,
    OptionalJson(wanted): OptionalJson<Replay>,
) -> Result<axum::Json<Replayed>, Problem> {
    key.for_all_rooms()?;
    let (id, now_ms) = (number(&id)?, webhooks.now_ms());
    let done = with(&webhooks, move |store| match store.endpoint(id)? {
        None => Ok(None),
        Some(_) => store.replay(now_ms, id, wanted.message.as_deref()).map(Some),
    });
    let replayed = done.await?.ok_or_else(none)?;
    webhooks.note_change();
    Ok(axum::Json(Replayed { replayed }))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| none())
}

fn none() -> Problem {
    Problem::not_found("there is no such endpoint: GET /v1/webhooks lists them")
}

fn secret(wanted: Option<&str>) -> Result<Secret, Problem> {
    match wanted {
        Some(text) => Secret::read(text).map_err(|what| Problem::in_body("/secret", what)),
        None => Secret::random().map_err(unusable),
    }
}

fn unusable(what: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StorageUnavailable", what).with_retry(Some(1_000))
}

/// Ask the outbox on a thread that may wait for a disk.
async fn with<T: Send + 'static>(
    webhooks: &Arc<Webhooks>,
    ask: impl FnOnce(&mut Store) -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    let webhooks = webhooks.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&mut webhooks.store()));
    asked.await.map_err(|_| unusable("the outbox of webhooks has a fault".to_owned()))?.map_err(unusable)
}
