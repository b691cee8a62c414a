//! `gs` as a person calls it, against a whole node in this process: loads, replays, the demo, and what they
//! say of trouble.
//!
//! Not here: how figures come about (unit tests beside the code), large runs (`cargo xtask bench`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use grandstand::Node;
use grandstand_harness::local;
use serde_json::Value;

/// A node where everybody may do everything, and each connection of this machine is a person of its own.
fn node() -> Node {
    node_with(("node.workers", "2"))
}

fn node_with(key: (&str, &str)) -> Node {
    local::node(&[
        key,
        ("auth.open_may", "publish,react,state,bridge"),
        ("limits.people_per_address", "65535"),
    ])
}

fn ws(node: &Node) -> String {
    format!("ws://{}/v1", node.addresses().ws.unwrap())
}

fn gs(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gs")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// `gs load` over both transports with the node's own certificate pinned; its figures.
fn load(node: &Node, arguments: &[&str]) -> (bool, Value) {
    let (ws, quic) = (ws(node), format!("quic://{}", node.addresses().quic.unwrap()));
    let common = [
        "load",
        "--json",
        "--quiet",
        "--ramp",
        "400",
        "--url",
        &ws,
        "--url",
        &quic,
        "--fingerprint",
        node.fingerprint(),
    ];
    figures(&gs(&[&common, arguments].concat()))
}

fn figures(output: &Output) -> (bool, Value) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let figures = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}\n{err}"));
    (output.status.success(), figures)
}

/// A log in a file of its own, gone with the value.
struct Log(PathBuf);

impl Log {
    fn new(name: &str, text: &str) -> Log {
        let path = std::env::temp_dir().join(format!("gs-{}-{name}.jsonl", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Log(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_hundred_viewers_over_both_transports_see_everything_once_in_order() {
    let node = node();
    let arguments =
        ["--ws-viewers", "50", "--quic-viewers", "50", "--hold", "2s", "--rate", "50", "--publishers", "3"];
    let (ok, figures) = load(&node, &arguments);
    assert!(ok, "{figures:#}");
    let messages = figures["messages"].as_u64().unwrap();
    assert!((50..200).contains(&messages), "{figures:#}");
    assert_eq!(
        (figures["viewers"].as_u64(), figures["deliveries"].as_u64()),
        (Some(100), Some(100 * messages))
    );
    for name in
        ["lost", "duplicated", "out_of_order", "wrong", "gaps", "unacknowledged", "foreign", "unsettled"]
    {
        assert_eq!(figures[name], 0, "{name}: {figures:#}");
    }
    assert!(figures["p50_us"].as_u64().unwrap() > 0);
    let bytes = figures["bytes_per_delivery"].as_f64().unwrap();
    let plain = [&arguments[..], &["--no-compression"]].concat();
    let (ok, figures) = load(&node, &plain);
    assert!(ok, "{figures:#}");
    let plain_bytes = figures["bytes_per_delivery"].as_f64().unwrap();
    assert!(plain_bytes > 60.0 && bytes < plain_bytes, "{bytes} compressed, {plain_bytes} plain");
}

#[test]
fn processes_drops_stalls_churn_and_reactions_do_not_lose_anything() {
    let node = node();
    let pid = std::process::id().to_string();
    let arguments = [
        "--viewers",
        "60",
        "--processes",
        "2",
        "--hold",
        "3s",
        "--rate",
        "40",
        "--drop-viewer",
        "8",
        "--stall",
        "10",
        "--stall-at",
        "500ms",
        "--stall-for",
        "1s",
        "--churn",
        "100%",
        "--reactions",
        "50",
        "--pid",
        &pid,
    ];
    let (ok, figures) = load(&node, &arguments);
    assert!(ok, "{figures:#}");
    // One viewer of each transport.
    assert_eq!((figures["drops"].as_u64(), figures["resumes"].as_u64()), (Some(16), Some(16)), "{figures:#}");
    assert_eq!(figures["processes"], 2);
    assert!(figures["reactions_seen"].as_u64() > figures["reactions_sent"].as_u64(), "{figures:#}");
    assert!(figures["disturbed"]["max_us"].as_u64().unwrap() > 500_000, "somebody did not read: {figures:#}");
    assert!(figures["cpu_ns_per_delivery"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_replay_is_checked_line_by_line() {
    let node = node();
    let log = Log::new(
        "checked",
        "{\"t\":900,\"u\":\"ann\",\"m\":\"good evening\"}\n{\"t\":1000,\"k\":\"ban\",\"u\":\"bob\",\"d\":600}\n\
         {\"t\":3000,\"u\":\"böb\",\"m\":\"a\\u0007b\",\"r\":\"@\"}\n{\"t\":9000,\"u\":\"eve\",\"m\":\"😂\"}\n",
    );
    let (ok, figures) = load(&node, &["--viewers", "20", "--replay", log.path(), "--speed", "20"]);
    assert!(ok, "{figures:#}");
    assert_eq!((figures["messages"].as_u64(), figures["deliveries"].as_u64()), (Some(3), Some(60)));
    assert_eq!((figures["wrong"].as_u64(), figures["foreign"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn somebody_elses_words_are_not_taken_for_ours() {
    let node = node();
    let log = Log::new(
        "others",
        &(0..40).map(|n| format!("{{\"t\":{},\"u\":\"x\",\"m\":\"{n}\"}}\n", n * 100)).collect::<String>(),
    );
    let (ws, path) = (ws(&node), log.path().to_owned());
    let other = std::thread::spawn(move || {
        gs(&["replay", &path, "--url", &ws, "--room", "load", "--quiet", "--json"])
    });
    let (ok, figures) = load(&node, &["--viewers", "10", "--hold", "2s", "--rate", "20"]);
    assert!(ok && figures["foreign"].as_u64().unwrap() > 0, "{figures:#}");
    let (ok, figures) = self::figures(&other.join().unwrap());
    assert!(ok && figures["messages"] == 40, "{figures:#}");
}

#[test]
fn real_logs_replay_without_a_loss() {
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chat/niconico_anime_ep1.jsonl.gz");
    if !data.exists() {
        eprintln!("skipped: {} is not there", data.display());
        return;
    }
    let node = node();
    let path = data.to_str().unwrap();
    let (ok, figures) = load(&node, &["--viewers", "40", "--replay", path, "--speed", "400"]);
    assert!(ok, "{figures:#}");
    assert_eq!((figures["messages"].as_u64(), figures["deliveries"].as_u64()), (Some(3050), Some(40 * 3050)));
}

#[test]
fn what_cannot_be_done_is_said_and_fails() {
    let unused = grandstand_harness::wait::free_port();
    let url = format!("ws://{unused}/v1");
    for (arguments, words) in [
        (vec!["load", "--url", &url, "--viewers", "2"], "is the node running there?"),
        (vec!["load", "--url", "quic://example.org", "--viewers", "2"], "--fingerprint"),
        (vec!["replay", "/nonexistent.jsonl"], "cannot open /nonexistent.jsonl"),
        (vec!["load", "--url", &url, "--quic", "50%", "--viewers", "2"], "need a --url quic://"),
    ] {
        let output = gs(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn what_the_machine_or_the_node_does_not_take_is_refused_at_once() {
    let node = node_with(("limits.text_bytes_max", "500"));
    let url = ws(&node);
    for (arguments, code, words) in [
        (&["load", "--viewers", "100000000"][..], 2, "expected an integer from 1 to 4000000"),
        (&["load", "--ws-viewers", "4000000"], 1, "expected at most"),
        (
            &["load", "--viewers", "2", "--size", "501"],
            1,
            "got --size 501, expected at most 500: the node's limit",
        ),
        (&["load", "--ws-viewers", "0", "--quic-viewers", "0"], 1, "expected at least 1 viewer"),
        (&["load", "--viewers", "2", "--rate", "0"], 2, "--publishers 0 publishes nothing"),
    ] {
        let begun = std::time::Instant::now();
        let output = gs(&[arguments, &["--url", &url]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert!(begun.elapsed().as_secs() < 10, "{arguments:?}: nothing is allocated before it");
    }
    let output = gs(&["demo", "--viewers", "4000000"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("expected at most"), "{error}");
}

#[test]
fn an_audit_tells_that_a_room_was_not_fresh() {
    let node = node();
    let directory = std::env::temp_dir().join(format!("gs-{}-ledger", std::process::id()));
    let log = Log::new("before", "{\"t\":0,\"u\":\"ann\",\"m\":\"good evening\"}\n");
    assert!(gs(&["replay", log.path(), "--url", &ws(&node), "--room", "load", "--quiet"]).status.success());
    let ledger = directory.to_str().unwrap();
    let (ok, figures) = load(&node, &["--viewers", "4", "--hold", "1s", "--ledger", ledger]);
    assert!(ok, "{figures:#}");
    let output = gs(&["audit", ledger, "--url", &ws(&node), "--json"]);
    std::fs::remove_dir_all(&directory).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let (ok, figures) = self::figures(&output);
    assert!(ok && error.contains("load: not a fresh room: its log was at offset 1"), "{error}\n{figures:#}");
    assert_eq!((figures["earlier"].as_u64(), figures["wrong"].as_u64()), (Some(1), Some(0)), "{figures:#}");
    assert_eq!(figures["rooms_not_fresh"], 1);
}

#[test]
fn viewers_that_are_not_let_in_fail_the_run() {
    let node = node_with(("rooms.on_first_use", "other"));
    let url = ws(&node);
    let output = gs(&[
        "load",
        "--json",
        "--quiet",
        "--url",
        &url,
        "--viewers",
        "5",
        "--publishers",
        "0",
        "--hold",
        "1s",
    ]);
    let (ok, figures) = figures(&output);
    assert!(!ok && figures["viewers"] == 0, "{figures:#}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("5 viewers failed: 5 unknown room"), "{error}");
}

#[test]
fn the_demo_prints_one_line_and_ends_by_itself() {
    let output = gs(&["demo", "--viewers", "40", "--seconds", "2", "--json", "--quiet"]);
    let (ok, figures) = figures(&output);
    assert!(ok, "{figures:#}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    for name in [
        "viewers",
        "messages",
        "frames",
        "deliveries",
        "lost",
        "duplicated",
        "out_of_order",
        "gaps",
        "p50_us",
        "p99_us",
        "p999_us",
        "cpu_ns_per_delivery",
        "cpu_ns_per_frame",
        "bytes_per_delivery",
        "server_user_bytes_per_viewer",
    ] {
        assert!(figures[name].is_number(), "{name}: {figures:#}");
    }
    assert_eq!((figures["viewers"].as_u64(), figures["foreign"].as_u64()), (Some(40), Some(0)));
}

#[test]
fn every_tool_explains_itself() {
    let tools = ["load", "audit", "replay", "demo", "chat", "synth", "dictionary"];
    grandstand_harness::command_line::check(env!("CARGO_BIN_EXE_gs"), "gs", &tools);
    for line in
        [&["audit", "/nonexistent"][..], &["synth", "/nonexistent/log"], &["chat", "--token", "/nonexistent"]]
    {
        grandstand_harness::command_line::check_fault(env!("CARGO_BIN_EXE_gs"), line, "/nonexistent");
    }
}
