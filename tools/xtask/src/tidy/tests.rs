//! Tests of the rules: each one fails, and passes, on a few lines.
//!
//! Why: a rule without findings in a clean checkout may be unable to find any.

use super::tree::Tree;
use super::{Finding, Rule, circles, effects, heads, lists, locks, names, prose, sizes, words};

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::new(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
}

/// How many findings `rule` has in these files, not counting entries of lists that these files cannot need.
fn found(rule: Rule, files: &[(&str, &str)]) -> usize {
    let is_of_a_list = |finding: &Finding| finding.text.ends_with("off the list (lists.rs)");
    rule(&tree(files)).into_iter().filter(|finding| !is_of_a_list(finding)).count()
}

#[test]
fn heads_say_what_and_why() {
    assert_eq!(found(heads::heads, &[("a/src/b.rs", "//! A list.\n//!\n//! Why: order.\nfn a() {}")]), 0);
    assert_eq!(found(heads::heads, &[("a/src/b.rs", "//! A list.\nfn a() {}")]), 1, "no reason");
    assert_eq!(found(heads::heads, &[("a/src/b.rs", "fn a() {}")]), 1, "no head");
    assert_eq!(found(heads::heads, &[("a/b.py", "#!/usr/bin/env python3\n\"\"\"Says why.\"\"\"")]), 0);
    assert_eq!(found(heads::heads, &[("a/b.py", "import sys")]), 1);
    assert_eq!(found(heads::heads, &[("a.md", "text")]), 1);
}

#[test]
fn an_exception_that_is_not_needed_any_more_is_a_finding() {
    assert_eq!(lists::must_be_needed("length", &["a.rs", "b.rs"], |path| path == "a.rs").len(), 1);
}

#[test]
fn comments_have_the_width_of_code() {
    let long = format!("    // {}\n", "word ".repeat(25));
    assert_eq!(found(prose::width, &[("a/src/b.rs", &long)]), 1);
    assert_eq!(
        found(prose::width, &[("a/src/b.rs", &format!("//! ```text\n//! {long}//! ```\n"))]),
        0,
        "fenced"
    );
    assert_eq!(found(prose::width, &[("a/src/b.rs", "// short")]), 0);
}

#[test]
fn documents_have_one_short_sentence_a_line() {
    let one = |line: &str| found(prose::sentences, &[("a.md", line)]);
    assert_eq!(one("One sentence. Another one."), 1);
    assert_eq!(one("One sentence of version 1.2 (in `a. B`. Or so), e.g. This."), 0);
    assert_eq!(one(&format!("It {}.", "goes on ".repeat(21))), 1, "43 words");
    assert_eq!(one("| One cell. Another. |"), 0, "a table");
}

#[test]
fn files_and_types_have_a_size() {
    assert_eq!(found(sizes::files, &[("a/src/b.rs", &"\n".repeat(601))]), 1);
    assert_eq!(found(sizes::files, &[("a/src/b.rs", &"\n".repeat(600))]), 0);
    let methods = |n: usize| {
        let body: String = (0..n).map(|ix| format!("    pub(crate) const fn m{ix}(&self) {{}}\n")).collect();
        format!("impl<T: Into<u8>> Large<T> {{\n{body}}}\n")
    };
    let (first, second) = (methods(21), methods(20));
    assert_eq!(found(sizes::types, &[("a/src/b.rs", &first), ("a/src/c.rs", &second)]), 1, "over two files");
    assert_eq!(found(sizes::types, &[("a/src/b.rs", &first), ("b/src/c.rs", &second)]), 0, "two crates");
    let of_a_trait = methods(50).replace("Large<T> {", "Clone for Large<T> {");
    assert_eq!(found(sizes::types, &[("a/src/b.rs", &of_a_trait)]), 0);
}

#[test]
fn modules_are_folders() {
    assert_eq!(found(sizes::modules, &[("a/src/b/mod.rs", ""), ("a/src/b/tests.rs", "")]), 0);
    assert_eq!(found(sizes::modules, &[("a/src/b.rs", ""), ("a/src/b/c.rs", "")]), 1);
    assert_eq!(found(sizes::modules, &[("a/src/b.rs", ""), ("a/src/b_tests.rs", "")]), 1);
}

#[test]
fn names_exist() {
    let code = ("edge/src/gone.rs", "//! A door.\nstruct Door {\n    width_mm: u32,\n}\nfn open() {}");
    let document = |text: &str| found(names::paths, &[code, ("docs/A.md", text)]);
    assert_eq!(
        document("See `edge/src/gone.rs`, `gone.rs:open`, `gone.rs:width_mm`, [here](../edge/src/gone.rs)."),
        0
    );
    assert_eq!(document("See `edge/src/here.rs`."), 1);
    assert_eq!(document("See `gone.rs:close`."), 1);
    assert_eq!(document("See [there](../edge/src/here.rs#l1)."), 1);
    let head = |text: &str| found(names::paths, &[code, ("edge/src/other.rs", text)]);
    assert_eq!(head("//! A wall. Not here: doors (`gone`, `Door`)."), 0);
    assert_eq!(head("//! A wall. Not here: windows (`window`)."), 1);
}

#[test]
fn the_specification_names_tests_that_exist() {
    let test = ("engine/tests/a.rs", "#[test]\nfn nothing_is_ever_lost() {}");
    let promise = |name: &str| {
        let text = format!("| D-1 | Nothing is lost | eng `a.rs`: `{name}` |");
        found(names::tests_of_the_specification, &[test, ("docs/SPECIFICATION.md", &text)])
    };
    assert_eq!(promise("nothing_is_ever_lost"), 0);
    assert_eq!(promise("nothing_is_ever_found"), 1);
}

#[test]
fn a_number_of_a_promise_or_a_clause_stands_once() {
    let document = |text: &str| found(names::numbers, &[("docs/SPECIFICATION.md", text)]);
    assert_eq!(document("| D-1 | a | b |\n| D-2 | a | b |\n- **T-1** a\n"), 0);
    assert_eq!(document("| D-1 | a | b |\n| D-2 | a | b |\n| D-1 | c | d |"), 1);
    assert_eq!(document("- **T-1** a\n- **T-1** b\n"), 1);
}

#[test]
fn where_is_names_a_function_in_each_row() {
    let table = |cell: &str| {
        let text =
            format!("## Where is\n\n| behaviour | where |\n|---|---|\n| opening | {cell} |\n\n## Next\n");
        found(names::where_is, &[("docs/ARCHITECTURE.md", &text)])
    };
    assert_eq!(table("`edge/src/door.rs:open`"), 0);
    assert_eq!(table("`edge/src/door.rs`"), 1);
    assert_eq!(table("in the edge"), 1);
}

#[test]
fn old_words_do_not_come_back() {
    assert_eq!(found(words::words, &[("docs/A.md", "A newcomer waits.")]), 1);
    assert_eq!(found(words::words, &[("a/src/b.rs", "//! A newcomer waits.")]), 1);
    assert_eq!(found(words::words, &[("docs/A.md", "A new connection waits.")]), 0);
}

#[test]
fn clocks_threads_and_chance_stand_on_a_list() {
    let core = |text: &str| found(effects::effects, &[("edge/core/src/a.rs", text)]);
    assert_eq!(core("fn a() {\n    let now = Instant::now();\n}"), 1);
    assert_eq!(core("fn a() {\n    thread::sleep(PAUSE);\n}"), 1);
    assert_eq!(core("fn a() {\n    getrandom::fill(&mut seed);\n}"), 1);
    assert_eq!(core("// Instant::now() is not for cores.\nfn a(now: Instant) {}"), 0);
    assert_eq!(core("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { Instant::now() }\n}"), 0);
}

#[test]
fn circles_are_found_through_names_and_re_exports() {
    let a = ("x/src/a.rs", "use crate::b::{\n    inner::{Thing, Other},\n    Last,\n};\npub struct Own;");
    let b = ("x/src/b/mod.rs", "mod inner;\npub use inner::Thing;\npub struct Last;");
    let free = ("x/src/b/inner.rs", "pub struct Thing;\npub struct Other;");
    let tied = ("x/src/b/inner.rs", "use super::super::a::Own;\npub struct Thing;\npub struct Other;");
    assert_eq!(found(circles::circles, &[a, b, free]), 0);
    assert_eq!(found(circles::circles, &[a, b, tied]), 1);
}

#[test]
fn a_lock_file_without_a_new_dependency_is_stale() {
    let root = std::env::temp_dir().join(format!("grandstand-locks-{}", std::process::id()));
    let package = |name: &str, more: &str| {
        std::fs::create_dir_all(root.join(name).join("src")).unwrap();
        std::fs::write(root.join(name).join("src/lib.rs"), "").unwrap();
        let text =
            format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{more}");
        std::fs::write(root.join(name).join("Cargo.toml"), text).unwrap();
    };
    package("below", "");
    package("above", "below = { path = \"../below\" }\n");
    let lock = "version = 4\n[[package]]\nname = \"above\"\nversion = \"0.0.0\"\n";
    std::fs::write(root.join("above/Cargo.lock"), lock).unwrap();
    let before = locks::stale(&root, "above/Cargo.lock");
    let whole = "dependencies = [\n \"below\",\n]\n\n[[package]]\nname = \"below\"\nversion = \"0.0.0\"\n";
    std::fs::write(root.join("above/Cargo.lock"), format!("{lock}{whole}")).unwrap();
    let after = locks::stale(&root, "above/Cargo.lock");
    std::fs::remove_dir_all(root).unwrap();
    let text = before.expect("a dependency is missing").text;
    assert!(text.contains("--locked") && text.contains("above/Cargo.toml"), "{text}");
    assert_eq!(after, None);
}

#[test]
fn the_peers_have_the_versions_of_the_workspace() {
    let lock = |versions: &[&str]| -> String {
        versions.iter().map(|v| format!("[[package]]\nname = \"a\"\nversion = \"{v}\"\n")).collect()
    };
    let other = "[[package]]\nname = \"b\"\nversion = \"9\"\n";
    assert_eq!(locks::differing(&(lock(&["1"]) + other), &lock(&["1", "2"])), Vec::<String>::new());
    assert_eq!(locks::differing(&lock(&["3"]), &lock(&["1", "2"])), ["a 3"]);
}
