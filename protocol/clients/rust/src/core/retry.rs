//! Retries: how a connection ended, whether the session reconnects, and after which delay.
//!
//! Why one place: fifteen thousand clients that reconnect at the same moment are an attack. Every delay is
//! drawn evenly between zero and a bound that doubles ("full jitter"). When the node named a time, it has
//! spread its clients itself, so the client reconnects at that time or soon after.
//! Why doubts: an HTTP status, a certificate or a close code of WebSocket itself may come from anything
//! between this client and the node: a proxy that restarts, a hotel's login page. Only the node's own close
//! codes, and this side's own decisions, end a session that once worked.
//! Invariants: a close code of the node that says "never" ends the session; a delay is never below what the
//! node asked for, nor above it by more than the bound.
//! Not here: waiting (the driver).

use grandstand_protocol::close::{CloseCode, Retry};
use grandstand_protocol::random::Random;

use super::ConnectError;

/// How a connection ended, as the transport saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection could not be made, or broke.
    Broken(std::io::ErrorKind),
    /// The connection ended without a code.
    Eof,
    /// The connection ended with one of Grandstand's close codes: WebSocket's number less 4000, or QUIC's
    /// application code.
    Code(u16),
    /// The connection ended with a close code of WebSocket itself.
    WebSocket(u16),
    /// The server answered the upgrade to WebSocket with a status other than 101.
    Http {
        /// The status.
        status: u16,
        /// The server's `Retry-After`.
        retry_after_s: Option<u32>,
    },
    /// No connection was made, and it is known why.
    Connect(Box<ConnectError>),
    /// The TLS handshake failed, or the answer to the upgrade broke the rules.
    Untrusted(Box<str>),
    /// This side dropped the connection on purpose, to reconnect at once.
    Dropped,
}

/// Why a connection, or the session, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The application closed the session.
    Asked,
    /// The node closed it, with an `Error` frame or a close code.
    Told {
        /// The number of a [`CloseCode`], so that new codes reach the application too.
        code: u16,
        /// Detail for people.
        detail: Box<str>,
    },
    /// The node asked the session to move to another node.
    GoAway,
    /// No frame arrived for two heartbeats, or no answer to a ping while another node did answer.
    Silent,
    /// No `Welcome` arrived in time.
    NoWelcome,
    /// The node broke the protocol.
    Malformed(Box<str>),
    /// The transport ended without any of these reasons.
    Transport(Ending),
    /// The session needed a new token and got none.
    NoToken,
    /// The task that ran the session was stopped, with its runtime or by a panic.
    Stopped,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Asked => f.write_str("closed as asked"),
            Reason::Told { code, detail } => {
                let text = CloseCode::from_wire(*code).map_or("closed by the node", CloseCode::text);
                write!(f, "{text} (code {code})")?;
                if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
            }
            Reason::GoAway => f.write_str("the node asked to move"),
            Reason::Silent => f.write_str("the node was silent"),
            Reason::NoWelcome => f.write_str("the node did not answer the hello in time"),
            Reason::Malformed(what) => write!(f, "the node sent something that is not the protocol: {what}"),
            Reason::Transport(ending) => ending.fmt(f),
            Reason::NoToken => f.write_str("the token ran out, and there was no new one"),
            Reason::Stopped => f.write_str("the task of the session was stopped"),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Broken(kind) => write!(f, "connection failed: {kind}"),
            Ending::Eof => f.write_str("connection ended without a word"),
            Ending::Code(code) => write!(f, "closed with code {code}"),
            Ending::WebSocket(code) => write!(f, "closed with WebSocket code {code}"),
            Ending::Connect(error) => error.fmt(f),
            Ending::Http { status, .. } => {
                write!(f, "the server answered with HTTP status {status}: {}", http_advice(*status))
            }
            Ending::Untrusted(why) => write!(f, "the handshake failed: {why}"),
            Ending::Dropped => f.write_str("dropped on purpose"),
        }
    }
}

/// What a status means to somebody who wanted a chat.
fn http_advice(status: u16) -> &'static str {
    match status {
        300..=399 => "a redirect, which is not followed: a login page, or another address",
        400 => "it speaks HTTP but did not take the request: a TLS port, or another service",
        401 | 403 | 407 => "it does not let this client in: check its origins, and proxies",
        404 => "there is no chat at this path: check the path (a node's is /v1)",
        421 | 426 => "it speaks HTTP but not this WebSocket: check the port and the path",
        408 | 425 | 429 | 503 => "it is busy: try again later",
        500.. => "a fault of the server, or of a proxy before it",
        _ => "it is no chat: check host, port and path, or log in to the network",
    }
}

/// What to do after a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Connect again after this time.
    Reconnect {
        /// In microseconds.
        after_us: u64,
    },
    /// Get a new token, give it to the session, then reconnect.
    Reauthenticate,
    /// Do not reconnect.
    GiveUp(Reason),
}

/// Most ends in doubt in a row before a session has ever worked. With the default delays they take some four
/// seconds: a proxy that restarts is back, and a person with a wrong address does not wait long.
pub(super) const DOUBTS_MAX: u8 = 5;

/// What the ending of a connection allows. Times are what the node asked for, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The node's word, or this side's: do not reconnect.
    Never,
    /// Reconnect with growing delay.
    Backoff { after_us: u64 },
    /// It would be "never" if it were the node's word, and may be that of something between: reconnect, but
    /// only [`DOUBTS_MAX`] times if the session never worked.
    Doubtful { after_us: u64 },
    /// Get a new token first.
    Reauthenticate,
}

impl Verdict {
    /// What the node itself said.
    pub(super) fn told(retry: Retry, after_us: u64) -> Verdict {
        match retry {
            Retry::Never => Verdict::Never,
            Retry::Backoff => Verdict::Backoff { after_us },
            Retry::Reauthenticate => Verdict::Reauthenticate,
        }
    }
}

/// What the ending of a connection allows.
pub(super) fn verdict(reason: &Reason) -> Verdict {
    match reason {
        Reason::Asked | Reason::NoToken | Reason::Stopped => Verdict::Never,
        Reason::Told { code, .. } => {
            Verdict::told(CloseCode::from_wire(*code).map_or(Retry::Backoff, CloseCode::retry), 0)
        }
        Reason::Transport(ending) => ending_verdict(ending),
        Reason::GoAway | Reason::Silent | Reason::NoWelcome | Reason::Malformed(_) => {
            Verdict::Backoff { after_us: 0 }
        }
    }
}

fn ending_verdict(ending: &Ending) -> Verdict {
    match ending {
        // RFC 6455's codes for a breach of the protocol; restarts cause the others too.
        Ending::WebSocket(1002 | 1003 | 1007..=1010) | Ending::Untrusted(_) => {
            Verdict::Doubtful { after_us: 0 }
        }
        Ending::Http { status, retry_after_s } => {
            let after_us = u64::from(retry_after_s.unwrap_or(0)) * 1_000_000;
            match status {
                408 | 425 | 429 | 500.. => Verdict::Backoff { after_us },
                _ => Verdict::Doubtful { after_us },
            }
        }
        Ending::Connect(error) if error.is_local() => Verdict::Never,
        Ending::Connect(error) if error.is_doubtful() => Verdict::Doubtful { after_us: 0 },
        Ending::Code(code) => verdict(&Reason::Told { code: *code, detail: Box::default() }),
        Ending::Connect(_) | Ending::Broken(_) | Ending::Eof | Ending::WebSocket(_) | Ending::Dropped => {
            Verdict::Backoff { after_us: 0 }
        }
    }
}

/// The delays of consecutive tries.
#[derive(Debug)]
pub(super) struct Backoff {
    random: Random,
    pub(super) attempt: u32,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff { random: Random::new(seed), attempt: 0 }
    }

    /// The connection stayed established: the delays begin again at the first bound.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next delay: uniform between zero and `first_ms * 2^attempt`, at most `max_ms`.
    pub(super) fn delay_us(&mut self, first_ms: u32, max_ms: u32) -> u64 {
        let bound_us = self.bound_us(first_ms, max_ms);
        self.random.below(bound_us)
    }

    /// The next delay when the node named one: at least that, plus jitter of at most half as much, or of the
    /// first bound. If the node could give only whole seconds, the jitter fills the second.
    pub(super) fn delay_after_us(
        &mut self,
        after_us: u64,
        in_seconds: bool,
        first_ms: u32,
        max_ms: u32,
    ) -> u64 {
        let enough_us = (after_us / 2).max(u64::from(first_ms) * 1_000);
        let bound_us = self.bound_us(first_ms, max_ms).min(enough_us);
        let bound_us = if in_seconds { bound_us.max(1_000_000) } else { bound_us };
        after_us.saturating_add(self.random.below(bound_us))
    }

    fn bound_us(&mut self, first_ms: u32, max_ms: u32) -> u64 {
        let bound_ms = u64::from(first_ms).saturating_mul(1 << self.attempt.min(31)).min(u64::from(max_ms));
        self.attempt = self.attempt.saturating_add(1);
        bound_ms * 1_000
    }

    /// Jitter below a bound, for retries on the same connection.
    pub(super) fn jitter_us(&mut self, below_us: u64) -> u64 {
        self.random() % below_us.max(1)
    }

    /// 64 random bits.
    pub(super) fn random(&mut self) -> u64 {
        self.random.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_their_bound_and_spread_over_it() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            for attempt in 0..40 {
                let bound_us = (500u64 << attempt.min(30)).min(30_000) * 1000;
                assert!(backoff.delay_us(500, 30_000) < bound_us, "seed {seed}, attempt {attempt}");
            }
        }
        let mut backoff = Backoff::new(7);
        backoff.attempt = 20;
        let delays: Vec<u64> = (0..1000).map(|_| backoff.delay_us(500, 30_000)).collect();
        let mean = delays.iter().sum::<u64>() / 1000;
        assert!((13_500_000..16_500_000).contains(&mean), "mean {mean}");
    }

    #[test]
    fn what_the_node_said_is_kept_to_and_a_second_is_filled() {
        let mut backoff = Backoff::new(3);
        let delays = |backoff: &mut Backoff, after_us, in_seconds| -> (u64, u64) {
            let all: Vec<u64> =
                (0..2_000).map(|_| backoff.delay_after_us(after_us, in_seconds, 500, 30_000)).collect();
            (*all.iter().min().unwrap(), *all.iter().max().unwrap())
        };
        let (least, most) = delays(&mut backoff, 2_000_000, true);
        assert!((2_000_000..2_010_000).contains(&least) && (2_990_000..3_000_000).contains(&most));
        let (least, most) = delays(&mut backoff, 300_000, false);
        assert!((300_000..310_000).contains(&least) && (790_000..800_000).contains(&most));
        assert_eq!(backoff.attempt, 4_000, "they count all the same");
    }

    #[test]
    fn codes_decide() {
        let transport = |ending| verdict(&Reason::Transport(ending));
        for &code in CloseCode::ALL {
            assert_eq!(transport(Ending::Code(code.wire())), Verdict::told(code.retry(), 0));
        }
        let (backoff, doubtful) = (Verdict::Backoff { after_us: 0 }, Verdict::Doubtful { after_us: 0 });
        assert_eq!(verdict(&Reason::Told { code: 999, detail: Box::default() }), backoff);
        assert_eq!(transport(Ending::WebSocket(1002)), doubtful);
        assert_eq!(transport(Ending::WebSocket(1006)), backoff);
        let busy = Ending::Http { status: 503, retry_after_s: Some(3) };
        assert_eq!(transport(busy), Verdict::Backoff { after_us: 3_000_000 });
        for status in [200, 301, 302, 400, 401, 403, 404, 407, 421, 426, 451] {
            assert_eq!(transport(Ending::Http { status, retry_after_s: None }), doubtful, "{status}");
        }
    }
}
