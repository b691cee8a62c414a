//! A publication as an app gives it, and its outcome as an app gets it.
//!
//! Why owned: they cross from the app's task to the session's and back.
//! Not here: the rules for texts (`core`), waiting for the outcome (`answers`).

use std::fmt;
use std::time::Duration;

use grandstand_protocol::frame::{Durability, Role};
use grandstand_protocol::refusal::Refusal;

use crate::core::{Publication, RequestError};

/// A message to publish, which owns its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedPublication {
    /// The text.
    pub text: String,
    /// Offset of the message that this one answers.
    pub reply_to: Option<u64>,
    /// Reference to an attachment; empty for none.
    pub attachment: String,
    /// A bridge's author; empty for the session's own name.
    pub author: String,
    /// A bridge's author's role.
    pub role: Role,
    /// Set on a retry after a temporary refusal: the message is then in the log once, whatever became of the
    /// first attempt. After the end of a connection the session itself retries unanswered publications.
    pub again: Option<Again>,
}

/// Marks a retry: the nonce of the publication, and the age of the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The nonce of the first attempt, from [`Client::try_publish`](super::Client::try_publish).
    pub nonce: u64,
    /// Time since the first attempt.
    pub age: Duration,
}

impl OwnedPublication {
    /// What the session is given, this long after the app gave it to the client.
    pub(super) fn borrowed(&self, nonce: u64, waited_us: u64) -> Publication<'_> {
        let (text, attachment, author) = (&*self.text, &*self.attachment, &*self.author);
        let age = self.again.map(|again| again.age + Duration::from_micros(waited_us));
        let age_ms = age.map_or(0, |age| age.as_millis().clamp(1, u32::MAX.into()) as u32);
        let (reply_to, role) = (self.reply_to, self.role);
        Publication { text, reply_to, attachment, author, role, nonce: Some(nonce), age_ms }
    }
}

impl From<String> for OwnedPublication {
    fn from(text: String) -> OwnedPublication {
        OwnedPublication { text, ..OwnedPublication::default() }
    }
}

impl From<&str> for OwnedPublication {
    fn from(text: &str) -> OwnedPublication {
        text.to_owned().into()
    }
}

/// The answer to a publication that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its nonce.
    pub nonce: u64,
    /// Epoch of the log that holds it.
    pub epoch: u64,
    /// Its offset.
    pub offset: u64,
    /// How safe it is.
    pub durability: Durability,
    /// Whether the node had accepted it before.
    pub repeated: bool,
}

/// Why a publication has no [`Receipt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The session did not take it: nothing was sent.
    Request(RequestError),
    /// The node refused it: it is not in the log.
    Refused {
        /// Why.
        reason: Refusal,
        /// Delay after which the same publication may be accepted; `None` if it needs a change first.
        retry_after: Option<Duration>,
        /// Detail for people.
        detail: Box<str>,
    },
    /// It was sent, and its answer will never come: it may or may not be in the log.
    Uncertain,
    /// The session ended before it was sent: it is not in the log.
    NotSent,
}

impl From<RequestError> for PublishError {
    fn from(error: RequestError) -> PublishError {
        PublishError::Request(error)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Request(error) => error.fmt(f),
            PublishError::Refused { reason, detail, .. } if detail.is_empty() => {
                write!(f, "the node refused: {}", reason.text())
            }
            PublishError::Refused { reason, detail, .. } => {
                write!(f, "the node refused: {}: {detail}", reason.text())
            }
            PublishError::Uncertain => {
                f.write_str("the connection ended before the answer: the message may or may not be published")
            }
            PublishError::NotSent => f.write_str("the session ended before the message was sent"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PublishError::Request(error) => Some(error),
            _ => None,
        }
    }
}
