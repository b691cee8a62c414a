//! Restarts on one host over real transports: the next process takes the sockets, and nobody is refused.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use common::quic::Quic;
use common::ws::Ws;
use common::{PATIENCE, config};
use grandstand_edge::node::{Addresses, Node};

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("gs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn socket(&self) -> String {
        self.0.join("handover.sock").to_str().unwrap().to_owned()
    }

    fn key(&self) -> String {
        let path = self.0.join("shared.key");
        if !path.exists() {
            std::fs::write(&path, "5a".repeat(32)).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    /// A node that hands over here, and takes over from who is here.
    fn node(&self, more: &[(&str, &str)]) -> Node {
        let (socket, key) = (self.socket(), self.key());
        let own = [
            ("node.handover", &*socket),
            ("auth.ticket_key_file", &key),
            ("node.workers", "2"),
            ("drain.grace_ms", "2000"),
        ];
        let own = own.iter().filter(|(key, _)| !more.iter().any(|(k, _)| k == key));
        Node::start(config(&own.chain(more).copied().collect::<Vec<_>>())).expect("the node starts")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Newcomers of one transport, one after another, until told to stop. A newcomer that is not welcomed ends its thread in a
/// panic.
struct Newcomers {
    stop: Arc<AtomicBool>,
    welcomed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Newcomers {
    fn come(mut one: impl FnMut() + Send + 'static) -> Newcomers {
        let (stop, welcomed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), welcomed.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                one();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Newcomers { stop, welcomed, thread }
    }

    fn wait_for_more(&self, more: u64) {
        let (start, from) = (Instant::now(), self.welcomed.load(Ordering::Relaxed));
        while self.welcomed.load(Ordering::Relaxed) < from + more {
            assert!(!self.thread.is_finished(), "a newcomer was refused");
            assert!(start.elapsed() < PATIENCE, "newcomers hang");
            std::thread::yield_now();
        }
    }

    fn all_were_welcomed(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every newcomer is welcomed");
        self.welcomed.load(Ordering::Relaxed)
    }
}

fn crowd(at: Addresses) -> Vec<Newcomers> {
    let (ws, wss, quic) = (at.ws.unwrap(), at.wss.unwrap(), at.quic.unwrap());
    vec![
        Newcomers::come(move || drop(Ws::welcomed(ws))),
        Newcomers::come(move || drop(Ws::welcomed_tls(wss))),
        Newcomers::come(move || drop(Quic::welcomed(quic))),
    ]
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn restarts_by_hand_over_refuse_nobody_on_any_transport() {
    let dir = Dir::new("restarts");
    let mut node = dir.node(&[]);
    let at = node.addresses();
    let crowd = crowd(at);
    for _ in 0..4 {
        crowd.iter().for_each(|newcomers| newcomers.wait_for_more(5));
        let next = dir.node(&[]);
        assert_eq!(next.addresses(), at, "the same sockets, where any port was asked for");
        until("the one before is over", || node.is_over());
        std::mem::replace(&mut node, next).stop();
    }
    crowd.iter().for_each(|newcomers| newcomers.wait_for_more(5));
    for newcomers in crowd {
        assert!(newcomers.all_were_welcomed() > 20);
    }
}
