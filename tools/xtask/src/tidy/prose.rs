//! Prose: rules for the width of comments and the line breaks of documents.
//!
//! Why: two files fit side by side on a screen, and a change of a sentence is a change of one line.

use super::lists::LONG_SENTENCES;
use super::tree::Tree;
use super::{Finding, lists, syntax};

/// The width of code, in characters (rustfmt.toml).
const WIDTH_MAX: usize = 110;

/// Words of a sentence: beyond, a reader has lost its beginning.
const WORDS_MAX: usize = 40;

/// Comments are at most [`WIDTH_MAX`] characters wide; tables and fenced text may be wider.
pub(super) fn width(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| !path.ends_with(".md")) {
        for (number, line) in syntax::outside_fences(text.lines()) {
            let width = line.chars().count();
            let is_prose = syntax::comment(path, line).is_some_and(|(_, text)| !text.starts_with('|'));
            if is_prose && width > WIDTH_MAX {
                findings.push(Finding::new(
                    "width",
                    path,
                    number,
                    format!("{width} characters, at most 110"),
                ));
            }
        }
    }
    findings
}

/// Documents have one sentence a line, of at most [`WORDS_MAX`] words.
pub(super) fn sentences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_ending("md") {
        for (number, line) in syntax::outside_fences(text.lines()) {
            if line.trim_start().starts_with(['|', '#', '<', '>']) || line.starts_with("    ") {
                continue;
            }
            if ends(line) > 0 {
                findings.push(Finding::new("sentence", path, number, "a sentence ends before the line does"));
            }
            let words = words(line);
            if words > WORDS_MAX && !LONG_SENTENCES.contains(&path) {
                let says = format!("{words} words in one sentence, at most {WORDS_MAX}");
                findings.push(Finding::new("sentence", path, number, says));
            }
        }
    }
    let is_long = |path: &str| {
        tree.files.get(path).is_some_and(|text| {
            syntax::outside_fences(text.lines())
                .any(|(_, line)| !line.trim_start().starts_with('|') && words(line) > WORDS_MAX)
        })
    };
    lists::must_be_needed("sentence", LONG_SENTENCES, is_long).into_iter().chain(findings).collect()
}

/// How many sentences end inside the line: a full stop outside of code and parentheses, with a capital
/// behind.
fn ends(line: &str) -> usize {
    let (mut is_code, mut depth, mut found) = (false, 0_usize, 0);
    let chars: Vec<char> = line.chars().collect();
    for (ix, c) in chars.iter().enumerate() {
        match c {
            '`' => is_code = !is_code,
            '(' | '[' if !is_code => depth += 1,
            ')' | ']' if !is_code => depth = depth.saturating_sub(1),
            '.' | '?' | '!' if !is_code && depth == 0 => {
                let rest: String = chars[ix + 1..].iter().collect();
                let before: String = chars[..ix].iter().collect();
                let next = rest.strip_prefix(' ').and_then(|rest| rest.chars().next());
                let is_number = before.trim().chars().all(|c| c.is_ascii_digit());
                let is_short = ["e.g", "i.e", "etc", "vs", "cf"].iter().any(|short| before.ends_with(short));
                if next.is_some_and(|c| c.is_ascii_uppercase()) && !is_number && !is_short {
                    found += 1;
                }
            }
            _ => {}
        }
    }
    found
}

/// Words of a line, without marks; a link counts by its text, a code span as one word.
fn words(line: &str) -> usize {
    let mut text = String::new();
    for (ix, part) in line.split('`').enumerate() {
        text.push_str(if ix % 2 == 1 { "code" } else { part });
    }
    text.split(':')
        .map(|part| part.split_whitespace().filter(|w| w.chars().any(char::is_alphanumeric)).count())
        .max()
        .unwrap_or(0)
}
