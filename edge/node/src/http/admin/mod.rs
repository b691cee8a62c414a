//! The admin port: rooms, metrics and health over HTTP, for operators and their programs.
//!
//! Answers are JSON, except metrics. Failures are JSON too: `{"error": ..., "hint": ...}`. `GET /` lists the
//! endpoints.
//! Invariant: if there is a key, only health is answered without it.
//! Not here: connections, access and failures (`http`), the effect of a request on a room
//! (`grandstand_engine`), the counting of numbers (`metrics`).

mod bans;
#[cfg(test)]
mod bounds;
mod clock;
mod cluster;
mod drain;
mod health;
mod index;
mod messages;
mod moderation;
mod reload;
mod rooms;
mod scrape;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use grandstand_edge::clock::Clock;
use grandstand_edge::stats::Stats;
use grandstand_engine::runtime::Desk;
use tokio::sync::watch;

use super::access::{self, Access, Guard};
use super::key::SharedKey;
use super::request::BODY_BYTES_MAX;
use super::response::Failure;
use super::server::{self, Bounds, Offloaded, offload};
use super::shards::Shards;
use crate::events::Events;
use crate::file_limit;
use crate::health::Health;
use crate::house::House;
use crate::metrics::Metrics;
pub use cluster::{Answering, ClusterControl, Moved};
pub use drain::{DrainControl, DrainRequest, DrainStatus};
pub use reload::{ReloadControl, Reloaded};
pub use store::{Backup, BackupError, StorePort};

/// Paths of probes, which have neither a key nor a `Host`.
const HEALTH: &[&str] = &["/healthz", "/readyz"];

/// Longest time for the head of a request: its sender is a program on a near network.
const HEAD: Duration = Duration::from_secs(5);

/// Longest life of a connection: twice the longest wait for a shard.
const LIFE: Duration = Duration::from_secs(10);

/// The parts of the node that the admin port uses.
pub struct AdminState {
    /// The desk, for requests in the node's own name.
    pub desk: Arc<Desk>,
    /// The numbers of the workers, in the workers' order.
    pub stats: Vec<Arc<Stats>>,
    /// Renders scrapes.
    pub metrics: Metrics,
    /// The clock that handlers read.
    pub clock: Clock,
    /// The durable log, if the node has one.
    pub store: Option<Arc<StorePort>>,
    /// Bans and revocations.
    pub house: Arc<House>,
    /// The cluster's part, if the node is one of a cluster.
    pub cluster: Option<Arc<dyn ClusterControl>>,
    /// Does the node accept new sessions? False while it starts and while it drains.
    pub ready: Arc<AtomicBool>,
    /// The key that requests must show, if there is one.
    pub key: SharedKey,
    /// Names under which the port may be asked, besides its own.
    pub hosts: Vec<String>,
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Begins a drain, and reports its progress.
    pub drain: Arc<dyn DrainControl>,
    /// The verdict on the node's threads.
    pub health: Arc<Health>,
    /// Where what happens is told.
    pub events: Events,
    /// Reads certificates, keys and the configuration again.
    pub reload: Arc<dyn ReloadControl>,
    /// The port closes when this becomes true, or when its sender is dropped.
    pub stop: watch::Receiver<bool>,
}

/// Serves on this listener until told to stop.
///
/// # Errors
/// The system gives no thread, or `listener` cannot be used.
pub fn start(listener: std::net::TcpListener, state: AdminState) -> io::Result<JoinHandle<()>> {
    let (stop, listen) = (state.stop.clone(), listener.local_addr()?);
    let AdminState { key, hosts, header_bytes_max, .. } = &state;
    let header_bytes_max = *header_bytes_max;
    let access = Access::new(&Guard { listen, key, hosts, header_bytes_max, health: HEALTH });
    let pulses = state.health.pulses().clone();
    let port = Arc::new(Port::new(state));
    let others = offload("admin", router(port.clone()), stop.clone(), pulses.register("admin"))?;
    let router = access::guarded(vital(port, others), access);
    let silent_max = file_limit::admin_connections(file_limit::files());
    let bounds = Bounds { silent_max, head: HEAD, life: LIFE };
    server::start("http", listener, bounds, router, stop, pulses.register("http"))
}

/// The state that handlers share.
struct Port {
    clock: Clock,
    store: Option<Arc<StorePort>>,
    house: Arc<House>,
    cluster: Option<Arc<dyn ClusterControl>>,
    shards: Shards,
    stats: Vec<Arc<Stats>>,
    metrics: Metrics,
    ready: Arc<AtomicBool>,
    drain: Arc<dyn DrainControl>,
    health: Arc<Health>,
    reload: Arc<dyn ReloadControl>,
    events: Events,
}

type Shared = State<Arc<Port>>;

impl Port {
    fn new(state: AdminState) -> Port {
        let AdminState {
            clock,
            desk,
            stats,
            metrics,
            store,
            house,
            cluster,
            ready,
            drain,
            reload,
            health,
            events,
            ..
        } = state;
        let shards = Shards::new(desk);
        Port { clock, store, house, cluster, shards, stats, metrics, ready, drain, reload, health, events }
    }
}

/// What a supervisor and a monitor ask for: answered by the port's own thread, which waits for nobody.
/// Everything else is passed on to `others`.
fn vital(port: Arc<Port>, others: Offloaded) -> Router {
    Router::new()
        .route("/healthz", get(health::live).options(health::live))
        .route("/readyz", get(health::ready).options(health::ready))
        .route("/metrics", get(scrape::show))
        .method_not_allowed_fallback(unknown_method)
        .with_state(port.clone())
        .fallback_service(Router::new().fallback(pass_on).with_state((port, others)))
}

/// `OPTIONS` of everything is a probe without a path.
async fn pass_on(
    State((port, others)): State<(Arc<Port>, Offloaded)>,
    request: axum::extract::Request,
) -> Response {
    if request.method() == Method::OPTIONS && matches!(request.uri().path(), "/" | "*") {
        return health::ready(State(port)).await;
    }
    Offloaded::answer(State(others), request).await
}

fn router(port: Arc<Port>) -> Router {
    Router::new()
        .route("/", get(index::show))
        .route("/rooms", get(rooms::list).post(rooms::create))
        .route("/rooms/{name}", get(rooms::show).delete(rooms::remove))
        .route("/rooms/{name}/open", post(rooms::open))
        .route("/rooms/{name}/close", post(rooms::close))
        .route("/rooms/{name}/messages", post(messages::publish))
        .route("/rooms/{name}/acts", post(moderation::act))
        .route("/rooms/{name}/moderation", get(moderation::show))
        .route("/rooms/{name}/moderation/{person}", delete(moderation::lift))
        .route("/rooms/{name}/settings", put(rooms::configure))
        .route("/rooms/{name}/state/{key}", put(rooms::set_state).delete(rooms::remove_state))
        .route("/drain", get(drain::show).post(drain::begin))
        .route("/cluster", get(cluster::show))
        .route("/cluster/shards/{shard}/move", post(cluster::hand_over))
        .route("/bans", get(bans::list))
        .route("/bans/{user}", get(bans::show).put(bans::ban).delete(bans::lift))
        .route("/revocations", post(bans::revoke))
        .route("/cluster/nodes/{node}/drain", post(cluster::drain))
        .route("/cluster/finish-upgrade", post(cluster::finish_upgrade))
        .route("/clock/accept", post(clock::accept))
        .route("/reload", post(reload::reload))
        .route("/log", get(store::show))
        .route("/log/backup", post(store::backup))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(port)
}

async fn unknown_path(uri: Uri) -> Failure {
    let what = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, what, "GET / lists what there is; `/` within a name is written %2F")
}

async fn unknown_method(method: Method, uri: Uri) -> Failure {
    let what = format!("{method} is not for {}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, what, "GET / lists what there is")
}
