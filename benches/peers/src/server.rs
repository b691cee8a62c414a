//! A server: a peer's process on its core, which ends when this value is dropped.
//!
//! Invariant: the server chooses its port by itself and writes it to its log, so that no port is guessed.

use anyhow::{Context, Result, bail};
use grandstand_harness::process::spawn_on;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Node and Python take half a second; a busy machine gets more.
const START_MAX: Duration = Duration::from_secs(20);

/// See the file's head.
pub(crate) struct Server {
    process: Child,
    pub(crate) pid: u32,
    log: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a program that says its port behind `marker` in what it prints.
    pub(crate) fn start(mut command: Command, core: Option<usize>, marker: &str) -> Result<Server> {
        let log = log_file();
        let file = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let what = command.get_program().to_string_lossy().into_owned();
        let process = spawn_on(command, core).with_context(|| format!("cannot start {what}"))?;
        let mut server =
            Server { pid: process.id(), process, log, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(port) = port_behind(&server.log(), marker) {
                server.address.set_port(port);
                return Ok(server);
            }
            if let Some(status) = server.process.try_wait()? {
                bail!("{what} ended at start ({status}):\n{}", server.log());
            }
            if Instant::now() > deadline {
                bail!("{what} does not listen after {} s:\n{}", START_MAX.as_secs(), server.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.log);
    }
}

fn log_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("grandstand-bench-peer-{}-{number}.log", std::process::id()))
}

/// The number behind the marker, once something stands behind it too.
fn port_behind(log: &str, marker: &str) -> Option<u16> {
    let rest = &log[log.find(marker)? + marker.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_when_it_is_whole() {
        let log = "on ws://127.0.0.1:40515\n";
        assert_eq!(port_behind(log, "ws://127.0.0.1:"), Some(40515));
        assert_eq!(port_behind("listening 80", "listening "), None);
        assert_eq!(port_behind("nothing\n", "listening "), None);
    }
}
