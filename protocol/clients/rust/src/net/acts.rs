//! Acts for apps: each that a client accepted ends in one event, and in the answer of the caller that waits.
//!
//! Why numbers of its own: an app has the number at once, and the session gives its own only when it takes
//! the act. Events name the app's.
//! Invariant: a number has one entry until its outcome, and the outcome is told once.
//! Not here: what a node answers (`core::receive`), the queues (`queues`).

use std::collections::BTreeMap;
use std::fmt;
use std::task::{Poll, Waker};
use std::time::Duration;

use grandstand_protocol::frame::{ActKind, Category, Kind};
use grandstand_protocol::refusal::Refusal;

use crate::core::{ActParts, OwnedEvent, RequestError};

/// An act, which owns its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedAct {
    /// What is done.
    pub act: ActKind,
    /// The message by which it is done, or the number of a warning or of what is held.
    pub target: Option<u64>,
    /// For how long, or how far back; 0: for ever, or all that is kept.
    pub seconds: u32,
    /// Why, of a report.
    pub category: Category,
    /// A reason for people, a warning, or an appeal.
    pub text: String,
}

impl From<ActParts<'_>> for OwnedAct {
    fn from(act: ActParts<'_>) -> OwnedAct {
        let ActParts { act, target, seconds, category, text } = act;
        OwnedAct { act, target, seconds, category, text: text.into() }
    }
}

impl OwnedAct {
    /// As a session takes it.
    pub fn borrowed(&self) -> ActParts<'_> {
        let OwnedAct { act, target, seconds, category, ref text } = *self;
        ActParts { act, target, seconds, category, text }
    }
}

/// An act that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActReceipt {
    /// Epoch of the log.
    pub epoch: u64,
    /// The act's offset, if it is an entry of the log.
    pub offset: Option<u64>,
    /// How many messages it removed.
    pub count: u64,
}

/// Why an act has no [`ActReceipt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActError {
    /// The session did not take it: nothing was sent.
    Request(RequestError),
    /// The node refused it: it had no effect.
    Refused {
        /// Why.
        reason: Refusal,
        /// Delay after which the same act may be accepted; `None` if it needs a change first.
        retry_after: Option<Duration>,
        /// Detail for people.
        detail: Box<str>,
    },
    /// No answer will come. `sent`: it may have taken effect.
    Unanswered {
        /// Whether it was sent.
        sent: bool,
    },
}

impl From<RequestError> for ActError {
    fn from(error: RequestError) -> ActError {
        ActError::Request(error)
    }
}

impl fmt::Display for ActError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActError::Request(error) => error.fmt(f),
            ActError::Refused { reason, detail, .. } if detail.is_empty() => {
                write!(f, "the node refused: {}", reason.text())
            }
            ActError::Refused { reason, detail, .. } => {
                write!(f, "the node refused: {}: {detail}", reason.text())
            }
            ActError::Unanswered { sent: true } => {
                f.write_str("the connection ended before the answer: the act may have taken effect")
            }
            ActError::Unanswered { sent: false } => f.write_str("the session ended before the act was sent"),
        }
    }
}

impl std::error::Error for ActError {}

type Answer = Result<ActReceipt, ActError>;

#[derive(Debug)]
struct Open {
    act: ActKind,
    /// The session's number, once it has one.
    request: Option<u32>,
}

/// Acts without an outcome, and outcomes that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Acts {
    open: BTreeMap<u32, Open>,
    waiting: BTreeMap<u32, (Option<Answer>, Option<Waker>)>,
    last: u32,
}

impl Acts {
    /// An act was accepted: its number.
    pub(super) fn accept(&mut self, act: ActKind, is_awaited: bool) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.open.insert(self.last, Open { act, request: None });
        if is_awaited {
            self.waiting.insert(self.last, (None, None));
        }
        self.last
    }

    /// The session has taken it under a number of its own.
    pub(super) fn made(&mut self, number: u32, request: u32) {
        if let Some(open) = self.open.get_mut(&number) {
            open.request = Some(request);
        }
    }

    /// Does an event tell of an act?
    pub(super) fn is_outcome(event: &OwnedEvent) -> bool {
        match event {
            OwnedEvent::Acted { .. } | OwnedEvent::ActUnanswered { .. } => true,
            OwnedEvent::Refused { kind, .. } => *kind == Kind::Act as u8,
            _ => false,
        }
    }

    /// An event of the session that tells of an act: name it as the app does. `false`: it is of no open act.
    pub(super) fn rename(&mut self, event: &mut OwnedEvent) -> bool {
        let of = match event {
            OwnedEvent::Acted { request, .. } | OwnedEvent::ActUnanswered { request, .. } => *request,
            OwnedEvent::Refused { id, .. } => *id as u32,
            _ => return false,
        };
        let found = self.open.iter().find(|(_, open)| open.request == Some(of)).map(|(number, _)| *number);
        let Some(number) = found else { return false };
        match event {
            OwnedEvent::Acted { request, .. } | OwnedEvent::ActUnanswered { request, .. } => {
                *request = number;
            }
            OwnedEvent::Refused { id, .. } => *id = number.into(),
            _ => {}
        }
        true
    }

    /// An event, which names an act by the app's number, is its outcome.
    pub(super) fn handle_event(&mut self, event: &OwnedEvent) {
        let (number, answer) = match event {
            &OwnedEvent::Acted { request, epoch, offset, count } => {
                (request, Ok(ActReceipt { epoch, offset, count }))
            }
            &OwnedEvent::ActUnanswered { request, sent, .. } => (request, Err(ActError::Unanswered { sent })),
            OwnedEvent::Refused { kind, id, reason, retry_after_ms, detail, .. }
                if *kind == Kind::Act as u8 =>
            {
                let retry_after = retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                let refused = ActError::Refused { reason: *reason, retry_after, detail: detail.clone() };
                (*id as u32, Err(refused))
            }
            _ => return,
        };
        self.open.remove(&number);
        if let Some((slot, waker)) = self.waiting.get_mut(&number) {
            *slot = Some(answer);
            waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The session is gone: the outcomes of all that is left.
    pub(super) fn outcomes(&self) -> Vec<OwnedEvent> {
        let outcome = |(&request, open): (&u32, &Open)| OwnedEvent::ActUnanswered {
            request,
            act: open.act,
            sent: open.request.is_some(),
        };
        self.open.iter().map(outcome).collect()
    }

    pub(super) fn poll(&mut self, number: u32, waker: &Waker) -> Poll<Answer> {
        match self.waiting.get_mut(&number) {
            None => Poll::Ready(Err(ActError::Unanswered { sent: true })),
            Some((Some(answer), _)) => Poll::Ready(answer.clone()),
            Some((None, waiting)) => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&mut self, number: u32) {
        self.waiting.remove(&number);
    }
}
