//! moq-relay: Media over QUIC, one track; its viewers and its speaker are moq's own client crates
//! (`moq/src/crowd.rs`).
//!
//! `plain` is a group for every message, as moq's chat example and the chat preset of its load generator do
//! it; `best` are frames of a group that lasts a second, one stream in place of twenty. Its pinned workers
//! (`--runtime-workers 1`) showed no gain on one core. The client crates take more CPU than the relay per
//! delivery, so the audience is smaller than over WebSocket.

use super::server::Server;
use super::{MESSAGE_BYTES, Peer, Site, Stand, Step, install};
use anyhow::{Context, Result, bail};
use grandstand_benches::clock::now_ns;
use grandstand_benches::cpu;
use grandstand_benches::node::spawn_on;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What both QUIC servers are asked to hold here.
pub(super) const VIEWERS_MAX: usize = 1_000;

pub(super) fn forms() -> Vec<Peer> {
    let form =
        |form| Peer { name: "moq", form, transport: "quic", viewers_max: Some(VIEWERS_MAX), find, open };
    ["plain", "best"].map(form).into()
}

fn find() -> Result<String, String> {
    install::found("moq", &install::moq_program("moq-relay"))
}

struct MoqStand {
    relay: Server,
    crowd: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    viewers: usize,
    cut: u64,
}

fn open(site: &Site, form: &'static str) -> Result<Box<dyn Stand>> {
    let mut relay = Command::new(install::moq_program("moq-relay"));
    relay.args(["--listen", "127.0.0.1:0", "--listen-tls-generate", "localhost", "--auth-public", "**"]);
    // It says where it listens, and nothing of each connection.
    relay.env("RUST_LOG", "error,moq_relay::relay=info");
    let relay = Server::start(relay, site.server_core, "127.0.0.1:")?;
    let mut crowd = Command::new(install::moq_program("moq-crowd"));
    crowd.arg(format!("moqt://{}/", relay.address)).arg(site.viewers.to_string());
    crowd.arg(MESSAGE_BYTES.to_string()).arg(if form == "best" { "frames" } else { "groups" });
    crowd.env("RUST_BACKTRACE", "0").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut crowd = spawn_on(crowd, site.crowd_core)?;
    let orders = crowd.stdin.take().expect("stdin is piped");
    let answers = BufReader::new(crowd.stdout.take().expect("stdout is piped"));
    let mut stand = MoqStand { relay, crowd, orders, answers, viewers: site.viewers, cut: 0 };
    stand.answer().context("the viewers did not all get in")?;
    Ok(Box::new(stand))
}

impl Stand for MoqStand {
    fn step(&mut self, per_s: f64, seconds: f64) -> Result<Step> {
        let (begin_ns, crowd_before_ns) = (now_ns(), cpu::exact_ns(self.crowd.id())?);
        let before_ns = self.relay.cpu_ns()?;
        writeln!(self.orders, "{per_s} {seconds}").context("moq's crowd has ended")?;
        std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
        let (spoken_ns, crowd_spoken_ns) = (self.relay.cpu_ns()?, cpu::exact_ns(self.crowd.id())?);
        let window_ns = (now_ns() - begin_ns) as f64;
        let seen = self.answer()?;
        let [published, deliveries, lost, cut, p50_us, p99_us] = seen[..] else {
            bail!("moq's crowd answered {seen:?}")
        };
        let newly_cut = cut - std::mem::replace(&mut self.cut, cut);
        Ok(Step {
            published,
            deliveries,
            lost,
            cut: newly_cut,
            refused: 0,
            p50_us,
            p99_us,
            seconds,
            cpu_ns: self.relay.cpu_ns()? - before_ns,
            core_share: (spoken_ns - before_ns) as f64 / window_ns,
            crowd_core_share: (crowd_spoken_ns - crowd_before_ns) as f64 / window_ns,
            wire_bytes: None,
            peak_bytes: self.relay.peak_bytes(),
            fault: (cut > 0).then(|| format!("{cut} of {} viewers were cut", self.viewers)),
        })
    }

    fn recover(&mut self) -> Result<bool> {
        // Its crowd waits for the rest by itself; what had not come by then was lost.
        Ok(self.cut == 0)
    }
}

impl MoqStand {
    /// The numbers of a line; of `joined N` it is none.
    fn answer(&mut self) -> Result<Vec<u64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("moq's crowd ended: {:?}", self.crowd.wait());
        }
        Ok(line.split_whitespace().map_while(|word| word.parse().ok()).collect())
    }
}

impl Drop for MoqStand {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.crowd.kill();
        let _ = self.crowd.wait();
    }
}
