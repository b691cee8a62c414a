//! Findings: what was found about a key, and what to do.
//!
//! Invariant: each finding names the key that it is about; each warning and each error says what to do.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::Verdict;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It was tested, and it is well.
    Ok,
    /// A node starts, and something is probably not as it was meant.
    Warning,
    /// A node does not start, or soon does not work.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The key, or its section.
    pub(super) key: String,
    pub(super) text: String,
    /// What to do; empty where there is nothing to do.
    pub(super) hint: String,
}

/// All findings, in the order of the tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn fine(&mut self, key: &str, text: impl Into<String>) {
        self.add(Level::Ok, key, text.into(), String::new());
    }

    pub(super) fn warn(&mut self, key: &str, text: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Warning, key, text.into(), hint.into());
    }

    pub(super) fn error(&mut self, key: &str, text: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Error, key, text.into(), hint.into());
    }

    fn add(&mut self, level: Level, key: &str, text: String, hint: String) {
        self.findings.push(Finding { level, key: key.to_owned(), text, hint });
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    pub(super) fn verdict(&self, is_strict: bool) -> Verdict {
        match (self.count(Level::Error), self.count(Level::Warning)) {
            (1.., _) => Verdict::Faulty,
            (0, 1..) if is_strict => Verdict::Warned,
            _ => Verdict::Fine,
        }
    }

    /// A line for each finding, what to do below it, and the sum.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for Finding { level, key, text, hint } in &self.findings {
            writeln!(out, "{level:<8} {key}: {text}")?;
            if !hint.is_empty() {
                writeln!(out, "         help: {hint}")?;
            }
        }
        let counted =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let starts = if errors == 0 { "starts" } else { "does not start" };
        writeln!(
            out,
            "{}, {}: a node with this configuration {starts}",
            counted(errors, "error"),
            counted(warnings, "warning")
        )
    }

    /// One object.
    pub(super) fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let report = serde_json::json!({
            "ok": errors == 0, "errors": errors, "warnings": warnings, "findings": self.findings,
        });
        writeln!(out, "{report}")
    }
}
