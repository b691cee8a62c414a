//! `bench micro`: counts the instructions of the hot paths, and compares them with a checked-in baseline.
//!
//! Why instructions: they are the same on a busy machine as on an idle one, so a growth of a few percent can
//! fail a change. What they leave out (caches, system calls) is what the other benches measure.
//! Why callgrind itself and no framework around it: it counts from one named function to its end, which is
//! all that is needed, and a machine that has valgrind from its packages needs nothing else.
//! Invariants: one process per bench, with no environment but the switch that gives every CPU the same
//! `memcpy`, so the same program gives the same counts to the last digit; a machine without valgrind says so
//! and skips.
//! Not here: the benches (benches/micro), the comparison (`baseline`), the reasons in commits (`history`).

mod baseline;
mod history;

use crate::run::{cargo, command, output, root, run, target_dir};
use crate::summary::{Counts, Missing};
use anyhow::{Context, Result, bail};
use baseline::{Baseline, Finding};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The baseline, from the workspace root.
const BASELINE: &str = "benches/micro.json";

/// glibc chooses `memcpy` and its like by the CPU; without these every x86-64 CPU gets the same. Elsewhere it
/// says nothing.
const SAME_MEMCPY: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM";

/// Count, compare, and with `update` write the baseline anew.
pub(crate) fn go(update: bool) -> Result<()> {
    let counted = count()?;
    if update {
        fs::write(root().join(BASELINE), counted.to_json())
            .with_context(|| format!("cannot write {BASELINE}"))?;
        println!("wrote {BASELINE}");
        return history::remind();
    }
    let counts = judge_with_history(&counted)?;
    println!("{counts}");
    if counts.failed > 0 {
        bail!("{} findings about instructions of hot paths", counts.failed);
    }
    Ok(())
}

/// The step of `ci`: each bench passes or fails by itself, and each growth that the baseline took in must be
/// named.
pub(crate) fn check() -> Result<Counts> {
    judge_with_history(&count()?)
}

fn judge_with_history(counted: &Baseline) -> Result<Counts> {
    let mut counts = judge(counted)?;
    for name in history::unnamed()? {
        counts.failed += 1;
        eprintln!("FAILED {name}: the baseline grew, and no commit message since names {name:?}");
    }
    Ok(counts)
}

fn judge(counted: &Baseline) -> Result<Counts> {
    let text = fs::read_to_string(root().join(BASELINE))
        .with_context(|| format!("cannot read {BASELINE}: `cargo xtask bench micro --update` writes it"))?;
    let baseline = Baseline::parse(&text).with_context(|| format!("{BASELINE} does not read"))?;
    let differing = baseline.differing_facts(counted);
    for (name, was, is) in &differing {
        println!("note: the baseline was counted with {name} {was:?}, this is {is:?}: growth does not fail");
    }
    let mut counts = Counts::default();
    for (name, finding) in baseline.compare(counted) {
        println!("{name:<20} {finding}");
        if finding.fails() && differing.is_empty() {
            counts.failed += 1;
            println!("{:20} FAILED; where it goes: callgrind_annotate {}", "", shown(&profile(name)));
        } else {
            counts.passed += 1;
        }
        if matches!(finding, Finding::Shrunk(..)) {
            println!("{:20} update the baseline with `cargo xtask bench micro --update`", "");
        }
    }
    Ok(counts)
}

/// Build the benches and count each.
fn count() -> Result<Baseline> {
    let Some(valgrind) = output(command("valgrind").arg("--version")) else {
        let what = "valgrind is not installed: `apt install valgrind`".to_owned();
        return Err(Missing { what, obtainable: false }.into());
    };
    let package = ["--package", "grandstand-micro", "--locked", "--quiet"];
    run(cargo(["build", "--profile", "micro"]).args(package))?;
    let program = target_dir().join("micro/micro");
    let names = output(&mut command(&program)).context("the benches do not list themselves")?;
    fs::create_dir_all(profile("").parent().expect("it has a directory"))?;
    eprintln!(
        "counting {} benches under callgrind, profiles in {}",
        names.lines().count(),
        shown(&profile("*"))
    );
    let mut benches = BTreeMap::new();
    for name in names.lines() {
        let count = count_one(&program, name).with_context(|| format!("the bench {name}"))?;
        benches.insert(name.to_owned(), count);
    }
    Ok(Baseline { facts: facts(&valgrind), benches })
}

/// Instructions per operation of one bench.
fn count_one(program: &PathBuf, name: &str) -> Result<f64> {
    let out = profile(name);
    let mut callgrind = command("valgrind");
    callgrind
        .env_clear()
        .env("GLIBC_TUNABLES", SAME_MEMCPY)
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*meter::collected*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(name);
    let operations: u64 = output(&mut callgrind).context("it failed under valgrind")?.parse()?;
    let text = fs::read_to_string(&out).context("callgrind wrote nothing")?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let instructions: u64 = summary.context("callgrind's file has no summary")?.trim().parse()?;
    if instructions < operations {
        bail!("{instructions} instructions for {operations} operations: the counted function was not found");
    }
    Ok(instructions as f64 / operations as f64)
}

/// What counts depend on beside the code. Another value: figures are compared, and nothing fails.
fn facts(valgrind: &str) -> BTreeMap<String, String> {
    let said = output(command("rustc").arg("-vV")).unwrap_or_default();
    let line = |name| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").to_owned();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let libc = output(command("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_else(|| "another".to_owned());
    let facts = [
        ("rustc", format!("{} ({})", line("release: "), line("commit-hash: "))),
        ("target", line("host: ")),
        ("target cpu", if flags.contains("target-cpu") { flags } else { "the target's default".to_owned() }),
        ("libc", libc),
        ("valgrind", valgrind.to_owned()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Where the profile of a bench is kept, for `callgrind_annotate`.
fn profile(name: &str) -> PathBuf {
    target_dir().join("callgrind").join(format!("{}.out", name.replace('/', "-")))
}

fn shown(path: &std::path::Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
