//! Viewers: lean clients in a process of their own, and the bench's handle to that process.
//!
//! Why a process: it has its own core and its own table of files, so that it takes no CPU or files from the
//! node. It reads orders from standard input and writes answers to standard output, a line of JSON each.
//! Invariant: the process ends when its handle is dropped or its standard input ends.
//! Not here: the clients (`lean_clients`), publishing (`publisher`), the judgement of figures (the benches).

use crate::lean_clients::protocol::ByName;
use crate::lean_clients::{ClientsPlan, Joined, LeanClients, Reading, Settled};
use anyhow::{Context, Result, bail};
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::process::spawn_on;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

/// The word on the command line that makes a bench program its viewers' process.
pub const COMMAND: &str = "viewers";

/// Handshakes under way at a time: enough to fill both sides, too few to fill a listener's backlog.
const IN_FLIGHT_MAX: usize = 256;

/// An order that leaves nothing to tell.
const DONE: Result<(), String> = Ok(());

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Come { viewers: usize },
    Due { first_offset: u64, due_ns: Vec<u64> },
    Mark,
    Read,
    Settle { head: u64, within_ms: u64 },
}

/// A process of viewers.
#[derive(Debug)]
pub struct Viewers {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Viewers {
    /// Starts the process; nobody comes yet. On a core of its own it never sleeps: whoever writes to a reader
    /// that sleeps pays for waking it, over loopback more than for the write itself, and that is the
    /// generator's doing: viewers on a network are woken by their own machines.
    ///
    /// # Errors
    /// It cannot be started, or does not know the plan's protocol.
    pub fn start(plan: &ClientsPlan, core: Option<usize>) -> Result<Viewers> {
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = spawn_on(command, core).context("cannot start the viewers")?;
        let orders = process.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut viewers = Viewers { process, orders, answers };
        viewers.ask::<()>(&(plan, core.is_some()))?;
        Ok(viewers)
    }

    /// Adds this number of viewers; returns when each of them follows its room.
    ///
    /// # Errors
    /// The process failed, or one did not get in.
    pub fn come(&mut self, viewers: usize) -> Result<Joined> {
        let joined: Joined = self.ask(&Order::Come { viewers })?;
        joined.check(viewers).map(|()| joined)
    }

    /// Messages of the first room that do not say when they were due: the one at `first_offset`, and those
    /// after it.
    ///
    /// # Errors
    /// The process failed.
    pub fn due(&mut self, first_offset: u64, due_ns: Vec<u64>) -> Result<()> {
        self.ask(&Order::Due { first_offset, due_ns })
    }

    /// Resets the counts: a window begins.
    ///
    /// # Errors
    /// The process failed.
    pub fn mark(&mut self) -> Result<()> {
        self.ask(&Order::Mark)
    }

    /// The counts since the mark; the window continues.
    ///
    /// # Errors
    /// The process failed.
    pub fn read(&mut self) -> Result<Reading> {
        self.ask(&Order::Read)
    }

    /// Waits until every viewer of the first room expects this offset (all before it have come), or gives up.
    ///
    /// # Errors
    /// The process failed.
    pub fn settle(&mut self, head: u64, within: Duration) -> Result<Settled> {
        self.ask(&Order::Settle { head, within_ms: within.as_millis() as u64 })
    }

    fn ask<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        let text = serde_json::to_string(order)? + "\n";
        self.orders.write_all(text.as_bytes()).context("the viewers' process has ended")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the viewers' process ended: {:?}", self.process.wait());
        }
        let answer: Result<T, String> =
            serde_json::from_str(&line).context("the viewers did not answer as expected")?;
        answer.map_err(|why| anyhow::anyhow!("the viewers failed: {why}"))
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is the process of the viewers until its standard input ends. `more`: the program's own protocols.
///
/// # Errors
/// The plan makes no sense, or the system refuses what every program gets.
pub fn serve(more: ByName) -> Result<()> {
    let mut first = String::new();
    std::io::stdin().read_line(&mut first)?;
    let (plan, spins): (ClientsPlan, bool) = serde_json::from_str(&first).context("the plan is no plan")?;
    let mut clients = match LeanClients::new(plan, more) {
        Ok(clients) => clients,
        Err(error) => return answer(&Err::<(), _>(format!("{error:#}"))),
    };
    answer(&DONE)?;
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone only when this process ends.
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|text| line.send(text))
    });
    let wait = Duration::from_millis(if spins { 0 } else { 1 });
    let mut settling: Option<(u64, u64)> = None;
    loop {
        match lines.try_recv() {
            Ok(text) => {
                let order = serde_json::from_str(&text).context("no such order")?;
                handle(&mut clients, order, &mut settling)?;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        clients.turn(wait)?;
        if let Some(joined) = clients.end_coming() {
            answer(&Ok(joined))?;
        }
        if let Some((began_ns, until_ns)) = settling {
            let settled = clients.standing();
            if settled.behind == 0 || monotonic_ns() > until_ns {
                settling = None;
                answer(&Ok(Settled { took_us: (monotonic_ns() - began_ns) / 1_000, ..settled }))?;
            }
        }
    }
}

fn handle(clients: &mut LeanClients, order: Order, settling: &mut Option<(u64, u64)>) -> Result<()> {
    match order {
        Order::Come { viewers } => {
            let who = clients.add_viewers(viewers);
            clients.begin_coming(who, IN_FLIGHT_MAX);
            return Ok(());
        }
        Order::Settle { head, within_ms } => {
            clients.context().heads[0] = head;
            *settling = Some((monotonic_ns(), monotonic_ns() + within_ms * 1_000_000));
            return Ok(());
        }
        Order::Read => return answer(&Ok(clients.read())),
        Order::Due { first_offset, due_ns } => {
            clients.context().due.insert(0, (first_offset, due_ns));
        }
        Order::Mark => clients.mark(),
    }
    answer(&DONE)
}

fn answer<T: Serialize>(answer: &Result<T, String>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all((serde_json::to_string(answer)? + "\n").as_bytes())?;
    Ok(out.flush()?)
}
