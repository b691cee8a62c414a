//! Write order: the order in which fan-out wrote to connections the last time.
//!
//! Why: the order is much the same each time, so the state of the next connection can be fetched into the
//! cache while this one is written to.
//! Not here: the writing (`endpoint`).

use grandstand_queue::prefetch;

use super::connection::Connections;

/// See the file's head.
#[derive(Debug)]
pub(super) struct WriteOrder {
    /// For each slot, the one that was written to after it.
    after: Vec<u32>,
    last: u32,
}

impl Default for WriteOrder {
    fn default() -> Self {
        WriteOrder { after: Vec::new(), last: u32::MAX }
    }
}

impl WriteOrder {
    /// Make room for a slot.
    pub(super) fn insert(&mut self, slot: usize) {
        if self.after.len() <= slot {
            self.after.resize(slot + 1, u32::MAX);
        }
    }

    /// A slot was written to: fetch the state of the one that came next the last time.
    pub(super) fn handle_write(&mut self, slot: u32, connections: &Connections) {
        let before = std::mem::replace(&mut self.last, slot);
        if let Some(after) = self.after.get_mut(before as usize) {
            *after = slot;
        }
        let next = self.after.get(slot as usize).and_then(|&next| connections.get(next as usize));
        if let Some(next) = next {
            prefetch(next);
        }
    }
}
