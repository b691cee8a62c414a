//! `gs mod lint`: the common words that a word list would catch.
//!
//! Why: "opened" and "classic" are on nobody's list, and a list that catches them silences everybody.
//! Invariant: a word that the list names is no finding, and neither is its possessive.
//! Not here: texts of real people (`attempt`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use grandstand_filter::{Action, Author, Filter, Scratch, common_words};
use serde_json::json;

use crate::say;

/// Where systems have a dictionary.
const DICTIONARIES: [&str; 2] = ["/usr/share/dict/american-english", "/usr/share/dict/words"];

/// Findings that are printed.
const SHOWN_MAX: usize = 200;

/// Arguments of `gs mod lint`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Word list to look at.
    list: PathBuf,
    /// Words that must not be caught, one a line; otherwise the system's dictionary, and without one 1,300
    /// common words.
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let list = super::read_list(&args.list)?;
    let rules = list.rules().len();
    let (source, words) = words(args.words.as_deref())?;
    let named: HashSet<String> =
        list.rules().iter().map(|rule| rule.text.to_lowercase().replace('*', "")).collect();
    let (filter, mut scratch, mut found) = (Filter::of(list), Scratch::new(), Vec::new());
    for word in &words {
        let verdict = filter.judge(filter.select(""), word, Author::default(), &mut scratch);
        if let Some(hit) = verdict.hit.filter(|_| !named.contains(word.trim_end_matches("'s"))) {
            let rule = filter.rule(&hit).1;
            found.push((word, rule.line, rule.text.clone(), verdict.action));
        }
    }
    // What is only counted harms nobody.
    let harm = found.iter().filter(|(.., action)| *action > Action::Allow).count();
    if args.json {
        let findings: Vec<_> = found
            .iter()
            .map(|(word, line, rule, action)| json!({"word": word, "line": line, "rule": rule, "action": action.to_string()}))
            .collect();
        let of = json!({"ok": harm == 0, "rules": rules, "words": words.len(), "source": source, "found": findings});
        say::result(&format!("{of}\n"))?;
    } else {
        for (word, line, rule, action) in found.iter().take(SHOWN_MAX) {
            say::result(&format!(
                "{word}: {action} by `{rule}` (line {line}); an exception is `! {word}`\n"
            ))?;
        }
        let more = found.len().saturating_sub(SHOWN_MAX);
        let more = if more > 0 { format!(" ({more} not shown)") } else { String::new() };
        say::result(&format!(
            "{rules} rules, {} words of {source}: {} caught{more}\n",
            words.len(),
            found.len()
        ))?;
    }
    Ok(harm == 0)
}

/// The words to try, in lower case, and where they are from.
fn words(given: Option<&Path>) -> anyhow::Result<(String, Vec<String>)> {
    let system = DICTIONARIES.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = given.or(system) else {
        return Ok(("the common words of gs".to_owned(), common_words().map(str::to_owned).collect()));
    };
    let text = super::read_text(path)?;
    let words = text.lines().map(|line| line.trim().to_lowercase()).filter(|word| !word.is_empty());
    Ok((path.display().to_string(), words.collect()))
}
