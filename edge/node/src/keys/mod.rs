//! Fetching of keys: the thread that asks the addresses of issuers' keys, and how one is asked.
//!
//! Why a thread of its own: an address that hangs must not hold up a worker, or the watch over files.
//! Why configured hosts may be private: an operator names them, and identity providers are often inside.
//! Invariants: only an address of the configuration is asked, and a redirect is not followed, since it would
//! lead to another one. An issuer that is down is told in the log when it begins, and when it is back.
//! With log.dir they outlive the process (`kept`).
//! Not here: when keys are due, what they open (`grandstand_edge::auth`), the guard (`grandstand_fetch`).

mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::auth::{Authority, FetchedKeys, SET_BYTES_MAX};
use grandstand_edge::clock::Clock;
use grandstand_engine::runtime::pulse::{Pulse, Pulses, TURN_EVERY};
use grandstand_fetch::{Answer, Fetcher, Policy, Request, Settings};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::metrics::ReloadNumbers;
pub(crate) use kept::Kept;

/// How long an address may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// The thread. Dropping it ends the thread.
pub(crate) struct KeyThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyThread {
    /// Fetch the keys of these issuers whenever they are due, those of a later reload too.
    pub(crate) fn start(
        authority: Arc<Authority>,
        clock: Clock,
        numbers: Arc<ReloadNumbers>,
        kept: Kept,
        pulses: &Pulses,
    ) -> io::Result<KeyThread> {
        let wake = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pulse = pulses.register("keys");
        let of_tokens = wake.clone();
        authority.on_keys_wanted(move || of_tokens.notify_one());
        let fetching = Fetching { authority, clock, numbers, kept };
        let run = move || {
            runtime.block_on(fetching.run(&wake, stopped, &pulse));
            pulse.end();
        };
        let thread = std::thread::Builder::new().name("keys".to_owned()).spawn(run)?;
        Ok(KeyThread { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for KeyThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

struct Fetching {
    authority: Arc<Authority>,
    clock: Clock,
    numbers: Arc<ReloadNumbers>,
    kept: Kept,
}

impl Fetching {
    async fn run(&self, wake: &Notify, mut stopped: oneshot::Receiver<()>, pulse: &Pulse) {
        let mut running = JoinSet::new();
        let mut down = BTreeSet::new();
        loop {
            pulse.turn();
            let now_ms = self.now_ms();
            for keys in self.authority.fetched() {
                if keys.due_ms(now_ms).is_some_and(|due_ms| due_ms <= now_ms) {
                    if keys.is_empty() {
                        self.kept.restore(&keys);
                    }
                    keys.begin(now_ms);
                    running.spawn(async move {
                        let got = fetch(&keys).await;
                        (keys, got)
                    });
                }
            }
            tokio::select! {
                _ = &mut stopped => return,
                () = wake.notified() => {}
                () = tokio::time::sleep(TURN_EVERY / 2) => {}
                Some(done) = running.join_next() => {
                    // A task that panicked has reported it already.
                    if let Ok((keys, got)) = done {
                        self.take(&keys, got, &mut down);
                    }
                }
            }
        }
    }

    fn take(&self, keys: &FetchedKeys, got: Result<Set, String>, down: &mut BTreeSet<String>) {
        let now_ms = self.now_ms();
        let (issuer, url) = (keys.issuer(), keys.url());
        let taken = match got {
            Ok(set) => keys
                .take(now_ms, &set.body, set.max_age_s)
                .inspect(|_| self.kept.keep(keys, &set.body))
                .map_err(|what| format!("the answer {what}")),
            Err(what) => {
                keys.fail(now_ms);
                Err(what)
            }
        };
        match taken {
            Ok(count) if down.remove(url) || keys.numbers(now_ms).fetches == 1 => {
                tracing::info!(issuer, url, keys = count, "keys of an issuer were fetched");
            }
            Ok(_) => {}
            Err(what) if down.insert(url.to_owned()) => {
                let kept = keys.numbers(now_ms).keys;
                let effect = if kept == 0 { "its tokens wait" } else { "those from before stay in use" };
                tracing::warn!(issuer, url, kept, "keys of an issuer cannot be fetched: {what}; {effect}");
            }
            Err(_) => {}
        }
        self.count(now_ms);
    }

    fn count(&self, now_ms: u64) {
        let all: Vec<_> = self.authority.fetched().iter().map(|keys| keys.numbers(now_ms)).collect();
        let sum = |of: fn(&grandstand_edge::auth::FetchNumbers) -> u64| all.iter().map(of).sum::<u64>();
        let numbers = &self.numbers;
        numbers.key_fetches.store(sum(|of| of.fetches), Ordering::Relaxed);
        numbers.key_fetch_failures.store(sum(|of| of.failures), Ordering::Relaxed);
        numbers.issuers_without_keys.store(sum(|of| u64::from(of.keys == 0)), Ordering::Relaxed);
        let oldest_ms = all.iter().filter_map(|of| of.age_ms).max();
        let fetched_s = oldest_ms.map_or(0, |age_ms| (now_ms - age_ms.min(now_ms)) / 1_000);
        numbers.keys_fetched_s.store(fetched_s, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix().as_millis() as u64
    }
}

/// What an address answered.
pub(crate) struct Set {
    pub(crate) body: bytes::Bytes,
    pub(crate) max_age_s: Option<u64>,
}

/// Ask the address of an issuer's keys once.
///
/// # Errors
/// In a sentence without a subject: `there is no connection`.
pub(crate) async fn fetch(keys: &FetchedKeys) -> Result<Set, String> {
    let policy = Policy::allowing(&[host(keys.url())])?;
    // A fetcher for each fetch: the system's authorities may have changed, and one is made a few times a day.
    let fetcher = Fetcher::new(Settings::new(policy)).map_err(|error| error.to_string())?;
    let request = Request::get(keys.url()).bytes_max(SET_BYTES_MAX).within(WITHIN).redirects_max(0);
    let answer = fetcher.send(&request).await.map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(Set { max_age_s: max_age_s(&answer), body: answer.body }),
        300..=399 => {
            Err("it answered with a redirect, which is not followed: name the address itself".to_owned())
        }
        status => Err(format!("it answered with the HTTP status {status}")),
    }
}

/// The host and port of a URL, as the guard's list of hosts has it.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.strip_prefix('[').and_then(|v6| v6.split_once(']')).map_or(authority, |(v6, _)| v6)
}

/// For how long the answer is good, if it says so.
fn max_age_s(answer: &Answer) -> Option<u64> {
    let said = answer.headers.get_all("cache-control").iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    if directives.iter().any(|one| ["no-store", "no-cache"].iter().any(|no| no.eq_ignore_ascii_case(one))) {
        return Some(0);
    }
    let age = |one: &str| {
        let (name, value) = one.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse().ok())?
    };
    directives.into_iter().find_map(age)
}
