//! Clients by other people (Python websockets and aioquic) against a whole node: `third_party/*.py`.
//!
//! Why: what only its authors' code can read is not specified yet. The scripts hold every conversation of
//! protocol/vectors, over each transport, with bytes that they frame and read by hand from docs/PROTOCOL.md.
//! Invariant: without the clients a desk is told how to get them, and CI fails.
//! Not here: installing them (`cargo xtask clients`), what our own client does (`conformance`).

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::node;
use grandstand::Node;

/// Longer than the node's default: the vectors hold texts of the protocol's limit.
const FLAGS: [(&str, &str); 1] = [("limits.text_bytes_max", "4096")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter that has the clients; `None` at a desk without them.
fn python() -> Option<PathBuf> {
    let python = root().join("target/tools/py/bin/python");
    if python.exists() {
        return Some(python);
    }
    let how = "target/tools/py/bin/python is missing: `cargo xtask clients` installs the third-party clients";
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!in_ci, "{how}");
    // Not by a macro, whose output a passing test keeps to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {how}");
    None
}

/// Runs a script, which says on its standard output what failed.
fn run(script: &str, args: &[&str]) {
    let Some(python) = python() else { return };
    let script = root().join("edge/node/tests/third_party").join(script);
    // -B: no compiled files beside the scripts.
    let ran = Command::new(python).arg("-B").arg(script).args(args).output().expect("Python starts");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(ran.status.success(), "{}\n{said}{complained}", ran.status);
}

fn urls(node: &Node) -> [String; 3] {
    let addresses = node.addresses();
    let [ws, wss, quic] = [addresses.ws, addresses.wss, addresses.quic].map(|a| a.expect("it listens"));
    [format!("ws://{ws}/v1"), format!("wss://{wss}/v1"), quic.to_string()]
}

#[test]
fn a_reader_by_hand_agrees_with_the_vectors() {
    run("vectors.py", &[]);
}

#[test]
fn websockets_holds_every_conversation() {
    let node = node(&FLAGS);
    let [ws, _, _] = urls(&node);
    run("converse.py", &["websocket", &ws]);
    node.stop();
}

#[test]
fn websockets_holds_every_conversation_over_tls() {
    let node = node(&FLAGS);
    let [_, wss, _] = urls(&node);
    run("converse.py", &["websocket", &wss, node.fingerprint()]);
    node.stop();
}

#[test]
fn aioquic_holds_every_conversation() {
    let node = node(&FLAGS);
    let [_, _, quic] = urls(&node);
    run("converse.py", &["quic", &quic]);
    node.stop();
}

#[test]
fn websockets_and_aioquic_read_what_the_other_said() {
    // One who opens compressed batches is enough to have them.
    // All of them come from one address.
    let fast = ("limits.publish_burst", "1000");
    let node = node(&[FLAGS[0], ("fanout.compress_from_members", "1"), fast]);
    let [ws, _, quic] = urls(&node);
    run("deliver.py", &[&ws, &quic]);
    node.stop();
}
