//! The binary as an operator meets it: what it says when it cannot start, and how it stops.
//!
//! Why the binary: exit codes, standard error and signals are a process's.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use common::ws::{Got, Ws};
use grandstand_harness::wait::free_port;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::ServerFrame;

/// A node process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn grandstand(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
    command.args(args).env_remove("GRANDSTAND_CONFIG");
    command
}

/// Runs to its end: for commands that are expected to fail.
fn fails(args: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = grandstand(args).output().unwrap();
    assert!(!status.success());
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// Start `serve` with only a WebSocket port; returns when it is ready.
fn serve(ws: SocketAddr, more: &[&str]) -> Process {
    let ws = ws.to_string();
    let at_once = ["--drain-announce-ms", "0", "--drain-refuse-ms", "0"];
    let args = [&common::serve_ws_at(&ws)[..], &at_once, more].concat();
    let mut child = grandstand(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| {
        said += &line;
        line.contains("ready")
    });
    assert!(ready, "the node says that it is ready: {said}");
    assert!(said.contains("runs open"), "a node without a key says so: {said}");
    // Keep reading, or the node would find a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Process(child)
}

#[test]
fn a_second_node_on_the_same_port_says_so() {
    let address = free_port();
    let _first = serve(address, &[]);
    for flag in ["--ws-listen", "--wss-listen"] {
        let other = if flag == "--ws-listen" { "--wss-listen" } else { "--ws-listen" };
        let (code, said) = fails(&[
            "serve",
            flag,
            &address.to_string(),
            other,
            "off",
            "--quic-listen",
            "off",
            "--admin-listen",
            "off",
        ]);
        assert_eq!(code, 1);
        assert!(said.contains(&address.to_string()) && said.contains("another"), "{said}");
    }
}

#[test]
fn a_missing_certificate_says_which_and_what_to_do() {
    let (code, said) = fails(&[
        "serve",
        "--tls-cert",
        "/nowhere/cert.pem",
        "--tls-key",
        "/nowhere/key.pem",
        "--ws-listen",
        "127.0.0.1:0",
        "--wss-listen",
        "127.0.0.1:0",
        "--quic-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
    ]);
    assert_eq!(code, 1);
    assert!(said.contains("/nowhere/cert.pem") && said.contains("tls.cert"), "{said}");
}

#[test]
fn a_wrong_configuration_says_key_and_remedy() {
    let directory = std::env::temp_dir().join(format!("grandstand-process-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("node.toml");
    std::fs::File::create(&file).unwrap().write_all(b"[rooms]\ntick_sm = 50\n").unwrap();
    let (code, said) = fails(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(said.contains("tick_sm") && said.contains("tick_ms"), "{said}");
    std::fs::write(&file, "[rooms\n").unwrap();
    let (code, said) = fails(&["serve", "--config", file.to_str().unwrap()]);
    assert!(code == 2 && said.contains("node.toml"), "{said}");
    let (code, said) = fails(&["serve", "--config", directory.join("missing.toml").to_str().unwrap()]);
    assert!(code == 2 && said.contains("missing.toml"), "{said}");
    let (code, said) = fails(&["serve", "--config", directory.to_str().unwrap()]);
    assert!(code == 2 && said.contains(directory.to_str().unwrap()), "{said}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_full_disk_for_logs_does_not_stop_the_node() {
    let address = free_port();
    // A device on which every write fails as on a full disk.
    let _node = serve_logging_to("/dev/full", address);
    Ws::welcomed(address);
}

fn serve_logging_to(file: &str, ws: SocketAddr) -> Process {
    let ws_text = ws.to_string();
    let args = [&common::serve_ws_at(&ws_text)[..], &["--log-file", file]].concat();
    let child = grandstand(&args).stderr(Stdio::null()).spawn().unwrap();
    let process = Process(child);
    let start = std::time::Instant::now();
    while std::net::TcpStream::connect(ws).is_err() {
        assert!(start.elapsed() < common::PATIENCE, "the node does not listen");
        std::thread::yield_now();
    }
    process
}

#[test]
fn sigterm_sends_clients_away_and_ends_well() {
    let address = free_port();
    let mut node = serve(address, &["--drain-grace-ms", "300", "--drain-spread-ms", "70"]);
    let mut viewer = Ws::welcomed(address);
    rustix::process::kill_process(rustix::process::Pid::from_child(&node.0), rustix::process::Signal::TERM)
        .unwrap();
    let frame = viewer.next_frame();
    let ServerFrame::GoAway(away) = ServerFrame::decode(&frame).unwrap() else { panic!("go-away is due") };
    assert!(away.after_ms < 70, "{away:?}");
    assert_eq!(away.deadline_ms, away.after_ms + 300);
    assert!(matches!(viewer.until_close(), Got::Close(code, _) if code == CloseCode::GoingAway.websocket()));
    assert_eq!(node.0.wait().unwrap().code(), Some(0));
}

fn signal(node: &Process, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(&node.0), signal).unwrap();
}

#[test]
fn a_second_sigterm_ends_a_drain_at_once_and_newcomers_are_told() {
    use std::io::Read;
    let address = free_port();
    let mut node = serve(address, &["--drain-spread-ms", "600000", "--drain-go-to", "b.example:1"]);
    let mut viewer = Ws::welcomed(address);
    signal(&node, rustix::process::Signal::TERM);
    assert!(matches!(ServerFrame::decode(&viewer.next_frame()).unwrap(), ServerFrame::GoAway(_)));
    let (mut newcomer, mut told) = (std::net::TcpStream::connect(address).unwrap(), String::new());
    newcomer.set_read_timeout(Some(common::PATIENCE)).unwrap();
    newcomer.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nRetry-After: "), "{told}");
    assert!(told.contains("b.example:1"), "{told}");
    assert!(node.0.try_wait().unwrap().is_none(), "it drains");
    let start = std::time::Instant::now();
    signal(&node, rustix::process::Signal::TERM);
    assert!(matches!(viewer.until_close(), Got::Close(code, _) if code == CloseCode::GoingAway.websocket()));
    assert_eq!(node.0.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < common::PATIENCE);
}

#[test]
fn a_process_takes_over_from_another_and_that_one_ends_well() {
    let address = free_port();
    let socket = std::env::temp_dir().join(format!("gs-process-{}.sock", std::process::id()));
    let more = ["--node-handover", socket.to_str().unwrap()];
    let mut first = serve(address, &more);
    let mut viewer = Ws::welcomed(address);
    let mut second = serve(address, &more);
    let frame = viewer.next_frame();
    let ServerFrame::GoAway(away) = ServerFrame::decode(&frame).unwrap() else { panic!("go-away is due") };
    assert_eq!(away.where_to, "");
    drop(viewer);
    assert_eq!(first.0.wait().unwrap().code(), Some(0));
    let viewer = Ws::welcomed(address);
    drop(viewer);
    signal(&second, rustix::process::Signal::TERM);
    assert_eq!(second.0.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}
