//! The shared filter: the word lists that all shards of a node ask, replaced while they run.
//!
//! Why a handle: lists are read and built beside the rooms' way, and a shard takes the new ones with its next
//! publication. No shard waits for it, and no input can be late.
//! Invariant: a judgement uses one filter from its beginning to its end.
//! Not here: the lists (`grandstand_filter`), what a shard does with a verdict (`shard::filtering`).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use grandstand_filter::Filter;

/// See the file's head. Clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct SharedFilter(Arc<ArcSwapOption<Filter>>);

impl SharedFilter {
    /// A handle of this filter.
    pub fn of(filter: Filter) -> SharedFilter {
        let shared = SharedFilter::default();
        shared.replace(Some(Arc::new(filter)));
        shared
    }

    /// From now on shards ask this one; `None`: no lists.
    pub fn replace(&self, filter: Option<Arc<Filter>>) {
        self.0.store(filter);
    }

    /// The filter that shards ask now.
    pub fn current(&self) -> Option<Arc<Filter>> {
        self.0.load_full()
    }
}

impl PartialEq for SharedFilter {
    fn eq(&self, other: &SharedFilter) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedFilter {}
