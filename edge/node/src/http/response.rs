//! Failures: how a request that was not done looks in JSON, and with which status.
//!
//! Why JSON: programs read `error`, people read `hint`.
//! Invariant: every failure says what to do about it.
//! Not here: what a request that was done answers (the resources).

use std::sync::LazyLock;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_protocol::limits::{ROOM_NAME_BYTES_MAX, STATE_KEY_BYTES_MAX};
use grandstand_protocol::refusal::Refusal;
use serde_json::json;

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
            Refusal::BadName => (StatusCode::BAD_REQUEST, BAD_NAME_HINT.as_str()),
            Refusal::BadText | Refusal::Empty => (StatusCode::BAD_REQUEST, BAD_KEY_HINT.as_str()),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE_HINT.as_str()),
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

static BAD_NAME_HINT: LazyLock<String> = LazyLock::new(|| {
    format!("a name has 1 to {ROOM_NAME_BYTES_MAX} bytes of UTF-8 without control characters")
});

static BAD_KEY_HINT: LazyLock<String> = LazyLock::new(|| {
    format!("a key has 1 to {STATE_KEY_BYTES_MAX} bytes of UTF-8 without control characters")
});

static TOO_LARGE_HINT: LazyLock<String> = LazyLock::new(|| {
    format!("a key has at most {STATE_KEY_BYTES_MAX} bytes, a value rooms.state_value_bytes_max")
});
