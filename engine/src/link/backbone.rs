//! The backbone: sends an input to the shard that owns its room.
//!
//! Why a trait: tests and the simulator (`grandstand-model`) put inboxes of their own between the cores here.
//! With more than one node it stays an inbox per shard: only the seat (`runtime`) knows whether a shard's
//! owner is on this node or another.
//! Invariants: inputs of one caller to one shard arrive in the order in which they were submitted, or come
//! back at once. A submit never waits.
//! Not here: the way back (`runtime::WorkerPort`), the threads (`runtime`).

use grandstand_queue::Sender;

use crate::link::{Alias, Directory, Input, ShardId};

/// Takes inputs to shards.
pub trait Backbone: Send + Sync {
    /// How many shards there are.
    fn shards(&self) -> u16;

    /// The shard that owns a room of this name.
    fn shard_of(&self, room: &str) -> ShardId;

    /// The shard that owns the room of this alias.
    fn shard_of_alias(&self, alias: Alias) -> ShardId;

    /// Send an input to a shard.
    ///
    /// # Errors
    /// Gives the input back when the shard's inbox is full or the shard has stopped. The caller then refuses
    /// with `Overloaded`, or keeps an input that must not get lost (`Attach`, `Detach`, `Viewers`) and tries
    /// again.
    fn submit(&self, shard: ShardId, input: Input) -> Result<(), Input>;
}

/// The backbone of a single node: one inbox per shard.
#[derive(Debug)]
pub struct InProcess {
    directory: Directory,
    inboxes: Vec<Sender<Input>>,
}

impl InProcess {
    /// A backbone over the inboxes of shards 0, 1 and so on.
    pub fn new(directory: Directory, inboxes: Vec<Sender<Input>>) -> Self {
        assert_eq!(usize::from(directory.shards()), inboxes.len(), "one inbox per shard");
        InProcess { directory, inboxes }
    }
}

impl Backbone for InProcess {
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
        self.inboxes[usize::from(shard.0)].try_send(input).map_err(grandstand_queue::SendError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_queue::{Doorbell, inbox};

    #[test]
    fn a_full_inbox_gives_the_input_back() {
        let (sender, mut receiver) = inbox(2, Doorbell::new(|| {}));
        let backbone = InProcess::new(Directory::new(1, 0), vec![sender]);
        let input = |n| Input::React { alias: Alias(n), tallies: Vec::new() };
        assert!(backbone.submit(ShardId(0), input(1)).is_ok());
        assert!(backbone.submit(ShardId(0), input(2)).is_ok());
        let Err(Input::React { alias, .. }) = backbone.submit(ShardId(0), input(3)) else {
            panic!("it was full")
        };
        assert_eq!(alias, Alias(3));
        assert!(receiver.pop().is_some());
        assert!(backbone.submit(ShardId(0), input(3)).is_ok());
        drop(receiver);
        assert!(backbone.submit(ShardId(0), input(4)).is_err(), "stopped");
    }
}
