//! History: pages of a room's log that the application asks for, with what pacing left out, until as many
//! messages came as it asked for.
//!
//! Why page by page: each is asked for when the one before came, so a node never has more than one under way
//! for a request. A refusal that may pass is waited out here.
//! Invariants: the messages of a request come with rising offsets, each once; a request ends with
//! `HistoryEnd` or `Refused`. No subscription's position is touched.
//! Not here: batches that come by themselves (`batch`).

use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{History, HistoryPage, Kind, Refused, Role};
use grandstand_protocol::limits::HISTORY_MESSAGES_MAX;
use grandstand_protocol::refusal::Refusal;

use super::retry::Backoff;
use super::room::RoomState;
use super::subscriptions::{RequestNumbers, Subscriptions};
use super::{Event, Full, RoomId};

/// Requests under way: an app scrolls in one or two rooms.
const REQUESTS_MAX: usize = 16;

/// Before a refused page is asked for again, where the node did not say when.
const RETRY_WAIT_MS: u32 = 1000;

/// A request of the application's.
#[derive(Debug)]
struct HistoryRequest {
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

/// The application's requests for messages of the past.
#[derive(Debug, Default)]
pub(super) struct HistoryRequests(Vec<HistoryRequest>);

impl HistoryRequests {
    /// A request of the application's: its number.
    ///
    /// # Errors
    /// [`Full`] while too many requests are under way.
    pub(super) fn begin(
        &mut self,
        numbers: &mut RequestNumbers,
        room: RoomId,
        from: u64,
        count: u64,
    ) -> Result<u32, Full> {
        if self.0.len() >= REQUESTS_MAX {
            return Err(Full);
        }
        let (number, left) = (numbers.take(), count.max(1));
        self.0.push(HistoryRequest { number, room, epoch: None, from, left, stage: PageStage::Due });
        Ok(number)
    }

    /// The next page to ask for.
    pub(super) fn poll(&mut self, subscriptions: &Subscriptions) -> Option<History> {
        let due = |r: &&mut HistoryRequest| r.stage == PageStage::Due && subscriptions.live(r.room).is_some();
        let request = self.0.iter_mut().find(due)?;
        let room = subscriptions.live(request.room)?;
        request.stage = PageStage::Asked;
        let epoch = *request.epoch.get_or_insert(room.position.epoch);
        let count_max = request.left.min(HISTORY_MESSAGES_MAX.into()) as u32;
        Some(History { request: request.number, alias: room.alias, epoch, from: request.from, count_max })
    }

    /// When a page that was refused may be asked for again.
    pub(super) fn due_us(&self) -> Option<u64> {
        let waiting = self.0.iter().filter_map(|r| match r.stage {
            PageStage::Waiting(until_us) => Some(until_us),
            _ => None,
        });
        waiting.min()
    }

    pub(super) fn handle_timeout(&mut self, now_us: u64) {
        for request in &mut self.0 {
            if matches!(request.stage, PageStage::Waiting(until_us) if now_us >= until_us) {
                request.stage = PageStage::Due;
            }
        }
    }

    /// A new connection asks anew.
    pub(super) fn handle_disconnected(&mut self) {
        self.0.iter_mut().for_each(|request| request.stage = PageStage::Due);
    }

    /// A page came.
    ///
    /// # Errors
    /// What is wrong with it.
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
        // A page that does not go on would be asked for for ever.
        let is_over = request.left == 0 || page.next >= page.head || page.next <= asked_from;
        if request.left > 0 {
            request.from = request.from.max(page.next);
        }
        request.stage = PageStage::Due;
        if is_over {
            let (request, next, head) = (request.number, request.from, page.head);
            emit(Event::HistoryEnd { room: room.room(), request, next, head });
            self.0.remove(at);
        }
        Ok(())
    }

    /// Whether the refusal is waited out here, and is none of the application's business.
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
        self.0[at].stage = PageStage::Waiting(until_us);
        true
    }

    /// A room is no longer followed: what was asked of it is refused.
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
