//! `fuzz`: a guided search for inputs that break a parser.
//!
//! Why without cargo-fuzz: it would be one more tool to build, and adds only the flags below. They are
//! unstable; `RUSTC_BOOTSTRAP` makes the compiler accept them without a second toolchain.
//! Invariant: `protocol/fuzz` is no member of the workspace; its build shares nothing with the others, since
//! every crate in it is instrumented.
//! Not here: the targets (`protocol/fuzz/fuzz_targets`), their smoke in CI (tests of `grandstand-protocol`,
//! `grandstand-cluster`, `grandstand-filter` and `grandstand-media`).

use crate::run::{cargo, command, output, root, run, target_dir};
use anyhow::{Context, Result, bail};
use grandstand_harness::numbers::integer;
use std::fs;
use std::path::{Path, PathBuf, absolute};

/// Compiler flags with which libFuzzer sees the coverage of an input, and AddressSanitizer its memory
/// accesses.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1";

/// Messages between nodes, the seeds of the target `cluster_message`.
const CLUSTER_VECTORS: &str = "engine/cluster/src/link/vectors.txt";

/// Search for inputs that break a parser, guided by coverage (libFuzzer).
///
/// Inputs with new coverage are kept in target/fuzz/corpus, breaking ones in target/fuzz/artifacts. To repeat
/// one: cargo xtask fuzz TARGET --input FILE. Needs a C++ compiler. The short form of this is part of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Target to run, a file of protocol/fuzz/fuzz_targets; all in turn if none is named.
    target: Option<String>,
    /// Time for each target.
    #[arg(long, value_name = "N", default_value_t = 60,
        value_parser = integer(1_u64, 2_592_000, "a search takes at most 30 days"))]
    seconds: u64,
    /// Run this one input instead of searching.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let known = targets()?;
    let wanted = match &args.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("no fuzz target `{name}`; there are: {}", known.join(", ")),
    };
    let host = host()?;
    build(&host)?;
    if args.input.is_none() {
        plant_seeds()?;
    }
    let binaries = target_dir().join("fuzz").join(host).join("release");
    wanted.iter().try_for_each(|target| search(target, &binaries, args))
}

/// The names of the targets: one file each.
fn targets() -> Result<Vec<String>> {
    let dir = root().join("protocol/fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).with_context(|| format!("no fuzz targets in {}", dir.display()))?;
    let names =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let version = output(command("rustc").arg("-vV")).context("`rustc -vV` failed")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Instrumented code has to be built for a named target, or build scripts and macros would be instrumented
/// too.
fn build(host: &str) -> Result<()> {
    let mut build =
        cargo(["build", "--release", "--manifest-path", "protocol/fuzz/Cargo.toml", "--target", host]);
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", RUSTFLAGS);
    run(build.env("CARGO_TARGET_DIR", target_dir().join("fuzz")))
}

/// Every search begins with the test vectors and the inputs that earlier searches found.
fn plant_seeds() -> Result<()> {
    let vectors =
        ["run", "--quiet", "--package", "grandstand-protocol", "--example", "vectors", "--", "--corpus"];
    run(cargo(vectors).arg(target_dir().join("fuzz/corpus")))?;
    let dir = target_dir().join("fuzz/corpus/cluster_message");
    fs::create_dir_all(&dir)?;
    for (name, bytes) in hex_lines(&fs::read_to_string(root().join(CLUSTER_VECTORS))?)? {
        fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

/// Lines of a name and bytes in hex.
fn hex_lines(text: &str) -> Result<Vec<(&str, Vec<u8>)>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, hex) = line.split_once(' ').with_context(|| format!("no name and hex: {line}"))?;
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16);
        let bytes: Result<_, _> = (0..hex.len()).step_by(2).map(byte).collect();
        Ok((name, bytes.with_context(|| format!("{name} is not in hex"))?))
    });
    parsed.collect()
}

fn search(target: &str, binaries: &Path, args: &Args) -> Result<()> {
    let mut fuzzer = command(binaries.join(target));
    if let Some(input) = &args.input {
        return run(fuzzer.arg(absolute(input)?));
    }
    let corpus = target_dir().join("fuzz/corpus").join(target);
    let artifacts = target_dir().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    fuzzer.arg(format!("-max_total_time={}", args.seconds)).arg("-print_final_stats=1");
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(corpus);
    run(&mut fuzzer).with_context(|| format!("{target}: see {}", artifacts.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_cluster_are_seeds() {
        let text = fs::read_to_string(root().join(CLUSTER_VECTORS)).unwrap();
        let seeds = hex_lines(&text).unwrap();
        assert!(seeds.len() >= 11 && seeds.iter().all(|(_, bytes)| bytes.len() > 20));
        assert!(hex_lines("a 0g").is_err() && hex_lines("a 012").is_err() && hex_lines("a").is_err());
    }
}
