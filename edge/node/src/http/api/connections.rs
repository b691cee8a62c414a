//! The connections of the API: how many there are, and which gives way to a new one.
//!
//! Why the longest idle one: applications keep connections open between requests, and a program that forgot
//! its own must not close the API to the others. Invariants: a connection with a request under way is never
//! closed for another one. There are at most as many as configured.
//! Not here: how a connection is served (`server`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts connections and requests: the larger number is the later moment.
    turn: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug, Default)]
struct Open {
    requests: u32,
    idle_since: u64,
    task: Option<AbortHandle>,
}

/// The place of a connection; left when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    of: Arc<Connections>,
}

/// A request of a connection is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Place>);

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Connections> {
        Arc::new(Connections { most, state: Mutex::default() })
    }

    /// A connection came. `None`: it is dropped, since all others have requests under way.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Arc<Place>> {
        let mut state = self.state();
        if state.open.len() >= self.most {
            let idle = state.open.iter().filter(|(_, open)| open.requests == 0);
            let (&longest, _) = idle.min_by_key(|(_, open)| open.idle_since)?;
            if let Some(task) = state.open.remove(&longest).and_then(|open| open.task) {
                task.abort();
            }
        }
        state.turn += 1;
        let id = state.turn;
        state.open.insert(id, Open { idle_since: id, ..Open::default() });
        drop(state);
        Some(Arc::new(Place { id, of: self.clone() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The task that serves the connection.
    pub(super) fn watch(&self, task: AbortHandle) {
        match self.of.state().open.get_mut(&self.id) {
            Some(open) => open.task = Some(task),
            // It gave way before its task was known.
            None => task.abort(),
        }
    }

    /// A request begins.
    pub(super) fn begin_request(self: &Arc<Self>) -> UnderWay {
        if let Some(open) = self.of.state().open.get_mut(&self.id) {
            open.requests += 1;
        }
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.of.state();
        state.turn += 1;
        let turn = state.turn;
        if let Some(open) = state.open.get_mut(&self.0.id) {
            open.requests -= 1;
            open.idle_since = turn;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.state().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_connection_gives_way_and_none_with_a_request() {
        let connections = Connections::new(3);
        let open = || {
            let place = connections.begin().expect("a place");
            let task = tokio::spawn(std::future::pending::<()>());
            place.watch(task.abort_handle());
            (place, task)
        };
        let (a, a_task) = open();
        let (b, b_task) = open();
        let (c, c_task) = open();
        let busy = a.begin_request();
        drop(b.begin_request());
        let (d, _d_task) = open();
        assert!(c_task.await.unwrap_err().is_cancelled(), "c has waited longest");
        let (_e, _e_task) = open();
        assert!(b_task.await.unwrap_err().is_cancelled(), "b answered after c came, and before d came");
        let (_busy_d, _busy_e) = (d.begin_request(), _e.begin_request());
        assert!(connections.begin().is_none(), "nobody is idle");
        assert!(!a_task.is_finished());
        drop((busy, c));
        assert!(connections.begin().is_some());
        assert!(a_task.await.unwrap_err().is_cancelled());
    }
}
