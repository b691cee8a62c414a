//! Receiver: one direction of a link, which frames to take and when to ask for everything again.
//!
//! Why nothing is sent twice: what passes between nodes is state that its sender can tell again, and it is
//! told again whole. So a receiver needs to know only that something is missing.
//! Who heals: the node that follows. When it sees a hole, its own direction begins a run too, and the first
//! frame of that asks the owner ([`UpItem::Restate`](super::UpItem::Restate)). So two broken directions do
//! not wait for each other. An owner that sees a hole asks too
//! ([`DownItem::Restate`](super::DownItem::Restate)).
//! Invariants: what is taken is a run: it begins with a frame that begins one, and has no hole. Numbers of
//! taken frames rise. Nothing of another term or of an earlier life is taken.
//! Not here: what is told again (the stand), which terms are right (`seat`).

use crate::id::{Incarnation, NodeId, Term};
use crate::time::OwnTime;

/// How long a receiver waits for a run before it asks again.
const ASK_AGAIN_MS: u64 = 500;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its sender.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// In which term.
    pub term: Term,
    /// Its number.
    pub seq: u64,
    /// Does it begin a run?
    pub begins: bool,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept,
    /// Drop it: frames before it are missing. [`Receiver::poll_restate`] says when to ask for everything.
    Hole,
    /// Drop it.
    Old(OldCause),
    /// Drop it: its sender is in a higher term. Once the seat follows that term, [`Receiver::begin`].
    NewTerm(Term),
    /// Forget everything that its sender said in its last life: this is another one. Then give the frame to
    /// the receiver once more.
    NewIncarnation(Incarnation),
}

/// Why a frame is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldCause {
    /// Of a term that has ended.
    Term,
    /// Of an earlier life of its sender.
    Incarnation,
    /// It came before, or later ones of its run did.
    Repeated,
    /// Of another node than the one that this receiver hears.
    Node,
}

/// What a receiver did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Frames that were taken.
    pub accepted: u64,
    /// How many times a run ended by a hole.
    pub holes: u64,
    /// Frames that never came, or came too late.
    pub missing: u64,
    /// Frames that were dropped behind a hole.
    pub dropped: u64,
    /// Frames that were dropped as old, by cause: term, incarnation, repeated, node.
    pub old: [u64; 4],
    /// How many times everything was asked for.
    pub restates: u64,
    /// Items of later releases that were passed over.
    pub passed_over: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Receiver {
    node: NodeId,
    term: Term,
    /// The life of its sender, once a frame came.
    incarnation: Option<Incarnation>,
    /// The number of the next frame.
    next: u64,
    run: Run,
    counts: ReceiverCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Nothing came yet.
    NotBegun,
    /// Everything came.
    Whole,
    /// Something is missing.
    Broken {
        /// When everything was asked for.
        asked: Option<OwnTime>,
    },
}

impl Receiver {
    /// Hears one node, from the next frame of this term on.
    #[must_use]
    pub fn new(node: NodeId, term: Term) -> Self {
        let counts = ReceiverCounts::default();
        Receiver { node, term, incarnation: None, next: 1, run: Run::NotBegun, counts }
    }

    /// The seat follows another term, whose frames this node sends.
    pub fn begin(&mut self, node: NodeId, term: Term) {
        let is_same = self.node == node;
        (self.node, self.term) = (node, term);
        self.incarnation = self.incarnation.filter(|_| is_same);
        (self.next, self.run) = (1, Run::NotBegun);
    }

    /// The term whose frames are taken.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Did every frame come so far? Not before the first one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.run == Run::Whole
    }

    /// A frame came.
    pub fn receive(&mut self, head: Head) -> Verdict {
        let Head { node, incarnation, term, seq, begins } = head;
        if node != self.node {
            return self.drop_old(OldCause::Node);
        }
        if term < self.term {
            return self.drop_old(OldCause::Term);
        }
        match self.incarnation {
            Some(known) if incarnation < known => return self.drop_old(OldCause::Incarnation),
            Some(known) if incarnation > known => {
                self.incarnation = Some(incarnation);
                (self.next, self.run) = (1, Run::NotBegun);
                return Verdict::NewIncarnation(incarnation);
            }
            _ => {}
        }
        if term > self.term {
            return Verdict::NewTerm(term);
        }
        self.incarnation = Some(incarnation);
        if seq < self.next {
            return self.drop_old(OldCause::Repeated);
        }
        let is_next = self.run == Run::Whole && seq == self.next;
        if is_next || begins {
            self.counts.missing += seq - self.next;
            self.counts.accepted += 1;
            (self.next, self.run) = (seq.saturating_add(1), Run::Whole);
            return Verdict::Accept;
        }
        self.counts.dropped += 1;
        if !matches!(self.run, Run::Broken { .. }) {
            self.counts.holes += 1;
            self.run = Run::Broken { asked: None };
        }
        Verdict::Hole
    }

    /// The items of an accepted frame that decoding passed over, for the counters.
    pub fn count_passed_over(&mut self, items: u32) {
        self.counts.passed_over += u64::from(items);
    }

    /// Is everything to be asked for now? `true` means that the caller does so.
    pub fn poll_restate(&mut self, now: OwnTime) -> bool {
        let Run::Broken { asked } = &mut self.run else { return false };
        if asked.is_some_and(|asked| now < asked.plus(ASK_AGAIN_MS)) {
            return false;
        }
        *asked = Some(now);
        self.counts.restates += 1;
        true
    }

    /// When [`Receiver::poll_restate`] is due next.
    #[must_use]
    pub fn due(&self) -> Option<OwnTime> {
        let Run::Broken { asked } = self.run else { return None };
        Some(asked.map_or(OwnTime(0), |asked| asked.plus(ASK_AGAIN_MS)))
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> ReceiverCounts {
        self.counts
    }

    fn drop_old(&mut self, cause: OldCause) -> Verdict {
        self.counts.old[cause as usize] += 1;
        Verdict::Old(cause)
    }
}
