//! The write order: the order in which fan-out wrote to connections in the last round.
//!
//! Why: the order is much the same each time. So the state of the next connection can be fetched into the
//! cache during the write to this one.
//! Not here: the writing (`endpoint`).

use grandstand_queue::prefetch;

use super::connection::Connections;

/// The order of the last round.
#[derive(Debug)]
pub(super) struct WriteOrder {
    /// For each slot, the slot that was written to after it.
    after: Vec<u32>,
    last: u32,
}

impl Default for WriteOrder {
    fn default() -> Self {
        WriteOrder { after: Vec::new(), last: u32::MAX }
    }
}

impl WriteOrder {
    /// Add a slot.
    pub(super) fn insert(&mut self, slot: usize) {
        if self.after.len() <= slot {
            self.after.resize(slot + 1, u32::MAX);
        }
    }

    /// A slot was written to: fetch the state of the connection that came next in the last round.
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
