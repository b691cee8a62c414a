//! The shared filter: the word lists that all shards of a node ask, replaced while they run.
//!
//! Why a handle: lists are read and built beside the rooms' way, and a shard takes the new ones with its next
//! publication. No shard waits for it, and no input can be late.
//! Invariant: a judgement uses one filter from its beginning to its end.
//! Not here: the lists (`grandstand_filter`), what a shard does with a verdict (`shard::filtering`).

#![expect(clippy::disallowed_types, reason = "the handle is shared with the thread that reads lists")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use grandstand_filter::Filter;

/// See the file's head. Clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct SharedFilter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A publication on a node without lists pays one look at this.
    is_set: AtomicBool,
    filter: ArcSwapOption<Filter>,
}

impl SharedFilter {
    /// A handle of this filter.
    pub fn of(filter: Filter) -> SharedFilter {
        let shared = SharedFilter::default();
        shared.replace(Some(Arc::new(filter)));
        shared
    }

    /// From now on shards ask this one; `None`: no lists.
    pub fn replace(&self, filter: Option<Arc<Filter>>) {
        let is_set = filter.is_some();
        self.0.filter.store(filter);
        self.0.is_set.store(is_set, Ordering::Release);
    }

    /// The filter that shards ask now.
    pub fn current(&self) -> Option<Arc<Filter>> {
        if self.0.is_set.load(Ordering::Acquire) { self.0.filter.load_full() } else { None }
    }
}

impl PartialEq for SharedFilter {
    fn eq(&self, other: &SharedFilter) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedFilter {}
