//! The cluster endpoints: where each shard is, and an operator's order to move one.
//!
//! Why at every node: what a node says of itself is what a cluster can be judged by; no node knows for the
//! others.
//! Not here: what a move does (`grandstand_cluster`).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use crate::http::request::bytes;
use crate::http::response::Failure;
use crate::metrics::ClusterNumber;

/// The cluster's part of a node, as the admin port uses it.
pub trait ClusterControl: Send + Sync {
    /// This node's view: shards, peers, network.
    fn view(&self) -> Value;
    /// Why the node should get no new sessions, if there is a reason.
    fn fault(&self) -> Option<String>;
    /// What is wrong with the log's streams and servers, as it was checked last.
    fn degraded(&self) -> Vec<String>;
    /// For the scrape.
    fn numbers(&self) -> Vec<ClusterNumber>;
    /// Hand a shard over to a node.
    ///
    /// # Errors
    /// Why not: this node does not own it, or there is no such node.
    fn hand_over(&self, shard: u16, to: u8) -> Result<(), String>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    to: u8,
}

fn alone() -> Failure {
    let hint = "a cluster has cluster.name and the other keys of that section";
    Failure::new(StatusCode::NOT_FOUND, "the node stands alone", hint)
}

pub(super) async fn show(State(port): Shared) -> Result<Json<Value>, Failure> {
    port.cluster.as_ref().map(|cluster| Json(cluster.view())).ok_or_else(alone)
}

pub(super) async fn hand_over(
    State(port): Shared,
    Path(shard): Path<u16>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let cluster = port.cluster.as_ref().ok_or_else(alone)?;
    let hint = "{\"to\":1}: the number of the node that gets the shard, its place in cluster.nodes";
    let body = bytes(body)?;
    let Move { to } =
        serde_json::from_slice(&body).map_err(|error| Failure::bad_request(error.to_string(), hint))?;
    cluster.hand_over(shard, to).map_err(|why| {
        Failure::new(StatusCode::CONFLICT, why, "GET /cluster says which node owns each shard: ask that one")
    })?;
    Ok(Json(json!({ "shard": shard, "to": to, "state": "handing" })))
}
