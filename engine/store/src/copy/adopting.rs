//! A copy takes a snapshot in its place.
//!
//! Why in two steps: the committer replaces what the database has, which takes as long as the disk needs, and
//! the copy's holder does not wait. Until then the copy applies nothing and is not sound.
//! Invariant: memory changes when the database has changed, and not before.

use super::{ShardCopy, Snapshot};
use crate::adoption::Adoption;
use crate::copy_head::CopyHead;

/// A snapshot under way.
#[derive(Debug)]
pub(super) struct Adopting(Box<Snapshot>);

impl ShardCopy {
    /// Begin to take a snapshot in place of everything that this copy has. The end comes by
    /// [`Self::poll_adoption`]; the bell rings for it.
    ///
    /// # Panics
    /// The snapshot is of another shard, or another one is under way.
    pub fn adopt(&mut self, snapshot: Snapshot) {
        assert_eq!(snapshot.shard, self.shard, "a snapshot of this shard");
        assert!(self.adopting.is_none(), "one snapshot at a time");
        let (path, head) = (snapshot.path.clone(), snapshot.head.clone());
        let adoption = Adoption { path, shard: self.shard, head, position: self.position };
        self.shared.adoptions.put(adoption);
        self.adopting = Some(Adopting(Box::new(snapshot)));
        self.shared.bell.ring();
    }

    /// Did a snapshot take the place of the copy? Its head then, or why it did not; the copy is as it was
    /// before in that case.
    pub fn poll_adoption(&mut self) -> Option<Result<CopyHead, String>> {
        self.adopting.as_ref()?;
        let end = self.shared.adoptions.take_end(self.shard)?;
        let Adopting(snapshot) = self.adopting.take()?;
        Some(end.map(|()| {
            for name in snapshot.names() {
                self.shared.set_owner(name, self.shard);
            }
            self.rooms = snapshot.rooms;
            self.head = Some(snapshot.head.clone());
            snapshot.head
        }))
    }
}
