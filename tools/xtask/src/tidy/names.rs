//! Names: what documents and heads name exists, and a table that says where a behaviour is says true.
//!
//! Why: files move, but the sentences that name them do not. A reader who is sent to a missing file stops
//! trusting the other sentences.

use super::lists::FOREIGN_NAMES;
use super::tree::Tree;
use super::{Finding, syntax};
use std::collections::BTreeSet;

/// Endings of files of ours: what else looks like a file in a text may be a reader's own.
const ENDINGS: &[&str] = &[".rs", ".md", ".fbs", ".mjs", ".py"];

/// Files of the top level that begin a path.
const TOP: &[&str] =
    &["engine/", "protocol/", "edge/", "tools/", "benches/", "docs/", "k8s/", ".ci/", ".cargo/"];

/// Paths, functions and links in documents, and names in the heads of Rust files, exist.
pub(super) fn paths(tree: &Tree) -> Vec<Finding> {
    let known = known_names(tree);
    let mut findings = Vec::new();
    for (path, text) in tree.with_ending("md") {
        for (number, line) in syntax::outside_fences(text.lines()) {
            for span in syntax::code_spans(line) {
                if let Err(says) = check_path(tree, path, span) {
                    findings.push(Finding::new("name", path, number, says));
                }
            }
            for link in links(line).filter(|link| !tree.has(&relative(path, link))) {
                findings.push(Finding::new("name", path, number, format!("there is no `{link}`")));
            }
        }
    }
    for (path, text) in tree.rust() {
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        for (number, line) in syntax::outside_fences(head) {
            for span in syntax::code_spans(line) {
                let name = span.trim_end_matches("()").rsplit("::").next().unwrap_or(span);
                let is_known = !syntax::is_identifier(name)
                    || name.len() < 3
                    || known.contains(name)
                    || FOREIGN_NAMES.contains(&name);
                if let Err(says) = check_path(tree, path, span) {
                    findings.push(Finding::new("name", path, number, says));
                } else if !is_known {
                    findings.push(Finding::new("name", path, number, format!("nothing is called `{span}`")));
                }
            }
        }
    }
    findings
}

/// Each name of a test in docs/SPECIFICATION.md is a function that stands under `#[test]` or in a macro.
pub(super) fn tests_of_the_specification(tree: &Tree) -> Vec<Finding> {
    const PATH: &str = "docs/SPECIFICATION.md";
    let Some(text) = tree.files.get(PATH) else { return Vec::new() };
    let functions: BTreeSet<&str> = tree
        .rust()
        .flat_map(|(_, text)| text.lines())
        .filter(|line| line.contains("fn "))
        .filter_map(|line| syntax::defined(line.trim_start()))
        .collect();
    let mut findings = Vec::new();
    for (number, line) in syntax::outside_fences(text.lines()) {
        let names =
            syntax::code_spans(line).filter(|s| syntax::is_identifier(s) && s.matches('_').count() > 2);
        for name in names.filter(|name| !functions.contains(name)) {
            findings.push(Finding::new("name", PATH, number, format!("there is no test `{name}`")));
        }
    }
    findings
}

/// Each number of a promise (`| D-1 |`) and of a clause (`- **D-1**`) stands once in its document.
pub(super) fn numbers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_ending("md") {
        let mut known = BTreeSet::new();
        for (number, line) in syntax::outside_fences(text.lines()) {
            let rest = line.strip_prefix("| ").or(line.strip_prefix("- **")).unwrap_or("");
            let name = rest.split([' ', '*']).next().unwrap_or("");
            let is_number = name.split_once('-').is_some_and(|(letter, digits)| {
                letter.len() == 1
                    && letter.bytes().all(|b| b.is_ascii_uppercase())
                    && digits.parse::<u32>().is_ok()
            });
            if is_number && !known.insert(name) {
                findings.push(Finding::new("number", path, number, format!("{name} is there twice")));
            }
        }
    }
    findings
}

/// Each row of the table "Where is" names `file:function`, and the function is in that file.
pub(super) fn where_is(tree: &Tree) -> Vec<Finding> {
    const PATH: &str = "docs/ARCHITECTURE.md";
    let Some(text) = tree.files.get(PATH) else { return Vec::new() };
    let lines = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with("## Where is")).skip(1);
    let rows =
        lines.take_while(|(_, line)| !line.starts_with("## ")).filter(|(_, line)| line.starts_with("| "));
    let mut findings = Vec::new();
    for (ix, row) in rows.filter(|(_, row)| !row.starts_with("| behaviour")) {
        let places: Vec<&str> = syntax::code_spans(row).filter(|span| span.contains(".rs")).collect();
        if places.is_empty() {
            findings.push(Finding::new("where is", PATH, ix + 1, "a row without `file.rs:function`"));
        }
        for place in places.iter().filter(|place| !place.contains(".rs:")) {
            findings.push(Finding::new("where is", PATH, ix + 1, format!("`{place}` names no function")));
        }
    }
    findings
}

/// A span that looks like a path of ours, with or without a function behind a colon.
fn check_path(tree: &Tree, of: &str, span: &str) -> Result<(), String> {
    let (path, function) = match span.split_once(".rs:") {
        Some((path, function)) => (format!("{path}.rs"), Some(function.trim_start_matches(':'))),
        None => (span.to_owned(), None),
    };
    let is_path = !path.contains([' ', '*', '{', '<', '$', '='])
        && (ENDINGS.iter().any(|e| path.ends_with(e)) || TOP.iter().any(|top| path.starts_with(top)));
    // `foo` is any module.
    if !is_path || path.starts_with('/') || path.starts_with(".rs") || path.starts_with("foo") {
        return Ok(());
    }
    let near = relative(of, &path);
    let found = if tree.has(&path) {
        Some(path.as_str())
    } else if tree.has(&near) {
        Some(near.as_str())
    } else {
        tree.ending_with(path.trim_end_matches('/')).next()
    };
    let Some(found) = found else { return Err(format!("there is no `{path}`")) };
    let Some(function) = function else { return Ok(()) };
    let name = function.trim_end_matches("()").rsplit("::").next().unwrap_or(function);
    let text = tree.files.get(found).map_or("", String::as_str);
    if text.lines().any(|line| defines(line, name)) {
        return Ok(());
    }
    Err(format!("`{found}` does not define `{name}`"))
}

/// An item, a field, a variant: anything that begins a line and has this name.
fn defines(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let field = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
    syntax::defined(line) == Some(name)
        || field.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ',', '(', ' ']))
}

/// Every name in code, and the parts of every path: what a head may call by its name.
fn known_names(tree: &Tree) -> BTreeSet<&str> {
    let code = tree.rust().flat_map(|(_, text)| text.lines());
    let mut names: BTreeSet<&str> =
        code.filter(|line| !line.trim_start().starts_with("//")).flat_map(syntax::identifiers).collect();
    for path in tree.files.keys() {
        names.extend(path.split(['/', '.']));
        names.extend(path.split(['/', '.', '-']));
    }
    for (_, text) in tree.with_ending("toml").chain(tree.with_ending("fbs")) {
        names.extend(text.lines().flat_map(syntax::identifiers));
    }
    names
}

/// Targets of links to files of ours.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    files.map(|target| target.split('#').next().unwrap_or(target))
}

/// `target` as seen from the file `of`.
fn relative(of: &str, target: &str) -> String {
    let mut parts: Vec<&str> = of.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
