//! The cluster endpoints: where each shard is, and an operator's orders.
//!
//! Why at every node: what a node says of itself is what a cluster can be judged by, and an order reaches the
//! node that can do it from any other.
//! Not here: what a move does (`grandstand_cluster`).

use std::pin::Pin;

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
    /// Hand a shard over to a node, whoever owns it.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn hand_over(&self, shard: u16, to: u8) -> Answering<'_, Moved>;
    /// Drain a node without ending it, or end that.
    ///
    /// # Errors
    /// It does not answer, or does not exist.
    fn drain(&self, node: u8, undo: bool) -> Answering<'_, ()>;
    /// Raise the version that the cluster writes, when all nodes know it. Returns the version.
    ///
    /// # Errors
    /// Which nodes do not.
    fn finish_upgrade(&self) -> Answering<'_, u16>;
}

/// What comes of an order, later.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What came of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The log names the next owner.
    Done {
        /// After so long.
        took_ms: u64,
    },
    /// Another node owns the shard: one of them died meanwhile.
    Elsewhere {
        /// Which.
        owner: Option<u8>,
        /// Under which term.
        term: u64,
    },
    /// It is not done yet: the log takes nothing now.
    UnderWay,
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
    let moved =
        cluster.hand_over(shard, to).await.map_err(|why| refused(why, "GET /cluster shows the owners"))?;
    match moved {
        Moved::Done { took_ms } => {
            Ok(Json(json!({ "shard": shard, "to": to, "state": "done", "took_ms": took_ms })))
        }
        Moved::UnderWay => Ok(Json(json!({ "shard": shard, "to": to, "state": "handing" }))),
        Moved::Elsewhere { owner, term } => {
            let owner = owner.map_or("nobody".to_owned(), |node| format!("node {node}"));
            let why = format!("{owner} owns the shard now, under term {term}: a node died meanwhile");
            Err(refused(why, "look at GET /cluster, and ask again if it is still wanted"))
        }
    }
}

fn refused(why: String, hint: &'static str) -> Failure {
    Failure::new(StatusCode::CONFLICT, why, hint)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Drained {
    undo: bool,
}

pub(super) async fn drain(
    State(port): Shared,
    Path(node): Path<u8>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let cluster = port.cluster.as_ref().ok_or_else(alone)?;
    let body = bytes(body)?;
    let wanted: Drained = if body.trim_ascii().is_empty() {
        Drained::default()
    } else {
        let hint = "{}: it drains; {\"undo\":true}: it serves again";
        serde_json::from_slice(&body).map_err(|error| Failure::bad_request(error.to_string(), hint))?
    };
    let hint = "GET /cluster shows which nodes are heard";
    cluster.drain(node, wanted.undo).await.map_err(|why| refused(why, hint))?;
    Ok(Json(json!({ "node": node, "state": if wanted.undo { "serving" } else { "draining" } })))
}

pub(super) async fn finish_upgrade(State(port): Shared) -> Result<Json<Value>, Failure> {
    let cluster = port.cluster.as_ref().ok_or_else(alone)?;
    let hint = "all nodes must run, with a release that writes this version";
    let version = cluster.finish_upgrade().await.map_err(|why| refused(why, hint))?;
    Ok(Json(json!({ "version": version })))
}
