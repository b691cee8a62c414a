//! A node: our own binary as a process of its own, on free ports of loopback, alone on a core if wished.
//!
//! Why by its log: it says where it listens and that it is ready, so that no port has to be guessed.
//! Invariants: a node ends with its value; it runs on what is given here, never on the desk's own
//! configuration.
//! Not here: building it (`cargo xtask bench`), what is asked of it (the benches).

use crate::cpu::{self, Meter};
use crate::crowd::Transport;
use crate::metrics;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A node listens within milliseconds; a busy machine gets more.
const START_MAX: Duration = Duration::from_secs(20);

/// Where a node runs, and on what.
#[derive(Clone, Debug, Default)]
pub struct NodePlan {
    /// Keys of its configuration, as in `("rooms.tick_ms", "100")`; the last of a name holds.
    pub keys: Vec<(String, String)>,
    /// The one core that it may use, from its start; it has one worker then unless `keys` say otherwise.
    pub core: Option<usize>,
}

impl NodePlan {
    /// On one core.
    #[must_use]
    pub fn on(core: Option<usize>) -> NodePlan {
        NodePlan { core, ..NodePlan::default() }
    }

    /// With one more key.
    #[must_use]
    pub fn key(mut self, key: &str, value: impl std::fmt::Display + Copy) -> NodePlan {
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    process: Child,
    log: PathBuf,
    /// WebSocket.
    pub ws: SocketAddr,
    /// WebSocket over TLS.
    pub wss: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// What a process holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, everything.
    pub resident: u64,
    /// Resident and anonymous: heap and stacks.
    pub anonymous: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

impl Node {
    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// There is no binary, or it does not start; its log is in the text then.
    pub fn start(plan: &NodePlan) -> Result<Node> {
        let (log, binary) = (log_file(), binary()?);
        let mut command = Command::new(&binary);
        set_environment(&mut command, plan);
        let file = fs::File::create(&log)?;
        command.arg("serve").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process =
            spawn_on(command, plan.core).with_context(|| format!("cannot start {}", binary.display()))?;
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Node { process, log, ws: none, wss: none, quic: none, admin: none };
        node.wait_until_ready()?;
        let said = node.log();
        let at = |scheme: &str| address(&said, scheme).unwrap_or(none);
        (node.ws, node.wss, node.quic, node.admin) =
            (at("ws://"), at("wss://"), at("quic://"), at("http://"));
        Ok(node)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !self.log().contains(" ready ") {
            if let Some(status) = self.process.try_wait()? {
                bail!("the node ended at start ({status}):\n{}", self.log());
            }
            if Instant::now() > deadline {
                bail!("the node is not ready after {} s:\n{}", START_MAX.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Everything that it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens for a transport.
    #[must_use]
    pub fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Ws => self.ws,
            Transport::Wss => self.wss,
            Transport::Quic => self.quic,
        }
    }

    /// CPU time since its start.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ns(&self) -> Result<u64> {
        cpu::exact_ns(self.pid()).with_context(|| self.log())
    }

    /// Begins to count its CPU time.
    ///
    /// # Errors
    /// It has ended.
    pub fn meter(&self) -> Result<Meter> {
        Meter::start(self.pid()).with_context(|| self.log())
    }

    /// What it holds.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> Result<Memory> {
        memory_of(self.pid()).with_context(|| self.log())
    }

    /// A metric, summed over its labels; 0 if there is none of that name.
    ///
    /// # Errors
    /// The admin port does not answer.
    pub fn metric(&self, name: &str) -> Result<f64> {
        Ok(metrics::sum_of(name, &metrics::http(self.admin, "GET", "/metrics")?).unwrap_or(0.0))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// Starts a program on one core from its first instruction: a child inherits the cores of the thread that
/// starts it.
///
/// # Errors
/// It cannot be started, or there is no such core.
pub fn spawn_on(mut command: Command, core: Option<usize>) -> Result<Child> {
    let start = move || -> Result<Child> {
        if let Some(core) = core {
            cpu::pin_here(core)?;
        }
        Ok(command.spawn()?)
    };
    std::thread::spawn(start).join().expect("starting a program does not panic")
}

/// What a process holds.
///
/// # Errors
/// It is gone.
pub fn memory_of(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("/proc/PID/status has no {name}"))
    };
    Ok(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, peak: bytes("VmHWM:")? })
}

/// `GRANDSTAND_BIN`, or the binary beside this program (a test stands one directory deeper).
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GRANDSTAND_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe().context("this program does not know where it stands")?;
    let beside = here.ancestors().skip(1).take(2).map(|directory| directory.join("grandstand"));
    beside.into_iter().find(|path| path.is_file()).context(
        "no `grandstand` beside this program: build it (`cargo build --release -p grandstand`) or set GRANDSTAND_BIN",
    )
}

fn set_environment(command: &mut Command, plan: &NodePlan) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GRANDSTAND_"))
    {
        command.env_remove(name);
    }
    let listeners =
        ["ws", "wss", "quic", "admin"].map(|name| (format!("{name}.listen"), "127.0.0.1:0".to_owned()));
    // Everything that is said is to be shown, unless a bench says otherwise.
    let unpaced = ("rooms.pacing_per_s".to_owned(), "0".to_owned());
    let worker = plan.core.map(|_| ("node.workers".to_owned(), "1".to_owned()));
    for (key, value) in listeners.into_iter().chain([unpaced]).chain(worker).chain(plan.keys.iter().cloned())
    {
        command.env(format!("GRANDSTAND_{}", key.replace('.', "_").to_uppercase()), value);
    }
}

fn log_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("grandstand-bench-{}-{number}.log", std::process::id()))
}

/// The address behind the first word of this scheme.
fn address(log: &str, scheme: &str) -> Option<SocketAddr> {
    let url = log.split_whitespace().find_map(|word| word.strip_prefix(scheme))?;
    url.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_log() {
        let log = "INFO WebSocket ws://127.0.0.1:35727/v1\nINFO admin http://127.0.0.1:9/ (rooms)\n";
        assert_eq!(address(log, "ws://"), Some("127.0.0.1:35727".parse().unwrap()));
        assert_eq!(address(log, "http://"), Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!(address(log, "quic://"), None);
    }

    #[test]
    fn this_process_holds_memory() {
        let memory = memory_of(std::process::id()).unwrap();
        assert!(memory.anonymous > 0 && memory.peak >= memory.anonymous, "{memory:?}");
    }

    #[test]
    fn a_child_runs_on_its_core_from_the_start() {
        let core = *cpu::cores().unwrap().last().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "grep Cpus_allowed_list /proc/self/status"]).stdout(Stdio::piped());
        let said = spawn_on(command, Some(core)).unwrap().wait_with_output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.split_whitespace().last(), Some(core.to_string().as_str()), "{said}");
    }
}
