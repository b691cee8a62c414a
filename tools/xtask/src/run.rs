//! Programs: how they are found, started and judged.
//!
//! Why: every command line is printed before it runs, so that a person can repeat it by hand.
//! Invariant: children see the environment as it was before cargo started this program; what `cargo run` adds
//! (`CARGO_MANIFEST_DIR` and the like) would make build scripts run again.
//! Not here: which programs run (the file of each command).

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace root: this package stands two levels below it.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tools/xtask stands two levels below the root").to_path_buf()
}

/// Where installed tools live. Tests look here too, so it does not follow `CARGO_TARGET_DIR`.
pub(crate) fn tools_dir() -> PathBuf {
    root().join("target/tools")
}

/// Whether a CI system runs us (`CI=true`): what is missing then fails instead of being skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// A program, started in the workspace root, without what `cargo run` put into the environment.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text == "CARGO"
            || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|p| name_text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo`, started as [`command`] does.
pub(crate) fn cargo() -> Command {
    command("cargo")
}

/// Prints the command line, runs it, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// What a program prints, or `None` if it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command line as a person would type it, without the workspace root in it.
fn line_of(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<String> = set
        .map(|(name, value)| format!("{}={:?}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ").replace(&format!("{}/", root().display()), "")
}
