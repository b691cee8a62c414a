//! History: the application's requests for earlier messages of a room, including those that pacing left out.
//! The session requests page after page until it has as many messages as the application asked for.
//!
//! Why page by page: the session requests a page when the one before has arrived, so a node never has more
//! than one to answer per request. After a temporary refusal the session waits and asks again.
//! Invariants: the messages of a request come once each, with rising offsets; a request ends with
//! `HistoryEnd` or `Refused`, or with the session. No subscription's position changes.
//! Not here: live batches (`batch`).

use grandstand_protocol::batch::{ActEntry, BatchReader, Item, Position};
use grandstand_protocol::frame::{History, HistoryPage, Kind, Refused, Role};
use grandstand_protocol::limits::HISTORY_MESSAGES_MAX;
use grandstand_protocol::refusal::Refusal;

use super::retry::Backoff;
use super::room::RoomState;
use super::subscriptions::{RequestNumbers, Subscriptions};
use super::{Event, RequestError, RoomId};

/// Most open requests: an app scrolls in one or two rooms.
const REQUESTS_MAX: usize = 16;

/// Delay before a refused page is requested again, if the node named none.
const RETRY_WAIT_MS: u32 = 1000;

/// One request of the application.
#[derive(Debug)]
struct HistoryRequest {
    number: u32,
    room: RoomId,
    // Epoch of the log; known when the first page is requested.
    epoch: Option<u64>,
    from: u64,
    left: u64,
    state: PageState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageState {
    Due,
    Waiting(u64),
    Asked,
}

/// The application's requests for earlier messages.
#[derive(Debug, Default)]
pub(super) struct HistoryRequests(Vec<HistoryRequest>);

impl HistoryRequests {
    /// Begin a request. Returns its number.
    ///
    /// # Errors
    /// [`RequestError::Full`] while too many requests are open.
    pub(super) fn begin(
        &mut self,
        numbers: &mut RequestNumbers,
        room: RoomId,
        from: u64,
        count: u64,
    ) -> Result<u32, RequestError> {
        if self.0.len() >= REQUESTS_MAX {
            return Err(RequestError::Full);
        }
        let (number, left) = (numbers.take(), count.max(1));
        self.0.push(HistoryRequest { number, room, epoch: None, from, left, state: PageState::Due });
        Ok(number)
    }

    /// The next page to request.
    pub(super) fn poll(&mut self, subscriptions: &Subscriptions) -> Option<History> {
        let due = |r: &&mut HistoryRequest| r.state == PageState::Due && subscriptions.live(r.room).is_some();
        let request = self.0.iter_mut().find(due)?;
        let room = subscriptions.live(request.room)?;
        request.state = PageState::Asked;
        let epoch = *request.epoch.get_or_insert(room.position.epoch);
        let count_max = request.left.min(HISTORY_MESSAGES_MAX.into()) as u32;
        Some(History { request: request.number, alias: room.alias, epoch, from: request.from, count_max })
    }

    /// Nobody waits for this request any more.
    pub(super) fn forget(&mut self, number: u32) {
        self.0.retain(|request| request.number != number);
    }

    /// The time at which a refused page may be requested again.
    pub(super) fn due_us(&self) -> Option<u64> {
        let waiting = self.0.iter().filter_map(|r| match r.state {
            PageState::Waiting(until_us) => Some(until_us),
            _ => None,
        });
        waiting.min()
    }

    pub(super) fn handle_timeout(&mut self, now_us: u64) {
        for request in &mut self.0 {
            if matches!(request.state, PageState::Waiting(until_us) if now_us >= until_us) {
                request.state = PageState::Due;
            }
        }
    }

    /// The session has a new connection, which requests all open pages again.
    pub(super) fn handle_disconnected(&mut self) {
        self.0.iter_mut().for_each(|request| request.state = PageState::Due);
    }

    /// A page arrived.
    ///
    /// # Errors
    /// A text that names the fault of the page.
    pub(super) fn handle_page(
        &mut self,
        subscriptions: &Subscriptions,
        page: &HistoryPage<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<(), String> {
        let Some(at) = self.0.iter().position(|r| r.number == page.request) else { return Ok(()) };
        let request = &mut self.0[at];
        let Some(room) = subscriptions.get(request.room) else { return Ok(()) };
        let asked_from = request.from;
        read_page(request, room, page, emit)?;
        // A page that does not advance would be requested for ever.
        let is_over = request.left == 0 || page.next >= page.head || page.next <= asked_from;
        if request.left > 0 {
            request.from = request.from.max(page.next);
        }
        request.state = PageState::Due;
        if is_over {
            let (request, next, head) = (request.number, request.from, page.head);
            emit(Event::HistoryEnd { room: room.room(), request, next, head });
            self.0.remove(at);
        }
        Ok(())
    }

    /// Whether the session waits and asks again after this refusal, so the application does not learn of it.
    pub(super) fn handle_refused(&mut self, now_us: u64, r: &Refused<'_>, backoff: &mut Backoff) -> bool {
        let Some(at) = self.0.iter().position(|request| u64::from(request.number) == r.id) else {
            return false;
        };
        if !r.reason.may_retry() {
            self.0.remove(at);
            return false;
        }
        let wait_us = u64::from(r.retry_after_ms.unwrap_or(RETRY_WAIT_MS)) * 1000;
        let until_us = now_us + wait_us + backoff.jitter_us(wait_us / 4);
        self.0[at].state = PageState::Waiting(until_us);
        true
    }

    /// The session no longer follows a room: its requests are refused.
    pub(super) fn refuse_room(&mut self, room: RoomId, emit: &mut impl FnMut(Event<'_>)) {
        self.0.retain(|request| {
            if request.room == room {
                let (kind, id, reason) = (Kind::History as u8, request.number.into(), Refusal::NotSubscribed);
                emit(Event::Refused { kind, id, room: None, reason, retry_after_ms: None, detail: "" });
            }
            request.room != room
        });
    }
}

/// Give the requested messages to the application. The error names the fault of the page.
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
                Item::Removed(skip) | Item::Act(ActEntry { skip, .. }) => {
                    at.entry(skip);
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
