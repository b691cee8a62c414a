//! The drain endpoint: an operator begins a drain, and watches its progress.
//!
//! Why beside the signal: a program that replaces nodes sets the destination and the speed, and wants to see
//! the end.
//! Invariant: the first request takes effect; a second one only gets the status of the drain under way.
//! Not here: what a drain does (`shutdown`).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use grandstand_edge::config;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::http::request::bytes;
use crate::http::response::Failure;

/// A request for a drain. Fields that are left out have the configuration's values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Where clients are sent, host and port; empty: the address at which they connected.
    pub where_to: Option<String>,
    /// Time for which the node is not ready and still takes everybody.
    pub announce_ms: Option<u32>,
    /// Least time for which new connections are refused with an answer.
    pub refuse_ms: Option<u32>,
    /// Time over which they leave.
    pub spread_ms: Option<u32>,
    /// Time after the announcement at which everything is closed.
    pub deadline_ms: Option<u32>,
}

/// The progress of a node's drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainStatus {
    /// `serving`, `draining` or `handed_over`.
    pub state: &'static str,
    /// `announce`, `move` or `refuse`; empty while it serves.
    pub phase: &'static str,
    /// Connections that are established or in their handshake.
    pub connections: usize,
    /// Connections when the drain began.
    pub connections_at_start: usize,
    /// Where clients are sent.
    pub where_to: String,
    /// Time since the drain began.
    pub elapsed_ms: u64,
    /// Time of the announcement.
    pub announce_ms: u64,
    /// Time over which they leave.
    pub spread_ms: u64,
    /// Time after the announcement at which everything is closed.
    pub deadline_ms: u64,
}

/// Drains the node.
pub trait DrainControl: Send + Sync {
    /// Begin a drain, unless one is under way.
    fn drain(&self, request: &DrainRequest) -> DrainStatus;
    /// The progress of the drain.
    fn status(&self) -> DrainStatus;
}

pub(super) async fn begin(
    State(port): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<DrainStatus>, Failure> {
    let body = bytes(body)?;
    let hint = "all optional: {\"where_to\":\"b.example.org:7443\",\"announce_ms\":5000,\"spread_ms\":30000,\"deadline_ms\":35000}";
    let request: DrainRequest = if body.trim_ascii().is_empty() {
        DrainRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| Failure::bad_request(e.to_string(), hint))?
    };
    let (ms_max, bytes_max) = (highest("drain.spread_ms"), highest("drain.go_to"));
    let mut times = [request.announce_ms, request.refuse_ms, request.spread_ms, request.deadline_ms]
        .into_iter()
        .flatten();
    let where_to_bytes = request.where_to.as_ref().map_or(0, String::len) as u64;
    if times.any(|ms| u64::from(ms) > ms_max) || where_to_bytes > bytes_max {
        let fault = format!("a time over {ms_max} ms, or an address over {bytes_max} bytes");
        return Err(Failure::bad_request(fault, hint));
    }
    Ok(Json(port.drain.drain(&request)))
}

/// A request may use the whole range of the key.
fn highest(key: &str) -> u64 {
    config::key(key).and_then(config::Key::bounds).expect("the key has bounds").1
}

pub(super) async fn show(State(port): Shared) -> Json<DrainStatus> {
    Json(port.drain.status())
}
