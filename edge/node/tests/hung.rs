//! Threads that hang: each kind of thread is seen, named and fails the liveness; an idle one is not.
//!
//! Why whole nodes: the kinds of threads are what a node starts, and a new kind must not be forgotten.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ws::Ws;
use common::{PATIENCE, node};
use grandstand::Node;
use grandstand_engine::runtime::pulse::ThreadPulse;
use grandstand_harness::wait::until;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("gs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A hang that ends with this value, also where an assertion fails.
struct Planted(Arc<ThreadPulse>);

impl Planted {
    fn in_thread(thread: Arc<ThreadPulse>) -> Planted {
        thread.plant_hang();
        Planted(thread)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        self.0.release_hang();
    }
}

/// Status and answer; `None` when nothing came in time.
fn get(admin: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

/// Every thread of a node of all kinds.
fn whole_node(folder: &Folder) -> Node {
    node(&[
        ("node.hung_after_ms", "2000"),
        ("node.workers", "2"),
        ("node.shards", "2"),
        ("log.dir", folder.0.to_str().unwrap()),
        ("log.backup_every_hours", "1"),
    ])
}

#[test]
fn a_hang_in_every_kind_of_thread_fails_liveness_by_name_and_passes() {
    let folder = Folder::new("hung");
    let node = whole_node(&folder);
    let admin = node.addresses().admin.unwrap();
    let kinds: BTreeSet<String> = threads(&node);
    for kind in [
        "worker-0",
        "worker-1",
        "shard-0",
        "log",
        "log-reader",
        "log-backup",
        "log-marks",
        "handover",
        "watchdog",
        "http",
        "admin",
    ] {
        assert!(kinds.contains(kind), "{kind} has no pulse: {kinds:?}");
    }
    for name in &kinds {
        let verdict = node.health().verdict();
        assert!(verdict.is_live(), "before {name}: {verdict:?}");
        let thread = node.health().pulses().all().into_iter().find(|thread| thread.name() == name).unwrap();
        let hang = Planted::in_thread(thread);
        let begun = Instant::now();
        // Where the port's own thread hangs it answers nobody, so a probe fails too.
        until(name, || match get(admin, "/healthz") {
            Some((200, _)) => false,
            Some((status, answer)) => status == 503 && answer.contains(&format!("thread {name} ")),
            None => name == "http",
        });
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {:?}", begun.elapsed());
        let dead: Vec<_> = node.health().verdict().dead().map(|thread| thread.name.clone()).collect();
        assert!(name == "http" || dead == [name.clone()], "{name}: {dead:?}");
        if name != "http" {
            let (_, metrics) = get(admin, "/metrics").expect("metrics");
            let line = format!("grandstand_thread_hung{{thread=\"{name}\"}} 1");
            assert!(metrics.lines().any(|l| l == line), "no `{line}` in\n{metrics}");
        }
        drop(hang);
        until("it goes on", || get(admin, "/healthz").is_some_and(|(status, _)| status == 200));
    }
    node.stop();
}

#[test]
fn idle_threads_do_not_hang() {
    let folder = Folder::new("idle");
    let node = whole_node(&folder);
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        let verdict = node.health().verdict();
        assert!(verdict.is_live() && verdict.waiting().next().is_none(), "{verdict:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    node.stop();
}

/// Every thread of this process that a node started has a pulse. Threads have at most 15 bytes of name.
#[test]
fn no_thread_is_without_a_pulse() {
    let folder = Folder::new("threads");
    let before = tasks();
    let node = whole_node(&folder);
    Ws::welcomed(node.addresses().ws.unwrap());
    let pulses = threads(&node);
    let began = Instant::now();
    let missing = loop {
        let missing: Vec<String> =
            tasks().into_iter().filter(|task| !before.contains(task)).map(|(_, name)| name).collect();
        let missing: Vec<String> = missing.into_iter().filter(|name| !pulses.contains(name)).collect();
        if missing.is_empty() || began.elapsed() > PATIENCE {
            break missing;
        }
    };
    assert_eq!(missing, [""; 0], "threads without a pulse; there are {pulses:?}");
    node.stop();
}

fn threads(node: &Node) -> BTreeSet<String> {
    node.health().pulses().all().iter().map(|thread| thread.name().to_owned()).collect()
}

/// This process's threads: number and name.
fn tasks() -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let named = tasks.filter_map(|task| {
        let task = task.ok()?;
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), name.trim_end().to_owned()))
    });
    named.collect()
}
