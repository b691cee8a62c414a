//! The past on request, for apps: events of one request gathered into one answer.
//!
//! Invariants: what is gathered is bounded by what was asked for; a request whose future is dropped is
//! forgotten here, and what still comes of it is passed over.
//! Not here: pages (`core::history`), the queues (`client`).

use std::fmt;
use std::task::{Poll, Waker};

use grandstand_protocol::frame::{Kind, Role};
use grandstand_protocol::refusal::Refusal;

use crate::core::Event;

/// A message of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Where it stands in the room's log.
    pub offset: u64,
    /// When it was sealed, milliseconds since 1970.
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

/// A run of a room's log: nothing left out, nothing folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Messages, offsets rising. The first is later than asked for where what lies before is no longer kept.
    pub messages: Vec<HistoryMessage>,
    /// The next offset that was not given.
    pub next: u64,
    /// The offset that the room gives next: with `next` there, nothing is left.
    pub head: u64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryError {
    /// The node refused, for a reason that does not pass by itself; or the room is not followed.
    Refused(Refusal),
    /// Too much waits for the session.
    Busy,
    /// The session is over.
    Over,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HistoryError::Refused(reason) => write!(f, "the node refused: {}", reason.text()),
            HistoryError::Busy => f.write_str("the session has too much waiting"),
            HistoryError::Over => f.write_str("the session is over"),
        }
    }
}

impl std::error::Error for HistoryError {}

/// Requests whose answers are being gathered.
#[derive(Debug, Default)]
pub(super) struct HistoryRequests {
    slots: Vec<Slot>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    /// The session's number of it, once it has one.
    request: Option<u32>,
    history: History,
    done: Option<Result<(), HistoryError>>,
    app: Option<Waker>,
}

impl HistoryRequests {
    /// A request that is about to be made.
    pub(super) fn begin(&mut self) -> u64 {
        self.next_ticket += 1;
        let (ticket, history) = (self.next_ticket, History::default());
        self.slots.push(Slot { ticket, request: None, history, done: None, app: None });
        ticket
    }

    /// It was made under this number, or could not be.
    pub(super) fn made(&mut self, ticket: u64, made: Result<u32, HistoryError>) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ticket == ticket) else { return };
        match made {
            Ok(request) => slot.request = Some(request),
            Err(error) => slot.finish(Err(error)),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, ticket: u64) {
        self.slots.retain(|slot| slot.ticket != ticket);
    }

    /// The session is over.
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

    /// Take an event, if it belongs to a request of the past, made here or forgotten.
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        match *event {
            Event::History { request, offset, time_ms, author, role, text, attachment, reply_to, .. } => {
                if let Some(slot) = self.slot(request) {
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
                }
                true
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
