//! Checks of a program's command line: its help, and its answer to a wrong flag.
//!
//! Why one function: every binary of the workspace is held to the same rules, each by a test of its own
//! package, since only that knows where its binary is.
//! Not here: what options mean (the programs).

use std::process::{Command, Output, Stdio};

/// A flag that no program has.
const UNKNOWN: &str = "--no-such-flag";

/// Checks that a program and each of its commands explain themselves: `--help` ends with 0 and names the
/// program; a wrong flag ends with 2, one line of reason and a hint; neither shows a stack trace, nor when
/// nobody reads the help.
///
/// # Panics
/// One of them does not; the text says which and what it printed.
pub fn check(program: &str, name: &str, commands: &[&str]) {
    let lines = std::iter::once(Vec::new()).chain(commands.iter().map(|command| vec![*command]));
    for line in lines {
        let of = format!("{name} {}", line.join(" "));
        let (code, out, err) = run(program, &[&line[..], &["--help"]].concat());
        assert_eq!(code, Some(0), "{of} --help: {err}");
        assert!(out.contains(name) && out.contains("Usage:"), "{of} --help names itself: {out}");
        assert!(err.is_empty(), "{of} --help: {err}");
        let (code, _, err) = run(program, &[&line[..], &[UNKNOWN]].concat());
        assert_eq!(code, Some(2), "{of} {UNKNOWN}: {err}");
        let first = err.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: ") && first.contains(UNKNOWN), "{of} {UNKNOWN}: {err}");
        assert!(err.contains("--help"), "{of} {UNKNOWN} has a hint: {err}");
    }
    let unread = format!("exec 3>&1; ({program} --help; echo $? >&3) | true");
    let unread = Command::new("sh").args(["-c", &unread]).env("RUST_BACKTRACE", "1").output();
    let unread = text(&unread.expect("there is a shell").stderr);
    assert!(!is_trace(&unread), "{name} --help without a reader: {unread}");
}

/// Checks that a program ends with 1 and one line that contains `words`, without a stack trace.
///
/// # Panics
/// It does not.
pub fn check_fault(program: &str, arguments: &[&str], words: &str) {
    let (code, _, err) = run(program, arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {err}");
    assert!(err.starts_with("error: ") && err.contains(words), "{arguments:?}: {err}");
}

fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).env("RUST_BACKTRACE", "1").env("RUST_LIB_BACKTRACE", "1").stdin(Stdio::null());
    let output: Output = command.output().unwrap_or_else(|error| panic!("{program} starts: {error}"));
    let err = text(&output.stderr);
    assert!(!is_trace(&err), "{program} {arguments:?}: {err}");
    (output.status.code(), text(&output.stdout), err)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_trace(text: &str) -> bool {
    ["panicked at", "tack backtrace"].iter().any(|word| text.contains(word))
}
