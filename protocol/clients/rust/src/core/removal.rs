//! A removal that an application can keep: which of the messages that it shows are to go.
//!
//! Why a rule: an application that shows a thousand messages asks it for each, and needs no list of all that
//! were ever removed.
//! Not here: the entry of the log that it comes from (`grandstand_protocol::batch`).

use grandstand_protocol::batch::Removal;

/// Which messages moderators removed by one act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalRule {
    at: u64,
    from: u64,
    next: u64,
    names: Option<Box<[Box<str>]>>,
    only: Option<Box<[(u64, u64)]>>,
    but: Box<[(u64, u64)]>,
}

impl RemovalRule {
    /// The rule of the entry at offset `at`.
    pub(super) fn new(at: u64, removal: &Removal<'_>) -> RemovalRule {
        let from = removal.from().unwrap_or(at);
        let mut rule = RemovalRule { at, from, next: at, names: None, only: None, but: Box::default() };
        match *removal {
            Removal::One { offset } => rule.next = offset + 1,
            Removal::Names { names, but, .. } => {
                rule.names = Some(names.map(Box::from).collect());
                rule.but = but.collect();
            }
            Removal::Runs(runs) => rule.only = Some(runs.collect()),
            Removal::All { .. } | Removal::Unknown => {}
        }
        rule
    }

    /// The offset of the act.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Is the message at `offset`, shown under the name `author`, to go?
    pub fn covers(&self, offset: u64, author: &str) -> bool {
        let is_in = |runs: &[(u64, u64)]| runs.iter().any(|&(first, next)| (first..next).contains(&offset));
        (self.from..self.next).contains(&offset)
            && self.names.as_ref().is_none_or(|names| names.iter().any(|name| **name == *author))
            && self.only.as_ref().is_none_or(|only| is_in(only))
            && !is_in(&self.but)
    }
}
