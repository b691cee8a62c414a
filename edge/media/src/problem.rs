//! Problems: how a request that failed is answered, by RFC 9457.
//!
//! Why one form: a program reads `code` and `retry_after_ms`, a person reads `detail`.
//! Invariant: every problem says what was wrong, and where it may pass, when to retry.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status of HTTP.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// When the same request may succeed.
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// A problem that the same request will have again.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), retry_after_ms: None }
    }

    /// The node has too much to do.
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", detail).retry(1_000)
    }

    /// The same request may succeed after this time.
    #[must_use]
    pub fn retry(self, after_ms: u64) -> Problem {
        Problem { retry_after_ms: Some(after_ms), ..self }
    }

    /// Something here failed; the log has the reason.
    pub fn internal(error: &dyn std::error::Error) -> Problem {
        tracing::error!(%error, "a request for media failed");
        let detail = "the node could not do this; its log tells why";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StorageUnavailable", detail).retry(5_000)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": format!("urn:grandstand:problem:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = ms.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
        // A server around it may write it in its own form.
        response.extensions_mut().insert(self.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        response
    }
}
