//! Writes the test vectors under `protocol/vectors`, or with `--check` says whether they are what it would
//! write. With `--corpus DIR` it writes their bytes as seeds for the fuzz targets, one directory each.
//!
//! Why a generator: hex by hand rots. What it writes is still reviewed, as a difference of one line per
//! vector, and `tests/vectors.rs` reads every line back.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => write_all(),
        ["--check"] => check(),
        ["--corpus", dir] => corpus(Path::new(dir)),
        _ => {
            eprintln!("usage: vectors [--check | --corpus DIR]");
            ExitCode::from(2)
        }
    }
}

fn write_all() -> ExitCode {
    for (name, text) in support::files() {
        std::fs::write(support::directory().join(name), text)
            .unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
    }
    ExitCode::SUCCESS
}

fn check() -> ExitCode {
    let stale: Vec<_> = support::files()
        .into_iter()
        .filter(|(name, text)| {
            std::fs::read_to_string(support::directory().join(name)).ok().as_ref() != Some(text)
        })
        .map(|(name, _)| name)
        .collect();
    if stale.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "not as generated: {}; run `cargo run -p grandstand-protocol --example vectors`",
        stale.join(", ")
    );
    ExitCode::FAILURE
}

fn corpus(dir: &Path) -> ExitCode {
    for (target, name, bytes) in support::seeds() {
        let dir = dir.join(target);
        std::fs::create_dir_all(&dir).expect("cannot make a directory of seeds");
        std::fs::write(dir.join(name), bytes).expect("cannot write a seed");
    }
    ExitCode::SUCCESS
}
