//! moq-relay: Media over QUIC, one track; its viewers and its publisher are moq's own client crates
//! (`moq/src/viewers.rs`).
//!
//! `plain` sends a group for every message, as moq's chat example and the chat preset of its load generator
//! do. `best` sends frames of a group that lasts a second: one stream in place of twenty. Its pinned workers
//! (`--runtime-workers 1`) showed no gain on one core. The client crates take more CPU than the relay per
//! delivery, so the audience is smaller than over WebSocket.

use crate::install;
use crate::server::Server;
use anyhow::{Context, Result, bail};
use grandstand_benches::cpu;
use grandstand_benches::plan::Cores;
use grandstand_benches::search::{Step, Subject};
use grandstand_benches::trial::TEXT_BYTES;
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::process::{sample, spawn_on};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What both QUIC servers are asked to hold here.
pub(crate) const VIEWERS_MAX: usize = 1_000;

struct Moq {
    relay: Server,
    viewers: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    count: usize,
    cut: u64,
}

pub(crate) fn open(cores: Cores, count: usize, in_frames: bool) -> Result<Box<dyn Subject>> {
    let mut relay = Command::new(install::moq_program("moq-relay"));
    relay.args(["--listen", "127.0.0.1:0", "--listen-tls-generate", "localhost", "--auth-public", "**"]);
    // It says where it listens, and nothing of each connection.
    relay.env("RUST_LOG", "error,moq_relay::relay=info");
    let relay = Server::start(relay, cores.server, "127.0.0.1:")?;
    let mut viewers = Command::new(install::moq_program("moq-viewers"));
    viewers.arg(format!("moqt://{}/", relay.address)).arg(count.to_string());
    viewers.arg(TEXT_BYTES.to_string()).arg(if in_frames { "frames" } else { "groups" });
    viewers.env("RUST_BACKTRACE", "0").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut viewers = spawn_on(viewers, cores.generator)?;
    let orders = viewers.stdin.take().expect("stdin is piped");
    let answers = BufReader::new(viewers.stdout.take().expect("stdout is piped"));
    let mut moq = Moq { relay, viewers, orders, answers, count, cut: 0 };
    moq.answer().context("the viewers did not all get in")?;
    Ok(Box::new(moq))
}

impl Subject for Moq {
    fn step(&mut self, per_s: f64, time: Duration) -> Result<Step> {
        let cpu_ns = |pid: u32| cpu::exact_ns(pid);
        let (begin_ns, viewers_ns) = (monotonic_ns(), cpu_ns(self.viewers.id())?);
        let relay_ns = cpu_ns(self.relay.pid)?;
        let seconds = time.as_secs_f64();
        writeln!(self.orders, "{per_s} {seconds}").context("moq's viewers have ended")?;
        std::thread::sleep(time);
        let spoken_ns = cpu_ns(self.relay.pid)? - relay_ns;
        let generator_ns = cpu_ns(self.viewers.id())? - viewers_ns;
        let window_ns = (monotonic_ns() - begin_ns) as f64;
        let seen = self.answer()?;
        let [published, deliveries, lost, cut, p50_us, p99_us] = seen[..] else {
            bail!("moq's viewers answered {seen:?}")
        };
        let newly_cut = cut - std::mem::replace(&mut self.cut, cut);
        Ok(Step {
            published,
            deliveries,
            lost,
            cut: newly_cut,
            p50_us,
            p99_us,
            seconds,
            cpu_ns: cpu_ns(self.relay.pid)? - relay_ns,
            core_share: spoken_ns as f64 / window_ns,
            generator_core_share: generator_ns as f64 / window_ns,
            peak_bytes: sample(self.relay.pid)?.peak_bytes,
            fault: (cut > 0).then(|| format!("{cut} of {} viewers were cut", self.count)),
            ..Step::default()
        })
    }
}

impl Moq {
    /// The numbers of a line; of `joined N` it is none.
    fn answer(&mut self) -> Result<Vec<u64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("moq's viewers ended: {:?}", self.viewers.wait());
        }
        Ok(line.split_whitespace().map_while(|word| word.parse().ok()).collect())
    }
}

impl Drop for Moq {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.viewers.kill();
        let _ = self.viewers.wait();
    }
}
