//! Adoptions: snapshots on their way from copies to the committer, and what became of them.
//!
//! Why a list in between: a copy is on its shard's thread, which never waits for a disk.
//! Not here: what the committer does with one (`adopt`).

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::copy_head::CopyHead;

/// A snapshot on its way into the database.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) path: PathBuf,
    pub(crate) shard: usize,
    pub(crate) head: CopyHead,
    /// Positions of the copy up to this one are of what it replaces.
    pub(crate) position: u64,
}

/// What waits for the committer, and what it did.
#[derive(Debug, Default)]
pub(crate) struct Adoptions {
    waiting: Mutex<Vec<Adoption>>,
    done: Mutex<Vec<(usize, Result<(), String>)>>,
}

impl Adoptions {
    pub(crate) fn put(&self, adoption: Adoption) {
        lock(&self.waiting).push(adoption);
    }

    pub(crate) fn take(&self) -> Option<Adoption> {
        lock(&self.waiting).pop()
    }

    pub(crate) fn end(&self, shard: usize, result: Result<(), String>) {
        lock(&self.done).push((shard, result));
    }

    /// The end of a shard's adoption, once.
    pub(crate) fn take_end(&self, shard: usize) -> Option<Result<(), String>> {
        let mut done = lock(&self.done);
        let at = done.iter().position(|(of, _)| *of == shard)?;
        Some(done.swap_remove(at).1)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
