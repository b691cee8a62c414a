//! A cache that asks once: whoever wants what is being fetched waits for the one fetch.
//!
//! Why: a link that is posted in a room is asked for by every viewer in the same second.
//! Invariants: of a key at most one fetch is under way, also when whoever asked first has gone. Failures are
//! kept as answers are, for a time of their own. The number of keys is bounded: the one that was used longest
//! ago leaves.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Cache<V>(Arc<Mutex<State<V>>>);

#[derive(Debug)]
struct State<V> {
    entries: HashMap<String, Entry<V>>,
    max: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    /// The value and its end; `None` while it is fetched.
    value: watch::Receiver<Option<(V, Instant)>>,
    used: u64,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Cache(self.0.clone())
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// A cache of at most so many keys.
    pub(crate) fn new(max: usize) -> Cache<V> {
        Cache(Arc::new(Mutex::new(State { entries: HashMap::new(), max: max.max(1), uses: 0 })))
    }

    /// The value of `key`: kept, being fetched, or fetched now by `fetch`, which says how long it is kept.
    /// `None`: the fetch ended without a value.
    pub(crate) async fn get<F>(&self, key: &str, fetch: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = (V, Duration)> + Send + 'static,
    {
        let mut value = self.entry(key, fetch);
        let found = value.wait_for(Option::is_some).await.ok().and_then(|value| value.clone());
        if found.is_none() {
            self.state().entries.remove(key);
        }
        found.map(|(value, _)| value)
    }

    fn entry<F>(&self, key: &str, fetch: impl FnOnce() -> F) -> watch::Receiver<Option<(V, Instant)>>
    where
        F: Future<Output = (V, Duration)> + Send + 'static,
    {
        let now = Instant::now();
        let mut state = self.state();
        state.uses += 1;
        let used = state.uses;
        if let Some(entry) = state.entries.get_mut(key) {
            let is_over = entry.value.borrow().as_ref().is_some_and(|&(_, ends)| ends <= now);
            // A fetch that ended without a value has no sender any more.
            let is_lost = entry.value.borrow().is_none() && entry.value.has_changed().is_err();
            if !is_over && !is_lost {
                entry.used = used;
                return entry.value.clone();
            }
        }
        state.make_room(now);
        let (sender, value) = watch::channel(None);
        state.entries.insert(key.to_owned(), Entry { value: value.clone(), used });
        drop(state);
        let fetch = fetch();
        tokio::spawn(async move {
            let (value, keep) = fetch.await;
            sender.send_replace(Some((value, Instant::now() + keep)));
        });
        value
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> State<V> {
    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.max {
            return;
        }
        self.entries.retain(|_, entry| entry.value.borrow().as_ref().is_none_or(|&(_, ends)| ends > now));
        while self.entries.len() >= self.max {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used) else { return };
            let oldest = oldest.0.clone();
            self.entries.remove(&oldest);
        }
    }
}
