//! Scratch: the memory of a judgement, used again for the next one.
//!
//! Why: a shard judges every publication, and an ordinary one must not allocate.
//! Invariant: nothing in it outlives the judgement that filled it, but what was found.
//! Not here: the judgement (`filter`).

use crate::fold::{Turned, Unit};
use crate::letters::Row;

/// Which way of writing a rule was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// As letters, whole or in parts.
    Plain,
    /// With digits or signs for letters.
    AsLetters,
    /// With signs that hide letters.
    Hidden,
    /// Shown from right to left by an override.
    Turned,
    /// By a regular expression.
    Expression,
}

/// A rule that a text met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The list's place in the filter.
    pub list: u16,
    /// The rule's place in the list.
    pub rule: u32,
    /// Bytes of the text, from.
    pub start: u32,
    /// Bytes of the text, to.
    pub end: u32,
    /// How it was written.
    pub seen: Seen,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) units: Vec<Unit>,
    pub(crate) turned: Vec<Turned>,
    pub(crate) row: Row,
    /// Places of exceptions in the reading that is searched: units from, to.
    pub(crate) excepted: Vec<(u32, u32)>,
    /// Candidates of that reading: rule, units from, to.
    pub(crate) candidates: Vec<(u32, u32, u32)>,
    pub(crate) hits: Vec<Hit>,
    pub(crate) spans: Vec<(u32, u32)>,
}

impl Scratch {
    /// Memory for the first judgement; it grows to the longest text.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Every rule that the last text met, as often as it met it.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// The parts of the last text that are to be masked: bytes from, to; in order, none overlaps.
    pub fn spans(&self) -> &[(u32, u32)] {
        &self.spans
    }

    /// The last text with `*` in place of each character that is to be masked.
    pub fn masked(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        for &(start, end) in &self.spans {
            let (start, end) = (start as usize, end as usize);
            masked.push_str(&text[at..start]);
            masked.extend(text[start..end].chars().map(|_| '*'));
            at = end;
        }
        masked.push_str(&text[at..]);
        masked
    }
}
