//! Cells: numbers that one thread writes and the scrape reads.
//!
//! Why no read-modify-write: a cell has one writer, so a load and a store are enough, at the cost of plain
//! memory.
//! Invariant: a cell is written by one thread at a time. A reader sees some value that the cell had.
//! Not here: names and help (the table).

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use grandstand_edge_core::admission::limits::LimitReached;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::GapReason;
use grandstand_protocol::refusal::Refusal;

/// One number of one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Add to the number, which wraps at the end of u64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Add one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtract, for a gauge.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.get().saturating_sub(n), Ordering::Relaxed);
    }

    /// Replace, for a gauge or a number that is counted elsewhere.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One cell for each value of a label.
#[derive(Debug)]
pub struct Labelled<L> {
    cells: Box<[Cell]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Labelled<L> {
    /// The cell of this value.
    #[inline]
    pub fn of(&self, value: L) -> &Cell {
        &self.cells[value.index()]
    }

    /// Replace all numbers, in the label's order.
    ///
    /// # Panics
    /// If `numbers` does not have one number for each value of the label.
    pub fn set_all(&self, numbers: &[u64]) {
        assert_eq!(numbers.len(), self.cells.len(), "one number per value of {}", L::NAME);
        self.cells.iter().zip(numbers).for_each(|(cell, &n)| cell.set(n));
    }

    /// The sum of all numbers.
    pub fn sum(&self) -> u64 {
        self.cells.iter().map(Cell::get).sum()
    }
}

impl<L: Label> Default for Labelled<L> {
    fn default() -> Self {
        Labelled { cells: (0..L::COUNT).map(|_| Cell::default()).collect(), label: PhantomData }
    }
}

/// A label, by which a number is broken down.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Number of its values.
    const COUNT: usize;
    /// The index of this value.
    fn index(self) -> usize;
    /// The word for the value at this index.
    fn word(index: usize) -> Cow<'static, str>;
}

/// The scrape's view of a field.
pub trait Series {
    /// The name of the label, if it has one.
    fn label(&self) -> Option<&'static str>;
    /// Label values (empty without one) and numbers.
    fn numbers(&self) -> Vec<(Cow<'static, str>, u64)>;
}

impl Series for Cell {
    fn label(&self) -> Option<&'static str> {
        None
    }

    fn numbers(&self) -> Vec<(Cow<'static, str>, u64)> {
        vec![(Cow::Borrowed(""), self.get())]
    }
}

impl<L: Label> Series for Labelled<L> {
    fn label(&self) -> Option<&'static str> {
        Some(L::NAME)
    }

    fn numbers(&self) -> Vec<(Cow<'static, str>, u64)> {
        self.cells.iter().enumerate().map(|(index, cell)| (L::word(index), cell.get())).collect()
    }
}

/// Declares a label with its own values.
macro_rules! labels {
    ($(#[$doc:meta])* $Label:ident = $name:literal { $( $(#[$vdoc:meta])* $Value:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Label { $( $(#[$vdoc])* $Value, )* }

        impl $Label {
            /// Every value, in order.
            pub const ALL: &'static [$Label] = &[$( $Label::$Value, )*];
        }

        impl Label for $Label {
            const NAME: &'static str = $name;
            const COUNT: usize = Self::ALL.len();

            fn index(self) -> usize {
                self as usize
            }

            fn word(index: usize) -> Cow<'static, str> {
                Cow::Borrowed([$($word),*][index])
            }
        }
    };
}

labels! {
    /// The transport of a connection.
    Transport = "transport" {
        /// WebSocket without TLS.
        WebSocket = "websocket",
        /// WebSocket over TLS.
        WebSocketTls = "websocket_tls",
        /// QUIC.
        Quic = "quic",
    }
}

labels! {
    /// Why a connection was refused before its handshake.
    TurnedAway = "reason" {
        /// No valid PROXY header from a trusted proxy where it is due, or one from somebody else.
        ProxyHeader = "proxy_header",
        /// Its address holds as many connections as allowed.
        TooManyConnections = "too_many_connections",
        /// Its address opens connections too fast.
        TooManyHandshakes = "too_many_handshakes",
        /// The node holds as many connections as allowed.
        NodeFull = "node_full",
        /// As many handshakes as allowed are unfinished, in all or of its address.
        HandshakesPending = "handshakes_pending",
        /// Its handshake would not begin soon enough: too many clients wait.
        Overloaded = "overloaded",
        /// Others took precedence for so long that its handshake did not begin in time.
        Overtaken = "overtaken",
        /// The process has no file descriptor left.
        FilesExhausted = "files_exhausted",
        /// The node is draining.
        Draining = "draining",
    }
}

impl From<LimitReached> for TurnedAway {
    fn from(refusal: LimitReached) -> TurnedAway {
        match refusal {
            LimitReached::TooManyConnections => TurnedAway::TooManyConnections,
            LimitReached::TooManyHandshakes { .. } => TurnedAway::TooManyHandshakes,
            LimitReached::NodeFull => TurnedAway::NodeFull,
        }
    }
}

labels! {
    /// What a connection waits for that is not a session yet.
    WaitedFor = "waited_for" {
        /// The end of its handshake.
        Handshake = "handshake",
        /// The client's `Hello`.
        Hello = "hello",
    }
}

labels! {
    /// Why a handshake that had begun was not finished.
    HandshakeFailure = "reason" {
        /// It took too long.
        Timeout = "timeout",
        /// The peer left.
        Gone = "gone",
        /// TLS or QUIC failed.
        Tls = "tls",
        /// The HTTP upgrade was refused.
        Http = "http",
        /// No protocol in common (ALPN).
        Protocol = "protocol",
    }
}

impl Label for CloseCode {
    const NAME: &'static str = "code";
    const COUNT: usize = CloseCode::ALL.len();

    fn index(self) -> usize {
        Self::ALL.iter().position(|&code| code == self).expect("every code is listed")
    }

    fn word(index: usize) -> Cow<'static, str> {
        Cow::Owned(snake_case(&format!("{:?}", Self::ALL[index])))
    }
}

impl Label for Refusal {
    const NAME: &'static str = "reason";
    const COUNT: usize = Refusal::ALL.len();

    fn index(self) -> usize {
        Self::ALL.iter().position(|&reason| reason == self).expect("every reason is listed")
    }

    fn word(index: usize) -> Cow<'static, str> {
        Cow::Owned(Self::ALL[index].text().replace(' ', "_"))
    }
}

const GAP_REASONS: [GapReason; 4] =
    [GapReason::Slow, GapReason::Paced, GapReason::Expired, GapReason::Restarted];

impl Label for GapReason {
    const NAME: &'static str = "reason";
    const COUNT: usize = GAP_REASONS.len();

    fn index(self) -> usize {
        self as usize
    }

    fn word(index: usize) -> Cow<'static, str> {
        Cow::Owned(snake_case(&format!("{:?}", GAP_REASONS[index])))
    }
}

fn snake_case(camel: &str) -> String {
    let mut word = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_own_cells() {
        let closes = Labelled::<CloseCode>::default();
        closes.of(CloseCode::Flooding).add(3);
        closes.of(CloseCode::Normal).inc();
        let seen: Vec<_> = closes.numbers().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(seen, [("normal".into(), 1), ("flooding".into(), 3)]);
        assert_eq!(closes.sum(), 4);
    }

    #[test]
    fn labels_are_dense_and_their_words_differ() {
        fn check<L: Label>(all: &[L]) {
            let words: std::collections::HashSet<_> = (0..L::COUNT).map(L::word).collect();
            assert_eq!(words.len(), all.len());
            assert!(all.iter().enumerate().all(|(at, value)| value.index() == at));
            assert!(
                words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')),
                "{words:?}"
            );
        }
        check(CloseCode::ALL);
        check(Refusal::ALL);
        check(&GAP_REASONS);
        check(Transport::ALL);
        check(TurnedAway::ALL);
        check(HandshakeFailure::ALL);
        check(WaitedFor::ALL);
    }

    #[test]
    fn a_level_does_not_fall_below_zero() {
        let level = Cell::default();
        level.add(1);
        level.sub(2);
        assert_eq!(level.get(), 0);
    }
}
