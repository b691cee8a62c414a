//! Down: frames from the owner of a shard to a node that follows it.
//!
//! Why an output that is too long is made shorter: a ring of batches and the answers of a turn have no bound
//! of bytes, and a message has one. Answers are split, and a ring loses its oldest batches, which a viewer
//! that needs them then reads as history.
//! Not here: the numbering of frames (`sender`, `receiver`), so that both directions have the same.

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Output, WorkerId};

use super::fault::{Malformed, TooLong};
use super::frame::{DownFrame, DownItem};
use super::message::Message;
use super::pack::{Packer, kind};
use super::receiver::Head;
use super::sender::{Gather, encode_frame, open_frame};
use super::table::Kind;
use super::unpack::{self, Fields, Stop, Taken};
use super::{SenderCounts, handed, input, output};
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::seat::ShownEntry;
use crate::time::OwnTime;

impl DownFrame {
    /// Where it belongs in its direction.
    #[must_use]
    pub fn head(&self) -> Head {
        let DownFrame { node, incarnation, term, seq, begins, items: _, passed_over: _ } = *self;
        Head { node, incarnation, term, seq, begins }
    }
}

impl Message for DownFrame {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let mut packer = Packer::default();
        self.items.iter().for_each(|item| pack_item(item, &mut packer));
        encode_frame(Kind::Down, version, self.head(), packer.bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (Head { node, incarnation, term, seq, begins }, packed) = open_frame(Kind::Down, bytes)?;
        let (items, passed_over) = unpack::items(packed, take_item)?;
        Ok(DownFrame { node, incarnation, term, seq, begins, items, passed_over })
    }
}

fn pack_item(item: &DownItem, p: &mut Packer) {
    let kind = match item {
        DownItem::Entry(entry) => {
            pack_entry(entry, p);
            p.note_entry(None, &entry.bytes);
            kind::down::ENTRY
        }
        DownItem::Restated { term, first } => {
            p.number(term.0);
            p.number(*first);
            kind::down::RESTATED
        }
        DownItem::Kept { term, through, position } => {
            p.number(term.0);
            p.number(*through);
            p.number(position.0);
            kind::down::KEPT
        }
        DownItem::Output { workers, output } => pack_output(workers, output, p),
        DownItem::Restate => kind::down::RESTATE,
        DownItem::Handed(room) => {
            handed::pack(room, p);
            kind::down::HANDED
        }
    };
    p.finish(kind);
}

fn pack_output(workers: &[WorkerId], output: &Output, p: &mut Packer) -> u8 {
    p.list(workers, |p, worker| p.number(worker.0));
    output::pack(output, p)
}

pub(super) fn pack_entry(ShownEntry { term, index, bytes }: &ShownEntry, p: &mut Packer) {
    p.number(term.0);
    p.number(*index);
    p.run(bytes);
}

/// Take an entry, and no other kind.
pub(super) fn take_entry(kind: u8, f: &mut Fields<'_>) -> Taken<ShownEntry> {
    match kind {
        kind::down::ENTRY => {
            Ok(ShownEntry { term: Term(f.number()?), index: f.number()?, bytes: f.entry()? })
        }
        _ => Err(Stop::Unknown),
    }
}

fn take_item(kind: u8, f: &mut Fields<'_>) -> Taken<DownItem> {
    Ok(match kind {
        kind::down::ENTRY => DownItem::Entry(take_entry(kind, f)?),
        kind::down::RESTATED => DownItem::Restated { term: Term(f.number()?), first: f.number()? },
        kind::down::KEPT => {
            DownItem::Kept { term: Term(f.number()?), through: f.number()?, position: Position(f.number()?) }
        }
        kind::down::RESTATE => DownItem::Restate,
        kind::down::HANDED => DownItem::Handed(Box::new(handed::take(f)?)),
        kind::down::ATTACHED..=kind::down::ADMIN | kind::down::NOTICES => {
            let workers: Box<[WorkerId]> = f.list(input::take_worker)?.into();
            if workers.is_empty() {
                return Err(Stop::Expected("at least one worker"));
            }
            DownItem::Output { workers, output: output::take(kind, f)? }
        }
        _ => return Err(Stop::Unknown),
    })
}

/// Sends the frames of an owner to one node that follows.
#[derive(Debug)]
pub struct DownSender(Gather);

impl DownSender {
    /// From this node, in its present life. It sends nothing before [`DownSender::begin`].
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        DownSender(Gather::new(Kind::Down, node, incarnation))
    }

    /// This node owns the shard now: frames begin anew. What was not sent is dropped.
    pub fn begin(&mut self, now: OwnTime, term: Term) {
        self.0.begin(now, term);
    }

    /// This node owns the shard no longer. What was not sent is dropped.
    pub fn end(&mut self) {
        self.0.end();
    }

    /// The next frame begins a run: the node missed some. The caller says everything again after this.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// The receiver reads this version, and maybe no higher one. Frames are written by it from now on.
    pub fn set_version(&mut self, version: u16) {
        self.0.set_version(version);
    }

    /// Add an item to the next frame. An output that is too long for a message is split or made shorter.
    ///
    /// # Errors
    /// If it does not fit into a message of its own all the same. Then it was not added.
    pub fn push(&mut self, item: &DownItem) -> Result<(), TooLong> {
        self.push_alone(item).or_else(|too_long| self.push_shorter(item, too_long))
    }

    /// Add an entry, before the outputs that show its batch: in the same frame those bytes are there once.
    ///
    /// # Errors
    /// As [`DownSender::push`].
    pub fn push_entry(&mut self, entry: &ShownEntry, batch: Option<&Arc<Batch>>) -> Result<(), TooLong> {
        self.0.push(|packer| {
            pack_entry(entry, packer);
            packer.note_entry(batch, &entry.bytes);
            packer.finish(kind::down::ENTRY);
        })
    }

    fn push_alone(&mut self, item: &DownItem) -> Result<(), TooLong> {
        self.0.push(|packer| pack_item(item, packer))
    }

    fn push_shorter(&mut self, item: &DownItem, too_long: TooLong) -> Result<(), TooLong> {
        let DownItem::Output { workers, output } = item else { return Err(too_long) };
        let push =
            |sender: &mut Self, output| sender.push(&DownItem::Output { workers: workers.clone(), output });
        match output {
            Output::Answers(all) if all.len() > 1 => {
                let (first, second) = all.split_at(all.len() / 2);
                push(self, Output::Answers(first.to_vec()))?;
                push(self, Output::Answers(second.to_vec()))
            }
            Output::Personals(all) if all.len() > 1 => {
                let (first, second) = all.split_at(all.len() / 2);
                push(self, Output::Personals(first.to_vec()))?;
                push(self, Output::Personals(second.to_vec()))
            }
            Output::Notices(all) if all.len() > 1 => {
                let (first, second) = all.split_at(all.len() / 2);
                push(self, Output::Notices(first.to_vec()))?;
                push(self, Output::Notices(second.to_vec()))
            }
            Output::Attached { room, result: Ok(attachment) } if !attachment.batches.is_empty() => {
                let mut shorter = attachment.clone();
                shorter.batches.drain(..attachment.batches.len().div_ceil(2));
                self.0.count_shortened();
                push(self, Output::Attached { room: room.clone(), result: Ok(shorter) })
            }
            _ => Err(too_long),
        }
    }

    /// The next frame, until there is none. Without items a frame is due after
    /// [`KEEPALIVE_MS`](super::KEEPALIVE_MS) of silence.
    pub fn poll(&mut self, now: OwnTime) -> Option<Bytes> {
        self.0.poll(now)
    }

    /// When [`DownSender::poll`] has something next.
    #[must_use]
    pub fn due(&self) -> Option<OwnTime> {
        self.0.due()
    }

    /// What was sent so far.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.0.counts()
    }
}
