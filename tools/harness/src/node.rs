//! A node under test: the built binary as a process of its own, on free loopback ports, on its own core if
//! requested.
//!
//! Why it reads the node's log: the log gives the node's addresses and readiness, so that no test guesses a
//! port.
//! Invariants: the node ends when its value is dropped; it uses the configuration given here, never that of
//! the user who runs it.
//! Not here: building the binary (`cargo xtask`), a node in this process (`local`).

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{http, process};

/// A node listens within milliseconds; a busy machine gets more.
const START_MAX: Duration = Duration::from_secs(20);

/// The node's own grace for a drain is 10 s.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Between two looks at a log or a process.
const PAUSE: Duration = Duration::from_millis(5);

/// Which binary to start, on what configuration, and where.
#[derive(Clone, Debug)]
pub struct NodePlan {
    binary: PathBuf,
    under: Vec<String>,
    keys: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    core: Option<usize>,
    log: Option<PathBuf>,
}

impl NodePlan {
    /// This binary on free ports, unpaced: everything that is said is shown. Everybody may do everything, and
    /// each connection of this machine is a person of its own.
    #[must_use]
    pub fn new(binary: &Path) -> NodePlan {
        // No load balancer is to be told of a drain.
        let plan = NodePlan::as_delivered(binary).key("drain.announce_ms", 0).key("drain.refuse_ms", 0);
        plan.key("rooms.pacing_per_s", 0)
            .key("auth.open_may", "publish,react,state,bridge")
            .key("limits.people_per_address", 65_535)
    }

    /// This binary on free ports, else with the defaults that operators meet.
    #[must_use]
    pub fn as_delivered(binary: &Path) -> NodePlan {
        let mut plan = NodePlan {
            binary: binary.to_path_buf(),
            under: Vec::new(),
            keys: Vec::new(),
            variables: Vec::new(),
            core: None,
            log: None,
        };
        for listener in ["ws.listen", "wss.listen", "quic.listen", "admin.listen"] {
            plan = plan.key(listener, "127.0.0.1:0");
        }
        plan
    }

    /// With one more key of the configuration, such as `rooms.tick_ms`; the last of a name takes precedence.
    #[must_use]
    pub fn key(mut self, key: &str, value: impl Display + Copy) -> NodePlan {
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }

    /// With a variable in its environment that is no key, such as `NOTIFY_SOCKET`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Display + Copy) -> NodePlan {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// On this core alone, from its start, with one worker.
    #[must_use]
    pub fn core(mut self, core: usize) -> NodePlan {
        self.core = Some(core);
        self.key("node.workers", 1)
    }

    /// Started by this program, which replaces itself with the node: `prlimit --nofile=64:64`, `env A=b`.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> NodePlan {
        self.under = program.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With its log in this file, which stays; otherwise it is temporary.
    #[must_use]
    pub fn log(mut self, log: PathBuf) -> NodePlan {
        self.log = Some(log);
        self
    }

    fn command(&self) -> Command {
        let mut command = match self.under.split_first() {
            Some((program, words)) => {
                let mut command = command(Path::new(program));
                command.args(words).arg(&self.binary);
                command
            }
            None => command(&self.binary),
        };
        for (key, value) in &self.keys {
            command.env(format!("GRANDSTAND_{}", key.replace('.', "_").to_uppercase()), value);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.arg("serve").stdin(Stdio::null());
        command
    }
}

/// A command of the node or of a tool, without the settings of the user who runs this program.
///
/// The node refuses an environment variable that it does not know, and `GRANDSTAND_BIN` is this crate's.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("GRANDSTAND_")) {
        command.env_remove(name);
    }
    command
}

/// The binary `GRANDSTAND_BIN`, or the one beside this program (a test is one directory deeper).
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GRANDSTAND_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe().context("cannot find this program's own file")?;
    let beside = here.ancestors().skip(1).take(2).map(|directory| directory.join("grandstand"));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .context("no `grandstand` beside this program: build it in the same profile, or set GRANDSTAND_BIN")
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    process: Child,
    log: PathBuf,
    is_log_temporary: bool,
}

/// How a node ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit.
    pub status: ExitStatus,
    /// Since it was told to stop.
    pub took: Duration,
    /// Its log.
    pub log: String,
}

impl Node {
    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; its log is in the text then.
    pub fn start(plan: &NodePlan) -> Result<Node> {
        let mut node = Node::spawn(plan)?;
        node.wait_until_ready()?;
        Ok(node)
    }

    /// Starts a node.
    ///
    /// # Errors
    /// There is no such binary, or its log cannot be written.
    pub fn spawn(plan: &NodePlan) -> Result<Node> {
        let log = plan.log.clone().unwrap_or_else(temporary_log);
        fs::create_dir_all(log.parent().context("a log has a directory")?)?;
        let file = fs::File::create(&log)?;
        let mut command = plan.command();
        command.stdout(file.try_clone()?).stderr(file);
        let process = process::spawn_on(command, plan.core)
            .with_context(|| format!("cannot start {}", plan.binary.display()))?;
        Ok(Node { process, log, is_log_temporary: plan.log.is_none() })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It ended, or takes too long.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !self.log()?.contains(" ready ") {
            if let Some(status) = self.has_ended()? {
                bail!("the node ended at start ({status}):\n{}", self.log()?);
            }
            if Instant::now() > deadline {
                bail!("the node is not ready after {} s:\n{}", START_MAX.as_secs(), self.log()?);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// How it ended, if it ended by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Everything that it logged so far.
    ///
    /// # Errors
    /// The log is gone.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens, by its log: the first word with this beginning, such as `ws://`.
    ///
    /// # Errors
    /// It does not listen for that.
    pub fn url(&self, scheme: &str) -> Result<String> {
        let log = self.log()?;
        let url = log.split_whitespace().find(|word| word.starts_with(scheme));
        Ok(url.with_context(|| format!("the node does not listen for {scheme}"))?.to_owned())
    }

    /// The address in [`Node::url`].
    ///
    /// # Errors
    /// It does not listen for that.
    pub fn address(&self, scheme: &str) -> Result<SocketAddr> {
        let url = self.url(scheme)?;
        address(&url).with_context(|| format!("{url} holds no address"))
    }

    /// A metric, summed over its labels; 0 if there is none of that name.
    ///
    /// # Errors
    /// The admin port does not answer.
    pub fn metric(&self, name: &str) -> Result<f64> {
        Ok(http::metric(self.address("http://")?, name)?.unwrap_or(0.0))
    }

    /// Tells it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// It is gone, or does not stop.
    pub fn stop(mut self) -> Result<Ended> {
        let begin = Instant::now();
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).context("the node cannot be told to stop: it is gone")?;
        while begin.elapsed() < STOP_MAX {
            if let Some(status) = self.has_ended()? {
                return Ok(Ended { status, took: begin.elapsed(), log: self.log()? });
            }
            std::thread::sleep(PAUSE);
        }
        bail!("the node still runs {} s after SIGTERM", STOP_MAX.as_secs())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.is_log_temporary {
            let _ = fs::remove_file(&self.log);
        }
    }
}

fn temporary_log() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("grandstand-harness-{}-{number}.log", std::process::id()))
}

/// The address in a URL.
fn address(url: &str) -> Option<SocketAddr> {
    url.split_once("://")?.1.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_is_found_by_its_log_and_ends_with_its_value() {
        let script = std::env::temp_dir().join(format!("harness-node-{}.sh", std::process::id()));
        let text = "#!/bin/sh\n[ $GRANDSTAND_WS_LISTEN = 127.0.0.1:7 ] || exit 3\n\
            echo INFO WebSocket ws://127.0.0.1:35727/v1\necho INFO ready in 3 ms\nexec sleep 60\n";
        fs::write(&script, text).unwrap();
        let mut plan = NodePlan::new(Path::new("/bin/sh"));
        assert!(Node::start(&plan).unwrap_err().to_string().contains("ended at start"));
        plan = NodePlan { binary: script.clone(), ..plan }.key("ws.listen", "127.0.0.1:7");
        let made = Command::new("chmod").arg("+x").arg(&script).status().unwrap();
        assert!(made.success());
        let node = Node::start(&plan).unwrap();
        assert_eq!(node.address("ws://").unwrap(), "127.0.0.1:35727".parse().unwrap());
        assert!(node.address("quic://").unwrap_err().to_string().contains("does not listen for quic://"));
        let (pid, log) = (node.pid(), node.log.clone());
        assert!(process::sample(pid).is_ok());
        drop(node);
        assert!(process::sample(pid).is_err() && !log.exists());
        fs::remove_file(script).unwrap();
    }
}
