//! The HTTP API: rooms, messages, viewers, sessions and keys over HTTP, for applications.
//!
//! Why beside the admin port: an application has a key with scopes of its own, reads problems by a standard,
//! and may be elsewhere; an operator's port does everything and stays on the machine. Its operations are
//! described where they are written, and `/openapi.json` is made of that.
//! Invariants: every operation needs a scope. Every failure is a problem. In a cluster every operation works
//! at any node.
//! Not here: what a request does to a room (`grandstand_engine`), keys (`api_keys`), problems and extractors
//! (`http`), which routers that others mount use too.

mod connections;
mod description;
mod history;
mod idempotency;
mod keys;
mod messages;
mod node;
mod operate;
mod people;
mod rates;
mod requests;
mod rooms;
mod server;
mod sessions;
mod state;
mod values;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_edge::workers::Workers;
use grandstand_engine::runtime::Desk;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use super::admin::{ClusterControl, DrainControl, StorePort};
use super::request::BODY_BYTES_MAX;
use super::shards::Shards;
use crate::api_keys::ApiKeys;
use crate::events::Events;
use crate::health::Health;
use crate::house::House;
use idempotency::Idempotency;
use rates::Rates;
use server::Served;

/// The parts of the node that the API uses.
pub struct ApiState {
    /// The configuration.
    pub config: Arc<Config>,
    /// The clock that operations read.
    pub clock: Clock,
    /// Requests in the node's own name.
    pub desk: Arc<Desk>,
    /// Who may use the API.
    pub keys: Arc<ApiKeys>,
    /// The durable log, if the node has one.
    pub store: Option<Arc<StorePort>>,
    /// Bans and revocations.
    pub house: Arc<House>,
    /// The cluster's part, if the node is one of a cluster.
    pub cluster: Option<Arc<dyn ClusterControl>>,
    /// Begins a drain, and reports its progress.
    pub drain: Arc<dyn DrainControl>,
    /// The verdict on the node's threads.
    pub health: Arc<Health>,
    /// The workers, which know the sessions.
    pub workers: Arc<Workers>,
    /// Where changes of rooms are told to applications.
    pub events: Events,
    /// The certificate; `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Routers of other modules, and where they are mounted (`/v1/guide`). Their requests have valid keys;
    /// their handlers ask for scopes by `http::grant::Grant`.
    pub mounted: Vec<(&'static str, OpenApiRouter)>,
    /// The port closes when this becomes true, or when its sender is dropped.
    pub stop: watch::Receiver<bool>,
}

/// Serve the API on this listener until told to stop.
///
/// # Errors
/// The system gives no thread, or `listener` cannot be used.
pub fn start(listener: std::net::TcpListener, state: ApiState) -> io::Result<JoinHandle<()>> {
    let ApiState {
        config,
        clock,
        desk,
        keys,
        store,
        house,
        cluster,
        drain,
        health,
        workers,
        events,
        tls,
        mounted,
        stop,
    } = state;
    let pulse = health.pulses().register("api");
    let (rates, connections_max) =
        (Rates::new(config.api.requests_per_s, config.api.requests_burst), config.api.connections_max);
    let api = Api {
        config,
        clock,
        shards: Shards::new(desk),
        keys,
        store,
        house,
        cluster,
        drain,
        health,
        workers,
        events,
        rates,
        idempotency: Idempotency::default(),
        process: random().map_err(io::Error::other)?,
        request: AtomicU64::new(0),
    };
    let router = router(Arc::new(api), mounted);
    server::start(listener, Served { router, tls, connections_max, stop }, pulse)
}

/// What operations share.
struct Api {
    config: Arc<Config>,
    clock: Clock,
    shards: Shards,
    keys: Arc<ApiKeys>,
    store: Option<Arc<StorePort>>,
    house: Arc<House>,
    cluster: Option<Arc<dyn ClusterControl>>,
    drain: Arc<dyn DrainControl>,
    health: Arc<Health>,
    workers: Arc<Workers>,
    events: Events,
    rates: Rates,
    idempotency: Idempotency,
    process: u64,
    request: AtomicU64,
}

type Shared = axum::extract::State<Arc<Api>>;

/// A random number.
fn random() -> Result<u64, String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("the kernel gives no random bytes: {error}"))?;
    Ok(u64::from_le_bytes(random))
}

impl Api {
    fn next_request_id(&self) -> String {
        let number = self.request.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:x}", self.process)
    }
}

/// Every operation of the API itself.
fn operations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(rooms::operations())
        .merge(messages::operations())
        .merge(history::operations())
        .merge(state::operations())
        .merge(sessions::operations())
        .merge(people::operations())
        .merge(keys::operations())
        .merge(operate::operations())
        .merge(node::operations())
}

fn router(api: Arc<Api>, mounted: Vec<(&'static str, OpenApiRouter)>) -> Router {
    let mut all =
        OpenApiRouter::with_openapi(description::head()).merge(operations()).with_state(api.clone());
    for (place, router) in mounted {
        all = all.nest(place, router);
    }
    let (router, described) = all.split_for_parts();
    let described = description::finish(described);
    let text: Arc<str> = described.to_pretty_json().expect("a description is JSON").into();
    let show = move || std::future::ready(([("content-type", "application/json")], text.to_string()));
    router
        .route("/openapi.json", get(show))
        .fallback(|| std::future::ready(StatusCode::NOT_FOUND))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api, requests::handle))
}
