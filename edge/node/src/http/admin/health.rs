//! Health and readiness, for probes.
//!
//! Why two endpoints: a node that drains is healthy and accepts no sessions. A node whose disk fails serves
//! what it can, and a restart would not repair the disk.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Shared, StorePort};
use crate::http::response::Failure;

/// A process that answers works. The answer lists what the node cannot do now.
pub(super) async fn live(State(port): Shared) -> Json<Value> {
    match port.store.as_ref().and_then(StorePort::fault) {
        None => Json(json!({ "status": "ok" })),
        Some(fault) => Json(json!({ "status": "degraded", "faults": [fault] })),
    }
}

pub(super) async fn ready(State(port): Shared) -> Response {
    if port.ready.load(Ordering::Relaxed) {
        return Json(json!({ "status": "ready" })).into_response();
    }
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the node takes no sessions now",
        "it is starting or draining",
    )
    .into_response()
}
