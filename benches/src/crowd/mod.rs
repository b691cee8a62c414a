//! The crowd: thousands of viewers in one thread of another process, at as little CPU per delivery as can be.
//!
//! Why a process of its own: it has a core and a table of files of its own, so that what it spends is not
//! missing to the node. Why lean: a generator that is full measures itself. All viewers of a room get the
//! same bytes, so a frame is parsed once and for every other viewer compared with the bytes of the first
//! (`canon`): every byte of every delivery is checked, at the speed of memory.
//! Invariant: nothing is taken for lost of which a viewer was told (gaps, omissions); nothing else is
//! forgiven.
//!
//! - [`Crowd`]: the handle: start, join, mark, read, settle, leave;
//! - [`talk`]: what an application protocol has to answer to be watched, one file for each protocol;
//! - `process`, `link`, `tls`, `quic`: the other side of the handle.
//!
//! Not here: who publishes (`publisher`), whether the figures are good (the benches).

mod canon;
mod grandstand;
mod line;
mod link;
mod process;
mod quic;
mod raw;
mod sink;
mod stage;
pub mod talk;
mod timers;
mod tls;
pub mod viewer;

pub use process::serve;

use crate::histogram::Summary;
use crate::node::{Memory, memory_of, spawn_on};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How viewers reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS 1.3.
    Wss,
    /// QUIC, one stream.
    Quic,
}

impl Transport {
    /// As in a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Quic => "quic",
        }
    }
}

/// Who comes, where to, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrowdPlan {
    /// The application protocol: a name of [`talk::by_name`].
    pub talk: String,
    /// How to reach the server.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// Path of the WebSocket upgrade; empty for the protocol's own.
    pub path: String,
    /// Rooms that there are. Viewer `n` follows those at `n`, `n + 1`, .. (modulo their number).
    pub rooms: Vec<String>,
    /// Rooms that each viewer follows.
    pub rooms_per_viewer: usize,
    /// Messages from before its coming that a viewer asks for.
    pub replay: u32,
    /// Handshakes under way at a time; a rush is as large as this.
    pub in_flight_max: usize,
    /// Resume TLS sessions when a viewer comes again.
    pub resume_tls: bool,
    /// Bare datagrams in place of the transport, for the floor: viewers only listen, at [`Joined::ports`].
    pub datagrams: bool,
    /// Core of the crowd's process.
    pub core: Option<usize>,
}

impl CrowdPlan {
    /// Grandstand's protocol, one room of this name.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, room: &str) -> CrowdPlan {
        CrowdPlan {
            talk: "grandstand".into(),
            transport,
            address,
            path: String::new(),
            rooms: vec![room.to_owned()],
            rooms_per_viewer: 1,
            replay: 0,
            // Enough to fill both sides, too few to fill a listener's backlog.
            in_flight_max: 256,
            resume_tls: false,
            datagrams: false,
            core: None,
        }
    }
}

/// What the crowd is told, one line of JSON each, after the plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    Join { viewers: usize },
    Leave { viewers: usize },
    Due { room: usize, first_offset: u64, due_ns: Vec<u64> },
    Mark,
    Read,
    Settle { heads: Vec<(usize, u64)>, within_ms: u64 },
}

/// What it answers, one line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Joined(Joined),
    Reading(Box<Reading>),
    Settled(Settled),
    Failed(String),
}

/// How a coming went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Joined {
    /// Viewers that follow their rooms.
    pub joined: u64,
    /// Viewers that did not get there, and what the first of them met.
    pub failed: u64,
    /// The first failure.
    pub first_failure: Option<String>,
    /// From the first connection's begin to the last one's end.
    pub took_us: u64,
    /// From a viewer's begin until it follows its rooms.
    pub join: Summary,
    /// TLS handshakes that resumed a session.
    pub resumed_tls: u64,
    /// Where the viewers of bare datagrams listen.
    pub ports: Vec<u16>,
}

/// What viewers saw since the mark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Since the mark.
    pub elapsed_ns: u64,
    /// Viewers now.
    pub viewers: u64,
    /// Messages that reached viewers.
    pub deliveries: u64,
    /// Frames that held messages.
    pub frames: u64,
    /// Frames that held none: tallies, answers, notices.
    pub other_frames: u64,
    /// Bytes as the kernel gave them: under TLS and QUIC the encrypted ones, without the headers of TCP, UDP
    /// and IP.
    pub wire_bytes: u64,
    /// Messages that a viewer ought to have had between others, and was not told of.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after later ones.
    pub out_of_order: u64,
    /// Messages or frames that differ from what others got at the same place.
    pub wrong: u64,
    /// Messages of which viewers were told that they did not get them.
    pub omitted: u64,
    /// Notices of that kind.
    pub gaps: u64,
    /// Connections that ended and were not asked to, and what the first of them met.
    pub ended: u64,
    /// The first fault of any kind.
    pub first_fault: Option<String>,
    /// From when a message was due until a viewer had it.
    pub latency: Summary,
    /// The time in which the crowd was at work, not looking whether there is any.
    pub busy_ns: u64,
}

impl Reading {
    /// Everything that must not be: lost, duplicated, out of order, wrong, ended.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.out_of_order + self.wrong + self.ended
    }

    /// The share of its time in which the crowd was at work.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        self.busy_ns as f64 / self.elapsed_ns.max(1) as f64
    }
}

/// Where viewers stood when all were to have everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Viewers that stand before the head.
    pub behind: u64,
    /// Messages that they lack.
    pub lacking: u64,
    /// How long it took until nobody was behind, or the bound.
    pub took_us: u64,
}

/// A crowd's process.
#[derive(Debug)]
pub struct Crowd {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts the process; nobody comes yet.
    ///
    /// # Errors
    /// It cannot be started, or does not know the plan's talk.
    pub fn start(plan: &CrowdPlan) -> Result<Crowd> {
        let mut command = Command::new(program()?);
        command.arg("crowd").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = spawn_on(command, plan.core).context("cannot start the crowd")?;
        let orders = process.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut crowd = Crowd { process, orders, answers };
        crowd.send(plan)?;
        crowd.done()?;
        Ok(crowd)
    }

    /// So many more viewers come; returns when each of them follows its rooms or has failed.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn join(&mut self, viewers: usize) -> Result<Joined> {
        match self.ask(&Order::Join { viewers })? {
            Answer::Joined(joined) => Ok(joined),
            other => bail!("the crowd answered {other:?}"),
        }
    }

    /// As [`Crowd::join`], but fails unless all of them joined.
    ///
    /// # Errors
    /// The crowd's process failed, or a viewer did not get in.
    pub fn join_all(&mut self, viewers: usize) -> Result<Joined> {
        let joined = self.join(viewers)?;
        if joined.failed > 0 {
            bail!(
                "{} of {viewers} viewers did not get in: {}",
                joined.failed,
                joined.first_failure.unwrap_or_default()
            );
        }
        Ok(joined)
    }

    /// The newest viewers leave, without a word.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn leave(&mut self, viewers: usize) -> Result<()> {
        self.send(&Order::Leave { viewers })?;
        self.done()
    }

    /// Messages of this room that do not say when they were due: the one at `first_offset`, and those after
    /// it.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn due(&mut self, room: usize, first_offset: u64, due_ns: Vec<u64>) -> Result<()> {
        self.send(&Order::Due { room, first_offset, due_ns })?;
        self.done()
    }

    /// What was seen so far is forgotten: a window begins.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn mark(&mut self) -> Result<()> {
        self.send(&Order::Mark)?;
        self.done()
    }

    /// What was seen since the mark; the window goes on.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn read(&mut self) -> Result<Reading> {
        match self.ask(&Order::Read)? {
            Answer::Reading(reading) => Ok(*reading),
            other => bail!("the crowd answered {other:?}"),
        }
    }

    /// Waits until every viewer of room `index` expects the offset beside it (all before it have come), or
    /// gives up.
    ///
    /// # Errors
    /// The crowd's process failed.
    pub fn settle(&mut self, heads: Vec<(usize, u64)>, within_ms: u64) -> Result<Settled> {
        match self.ask(&Order::Settle { heads, within_ms })? {
            Answer::Settled(settled) => Ok(settled),
            other => bail!("the crowd answered {other:?}"),
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What its process holds.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> Result<Memory> {
        memory_of(self.pid())
    }

    fn ask(&mut self, order: &Order) -> Result<Answer> {
        self.send(order)?;
        self.answer()
    }

    fn send(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.orders.write_all(text.as_bytes()).context("the crowd's process has ended")
    }

    fn done(&mut self) -> Result<()> {
        match self.answer()? {
            Answer::Done => Ok(()),
            other => bail!("the crowd answered {other:?}"),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the crowd's process ended: {:?}", self.process.wait());
        }
        match serde_json::from_str(&line).context("the crowd did not answer in JSON")? {
            Answer::Failed(why) => bail!("the crowd failed: {why}"),
            answer => Ok(answer),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This program: each bench program is its viewers' process as well.
fn program() -> Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it stands")
}
