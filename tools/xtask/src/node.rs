//! Nodes: our own binary as a process of its own, on free ports of loopback.
//!
//! Why by its log: it says where it listens and that it is ready, so no port has to be guessed.
//! Invariant: a node ends with its value, and runs on what is given here, not on a desk's own configuration.
//! Not here: building it (`programs`), what is asked of it (`autobahn`, `soak`, `bench`).

use crate::run::command;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// A node listens within milliseconds; a busy CI machine gets more.
const START_MAX: Duration = Duration::from_secs(20);

/// The node's own grace for a drain is 10 s.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct Node {
    process: Child,
    log: PathBuf,
}

/// What a node holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) resident_bytes: u64,
    /// Open files without a name: sockets, pipes, events.
    pub(crate) files: u64,
    /// Open files with one: its durable log, its words.
    pub(crate) named_files: u64,
}

/// How a node ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// From being told to.
    pub(crate) took: Duration,
    /// Everything that it said.
    pub(crate) log: String,
}

impl Node {
    /// Starts `binary` with these keys of its configuration, listeners on free ports unless told otherwise;
    /// its log goes to the file `log`. Ready when this returns.
    pub(crate) fn start(binary: &Path, keys: &[(&str, &str)], log: PathBuf) -> Result<Node> {
        let mut node = Node::spawn(binary, keys, log)?;
        node.wait_until_ready()?;
        Ok(node)
    }

    /// As [`Node::start`], but returns at once.
    pub(crate) fn spawn(binary: &Path, keys: &[(&str, &str)], log: PathBuf) -> Result<Node> {
        fs::create_dir_all(log.parent().context("a log has a directory")?)?;
        let mut node = command(binary);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GRANDSTAND_"))
        {
            node.env_remove(name);
        }
        let listeners =
            ["ws", "wss", "quic", "admin"].map(|listener| (format!("{listener}.listen"), "127.0.0.1:0"));
        // Everything that is said is to be shown, unless told otherwise.
        let unpaced = ("rooms.pacing_per_s".to_owned(), "0");
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), *value));
        for (key, value) in listeners.into_iter().chain([unpaced]).chain(keys) {
            node.env(format!("GRANDSTAND_{}", key.replace('.', "_").to_uppercase()), value);
        }
        let file = fs::File::create(&log)?;
        let process = node.arg("serve").stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Node { process: process.with_context(|| format!("cannot start {}", binary.display()))?, log })
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !self.log()?.contains(" ready ") {
            if let Some(status) = self.process.try_wait()? {
                bail!("the node ended at start ({status}); see {}", self.log.display());
            }
            if Instant::now() > deadline {
                bail!("the node is not ready after {} s", START_MAX.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where it listens, as it says: the first address with this beginning, such as `ws://`.
    pub(crate) fn url(&self, scheme: &str) -> Result<String> {
        let log = self.log()?;
        let url = log.split_whitespace().find(|word| word.starts_with(scheme));
        Ok(url.with_context(|| format!("the node does not say where it listens for {scheme}"))?.to_owned())
    }

    /// Everything that it said so far.
    pub(crate) fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it holds now, as Linux tells it.
    pub(crate) fn sample(&self) -> Result<Sample> {
        let home = PathBuf::from(format!("/proc/{}", self.pid()));
        let status =
            fs::read_to_string(home.join("status")).context("the node is gone, or there is no /proc")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 =
            resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).context("no VmRSS")?;
        // One that is closed meanwhile has no target any more.
        let targets =
            fs::read_dir(home.join("fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let (named, unnamed): (Vec<_>, Vec<_>) = targets.partition(|target| target.is_absolute());
        let (files, named_files) = (unnamed.len() as u64, named.len() as u64);
        Ok(Sample { resident_bytes: kib * 1024, files, named_files })
    }

    /// Connections that it counts, of all transports.
    pub(crate) fn connections(&self) -> Result<u64> {
        let url = self.url("http://")?;
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        sum_of("grandstand_connections", &answer).context("the node's metrics have no grandstand_connections")
    }

    /// Asks it to stop (SIGTERM) and waits.
    pub(crate) fn stop(mut self) -> Result<Ended> {
        let begin = Instant::now();
        // The shell's own `kill`: the standard library sends nothing but SIGKILL.
        let sent = command("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status()?;
        if !sent.success() {
            bail!("the node cannot be told to stop: it is gone");
        }
        while begin.elapsed() < STOP_MAX {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Ended { status, took: begin.elapsed(), log: self.log()? });
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the node still runs {} s after SIGTERM", STOP_MAX.as_secs())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The sum of a metric over its labels.
pub(crate) fn sum_of(metric: &str, exposition: &str) -> Option<u64> {
    let values = exposition.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        (rest.starts_with('{') || rest.starts_with(' '))
            .then_some(rest)?
            .rsplit_once(' ')?
            .1
            .parse::<f64>()
            .ok()
    });
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_others() {
        let text =
            "# TYPE a gauge\na{transport=\"ws\"} 3\na{transport=\"quic\"} 4\na_total{x=\"y\"} 100\nb 5\n";
        assert_eq!((sum_of("a", text), sum_of("b", text), sum_of("c", text)), (Some(7), Some(5), None));
    }
}
