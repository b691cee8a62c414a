//! Options of a session, a subscription and a publication.
//!
//! Not here: addresses, trust, sockets (`net`).

use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};

/// Settings of a session. Kept once per session: small, and without heap memory for empty fields.
#[derive(Clone, Debug)]
pub struct Options {
    /// Signed token; empty for none.
    pub token: String,
    /// Display name to ask for; empty to let the node choose one.
    pub name: String,
    /// The client's name and version, for the node's logs.
    pub agent: &'static str,
    /// Seed of backoff jitter and of the first nonce. Each session needs a new one.
    pub seed: u64,
    /// Bound of the delay before the first reconnect; it doubles with every failed try.
    pub backoff_ms: u32,
    /// Largest bound of that delay.
    pub backoff_max_ms: u32,
    /// Number of failed reconnects in a row after which the session gives up; 0: after the first failure.
    pub retries_max: u32,
    /// Most publications, state changes and acts without an answer. Beyond:
    /// [`Full`](super::RequestError::Full).
    pub unanswered_max: u32,
    /// Whether to keep the values of the state lane, for [`Session::state`](super::Session::state).
    pub keep_state: bool,
    /// Whether to accept compressed batches, if the node offers them. Costs one decompressor per thread, not
    /// per session.
    pub compression: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            token: String::new(),
            name: String::new(),
            agent: concat!("grandstand-client-rust/", env!("CARGO_PKG_VERSION")),
            seed: 0,
            // Full jitter makes the mean delay half of this: people do not notice a quarter of a second.
            backoff_ms: 500,
            // A node that is down for long should get few tries, and a waiting person should not wait a
            // minute.
            backoff_max_ms: 30_000,
            retries_max: u32::MAX,
            // More than a bridge has unanswered in one round trip at 500 messages/s.
            unanswered_max: 256,
            keep_state: true,
            compression: true,
        }
    }
}

/// Settings of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Number of the newest messages to replay first, when not resuming.
    pub replay: u32,
    /// A position from an earlier run to continue after: epoch and next offset.
    pub resume: Option<(u64, u64)>,
}

/// A message to publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publication<'a> {
    /// The text.
    pub text: &'a str,
    /// Offset of the message that this one answers.
    pub reply_to: Option<u64>,
    /// Reference to an attachment; empty for none.
    pub attachment: &'a str,
    /// A bridge's author; empty for the session's own name.
    pub author: &'a str,
    /// A bridge's author's role.
    pub role: Role,
    /// Nonce of this publication, if the application chooses it: a new one for the user, or with `age_ms` the
    /// nonce of the publication that this one retries. `None`: the session chooses.
    pub nonce: Option<u64>,
    /// For a retry after a temporary refusal: the age of the first attempt in milliseconds, at least 1. If
    /// the session cannot be continued before the retry is sent, or the node's memory of nonces does not
    /// reach back so far, the retry is reported as [`Uncertain`](super::EventOf::Uncertain). 0: a first
    /// attempt. The session itself retries unanswered publications.
    pub age_ms: u32,
}

impl Publication<'_> {
    /// Check the parts that people wrote as an edge and a shard do, before sending. `text_bytes_max` is the
    /// server's limit from [`Welcome`](super::EventOf::Welcome), or the protocol's while that is unknown.
    ///
    /// # Errors
    /// The refusal that a server would send.
    pub fn check(&self, text_bytes_max: usize) -> Result<(), Refusal> {
        let Publication { text, attachment, author, .. } = *self;
        rules::check_content(&Content { text, attachment, author }, text_bytes_max)
    }
}
