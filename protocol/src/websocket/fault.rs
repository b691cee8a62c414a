//! Faults: every error that a peer can make on an open WebSocket connection, each with its close code.
//!
//! Why an enum and not text: the edge counts faults by kind, and the close code must follow from the kind
//! alone.
//! Not here: faults of the handshake, which the server answers with an HTTP status (`handshake`).

use std::fmt;

/// The peer broke a rule. The caller must close the connection with [`Fault::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A rule of RFC 6455 was broken; the text says which.
    ProtocolError(&'static str),
    /// A text message or a close reason is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A message has, or by its headers will have, more bytes than the limit.
    MessageTooBig {
        /// The size that the message would have had, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// A message has more fragments than the limit.
    TooManyFragments,
    /// The peer sent more control frames in a row, or within one message, than the limit.
    TooManyControlFrames,
}

impl Fault {
    /// The status code for the Close frame that answers this fault (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Fault::ProtocolError(_) => 1002,
            Fault::InvalidUtf8 => 1007,
            Fault::TooManyFragments | Fault::TooManyControlFrames => 1008,
            Fault::MessageTooBig { .. } => 1009,
        }
    }

    /// A short fixed name for counters and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Fault::ProtocolError(_) => "protocol_error",
            Fault::InvalidUtf8 => "invalid_utf8",
            Fault::MessageTooBig { .. } => "message_too_big",
            Fault::TooManyFragments => "too_many_fragments",
            Fault::TooManyControlFrames => "too_many_control_frames",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::ProtocolError(rule) => f.write_str(rule),
            Fault::InvalidUtf8 => f.write_str("text is not UTF-8"),
            Fault::MessageTooBig { bytes, bytes_max } => {
                write!(f, "message of {bytes} bytes, at most {bytes_max} are taken")
            }
            Fault::TooManyFragments => f.write_str("message in too many fragments"),
            Fault::TooManyControlFrames => f.write_str("too many control frames"),
        }
    }
}

impl std::error::Error for Fault {}
