//! Close codes: every reason to end a connection, and what the client should do after it.
//!
//! On the wire a code is the WebSocket close code `4000 + code` or the QUIC application error code `code`. A
//! node first sends an `Error` frame with the detail wherever the peer can still read it. Faults of the
//! WebSocket layer itself use RFC 6455's own codes (1002, 1007, 1008, 1009) and mean "do not retry".
//! Invariant: a code never gets a second meaning.

/// What a client may do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Retry {
    /// The peer would fail in the same way again: do not reconnect without a change.
    Never = 0,
    /// Reconnect with growing, jittered delay, and resume.
    Backoff = 1,
    /// Get a new token first, then reconnect and resume.
    Reauthenticate = 2,
}

impl Retry {
    /// From its number on the wire; an unknown number means `Backoff`.
    pub fn from_wire(n: u8) -> Retry {
        match n {
            0 => Retry::Never,
            2 => Retry::Reauthenticate,
            _ => Retry::Backoff,
        }
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $retry:ident, $text:literal;)*) => {
        /// A reason to end a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[$doc])* $name = $code,)* }

        impl CloseCode {
            /// Every code, in order.
            pub const ALL: &'static [CloseCode] = &[$(CloseCode::$name,)*];

            /// From its number on the wire.
            pub fn from_wire(code: u16) -> Option<CloseCode> {
                match code { $($code => Some(CloseCode::$name),)* _ => None }
            }

            /// Whether and how the client may reconnect.
            pub fn retry(self) -> Retry {
                match self { $(CloseCode::$name => Retry::$retry,)* }
            }

            /// One sentence for people.
            pub fn text(self) -> &'static str {
                match self { $(CloseCode::$name => $text,)* }
            }
        }
    };
}

close_codes! {
    /// The client asked to close.
    Normal = 0, Never, "closed as asked";
    /// The node drains or stops.
    GoingAway = 100, Backoff, "the node is stopping: reconnect and resume";
    /// The node received nothing for two and a half heartbeats.
    HeartbeatTimeout = 101, Backoff, "no frame within the heartbeat time";
    /// The TLS, WebSocket or QUIC handshake was not finished in time.
    HandshakeTimeout = 102, Backoff, "the handshake was not finished in time";
    /// The connection was established, but no `Hello` arrived in time.
    HelloTimeout = 103, Backoff, "no Hello within the first-frame time";
    /// The node gets more connections than it can serve, or is at a limit. It gives a time to come back
    /// (C-6). Most such refusals happen before the handshake.
    Overloaded = 104, Backoff, "the node is at its limit: try again later";
    /// The peer does not read even its acknowledgements.
    ControlQueueFull = 105, Backoff, "the peer does not read: its control queue is full";
    /// The server has an internal fault. Reserved: this node does not send it; the Rust client uses it when
    /// it drops a QUIC connection.
    Internal = 106, Backoff, "an internal error";
    /// Too many connections from one address. Reserved: this node refuses before the handshake (C-6).
    TooManyConnections = 107, Backoff, "too many connections from this address";
    /// The client sends frames at a higher rate, and for longer, than any honest client does.
    Flooding = 108, Backoff, "too many frames: slow down";
    /// The operator revoked the session: its ticket continues it no more.
    SessionRevoked = 109, Backoff, "the session was revoked: begin a new one";
    /// The keys of the token's issuer are being fetched. The node gives a time to come back.
    KeysPending = 110, Backoff, "the keys of the token's issuer are being fetched: try again soon";
    /// The user has as many sessions as it may. The node gives a time to come back.
    TooManySessions = 111, Backoff, "the user has too many sessions: close one, or try again later";

    /// The token has expired.
    TokenExpired = 150, Reauthenticate, "the token has expired: get a new one";
    /// The operator revoked the token (its `jti`).
    TokenRevoked = 151, Reauthenticate, "the token was revoked: get a new one";
    /// A frame that is not a valid table of its kind, or a field outside its limits.
    Malformed = 200, Never, "a frame was malformed";
    /// A kind that this version does not know and that may not be ignored.
    UnknownKind = 201, Never, "a frame of an unknown kind";
    /// A frame before `Hello`, a second `Hello`, or a frame that only servers send.
    WrongOrder = 202, Never, "a frame out of order";
    /// No common version.
    UnsupportedVersion = 203, Never, "no common protocol version";
    /// A frame over the size limit.
    FrameTooLarge = 204, Never, "a frame over the size limit";
    /// A WebSocket text message: frames are binary.
    NotBinary = 205, Never, "frames must be binary messages";
    /// The token is invalid, for another key, or missing where one is required.
    Unauthorized = 206, Never, "the token was not accepted";
    /// A QUIC stream that the protocol does not use, or bytes that are not a frame header.
    BadStream = 207, Never, "a stream or header outside the protocol";
    /// The operator has banned the user, everywhere.
    Banned = 208, Never, "the user is banned";
}

impl CloseCode {
    /// The number on the wire; also QUIC's application error code.
    pub fn wire(self) -> u16 {
        self as u16
    }

    /// The WebSocket close code.
    pub fn websocket(self) -> u16 {
        4000 + self.wire()
    }

    /// From a WebSocket close code; `None` for codes outside our range.
    pub fn from_websocket(code: u16) -> Option<CloseCode> {
        code.checked_sub(4000).and_then(CloseCode::from_wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for &code in CloseCode::ALL {
            assert_eq!(CloseCode::from_wire(code.wire()), Some(code));
            assert_eq!(CloseCode::from_websocket(code.websocket()), Some(code));
            assert_eq!(Retry::from_wire(code.retry() as u8), code.retry());
        }
    }

    #[test]
    fn hundreds_may_retry_and_two_hundreds_may_not() {
        for &code in CloseCode::ALL {
            match code.wire() {
                100..=199 => assert_ne!(code.retry(), Retry::Never, "{code:?}"),
                _ => assert_eq!(code.retry(), Retry::Never, "{code:?}"),
            }
        }
    }
}
