//! The thread of webhooks: it puts events into the outbox, sends what is due, and records what became of it.
//!
//! Why one thread with many requests: the outbox has one writer, and a commit carries what came together.
//! Why records may come after the next message: after a crash a message is sent again under the same id,
//! which an application must expect in any case.
//! Invariants: a message is stored before it is sent. At a stop what was told is stored, and what is under
//! way is given up and sent again by the next process. A fault of the database stops no event: it is tried
//! again, and told in the log.
//! Not here: the order (`lanes`), the wait for the next attempt (`schedule`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grandstand_engine::runtime::pulse::TURN_EVERY;
use grandstand_fetch::Request;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::lanes::{Delivery, Lanes};
use super::schedule::{Outcome, Schedule, judge};
use super::signature::signatures;
use super::store::{Ended, Endpoint};
use super::{AT_ONCE, Webhooks};
use crate::events::Told;

/// Events and results in one commit.
const TOGETHER: usize = 512;
/// Between two looks for changes by other processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two removals of old dead letters.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// See the file's head.
pub(super) struct Sending {
    webhooks: Arc<Webhooks>,
    schedule: Schedule,
    within: Duration,
    lanes: Lanes,
    endpoints: BTreeMap<i64, Endpoint>,
    version: Option<i64>,
    under_way: Vec<Delivery>,
    random: fn() -> u64,
}

type Done = (Delivery, Outcome);

impl Sending {
    pub(super) fn new(webhooks: Arc<Webhooks>, schedule: Schedule, within: Duration) -> Sending {
        Sending {
            webhooks,
            schedule,
            within,
            lanes: Lanes::default(),
            endpoints: BTreeMap::new(),
            version: None,
            under_way: Vec::new(),
            random,
        }
    }

    /// Send until told to stop.
    pub(super) async fn run(
        &mut self,
        mut told: mpsc::Receiver<Told>,
        mut stopped: oneshot::Receiver<()>,
        turn: impl Fn(),
    ) {
        let mut running: JoinSet<Done> = JoinSet::new();
        let (mut new, mut done) = (Vec::new(), Vec::new());
        let webhooks = self.webhooks.clone();
        let (mut look, mut tidy) = (tokio::time::interval(LOOK_EVERY), tokio::time::interval(TIDY_EVERY));
        self.read();
        loop {
            turn();
            self.send(&mut running);
            let wait_ms = self.lanes.due_ms().map(|due_ms| due_ms.saturating_sub(webhooks.now_ms()));
            let wait = wait_ms.map_or(TURN_EVERY / 2, Duration::from_millis).min(TURN_EVERY / 2);
            tokio::select! {
                _ = &mut stopped => break,
                () = webhooks.changed.notified() => self.read(),
                _ = look.tick() => self.look(),
                _ = tidy.tick() => self.tidy(),
                1.. = told.recv_many(&mut new, TOGETHER) => {}
                Some(one) = running.join_next() => done.extend(one.ok()),
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            }
            while let Some(one) = running.try_join_next() {
                done.extend(one.ok());
            }
            if !new.is_empty() {
                self.store(std::mem::take(&mut new));
            }
            if !done.is_empty() {
                self.record(std::mem::take(&mut done));
            }
        }
        running.shutdown().await;
        told.close();
        while told.recv_many(&mut new, TOGETHER).await > 0 {
            self.store(std::mem::take(&mut new));
        }
    }

    fn store(&mut self, told: Vec<Told>) {
        let now_ms = self.webhooks.now_ms();
        let endpoints: Vec<Endpoint> = self.endpoints.values().cloned().collect();
        let events: Vec<_> = told.iter().map(|told| &told.event).collect();
        let put = self.webhooks.store().put(now_ms, &events, &endpoints);
        let numbers = &self.webhooks.numbers;
        match put {
            Ok((deliveries, refused)) => {
                numbers.events.fetch_add(told.len() as u64 - refused, Ordering::Relaxed);
                if refused > 0 && numbers.lost.fetch_add(refused, Ordering::Relaxed) == 0 {
                    tracing::error!("the outbox of webhooks is full: events are lost and counted");
                }
                deliveries.into_iter().for_each(|delivery| self.lanes.push(delivery, now_ms));
                for stored in told.into_iter().filter_map(|told| told.stored) {
                    // Who waited may have gone.
                    let _ = stored.send(());
                }
            }
            Err(error) => {
                numbers.lost.fetch_add(told.len() as u64, Ordering::Relaxed);
                tracing::error!(events = told.len(), "events are lost: {error}");
            }
        }
    }

    fn send(&mut self, running: &mut JoinSet<Done>) {
        let now_ms = self.webhooks.now_ms();
        while running.len() < AT_ONCE {
            let Some(delivery) = self.lanes.next(now_ms) else { break };
            let message = self.webhooks.store().message(delivery.seq);
            let endpoint = self.endpoints.get(&delivery.endpoint);
            match (message, endpoint) {
                (Ok(Some((id, body))), Some(endpoint)) => {
                    let request = self.request(endpoint, &id, body, now_ms / 1_000);
                    let fetcher = self.webhooks.fetcher.clone();
                    self.under_way.push(delivery.clone());
                    running.spawn(async move {
                        let outcome = match fetcher.open(&request).await {
                            // What it says besides is of no use.
                            Ok(answer) => judge(answer.status, retry_after(&answer.headers)),
                            Err(error) => {
                                Outcome::Failed { why: error.to_string(), after: None, is_throttled: false }
                            }
                        };
                        (delivery, outcome)
                    });
                }
                (Err(error), _) => {
                    tracing::error!("a webhook cannot be read: {error}");
                    self.lanes.retry(&delivery, now_ms + 1_000);
                    break;
                }
                // It was removed meanwhile.
                (Ok(_), _) => self.lanes.finish(&delivery, now_ms),
            }
        }
        self.webhooks.numbers.waiting.store(self.lanes.len() as u64, Ordering::Relaxed);
    }

    fn request(&self, endpoint: &Endpoint, id: &str, body: String, unix_s: u64) -> Request {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let signature = signatures(&endpoint.secrets, id, unix_s, &body);
        Request::post(&endpoint.url, body)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(HeaderName::from_static("webhook-id"), value(id))
            .header(HeaderName::from_static("webhook-timestamp"), value(&unix_s.to_string()))
            .header(HeaderName::from_static("webhook-signature"), value(&signature))
            .within(self.within)
    }

    fn record(&mut self, done: Vec<Done>) {
        let now_ms = self.webhooks.now_ms();
        let numbers = &self.webhooks.numbers;
        let mut all = Vec::new();
        for (delivery, outcome) in done {
            self.under_way.retain(|one| *one != delivery);
            let ended = match outcome {
                Outcome::Delivered => {
                    numbers.delivered.fetch_add(1, Ordering::Relaxed);
                    self.lanes.finish(&delivery, now_ms);
                    Ended::Delivered
                }
                Outcome::Gone => {
                    tracing::warn!(
                        endpoint = delivery.endpoint,
                        "an endpoint of webhooks is gone (410): disabled"
                    );
                    self.lanes.remove(delivery.endpoint);
                    self.endpoints.remove(&delivery.endpoint);
                    Ended::Gone
                }
                Outcome::Failed { why, after, is_throttled } => {
                    numbers.failures.fetch_add(1, Ordering::Relaxed);
                    match self.schedule.wait_ms(delivery.attempts + 1, after, (self.random)()) {
                        Some(wait_ms) => {
                            let due_ms = now_ms + wait_ms;
                            self.lanes.retry(&delivery, due_ms);
                            if is_throttled {
                                self.lanes.pause(delivery.endpoint, due_ms);
                            }
                            Ended::Retry { due_ms, why }
                        }
                        None => {
                            numbers.dead.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(endpoint = delivery.endpoint, "a webhook is given up: {why}");
                            self.lanes.finish(&delivery, now_ms);
                            Ended::Dead { why }
                        }
                    }
                }
            };
            all.push((delivery, ended));
        }
        let recorded = self.webhooks.store().record(now_ms, &all);
        if let Err(error) = recorded {
            // They are sent again after a restart, under their ids.
            tracing::error!("what became of webhooks cannot be stored: {error}");
        }
    }

    /// Has another process changed something?
    fn look(&mut self) {
        let version = self.webhooks.store().version();
        match version {
            Ok(version) if self.version != Some(version) => {
                self.read();
                self.version = Some(version);
            }
            _ => {}
        }
    }

    /// Read endpoints and what waits for them.
    fn read(&mut self) {
        let read = {
            let store = self.webhooks.store();
            store.endpoints().and_then(|endpoints| Ok((endpoints, store.waiting()?)))
        };
        let (endpoints, waiting) = match read {
            Ok(read) => read,
            Err(error) => return tracing::error!("endpoints of webhooks cannot be read: {error}"),
        };
        let is_used = |endpoint: &Endpoint| endpoint.disabled.is_none();
        self.endpoints = endpoints.into_iter().filter(is_used).map(|one| (one.id, one)).collect();
        self.lanes = Lanes::default();
        waiting.into_iter().for_each(|(delivery, due_ms)| self.lanes.push(delivery, due_ms));
        self.under_way.iter().for_each(|delivery| self.lanes.note_running(delivery));
    }

    fn tidy(&mut self) {
        let now_ms = self.webhooks.now_ms();
        if let Err(error) = self.webhooks.store().forget_old(now_ms) {
            tracing::error!("old dead letters of webhooks cannot be removed: {error}");
        }
    }
}

fn retry_after(headers: &hyper::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without random bytes messages that failed together are tried together.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
