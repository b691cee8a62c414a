//! Programs: finding them, starting them, and checking their exit codes.
//!
//! Why: every command line is printed before it runs, so that a person can repeat it by hand.
//! Invariants: a child sees the environment as it was before cargo started this program (what `cargo run`
//! adds, such as `CARGO_MANIFEST_DIR`, would make build scripts run again), and has no standard input.
//! Not here: the choice of programs (the file of each command).

use crate::summary::Counts;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The workspace root: this package stands two levels below it.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tools/xtask stands two levels below the root").to_path_buf()
}

/// Where installed tools live. Tests look here too, so it does not follow `CARGO_TARGET_DIR`.
pub(crate) fn tools_dir() -> PathBuf {
    root().join("target/tools")
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A program, started in the workspace root, without what `cargo run` put into the environment.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO"
            || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo` with these arguments, started as [`command`] does.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = command("cargo");
    cargo.args(args);
    cargo
}

/// Prints the command line, runs it, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = announce(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// As [`run`], but kills the program when it takes longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let line = announce(command);
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    match wait_until(&mut child, Instant::now() + limit)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("`{line}` failed ({status})"),
        None => {
            child.kill()?;
            child.wait()?;
            bail!("`{line}` took longer than {} s and was stopped", limit.as_secs())
        }
    }
}

/// Prints the command line, runs it, and passes each line that it prints to `each`; at its limit it is
/// stopped.
pub(crate) fn run_lines(
    command: &mut Command,
    limit: Duration,
    mut each: impl FnMut(&str),
) -> Result<ExitStatus> {
    let line = announce(command);
    let deadline = Instant::now() + limit;
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    while let Ok(text) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        each(&text);
    }
    match wait_until(&mut child, deadline)? {
        Some(status) => Ok(status),
        None => {
            child.kill()?;
            child.wait()?;
            bail!("`{line}` took longer than {} s and was stopped", limit.as_secs())
        }
    }
}

/// A program whose output is collected while it runs; it ends with this value, or at its limit.
pub(crate) struct Running {
    line: String,
    child: Child,
    said: Option<thread::JoinHandle<String>>,
    deadline: Instant,
}

impl Running {
    /// Prints the command line and starts it; standard output is collected.
    pub(crate) fn start(command: &mut Command, limit: Duration) -> Result<Running> {
        let line = announce(command);
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
        let mut stdout = child.stdout.take().expect("stdout is piped");
        let said = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is what it said.
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Running { line, child, said: Some(said), deadline: Instant::now() + limit })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended; an error once its time is over.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() > self.deadline {
            bail!("`{}` took too long and was stopped", self.line);
        }
        Ok(false)
    }

    /// Waits for its end: how it ended, and what it printed.
    pub(crate) fn finish(mut self) -> Result<(ExitStatus, String)> {
        while !self.has_ended()? {
            thread::sleep(Duration::from_millis(50));
        }
        let said = self.said.take().expect("taken once").join().expect("copying output does not panic");
        Ok((self.child.wait()?, said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            done => return Ok(done),
        }
    }
}

/// Runs a test runner, passes on what it prints, and adds up the results that it reports.
///
/// A failure that the counts explain is in the counts; any other, such as code that does not compile, is an
/// error.
pub(crate) fn run_tests(command: &mut Command) -> Result<Counts> {
    let line = announce(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let stderr = child.stderr.take().expect("stderr is piped");
    let beside = thread::spawn(move || pass_on(stderr, &mut std::io::stderr()));
    let mut counts = pass_on(child.stdout.take().expect("stdout is piped"), &mut std::io::stdout());
    counts += beside.join().expect("copying output does not panic");
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("`{line}` failed ({status})");
    }
    Ok(counts)
}

fn pass_on(from: impl Read, to: &mut impl Write) -> Counts {
    let mut counts = Counts::default();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        counts += Counts::in_line(&String::from_utf8_lossy(&line));
        // A closed terminal must not stop the tests.
        let _ = to.write_all(&line).and_then(|()| to.write_all(b"\n"));
    }
    counts
}

/// What a program prints, or `None` if it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints the command line as a person would type it in the workspace root.
fn announce(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<String> = set
        .map(|(name, value)| format!("{}={:?}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = words.join(" ").replace(&format!("{}/", root().display()), "");
    eprintln!("$ {line}");
    line
}
