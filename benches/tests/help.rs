//! The benches explain themselves, and name what is wrong with a command line.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

use grandstand_harness::command_line::{check, check_fault};

#[test]
fn every_bench_explains_itself() {
    let (bench, layout) = (env!("CARGO_BIN_EXE_grandstand-bench"), env!("CARGO_BIN_EXE_layout"));
    check(bench, "grandstand-bench", &[]);
    check(layout, "layout", &[]);
    check_fault(layout, &["/nonexistent.jsonl"], "/nonexistent.jsonl");
    check_fault(layout, &["--check", "/nonexistent.jsonl"], "/nonexistent.jsonl");
    check_fault(bench, &["--show", "/nonexistent.json"], "/nonexistent.json");
}

#[test]
fn numbers_of_benches_have_bounds_with_reasons() {
    let bench = env!("CARGO_BIN_EXE_grandstand-bench");
    for option in ["--viewers", "--rate", "--tick-ms", "--seconds", "--server-core", "--generator-core"] {
        for absurd in ["-1", "nan", "99999999999999999999", "x"] {
            let output = std::process::Command::new(bench)
                .args(["floor", &format!("{option}={absurd}")])
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{option} {absurd}: {error}");
            assert!(error.contains("expected an integer from"), "{option} {absurd}: {error}");
        }
    }
}

#[test]
fn tables_that_nobody_reads_end_without_a_trace() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/results/2026-11-28-0b8d1bf.jsonl");
    let mut bench = std::process::Command::new(env!("CARGO_BIN_EXE_grandstand-bench"));
    bench.args(["--show", file]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut bench = bench.spawn().unwrap();
    drop(bench.stdout.take());
    let output = bench.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
