//! The connections of a port: which wait for their request, and who gives way to a new one.
//!
//! Why: a port that makes new connections wait for silent connections to end is closed by whoever opens as
//! many. Invariants: a slot is left exactly once, however its connection ends. Some descriptors are kept in
//! reserve, so that probes are answered when the process has none left. Not here: what a request is answered.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grandstand_edge_core::admission::address::Address;
use grandstand_edge_core::admission::waiting::{Admission, Settings, Stage, WaitingLine};
use grandstand_edge_core::key::Key;
use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

/// Descriptors in reserve: as many probes at a time are answered when there are no others.
const RESERVE: usize = 4;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Connections(Mutex<State>);

#[derive(Debug)]
struct State {
    line: WaitingLine<u64>,
    tasks: HashMap<u64, AbortHandle>,
    reserve: Vec<File>,
    newest: u64,
    turn: u64,
}

/// The place of one connection; left when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    connections: Arc<Connections>,
    /// What the connection's request holds until the connection ends.
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Connections {
    pub(super) fn new(silent_max: usize) -> io::Result<Connections> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        // Probes come from the addresses of strangers, such as loopback: a silent one gives way at once.
        let line = WaitingLine::new(Settings::of_size(silent_max, 0), Key::new(key));
        let (tasks, reserve) = (HashMap::new(), Vec::new());
        let mut state = State { line, tasks, reserve, newest: 0, turn: 0 };
        state.refill();
        Ok(Connections(Mutex::new(state)))
    }

    /// A connection came. `None`: it is dropped, since its address holds too many.
    pub(super) fn begin(self: &Arc<Self>, peer: SocketAddr) -> Option<Slot> {
        let ip = peer.ip().to_canonical();
        let address = (!ip.is_loopback()).then(|| Address::of(ip));
        let mut state = self.state();
        state.refill();
        state.newest += 1;
        state.turn += 1;
        let (id, now) = (state.newest, state.turn);
        match state.line.admit(id, address, Stage::Silent, now) {
            Admission::Admitted => {}
            Admission::Replaces(silent) => state.abort(silent),
            Admission::Refused => return None,
        }
        drop(state);
        Some(Slot { id, connections: self.clone(), held: Mutex::default() })
    }

    /// The task of the connection with this number.
    pub(super) fn watch(&self, id: u64, task: AbortHandle) {
        self.state().tasks.insert(id, task);
    }

    /// A connection could not be accepted: free a descriptor for it. `false` if that does not help.
    pub(super) fn make_room(&self, error: &io::Error) -> bool {
        if !matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
            return false;
        }
        tracing::warn!(%error, "the admin port uses its reserve: raise the limit of open files");
        let mut state = self.state();
        if state.reserve.pop().is_some() {
            return true;
        }
        let Some(silent) = state.line.displace() else { return false };
        state.abort(silent);
        true
    }

    /// End every connection that has sent no request.
    pub(super) fn end_silent(&self) {
        let mut state = self.state();
        while let Some(silent) = state.line.displace() {
            state.abort(silent);
        }
    }

    /// How many connections wait for their requests.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().line.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn abort(&mut self, id: u64) {
        if let Some(task) = self.tasks.remove(&id) {
            task.abort();
        }
    }

    fn refill(&mut self) {
        while self.reserve.len() < RESERVE
            && let Ok(file) = File::open("/dev/null")
        {
            self.reserve.push(file);
        }
    }
}

impl Slot {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Its request has come: it gives way to nobody from now on.
    pub(super) fn handle_request(&self) {
        self.connections.state().line.leave(self.id);
    }

    /// Keep this until the connection ends.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.line.leave(self.id);
        state.tasks.remove(&self.id);
    }
}
