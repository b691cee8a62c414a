//! Fetched keys: the keys that an issuer publishes at a configured address (JWKS), as they were fetched last,
//! and when they are fetched next.
//!
//! Why apart from files: an address fails, and comes back. What was fetched stays in use until a fetch
//! succeeds, so an issuer that is down keeps nobody out who has a key already.
//! Why a token with an unknown key is told to come back: the key may be new, and a worker cannot wait. It is
//! refused for good as soon as a fetch that began after it was first seen did not bring the key.
//! Invariants: a token causes at most one fetch in 30 s, and never chooses its address. Whatever strangers
//! name is bounded. Keys belong to one issuer, and are never looked up by their name alone.
//! Not here: the fetch itself and its thread (the node), what a set is (`jwks`).

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use grandstand_edge_core::auth::Denied;
use grandstand_protocol::close::CloseCode;
use jsonwebtoken::Header;

use super::claims::Claims;
use super::jwks::{self, Origin};
use super::keys::KeySet;
use super::unauthorized;

/// Least time between two fetches that tokens cause.
const ASKED_EVERY_MS: u64 = 30_000;
/// Bounds of the time after which keys are fetched again.
const REFRESH_MS: std::ops::RangeInclusive<u64> = 5 * 60_000..=24 * 3_600_000;
/// How long an answer without a time is good for.
const MAX_AGE_S: u64 = 3_600;
/// After a fault: the first wait, and the longest, which double. Without any key yet, and with some.
const RETRY_FIRST_MS: [u64; 2] = [2_000, 30_000];
const RETRY_LAST_MS: [u64; 2] = [30_000, 10 * 60_000];
/// Unknown names of keys that are remembered.
const MISSING_MAX: usize = 256;

type WakeCall = Box<dyn Fn() + Send + Sync>;

/// What is called when keys are wanted sooner.
#[derive(Clone, Default)]
pub(super) struct Wake(Arc<OnceLock<WakeCall>>);

impl Wake {
    /// The first call counts.
    pub(super) fn set(&self, call: WakeCall) {
        let _ = self.0.set(call);
    }

    fn call(&self) {
        if let Some(call) = self.0.get() {
            call();
        }
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// See the file's head.
pub struct FetchedKeys {
    issuer: String,
    url: String,
    keys: RwLock<Arc<KeySet>>,
    state: Mutex<State>,
    wake: Wake,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    /// Fetches that began, and the last of them that succeeded.
    begun: u64,
    done: u64,
    began_ms: u64,
    is_running: bool,
    /// A token names a key that is not there.
    is_asked: bool,
    next_ms: u64,
    /// Faults in a row.
    faults: u32,
    /// Hashes of unknown names, each with the number of fetches that had begun when it was first seen.
    missing: VecDeque<(u64, u64)>,
    fetched_ms: Option<u64>,
    numbers: FetchNumbers,
}

/// What was fetched, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchNumbers {
    /// Keys in use.
    pub keys: usize,
    /// Fetches that succeeded.
    pub fetches: u64,
    /// Fetches that failed.
    pub failures: u64,
    /// Age of the keys in use, in milliseconds.
    pub age_ms: Option<u64>,
}

impl std::fmt::Debug for FetchedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedKeys")
            .field("issuer", &self.issuer)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl FetchedKeys {
    pub(super) fn new(issuer: &str, url: &str, wake: Wake) -> FetchedKeys {
        FetchedKeys {
            issuer: issuer.to_owned(),
            url: url.to_owned(),
            keys: RwLock::default(),
            state: Mutex::default(),
            wake,
            hasher: RandomState::new(),
        }
    }

    /// Whose keys.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where they are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Check a token with the keys of this moment.
    ///
    /// # Errors
    /// `KeysPending`, with a time to come back, while the token's key may still come; else `Unauthorized`.
    pub(super) fn verify(&self, token: &str, header: &Header, now_unix_ms: u64) -> Result<Claims, Denied> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !keys.is_empty() && keys.has(header.kid.as_deref()) {
            return keys.verify(token, header);
        }
        let hash = self.hasher.hash_one(&header.kid);
        let mut state = self.state();
        let begun = state.begun;
        let first = state.missing.iter().find(|(of, _)| *of == hash).map(|(_, first)| *first);
        if first.is_some_and(|first| state.done > first) {
            return Err(unauthorized("the token names a key (kid) that its issuer does not publish"));
        }
        if first.is_none() {
            if state.missing.len() == MISSING_MAX {
                state.missing.pop_front();
            }
            state.missing.push_back((hash, begun));
        }
        let is_news = !std::mem::replace(&mut state.is_asked, true) && !state.is_running;
        let due_ms = state.due_ms(now_unix_ms).unwrap_or(now_unix_ms);
        drop(state);
        if is_news {
            self.wake.call();
        }
        // Spread, so that an audience that waits for one key does not return in one moment.
        let after_ms = due_ms.saturating_sub(now_unix_ms).min(ASKED_EVERY_MS) + 1_000;
        let spread = self.hasher.hash_one(token) % 1_000;
        Err(Denied {
            code: CloseCode::KeysPending,
            detail: CloseCode::KeysPending.text(),
            retry_after_ms: (after_ms + spread) as u32,
        })
    }

    /// When to fetch next; `None` while a fetch runs. Times are those of the wall clock: a step of it changes
    /// when keys are fetched, and nothing else.
    pub fn due_ms(&self, now_unix_ms: u64) -> Option<u64> {
        self.state().due_ms(now_unix_ms)
    }

    /// A fetch begins.
    pub fn begin(&self, now_unix_ms: u64) {
        let mut state = self.state();
        state.begun += 1;
        state.began_ms = now_unix_ms;
        (state.is_running, state.is_asked) = (true, false);
    }

    /// A fetch brought this, good for so many seconds. Returns how many keys there are now.
    ///
    /// # Errors
    /// It is no set of keys that can be used: the keys before stay. The text goes on with "holds".
    pub fn take(&self, now_unix_ms: u64, set: &[u8], max_age_s: Option<u64>) -> Result<usize, String> {
        let keys = jwks::read(set, Origin::Address).inspect_err(|_| self.fail(now_unix_ms))?;
        let count = keys.len();
        // A key that goes again is a new story.
        let here: Vec<u64> = keys.iter().map(|key| self.hasher.hash_one(&key.kid)).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(KeySet::of(keys));
        let mut state = self.state();
        state.is_running = false;
        state.faults = 0;
        state.done = state.begun;
        state.missing.retain(|(name, _)| !here.contains(name));
        // Names that were seen since this fetch began wait for another one.
        state.is_asked = state.missing.iter().any(|(_, first)| *first >= state.done);
        state.fetched_ms = Some(now_unix_ms);
        state.numbers.fetches += 1;
        let half_ms = max_age_s.unwrap_or(MAX_AGE_S).saturating_mul(500);
        state.next_ms = now_unix_ms + half_ms.clamp(*REFRESH_MS.start(), *REFRESH_MS.end());
        Ok(count)
    }

    /// Keys of an earlier process, until a fetch brings some. Nothing else changes: they are fetched as soon
    /// as before.
    ///
    /// # Errors
    /// Those of [`FetchedKeys::take`].
    pub fn restore(&self, set: &[u8]) -> Result<usize, String> {
        let keys = jwks::read(set, Origin::Address)?;
        let mut present = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if present.is_empty() {
            *present = Arc::new(KeySet::of(keys));
        }
        Ok(present.len())
    }

    /// A fetch failed: the keys before stay, and it is tried again after a while.
    pub fn fail(&self, now_unix_ms: u64) {
        let has_keys = usize::from(self.count() > 0);
        let mut state = self.state();
        state.is_running = false;
        let wait_ms = RETRY_FIRST_MS[has_keys].saturating_mul(1 << state.faults.min(16));
        state.faults += 1;
        state.numbers.failures += 1;
        state.next_ms = now_unix_ms + wait_ms.min(RETRY_LAST_MS[has_keys]);
    }

    /// Has no key come yet?
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Its numbers.
    pub fn numbers(&self, now_unix_ms: u64) -> FetchNumbers {
        let keys = self.count();
        let state = self.state();
        let age_ms = state.fetched_ms.map(|at| now_unix_ms.saturating_sub(at));
        FetchNumbers { keys, age_ms, ..state.numbers }
    }

    fn count(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn due_ms(&self, now_ms: u64) -> Option<u64> {
        if self.is_running {
            return None;
        }
        let asked_ms = match self.begun {
            0 => 0,
            // The clock was set back.
            _ if self.began_ms > now_ms => now_ms,
            _ => self.began_ms + ASKED_EVERY_MS,
        };
        let planned_ms = self.next_ms.min(now_ms + REFRESH_MS.end());
        Some(if self.is_asked { planned_ms.min(asked_ms) } else { planned_ms })
    }
}
