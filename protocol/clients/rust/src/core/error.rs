//! The errors of an application's requests, which a session does not take.
//!
//! Why values: what an application or a person types must never end a session, so a session checks everything
//! itself that a node would answer with a close or a refusal.
//! Not here: refusals of the node, which come later as events (`event`).

use grandstand_protocol::refusal::Refusal;

/// Why a session did not take a request. Nothing was sent, and nothing will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Too many requests wait: try again after the next answer.
    Full,
    /// The session has ended, or was asked to close: it takes nothing any more.
    Over,
    /// A publication with this nonce still waits for its answer.
    Waiting,
    /// The request breaks a rule, for which a node would refuse it: change it before the next try.
    Refused(Refusal),
}

impl RequestError {
    /// Whether the same request may be taken later.
    pub fn may_retry(self) -> bool {
        match self {
            RequestError::Full | RequestError::Waiting => true,
            RequestError::Over => false,
            RequestError::Refused(reason) => reason.may_retry(),
        }
    }
}

impl From<Refusal> for RequestError {
    fn from(reason: Refusal) -> RequestError {
        RequestError::Refused(reason)
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RequestError::Full => {
                f.write_str("too many requests wait for an answer: try again after the next")
            }
            RequestError::Over => f.write_str("the session has ended or is closing: begin a new one"),
            RequestError::Waiting => f.write_str("a publication with this nonce still waits for its answer"),
            RequestError::Refused(reason) => write!(f, "not allowed: {}", reason.text()),
        }
    }
}

impl std::error::Error for RequestError {}
