//! `micro`: runs the hot paths, one at a time, so that callgrind counts their instructions.
//!
//! `micro` lists its benches; `micro NAME` runs one and prints how many operations were inside
//! `meter::collected`, the only function that callgrind collects for. `cargo xtask bench micro` runs
//! all benches and compares them with the baseline.
//!
//! Why one process per bench: the state of the allocator after one bench must not change the figures of the
//! next.
//! Why plain callgrind: it needs only a function's name. A machine with valgrind needs nothing else: no
//! runner of the same version, no headers, no `unsafe`.
//! Why a package of its own: it is built in a profile of its own, so it must not depend on the load
//! generators.
//! Invariants: no clock, thread, socket or random seed; each bench checks its own result.
//! Not here: time (the other benches), the baseline (benches/micro.json).

#![forbid(unsafe_code)]

mod filter;
mod fixture;
mod frames;
mod meter;
mod queues;
mod reading;
mod seal;
mod walk;
mod websocket;

use std::io::Write;
use std::process::ExitCode;

/// A bench: what it is called in the baseline, in commit messages and on the command line.
type Bench = (&'static str, fn() -> u64);

fn benches() -> impl Iterator<Item = Bench> {
    [
        seal::BENCHES,
        frames::BENCHES,
        filter::BENCHES,
        walk::BENCHES,
        websocket::BENCHES,
        queues::BENCHES,
        reading::BENCHES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

const HELP: &str = "\
Run one of the hot paths, so that callgrind counts its instructions. `cargo xtask bench micro` runs all of them.

Usage: micro [NAME]

Without a name it lists the benches, with one it prints the number of operations that were inside.
  -h, --help  Print this

Exit codes: 0 for success, 2 for a wrong command line.
";

/// Without clap: nothing but the hot paths should be in this binary.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = || benches().map(|(name, _)| format!("{name}\n")).collect();
    let found = |wanted: &str| benches().find(|(name, _)| *name == wanted);
    let text: String = match &arguments[..] {
        [] => names(),
        [flag] if flag == "-h" || flag == "--help" => HELP.to_owned(),
        [name] if found(name).is_some() => format!("{}\n", found(name).expect("it was found").1()),
        [wrong, ..] => {
            let wrong = arguments.get(1).unwrap_or(wrong);
            eprintln!("error: got {wrong}, expected the name of a bench");
            eprintln!("help: `micro` lists them, `micro --help` explains");
            return ExitCode::from(2);
        }
    };
    // A reader that has read enough is no fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bench_runs_and_no_two_have_one_name() {
        let mut names: Vec<_> = benches().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (name, run) in benches() {
            assert!(run() > 0, "{name}");
        }
    }
}
