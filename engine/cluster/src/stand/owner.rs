//! The owner's part of a stand: the shard itself, its log, and the nodes that follow it.
//!
//! Why apart: it exists exactly while this node owns the shard, and is dropped as a whole.
//! Invariants: an entry reaches the nodes that follow before any output that shows it. What one batch is to
//! several workers of a node goes there once.
//! Not here: who owns the shard (`seat`), this node's own workers (`front`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Input, Now, Output, WorkerId};
use grandstand_engine::shard::Shard;

use super::log::OwnerLog;
use super::{handed, own};
use crate::id::{Incarnation, NodeId, Term};
use crate::link::{DownItem, DownSender, Receiver, UpFrame, UpItem, Verdict};
use crate::seat::ShownEntry;
use crate::time::OwnTime;

/// See the file's head.
pub(super) struct Owner {
    pub(super) term: Term,
    pub(super) shard: Box<Shard>,
    pub(super) log: OwnerLog,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// It seals no more, and hands the shard over.
    pub(super) is_handing: bool,
}

/// A node that follows.
pub(super) struct Peer {
    up: Receiver,
    down: DownSender,
    /// Its workers that follow rooms, or did.
    workers: BTreeSet<WorkerId>,
    /// The last output, while equal ones for other workers may follow.
    last: Option<(Vec<WorkerId>, Output)>,
    /// Did an input of it come while none could be taken?
    has_dropped: bool,
    /// Is it missed? Then its workers count no more.
    is_missed: bool,
}

impl Owner {
    pub(super) fn new(term: Term, shard: Box<Shard>, log: OwnerLog) -> Self {
        Owner { term, shard, log, peers: BTreeMap::new(), is_handing: false }
    }

    /// A frame of a node that follows. Returns what it says, or nothing if the frame does not count.
    pub(super) fn accept(
        &mut self,
        now: Now,
        me: (NodeId, Incarnation),
        frame: UpFrame,
    ) -> Option<Vec<UpItem>> {
        let (node, term) = (frame.node, self.term);
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(own(now), me, node, term));
        let mut verdict = peer.up.receive(frame.head());
        if let Verdict::NewIncarnation(_) = verdict {
            let workers = std::mem::take(&mut peer.workers);
            workers.into_iter().for_each(|worker| self.shard.handle_worker_gone(now, worker));
            verdict = peer.up.receive(frame.head());
        }
        (verdict == Verdict::Accept).then_some(frame.items)
    }

    /// Ask the nodes whose frames have a hole to say everything again.
    pub(super) fn ask_for_missing(&mut self, now: OwnTime) {
        for peer in self.peers.values_mut() {
            if peer.up.poll_restate(now) {
                peer.push(&DownItem::Restate);
            }
        }
    }

    /// When something is due for the nodes that follow.
    pub(super) fn due(&self) -> Option<OwnTime> {
        self.peers.values().flat_map(|peer| [peer.up.due(), peer.down.due()]).flatten().min()
    }

    /// An input of a node's worker.
    pub(super) fn handle_input(&mut self, now: Now, node: NodeId, input: Input) {
        if let Some(worker) = worker_of(&input) {
            if worker.node() != node.0 {
                return;
            }
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.workers.insert(worker);
            }
        }
        self.shard.handle_input(now, input);
    }

    /// Send an entry to every node that follows, with the batch that it has.
    pub(super) fn push_entry(&mut self, entry: &ShownEntry, batch: Option<&Arc<Batch>>) {
        for peer in self.peers.values_mut().filter(|peer| !peer.is_missed) {
            peer.flush();
            // What does not fit into a message alone is counted by the sender, and is lost to this node.
            let _ = peer.down.push_entry(entry, batch);
        }
    }

    /// Send what only the memory of this owner has to the next one.
    pub(super) fn hand_rooms(&mut self, now: Now, to: NodeId) {
        let rooms = handed::bounded(now, self.shard.hand_rooms(now));
        let Some(peer) = self.peers.get_mut(&to) else { return };
        rooms.into_iter().for_each(|room| peer.push(&DownItem::Handed(Box::new(room))));
    }

    /// Send an output to a worker of another node.
    pub(super) fn push_output(&mut self, worker: WorkerId, output: Output) {
        if let Some(peer) = self.peers.get_mut(&NodeId(worker.node())) {
            peer.push_output(worker, output);
        }
    }

    /// An input came that cannot be taken now: the node must say it again when it can.
    pub(super) fn note_dropped(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.has_dropped = true;
        }
    }

    /// The shard takes inputs: the nodes must restate what was dropped.
    pub(super) fn ask_for_dropped(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.has_dropped) {
            peer.has_dropped = false;
            peer.push(&DownItem::Restate);
        }
    }

    /// A node asked for everything: the entries that are not kept, and then the rooms as it attaches them.
    pub(super) fn restate(&mut self, node: NodeId, items: impl IntoIterator<Item = DownItem>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.flush();
        peer.down.restart();
        items.into_iter().for_each(|item| peer.push(&item));
    }

    /// A node is missed: its workers leave every room. When it is heard again it must say everything again.
    pub(super) fn note_missed(&mut self, now: Now, node: NodeId, is_missed: bool) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_missed != is_missed) else { return };
        peer.is_missed = is_missed;
        if is_missed {
            for worker in std::mem::take(&mut peer.workers) {
                self.shard.handle_worker_gone(now, worker);
            }
        } else {
            peer.push(&DownItem::Restate);
        }
    }

    /// By which version each node is written to.
    pub(super) fn set_versions(&mut self, version_to: impl Fn(NodeId) -> u16) {
        for (node, peer) in &mut self.peers {
            peer.down.set_version(version_to(*node));
        }
    }

    /// The next frame for a node.
    pub(super) fn next_frame(&mut self, now: OwnTime) -> Option<(NodeId, Bytes)> {
        self.peers.iter_mut().find_map(|(node, peer)| {
            peer.flush();
            Some((*node, peer.down.poll(now)?))
        })
    }
}

impl Peer {
    fn new(now: OwnTime, me: (NodeId, Incarnation), node: NodeId, term: Term) -> Self {
        let mut down = DownSender::new(me.0, me.1);
        down.begin(now, term);
        Peer {
            up: Receiver::new(node, term),
            down,
            workers: BTreeSet::new(),
            last: None,
            has_dropped: false,
            is_missed: false,
        }
    }

    fn push(&mut self, item: &DownItem) {
        self.flush();
        // What does not fit into a message alone is counted by the sender, and is lost to this node.
        let _ = self.down.push(item);
    }

    fn push_output(&mut self, worker: WorkerId, output: Output) {
        if self.is_missed {
            return;
        }
        if let Some((workers, last)) = &mut self.last
            && is_same_batch(last, &output)
        {
            workers.push(worker);
            return;
        }
        self.flush();
        self.last = Some((vec![worker], output));
    }

    fn flush(&mut self) {
        if let Some((workers, output)) = self.last.take() {
            let _ = self.down.push(&DownItem::Output { workers: workers.into(), output });
        }
    }
}

fn is_same_batch(a: &Output, b: &Output) -> bool {
    match (a, b) {
        (Output::Batch { batch: a, .. }, Output::Batch { batch: b, .. }) => std::sync::Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// The worker that an input names.
fn worker_of(input: &Input) -> Option<WorkerId> {
    match input {
        Input::Attach { worker, .. }
        | Input::Reattach { worker, .. }
        | Input::Detach { worker, .. }
        | Input::Viewers { worker, .. }
        | Input::Staff { worker, .. }
        | Input::History { worker, .. }
        | Input::Load { worker, .. } => Some(*worker),
        Input::Publish(publication) => Some(publication.from.worker),
        Input::SetState(change) => Some(change.from.worker),
        Input::Act(act) => Some(act.from.worker),
        Input::Admin { from, .. } => Some(from.worker),
        Input::React { .. } => None,
    }
}
