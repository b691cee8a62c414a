//! The form of a list: one rule a line.
//!
//! ```text
//! # A comment.
//! @ mask severity=2 category=insult      what holds for the lines that follow
//! blockhead                              a word
//! two words | refuse                     several words, with an action of their own
//! *spam*                                 also inside of other words
//! noo*b                                  this letter may be repeated
//! ! spamming                             an exception: what it covers is not caught
//! /buy (gold|coins) at \S+/ | hold       a regular expression
//! \# | mask                              `\` before a word that begins with one of these signs
//! ```
//!
//! Why a form of our own: a moderator writes it in any editor, and each line is a rule of its own in reports.
//! Invariant: every fault is told with its line, and a list with a fault is not used in part.
//! Not here: lists of other projects (`import`).

use std::fmt;

use super::rule::{Action, Marks, Rule};
use crate::terms::Pattern;

/// Bytes of a list, at most.
pub const LIST_BYTES_MAX: usize = 4 << 20;

/// Rules and exceptions of a list, at most.
pub const LIST_RULES_MAX: usize = 50_000;

/// Faults that are told of one list.
const FAULTS_MAX: usize = 20;

/// What is wrong in a list, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0 for the list as a whole.
    pub line: u32,
    /// For whoever writes the list.
    pub says: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.says),
            line => write!(f, "line {line}: {}", self.says),
        }
    }
}

/// What the lines of a list say.
#[derive(Default)]
pub(super) struct Parsed {
    /// Rules of words.
    pub(super) words: Vec<Rule>,
    /// What is searched, with the rule that it is of; `None` for an exception.
    pub(super) patterns: Vec<(Pattern, Option<u32>)>,
    /// Rules of regular expressions: what stands between the slashes.
    pub(super) expressions: Vec<Rule>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Fault>> {
    let (mut parsed, mut marks, mut faults) = (Parsed::default(), Marks::default(), Vec::new());
    if text.len() > LIST_BYTES_MAX {
        return Err(vec![Fault { line: 0, says: format!("{} bytes, at most {LIST_BYTES_MAX}", text.len()) }]);
    }
    for (ix, line) in text.lines().enumerate() {
        let number = ix as u32 + 1;
        if let Err(says) = parsed.read(line.trim_start_matches('\u{feff}').trim(), number, &mut marks) {
            faults.push(Fault { line: number, says });
        }
        if parsed.len() > LIST_RULES_MAX {
            faults.push(Fault { line: number, says: format!("more than {LIST_RULES_MAX} rules") });
        }
        if faults.len() >= FAULTS_MAX {
            break;
        }
    }
    if faults.is_empty() { Ok(parsed) } else { Err(faults) }
}

impl Parsed {
    fn len(&self) -> usize {
        self.patterns.len() + self.expressions.len()
    }

    fn read(&mut self, line: &str, number: u32, marks: &mut Marks) -> Result<(), String> {
        match line.chars().next() {
            None | Some('#') => return Ok(()),
            Some('@') => {
                *marks = read_marks(&line[1..], Marks::default())?;
                return Ok(());
            }
            Some('!') => {
                return self.add(&line[1..], None);
            }
            _ => {}
        }
        let (text, own) = if line.starts_with('/') { split_expression(line)? } else { split(line) };
        let marks = match own {
            Some(own) => read_marks(own, marks.clone())?,
            None => marks.clone(),
        };
        let rule = |text: &str| Rule { text: text.into(), line: number, marks };
        match text.strip_prefix('/') {
            Some(expression) => self.expressions.push(rule(expression)),
            None => {
                self.add(text.strip_prefix('\\').unwrap_or(text), Some(self.words.len() as u32))?;
                self.words.push(rule(text));
            }
        }
        Ok(())
    }

    /// Add a term in each form that looks different: Greek capitals look like other letters than small ones.
    fn add(&mut self, term: &str, rule: Option<u32>) -> Result<(), String> {
        let first = self.patterns.len();
        let mut capital = String::with_capacity(term.len());
        let mut chars = term.chars();
        capital.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        capital.push_str(chars.as_str());
        for form in [term, &term.to_lowercase(), &term.to_uppercase(), &capital] {
            let pattern = Pattern::parse(form)?;
            if self.patterns[first..].iter().all(|(other, _)| *other != pattern) {
                self.patterns.push((pattern, rule));
            }
        }
        Ok(())
    }
}

/// A word, and what stands behind the bar.
fn split(line: &str) -> (&str, Option<&str>) {
    line.split_once('|').map_or((line, None), |(text, own)| (text.trim_end(), Some(own)))
}

/// `/expression`, and what stands behind the bar after the last slash.
fn split_expression(line: &str) -> Result<(&str, Option<&str>), String> {
    let end = line.rfind('/').filter(|&end| end > 1);
    let end = end.ok_or("a regular expression stands between two slashes: /expression/")?;
    let rest = line[end + 1..].trim();
    match rest.strip_prefix('|') {
        _ if rest.is_empty() => Ok((&line[..end], None)),
        Some(own) => Ok((&line[..end], Some(own))),
        None => Err(format!("got `{rest}` behind the regular expression, expected nothing or `| ACTION`")),
    }
}

fn read_marks(text: &str, mut marks: Marks) -> Result<Marks, String> {
    for word in text.split_whitespace() {
        if let Some(action) = Action::parse(word) {
            marks.action = action;
        } else if let Some(severity) = word.strip_prefix("severity=") {
            let severity = severity.parse().ok().filter(|severity| (1..=4).contains(severity));
            marks.severity =
                severity.ok_or_else(|| format!("got `{word}`, expected severity=1 to severity=4"))?;
        } else if let Some(category) = word.strip_prefix("category=") {
            let is_name = (1..=32).contains(&category.len())
                && category.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if !is_name {
                return Err(format!(
                    "got `{word}`, expected 1 to 32 letters, digits, `-` or `_` as the category"
                ));
            }
            marks.category = category.into();
        } else if let Some(of) = word.strip_prefix("moderators=") {
            marks.concerns_moderators = match of {
                "judged" => true,
                "exempt" => false,
                _ => return Err(format!("got `{word}`, expected moderators=judged or moderators=exempt")),
            };
        } else {
            return Err(format!(
                "got `{word}`, expected pass, mask, hold, shadow, refuse, timeout=SECONDS (1 to 1209600), \
                 severity=N, category=NAME or moderators=judged"
            ));
        }
    }
    Ok(marks)
}
