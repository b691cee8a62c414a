//! Regular expressions of a list: bounded in number, length and size.
//!
//! Why bounded: whoever may write a list must not be able to slow a room. The engine searches in linear time
//! whatever the expression and the text, and its automata have a limit.
//! How they read: the text as it was written, upper and lower case alike; `(?-i)` tells them apart.
//! Not here: words (`terms`), which see through ways of writing.

use regex::{Regex, RegexBuilder};

use super::parse::Fault;
use super::rule::Rule;

/// Regular expressions of a list, at most.
pub const EXPRESSIONS_MAX: usize = 10;

/// Characters of one, at most.
pub const EXPRESSION_CHARS_MAX: usize = 260;

/// Bytes of the compiled form of one, at most, and of what its search may keep.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Compile these rules.
pub(super) fn compile(rules: &[Rule]) -> Result<Vec<Regex>, Vec<Fault>> {
    if let Some(rule) = rules.get(EXPRESSIONS_MAX) {
        let says = format!("more than {EXPRESSIONS_MAX} regular expressions in one list");
        return Err(vec![Fault { line: rule.line, says }]);
    }
    let (mut compiled, mut faults) = (Vec::new(), Vec::new());
    for rule in rules {
        match compile_one(&rule.text) {
            Ok(regex) => compiled.push(regex),
            Err(says) => faults.push(Fault { line: rule.line, says }),
        }
    }
    if faults.is_empty() { Ok(compiled) } else { Err(faults) }
}

fn compile_one(expression: &str) -> Result<Regex, String> {
    let chars = expression.chars().count();
    if chars > EXPRESSION_CHARS_MAX {
        return Err(format!(
            "a regular expression of {chars} characters, expected at most {EXPRESSION_CHARS_MAX}"
        ));
    }
    let mut builder = RegexBuilder::new(expression);
    builder
        .case_insensitive(true)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(50);
    let regex = builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the regular expression needs more than 1 MiB: use fewer or smaller repetitions".to_owned()
        }
        // The last line says what is wrong; those before it draw where.
        error => {
            let says = error.to_string();
            let last = says.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", last.trim_start_matches("error: "))
        }
    })?;
    if regex.is_match("") {
        return Err("the regular expression matches the empty text, so it would catch every text".to_owned());
    }
    Ok(regex)
}
