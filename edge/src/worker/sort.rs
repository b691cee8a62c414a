//! Sorting of datagrams: each belongs to this worker, to another worker, or to the previous process.
//!
//! Invariant: a datagram goes to exactly one of them. If that queue is full, the datagram is lost, as a full
//! socket would lose it.
//! Not here: reading a connection ID (`quic::connection_id`), the queue to the previous process
//! (`quic::forward`).

use std::sync::Arc;

use super::shared::{Command, Shared};
use crate::quic::{Datagram, Forwarder, Route, route};

/// The previous process, as one worker sees it while its clients leave.
#[derive(Debug)]
pub(crate) struct PreviousProcess {
    /// Its generation, and those of earlier processes that still have connections.
    pub(crate) generations: Arc<[u16]>,
    pub(crate) forwarder: Forwarder,
}

/// Sorts datagrams by their owner.
pub(super) struct Sorter<'a> {
    pub(super) worker: usize,
    pub(super) shared: &'a Shared,
    pub(super) previous: &'a mut Option<PreviousProcess>,
}

impl Sorter<'_> {
    /// Returns the datagram if it is this worker's; `None` when it was forwarded to another worker or to the
    /// previous process.
    pub(super) fn claim(&mut self, datagram: Datagram) -> Option<Datagram> {
        let Some(Route { generation, worker }) = route(&datagram.bytes) else { return Some(datagram) };
        let worker = usize::from(worker);
        if generation == self.shared.generation {
            if worker == self.worker || worker >= self.shared.commands.len() {
                return Some(datagram);
            }
            // A full inbox loses the datagram, as a full socket would.
            let _ = self.shared.commands[worker].try_send(Command::Datagram(datagram));
            return None;
        }
        match self.previous.as_mut().filter(|previous| previous.generations.contains(&generation)) {
            Some(previous) => {
                previous.forwarder.forward(&datagram);
                None
            }
            None => Some(datagram),
        }
    }

    /// Send the rest of a datagram that was forwarded in part. Once the previous process is gone, nothing
    /// more is forwarded, and its clients get stateless resets.
    pub(super) fn settle(&mut self) {
        if let Some(previous) = self.previous.as_mut() {
            previous.forwarder.flush();
            if previous.forwarder.is_over() {
                *self.previous = None;
            }
        }
    }
}
