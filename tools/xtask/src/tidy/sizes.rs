//! Sizes and places: rules for the length of a file, the number of methods of a type, and the place of a
//! module's parts.
//!
//! Why: a file past 600 lines, or a type past 40 methods, holds two things, and its reader must search both
//! to find either.

use super::lists::{LARGE_TYPES, LONG_FILES};
use super::tree::{Tree, is_test};
use super::{Finding, lists, syntax};
use std::collections::BTreeMap;

const LINES_MAX: usize = 600;
const METHODS_MAX: usize = 40;

/// Files have at most [`LINES_MAX`] lines.
pub(super) fn files(tree: &Tree) -> Vec<Finding> {
    let lines = |path: &str| tree.files.get(path).map_or(0, |text| text.lines().count());
    let is_source = |path: &&String| [".rs", ".py", ".mjs", ".ts", ".c"].iter().any(|e| path.ends_with(e));
    let long = tree.files.keys().filter(is_source).filter(|path| lines(path) > LINES_MAX);
    let findings = long.filter(|path| !LONG_FILES.contains(&path.as_str())).map(|path| {
        Finding::new("length", path, LINES_MAX, format!("{} lines, at most {LINES_MAX}", lines(path)))
    });
    let mut unneeded = lists::must_be_needed("length", LONG_FILES, |path| lines(path) > LINES_MAX);
    unneeded.extend(findings);
    unneeded
}

/// A module with parts is `foo/mod.rs`, and its tests are `foo/tests.rs`: one way, so that nobody looks
/// twice.
pub(super) fn modules(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.rust() {
        let stem = path.trim_end_matches(".rs");
        if tree.has(stem) && path.contains("/src/") {
            findings.push(Finding::new(
                "module",
                path,
                1,
                format!("stands beside its folder: {stem}/mod.rs"),
            ));
        }
        let of = stem.strip_suffix("_tests").map(|module| format!("{module}.rs"));
        if of.is_some_and(|module| tree.has(&module)) {
            findings.push(Finding::new("module", path, 1, "tests of a module are its `tests.rs`"));
        }
    }
    findings
}

/// Types have at most [`METHODS_MAX`] methods of their own, over all files of their crate.
pub(super) fn types(tree: &Tree) -> Vec<Finding> {
    let mut methods: BTreeMap<(&str, &str), (usize, &str, usize)> = BTreeMap::new();
    for (path, text) in tree.rust().filter(|(path, _)| !is_test(path)) {
        let mut of = None;
        for (number, line) in syntax::code(text) {
            if let Some(name) = implemented(line) {
                of = Some(name);
            } else if line.starts_with('}') {
                of = None;
            } else if let Some(name) = of.filter(|_| is_method(line)) {
                let count = methods.entry((crate_of(path), name)).or_insert((0, path, number));
                count.0 += 1;
            }
        }
    }
    let mut findings = Vec::new();
    for ((folder, name), (count, path, line)) in methods {
        let (is_large, is_listed) = (count > METHODS_MAX, LARGE_TYPES.contains(&(folder, name)));
        if is_large && !is_listed {
            let says = format!("`{name}` has {count}, at most {METHODS_MAX}");
            findings.push(Finding::new("methods", path, line, says));
        } else if is_listed && !is_large {
            findings.push(Finding::new("methods", path, line, "keeps the rule now: off the list (lists.rs)"));
        }
    }
    findings
}

/// The type of an `impl` that is not of a trait.
fn implemented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generic) => {
            let mut depth = 1;
            let end = generic.find(|c| {
                depth += i32::from(c == '<') - i32::from(c == '>');
                depth == 0
            })?;
            &generic[end + 1..]
        }
        None => rest,
    };
    if rest.contains(" for ") {
        return None;
    }
    let path = rest.trim_start().split(['<', ' ', '{']).next()?;
    path.rsplit("::").next()
}

fn is_method(line: &str) -> bool {
    let is_inside = line.starts_with("    ") && !line.starts_with("     ");
    is_inside && line.contains("fn ") && syntax::defined(line).is_some()
}

/// The folder above `src`, or the first folder.
fn crate_of(path: &str) -> &str {
    path.split_once("/src/").map_or(path, |(folder, _)| folder)
}
