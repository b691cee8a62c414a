//! The past on request: pages of a room's log, with what pacing left out, until as many messages came as were
//! asked for.
//!
//! Why page by page: each is asked for when the one before came, so a node never has more than one under way
//! for a request, and a refusal that may pass is waited for here.
//! Invariants: the messages of a request come with rising offsets, each once; a request ends with `HistoryEnd`
//! or `Refused`. No subscription's position is touched.
//! Not here: batches that come by themselves (`batch`).

use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{History, HistoryPage, Kind, Personal, Refused, Role};
use grandstand_protocol::limits::HISTORY_MESSAGES_MAX;
use grandstand_protocol::refusal::Refusal;

use super::room::{RoomState, Stage};
use super::{Event, Full, RoomId, Session};

/// Requests under way: an app scrolls in one or two rooms.
const REQUESTS_MAX: usize = 16;

/// Before a refused page is asked for again, where the node did not say when.
const RETRY_WAIT_MS: u32 = 1000;

/// A request of the application's.
#[derive(Debug)]
pub(super) struct HistoryRequest {
    number: u32,
    room: RoomId,
    // Of the log that is meant; known when the first page is asked for.
    epoch: Option<u64>,
    from: u64,
    left: u64,
    stage: PageStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageStage {
    Due,
    Waiting(u64),
    Asked,
}

impl Session {
    /// Ask for messages of a followed room's past, from an offset on, those left out by pacing included: the
    /// number under which they come, as [`History`](super::EventOf::History) and
    /// [`HistoryEnd`](super::EventOf::HistoryEnd), or are refused. What is no longer kept is passed over.
    ///
    /// # Errors
    /// [`Full`] while too many requests are under way.
    pub fn history(&mut self, room: RoomId, from: u64, count: u64) -> Result<u32, Full> {
        if self.history_requests.len() >= REQUESTS_MAX {
            return Err(Full);
        }
        let number = self.take_request();
        self.history_requests.push(HistoryRequest {
            number,
            room,
            epoch: None,
            from,
            left: count.max(1),
            stage: PageStage::Due,
        });
        Ok(number)
    }

    /// The next page to ask for.
    pub(super) fn poll_history(&mut self) -> Option<History> {
        let rooms = &self.rooms;
        let live = |id: RoomId| rooms.iter().find(|r| r.id == id && r.stage == Stage::Live);
        let due = |p: &&mut HistoryRequest| p.stage == PageStage::Due && live(p.room).is_some();
        let request = self.history_requests.iter_mut().find(due)?;
        let room = live(request.room)?;
        request.stage = PageStage::Asked;
        let epoch = *request.epoch.get_or_insert(room.position.epoch);
        let count_max = request.left.min(HISTORY_MESSAGES_MAX.into()) as u32;
        Some(History { request: request.number, alias: room.alias, epoch, from: request.from, count_max })
    }

    /// When a page that was refused may be asked for again.
    pub(super) fn history_due_us(&self) -> Option<u64> {
        let waiting = self.history_requests.iter().filter_map(|p| match p.stage {
            PageStage::Waiting(until_us) => Some(until_us),
            _ => None,
        });
        waiting.min()
    }

    pub(super) fn handle_history_timeout(&mut self, now_us: u64) {
        for request in &mut self.history_requests {
            if matches!(request.stage, PageStage::Waiting(until_us) if now_us >= until_us) {
                request.stage = PageStage::Due;
            }
        }
    }

    /// A new connection asks anew.
    pub(super) fn handle_history_disconnected(&mut self) {
        self.history_requests.iter_mut().for_each(|request| request.stage = PageStage::Due);
    }

    pub(super) fn handle_history_page(&mut self, page: &HistoryPage<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let Some(at) = self.history_requests.iter().position(|p| p.number == page.request) else { return };
        let request = &mut self.history_requests[at];
        let Some(room) = self.rooms.iter().find(|r| r.id == request.room) else { return };
        let asked_from = request.from;
        if let Err(fault) = read_page(request, room, page, emit) {
            return self.handle_malformed(CloseCode::Malformed, &fault);
        }
        // A page that does not go on would be asked for for ever.
        let is_over = request.left == 0 || page.next >= page.head || page.next <= asked_from;
        if request.left > 0 {
            request.from = request.from.max(page.next);
        }
        request.stage = PageStage::Due;
        if is_over {
            let (number, next, head) = (request.number, request.from, page.head);
            let request = number;
            emit(Event::HistoryEnd { room: room.room(), request, next, head });
            self.history_requests.remove(at);
        }
    }

    /// Whether the refusal is waited out here, and is none of the application's business.
    pub(super) fn handle_history_refused(&mut self, now_us: u64, r: &Refused<'_>) -> bool {
        let Some(at) = self.history_requests.iter().position(|p| u64::from(p.number) == r.id) else {
            return false;
        };
        if !r.reason.may_retry() {
            self.history_requests.remove(at);
            return false;
        }
        let wait_us = u64::from(r.retry_after_ms.unwrap_or(RETRY_WAIT_MS)) * 1000;
        let until_us = now_us + wait_us + self.jitter_us(wait_us / 4);
        self.history_requests[at].stage = PageStage::Waiting(until_us);
        true
    }

    /// A room is no longer followed: what was asked of it is refused.
    pub(super) fn refuse_history(&mut self, room: RoomId, emit: &mut impl FnMut(Event<'_>)) {
        self.history_requests.retain(|request| {
            if request.room == room {
                let (kind, id, reason) = (Kind::History as u8, request.number.into(), Refusal::NotSubscribed);
                emit(Event::Refused { kind, id, room: None, reason, retry_after_ms: None, detail: "" });
            }
            request.room != room
        });
    }

    pub(super) fn handle_personal(&mut self, p: &Personal<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let room = self.rooms.iter().find(|r| r.alias == p.alias && r.stage == Stage::Live);
        let Some(room) = room.filter(|room| room.position.epoch == p.epoch) else { return };
        emit(Event::Personal {
            room: room.room(),
            offset: p.offset,
            time_ms: p.time_ms,
            author: p.author,
            role: p.role,
            text: p.text,
            attachment: p.attachment,
            reply_to: p.reply_to,
        });
    }
}

/// Give out what was asked for; what is wrong with the page.
fn read_page(
    request: &mut HistoryRequest,
    room: &RoomState,
    page: &HistoryPage<'_>,
    emit: &mut impl FnMut(Event<'_>),
) -> Result<(), String> {
    let mut at = Position { epoch: page.epoch, offset: page.offset, time_ms: page.time_ms };
    for body in &page.batches {
        let mut reader = BatchReader::new(body).map_err(|fault| fault.to_string())?;
        at.begin(&reader).map_err(|_| "a page whose batches do not continue each other".to_owned())?;
        while let Some(item) = reader.next_item().map_err(|fault| fault.to_string())? {
            let m = match item {
                Item::Message(m) => m,
                Item::Omitted(count) => {
                    at.omitted(count);
                    continue;
                }
                _ => continue,
            };
            let offset = at.message(&m);
            if offset < request.from || request.left == 0 {
                continue;
            }
            request.left -= 1;
            request.from = offset.saturating_add(1);
            emit(Event::History {
                room: room.room(),
                request: request.number,
                offset,
                time_ms: at.time_ms,
                author: m.author,
                role: Role::from_wire(m.role),
                text: m.text,
                attachment: m.attachment,
                reply_to: if m.reply_back > 0 { offset.checked_sub(m.reply_back) } else { None },
            });
        }
    }
    Ok(())
}
