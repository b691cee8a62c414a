//! `cargo xtask` explains itself, and so does every other binary of the workspace: each package has a test
//! for its own, and here is the list.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

use std::path::Path;
use std::process::Command;

use grandstand_harness::command_line::{check, check_fault};
use serde_json::Value;

const COMMANDS: [&str; 15] = [
    "check",
    "tidy",
    "test",
    "ci",
    "bench",
    "soak",
    "sim",
    "field",
    "cluster",
    "schema",
    "dictionary",
    "fuzz",
    "autobahn",
    "clients",
    "deny",
];

#[test]
fn every_command_explains_itself() {
    check(env!("CARGO_BIN_EXE_xtask"), "cargo xtask", &COMMANDS);
    check_fault(env!("CARGO_BIN_EXE_xtask"), &["fuzz", "nonsense"], "no fuzz target `nonsense`");
}

#[test]
fn numbers_of_commands_have_bounds_with_reasons() {
    for (command, option) in [
        ("soak", "--seconds"),
        ("soak", "--viewers"),
        ("soak", "--rate"),
        ("soak", "--crashes"),
        ("soak", "--power-cuts"),
        ("soak", "--drains"),
        ("soak", "--bit-flips"),
        ("sim", "--seeds"),
        ("sim", "--steps"),
        ("cluster", "--times"),
        ("cluster", "--viewers"),
        ("cluster", "--rate"),
        ("fuzz", "--seconds"),
    ] {
        for absurd in ["0", "-1", "nan", "99999999999999999999"] {
            let line = [command, &format!("{option}={absurd}")];
            let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(line).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line:?}: {error}");
            assert!(error.contains("expected an integer from"), "{line:?}: {error}");
        }
    }
}

/// Every binary of the workspace is held to the rules by a test of its package.
#[test]
fn no_binary_is_left_out() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut binaries = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        for target in package["targets"].as_array().unwrap() {
            if target["kind"][0] != "bin" {
                continue;
            }
            binaries += 1;
            let named = format!("CARGO_BIN_EXE_{}\"", target["name"].as_str().unwrap());
            let tests = std::fs::read_dir(manifest.with_file_name("tests")).into_iter().flatten().flatten();
            let texts = tests.filter_map(|test| std::fs::read_to_string(test.path()).ok());
            let holds = |text: String| text.contains(&named) && text.contains("command_line::");
            assert!(
                texts.into_iter().any(holds),
                "{named} has no test of its command line in {}",
                manifest.display()
            );
        }
    }
    assert!(binaries >= 8, "{binaries}");
}
