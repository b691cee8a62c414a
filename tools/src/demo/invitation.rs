//! The invitation to the demo's show: the commands that join it from another terminal.
//!
//! Why broken by hand: a terminal breaks a long line in the middle of a word, and what is copied from it is
//! no command any more. A line that is broken here ends with a backslash and can be copied.
//! Invariant: no line is longer than [`COLUMNS`], unless the program's own path is.

use std::env;
use std::path::PathBuf;

use super::node::Address;
use super::title::Title;

/// Width that every terminal has.
pub(super) const COLUMNS: usize = 80;

/// How to join a show.
#[derive(Clone, Debug)]
pub(super) struct Invitation {
    title: String,
    commands: Vec<String>,
}

impl Invitation {
    pub(super) fn new(title: &Title, node: &Address) -> Invitation {
        let urls = [node.ws_url(), node.quic_url()];
        let program = program();
        let command = |url| command(&program, &format!("{url}"), &title.room);
        Invitation { title: title.text.clone(), commands: urls.iter().flat_map(command).collect() }
    }

    /// The lines of the commands, one for each transport.
    pub(super) fn commands(&self) -> &[String] {
        &self.commands
    }

    /// For the beginning of a show without a view.
    pub(super) fn welcome(&self) -> String {
        format!(
            "{}\njoin from another terminal, over WebSocket or QUIC:\n{}",
            self.title,
            self.commands.join("\n")
        )
    }

    /// For the end, when the view is gone.
    pub(super) fn farewell(&self) -> String {
        format!(
            "{} is over.\nWhile it ran, these commands joined it:\n{}",
            self.title,
            self.commands.join("\n")
        )
    }
}

/// The command, in one line or in several.
fn command(program: &str, url: &str, room: &str) -> Vec<String> {
    let parts = [format!("{program} chat"), url.to_owned(), format!("--room {room}")];
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            // The last two columns are for a backslash.
            Some(line) if line.len() + 1 + part.len() <= COLUMNS - 2 => {
                line.push(' ');
                line.push_str(&part);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(format!("  {part}"));
            }
            None => lines.push(part),
        }
    }
    lines
}

/// The word that starts this program: its name where the shell finds it, else its path.
fn program() -> String {
    let Ok(path) = env::current_exe() else { return "gs".into() };
    let on_path = env::var_os("PATH").is_some_and(|dirs| {
        let found: Option<PathBuf> =
            env::split_paths(&dirs).map(|dir| dir.join("gs")).find(|gs| gs.is_file());
        found.and_then(|gs| gs.canonicalize().ok()) == path.canonicalize().ok()
    });
    if on_path { "gs".into() } else { quoted(&path.to_string_lossy()) }
}

/// As a shell reads it back.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c) || !c.is_ascii();
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::title::title;

    #[test]
    fn commands_fit_80_columns_and_a_shell_reads_what_was_meant() {
        let programs =
            ["gs", "target/release/gs", "/home/somebody/src/grandstand/target/release/gs", "/a b/gs"];
        for (program, seed) in programs.iter().flat_map(|program| (0..50).map(move |seed| (program, seed))) {
            for url in ["ws://127.0.0.1:65535/v1", "wss://127.0.0.1:65535/v1", "quic://127.0.0.1:65535"] {
                let room = title(seed).room;
                let lines = command(&quoted(program), url, &room);
                assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{lines:#?}");
                let (last, others) = lines.split_last().unwrap();
                assert!(others.iter().all(|line| line.ends_with(" \\")) && !last.ends_with('\\'));
                let joined = lines.join("\n").replace(" \\\n ", "");
                assert_eq!(joined, format!("{} chat {url} --room {room}", quoted(program)));
            }
        }
        assert_eq!(command("gs", "quic://127.0.0.1:65535", &title(1).room).len(), 1);
    }

    #[test]
    fn paths_with_spaces_are_quoted() {
        assert_eq!(quoted("/usr/bin/gs"), "/usr/bin/gs");
        assert_eq!(quoted("/my files/it's/gs"), r"'/my files/it'\''s/gs'");
    }
}
