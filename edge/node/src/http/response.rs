//! Failures: the JSON and the status of a request that failed.
//!
//! Why JSON: programs read `error`, people read `hint`.
//! Invariant: every failure says what to do about it.
//! Not here: the answers to successful requests (the resources).

use std::sync::LazyLock;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_protocol::limits::{ROOM_NAME_BYTES_MAX, STATE_KEY_BYTES_MAX};
use grandstand_protocol::refusal::Refusal;
use serde_json::json;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
    retry_after_ms: Option<u32>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), hint: hint.into(), retry_after_ms: None }
    }

    pub(super) fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: hint.into(), ..self }
    }

    /// Add the time after which the request may succeed; `None`: unknown.
    pub(super) fn with_retry(self, retry_after_ms: Option<u32>) -> Failure {
        Failure { retry_after_ms, ..self }
    }

    /// The value of `Retry-After`, which is in whole seconds.
    fn retry_after_s(&self) -> Option<u32> {
        let unknown = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        self.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1)).or(unknown)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry_after_s = self.retry_after_s();
        let mut body = json!({ "error": self.error, "hint": self.hint });
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = json!(ms);
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(s) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(s));
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
            Refusal::Held => (StatusCode::ACCEPTED, "a moderator decides whether it is published"),
            Refusal::Banned | Refusal::Unacknowledged => {
                (StatusCode::FORBIDDEN, "moderators do not let this person speak here")
            }
            Refusal::SubscribersOnly | Refusal::EmotesOnly | Refusal::LinksOff | Refusal::Repeats => {
                (StatusCode::FORBIDDEN, "a mode of the room does not allow it")
            }
            Refusal::TimedOut | Refusal::TooNew | Refusal::RateLimited | Refusal::SlowMode => {
                (StatusCode::TOO_MANY_REQUESTS, "try again later")
            }
            Refusal::Overloaded | Refusal::StorageUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "try again later")
            }
            Refusal::NonceReused => (
                StatusCode::CONFLICT,
                "the nonce stands for another message: send this one under a new nonce",
            ),
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
