//! dsojevic's profanity lists: JSON, an array of entries with `match`, `tags`, `severity` and `exceptions`.
//!
//! Form: `match` has words with `|` between; `*` behind a letter says that it may be repeated. In an
//! exception `*` stands for the word: with the word "ass", `cl*` is "class".
//! Why exceptions are written out: ours are words of their own.
//! Not here: plain lists (`super`).

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::{Imported, Options};

pub(super) fn import(text: &str, options: Options) -> Result<Imported, String> {
    let entries: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let entries = entries.as_array().ok_or("expected an array of entries, got another value")?;
    let mut imported = Imported::default();
    imported.text.push_str("# Imported from a list in the form of dsojevic's profanity lists.\n");
    let mut exceptions = BTreeSet::new();
    let mut last = String::new();
    for (ix, entry) in entries.iter().enumerate() {
        let words = entry["match"].as_str().ok_or_else(|| format!("entry {ix} has no text `match`"))?;
        let severity = entry["severity"].as_u64().unwrap_or(2).clamp(1, 4);
        let category = entry["tags"][0].as_str().unwrap_or("general");
        let marks = format!("@ refuse severity={severity} category={}", name_of(category));
        if marks != last {
            let _ = writeln!(imported.text, "{marks}");
            last = marks;
        }
        for word in words.split('|') {
            imported.add(word, options);
            let texts = entry["exceptions"].as_array().into_iter().flatten().filter_map(Value::as_str);
            // A repeated letter is one letter in a word that is spelled right.
            exceptions.extend(texts.map(|text| text.replacen('*', &word.replace('*', ""), 1)));
        }
    }
    // What is an exception of one word and a word itself is a word.
    exceptions.retain(|exception| !imported.words.contains(exception));
    for exception in exceptions {
        let _ = writeln!(imported.text, "! {exception}");
        imported.rules += 1;
    }
    Ok(imported)
}

fn name_of(tag: &str) -> String {
    let name: String =
        tag.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(32).collect();
    if name.is_empty() { "general".to_owned() } else { name }
}
