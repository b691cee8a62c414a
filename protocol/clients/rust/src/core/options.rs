//! What the application asks of a session, a subscription, a publication.
//!
//! Not here: addresses, trust, sockets (`net`).

use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};

/// How a session behaves. Kept once per session: small, and without heap where a field is empty.
#[derive(Clone, Debug)]
pub struct Options {
    /// Signed token; empty for none.
    pub token: String,
    /// Display name wished for; empty to be given one.
    pub name: String,
    /// What the client calls itself.
    pub agent: &'static str,
    /// Seed of backoff jitter and of the first nonce; new for every session.
    pub seed: u64,
    /// First bound of the delay before a reconnect; it doubles with every try that fails.
    pub backoff_ms: u32,
    /// Last bound of that delay.
    pub backoff_max_ms: u32,
    /// Give up after so many tries to come back without a connection that held; 0: after the first failure.
    pub retries_max: u32,
    /// Publications and state changes that may wait for their answer. Beyond: [`Full`](super::Full).
    pub unanswered_max: u32,
    /// Keep the values of the state lane, for [`Session::state`](super::Session::state).
    pub keep_state: bool,
    /// Take batches compressed, where the node offers it. Costs one decompressor per thread, not per session.
    pub compression: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            token: String::new(),
            name: String::new(),
            agent: concat!("grandstand-client-rust/", env!("CARGO_PKG_VERSION")),
            seed: 0,
            // Full jitter makes the mean half of it: people do not notice a quarter of a second.
            backoff_ms: 500,
            // A node that is down for long should see few tries; someone who waits should not wait a minute.
            backoff_max_ms: 30_000,
            retries_max: u32::MAX,
            // More than a bridge has under way in one round trip at 500 messages/s.
            unanswered_max: 256,
            keep_state: true,
            compression: true,
        }
    }
}

/// How to follow a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// How many of the newest messages to begin with, when not resuming.
    pub replay: u32,
    /// Continue after a position kept from an earlier run: epoch and next offset.
    pub resume: Option<(u64, u64)>,
}

/// Something to say.
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
    /// Of a retry after a refusal that may pass: the age of the first attempt in milliseconds, at least 1. If
    /// the session cannot be continued before the retry is sent, or the node's memory of nonces does not
    /// reach back so far, the retry is reported as [`Uncertain`](super::EventOf::Uncertain). 0: a first
    /// attempt. The session itself retries what was not answered.
    pub age_ms: u32,
}

impl Publication<'_> {
    /// Judge what people wrote as an edge and a shard do, before anything is sent. `text_bytes_max` is the
    /// server's, from [`Welcome`](super::EventOf::Welcome); where it is not known yet, the protocol's.
    ///
    /// # Errors
    /// The refusal that a server would send.
    pub fn check(&self, text_bytes_max: usize) -> Result<(), Refusal> {
        let Publication { text, attachment, author, .. } = *self;
        rules::check_content(&Content { text, attachment, author }, text_bytes_max)
    }
}
