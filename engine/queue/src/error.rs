//! Errors of a push: the reason, and the value that was not sent.
//!
//! Not here: what to do about it. Both are operating conditions, so the caller decides.

use std::fmt;

/// A push that did not go through. The value is inside, untouched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// Every slot holds a value that the consumer has not taken yet. Trying again later can succeed.
    Full(T),
    /// The consumer was dropped. Trying again cannot succeed.
    Closed(T),
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// Whether the ring was full, so that a later try can succeed.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

// By hand, so that values without `Debug` can be sent and the error still be unwrapped.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Closed(..)" })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "the ring is full" } else { "the consumer is gone" })
    }
}

impl<T> std::error::Error for SendError<T> {}
