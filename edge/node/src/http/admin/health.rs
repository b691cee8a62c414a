//! Health and readiness, for probes.
//!
//! Why two endpoints: a node that drains is healthy and accepts no sessions. A node whose disk fails serves
//! what it can, and a restart would not repair the disk.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Shared, StorePort};
use crate::clock_steps;
use crate::http::response::Failure;

/// A process whose threads all turn works. The answer lists what the node cannot do now.
pub(super) async fn live(State(port): Shared) -> Response {
    let verdict = port.health.verdict();
    let dead: Vec<String> = verdict.dead().map(ToString::to_string).collect();
    let waiting = verdict.waiting().map(ToString::to_string);
    let faults: Vec<String> = port
        .store
        .as_deref()
        .and_then(StorePort::fault)
        .into_iter()
        .chain(waiting)
        .chain(port.cluster.as_ref().map(|cluster| cluster.degraded()).unwrap_or_default())
        .chain(clock_steps::fault())
        .collect();
    if !dead.is_empty() {
        let faults: Vec<String> = dead.into_iter().chain(faults).collect();
        let hint = "restart the node; its log has what the thread did last";
        let body = json!({ "status": "failed", "error": faults.join("; "), "hint": hint, "faults": faults });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    }
    let body = if faults.is_empty() {
        json!({ "status": "ok" })
    } else {
        json!({ "status": "degraded", "faults": faults })
    };
    Json(body).into_response()
}

pub(super) async fn ready(State(port): Shared) -> Response {
    let fault = port.cluster.as_ref().and_then(|cluster| cluster.fault());
    if let Some(fault) = fault {
        let hint = "the node serves what it has, and cannot follow new messages";
        return Failure::new(StatusCode::SERVICE_UNAVAILABLE, fault, hint).into_response();
    }
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
