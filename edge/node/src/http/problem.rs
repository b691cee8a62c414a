//! Problems: failures of the HTTP API, as `application/problem+json` (RFC 9457).
//!
//! Why beside `response`: an operator's tools read `error` and `hint`; applications read the standard's
//! members and switch on `code`, which is the name of the protocol's refusal where there is one.
//! Invariants: every problem says what was wrong, and `retry_after_ms` (and `Retry-After`) when to repeat the
//! request, if that can help. The number of a problem's status is in its body too.
//! Not here: the number of the request, which the port adds (`api::requests`).

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grandstand_protocol::refusal::Refusal;
use serde::Serialize;

/// What a problem's `type` begins with; the code follows. docs/API.md lists the codes.
const TYPE: &str = "urn:grandstand:problem:";

/// The media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: String,
    retry_after_ms: Option<u32>,
    errors: Vec<Fault>,
    instance: Option<String>,
}

/// One fault in a request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it is, as a JSON pointer; empty: the whole body.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    /// A problem with a code of the API's own.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        let title = Cow::Borrowed(status.canonical_reason().unwrap_or("Failed"));
        let (code, detail) = (Cow::Borrowed(code), detail.into());
        let parts =
            Parts { status, code, title, detail, retry_after_ms: None, errors: Vec::new(), instance: None };
        Problem(Box::new(parts))
    }

    /// The request is not as it must be.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "BadRequest", detail)
    }

    /// What the request names is not there.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "NotFound", detail)
    }

    /// The request's body breaks a rule at this JSON pointer.
    pub fn in_body(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let fault = Fault { pointer: pointer.into(), detail: detail.into() };
        let detail = match fault.pointer.as_str() {
            "" => fault.detail.clone(),
            pointer => format!("{pointer}: {}", fault.detail),
        };
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidBody", detail);
        problem.0.errors.push(fault);
        problem
    }

    /// A refusal of the protocol, under its own name.
    pub fn refused(refusal: Refusal, detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(status_of(refusal), "", detail);
        problem.0.code = format!("{refusal:?}").into();
        problem.0.title = refusal.text().into();
        problem
    }

    /// The same, which may succeed after this time; `None`: unknown.
    #[must_use]
    pub fn with_retry(mut self, retry_after_ms: Option<u32>) -> Problem {
        self.0.retry_after_ms = retry_after_ms;
        self
    }

    /// The same with the number of its request.
    #[must_use]
    pub fn with_instance(mut self, request: &str) -> Problem {
        self.0.instance = Some(format!("urn:grandstand:request:{request}"));
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// As JSON: for a line of an answer that has several.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.body()).expect("a problem is an object of texts and numbers")
    }

    fn body(&self) -> Body<'_> {
        Body {
            r#type: format!("{TYPE}{}", self.0.code),
            title: &self.0.title,
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            code: &self.0.code,
            instance: self.0.instance.as_deref(),
            retry_after_ms: self.0.retry_after_ms,
            errors: &self.0.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api\""));
        }
        let unknown = (self.0.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        let retry_after_s = self.0.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1)).or(unknown);
        if let Some(s) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(s));
        }
        // The port renders it again, with the number of the request.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let detail = match refusal {
            Refusal::UnknownRoom => "there is no such room: POST /v1/rooms makes one",
            Refusal::BadName => "a name of a room has 1 to 128 bytes of UTF-8 without control characters",
            Refusal::BadText => "a text or a key contains control characters that it may not have",
            Refusal::Empty => "send a text or an attachment",
            Refusal::TooLarge => "a text, an attachment, a key or a value is over its limit",
            Refusal::TooManyKeys => "the room has as many state keys as it may: delete one first",
            Refusal::TooManyRooms => "the node has as many rooms as it may: remove one first",
            Refusal::RoomClosed => "the room is closed: POST /v1/rooms/{room}/open opens it",
            Refusal::Forbidden | Refusal::Filtered => "the room does not allow it",
            Refusal::Held => "the message waits for a moderator, who publishes or drops it",
            Refusal::TimedOut | Refusal::Banned => "this person may not speak in the room",
            Refusal::Unacknowledged => "this person must acknowledge a warning first",
            Refusal::SubscribersOnly => "the room takes messages of subscribers only",
            Refusal::TooNew => "this session or account is too young for the room",
            Refusal::EmotesOnly => "the room takes emotes only",
            Refusal::LinksOff => "the room takes no links",
            Refusal::Repeats => "the same text was said in the room a moment ago",
            Refusal::RateLimited | Refusal::SlowMode => "too soon after the one before: wait and repeat it",
            Refusal::Overloaded => "the room's shard has more to do than it can take: repeat it later",
            Refusal::StorageUnavailable => {
                "the log could not store it in time; it may be in the log all the same: repeat it with the same \
                 Idempotency-Key"
            }
            Refusal::NonceReused => "the nonce stands for another message: use a new one",
            Refusal::Forgotten => {
                "the room no longer remembers so far back: look whether the message is there before you send it anew"
            }
            Refusal::UnknownEpoch => {
                "the room's log is another one than the request names: read from its beginning"
            }
            Refusal::TooOld => "the log no longer keeps what was asked for: read from its oldest offset",
            Refusal::Other | Refusal::NotSubscribed | Refusal::AlreadySubscribed => {
                "this should not happen: the node's log may tell more"
            }
        };
        Problem::refused(refusal, detail)
    }
}

fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownRoom => StatusCode::NOT_FOUND,
        Refusal::BadName | Refusal::BadText | Refusal::Empty => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Forbidden
        | Refusal::Filtered
        | Refusal::Banned
        | Refusal::TimedOut
        | Refusal::Unacknowledged
        | Refusal::SubscribersOnly
        | Refusal::TooNew
        | Refusal::EmotesOnly
        | Refusal::LinksOff
        | Refusal::Repeats => StatusCode::FORBIDDEN,
        Refusal::RateLimited | Refusal::SlowMode => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Overloaded | Refusal::StorageUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TooOld => StatusCode::GONE,
        // A publication that is held is no failure of its request: publishing answers 202.
        Refusal::Held
        | Refusal::TooManyKeys
        | Refusal::TooManyRooms
        | Refusal::RoomClosed
        | Refusal::NonceReused
        | Refusal::UnknownEpoch
        | Refusal::Forgotten => StatusCode::CONFLICT,
        Refusal::Other | Refusal::NotSubscribed | Refusal::AlreadySubscribed => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal of the protocol has a status of a failure, its own name, and what to do.
    #[test]
    fn every_refusal_is_a_problem_under_its_own_name() {
        for &refusal in Refusal::ALL {
            let problem = Problem::from(refusal);
            assert!(problem.status().is_client_error() || problem.status().is_server_error(), "{refusal:?}");
            let body = problem.to_json();
            assert_eq!(body["code"], format!("{refusal:?}"));
            assert_eq!(body["type"], format!("urn:grandstand:problem:{refusal:?}"));
            assert_eq!(body["status"], problem.status().as_u16());
            assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{refusal:?}");
            let retries = [429, 503].contains(&problem.status().as_u16());
            assert!(!retries || refusal.may_retry(), "{refusal:?}: what must not be repeated says so");
        }
    }

    #[test]
    fn the_time_to_wait_is_in_the_header_and_in_the_body() {
        let problem = Problem::from(Refusal::SlowMode).with_retry(Some(1_500));
        assert_eq!(problem.to_json()["retry_after_ms"], 1_500);
        let response = problem.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let down = Problem::from(Refusal::Overloaded).into_response();
        assert_eq!(down.headers()[header::RETRY_AFTER], "1");
    }
}
