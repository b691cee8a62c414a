//! Up: frames from a node that follows a shard to the owner.
//!
//! Not here: the numbering of frames (`sender`, `receiver`), so that both directions have the same.

use bytes::Bytes;

use super::fault::{Malformed, TooLong};
use super::frame::{UpFrame, UpItem};
use super::message::Message;
use super::pack::{Packer, kind};
use super::receiver::Head;
use super::sender::{Gather, encode_frame, open_frame};
use super::table::Kind;
use super::unpack::{self, Fields, Taken};
use super::{SenderCounts, input};
use crate::id::{Incarnation, NodeId, Term};
use crate::time::OwnTime;

impl UpFrame {
    /// Where it belongs in its direction.
    #[must_use]
    pub fn head(&self) -> Head {
        let UpFrame { node, incarnation, term, seq, begins, items: _, passed_over: _ } = *self;
        Head { node, incarnation, term, seq, begins }
    }
}

impl Message for UpFrame {
    fn encode_as(&self, version: u16) -> Result<Bytes, TooLong> {
        let mut packer = Packer::default();
        self.items.iter().for_each(|item| pack_item(item, &mut packer));
        encode_frame(Kind::Up, version, self.head(), packer.bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (Head { node, incarnation, term, seq, begins }, packed) = open_frame(Kind::Up, bytes)?;
        let (items, passed_over) = unpack::items(packed, take_item)?;
        Ok(UpFrame { node, incarnation, term, seq, begins, items, passed_over })
    }
}

fn pack_item(item: &UpItem, p: &mut Packer) {
    let kind = match item {
        UpItem::Input(input) => input::pack(input, p),
        UpItem::Restate { have_term, have_index } => {
            p.number(have_term.0);
            p.number(*have_index);
            kind::up::RESTATE
        }
    };
    p.finish(kind);
}

fn take_item(kind: u8, f: &mut Fields<'_>) -> Taken<UpItem> {
    match kind {
        kind::up::RESTATE => Ok(UpItem::Restate { have_term: Term(f.number()?), have_index: f.number()? }),
        kind => input::take(kind, f).map(UpItem::Input),
    }
}

/// Sends the frames of a node that follows a shard.
#[derive(Debug)]
pub struct UpSender(Gather);

impl UpSender {
    /// For this node, in its present life. It sends nothing before [`UpSender::begin`].
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        UpSender(Gather::new(Kind::Up, node, incarnation))
    }

    /// The shard has another owner: frames begin anew. What was not sent is dropped.
    pub fn begin(&mut self, now: OwnTime, term: Term) {
        self.0.begin(now, term);
    }

    /// Nobody owns the shard that this node could send to. What was not sent is dropped.
    pub fn end(&mut self) {
        self.0.end();
    }

    /// The next frame begins a run: the owner missed some. The caller says everything again after this.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// The receiver reads this version, and maybe no higher one. Frames are written by it from now on.
    pub fn set_version(&mut self, version: u16) {
        self.0.set_version(version);
    }

    /// Add an item to the next frame.
    ///
    /// # Errors
    /// If it does not fit into a message of its own. Then it was not added.
    pub fn push(&mut self, item: &UpItem) -> Result<(), TooLong> {
        self.0.push(|packer| pack_item(item, packer))
    }

    /// The next frame, until there is none. Without items a frame is due after
    /// [`KEEPALIVE_MS`](super::KEEPALIVE_MS) of silence.
    pub fn poll(&mut self, now: OwnTime) -> Option<Bytes> {
        self.0.poll(now)
    }

    /// When [`UpSender::poll`] has something next.
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
