//! Requests for earlier messages, for apps: this gathers the events of one request into one answer.
//!
//! Invariants: the requested count and [`ANSWER_BYTES_MAX`] bound the gathered messages. A request that is
//! answered early, or whose future is dropped, is forgotten here; the session is told to stop it.
//! Not here: pages (`core::history`), the queues (`client`).

use std::fmt;
use std::task::{Poll, Waker};

use grandstand_protocol::frame::{Kind, Role};
use grandstand_protocol::refusal::Refusal;

use crate::core::{Event, RequestError};

/// Bytes of one answer. Beyond, it ends before all that was requested, and says where.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An earlier message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Its offset in the room's log.
    pub offset: u64,
    /// Time of its batch, milliseconds since 1970.
    pub time_ms: u64,
    /// Display name of the author.
    pub author: Box<str>,
    /// The author's role.
    pub role: Role,
    /// The text.
    pub text: Box<str>,
    /// Reference to an attachment; empty for none.
    pub attachment: Box<str>,
    /// Offset of the message that this one answers.
    pub reply_to: Option<u64>,
}

/// A run of a room's log: no message left out, none folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Messages, by rising offsets. The first is later than requested if the log no longer keeps those before
    /// it.
    pub messages: Vec<HistoryMessage>,
    /// The first offset that was not given.
    pub next: u64,
    /// The next offset that the room will assign, or some offset above `next` where an answer ended early.
    /// When `next` equals it, there is nothing more to request.
    pub head: u64,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryError {
    /// The node refused, for a reason that is not temporary; or the room is no longer followed.
    Refused(Refusal),
    /// The session did not take the request.
    Request(RequestError),
    /// The session ended before the answer.
    Over,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HistoryError::Refused(reason) => write!(f, "the node refused: {}", reason.text()),
            HistoryError::Request(error) => error.fmt(f),
            HistoryError::Over => f.write_str("the session ended before the answer"),
        }
    }
}

impl std::error::Error for HistoryError {}

impl From<RequestError> for HistoryError {
    fn from(error: RequestError) -> HistoryError {
        HistoryError::Request(error)
    }
}

/// Requests whose answers are being gathered.
#[derive(Debug, Default)]
pub(super) struct HistoryRequests {
    slots: Vec<Slot>,
    next_ticket: u64,
    /// The session's numbers of requests that it is to stop; not more than it has.
    stopped: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    room: Box<str>,
    /// The session's number for the request, once it has one.
    request: Option<u32>,
    history: History,
    bytes: usize,
    done: Option<Result<(), HistoryError>>,
    app: Option<Waker>,
}

impl HistoryRequests {
    /// A request that is about to be made.
    pub(super) fn begin(&mut self, room: &str) -> u64 {
        self.next_ticket += 1;
        let (ticket, history) = (self.next_ticket, History::default());
        self.slots.push(Slot {
            ticket,
            room: room.into(),
            request: None,
            history,
            bytes: 0,
            done: None,
            app: None,
        });
        ticket
    }

    /// The session made the request under this number, or could not make it.
    pub(super) fn made(&mut self, ticket: u64, made: Result<u32, HistoryError>) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ticket == ticket) else {
            return self.stopped.extend(made.ok());
        };
        match made {
            Ok(request) => slot.request = Some(request),
            Err(error) => slot.finish(Err(error)),
        }
    }

    /// No caller waits for the request any more.
    pub(super) fn forget(&mut self, ticket: u64) {
        let Some(at) = self.slots.iter().position(|slot| slot.ticket == ticket) else { return };
        let slot = self.slots.swap_remove(at);
        self.stopped.extend(slot.request.filter(|_| slot.done.is_none()));
    }

    /// The next request that the session is to stop.
    pub(super) fn poll_stopped(&mut self) -> Option<u32> {
        self.stopped.pop()
    }

    /// The session has ended.
    pub(super) fn fail_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.finish(Err(HistoryError::Over)));
    }

    pub(super) fn poll(&mut self, ticket: u64, waker: &Waker) -> Poll<Result<History, HistoryError>> {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ticket == ticket) else {
            return Poll::Ready(Err(HistoryError::Over));
        };
        match slot.done {
            None => {
                slot.app = Some(waker.clone());
                Poll::Pending
            }
            Some(done) => Poll::Ready(done.map(|()| std::mem::take(&mut slot.history))),
        }
    }

    /// Take an event, if it belongs to a request for earlier messages, current or forgotten.
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        match *event {
            Event::History { request, offset, time_ms, author, role, text, attachment, reply_to, .. } => {
                if let Some(slot) = self.slot(request) {
                    slot.bytes += size_of::<HistoryMessage>() + author.len() + text.len() + attachment.len();
                    let (author, text, attachment) = (author.into(), text.into(), attachment.into());
                    slot.history.messages.push(HistoryMessage {
                        offset,
                        time_ms,
                        author,
                        role,
                        text,
                        attachment,
                        reply_to,
                    });
                    if slot.bytes >= ANSWER_BYTES_MAX {
                        slot.history.next = offset.saturating_add(1);
                        slot.history.head = slot.history.head.max(slot.history.next.saturating_add(1));
                        slot.finish(Ok(()));
                        self.stopped.push(request);
                    }
                }
                true
            }
            Event::Removal { room, ref rule, .. } => {
                for slot in self.slots.iter_mut().filter(|slot| *slot.room == *room.name) {
                    slot.history.messages.retain(|m| !rule.covers(m.offset, &m.author));
                }
                false
            }
            Event::HistoryEnd { request, next, head, .. } => {
                if let Some(slot) = self.slot(request) {
                    (slot.history.next, slot.history.head) = (next, head);
                    slot.finish(Ok(()));
                }
                true
            }
            Event::Refused { kind, id, reason, .. } if kind == Kind::History as u8 => {
                if let Some(slot) = self.slot(id as u32) {
                    slot.finish(Err(HistoryError::Refused(reason)));
                }
                true
            }
            _ => false,
        }
    }

    fn slot(&mut self, request: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.request == Some(request) && slot.done.is_none())
    }
}

impl Slot {
    fn finish(&mut self, done: Result<(), HistoryError>) {
        self.done.get_or_insert(done);
        if let Some(waker) = self.app.take() {
            waker.wake();
        }
    }
}
