//! A restartable node: it starts again at the same addresses, with the same configuration, any number of
//! times.
//!
//! Why fixed ports: a node that chose free ports would choose others after a restart, and viewers would not
//! find it. The ports are outside the system's range for outgoing connections. Otherwise a reconnecting
//! viewer could itself occupy the port that the node needs.
//! Invariant: folders in memory are removed when the value is dropped.
//! Not here: the reasons and times of stops (`restarts`, `flips`).

use anyhow::{Context, Result, bail};
use grandstand_harness::http;
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::random::Random;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Until a node serves that has a crash to recover from, on a busy machine.
const SERVING_MAX: Duration = Duration::from_secs(30);

/// Ports below those of outgoing connections (Linux: 32768 on) and above those of well-known services.
const PORTS: std::ops::Range<usize> = 20_000..32_000;

/// The configuration and the addresses of a node.
pub(super) struct Restartable {
    binary: PathBuf,
    keys: Vec<(String, String)>,
    /// The folder of the node's logs, a file per process.
    logs: PathBuf,
    started: u64,
    admin: SocketAddr,
    recorder: PathBuf,
}

impl Restartable {
    /// Free ports, a recorder in memory; `name` is that of the soak.
    pub(super) fn new(binary: &Path, name: &str, rng: &mut Random) -> Result<Restartable> {
        let logs = crate::run::target_dir().join("soak").join(name).join("nodes");
        if logs.exists() {
            fs::remove_dir_all(&logs)?;
        }
        fs::create_dir_all(&logs)?;
        let shm = Path::new("/dev/shm");
        let memory = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let recorder = memory.join(format!("grandstand-soak-{}-{name}", std::process::id()));
        fs::create_dir_all(&recorder)?;
        let [ws, tls, admin] = free_ports(rng)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut restartable = Restartable {
            binary: binary.to_owned(),
            keys: Vec::new(),
            logs,
            started: 0,
            admin: at(admin),
            recorder,
        };
        let listen = [("ws", ws), ("wss", tls), ("quic", tls), ("admin", admin)];
        listen
            .iter()
            .for_each(|(key, port)| restartable.set(&format!("{key}.listen"), &at(*port).to_string()));
        // A prober and a thousand publishers come from one address, and all of them at once.
        restartable.set("limits.publish_per_s", "50");
        restartable.set("limits.publish_burst", "500");
        Ok(restartable)
    }

    /// A key of the configuration, from the next start on.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_owned()));
    }

    /// A durable log in this folder.
    pub(super) fn keep_in(&mut self, directory: &Path) {
        self.set("log.dir", &directory.display().to_string());
        self.set("log.recorder_dir", &self.recorder.display().to_string());
    }

    /// Removes the files in memory, as a power cut does.
    pub(super) fn forget_memory(&self) -> Result<()> {
        fs::remove_dir_all(&self.recorder)?;
        Ok(fs::create_dir_all(&self.recorder)?)
    }

    /// Starts another process, without a wait.
    pub(super) fn spawn(&mut self) -> Result<Node> {
        self.started += 1;
        let plan = NodePlan::new(&self.binary).log(self.logs.join(format!("{}.txt", self.started)));
        Node::spawn(&self.keys.iter().fold(plan, |plan, (key, value)| plan.key(key, &**value)))
    }

    /// Starts another process and waits until it serves; the time that this took.
    pub(super) fn start(&mut self) -> Result<(Node, Duration)> {
        let begin = Instant::now();
        let mut node = self.spawn()?;
        while !self.is_ready() {
            if let Some(status) = node.has_ended()? {
                bail!("the node ended at start ({status}); its last words: {}", last_words(&node));
            }
            if begin.elapsed() > SERVING_MAX {
                bail!("the node does not serve after {} s: {}", SERVING_MAX.as_secs(), last_words(&node));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok((node, begin.elapsed()))
    }

    /// Whether the admin port says that the node takes connections.
    pub(super) fn is_ready(&self) -> bool {
        http::request(self.admin, "GET", "/readyz").is_ok()
    }

    /// A metric of the node, if it has it.
    pub(super) fn metric(&self, name: &str) -> Result<Option<f64>> {
        http::metric(self.admin, name)
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// `ws`, `wss` and `quic`.
    pub(super) fn urls(&self) -> Vec<String> {
        let at = |key: &str| {
            self.keys.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value.as_str())
        };
        let (ws, tls) = (at("ws.listen"), at("wss.listen"));
        vec![format!("ws://{ws}/v1"), format!("wss://{tls}/v1"), format!("quic://{tls}")]
    }

    /// The logs of all its processes.
    pub(super) fn words(&self) -> String {
        (1..=self.started)
            .filter_map(|n| fs::read(self.logs.join(format!("{n}.txt"))).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

impl Drop for Restartable {
    fn drop(&mut self) {
        // It may have gone with a power cut.
        let _ = fs::remove_dir_all(&self.recorder);
    }
}

fn last_words(node: &Node) -> String {
    let log = node.log().unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Three ports that are free for TCP and UDP.
fn free_ports(rng: &mut Random) -> Result<[u16; 3]> {
    for _ in 0..1000 {
        let first = (PORTS.start + rng.below(PORTS.end - PORTS.start - 3)) as u16;
        let is_free = |port: &u16| {
            TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
        };
        let ports = [first, first + 1, first + 2];
        if ports.iter().all(is_free) {
            return Ok(ports);
        }
    }
    None.context("no free ports on loopback")
}
