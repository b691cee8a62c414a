//! Places: how many requests are under way at a time, in all and to one host.
//!
//! Why: people's links may all lead to one server, and a node must not be the tool that floods it; nor may
//! one slow server hold every place.
//! Invariants: a place is given back when its [`Place`] is dropped. Waiting is bounded: beyond, a request is
//! refused at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::FetchError;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    per_host: usize,
    waiting: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The place of one request.
#[derive(Debug)]
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(all: usize, per_host: usize, waiting: usize) -> Places {
        Places {
            all: Arc::new(Semaphore::new(all)),
            per_host,
            waiting: Arc::new(Semaphore::new(waiting)),
            hosts: Mutex::default(),
        }
    }

    /// Wait for a place at this host.
    pub(crate) async fn take(&self, host: &str) -> Result<Place, FetchError> {
        let _waits = self.waiting.clone().try_acquire_owned().map_err(|_| FetchError::Busy)?;
        let closed = |_| FetchError::Busy;
        let of_host = self.of_host(host).acquire_owned().await.map_err(closed)?;
        let all = self.all.clone().acquire_owned().await.map_err(closed)?;
        Ok(Place { _all: all, _host: of_host })
    }

    fn of_host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // Only this map holds a semaphore of which nobody has or awaits a permit.
        hosts.retain(|_, places| Arc::strong_count(places) > 1 || places.available_permits() < self.per_host);
        hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.per_host))).clone()
    }
}
