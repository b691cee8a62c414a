//! The node: its status.
//!
//! Why here: an application that steers rooms must know whether the node that answers is well.
//! Not here: health for balancers (`http::admin::health`), numbers (`metrics`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, Shared};
use crate::http::grant::{Grant, needs};

/// A node's status.
#[derive(Serialize, ToSchema)]
struct NodeStatus {
    /// Its name (`node.name`).
    name: String,
    /// Its release.
    version: &'static str,
    /// `serving`, `draining` or `handed_over`.
    state: &'static str,
    /// Connections that are established or in their handshake.
    connections: usize,
    /// Milliseconds since it started.
    uptime_ms: u64,
    /// What is wrong with it, a sentence each: empty when all is well.
    faults: Vec<String>,
    /// Its cluster: shards, owners and peers; null where it stands alone.
    #[schema(value_type = Option<Object>)]
    cluster: Option<serde_json::Value>,
}

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The status of the node that answers
#[utoipa::path(get, path = "/v1/node", tag = "node", operation_id = "node_show",
    responses((status = 200, description = "Its status.", body = NodeStatus)))]
async fn show(_: Grant<{ needs::ADMIN }>, State(api): Shared) -> Json<NodeStatus> {
    let drain = api.drain.status();
    Json(NodeStatus {
        name: api.config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        state: drain.state,
        connections: drain.connections,
        uptime_ms: api.clock.uptime().as_millis() as u64,
        faults: api.faults(),
        cluster: api.cluster.as_ref().map(|cluster| cluster.view()),
    })
}

impl Api {
    fn faults(&self) -> Vec<String> {
        let verdict = self.health.verdict();
        let threads = verdict.dead().chain(verdict.waiting()).map(ToString::to_string);
        let of_cluster =
            self.cluster.iter().flat_map(|cluster| cluster.fault().into_iter().chain(cluster.degraded()));
        threads.chain(self.store.iter().filter_map(|store| store.fault())).chain(of_cluster).collect()
    }
}
