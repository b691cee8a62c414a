//! Pages of the past that clients ask for: the log in full, with what pacing left out.
//!
//! Why apart from `catch_up`: a page that was asked for moves no cursor, and is answered as a request is, by
//! a control frame.
//! Invariants: each request is answered once. A page costs its person [`PAGE_FRAMES`] frames of the rate;
//! none is asked for or queued for a connection that does not take what it was sent, and few are under way
//! for one client.
//! Not here: how many are under way (`pages`), reading the log (engine), members that catch up (`catch_up`).

use grandstand_engine::link::{Batch, HistoryPage, Input, PageOf};
use grandstand_protocol::frame::{self, History, Kind, ServerFrame};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, stream};

use super::pages::{Asked, PageFor};
use super::requests::Request;
use super::subscriptions::Subscriptions;
use crate::people::Limited;

/// What a page costs of a person's rate: at 100 frames/s five pages of 64 KB a second, which is
/// more than people scroll, and some 300 KB/s.
const PAGE_FRAMES: u32 = 20;

/// Pages under way for one client: one on its way while the one before it is taken. Beyond: refusal
/// `Overloaded`.
const ASKED_PER_CLIENT_MAX: u32 = 2;

/// After `Overloaded`: by then a slow connection may have taken what it was sent.
const OVERLOADED_RETRY_MS: u32 = 1000;

impl Request<'_> {
    pub(super) fn handle_history(&mut self, history: &History) {
        if let Err((reason, retry_after_ms)) = self.try_history(history) {
            self.refuse(Kind::History, history.request.into(), reason, retry_after_ms);
        }
    }

    fn try_history(&mut self, h: &History) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, shards, connections, rooms, pages, people, .. } =
            &mut *self.subscriptions;
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
        if attached.epoch != h.epoch {
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
        let (alias, epoch, from) = (attached.alias, h.epoch, h.from);
        let ticket = pages.insert_client(Asked { room, connection, request: h.request, epoch, from });
        let (worker, of) = (settings.worker, PageOf::Full { messages_max });
        let input = Input::History { worker, request: ticket, alias, epoch, from, of };
        if shards.submit(alias, input).is_err() {
            pages.remove(ticket);
            connections.counters.submits_full += 1;
            return Err(overloaded);
        }
        session.pages_asked += 1;
        Ok(())
    }
}

impl Subscriptions {
    /// A page came.
    pub(super) fn handle_page(&mut self, ticket: u64, page: HistoryPage) {
        match self.pages.remove(ticket) {
            Some(PageFor::Member { room, connection }) => {
                self.handle_members_page(room, connection, ticket as u32, page);
            }
            Some(PageFor::Client(asked)) => self.answer_history(&asked, &page),
            None => {}
        }
    }

    fn answer_history(&mut self, asked: &Asked, page: &HistoryPage) {
        let named = self.connections.named_mut(asked.connection);
        let Some((ix, connection)) = named.filter(|(_, c)| !c.closing) else { return };
        if let Some(session) = connection.session.as_mut() {
            session.pages_asked -= 1;
        }
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
        if page.batches.is_empty() && asked.from < attached.next_offset {
            return self.refuse_history(ix, asked.request, Refusal::TooOld, None);
        }
        if is_full {
            let retry = Some(OVERLOADED_RETRY_MS);
            return self.refuse_history(ix, asked.request, Refusal::Overloaded, retry);
        }
        let first = page.batches.first();
        let answer = frame::HistoryPage {
            request: asked.request,
            alias: attached.alias.0,
            epoch: attached.epoch,
            offset: first.map_or(attached.next_offset, |batch| batch.first_offset),
            time_ms: first.map_or(attached.time_ms, |batch| batch.base_time_ms),
            next: page.batches.last().map_or(attached.next_offset, |batch| batch.next_offset),
            head: attached.next_offset,
            batches: page.batches.iter().map(|batch| body(batch)).collect(),
        };
        self.send_control(ix, &ServerFrame::HistoryPage(answer));
    }

    fn refuse_history(&mut self, ix: u32, request: u32, reason: Refusal, retry_after_ms: Option<u32>) {
        self.refuse(ix, Kind::History, request.into(), reason, retry_after_ms);
    }
}

/// A batch's body, as it stands behind header and kind.
fn body(batch: &Batch) -> &[u8] {
    let header = stream::read_header(&batch.wire, limits::SERVER_FRAME_BYTES_MAX);
    let (header, _) = header.ok().flatten().expect("shards frame their batches");
    &batch.wire[header + 1..]
}
