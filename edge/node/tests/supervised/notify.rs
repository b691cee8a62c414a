//! What the service manager hears, by systemd's protocol.
//!
//! Why a socket of the test's own: it needs no systemd.

use std::os::unix::net::UnixDatagram;

use grandstand_harness::node::Node;
use rustix::process::Signal;

use crate::common::PATIENCE;
use crate::rig::{ALL, Client, Folder, code, plan, send};

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    _folder: Folder,
    path: String,
}

impl Manager {
    fn new() -> Manager {
        let folder = Folder::new();
        let path = folder.file("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// The next message that has this line, and all of its lines.
    fn hears(&self, line: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        loop {
            let bytes = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
            let lines: Vec<_> =
                String::from_utf8_lossy(&buffer[..bytes]).lines().map(str::to_owned).collect();
            if lines.iter().any(|l| l.starts_with(line)) {
                return lines;
            }
        }
    }
}

fn number(lines: &[String], name: &str) -> u64 {
    let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {lines:?}")).parse().unwrap()
}

#[test]
fn a_service_manager_hears_of_start_life_reload_and_drain() {
    let manager = Manager::new();
    let plan = plan()
        .variable("NOTIFY_SOCKET", manager.path.as_str())
        .variable("WATCHDOG_USEC", 100_000)
        .key("drain.announce_ms", 3_000)
        .key("drain.spread_ms", 7_000)
        .key("drain.grace_ms", 5_000);
    let mut node = Node::start(&plan).unwrap();
    let lines = manager.hears("READY=1");
    assert_eq!(number(&lines, "MAINPID"), u64::from(node.pid()));
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
    send(&node, Signal::HUP);
    let lines = manager.hears("RELOADING=1");
    let now_us = grandstand_harness::clock::monotonic_us();
    let said_us = number(&lines, "MONOTONIC_USEC");
    assert!(said_us <= now_us && now_us - said_us < 60_000_000, "{said_us} {now_us}");
    manager.hears("READY=1");
    let mut viewer = Client::welcomed(&node, ALL[0]);
    send(&node, Signal::TERM);
    manager.hears("STOPPING=1");
    // All phases, two seconds of lingering and two of flush fit; and life goes on to be shown.
    let lines = manager.hears("EXTEND_TIMEOUT_USEC");
    let left_s = number(&lines, "EXTEND_TIMEOUT_USEC") / 1_000_000;
    assert!((14..60).contains(&left_s), "{lines:?}");
    manager.hears("WATCHDOG=1");
    viewer.is_sent_away();
    drop(viewer);
    assert_eq!(code(&mut node), Some(0));
}

#[test]
fn a_service_manager_hears_of_the_successor() {
    let (manager, folder) = (Manager::new(), Folder::new());
    let socket = folder.file("handover.sock").display().to_string();
    let first_plan = plan()
        .variable("NOTIFY_SOCKET", manager.path.as_str())
        .variable("GRANDSTAND_NODE_HANDOVER", socket.as_str());
    let mut first = Node::start(&first_plan).unwrap();
    manager.hears("READY=1");
    // The successor is started by hand: the manager hears of it from the first.
    let mut next_plan = plan().variable("GRANDSTAND_NODE_HANDOVER", socket.as_str());
    for scheme in ["ws", "wss", "quic"] {
        let at = first.address(&format!("{scheme}://")).unwrap().to_string();
        next_plan = next_plan.key(&format!("{scheme}.listen"), at.as_str());
    }
    let next = Node::start(&next_plan).unwrap();
    let lines = manager.hears("MAINPID");
    assert_eq!(number(&lines, "MAINPID"), u64::from(next.pid()));
    assert_eq!(code(&mut first), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(bytes) = manager.socket.recv(&mut buffer) {
        let said = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
        assert!(!said.contains("STOPPING"), "the service goes on: {said}");
    }
}
