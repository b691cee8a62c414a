//! A small scanner of Rust and Markdown: it finds comment lines, code spans and the beginning of tests.
//!
//! Why not a parser: the code is formatted by rustfmt, so an item's first word stands at a known column, and
//! a parser would be the largest dependency of this program.

/// The text of a line that is nothing but a comment, and its marks (`//`, `//!`, `///`, `#`).
pub(super) fn comment<'a>(path: &str, line: &'a str) -> Option<(&'a str, &'a str)> {
    let line = line.trim_start();
    let marks: &[&str] = match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "rs" | "c" | "mjs" | "ts" | "fbs" => &["//!", "///", "//"],
        "py" | "sh" | "toml" | "yml" | "yaml" => &["#"],
        _ => &[],
    };
    let mark = marks.iter().find(|mark| line.starts_with(**mark))?;
    Some((&line[..mark.len()], line[mark.len()..].strip_prefix(' ').unwrap_or(&line[mark.len()..])))
}

/// Lines of a text with their numbers from 1, without those inside a fence of ` ``` `.
pub(super) fn outside_fences<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let mut is_inside = false;
    lines.enumerate().filter_map(move |(ix, line)| {
        let text = line.trim_start().trim_start_matches("//!").trim_start_matches("///").trim_start();
        let is_fence = text.starts_with("```");
        is_inside ^= is_fence;
        (!is_inside && !is_fence).then_some((ix + 1, line))
    })
}

/// What stands between single backticks in a line.
pub(super) fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The `//!` lines at the head of a Rust file.
pub(super) fn head(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.starts_with("//!")).map(|line| line[3..].trim())
}

/// The lines of a Rust file that are code of the program: no comments, and nothing from `#[cfg(test)]` with a
/// module behind it to the end of the file, where such modules stand.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts_tests = |ix: usize| {
        lines[ix] == "#[cfg(test)]"
            && lines.get(ix + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    };
    let end = (0..lines.len()).find(|&ix| starts_tests(ix)).unwrap_or(lines.len());
    let code = lines.into_iter().take(end).enumerate().map(|(ix, line)| (ix + 1, line));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Is it a name as Rust has them?
pub(super) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The names in a line of code.
pub(super) fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| is_identifier(word))
}

/// The name that a line of Rust defines, if it does.
pub(super) fn defined(line: &str) -> Option<&str> {
    const BEFORE: &[&str] = &["pub", "const", "async", "unsafe", "extern", "default"];
    const KINDS: &[&str] =
        &["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "union", "macro_rules!"];
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let next = words.peek()?;
        let starts_name = next.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if KINDS.contains(&word) && starts_name && !KINDS.contains(next) && !BEFORE.contains(next) {
            return identifiers(next).next();
        }
        if !(BEFORE.contains(&word) || word.starts_with("pub(") || word == "\"C\"") {
            return None;
        }
    }
    None
}
