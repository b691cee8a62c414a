//! Answers: how rooms, refusals and failures look in JSON, and with which status.
//!
//! Invariant: every failure says what to do about it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_engine::RoomSettings;
use grandstand_engine::link::RoomInfo;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::refusal::Refusal;
use serde_json::{Value, json};

/// A request that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), hint: hint.into() }
    }

    pub(super) fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error, hint)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error, "hint": self.hint }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let (status, hint) = match refusal {
            Refusal::UnknownRoom => (StatusCode::NOT_FOUND, "GET /rooms lists rooms; POST /rooms makes one"),
            Refusal::BadName => {
                (StatusCode::BAD_REQUEST, "a name has 1 to 128 bytes of UTF-8 without control characters")
            }
            Refusal::BadText | Refusal::Empty => {
                (StatusCode::BAD_REQUEST, "a key has 1 to 64 bytes of UTF-8 without control characters")
            }
            Refusal::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "a key has at most 64 bytes, a value rooms.state_value_bytes_max",
            ),
            Refusal::TooManyKeys => {
                (StatusCode::CONFLICT, "remove a key first, or raise rooms.state_keys_max")
            }
            Refusal::TooManyRooms => (StatusCode::CONFLICT, "remove a room first, or raise rooms.max"),
            Refusal::RoomClosed => (StatusCode::CONFLICT, "POST /rooms/{name}/open opens it"),
            Refusal::Forbidden | Refusal::Filtered => {
                (StatusCode::FORBIDDEN, "the node's configuration does not allow it")
            }
            Refusal::RateLimited | Refusal::SlowMode => (StatusCode::TOO_MANY_REQUESTS, "try again later"),
            Refusal::Overloaded | Refusal::StorageUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "try again later")
            }
            Refusal::Other
            | Refusal::NotSubscribed
            | Refusal::AlreadySubscribed
            | Refusal::UnknownEpoch
            | Refusal::TooOld
            | Refusal::Forgotten => {
                (StatusCode::INTERNAL_SERVER_ERROR, "this should not happen: the log may tell more")
            }
        };
        Failure::new(status, refusal.text(), hint)
    }
}

/// A room as JSON. The epoch is a text: it can be greater than what JSON readers keep exactly.
pub(super) fn room(info: &RoomInfo) -> Value {
    json!({
        "name": info.name,
        "alias": info.alias.0,
        "epoch": info.epoch.to_string(),
        "phase": phase(info.phase),
        "next_offset": info.next_offset,
        "oldest_offset": info.oldest_offset,
        "viewers": info.viewers,
        "history_bytes": info.history_bytes,
        "state_version": info.state_version,
        "tick_ms": info.tick_ms,
        "durability": durability(info.durability),
        "settings": settings(&info.settings),
    })
}

/// What is not set is `null`: the node's configuration says it.
fn settings(settings: &RoomSettings) -> Value {
    json!({
        "tick_min_ms": settings.tick_min_ms,
        "tick_max_ms": settings.tick_max_ms,
        "pacing_per_s": settings.pacing_per_s,
        "durability": settings.durability.map(durability),
    })
}

fn durability(level: Durability) -> &'static str {
    match level {
        Durability::Memory => "memory",
        Durability::Disk => "disk",
        Durability::Replicated => "replicated",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Closing => "closing",
        Phase::Closed => "closed",
    }
}
