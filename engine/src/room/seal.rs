//! Sealing: encodes the messages, state and tallies of a tick as one batch, the same bytes for every viewer.
//!
//! Why a struct: its buffers are reused, so a batch costs two allocations, its bytes and its record.
//! A batch that does not show everything is encoded twice: as it is shown, and its chat in full, for the log.
//! Invariant: a batch is within `batch_bytes_max` of chat, or is a single message. This holds for its full
//! form too.
//! Not here: when a room seals and who is told (`shard`), which messages are shown (`pacing`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::frame::Encoder;

use crate::config::ITEM_OVERHEAD_BYTES;
use crate::link::{Alias, Batch, Compressed, Publication, StateImage};
use crate::log::StateEntry;
use crate::room::Live;
use crate::room::pacing::Fate;
use crate::room::removals::Removed;
use crate::room::state::{HIDDEN_PREFIX, Waiter};

/// Seals batches.
#[derive(Debug, Default)]
pub(crate) struct Sealer {
    pub(crate) encoder: Encoder,
    body: Vec<u8>,
}

/// The chat of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) messages: &'a [Box<Publication>],
    /// The outcome for each message; `None`: all are shown unchanged.
    pub(crate) fates: Option<&'a [Fate]>,
    /// The same for the full form, from which only what its author alone is shown is missing.
    pub(crate) in_full: Option<&'a [Fate]>,
}

/// The result of sealing.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) batch: Arc<Batch>,
    /// The chat in full, when the batch does not show all of it.
    pub(crate) full: Option<Bytes>,
    /// The senders of state changes that took effect.
    pub(crate) waiters: Vec<Waiter>,
}

/// An act that has its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedAct {
    /// A word for people.
    pub(crate) note: Box<str>,
    pub(crate) removal: Removed,
}

/// The contents of the batch beside chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// None: a further batch of the same tick follows.
    Chat,
    /// State, and tallies for at most `tally_top` keys.
    All { tally_top: usize },
}

/// How many of the first messages fit into one batch: at least one, if there is any.
pub(crate) fn fitting(messages: &[Box<Publication>], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let mut fits = |p: &Publication| {
        bytes += p.author.len() + p.text.len() + p.attachment.len() + ITEM_OVERHEAD_BYTES;
        bytes <= bytes_max
    };
    messages.iter().take_while(|p| fits(p)).count().max(1).min(messages.len())
}

impl Sealer {
    /// Seal messages and the other lanes of the room, and advance the room's offsets.
    pub(crate) fn seal(
        &mut self,
        (alias, epoch): (Alias, u64),
        live: &mut Live,
        said: Said<'_>,
        unix_ms: u64,
        lanes: Lanes,
    ) -> Sealed {
        let (base_time_ms, first_offset) = (live.time_ms, live.next_offset);
        if !said.messages.is_empty() {
            live.time_ms = live.time_ms.max(unix_ms);
        }
        let delta_ms = live.time_ms - base_time_ms;
        let full = said.leaves_out().then(|| {
            let all = Said { fates: said.in_full, ..said };
            self.write_body(alias, live, all, delta_ms, Lanes::Chat);
            Encoder::batch_framed(&self.body)
        });
        self.write_body(alias, live, said, delta_ms, lanes);
        let wire = Encoder::batch_framed(&self.body);
        let (snapshot, waiters) = match lanes {
            Lanes::Chat => (None, Vec::new()),
            Lanes::All { .. } => self.seal_state(alias, epoch, live),
        };
        live.next_offset += said.messages.len() as u64;
        live.nonces.sealed(first_offset, live.next_offset, live.time_ms);
        let batch = Batch {
            seq: live.next_seq,
            first_offset,
            next_offset: live.next_offset,
            messages: said.shown() as u32,
            base_time_ms,
            time_ms: live.time_ms,
            wire,
            has_acts: false,
            compressed: Compressed::default(),
            snapshot,
        };
        live.next_seq += 1;
        Sealed { batch: Arc::new(batch), full, waiters }
    }

    /// Seal acts and the other lanes of the room, and advance its offsets.
    pub(crate) fn seal_acts(
        &mut self,
        (alias, epoch): (Alias, u64),
        live: &mut Live,
        acts: &[SealedAct],
        unix_ms: u64,
        lanes: Lanes,
    ) -> Sealed {
        let (base_time_ms, first_offset) = (live.time_ms, live.next_offset);
        if !acts.is_empty() {
            live.time_ms = live.time_ms.max(unix_ms);
        }
        self.write(alias, live, Chat::Acts(acts), live.time_ms - base_time_ms, lanes);
        let wire = Encoder::batch_framed(&self.body);
        let (snapshot, waiters) = self.seal_state(alias, epoch, live);
        live.next_offset += acts.len() as u64;
        live.nonces.sealed(first_offset, live.next_offset, live.time_ms);
        let batch = Batch {
            seq: live.next_seq,
            first_offset,
            next_offset: live.next_offset,
            messages: acts.len() as u32,
            base_time_ms,
            time_ms: live.time_ms,
            has_acts: !acts.is_empty(),
            wire,
            compressed: Compressed::default(),
            snapshot,
        };
        live.next_seq += 1;
        Sealed { batch: Arc::new(batch), full: None, waiters }
    }

    /// The changes of state of a batch, without its chat, for the log of a room whose chat is not kept.
    pub(crate) fn state_alone(&mut self, alias: Alias, of: &Batch, state: &StateEntry) -> Arc<Batch> {
        let shown = || state.changes.iter().filter(|(key, _)| !key.starts_with(HIDDEN_PREFIX));
        self.body.clear();
        let mut writer = BatchWriter::begin(&mut self.body, alias.0, 0, false, true, 0);
        writer.state(shown().count(), state.version);
        shown().for_each(|(key, value)| writer.change(key, value.as_deref()));
        writer.finish();
        Arc::new(Batch {
            first_offset: of.next_offset,
            messages: 0,
            has_acts: false,
            base_time_ms: of.time_ms,
            wire: Encoder::batch_framed(&self.body),
            compressed: Compressed::default(),
            snapshot: None,
            ..*of
        })
    }

    fn write_body(&mut self, alias: Alias, live: &mut Live, said: Said<'_>, delta_ms: u64, lanes: Lanes) {
        self.write(alias, live, Chat::Said(said), delta_ms, lanes);
    }

    fn write(&mut self, alias: Alias, live: &mut Live, chat: Chat<'_>, delta_ms: u64, lanes: Lanes) {
        let (tallies, changes) = match lanes {
            Lanes::Chat => (Vec::new(), None),
            Lanes::All { tally_top } => {
                let changes = live.state.is_changed().then(|| live.state.changes());
                (live.tallies.take(tally_top), changes)
            }
        };
        self.body.clear();
        let has = (!tallies.is_empty(), changes.is_some());
        let (entries, shown, omitted) = match chat {
            Chat::Said(said) => (said.messages.len(), said.shown(), said.omitted_after()),
            Chat::Acts(acts) => (acts.len(), acts.len(), 0),
        };
        let mut writer = BatchWriter::begin(&mut self.body, alias.0, shown, has.0, has.1, omitted);
        if entries > 0 {
            writer.chat(live.next_offset, delta_ms, omitted);
        }
        match chat {
            Chat::Said(said) => said.write(live.next_offset, &mut writer),
            Chat::Acts(acts) => {
                for (at, act) in (live.next_offset..).zip(acts) {
                    act.removal.with_parts(|removal| writer.act(0, &act.note, at, removal));
                }
            }
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

    /// The image is made here only if a worker follows the room; otherwise when a worker attaches.
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

/// What the chat section of a batch holds.
#[derive(Clone, Copy)]
enum Chat<'a> {
    Said(Said<'a>),
    Acts(&'a [SealedAct]),
}

impl Said<'_> {
    fn write(&self, first_offset: u64, writer: &mut BatchWriter<'_>) {
        let mut skip = 0;
        for (at, (offset, publication)) in (first_offset..).zip(self.messages).enumerate() {
            match self.fate(at) {
                Fate::Shown { folded } => {
                    writer.message(&MessageParts {
                        skip,
                        folded: folded.into(),
                        ..parts(publication, offset)
                    });
                    skip = 0;
                }
                Fate::Folded | Fate::Omitted => skip += 1,
            }
        }
    }

    fn fate(&self, at: usize) -> Fate {
        self.fates.map_or(Fate::Shown { folded: 0 }, |fates| fates[at])
    }

    /// The number of messages that the batch shows.
    pub(crate) fn shown(&self) -> usize {
        let shown = |fates: &[Fate]| fates.iter().filter(|f| matches!(f, Fate::Shown { .. })).count();
        self.fates.map_or(self.messages.len(), shown)
    }

    /// The number of messages after the last one that is shown.
    fn omitted_after(&self) -> u64 {
        let after = |fates: &[Fate]| {
            fates.iter().rev().take_while(|f| !matches!(f, Fate::Shown { .. })).count() as u64
        };
        self.fates.map_or(0, after)
    }

    /// Is any message omitted or folded?
    fn leaves_out(&self) -> bool {
        self.fates.is_some_and(|fates| fates.iter().any(|f| *f != Fate::Shown { folded: 0 }))
    }
}

/// The encoded fields of a publication at its offset. A `reply_to` that is not below the offset is dropped.
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
    use crate::link::{ConnectionToken, Now, PersonId, ReplyTo, UserId, WorkerId};
    use crate::room::{Keeping, Origin, Room};
    use grandstand_protocol::batch::{BatchReader, Item};
    use grandstand_protocol::frame::{Phase, Role, ServerFrame};

    fn said(text: &str, reply_to: Option<u64>, nonce: u64) -> Box<Publication> {
        Box::new(Publication {
            from: ReplyTo { worker: WorkerId(0), connection: ConnectionToken(1) },
            alias: Alias(9),
            user: UserId(1),
            person: PersonId::of_user(UserId(1)),
            nonce,
            age_ms: 0,
            author: "ann".into(),
            role: Role::Host,
            text: text.into(),
            attachment: "".into(),
            reply_to,
            exempt: false,
            is_bridged: false,
        })
    }

    fn room() -> Room {
        Room {
            name: "r".into(),
            epoch: 5,
            live: None,
            dormant: None,
            keeping: Keeping::Memory,
            phase: Phase::Open,
            origin: Origin::Operator,
            settings: None,
            opener: crate::room::Account::NODE,
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
        let live = room.wake(Now::default(), &ShardConfig::for_tests(), 0);
        let messages =
            [said("a", Some(0), 1), said("b", Some(0), 2), said("c", Some(7), 3), said("d", Some(1), 4)];
        for (offset, p) in (0..).zip(&messages) {
            live.nonces.take((p.user, p.nonce), live.nonces.content_of(p), offset, 0);
        }
        let said = Said { messages: &messages, fates: None, in_full: None };
        let Sealed { batch, full, .. } =
            Sealer::default().seal((Alias(9), 5), live, said, 10, Lanes::All { tally_top: 1 });
        assert_eq!(full, None);
        assert_eq!(replies(&batch), [0, 1, 0, 2]);
        assert_eq!((batch.first_offset, batch.next_offset, live.next_offset, live.next_seq), (0, 4, 4, 1));
    }

    #[test]
    fn times_never_go_back() {
        let mut room = room();
        let live = room.wake(Now { us: 0, unix_ms: 100 }, &ShardConfig::for_tests(), 0);
        let mut times = Vec::new();
        for (nonce, unix_ms) in [(0, 150), (1, 120), (2, 160)] {
            let message = said("a", None, nonce);
            live.nonces.take((message.user, nonce), live.nonces.content_of(&message), nonce, 0);
            let said = Said { messages: &[message], fates: None, in_full: None };
            let Sealed { batch, .. } =
                Sealer::default().seal((Alias(9), 5), live, said, unix_ms, Lanes::Chat);
            times.push((batch.base_time_ms, batch.time_ms));
        }
        assert_eq!(times, [(100, 150), (150, 150), (150, 160)]);
    }

    #[test]
    fn what_is_left_out_is_counted_in_its_place_and_stands_in_the_full_form() {
        let mut room = room();
        let live = room.wake(Now::default(), &ShardConfig::for_tests(), 0);
        let messages = ["a", "b", "c", "b", "e"].map(|text| said(text, Some(0), 1));
        let fates = [
            Fate::Omitted,
            Fate::Shown { folded: 1 },
            Fate::Shown { folded: 0 },
            Fate::Folded,
            Fate::Omitted,
        ];
        for (offset, p) in (0..).zip(&messages) {
            live.nonces.take((p.user, offset), live.nonces.content_of(p), offset, 0);
        }
        let said = Said { messages: &messages, fates: Some(&fates), in_full: None };
        let sealed = Sealer::default().seal((Alias(9), 5), live, said, 10, Lanes::Chat);
        assert_eq!((sealed.batch.messages, sealed.batch.next_offset), (2, 5));
        let read = |wire: &Bytes| {
            let (header, _) = grandstand_protocol::stream::read_header(wire, 1 << 20).unwrap().unwrap();
            let mut reader = BatchReader::new(&wire[header + 1..]).unwrap();
            let mut items = Vec::new();
            while let Some(item) = reader.next_item().unwrap() {
                items.push(match item {
                    Item::Message(m) => (m.skip, m.text.to_owned(), m.folded, m.reply_back),
                    Item::Omitted(n) => (n, String::new(), 0, 0),
                    other => panic!("{other:?}"),
                });
            }
            items
        };
        let at = |skip, text: &str, folded, back| (skip, text.to_owned(), folded, back);
        assert_eq!(read(&sealed.batch.wire), [at(1, "b", 1, 1), at(0, "c", 0, 2), at(2, "", 0, 0)]);
        let all = [("a", 0), ("b", 1), ("c", 2), ("b", 3), ("e", 4)].map(|(text, back)| at(0, text, 0, back));
        assert_eq!(read(&sealed.full.expect("something is left out")), all);
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
