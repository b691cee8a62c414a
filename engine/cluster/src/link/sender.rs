//! Sender: one direction of a link, from its items to the bytes of its numbered frames.
//!
//! Why frames are numbered as they leave: what is dropped before that leaves no hole.
//! Invariants: numbers rise by one within a term, from 1. The first frame of a term begins a run. A frame has
//! at most [`FRAME_BYTES`] of items, or one item that alone has more. Something is sent at least every
//! [`KEEPALIVE_MS`], so a hole is seen that late at the most.
//! Not here: which items (`up`, `down`), when a run has to begin (`receiver` sees the hole).

use std::collections::VecDeque;

use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;

use super::fault::{Malformed, TooLong};
use super::pack::Packer;
use super::receiver::Head;
use super::table::{self, Kind, NEEDS};
use super::{FRAME_BYTES, KEEPALIVE_MS, MESSAGE_BYTES_MAX, VERSION};
use crate::generated as fb;
use crate::id::{Incarnation, NodeId, Term};
use crate::time::OwnTime;

/// The most bytes of a frame beside its items: the table, its fields and their padding.
pub(super) const TABLE_BYTES_MAX: usize = 128;

/// What a sender did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Frames that were given out.
    pub frames: u64,
    /// Those of them without an item.
    pub keepalives: u64,
    /// Bytes of all frames.
    pub bytes: u64,
    /// Items that were added.
    pub items: u64,
    /// Items that did not fit into a message.
    pub too_long: u64,
    /// Outputs that were added with less than they had: rings without their oldest batches.
    pub shortened: u64,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Gather {
    kind: Kind,
    node: NodeId,
    incarnation: Incarnation,
    /// The version that frames are written by.
    version: u16,
    /// The term that frames are sent in; `None`: none are sent.
    term: Option<Term>,
    /// The number of the last frame.
    seq: u64,
    /// Does the next frame begin a run?
    begins: bool,
    /// The items of the frame that is being gathered.
    packer: Packer,
    /// Items of whole frames before it.
    full: VecDeque<Vec<u8>>,
    sent: OwnTime,
    fbb: Builder,
    counts: SenderCounts,
}

/// A builder that is used again and again.
struct Builder(FlatBufferBuilder<'static>);

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Gather {
    pub(super) fn new(kind: Kind, node: NodeId, incarnation: Incarnation) -> Self {
        Gather {
            kind,
            node,
            incarnation,
            version: VERSION,
            term: None,
            seq: 0,
            begins: true,
            packer: Packer::default(),
            full: VecDeque::new(),
            sent: OwnTime(0),
            fbb: Builder(FlatBufferBuilder::with_capacity(256)),
            counts: SenderCounts::default(),
        }
    }

    /// Begin a term. The first frame of it is due at once, so that its receiver hears of it.
    pub(super) fn begin(&mut self, now: OwnTime, term: Term) {
        self.end();
        self.term = Some(term);
        (self.seq, self.begins) = (0, true);
        self.sent = OwnTime(now.0.saturating_sub(KEEPALIVE_MS));
    }

    /// The receiver reads this version, and maybe no higher one.
    pub(super) fn set_version(&mut self, version: u16) {
        self.version = version;
    }

    pub(super) fn end(&mut self) {
        self.term = None;
        self.packer.clear();
        self.full.clear();
    }

    pub(super) fn restart(&mut self) {
        self.begins = true;
    }

    /// Add an item. Outside of a term there is nobody to tell it to.
    pub(super) fn push(&mut self, pack: impl Fn(&mut Packer)) -> Result<(), TooLong> {
        if self.term.is_none() {
            return Ok(());
        }
        let before = self.packer.mark();
        pack(&mut self.packer);
        if self.packer.bytes().len() > FRAME_BYTES && !before.is_empty() {
            self.packer.undo(before);
            self.full.push_back(self.packer.take());
            pack(&mut self.packer);
        }
        let bytes = self.packer.bytes().len() + TABLE_BYTES_MAX;
        if bytes > MESSAGE_BYTES_MAX {
            self.packer.clear();
            self.counts.too_long += 1;
            return Err(TooLong { what: "an item of a frame", bytes });
        }
        self.counts.items += 1;
        if self.packer.bytes().len() >= FRAME_BYTES {
            self.full.push_back(self.packer.take());
        }
        Ok(())
    }

    pub(super) fn poll(&mut self, now: OwnTime) -> Option<Bytes> {
        let term = self.term?;
        let full = self.full.pop_front();
        let items = full.as_deref().unwrap_or(self.packer.bytes());
        let is_empty = items.is_empty();
        if is_empty && now < self.sent.plus(KEEPALIVE_MS) {
            return None;
        }
        self.seq += 1;
        let begins = std::mem::take(&mut self.begins);
        let Gather { node, incarnation, seq, .. } = *self;
        let head = Head { node, incarnation, term, seq, begins };
        let frame = encode_frame_with(&mut self.fbb.0, self.kind, self.version, head, items);
        let frame = frame.expect("items that fit were pushed");
        if full.is_none() {
            self.packer.clear();
        }
        self.sent = now;
        self.counts.frames += 1;
        self.counts.keepalives += u64::from(is_empty);
        self.counts.bytes += frame.len() as u64;
        Some(frame)
    }

    pub(super) fn due(&self) -> Option<OwnTime> {
        self.term?;
        let has_items = !self.full.is_empty() || !self.packer.bytes().is_empty();
        Some(if has_items { self.sent } else { self.sent.plus(KEEPALIVE_MS) })
    }

    pub(super) fn counts(&self) -> SenderCounts {
        self.counts
    }

    pub(super) fn count_shortened(&mut self) {
        self.counts.shortened += 1;
    }
}

pub(super) fn encode_frame(kind: Kind, version: u16, head: Head, items: &[u8]) -> Result<Bytes, TooLong> {
    encode_frame_with(&mut FlatBufferBuilder::with_capacity(items.len() + 256), kind, version, head, items)
}

fn encode_frame_with<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    kind: Kind,
    version: u16,
    head: Head,
    items: &[u8],
) -> Result<Bytes, TooLong> {
    let Head { node, incarnation, term, seq, begins } = head;
    table::encode_with(fbb, kind, |fbb| {
        let items = (!items.is_empty()).then(|| fbb.create_vector(items));
        let args = fb::FrameArgs {
            version,
            needs: NEEDS,
            node: node.0,
            incarnation: incarnation.0,
            term: term.0,
            seq,
            begins,
            items,
        };
        fb::Frame::create(fbb, &args)
    })
}

/// The head and the packed items of a frame.
pub(super) fn open_frame(kind: Kind, bytes: &[u8]) -> Result<(Head, &[u8]), Malformed> {
    let t = table::open::<fb::Frame<'_>>(kind, bytes)?;
    table::check_version(t.version(), t.needs())?;
    let head = Head {
        node: NodeId(t.node()),
        incarnation: Incarnation(t.incarnation()),
        term: Term(t.term()),
        seq: t.seq(),
        begins: t.begins(),
    };
    if head.seq == 0 {
        return Err(Malformed::Field("the number of a frame, from 1"));
    }
    Ok((head, t.items().map(|items| items.bytes()).unwrap_or_default()))
}
