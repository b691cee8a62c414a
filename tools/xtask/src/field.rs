//! `field`: builds the node and the trials, and runs the trials of a node from outside.
//!
//! Why a step of its own: the trials need real peers (nginx, HAProxy, openssl), root for some, and seconds
//! each.
//! Invariant: as a step of `test` and `ci`, a trial that this machine cannot make is named in the summary
//! with what it lacks, and never counted as passed.
//! Not here: the trials (`tools/field`).

use crate::programs::{self, Programs, Purpose};
use crate::run::{command, run, run_lines};
use crate::summary::{Counts, Missing, Summary};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// The quick trials take less than two minutes; on a busy machine each of them may wait longer.
const QUICK_MAX: Duration = Duration::from_secs(900);

/// Treat a node as strangers, proxies, supervisors and failing machines do, a line a trial with its figure.
///
/// Uses nginx, HAProxy, openssl and systemd-analyze where they are installed
/// (`apt install nginx haproxy openssl systemd`), and root for trials of disks and threads; other trials are
/// skipped and say so.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use small loads and the build of the tests, as in CI.
    #[arg(long)]
    quick: bool,
    /// List the trials and what each must show.
    #[arg(long)]
    list: bool,
    /// Print each line as JSON.
    #[arg(long)]
    json: bool,
    /// Trials to run, by the beginnings of their names; all of them if none is given.
    trials: Vec<String>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let programs = programs::build(if args.quick { Purpose::Smoke } else { Purpose::Measurement })?;
    let mut field = field(&programs);
    for (flag, is_set) in [("--quick", args.quick), ("--list", args.list), ("--json", args.json)] {
        if is_set {
            field.arg(flag);
        }
    }
    run(field.args(&args.trials))
}

/// All trials in their quick form, as steps of a summary: one for those that ran, one for each that could
/// not.
pub(crate) fn smoke(summary: &mut Summary) {
    let mut results = Results::default();
    summary.step("field", || {
        let programs = programs::build(Purpose::Smoke)?;
        let mut fault = None;
        let status = run_lines(field(&programs).args(["--quick", "--json"]), QUICK_MAX, |line| {
            if let Err(error) = results.add(line) {
                fault = Some(error);
            }
        })?;
        fault.map_or(Ok(()), Err)?;
        results.counts(status.success())
    });
    for (trial, lacks) in results.skipped {
        summary.step(&format!("field, {trial}"), || bail!(Missing { what: lacks, obtainable: false }));
    }
}

fn field(programs: &Programs) -> Command {
    let mut field = command(programs.field());
    field.arg("--node").arg(programs.node());
    field
}

/// What the trials showed.
#[derive(Debug, Default)]
struct Results {
    held: u64,
    failed: u64,
    /// Trials that could not run, and what this machine lacks for each.
    skipped: Vec<(String, String)>,
}

impl Results {
    /// Prints the line of one trial for people, and counts it.
    fn add(&mut self, line: &str) -> Result<()> {
        let row: Value = serde_json::from_str(line).with_context(|| format!("no line of a trial: {line}"))?;
        let text = |name: &str| row[name].as_str().with_context(|| format!("no `{name}` in {line}"));
        let (trial, verdict, figure) = (text("trial")?, text("verdict")?, text("figure")?);
        println!("{verdict:<8}{trial:<26}{:>5.1} s  {figure}", row["seconds"].as_f64().unwrap_or(0.0));
        match verdict {
            "holds" => self.held += 1,
            "skipped" => self.skipped.push((trial.to_owned(), figure.to_owned())),
            _ => {
                println!("{:<42}must hold: {}", "", row["right"].as_str().unwrap_or("(it does not say)"));
                self.failed += 1;
            }
        }
        Ok(())
    }

    /// The results of the trials that ran, of a program that ended well or not.
    fn counts(&self, ended_well: bool) -> Result<Counts> {
        ensure!(self.held + self.failed > 0, "no trial ran");
        ensure!(
            ended_well == (self.failed == 0),
            "{} trials fail, and the program says otherwise",
            self.failed
        );
        Ok(Counts { passed: self.held, failed: self.failed, skipped: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(trial: &str, verdict: &str) -> String {
        format!(r#"{{"trial":"{trial}","verdict":"{verdict}","figure":"nginx is not there","seconds":0.1}}"#)
    }

    #[test]
    fn each_trial_counts_by_its_verdict_and_who_could_not_run_is_named() {
        let mut results = Results::default();
        for (trial, verdict) in [("a", "holds"), ("b", "holds"), ("c", "skipped"), ("d", "FAILS"), ("e", "?")]
        {
            results.add(&row(trial, verdict)).unwrap();
        }
        assert_eq!(results.counts(false).unwrap(), Counts { passed: 2, failed: 2, skipped: 0 });
        assert_eq!(results.skipped, [("c".to_owned(), "nginx is not there".to_owned())]);
    }

    #[test]
    fn nothing_that_is_odd_passes() {
        let mut results = Results::default();
        assert!(results.counts(true).is_err(), "no trial");
        assert!(results.add("a word").is_err() && results.add("{}").is_err());
        results.add(&row("c", "skipped")).unwrap();
        assert!(results.counts(true).is_err(), "none that ran");
        results.add(&row("a", "holds")).unwrap();
        assert!(results.counts(false).is_err(), "the program failed, and no trial");
        results.add(&row("d", "FAILS")).unwrap();
        assert!(results.counts(true).is_err(), "a trial failed, and not the program");
    }
}
