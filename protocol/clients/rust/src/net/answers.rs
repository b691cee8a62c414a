//! The publications that a client has accepted and whose outcome has not come, and the callers that wait for
//! one.
//!
//! Why beside the session's own outbox: a session's task can be stopped at any moment, and with it the
//! outbox. Each publication that an app was given a nonce for ends in one event all the same.
//! Invariants: a nonce has one entry until its outcome; a caller that no longer waits leaves nothing here.
//! Not here: what decides an outcome (`core::outcomes`).

use std::collections::HashMap;
use std::task::{Poll, Waker};
use std::time::Duration;

use grandstand_protocol::frame::Kind;

use super::publication::{PublishError, Receipt};
use crate::core::{EventOf, OwnedEvent};

type Answer = Result<Receipt, PublishError>;

#[derive(Debug)]
struct Unanswered {
    text: Box<str>,
    /// Whether the session has it, so that it may have been sent.
    is_given: bool,
    /// The caller that waits, if any.
    ticket: Option<u64>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Answers {
    unanswered: HashMap<u64, Unanswered>,
    waiting: HashMap<u64, (Option<Answer>, Option<Waker>)>,
    next_ticket: u64,
}

impl Answers {
    pub(super) fn contains(&self, nonce: u64) -> bool {
        self.unanswered.contains_key(&nonce)
    }

    /// A publication was accepted. Returns a ticket for its answer, if somebody waits for it.
    pub(super) fn accept(&mut self, nonce: u64, text: &str, is_awaited: bool) -> Option<u64> {
        let ticket = is_awaited.then(|| {
            self.next_ticket += 1;
            self.waiting.insert(self.next_ticket, (None, None));
            self.next_ticket
        });
        self.unanswered.insert(nonce, Unanswered { text: text.into(), is_given: false, ticket });
        ticket
    }

    /// The session has taken it.
    pub(super) fn give(&mut self, nonce: u64) {
        if let Some(publication) = self.unanswered.get_mut(&nonce) {
            publication.is_given = true;
        }
    }

    /// An event may be the outcome of a publication.
    pub(super) fn handle_event<S: AsRef<str>, B>(&mut self, event: &EventOf<S, B>) {
        let (nonce, answer) = match event {
            &EventOf::Published { nonce, epoch, offset, durability, repeated, .. } => {
                (nonce, Ok(Receipt { nonce, epoch, offset, durability, repeated }))
            }
            EventOf::Refused { kind, id, reason, retry_after_ms, detail, .. }
                if *kind == Kind::Publish as u8 =>
            {
                let retry_after = retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                let detail = detail.as_ref().into();
                (*id, Err(PublishError::Refused { reason: *reason, retry_after, detail }))
            }
            EventOf::Uncertain { nonce, .. } => (*nonce, Err(PublishError::Uncertain)),
            EventOf::NotSent { nonce, .. } => (*nonce, Err(PublishError::NotSent)),
            _ => return,
        };
        let Some(publication) = self.unanswered.remove(&nonce) else { return };
        let waiting = publication.ticket.and_then(|ticket| self.waiting.get_mut(&ticket));
        if let Some((slot, waker)) = waiting {
            *slot = Some(answer);
            waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The session is gone: the outcomes of all that is left.
    pub(super) fn outcomes(&self) -> Vec<OwnedEvent> {
        let mut left: Vec<_> = self.unanswered.iter().collect();
        left.sort_unstable_by_key(|(nonce, _)| **nonce);
        let outcome = |(&nonce, publication): (&u64, &Unanswered)| {
            let text = publication.text.clone();
            if publication.is_given {
                OwnedEvent::Uncertain { nonce, text }
            } else {
                OwnedEvent::NotSent { nonce, text }
            }
        };
        left.into_iter().map(outcome).collect()
    }

    pub(super) fn poll(&mut self, ticket: u64, waker: &Waker) -> Poll<Answer> {
        let Some((answer, waiting)) = self.waiting.get_mut(&ticket) else {
            return Poll::Ready(Err(PublishError::Uncertain));
        };
        match answer {
            Some(answer) => Poll::Ready(answer.clone()),
            None => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
    }
}
