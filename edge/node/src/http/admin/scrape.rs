//! The scrape: the numbers of workers, shards, durable log and process, for Prometheus.
//!
//! Invariant: a shard that does not answer is counted, and all other numbers are shown all the same.
//! Not here: names, units and help (`metrics`).

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use grandstand_engine::link::{AdminAnswer, AdminRequest};

use super::{Shared, StorePort};
use crate::metrics;

/// How long a scrape waits for shards. A shard answers between two batches; one that hangs must not hold up
/// the other numbers.
const WAIT: Duration = Duration::from_millis(500);

pub(super) async fn show(State(port): Shared) -> Response {
    let answers = port.shards.ask_all(&AdminRequest::Counters, WAIT).await;
    let silent = answers.iter().filter(|answer| answer.is_err()).count() as u64;
    let counters = answers.into_iter().filter_map(|answer| match answer {
        Ok(AdminAnswer::Counters(counters)) => Some(counters),
        _ => None,
    });
    let engine = counters.flatten().chain([("shards_silent", silent)]).collect();
    let cluster = port.cluster.as_ref().map(|cluster| cluster.numbers()).unwrap_or_default();
    let log = port.store.as_deref().map(StorePort::status);
    let text = port.metrics.render(&port.stats, engine, log.as_deref(), &port.health.verdict(), &cluster);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
