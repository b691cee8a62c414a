//! The chat lane: publications that wait for the tick.
//!
//! Invariant: the first that waits stands at the room's next offset, and so on without holes; nothing leaves
//! but by being sealed, so an offset that was promised is kept.
//! Boxes stay boxes: a publication is moved from queue to queue, and only its bytes are wanted in the end.
//! Not here: who may speak (`judge`), the encoding (`seal`).

#![expect(clippy::vec_box, reason = "see above")]

use crate::link::{Publication, ReplyTo};

/// What waits in one room.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    pending: Vec<Box<Publication>>,
    repeats: Vec<Repeat>,
}

/// A repetition of a publication that waits: answered when that one is, where that is not at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    pub(crate) offset: u64,
    pub(crate) nonce: u64,
    pub(crate) from: ReplyTo,
}

impl Chat {
    /// Take a publication.
    pub(crate) fn push(&mut self, publication: Box<Publication>) {
        self.pending.push(publication);
    }

    /// Take a repetition of the one that waits for `offset`.
    pub(crate) fn repeat(&mut self, offset: u64, p: &Publication) {
        self.repeats.push(Repeat { offset, nonce: p.nonce, from: p.from });
    }

    /// Publications that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Everything that waits for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.repeats.len()
    }

    /// Take all of it out, to be sealed.
    pub(crate) fn take(&mut self) -> (Vec<Box<Publication>>, Vec<Repeat>) {
        (std::mem::take(&mut self.pending), std::mem::take(&mut self.repeats))
    }
}
