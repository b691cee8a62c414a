//! Trials: their table, their runs, and the line that each prints.
//!
//! Why a figure in every line: a reader sees how near a bound is, and not only that it holds.
//! Invariants: a trial is bounded in time by its own waits; a trial whose peer is not installed says so and
//! counts as skipped; the run fails if one trial fails.
//! Not here: the trials (a module a kind).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use grandstand_harness::node::{Node, NodePlan};

/// What a trial saw.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Whether it is right.
    pub(crate) holds: bool,
    /// What was measured, in words.
    pub(crate) text: String,
}

/// A figure and its verdict.
pub(crate) fn figure(holds: bool, text: impl Into<String>) -> Result<Figure> {
    Ok(Figure { holds, text: text.into() })
}

/// A collection of checks that make one figure: the wrong ones are named.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    all: usize,
    wrong: Vec<String>,
}

impl Checks {
    /// One more check.
    pub(crate) fn check(&mut self, name: &str, holds: bool, seen: impl std::fmt::Display) {
        self.all += 1;
        if !holds {
            self.wrong.push(format!("{name}: {seen}"));
        }
    }

    /// The figure of all.
    pub(crate) fn close(self) -> Result<Figure> {
        let mut text = format!("{} of {} right", self.all - self.wrong.len(), self.all);
        for wrong in &self.wrong {
            write!(text, "; {wrong}")?;
        }
        figure(self.wrong.is_empty(), text)
    }
}

/// One trial.
#[derive(Clone, Copy)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    /// What must hold.
    pub(crate) right: &'static str,
    pub(crate) run: fn(&Field) -> Result<Figure>,
}

/// What trials run on.
pub(crate) struct Field {
    pub(crate) binary: PathBuf,
    /// Loads are as small as they can be.
    pub(crate) quick: bool,
}

/// A tool that a trial needs is not installed.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) &'static str);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not there", self.0)
    }
}

impl std::error::Error for Missing {}

impl Field {
    /// The quick number, or the full one.
    pub(crate) fn either<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A plan with every port on loopback and free, else as delivered.
    pub(crate) fn plan(&self) -> NodePlan {
        NodePlan::as_delivered(&self.binary)
    }

    /// A running node of this plan.
    pub(crate) fn node(&self, plan: &NodePlan) -> Result<Node> {
        Node::start(plan)
    }

    /// A new directory, removed with its value.
    pub(crate) fn directory(&self) -> Result<Directory> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("grandstand-field-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Directory(path))
    }
}

/// A directory that is removed with its value.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a step that should have worked ended, in one line.
pub(crate) fn outcome<T: std::fmt::Debug>(result: &Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error:#}").replace(['\r', '\n'], " "),
    }
}

/// A program, or [`Missing`].
pub(crate) fn program(name: &'static str) -> Result<Command> {
    let paths = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/bin", "/sbin"];
    match paths.iter().map(|path| PathBuf::from(path).join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => bail!(Missing(name)),
    }
}

/// Waits until something is so; whether it became so in time.
pub(crate) fn until(within: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < within {
        if is_so()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

/// Whether this process is root.
pub(crate) fn needs_root() -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { bail!(Missing("root")) }
}

/// A loopback address of its own for a stranger: 127.`a`.`b`.`c`.
pub(crate) fn stranger(number: u32) -> Ipv4Addr {
    let [_, a, b, c] = (0x7f_40_00_01 + number).to_be_bytes();
    Ipv4Addr::new(127, a, b, c)
}

/// Runs trials and prints a line for each; whether none failed.
pub(crate) fn run_all(field: &Field, trials: &[Trial], json: bool) -> bool {
    let (mut failed, mut skipped) = (0, Vec::new());
    for trial in trials {
        let begin = Instant::now();
        let result = (trial.run)(field);
        let took = begin.elapsed().as_secs_f64();
        let (verdict, text) = match result {
            Ok(Figure { holds: true, text }) => ("holds", text),
            Ok(Figure { holds: false, text }) => ("FAILS", text),
            Err(error) if error.is::<Missing>() => ("skipped", error.to_string()),
            Err(error) => ("FAILS", format!("{error:#}")),
        };
        failed += u32::from(verdict == "FAILS");
        if verdict == "skipped" {
            skipped.push(format!("{} ({text})", trial.name));
        }
        if json {
            let row = serde_json::json!({
                "trial": trial.name, "right": trial.right, "verdict": verdict, "figure": text, "seconds": took,
            });
            println!("{row}");
        } else {
            println!("{verdict:<8}{:<26}{took:>5.1} s  {text}", trial.name);
            if verdict == "FAILS" {
                println!("{:<34}        must hold: {}", "", trial.right);
            }
        }
    }
    let (all, skips) = (trials.len() as u32, skipped.len() as u32);
    eprintln!("{all} trials: {} hold, {failed} fail, {skips} skipped", all - failed - skips);
    if skips > 0 {
        eprintln!("skipped: {}", skipped.join(", "));
    }
    failed == 0
}
