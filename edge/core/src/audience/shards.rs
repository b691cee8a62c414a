//! The way to the shards: inputs are submitted here, and those that must not be lost wait for a full shard.
//!
//! Invariants: inputs that wait keep their order; once released, nothing reaches a shard.
//! Not here: what an input says (`requests`, `subscribe`, `timeouts`), whose answer it gets (`outputs`).

use std::collections::VecDeque;
use std::sync::Arc;

use grandstand_engine::link::{Alias, Backbone, Input, ShardId};

/// See the file's head.
pub(super) struct ShardLink {
    backbone: Arc<dyn Backbone>,
    /// Inputs that a shard had no room for: only those that repeat themselves or must not be lost.
    deferred: VecDeque<(ShardId, Input)>,
    /// The shards have stopped.
    is_released: bool,
}

impl ShardLink {
    pub(super) fn new(backbone: Arc<dyn Backbone>) -> Self {
        ShardLink { backbone, deferred: VecDeque::new(), is_released: false }
    }

    /// Nothing is submitted any more.
    pub(super) fn release(&mut self) {
        self.deferred.clear();
        self.is_released = true;
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released
    }

    /// Inputs that wait for full shards.
    pub(super) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    pub(super) fn shard_of(&self, room: &str) -> ShardId {
        self.backbone.shard_of(room)
    }

    /// Submit to the shard of a room, or give the input back.
    pub(super) fn submit(&self, alias: Alias, input: Input) -> Result<(), Input> {
        self.backbone.submit(self.backbone.shard_of_alias(alias), input)
    }

    /// Submit to the shard of a room what must not be lost.
    pub(super) fn submit_surely(&mut self, alias: Alias, input: Input) {
        self.submit_surely_to(self.backbone.shard_of_alias(alias), input);
    }

    /// Submit what must not be lost; keeps the order of what waits.
    pub(super) fn submit_surely_to(&mut self, shard: ShardId, input: Input) {
        if self.is_released {
            return;
        }
        if !self.deferred.is_empty() {
            self.deferred.push_back((shard, input));
        } else if let Err(input) = self.backbone.submit(shard, input) {
            self.deferred.push_back((shard, input));
        }
    }

    /// Try again what waits.
    pub(super) fn flush(&mut self) {
        while let Some((shard, input)) = self.deferred.pop_front() {
            if let Err(input) = self.backbone.submit(shard, input) {
                self.deferred.push_front((shard, input));
                return;
            }
        }
    }
}
