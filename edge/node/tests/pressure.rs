//! A process under pressure: no descriptors left, a log that nobody reads, an admin port full of strangers.
//!
//! Why the binary: descriptors, pipes and threads are a process's.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use common::ws::Ws;
use common::{PATIENCE, frame, subscribe};
use grandstand_harness::process::sample;
use grandstand_harness::wait::{free_port, until};
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// A node process with WebSocket and admin ports, which does not outlive its test.
struct Process {
    child: Child,
    ws: SocketAddr,
    admin: SocketAddr,
    /// Its log, up to the end, unless a test left it unread.
    stderr: Option<BufReader<ChildStderr>>,
    said: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Start it by a shell, which may set limits first; returns when it is ready.
    fn start(before: &str, more: &[&str]) -> Process {
        let (ws, admin) = (free_port(), free_port());
        let binary = env!("CARGO_BIN_EXE_grandstand");
        let ports = format!("--ws-listen {ws} --admin-listen {admin} --wss-listen off --quic-listen off");
        let script = format!("{before} exec {binary} serve {ports} {}", more.join(" "));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_remove("GRANDSTAND_CONFIG").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("ready") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "the node ended: {said}");
        }
        // The line with `ready` in it is the last of the start.
        Process { child, ws, admin, stderr: Some(stderr), said }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn open_files(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }

    /// Stop it; returns all that it has said.
    fn stop(mut self) -> String {
        kill_process(self.pid(), Signal::TERM).unwrap();
        if let Some(stderr) = &mut self.stderr {
            stderr.read_to_string(&mut self.said).unwrap();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        std::mem::take(&mut self.said)
    }
}

fn get(at: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn is_well(at: SocketAddr) -> bool {
    get(at, "/healthz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// A viewer that was there before, and still gets through.
struct Witness {
    ws: Ws,
    alias: u32,
    nonce: u64,
}

impl Witness {
    fn new(ws: SocketAddr) -> Witness {
        let mut ws = Ws::welcomed(ws);
        ws.send(&subscribe(1, "witness"));
        let ServerFrame::Subscribed(s) = ServerFrame::decode(&ws.next_frame()).unwrap() else {
            panic!("subscribed")
        };
        Witness { ws, alias: s.alias, nonce: 0 }
    }

    fn is_heard(&mut self) {
        self.nonce += 1;
        let (alias, nonce) = (self.alias, self.nonce);
        let publish = Publish { alias, nonce, text: "still here", ..Publish::default() };
        self.ws.send(&frame(&ClientFrame::Publish(publish)));
        loop {
            if let ServerFrame::Published(p) = ServerFrame::decode(&self.ws.next_frame()).unwrap() {
                return assert_eq!(p.nonce, nonce);
            }
        }
    }
}

/// What a connection that says nothing is told within a while; empty if nothing.
fn told(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = String::new();
    // Its time is over when nothing comes; a reset behind an answer is as good as an end.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn at_the_file_limit_new_connections_are_told_and_nobody_else_notices() {
    let node = Process::start("", &["--limits-connections-max 1000"]);
    let mut witness = Witness::new(node.ws);
    let files = node.open_files() + 8;
    let limit = Rlimit { current: Some(files), maximum: Some(files) };
    prlimit(Some(node.pid()), Resource::Nofile, limit).unwrap();
    let mut idle: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(node.ws).unwrap()).collect();
    let answers: Vec<String> = idle.iter_mut().map(told).collect();
    let refused = answers.iter().filter(|answer| !answer.is_empty()).count();
    assert!(refused >= 60, "{refused} of 70 were told");
    for answer in answers.iter().filter(|answer| !answer.is_empty()) {
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nRetry-After: "), "{answer}");
    }
    // The loop is quiet: the processor's time, a viewer inside, the health.
    let before = sample(node.child.id()).unwrap();
    let begun = Instant::now();
    for _ in 0..10 {
        witness.is_heard();
        assert!(is_well(node.admin), "health has descriptors of its own");
        std::thread::sleep(Duration::from_millis(100));
    }
    let after = sample(node.child.id()).unwrap();
    let busy_us = after.user_us + after.system_us - before.user_us - before.system_us;
    assert!(
        busy_us < begun.elapsed().as_micros() as u64 / 2,
        "{busy_us} us of processor in {:?}",
        begun.elapsed()
    );
    drop(idle);
    until("descriptors are free again", || node.open_files() + 4 < files);
    Ws::welcomed(node.ws);
    drop(witness);
    let said = node.stop();
    assert!(said.lines().count() < 60, "{} lines: {said}", said.lines().count());
    assert!(said.contains("no descriptor is left"), "{said}");
}

#[test]
fn the_connection_limit_is_fitted_to_the_file_limit_in_words() {
    let node = Process::start("ulimit -n 128;", &["--limits-connections-max 1000", "--node-workers 1"]);
    assert!(node.said.contains("the limit of open files is 128"), "{}", node.said);
    let mut witness = Witness::new(node.ws);
    let mut idle: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(node.ws).unwrap()).collect();
    let refused = idle.iter_mut().map(told).filter(|answer| answer.starts_with("HTTP/1.1 503")).count();
    assert!(refused >= 50, "{refused} of 150 were told");
    witness.is_heard();
    assert!(is_well(node.admin));
    drop((idle, witness));
    let said = node.stop();
    assert!(!said.contains("no descriptor is left"), "the limit was fitted: {said}");
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let mut node = Process::start("", &["--log-level debug", "--drain-grace-ms 100", "--drain-spread-ms 0"]);
    let mut witness = Witness::new(node.ws);
    // A line for each request: far more than a pipe of 64 KB and the queue take.
    for _ in 0..6_000 {
        assert!(is_well(node.admin));
    }
    witness.is_heard();
    let metrics = get(node.admin, "/metrics").unwrap();
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("grandstand_log_lines_dropped_total "));
    assert!(dropped.is_some_and(|n| n.parse::<f64>().unwrap() > 0.0), "{dropped:?}");
    let begun = Instant::now();
    kill_process(node.pid(), Signal::TERM).unwrap();
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < PATIENCE, "a stop does not wait for a reader");
}

#[test]
fn health_does_not_wait_for_strangers() {
    let node = Process::start("", &[]);
    for half in ["", "GET /he", "POST /rooms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"] {
        let strangers: Vec<TcpStream> = (0..800)
            .map(|_| {
                let mut stranger = TcpStream::connect(node.admin).unwrap();
                // It may have given way already.
                let _ = stranger.write_all(half.as_bytes());
                stranger
            })
            .collect();
        let begun = Instant::now();
        for _ in 0..20 {
            assert!(is_well(node.admin), "{half:?}");
            assert!(get(node.admin, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{half:?}: {:?}", begun.elapsed());
        drop(strangers);
    }
    node.stop();
}

/// Every line of a node whose log is JSON is one object, from the first to the last.
#[test]
fn a_json_log_is_json_throughout() {
    let node = Process::start("", &["--log-format json"]);
    let (ws, admin) = (node.ws, node.admin);
    let said = node.stop();
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let is_line = |line: &serde_json::Value| line["level"].is_string() && line["message"].is_string();
    assert!(lines.iter().all(is_line), "{said}");
    let urls: Vec<_> = lines.iter().filter_map(|line| line["url"].as_str()).collect();
    assert_eq!(urls, [format!("ws://{ws}/v1"), format!("http://{admin}/")]);
    assert_eq!(lines.last().unwrap()["message"], "stopped");
    let taken = TcpStream::connect(ws);
    assert!(taken.is_err());
    let holder = std::net::TcpListener::bind(ws).unwrap();
    for (flags, code) in [("", 1), ("--rooms-tick-ms x", 2)] {
        let at = ws.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
        command.args(["serve", "--log-format", "json", "--ws-listen", &at, "--admin-listen", "off"]);
        command.args(["--wss-listen", "off", "--quic-listen", "off"]).args(flags.split_whitespace());
        let output = command.env_remove("GRANDSTAND_CONFIG").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let last = said.lines().last().expect("a line");
        assert!(said.lines().all(|line| is_line(&serde_json::from_str(line).unwrap())), "{said}");
        assert!(serde_json::from_str::<serde_json::Value>(last).unwrap()["help"].is_string(), "{last}");
    }
    drop(holder);
}
