//! The summary: the steps of a run, their results, and the last line of the run.
//!
//! Why: a run of many steps should report every fault, not stop at the first one; and a step that could not
//! run must never look like one that passed.
//! Invariant: the last line reads `N passed, N failed, N skipped`, and the exit code is zero only if no step
//! failed.
//! Not here: running programs (`run`), the steps (`test`, `ci`).

use anyhow::Result;
use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Results, as a test runner reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// One check that has no parts.
    pub(crate) const ONE_PASSED: Counts = Counts { passed: 1, failed: 0, skipped: 0 };

    /// The results in a closing line of nextest (`Summary [..] 3 tests run: 2 passed, 1 failed, 0 skipped`)
    /// or of the built-in runner (`test result: ok. 2 passed; 0 failed; 1 ignored; ..`); nothing in any other
    /// line.
    pub(crate) fn in_line(line: &str) -> Counts {
        let mut counts = Counts::default();
        let line = line.trim_start();
        if !line.starts_with("Summary [") && !line.starts_with("test result:") {
            return counts;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].trim_start_matches('(').parse::<u64>() else { continue };
            match pair[1].trim_end_matches([',', ';', ')']) {
                "passed" => counts.passed += number,
                // nextest says `1 timed out` and `1 exec failed` of those that did neither pass nor fail by
                // themselves.
                "failed" | "timed" | "exec" => counts.failed += number,
                "skipped" | "ignored" => counts.skipped += number,
                _ => {}
            }
        }
        counts
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// A tool that this machine lacks: the step that needs it is skipped, or fails where CI could have had it.
#[derive(Debug)]
pub(crate) struct Missing {
    /// What is missing and how to get it.
    pub(crate) what: String,
    /// Whether a CI machine can be expected to have it.
    pub(crate) obtainable: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Missing {}

enum Outcome {
    Counted(Counts),
    Failed(String),
    Skipped(String),
}

/// The steps of a run.
pub(crate) struct Summary {
    /// Whether a CI system runs us (`CI=true`).
    in_ci: bool,
    lines: Vec<(String, Outcome, Duration)>,
}

impl Summary {
    pub(crate) fn new() -> Summary {
        Summary {
            in_ci: std::env::var("CI").is_ok_and(|value| value == "true" || value == "1"),
            lines: Vec::new(),
        }
    }

    /// Runs one step and keeps its outcome.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<Counts>) {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(counts) => Outcome::Counted(counts),
            Err(error) => self.judge(&error),
        };
        match &outcome {
            Outcome::Failed(why) => eprintln!("FAILED {name}: {why}"),
            Outcome::Skipped(why) => eprintln!("SKIPPED {name}: {why}"),
            Outcome::Counted(_) => {}
        }
        self.lines.push((name.to_owned(), outcome, start.elapsed()));
    }

    /// As [`Summary::step`], for a check that has no parts.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        self.step(name, || check().map(|()| Counts::ONE_PASSED));
    }

    fn judge(&self, error: &anyhow::Error) -> Outcome {
        match error.downcast_ref::<Missing>() {
            Some(missing) if !(self.in_ci && missing.obtainable) => Outcome::Skipped(format!("{error:#}")),
            _ => Outcome::Failed(format!("{error:#}")),
        }
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, outcome, _) in &self.lines {
            match outcome {
                Outcome::Counted(counts) => total += *counts,
                Outcome::Failed(_) => total.failed += 1,
                Outcome::Skipped(_) => total.skipped += 1,
            }
        }
        total
    }

    /// Prints every step, then the sum as the last line.
    pub(crate) fn close(&self) -> ExitCode {
        println!();
        for (name, outcome, took) in &self.lines {
            let said = match outcome {
                Outcome::Counted(counts) => counts.to_string(),
                Outcome::Failed(why) => format!("FAILED: {why}"),
                Outcome::Skipped(why) => format!("SKIPPED: {why}"),
            };
            println!("{name:<22} {:>6.1} s  {said}", took.as_secs_f64());
        }
        let total = self.total();
        println!("{total}");
        if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn closing_lines_of_both_runners_are_counted_and_no_others() {
        let cases = [
            ("     Summary [   0.004s] 2 tests run: 2 passed, 0 skipped", counts(2, 0, 0)),
            (
                "     Summary [   1.2s] 9 tests run: 6 passed (1 slow), 1 failed, 2 timed out, 3 skipped",
                counts(6, 3, 3),
            ),
            ("     Summary [   1.2s] 2/9 tests run: 1 passed, 1 exec failed, 3 skipped", counts(1, 1, 3)),
            (
                "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out",
                counts(4, 1, 2),
            ),
            ("        PASS [   0.004s] a::test that 3 passed", counts(0, 0, 0)),
        ];
        for (line, wanted) in cases {
            assert_eq!(Counts::in_line(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_skipped_at_a_desk_and_fails_in_ci_if_it_could_be_had() {
        for (in_ci, obtainable, wanted) in
            [(false, true, counts(0, 0, 1)), (true, true, counts(0, 1, 0)), (true, false, counts(0, 0, 1))]
        {
            let mut summary = Summary { in_ci, lines: Vec::new() };
            summary.check("a tool", || Err(Missing { what: "not here".into(), obtainable }.into()));
            assert_eq!(summary.total(), wanted, "in_ci {in_ci}, obtainable {obtainable}");
        }
    }

    #[test]
    fn a_step_that_breaks_fails_and_the_next_one_still_runs() {
        let mut summary = Summary { in_ci: false, lines: Vec::new() };
        summary.check("broken", || Err(anyhow!("no")));
        summary.step("tests", || Ok(counts(3, 0, 1)));
        assert_eq!(summary.total(), counts(3, 1, 1));
    }
}
