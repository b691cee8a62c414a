//! The chat lane: publications that wait for the tick.
//!
//! Invariant: the first waiting publication has the room's next offset, and the others follow without gaps. A
//! publication leaves only by being sealed, so every promised offset is kept.
//! Publications stay boxed: they are moved from queue to queue, and only their bytes are needed in the end.
//! Not here: who may speak (`judge`), the encoding (`seal`).

#![expect(clippy::vec_box, reason = "see above")]

use crate::link::{Publication, ReplyTo};

/// The waiting publications of one room.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    pending: Vec<Box<Publication>>,
    repeats: Vec<Repeat>,
}

/// A retry of a waiting publication. It is answered together with that publication, unless publications are
/// answered at once.
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

    /// Take a retry of the publication that waits for `offset`.
    pub(crate) fn repeat(&mut self, offset: u64, p: &Publication) {
        self.repeats.push(Repeat { offset, nonce: p.nonce, from: p.from });
    }

    /// Number of waiting publications.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Number of waiting publications and retries.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.repeats.len()
    }

    /// Take all of them out, to be sealed.
    pub(crate) fn take(&mut self) -> (Vec<Box<Publication>>, Vec<Repeat>) {
        (std::mem::take(&mut self.pending), std::mem::take(&mut self.repeats))
    }
}
