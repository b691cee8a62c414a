//! Webhooks: events reach applications' servers, signed, in order for each room, at least once.
//!
//! They are what Standard Webhooks specifies. `store` is the outbox, `lanes` the order, `schedule` the
//! retries, `signature` the proof of who sent them, `thread` sends, and `api` lets an application manage its
//! endpoints.
//! Why an outbox: an application that is down for a day has every event when it is back.
//! Invariants: without `webhooks.enabled` there is no thread and no table. Only public addresses, and hosts
//! that the configuration names, are asked (`grandstand_fetch`).
//! Not here: what happened (`events`, and whoever tells it).

#[cfg(feature = "api")]
mod api;
mod lanes;
mod schedule;
mod signature;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_fetch::{Fetcher, Policy, Settings};
use tokio::sync::{Notify, oneshot};

use crate::database::Database;
use crate::events::{Events, Kind};

use schedule::Schedule;
pub use signature::Secret;
pub use store::{DeadLetter, ENDPOINTS_MAX, Endpoint, Store};

/// Longest address of an endpoint, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Requests that are under way to all endpoints.
const AT_ONCE: usize = 64;

/// What has become of webhooks, in numbers.
#[derive(Debug, Default)]
pub struct WebhookNumbers {
    /// Events that are in the outbox, or were.
    pub events: AtomicU64,
    /// Messages that an endpoint took.
    pub delivered: AtomicU64,
    /// Attempts that failed.
    pub failures: AtomicU64,
    /// Messages that were given up.
    pub dead: AtomicU64,
    /// Messages that wait or are under way.
    pub waiting: AtomicU64,
    /// Events that had no place.
    pub lost: AtomicU64,
}

/// Endpoints and their outbox, for whoever manages them.
pub struct Webhooks {
    store: Mutex<Store>,
    fetcher: Fetcher,
    clock: Clock,
    changed: Notify,
    numbers: WebhookNumbers,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

/// The thread that sends. Dropping it ends the thread; what it has not sent is in the outbox.
pub(crate) struct WebhookThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Webhooks of a node that is configured to have them.
pub(crate) type Running = (Arc<Webhooks>, WebhookThread);

impl Drop for WebhookThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

impl Webhooks {
    /// The outbox and its thread, if they are configured; and where events are told.
    ///
    /// # Errors
    /// In a sentence: the database, the configured hosts or the system's threads.
    pub(crate) fn start(
        config: &Config,
        clock: Clock,
        pulses: &Pulses,
    ) -> Result<(Events, Option<Running>), String> {
        if !config.webhooks.enabled {
            return Ok((Events::default(), None));
        }
        let database = Database::of(config.log.dir.as_deref());
        let webhooks = Arc::new(Webhooks {
            store: Mutex::new(Store::open(&database)?),
            fetcher: fetcher(config)?,
            clock,
            changed: Notify::new(),
            numbers: WebhookNumbers::default(),
        });
        let (events, told) = Events::open();
        let within = Duration::from_millis(config.webhooks.timeout_ms);
        let (webhooks_of_thread, pulse) = (webhooks.clone(), pulses.register("webhooks"));
        let (stop, stopped) = oneshot::channel();
        let no_thread = |error: io::Error| format!("there is no thread for webhooks: {error}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let run = move || {
            let mut sending = thread::Sending::new(webhooks_of_thread, Schedule::standard(), within);
            runtime.block_on(sending.run(told, stopped, || pulse.turn()));
            pulse.end();
        };
        let thread = std::thread::Builder::new().name("webhooks".to_owned()).spawn(run).map_err(no_thread)?;
        Ok((events, Some((webhooks, WebhookThread { stop: Some(stop), thread: Some(thread) }))))
    }

    /// The outbox, for a change or a look. Call [`Webhooks::note_change`] after a change.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Endpoints or their messages changed.
    pub fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Its numbers.
    pub fn numbers(&self) -> &WebhookNumbers {
        &self.numbers
    }

    /// Operations at `/v1/webhooks`.
    #[cfg(feature = "api")]
    pub fn router(self: &Arc<Webhooks>) -> utoipa_axum::router::OpenApiRouter {
        api::router(self.clone())
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix().as_millis() as u64
    }

    /// Name, help and value of each metric.
    pub(crate) fn readings(&self) -> Vec<(&'static str, &'static str, f64)> {
        let value = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
        let of = &self.numbers;
        vec![
            ("grandstand_webhook_events_total", "Events that were put into the outbox.", value(&of.events)),
            ("grandstand_webhook_delivered_total", "Messages that an endpoint took.", value(&of.delivered)),
            (
                "grandstand_webhook_failures_total",
                "Attempts to send a message that failed.",
                value(&of.failures),
            ),
            ("grandstand_webhook_dead_total", "Messages that were given up: dead letters.", value(&of.dead)),
            ("grandstand_webhook_waiting", "Messages that wait for an endpoint.", value(&of.waiting)),
            ("grandstand_webhook_lost_total", "Events that had no place in the outbox.", value(&of.lost)),
        ]
    }
}

/// The client that asks endpoints.
///
/// # Errors
/// A configured host is none.
pub(crate) fn fetcher(config: &Config) -> Result<Fetcher, String> {
    let policy = Policy::allowing(&config.webhooks.private_hosts)
        .map_err(|what| format!("webhooks.private_hosts: {what}"))?;
    let settings = Settings { concurrent_max: AT_ONCE, per_host_max: AT_ONCE, ..Settings::new(policy) };
    Fetcher::new(settings).map_err(|error| error.to_string())
}

/// What is wrong with an endpoint as somebody wants it, and where.
pub(crate) fn fault(
    fetcher: &Fetcher,
    url: &str,
    kinds: &[String],
    room_prefix: &str,
) -> Option<(&'static str, String)> {
    if let Err(error) = fetcher.check(url) {
        return Some(("/url", format!("the address of an endpoint: {error}")));
    }
    let unknown = kinds.iter().find(|kind| !Kind::ALL.iter().any(|known| known.name() == **kind));
    if let Some(kind) = unknown {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        return Some(("/events", format!("{kind:?} is no event, expected some of {}", known.join(", "))));
    }
    let is_long = room_prefix.len() > grandstand_protocol::limits::ROOM_NAME_BYTES_MAX;
    is_long.then(|| ("/room_prefix", "it is longer than a room's name can be".to_owned()))
}
