//! The wire of a stand: its end of the queue to the network's thread.
//!
//! Why reports go beside the queue: a heartbeat that is older than a promise would support an owner that the
//! node has given up. A report is in its place at once, however full the queue is.
//! Invariants: nothing waits. At most [`WAITING_BYTES_MAX`] of frames wait for the thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grandstand_cluster::stand::{ToWire, Wire};
use grandstand_engine::link::ShardId;
use tokio::sync::mpsc::Sender;

use crate::status::Shared;

/// Bytes of frames and records that may wait for the thread.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a stand sends.
#[derive(Debug)]
pub(crate) struct FromStand {
    pub(crate) shard: ShardId,
    pub(crate) message: ToWire,
}

/// See the file's head.
pub(crate) struct StandWire {
    shard: ShardId,
    to_thread: Sender<FromStand>,
    shared: Arc<Shared>,
}

impl StandWire {
    pub(crate) fn new(shard: ShardId, to_thread: Sender<FromStand>, shared: Arc<Shared>) -> Self {
        StandWire { shard, to_thread, shared }
    }
}

impl Wire for StandWire {
    fn send(&mut self, message: ToWire) {
        if let ToWire::Report(report) = message {
            return self.shared.set_report(self.shard, report);
        }
        let bytes = weight(&message);
        let waiting = self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_sent = waiting + bytes <= WAITING_BYTES_MAX
            && self.to_thread.try_send(FromStand { shard: self.shard, message }).is_ok();
        if !is_sent {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The bytes that a message holds.
pub(crate) fn weight(message: &ToWire) -> usize {
    match message {
        ToWire::Append(append) => append.bytes.len(),
        ToWire::Up { frame, .. } | ToWire::Down { frame, .. } => frame.len(),
        // Entries that an answer shows are shared with the stand that keeps them.
        ToWire::Report(_)
        | ToWire::AskAll(_)
        | ToWire::Answer { .. }
        | ToWire::Announce { .. }
        | ToWire::Outcome { .. }
        | ToWire::Read { .. } => 0,
    }
}
