//! Pages of the past that clients ask for: the log in full, with what pacing left out.
//!
//! Why apart from `catch_up`: a page that was asked for moves no cursor, and is answered as a request is, by
//! a control frame.
//! Invariants: each request is answered once. A page costs its session [`PAGE_FRAMES`] frames of its rate; at
//! most [`ASKED_MAX`] are under way at a worker; none is queued for a connection that does not take what it
//! was sent.
//! Not here: reading the log (engine), members that catch up (`catch_up`).

use grandstand_engine::link::{Batch, ConnectionToken, HistoryPage, Input, Now, PageOf};
use grandstand_protocol::frame::{self, History, Kind, ServerFrame, permission};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, stream};

use super::Audience;
use super::connection::slot;
use super::room::RoomKey;

/// What a page costs of a session's rate of frames: at 100 frames/s five pages of 64 KB a second, which is
/// more than people scroll, and some 300 KB/s.
const PAGE_FRAMES: u32 = 20;

/// Pages under way at one worker: a shard answers thousands a second, so more would only wait. Beyond:
/// refusal `Overloaded`.
const ASKED_MAX: usize = 256;

/// After `Overloaded`: by then a slow connection may have taken what it was sent.
const OVERLOADED_RETRY_MS: u32 = 1000;

/// For whom a page was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageFor {
    /// A member that catches up.
    Member { room: RoomKey, connection: ConnectionToken },
    /// A client that asked.
    Client(Asked),
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    room: RoomKey,
    connection: ConnectionToken,
    request: u32,
    epoch: u64,
    from: u64,
}

impl Audience {
    pub(super) fn handle_history_request(&mut self, now: Now, ix: u32, history: &History) {
        if let Err((reason, retry_after_ms)) = self.try_history(now, ix, history) {
            self.refuse_history(ix, history.request, reason, retry_after_ms);
        }
    }

    fn try_history(&mut self, now: Now, ix: u32, h: &History) -> Result<(), (Refusal, Option<u32>)> {
        let token = self.connections[ix as usize].token(ix);
        let session = self.connections[ix as usize].session.as_mut().expect("a request has a session");
        let Some(membership) = session.room(h.alias).copied() else {
            return Err((Refusal::NotSubscribed, None));
        };
        let settings = &self.settings;
        let rate = if session.may(permission::BRIDGE) { settings.bridge_publish } else { settings.frames };
        let cost = PAGE_FRAMES.min(rate.burst);
        session.frames.take(now, rate, cost).map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        let attached = self.rooms[membership.room.0 as usize].attached.as_ref();
        let attached = attached.expect("members have an attached room");
        if attached.epoch != h.epoch {
            return Err((Refusal::UnknownEpoch, None));
        }
        let overloaded = (Refusal::Overloaded, Some(OVERLOADED_RETRY_MS));
        if self.pages_asked >= ASKED_MAX {
            return Err(overloaded);
        }
        let messages_max = match h.count_max {
            0 => limits::HISTORY_MESSAGES_MAX,
            count => count.min(limits::HISTORY_MESSAGES_MAX),
        };
        let (alias, epoch, from) = (attached.alias, h.epoch, h.from);
        let asked = Asked { room: membership.room, connection: token, request: h.request, epoch, from };
        let ticket = self.pages.insert(PageFor::Client(asked)) as u64;
        let (worker, of) = (self.settings.worker, PageOf::Full { messages_max });
        let input = Input::History { worker, request: ticket, alias, epoch, from, of };
        if self.shards.submit(alias, input).is_err() {
            self.pages.remove(ticket as usize);
            self.counters.submits_full += 1;
            return Err(overloaded);
        }
        self.pages_asked += 1;
        Ok(())
    }

    /// A page came.
    pub(super) fn handle_history(&mut self, ticket: u64, page: HistoryPage) {
        match self.pages.try_remove(ticket as usize) {
            Some(PageFor::Member { room, connection }) => {
                self.handle_members_page(room, connection, ticket, page);
            }
            Some(PageFor::Client(asked)) => {
                self.pages_asked -= 1;
                self.answer_history(&asked, &page);
            }
            None => {}
        }
    }

    fn answer_history(&mut self, asked: &Asked, page: &HistoryPage) {
        let ix = slot(asked.connection);
        let connection = self.connections.get(ix as usize).filter(|c| c.is(asked.connection) && !c.closing);
        let Some(connection) = connection else { return };
        let waiting_bytes = connection.out.as_ref().map_or(0, |out| out.control.len());
        let is_full = connection.blocked || waiting_bytes > self.settings.control_queue_bytes_max / 2;
        let is_member = connection.session.as_ref().is_some_and(|s| s.membership(asked.room).is_some());
        let attached = self.rooms.get(asked.room.0 as usize).and_then(|room| room.attached.as_ref());
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
        self.refuse(ix, Kind::History as u8, request.into(), reason, retry_after_ms);
    }
}

/// A batch's body, as it stands behind header and kind.
fn body(batch: &Batch) -> &[u8] {
    let header = stream::read_header(&batch.wire, limits::SERVER_FRAME_BYTES_MAX);
    let (header, _) = header.ok().flatten().expect("shards frame their batches");
    &batch.wire[header + 1..]
}
