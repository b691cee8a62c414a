//! Circles: files of one crate that import each other in a loop, beyond those that are listed.
//!
//! Why: two files in a circle are one file in two places: neither can be understood, tested or moved alone.
//! An enum and its parts are allowed to import each other.
//! How: a name that a file imports leads to the file of the same crate that defines it, also over a
//! re-export; a module's statements about its own children (`mod`, `pub use`) are not imports. Tarjan's
//! algorithm finds the loops.

use super::lists::CIRCLES;
use super::tree::{Tree, is_test};
use super::{Finding, syntax};
use std::collections::{BTreeMap, BTreeSet};

/// No circle that [`CIRCLES`] does not name, and none named that is gone.
pub(super) fn circles(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in tree.rust().filter(|(path, _)| !is_test(path)) {
        if let Some((folder, _)) = path.split_once("/src/") {
            crates.entry(folder).or_default().push((path, text));
        }
    }
    let found: Vec<Vec<&str>> = crates.values().flat_map(|files| loops(&arrows(files))).collect();
    let mut findings: Vec<Finding> = Vec::new();
    for circle in found.iter().filter(|circle| !CIRCLES.iter().any(|(files, _)| files == &circle.as_slice()))
    {
        findings.push(Finding::new("circle", circle[0], 1, circle.join(", ")));
    }
    for (files, _) in CIRCLES {
        let is_here = files.iter().any(|file| tree.files.contains_key(*file));
        if is_here && !found.iter().any(|circle| circle.as_slice() == *files) {
            findings.push(Finding::new("circle", files[0], 1, "no circle any more: off the list"));
        }
    }
    findings
}

/// From each file to those of its crate whose names it imports.
fn arrows<'a>(files: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut homes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, text) in files {
        for (_, line) in syntax::code(text) {
            let is_item = !line.starts_with([' ', '\t']) && !line.contains("mod ");
            if let Some(name) = syntax::defined(line).filter(|_| is_item) {
                homes.entry(name).or_default().push(path);
            }
        }
    }
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in files {
        let to = arrows.entry(path).or_default();
        for import in imports(text) {
            let Some((place, name)) = import.rsplit_once("::") else { continue };
            let folder = module(path, place);
            let is_inside = |home: &&&str| {
                home.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']))
            };
            let mut defines = homes.get(name).into_iter().flatten().filter(is_inside);
            if let Some(home) = defines.next().filter(|home| *home != path) {
                to.insert(home);
            }
        }
    }
    arrows
}

/// Full paths of what a file imports from its own crate, without those of its own children.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<&str> = syntax::code(text).map(|(_, line)| line).collect();
    let mut found = Vec::new();
    let mut statement = String::new();
    for line in code {
        let trimmed = line.trim();
        if trimmed.starts_with("use ")
            || trimmed.starts_with("pub(crate) use ")
            || trimmed.starts_with("pub(super) use ")
        {
            statement.clear();
        }
        if trimmed.starts_with("use crate::") || trimmed.starts_with("use super::") || !statement.is_empty() {
            statement.push_str(trimmed);
            if trimmed.ends_with(';') {
                expand("", statement.trim_start_matches("use ").trim_end_matches(';'), &mut found);
                statement.clear();
            }
        }
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(before: &str, tree: &str, found: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        let name = tree.trim().split(" as ").next().unwrap_or("").trim();
        if !name.is_empty() {
            found.push(format!("{before}{name}").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let before = format!("{before}{}", tree[..open].trim());
    let inside = tree[open + 1..].trim_end().trim_end_matches('}');
    // The brace that was cut off last is the one that was opened first; inner ones are balanced again below.
    let (mut depth, mut start) = (0_i32, 0);
    let balanced = format!(
        "{inside}{}",
        "}".repeat(inside.matches('{').count().saturating_sub(inside.matches('}').count()))
    );
    for (ix, c) in balanced.char_indices().chain([(balanced.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &balanced[start..ix], found);
                start = ix + 1;
            }
            _ => {}
        }
    }
}

/// The path prefix of the files in which a module's names are defined.
fn module(of: &str, place: &str) -> String {
    let (folder, file) = of.rsplit_once('/').unwrap_or(("", of));
    let root = of.split_once("/src/").map_or("", |(folder, _)| folder);
    // A file is the module of its name; a mod.rs is its folder.
    let mut at: Vec<&str> = folder.split('/').collect();
    let stem = file.trim_end_matches(".rs");
    if !matches!(stem, "mod" | "lib" | "main") {
        at.push(stem);
    }
    let mut path: Vec<&str> = Vec::new();
    for part in place.split("::") {
        match part {
            "crate" => path = root.split('/').chain(["src"]).collect(),
            "super" => {
                if path.is_empty() {
                    path.clone_from(&at);
                }
                path.pop();
            }
            "self" => path.clone_from(&at),
            part => path.push(part),
        }
    }
    path.join("/")
}

/// Loops of two and more, by Tarjan's algorithm; each sorted.
fn loops<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut search =
        Search { arrows, order: BTreeMap::new(), low: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for file in arrows.keys() {
        if !search.order.contains_key(file) {
            search.visit(file);
        }
    }
    search.found
}

struct Search<'a, 'b> {
    arrows: &'b BTreeMap<&'a str, BTreeSet<&'a str>>,
    order: BTreeMap<&'a str, usize>,
    low: BTreeMap<&'a str, usize>,
    stack: Vec<&'a str>,
    found: Vec<Vec<&'a str>>,
}

impl<'a> Search<'a, '_> {
    fn visit(&mut self, file: &'a str) {
        let number = self.order.len();
        self.order.insert(file, number);
        self.low.insert(file, number);
        self.stack.push(file);
        for to in self.arrows.get(file).into_iter().flatten().copied() {
            if !self.order.contains_key(to) {
                self.visit(to);
                self.lower(file, self.low[to]);
            } else if self.stack.contains(&to) {
                self.lower(file, self.order[to]);
            }
        }
        if self.low[file] == number {
            let at = self.stack.iter().position(|one| *one == file).expect("it was pushed above");
            let mut circle = self.stack.split_off(at);
            if circle.len() > 1 {
                circle.sort_unstable();
                self.found.push(circle);
            }
        }
    }

    fn lower(&mut self, file: &'a str, to: usize) {
        let low = self.low.get_mut(file).expect("it is visited");
        *low = (*low).min(to);
    }
}
