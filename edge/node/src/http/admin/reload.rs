//! The reload endpoint: an operator's program has certificates, keys and the configuration read again.
//!
//! Why beside the signal: a program wants to know whether what it wrote is good.
//! Not here: what is read (`reload`).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::Shared;
use crate::http::response::Failure;

/// The result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What was read again, and is in use now.
    pub read: Vec<String>,
    /// What could not be used: what was in use before stays in use.
    pub faults: Vec<String>,
    /// Keys of the configuration that changed and take effect at the next restart.
    pub needs_restart: Vec<String>,
}

/// Reads again what can be read again.
pub trait ReloadControl: Send + Sync {
    /// Reload now; it may wait for a disk.
    fn reload(&self) -> Reloaded;
}

pub(super) async fn reload(State(port): Shared) -> Result<Response, Failure> {
    let control = port.reload.clone();
    let done = tokio::task::spawn_blocking(move || control.reload()).await;
    let hint = "mend the file that is named, and ask again; the log has the same";
    let done =
        done.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), hint))?;
    if done.faults.is_empty() {
        return Ok(Json(done).into_response());
    }
    let error = format!("not everything could be read again: {}", done.faults.join("; "));
    let body = json!({
        "error": error,
        "hint": hint,
        "read": done.read,
        "faults": done.faults,
        "needs_restart": done.needs_restart,
    });
    Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
}
