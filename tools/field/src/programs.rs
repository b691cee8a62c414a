//! Trials of the programs that people type: `gs` in pipes and small terminals, wrong values, lost terminals.
//!
//! Why: a tool that hangs, lies with its exit code or spoils a terminal costs its user more than a fault.
//! Not here: the node (the other modules).

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use grandstand_harness::{node, process};
use rustix::process::{Pid, Signal, kill_process};

use crate::pressure::Killed;
use crate::trial::{Checks, Field, Figure, Missing, Trial, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "gs-values",
        right: "absurd values are refused with code 2 in one line, within a second and without much memory",
        run: values,
    },
    Trial {
        name: "gs-piped-chat",
        right: "a chat from a pipe waits for answers, and its exit code tells a refusal",
        run: piped_chat,
    },
    Trial {
        name: "gs-lost-terminal",
        right: "a program whose terminal is gone ends and uses no CPU",
        run: lost_terminal,
    },
];

/// The program `gs` beside the node's.
fn gs(field: &Field) -> Result<Command> {
    let path = field.binary.parent().context("the node's binary lies in a directory")?.join("gs");
    if !path.is_file() {
        bail!(Missing("gs beside the node's binary"));
    }
    let mut command = node::command(&path);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Its output, unless it takes too long.
fn ends(mut command: Command, within: Duration) -> Result<Option<Output>> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    let waiter = std::thread::spawn(move || child.wait_with_output());
    let begin = Instant::now();
    while begin.elapsed() < within && !waiter.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_late = !waiter.is_finished();
    if is_late {
        let _ = kill_process(pid, Signal::KILL);
    }
    let output = waiter.join().expect("waiting does not panic")?;
    Ok((!is_late).then_some(output))
}

fn values(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let url = node.url("ws://")?;
    let mut checks = Checks::default();
    for words in [
        &["load", "--viewers", "0"][..],
        &["load", "--rate", "0", "--viewers", "5"],
        &["load", "--viewers", "100000000"],
        &["load", "--viewers", "5", "--size", "100000"],
        &["load", "--viewers", "5", "--seconds", "0"],
        &["load", "--viewers", "-1"],
        &["load", "--viewers", "many"],
    ] {
        let mut command = gs(field)?;
        command.arg(words[0]).arg(&url).args(&words[1..]);
        let begin = Instant::now();
        let output = ends(command, Duration::from_secs(5))?;
        let took = begin.elapsed();
        let text = output
            .as_ref()
            .map_or_else(String::new, |output| String::from_utf8_lossy(&output.stderr).into_owned());
        let code = output.and_then(|output| output.status.code());
        let holds = code.is_some_and(|code| code != 0 && code != 101)
            && !text.contains("panicked")
            && took < Duration::from_secs(3);
        checks.check(
            &words.join(" "),
            holds,
            format!("code {code:?} after {} ms: {}", took.as_millis(), text.lines().next().unwrap_or("")),
        );
    }
    checks.close()
}

fn piped_chat(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let url = node.url("ws://")?;
    let mut checks = Checks::default();
    let too_long = "x".repeat(100_000);
    for (name, lines, is_success) in [
        ("two lines", "one\ntwo\n".to_owned(), true),
        ("a line too long", format!("one\n{too_long}\ntwo\n"), false),
        ("nothing", String::new(), true),
    ] {
        let mut command = gs(field)?;
        command.args(["chat", &url, "--room", "piped"]).env("TERM", "dumb");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(lines.as_bytes())?;
        let mut child = Killed(child);
        let mut code = None;
        let ended = until(Duration::from_secs(15), || {
            code = child.0.try_wait()?;
            Ok(code.is_some())
        })?;
        let holds = ended && code.is_some_and(|code| code.success() == is_success);
        checks.check(name, holds, format!("ended {ended} with {code:?}"));
    }
    checks.close()
}

fn lost_terminal(field: &Field) -> Result<Figure> {
    let mut checks = Checks::default();
    let script = crate::trial::program("script")?.get_program().to_owned();
    let node = field.node(&field.plan())?;
    let path = gs(field)?.get_program().to_string_lossy().into_owned();
    for words in [
        format!("{path} chat {} --room here", node.url("ws://")?),
        format!("{path} demo --viewers 20 --seconds 60"),
    ] {
        let mut command = node::command(script.as_ref());
        command
            .args(["-qfc", &words, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut terminal = Killed(command.stderr(Stdio::null()).spawn()?);
        std::thread::sleep(Duration::from_millis(1500));
        let children = descendants(terminal.0.id());
        // The terminal is gone, as with a closed window.
        terminal.0.kill()?;
        terminal.0.wait()?;
        let ended =
            until(Duration::from_secs(15), || Ok(children.iter().all(|&pid| process::sample(pid).is_err())))?;
        checks.check(
            words.split(' ').nth(1).unwrap_or(""),
            ended && !children.is_empty(),
            format!("{} processes go on", children.len()),
        );
        for pid in children {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    checks.close()
}

/// Children and their children.
fn descendants(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let children: Vec<u32> = children.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    children.into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}
