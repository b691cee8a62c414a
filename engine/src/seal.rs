//! Sealing: what a room gathered in a tick becomes one encoded batch, the same bytes for everyone.
//!
//! Why a struct: its buffers are used again, so a batch costs two allocations, its bytes and its record.
//! Invariant: a batch is within `batch_bytes_max` of chat, or is a single message.
//! Not here: when a room seals, who is told (`shard`).

use std::sync::Arc;

use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::frame::Encoder;

use crate::config::ITEM_OVERHEAD_BYTES;
use crate::message::{Alias, Batch, Compressed, Publication, StateImage};
use crate::room::Live;
use crate::state::Waiter;

/// Seals batches.
#[derive(Debug, Default)]
pub(crate) struct Sealer {
    pub(crate) encoder: Encoder,
    body: Vec<u8>,
}

/// What the batch holds beside chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// Nothing: a further batch of the same tick follows.
    Chat,
    /// Tallies, so many keys at most, and state.
    All { tally_top: usize },
}

/// How many of the first messages fit into one batch: one at least, if there is any.
pub(crate) fn fitting(messages: &[Box<Publication>], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let mut fits = |p: &Publication| {
        bytes += p.author.len() + p.text.len() + p.attachment.len() + ITEM_OVERHEAD_BYTES;
        bytes <= bytes_max
    };
    messages.iter().take_while(|p| fits(p)).count().max(1).min(messages.len())
}

impl Sealer {
    /// Seal messages, and the other lanes of the room. Moves the room on; also says whose state changes stand now.
    pub(crate) fn seal(
        &mut self,
        (alias, epoch): (Alias, u64),
        live: &mut Live,
        messages: &[Box<Publication>],
        unix_ms: u64,
        lanes: Lanes,
    ) -> (Arc<Batch>, Vec<Waiter>) {
        let (base_time_ms, first_offset) = (live.time_ms, live.next_offset);
        if !messages.is_empty() {
            live.time_ms = live.time_ms.max(unix_ms);
        }
        self.write_body(alias, live, messages, live.time_ms - base_time_ms, lanes);
        let wire = Encoder::batch_framed(&self.body);
        let (snapshot, waiters) = match lanes {
            Lanes::Chat => (None, Vec::new()),
            Lanes::All { .. } => self.seal_state(alias, epoch, live),
        };
        live.next_offset += messages.len() as u64;
        live.nonces.sealed(first_offset, live.next_offset, live.time_ms);
        let batch = Batch {
            seq: live.next_seq,
            first_offset,
            next_offset: live.next_offset,
            messages: messages.len() as u32,
            base_time_ms,
            time_ms: live.time_ms,
            wire,
            compressed: Compressed::default(),
            snapshot,
        };
        live.next_seq += 1;
        (Arc::new(batch), waiters)
    }

    fn write_body(
        &mut self,
        alias: Alias,
        live: &mut Live,
        messages: &[Box<Publication>],
        delta_ms: u64,
        lanes: Lanes,
    ) {
        let (tallies, changes) = match lanes {
            Lanes::Chat => (Vec::new(), None),
            Lanes::All { tally_top } => {
                let changes = live.state.is_changed().then(|| live.state.changes());
                (live.tallies.take(tally_top), changes)
            }
        };
        self.body.clear();
        let has = (!tallies.is_empty(), changes.is_some());
        let mut writer = BatchWriter::begin(&mut self.body, alias.0, messages.len(), has.0, has.1, 0);
        if !messages.is_empty() {
            writer.chat(live.next_offset, delta_ms, 0);
        }
        for (offset, publication) in (live.next_offset..).zip(messages) {
            writer.message(&parts(publication, offset));
        }
        if has.0 {
            writer.tallies(tallies.len());
            tallies.iter().for_each(|(key, count)| writer.tally(key, *count));
        }
        if let Some(changes) = changes {
            writer.state(changes.len(), live.state.version());
            changes.iter().for_each(|(key, value)| writer.change(key, value.as_deref()));
        }
        writer.finish();
    }

    /// The image is made here only if someone follows; otherwise when someone attaches.
    fn seal_state(
        &mut self,
        alias: Alias,
        epoch: u64,
        live: &mut Live,
    ) -> (Option<Arc<StateImage>>, Vec<Waiter>) {
        let is_changed = live.state.is_changed();
        let waiters = live.state.seal();
        let is_wanted = is_changed && !live.viewers.is_unfollowed();
        (is_wanted.then(|| live.state.image(alias, epoch, &mut self.encoder)).flatten(), waiters)
    }
}

/// What is written of a publication at its offset. An answer to what is not there yet is no answer.
fn parts(p: &Publication, offset: u64) -> MessageParts<'_> {
    let reply_back = p.reply_to.and_then(|to| offset.checked_sub(to)).unwrap_or(0);
    MessageParts {
        role: p.role as u8,
        author: &p.author,
        text: &p.text,
        attachment: &p.attachment,
        reply_back,
        ..MessageParts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ShardConfig;
    use crate::message::{ConnectionToken, Now, UserId, WorkerId};
    use crate::room::{Origin, Room};
    use grandstand_protocol::batch::{BatchReader, Item};
    use grandstand_protocol::frame::{Phase, Role, ServerFrame};

    fn said(text: &str, reply_to: Option<u64>, nonce: u64) -> Box<Publication> {
        Box::new(Publication {
            worker: WorkerId(0),
            connection: ConnectionToken(1),
            alias: Alias(9),
            user: UserId(1),
            nonce,
            author: "ann".into(),
            role: Role::Host,
            text: text.into(),
            attachment: "".into(),
            reply_to,
            exempt: false,
        })
    }

    fn room() -> Room {
        Room {
            name: "r".into(),
            epoch: 5,
            live: None,
            phase: Phase::Open,
            origin: Origin::Operator,
            settings: None,
        }
    }

    fn replies(batch: &Batch) -> Vec<u64> {
        let (header, _) = grandstand_protocol::stream::read_header(&batch.wire, 1 << 20).unwrap().unwrap();
        let Ok(ServerFrame::Batch(body)) = ServerFrame::decode(&batch.wire[header..]) else {
            panic!("not a batch")
        };
        let mut reader = BatchReader::new(body).unwrap();
        let mut replies = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Message(m) = item {
                replies.push(m.reply_back);
            }
        }
        replies
    }

    #[test]
    fn replies_point_back_or_nowhere() {
        let mut room = room();
        let live = room.wake(Now::default(), &ShardConfig::default(), 0);
        let messages =
            [said("a", Some(0), 1), said("b", Some(0), 2), said("c", Some(7), 3), said("d", Some(1), 4)];
        for (offset, p) in (0..).zip(&messages) {
            live.nonces.take(p.user, p.nonce, offset, 0);
        }
        let (batch, _) =
            Sealer::default().seal((Alias(9), 5), live, &messages, 10, Lanes::All { tally_top: 1 });
        assert_eq!(replies(&batch), [0, 1, 0, 2]);
        assert_eq!((batch.first_offset, batch.next_offset, live.next_offset, live.next_seq), (0, 4, 4, 1));
    }

    #[test]
    fn times_never_go_back() {
        let mut room = room();
        let live = room.wake(Now { us: 0, unix_ms: 100 }, &ShardConfig::default(), 0);
        let mut times = Vec::new();
        for (nonce, unix_ms) in [(0, 150), (1, 120), (2, 160)] {
            let message = said("a", None, nonce);
            live.nonces.take(message.user, nonce, nonce, 0);
            let (batch, _) = Sealer::default().seal((Alias(9), 5), live, &[message], unix_ms, Lanes::Chat);
            times.push((batch.base_time_ms, batch.time_ms));
        }
        assert_eq!(times, [(100, 150), (150, 150), (150, 160)]);
    }

    #[test]
    fn what_is_over_the_bound_goes_into_the_next_batch() {
        let messages = [said(&"x".repeat(100), None, 1), said("y", None, 2), said("z", None, 3)];
        assert_eq!(fitting(&messages, 10), 1, "one at least");
        assert_eq!(fitting(&messages, 190), 2);
        assert_eq!(fitting(&messages, 1000), 3);
        assert_eq!(fitting(&[], 10), 0);
    }
}
