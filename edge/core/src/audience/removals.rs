//! Removals at one worker: what moderators removed leaves its rings, its members' pages and what waits for
//! its connections, before any viewer is offered the act.
//!
//! Why here too: the shard redacts what it gives, but a worker holds what it was given before the act.
//! Invariant: once the batch with an act is in the ring, no frame that this worker begins holds a message
//! that the act removed.
//! Why bounded: only batches in an act's range are read. The ring has its bounds, pages share one budget, and
//! what a connection has not taken is walked by its headers. Redacted batches stay plain: only those who lag
//! read them.
//! Not here: which messages are removed (`grandstand_protocol::batch::Removal`), what the shard gives later.

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Compressed};
use grandstand_protocol::batch::{BatchReader, Item, Position, Removal, redact};
use grandstand_protocol::frame::{Kind, ServerFrame};
use grandstand_protocol::stream;
use smallvec::SmallVec;

use super::history::body;
use super::room::{Cursor, RoomKey};
use super::scrub::scrub;
use super::subscriptions::Subscriptions;

/// Bytes of members' pages that one act redacts in place: some milliseconds. The pages of further members are
/// asked for again.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The acts of one batch: what may no longer be shown.
struct Acts<'a> {
    /// Each with its offset.
    acts: SmallVec<[(u64, Removal<'a>); 4]>,
    /// The first offset that one of them may cover.
    from: u64,
}

impl<'a> Acts<'a> {
    /// The acts that a batch holds; `None`: it holds none that removes anything.
    fn of(batch: &'a Batch) -> Option<Acts<'a>> {
        let mut reader = BatchReader::new(body(batch)?).ok()?;
        let mut at = Position { offset: batch.first_offset, ..Position::default() };
        let mut acts = Acts { acts: SmallVec::new(), from: u64::MAX };
        while let Ok(Some(item)) = reader.next_item() {
            match item {
                Item::Message(m) => drop(at.message(&m)),
                Item::Removed(skip) => drop(at.entry(skip)),
                Item::Omitted(count) => at.omitted(count),
                Item::Act(act) => {
                    let offset = at.entry(act.skip);
                    let removal = act.removal(offset);
                    if let Some(from) = removal.from() {
                        acts.from = acts.from.min(from);
                        acts.acts.push((offset, removal));
                    }
                }
                Item::Tally { .. } | Item::StateVersion(_) | Item::State(_) => break,
            }
        }
        (!acts.acts.is_empty()).then_some(acts)
    }

    fn cover(&self, offset: u64, author: &str) -> bool {
        self.acts.iter().any(|(at, removal)| removal.covers(*at, offset, author))
    }

    /// The batch without what they removed; `None`: they removed nothing of it.
    fn redacted(&self, batch: &Batch) -> Option<Arc<Batch>> {
        if batch.next_offset <= self.from || !batch.has_chat() {
            return None;
        }
        let body = body(batch)?;
        let mut frame = vec![Kind::Batch as u8];
        let first = batch.first_offset;
        let removed = redact(body, first, &mut frame, |offset, m| self.cover(offset, m.author));
        let removed = removed.ok().filter(|removed| *removed > 0)?;
        let mut wire = Vec::with_capacity(stream::HEADER_BYTES_MAX + frame.len());
        stream::write_header(frame.len(), &mut wire);
        wire.extend_from_slice(&frame);
        Some(Arc::new(Batch {
            messages: batch.messages.saturating_sub(removed as u32),
            wire: Bytes::from(wire),
            compressed: Compressed::default(),
            snapshot: batch.snapshot.clone(),
            ..*batch
        }))
    }
}

/// A batch with acts came, and is not in the ring yet: take out of this worker what they removed. Returns
/// another batch for the ring if they removed something of this one.
#[cold]
pub(super) fn apply_acts(
    subscriptions: &mut Subscriptions,
    key: RoomKey,
    batch: &Batch,
) -> Option<Arc<Batch>> {
    let acts = Acts::of(batch)?;
    let Subscriptions { connections, rooms, .. } = subscriptions;
    let room = &mut rooms[key];
    let attached = room.attached.as_mut()?;
    connections.counters.batches_redacted += attached.ring.redact(acts.from, |batch| acts.redacted(batch));
    let mut bytes_left = PAGE_BYTES_MAX;
    for member in &mut room.members {
        let Cursor::CatchUp(catching) = &mut member.cursor else { continue };
        let at = catching.page.partition_point(|batch| batch.next_offset <= acts.from);
        for held in at..catching.page.len() {
            let bytes = catching.page[held].wire.len();
            if bytes > bytes_left {
                // What it has not read of the page is asked for again.
                catching.page.truncate(held);
                break;
            }
            bytes_left -= bytes;
            if let Some(redacted) = acts.redacted(&catching.page[held]) {
                catching.page[held] = redacted;
            }
        }
    }
    let alias = attached.alias.0;
    for member in &room.members {
        scrub(connections, member.connection, |frame| match *frame {
            ServerFrame::HistoryPage(ref page) => page.alias == alias && page.next > acts.from,
            ServerFrame::Personal(ref p) => p.alias == alias && acts.cover(p.offset, p.author),
            _ => false,
        });
    }
    acts.redacted(batch)
}
