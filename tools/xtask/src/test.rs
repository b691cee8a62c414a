//! `test`: runs all tests, on a fresh machine.
//!
//! Why: one command that passes or names each fault; `.ci/run` is this plus the checks of `ci`.
//! Invariants: every step runs, even after a failed one; steps share one build (the dev profile, the whole
//! workspace, so that features are the same), except the loom models, whose atomics differ.
//! The smoke of each fuzz target is an ordinary test of the workspace; `fuzz` is the long, guided form.
//! Not here: the sum of results (`summary`), the suites themselves (`autobahn`, `clients`, `soak`).

use crate::run::{cargo, command, output, run_tests, target_dir};
use crate::summary::{Counts, Missing, Summary};
use crate::{api, autobahn, bench, clients, cluster, field, nats, sim, soak};
use anyhow::Result;
use std::process::ExitCode;

/// Test everything: unit, integration and doc tests, loom models, miri, third-party clients, Autobahn, a
/// short soak, trials from outside.
///
/// Runs every step even if one fails. What could not run is named at the end with the way to get it; the last
/// line counts what passed, failed and was skipped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Steps to run; all of them, in this order, if none is named.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

/// One step of `test`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    /// Install the third-party clients that tests speak through.
    Clients,
    /// Unit and integration tests of the workspace.
    Workspace,
    /// Examples in the documentation.
    Docs,
    /// Models of the lock-free parts, every interleaving.
    Loom,
    /// The lock-free parts under miri, which sees wrong uses of memory.
    Miri,
    /// The Autobahn suite against an echo over our own codec.
    Autobahn,
    /// Some hundred requests of schemathesis to the HTTP API.
    Api,
    /// A short soak of our own node: an audience that misbehaves, a few crashes, drains, power cuts and
    /// flipped bits.
    Soak,
    /// Trials of a node from outside, with small loads: strangers, proxies, supervisors, failing disks.
    Field,
    /// Three nodes on three NATS servers: the demo in which one dies and comes back, and the quickest faults
    /// of `cluster`.
    Cluster,
    /// Simulated worlds, and the faults put in on purpose that they must find.
    Sim,
    /// The benches, as small as they go.
    Benches,
}

pub(crate) fn go(args: &Args) -> ExitCode {
    let mut summary = Summary::new();
    add_steps(&mut summary, &args.steps);
    summary.close()
}

/// Runs `steps`, or all of them if none is given.
pub(crate) fn add_steps(summary: &mut Summary, steps: &[Step]) {
    let wanted = |step| steps.is_empty() || steps.contains(&step);
    if wanted(Step::Clients) {
        summary.check("third-party clients", || clients::install().map(drop));
        summary.check("S3 by other people", || clients::install_s3().map(drop));
    }
    if wanted(Step::Workspace) {
        summary.step("workspace tests", || runner(&[], &["--workspace"]));
    }
    if wanted(Step::Docs) {
        summary.step("doctests", || run_tests(&mut cargo(["test", "--workspace", "--doc"])));
    }
    if wanted(Step::Loom) {
        summary.step("loom models", loom);
    }
    if wanted(Step::Miri) {
        summary.step("miri", miri);
    }
    if wanted(Step::Autobahn) {
        summary.step("autobahn", || autobahn::judge_our_echo(&autobahn::install()?));
    }
    if wanted(Step::Api) {
        summary.step("HTTP API", api::smoke);
    }
    if wanted(Step::Soak) {
        summary.check("soak", soak::smoke);
        summary.check("soak, crashes", soak::smoke_of_crashes);
        summary.check("soak, drains", soak::smoke_of_drains);
        summary.check("soak, power cuts", soak::smoke_of_power_cuts);
        summary.check("soak, bit flips", soak::smoke_of_bit_flips);
    }
    if wanted(Step::Field) {
        field::smoke(summary);
    }
    if wanted(Step::Cluster) {
        summary.check("three nodes", nats::smoke);
        summary.check("three nodes, faults", cluster::smoke);
    }
    if wanted(Step::Sim) {
        summary.check("simulation", sim::smoke);
    }
    if wanted(Step::Benches) {
        summary.check("benches", bench::smoke);
    }
}

/// Tests of `packages`, by nextest where it is installed, otherwise by cargo's own runner.
pub(crate) fn runner(targets: &[&str], packages: &[&str]) -> Result<Counts> {
    let nextest = output(&mut cargo(["nextest", "--version"])).is_some();
    let mut tests = if nextest {
        cargo(["nextest", "run", "--no-fail-fast", "--no-tests=pass"])
    } else {
        eprintln!(
            "cargo-nextest is not installed: cargo's own runner is slower and cannot keep heavy tests apart"
        );
        // Doctests are a step of their own.
        let all: &[&str] = if targets.is_empty() { &["--all-targets"] } else { &[] };
        cargo(["test", "--no-fail-fast"].into_iter().chain(all.iter().copied()))
    };
    run_tests(tests.args(targets).args(packages))
}

/// The models need another meaning of every atomic: another target directory, so that nothing else is built
/// twice.
fn loom() -> Result<Counts> {
    let mut tests = cargo(["test", "--package", "grandstand-queue", "--release", "--lib"]);
    run_tests(tests.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target_dir().join("loom")))
}

/// Miri is a component of nightly toolchains only, and this workspace builds on stable: who has it, runs it.
fn miri() -> Result<Counts> {
    let nightly = || {
        let mut rustup = command("rustup");
        rustup.args(["run", "nightly", "cargo", "miri"]);
        rustup
    };
    if output(nightly().arg("--version")).is_none() {
        let what = "miri is not installed: `rustup toolchain install nightly --component miri,rust-src`";
        return Err(Missing { what: what.to_owned(), obtainable: false }.into());
    }
    let mut tests = nightly();
    tests.args(["test", "--package", "grandstand-queue"]);
    run_tests(tests.env("CARGO_TARGET_DIR", target_dir().join("miri")))
}
