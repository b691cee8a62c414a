//! Rules: what a list says of one word or pattern.
//!
//! Why an order of actions: when several rules catch a text, the strictest decides, so that a mild rule never
//! weakens another.
//! Not here: how rules are written (`parse`), what a caller does with an action (the room).

use std::fmt;

/// What is done with a text, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing but a count: `pass` in a list.
    #[default]
    Allow,
    /// What the rule caught is shown as `*`.
    Mask,
    /// A moderator decides before anybody sees it.
    Hold,
    /// Its author alone sees it.
    Shadow,
    /// It is refused, and its author is told.
    Refuse,
    /// It is refused, and its author is silent for so many seconds.
    Timeout(u32),
}

/// The longest timeout: 14 days.
pub const TIMEOUT_S_MAX: u32 = 14 * 24 * 3600;

impl Action {
    /// Every action by its word; a timeout is 1 s long.
    pub const ALL: [Action; 6] =
        [Action::Allow, Action::Mask, Action::Hold, Action::Shadow, Action::Refuse, Action::Timeout(1)];

    /// Its word in a list, in metrics and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Action::Allow => "pass",
            Action::Mask => "mask",
            Action::Hold => "hold",
            Action::Shadow => "shadow",
            Action::Refuse => "refuse",
            Action::Timeout(_) => "timeout",
        }
    }

    /// Its place in [`Action::ALL`].
    pub fn index(self) -> usize {
        match self {
            Action::Allow => 0,
            Action::Mask => 1,
            Action::Hold => 2,
            Action::Shadow => 3,
            Action::Refuse => 4,
            Action::Timeout(_) => 5,
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Action> {
        if let Some(seconds) = word.strip_prefix("timeout=") {
            let seconds = seconds.parse().ok().filter(|s| (1..=TIMEOUT_S_MAX).contains(s))?;
            return Some(Action::Timeout(seconds));
        }
        Action::ALL[..5].iter().copied().find(|action| action.word() == word)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Timeout(seconds) => write!(f, "timeout={seconds}"),
            action => f.write_str(action.word()),
        }
    }
}

/// What lines of a list say beside their word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// What is done.
    pub action: Action,
    /// How bad it is, from 1 to 4.
    pub severity: u8,
    /// What it is: `insult`, `spam`; empty when the list does not say.
    pub category: Box<str>,
    /// Are moderators judged as well?
    pub concerns_moderators: bool,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { action: Action::Refuse, severity: 2, category: "".into(), concerns_moderators: false }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The word or pattern, as the list has it.
    pub text: Box<str>,
    /// Its line, from 1.
    pub line: u32,
    /// Everything else.
    pub marks: Marks,
}
