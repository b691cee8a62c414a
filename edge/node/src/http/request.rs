//! Requests: parses names in the path and JSON in the body; a failure says what was expected.
//!
//! Why: the framework's own rejections are plain text. Ours are JSON with a hint, like every other failure.
//! Not here: who may use a port (`access`), the effect of a request (the resources).

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::http::StatusCode;
use grandstand_protocol::limits::CLIENT_FRAME_BYTES_MAX;
use grandstand_protocol::refusal::Refusal;
use serde::de::DeserializeOwned;

use super::response::Failure;

/// Bytes of a request's body, as for a client's largest frame, since no request needs more than a frame does;
/// above this, the answer is 413. The engine bounds values and texts (`rooms.state_value_bytes_max`,
/// `limits.text_bytes_max`).
pub(super) const BODY_BYTES_MAX: usize = CLIENT_FRAME_BYTES_MAX;

/// The names in a path, percent-decoded.
pub(super) fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Failure> {
    let fault = |error: PathRejection| {
        Failure::bad_request(error.body_text(), "names in the path are UTF-8, percent-encoded")
    };
    path.map(|Path(inner)| inner).map_err(fault)
}

/// The body unchanged.
pub(super) fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let hint = format!("a body has at most {BODY_BYTES_MAX} bytes");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Refusal::TooLarge.text(), hint)
        }
        status => Failure::new(status, error.body_text(), "send the body again"),
    })
}

/// The body as JSON; `hint` shows a valid one.
pub(super) fn json<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    hint: &str,
) -> Result<T, Failure> {
    serde_json::from_slice(&bytes(body)?)
        .map_err(|error| Failure::bad_request(format!("the body is not as expected: {error}"), hint))
}
