//! A model of the backbone: one bounded inbox per shard, which the test empties by hand.
//!
//! Invariant: an input that does not fit comes back at once, as the engine promises.
//! Not here: delays, and who takes the inputs (the test).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use grandstand_engine::link::{Alias, Backbone, Directory, Input, ShardId};

/// The bounded inboxes of all shards.
#[derive(Debug)]
pub struct Inboxes {
    directory: Directory,
    inboxes: Mutex<Vec<VecDeque<Input>>>,
    inbox_max: usize,
    is_full: AtomicBool,
}

impl Inboxes {
    /// Empty inboxes for the directory's shards, each for `inbox_max` inputs.
    pub fn new(directory: Directory, inbox_max: usize) -> Inboxes {
        let inboxes = Mutex::new((0..directory.shards()).map(|_| VecDeque::new()).collect());
        Inboxes { directory, inboxes, inbox_max, is_full: AtomicBool::new(false) }
    }

    fn inboxes(&self) -> MutexGuard<'_, Vec<VecDeque<Input>>> {
        self.inboxes.lock().expect("no test panics with it")
    }

    /// The oldest input that waits for a shard.
    pub fn pop(&self, shard: usize) -> Option<Input> {
        self.inboxes()[shard].pop_front()
    }

    /// Whether no input waits for a shard.
    pub fn is_empty(&self, shard: usize) -> bool {
        self.inboxes()[shard].is_empty()
    }

    /// Put an input in, whether or not it fits: an operator waits for a full inbox.
    pub fn push(&self, shard: ShardId, input: Input) {
        self.inboxes()[usize::from(shard.0)].push_back(input);
    }

    /// Refuse every input from now on, or accept inputs again.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }
}

impl Backbone for Inboxes {
    fn shards(&self) -> u16 {
        self.directory.shards()
    }

    fn shard_of(&self, room: &str) -> ShardId {
        self.directory.shard_of(room)
    }

    fn shard_of_alias(&self, alias: Alias) -> ShardId {
        self.directory.shard_of_alias(alias)
    }

    fn submit(&self, shard: ShardId, input: Input) -> Result<(), Input> {
        let inbox = &mut self.inboxes()[usize::from(shard.0)];
        if self.is_full.load(Ordering::Relaxed) || inbox.len() >= self.inbox_max {
            return Err(input);
        }
        inbox.push_back(input);
        Ok(())
    }
}
