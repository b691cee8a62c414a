//! A map from workers to values: what a shard remembers of each worker.
//!
//! Why a sorted vector: a node has some dozens of workers at most, a cluster some hundreds. A search over a
//! few cache lines is cheaper than a hash, and a worker's number need not be small.
//! Invariant: a worker is in the map at most once.

use super::id::WorkerId;

/// A map from workers to values, sorted by worker.
#[derive(Debug)]
pub(crate) struct PerWorker<T> {
    // Ascending; `values` have the same order.
    workers: Vec<WorkerId>,
    values: Vec<T>,
}

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        PerWorker { workers: Vec::new(), values: Vec::new() }
    }
}

impl<T> PerWorker<T> {
    /// The value of a worker.
    pub(crate) fn get(&self, worker: WorkerId) -> Option<&T> {
        self.workers.binary_search(&worker).ok().map(|at| &self.values[at])
    }

    /// The value of a worker; `begin` makes it if there is none.
    pub(crate) fn entry(&mut self, worker: WorkerId, begin: impl FnOnce() -> T) -> &mut T {
        let at = self.workers.binary_search(&worker).unwrap_or_else(|at| {
            self.workers.insert(at, worker);
            self.values.insert(at, begin());
            at
        });
        &mut self.values[at]
    }

    /// Remove a worker.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        if let Ok(at) = self.workers.binary_search(&worker) {
            self.workers.remove(at);
            self.values.remove(at);
        }
    }

    /// All values, in the order of the workers.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_any_node_keep_their_values() {
        let mut map = PerWorker::default();
        for (node, worker) in [(2, 7), (0, 1), (0, WorkerId::NODE_ITSELF), (0, 0)] {
            *map.entry(WorkerId::new(node, worker), || 0) += u32::from(node) * 1000 + u32::from(worker);
        }
        assert_eq!(*map.entry(WorkerId::new(2, 7), || 0), 2007);
        assert_eq!(map.values().copied().collect::<Vec<_>>(), [0, 1, 255, 2007]);
        map.remove(WorkerId::new(0, 1));
        map.remove(WorkerId::new(1, 1));
        assert_eq!((map.get(WorkerId::new(0, 1)), map.get(WorkerId::new(0, 0))), (None, Some(&0)));
    }
}
