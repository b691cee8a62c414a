//! The admin port: rooms, metrics and health over HTTP, for operators and their programs.
//!
//! Why on a thread of its own: a scrape or a slow operator must not cost a worker a turn.
//! Answers are JSON but for the metrics; errors too, as `{"error": ..., "hint": ...}`. `GET /` lists what
//! there is.
//! Invariants: nothing but health is told without the key, where there is one; a loopback port answers no
//! foreign web page (`guard`); connections are bounded in number and in time (`listener`).
//! Not here: what a request does to a room (`grandstand_engine`), how numbers are counted (`metrics`).

mod answer;
mod drain;
mod guard;
mod listener;
mod log;
mod rooms;
mod shards;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use grandstand_engine::link::Backbone;
use grandstand_engine::link::{AdminAnswer, AdminRequest};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::metrics::{self, Metrics};
use answer::Failure;
pub use drain::{DrainAsk, DrainState, Drains};
use grandstand_edge::config::Secret;
use grandstand_edge::stats::Stats;
use guard::Guard;
use listener::Bounded;
pub use log::LogPort;
use shards::Shards;

/// Bytes of a request's body: the largest that `rooms.state_value_bytes_max` can be. Beyond: 413.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a stop waits for requests that are being answered.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long a scrape waits for shards: less than Prometheus waits for the scrape, 10 s.
const SCRAPE_WAIT: Duration = Duration::from_secs(2);

/// What the admin port sees of the node.
pub struct AdminState {
    /// Way to the shards.
    pub backbone: Arc<dyn Backbone>,
    /// How many there are.
    pub shards: u16,
    /// The workers' numbers, in their order.
    pub stats: Vec<Arc<Stats>>,
    /// Writes scrapes.
    pub metrics: Metrics,
    /// The durable log, where there is one.
    pub log: Option<LogPort>,
    /// Does the node take new sessions? False while it starts and drains.
    pub ready: Arc<AtomicBool>,
    /// What requests must show, if anything.
    pub key: Option<Secret>,
    /// Begins a drain, and says how far it is.
    pub drains: Arc<dyn Drains>,
    /// The port closes when this turns true, or its sender is gone.
    pub stop: watch::Receiver<bool>,
}

/// Serves on this listener until told to stop.
///
/// # Errors
/// The system gives no thread, or the listener is none.
pub fn start(listener: std::net::TcpListener, state: AdminState) -> io::Result<JoinHandle<()>> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("grandstand-admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve(listener, address, state)) {
            tracing::error!(%error, "the admin port stopped");
        }
        runtime.shutdown_background();
    })
}

async fn serve(listener: std::net::TcpListener, address: SocketAddr, state: AdminState) -> io::Result<()> {
    let listener = Bounded::new(tokio::net::TcpListener::from_std(listener)?);
    let stop = state.stop.clone();
    let serving = axum::serve(listener, router(address, state)).with_graceful_shutdown(stopped(stop.clone()));
    let overdue = async {
        stopped(stop).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error is a sender that is gone: the node is, too.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// What handlers share.
struct Port {
    log: Option<LogPort>,
    shards: Shards,
    stats: Vec<Arc<Stats>>,
    metrics: Metrics,
    ready: Arc<AtomicBool>,
    drains: Arc<dyn Drains>,
}

type Shared = State<Arc<Port>>;

fn router(address: SocketAddr, state: AdminState) -> Router {
    let AdminState { backbone, shards, stats, metrics, log, ready, key, drains, stop: _ } = state;
    let guard = Arc::new(Guard::new(address, key.as_ref()));
    let port = Arc::new(Port { log, shards: Shards::new(backbone, shards), stats, metrics, ready, drains });
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(scrape))
        .route("/rooms", get(rooms::list).post(rooms::create))
        .route("/rooms/{name}", get(rooms::show).delete(rooms::remove))
        .route("/rooms/{name}/open", post(rooms::open))
        .route("/rooms/{name}/close", post(rooms::close))
        .route("/rooms/{name}/settings", put(rooms::configure))
        .route("/rooms/{name}/state/{key}", put(rooms::set_state).delete(rooms::remove_state))
        .route("/drain", get(drain::show).post(drain::begin))
        .route("/log", get(log::show))
        .route("/log/backup", post(log::backup))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(port)
}

/// Method, path, what it does, and what to type.
const ENDPOINTS: &[(&str, &str, &str, &str)] = &[
    (
        "GET",
        "/healthz",
        "200 while the process works: `ok`, or `degraded` with what is at fault; no key needed",
        "curl {at}/healthz",
    ),
    (
        "GET",
        "/readyz",
        "200 while new sessions are taken, 503 while starting and draining; no key needed",
        "curl {at}/readyz",
    ),
    ("GET", "/drain", "how far a drain is: state and connections", "curl {at}/drain"),
    (
        "POST",
        "/drain",
        "send clients away, spread over a time, and end the process; asked again, it only says how far it is",
        "curl -X POST {at}/drain -d '{\"where_to\":\"b.example.org:7443\",\"spread_ms\":30000,\"deadline_ms\":35000}'",
    ),
    ("GET", "/metrics", "numbers for Prometheus", "curl {at}/metrics"),
    (
        "GET",
        "/rooms?prefix=&after=&limit=",
        "rooms by name, at most 1000 at a time; `next` is the `after` of the next page",
        "curl '{at}/rooms?prefix=show-'",
    ),
    ("POST", "/rooms", "make a room, or find it", "curl {at}/rooms -d '{\"name\":\"show-1\"}'"),
    ("GET", "/rooms/{name}", "one room; names are percent-encoded", "curl {at}/rooms/show%2F1"),
    ("POST", "/rooms/{name}/open", "take messages (again)", "curl -X POST {at}/rooms/show-1/open"),
    (
        "POST",
        "/rooms/{name}/close",
        "take no more messages; viewers stay",
        "curl -X POST {at}/rooms/show-1/close",
    ),
    (
        "DELETE",
        "/rooms/{name}",
        "forget the room and send its viewers away",
        "curl -X DELETE {at}/rooms/show-1",
    ),
    (
        "PUT",
        "/rooms/{name}/settings",
        "give the room bounds of its own in place of the node's; what is left out is the node's again",
        "curl -X PUT {at}/rooms/show-1/settings -d '{\"tick_min_ms\":50,\"tick_max_ms\":500}'",
    ),
    (
        "PUT",
        "/rooms/{name}/state/{key}",
        "set a key of the room's state to the body, byte by byte",
        "curl -X PUT {at}/rooms/show-1/state/pinned -d 'Welcome!'",
    ),
    (
        "DELETE",
        "/rooms/{name}/state/{key}",
        "remove a key of the room's state",
        "curl -X DELETE {at}/rooms/show-1/state/pinned",
    ),
    ("GET", "/log", "the durable log: what was found at start, how it does, its sizes", "curl {at}/log"),
    (
        "POST",
        "/log/backup",
        "back the durable log up into log.backup_dir while the node serves; answers when it is done",
        "curl -X POST {at}/log/backup",
    ),
];

async fn index(headers: axum::http::HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let at = format!("http://{host}");
    let endpoint = |&(method, path, about, example): &(&str, &str, &str, &str)| json!({ "method": method, "path": path, "about": about, "example": example.replace("{at}", &at) });
    Json(json!({
        "grandstand": env!("CARGO_PKG_VERSION"),
        "key": "where admin.key is set, add: -H 'Authorization: Bearer KEY'",
        "endpoints": ENDPOINTS.iter().map(endpoint).collect::<Vec<_>>(),
    }))
}

/// The process works when it answers; what it can't do now, it says. A disk at fault is no reason to restart
/// it.
async fn healthz(State(port): Shared) -> Json<Value> {
    match port.log.as_ref().and_then(LogPort::fault) {
        None => Json(json!({ "status": "ok" })),
        Some(fault) => Json(json!({ "status": "degraded", "faults": [fault] })),
    }
}

async fn readyz(State(port): Shared) -> Response {
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

/// A shard that does not answer is counted, and what is known is shown all the same.
async fn scrape(State(port): Shared) -> Response {
    let answers = port.shards.ask_all(&AdminRequest::Counters, SCRAPE_WAIT).await;
    let silent = answers.iter().filter(|answer| answer.is_err()).count() as u64;
    let counters = answers.into_iter().filter_map(|answer| match answer {
        Ok(AdminAnswer::Counters(counters)) => Some(counters),
        _ => None,
    });
    let engine = counters.flatten().chain([("shards_silent", silent)]).collect();
    let log = port.log.as_ref().map(LogPort::status);
    let text = port.metrics.render(&port.stats, engine, log);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn unknown_path(uri: Uri) -> Failure {
    let what = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, what, "GET / lists what there is; `/` within a name is written %2F")
}

async fn unknown_method(method: Method, uri: Uri) -> Failure {
    let what = format!("{method} is not for {}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, what, "GET / lists what there is")
}
