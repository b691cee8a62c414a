//! Pages of the past that clients ask for: the log in full, with what pacing left out.
//!
//! Why apart from `catch_up`: a page that was asked for moves no cursor, and is answered as a request is, by
//! a control frame.
//! Invariants: each request is answered once. A page costs its person [`PAGE_FRAMES`] frames of the rate;
//! none is asked for or queued for a connection that does not take what it was sent, and few are under way
//! for one client.
//! Not here: how many are under way (`pages`), reading the log (engine), members that catch up (`catch_up`).

use std::sync::Arc;

use grandstand_engine::link::{Batch, HistoryPage};
use grandstand_protocol::frame::{self, History, Kind, ServerFrame};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, stream};

use super::pages::{Asked, OVERLOADED_RETRY_MS, PageFor};
use super::reattach::Attachments;
use super::requests::Request;
use super::subscriptions::Subscriptions;
use crate::people::Limited;

/// What a page costs of a person's rate: at 100 frames/s five pages of 64 KB a second, which is
/// more than people scroll, and some 300 KB/s.
pub(super) const PAGE_FRAMES: u32 = 20;

/// Pages under way for one client: one on its way while the one before it is taken. Beyond: refusal
/// `Overloaded`.
const ASKED_PER_CLIENT_MAX: u32 = 2;

impl Request<'_> {
    pub(super) fn handle_history(&mut self, history: &History) {
        if let Err((reason, retry_after_ms)) = self.try_history(history) {
            self.refuse(Kind::History, history.request.into(), reason, retry_after_ms);
        }
    }

    fn try_history(&mut self, h: &History) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, connections, rooms, pages, people, .. } = &mut *self.subscriptions;
        let is_full = connections[self.ix].is_backed_up(settings.control_queue_bytes_max);
        let (connection, session) = connections.requester(self.ix);
        let Some((room, _)) = session.room(h.alias) else {
            return Err((Refusal::NotSubscribed, None));
        };
        let rate = session.frame_rate(settings);
        let cost = PAGE_FRAMES.min(rate.burst);
        let taken = session.take(people, self.now, (Limited::Pages, rate), cost);
        taken.map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        let attached = rooms.attached(room);
        if !attached.answers_for(h.epoch, h.from) {
            return Err((Refusal::UnknownEpoch, None));
        }
        let overloaded = (Refusal::Overloaded, Some(OVERLOADED_RETRY_MS));
        // What a client does not take now is not read for it.
        if is_full || session.pages_asked >= ASKED_PER_CLIENT_MAX || pages.is_full_for_clients() {
            return Err(overloaded);
        }
        let messages_max = match h.count_max {
            0 => limits::HISTORY_MESSAGES_MAX,
            count => count.min(limits::HISTORY_MESSAGES_MAX),
        };
        let (request, epoch, from) = (h.request, attached.epoch, h.from);
        let asked = Asked { room, connection, request, epoch, from, messages_max, was_denied: false };
        if !Attachments(self.subscriptions).ask_history(asked) {
            return Err(overloaded);
        }
        let (_, session) = self.subscriptions.connections.requester(self.ix);
        session.pages_asked += 1;
        Ok(())
    }
}

impl Subscriptions {
    /// A page came.
    pub(super) fn handle_page(&mut self, ticket: u64, page: &HistoryPage) {
        match self.pages.remove(ticket) {
            Some(PageFor::Member { room, connection }) => {
                self.handle_members_page(room, connection, ticket, page);
            }
            Some(PageFor::Client(asked)) => self.answer_history(&asked, page),
            None => {}
        }
    }

    fn answer_history(&mut self, asked: &Asked, page: &HistoryPage) {
        let named = self.connections.named_mut(asked.connection);
        let Some((ix, connection)) = named.filter(|(_, c)| !c.closing) else { return };
        let Some(session) = connection.session.as_mut() else { return };
        if !page.same_epoch && !asked.was_denied && self.rooms.get(asked.room).is_some() {
            // The shard has another log: what it tells of the room decides whether the page is asked again.
            self.pages.insert(PageFor::Client(Asked { was_denied: true, ..*asked }), self.sweeps);
            return Attachments(self).ask_attach(asked.room);
        }
        session.pages_asked -= 1;
        let is_full = connection.is_backed_up(self.settings.control_queue_bytes_max);
        let is_member = connection.session.as_ref().is_some_and(|s| s.membership(asked.room).is_some());
        let attached = self.rooms.get(asked.room).and_then(|room| room.attached.as_ref());
        let Some(attached) = attached.filter(|_| is_member) else {
            return self.refuse_history(ix, asked.request, Refusal::NotSubscribed, None);
        };
        if !page.same_epoch || attached.epoch != asked.epoch {
            return self.refuse_history(ix, asked.request, Refusal::UnknownEpoch, None);
        }
        if page.retry_after_ms.is_some() {
            return self.refuse_history(ix, asked.request, Refusal::StorageUnavailable, page.retry_after_ms);
        }
        let batches = continuous(&page.batches, asked.from);
        if batches.is_empty() && asked.from < attached.next_offset {
            return self.refuse_history(ix, asked.request, Refusal::TooOld, None);
        }
        if is_full {
            let retry = Some(OVERLOADED_RETRY_MS);
            return self.refuse_history(ix, asked.request, Refusal::Overloaded, retry);
        }
        let (first, last) = (batches.first(), batches.last());
        let answer = frame::HistoryPage {
            request: asked.request,
            alias: attached.alias.0,
            epoch: attached.epoch,
            offset: first.map_or(attached.next_offset, |batch| batch.first_offset),
            time_ms: first.map_or(attached.time_ms, |batch| batch.base_time_ms),
            next: last.map_or(attached.next_offset, |batch| batch.next_offset),
            head: attached.next_offset,
            batches: batches.iter().filter_map(|batch| body(batch)).collect(),
        };
        self.send_control(ix, &ServerFrame::HistoryPage(answer));
    }

    pub(super) fn refuse_history(
        &mut self,
        ix: u32,
        request: u32,
        reason: Refusal,
        retry_after_ms: Option<u32>,
    ) {
        self.refuse(ix, Kind::History, request.into(), reason, retry_after_ms);
    }
}

/// Of a page's batches from an offset on, those that continue each other. Another node may have sent it.
pub(super) fn continuous(batches: &[Arc<Batch>], from: u64) -> &[Arc<Batch>] {
    let passed = batches.iter().take_while(|batch| batch.next_offset <= from).count();
    let batches = &batches[passed..];
    let mut next = batches.first().map_or(0, |batch| batch.first_offset);
    let continues = |batch: &&Arc<Batch>| {
        let is_next = batch.first_offset == next && batch.next_offset > next && body(batch).is_some();
        next = batch.next_offset;
        is_next
    };
    &batches[..batches.iter().take_while(continues).count()]
}

/// A batch's body, as it stands behind header and kind; `None` if it stands behind none.
pub(super) fn body(batch: &Batch) -> Option<&[u8]> {
    let (header, _) = stream::read_header(&batch.wire, limits::SERVER_FRAME_BYTES_MAX).ok()??;
    batch.wire.get(header + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use grandstand_engine::link::Compressed;

    fn batch(first_offset: u64, next_offset: u64, wire: &'static [u8]) -> Arc<Batch> {
        Arc::new(Batch {
            seq: 0,
            first_offset,
            next_offset,
            messages: 1,
            base_time_ms: 0,
            time_ms: 0,
            wire: Bytes::from_static(wire),
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: None,
        })
    }

    #[test]
    fn of_a_page_only_what_continues_is_read() {
        const FRAME: &[u8] = &[0x82, 2, 0x47, 7];
        let of = |batches: &[(u64, u64, &'static [u8])], from| {
            let batches: Vec<_> =
                batches.iter().map(|&(first, next, wire)| batch(first, next, wire)).collect();
            continuous(&batches, from).iter().map(|b| (b.first_offset, b.next_offset)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[(0, 2, FRAME), (2, 4, FRAME)], 0), [(0, 2), (2, 4)]);
        assert_eq!(of(&[(0, 2, FRAME), (2, 4, FRAME)], 3), [(2, 4)], "what was read is passed");
        assert_eq!(of(&[(5, 6, FRAME)], 3), [(5, 6)], "it may begin later");
        assert_eq!(of(&[(0, 2, FRAME), (3, 4, FRAME)], 0), [(0, 2)], "a hole");
        assert_eq!(of(&[(0, 2, FRAME), (2, 2, FRAME), (2, 3, FRAME)], 0), [(0, 2)], "no chat");
        assert_eq!(of(&[(0, 2, &[0x82]), (2, 3, FRAME)], 0), [], "no frame");
    }
}
