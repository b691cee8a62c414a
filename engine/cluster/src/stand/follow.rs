//! The follower's part of a stand: whom it follows, and the frames in both directions.
//!
//! Invariant: nothing of a lower term than this node promised, or found in the log, reaches a worker.
//! Not here: what the workers say (`front`), entries that were shown (`seat`).

use bytes::Bytes;

use crate::id::{Incarnation, NodeId, Term};
use crate::link::{DownFrame, Receiver, UpItem, UpSender, Verdict};
use crate::time::OwnTime;

/// The owner that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) term: Term,
}

/// See the file's head.
pub(super) struct Follow {
    me: (NodeId, Incarnation),
    pub(super) owner: Option<Followed>,
    up: UpSender,
    down: Option<Receiver>,
    /// When the owner's last frame came, or this node was last an owner that may act.
    pub(super) heard: OwnTime,
}

impl Follow {
    pub(super) fn new(now: OwnTime, me: (NodeId, Incarnation)) -> Self {
        Follow { me, owner: None, up: UpSender::new(me.0, me.1), down: None, heard: now }
    }

    /// Follow another owner, or nobody.
    pub(super) fn begin(&mut self, now: OwnTime, owner: Option<Followed>) {
        self.owner = owner;
        match owner.filter(|owner| owner.node != self.me.0) {
            Some(Followed { node, term, .. }) => {
                self.up.begin(now, term);
                self.down = Some(Receiver::new(node, term));
            }
            None => {
                self.up.end();
                self.down = None;
            }
        }
        self.heard = now;
    }

    /// A run of frames begins: the front restates everything.
    pub(super) fn begin_run(&mut self, have: (Term, u64)) {
        self.up.restart();
        self.push(&UpItem::Restate { have_term: have.0, have_index: have.1 });
    }

    /// Say something to the owner.
    pub(super) fn push(&mut self, item: &UpItem) {
        // What does not fit into a message alone is counted by the sender; its worker hears a refusal late.
        let _ = self.up.push(item);
    }

    /// A frame came from a node. Is it to be taken?
    pub(super) fn accept(&mut self, now: OwnTime, frame: &DownFrame) -> bool {
        let from = Followed { node: frame.node, incarnation: frame.incarnation, term: frame.term };
        let Some(down) = self.down.as_mut().filter(|_| self.owner == Some(from)) else { return false };
        self.heard = now;
        down.receive(frame.head()) == Verdict::Accept
    }

    /// Are frames missing, so that everything must be restated?
    pub(super) fn poll_restate(&mut self, now: OwnTime) -> bool {
        self.down.as_mut().is_some_and(|down| down.poll_restate(now))
    }

    /// By which version the owner is written to.
    pub(super) fn set_version(&mut self, version_to: impl Fn(NodeId) -> u16) {
        if let Some(owner) = self.owner {
            self.up.set_version(version_to(owner.node));
        }
    }

    /// The next frame for the owner.
    pub(super) fn next_frame(&mut self, now: OwnTime) -> Option<(NodeId, Bytes)> {
        let owner = self.owner.filter(|owner| owner.node != self.me.0)?;
        Some((owner.node, self.up.poll(now)?))
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<OwnTime> {
        [self.up.due(), self.down.as_ref().and_then(Receiver::due)].into_iter().flatten().min()
    }
}
