//! The processes of a run, which hold its viewers: one thread of this process, or several child processes.
//!
//! Why processes: the number of files per process and of viewers per thread is limited. Processes share only
//! the clock; they receive orders and send notes as lines of JSON.
//! Invariants: viewers end with their run (their standard input ends); the run notices a process that dies.
//! Not here: the viewers (`crowd`), the times of orders (`run`).

use std::io::Write;
use std::process::Stdio;
use std::rc::Rc;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::crowd;
use super::expected::Announcements;
use super::messages::{Note, Order, Plan};

/// Orders and notes that may wait: a run has a handful of each per second.
const WAITING_MAX: usize = 256;

/// The hidden subcommand of a crowd's process.
pub(crate) const CROWD_COMMAND: &str = "crowd";

/// See the module's head.
pub(crate) struct Processes {
    orders: Vec<Sender<Order>>,
    notes: Receiver<(usize, Note)>,
    /// Killed when dropped.
    _children: Vec<Child>,
}

impl Processes {
    /// All viewers in a thread of this process.
    pub(crate) fn in_thread(plan: Plan, announcements: Option<Announcements>) -> anyhow::Result<Processes> {
        let (order, orders) = channel(WAITING_MAX);
        let (note, notes) = channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("crowd".into())
            .spawn(move || run_crowd(plan, announcements.as_ref(), orders, &note))
            .context("cannot start a thread")?;
        Ok(Processes { orders: vec![order], notes, _children: Vec::new() })
    }

    /// Each plan in a process of its own.
    pub(crate) async fn in_processes(plans: Vec<Plan>) -> anyhow::Result<Processes> {
        let (note, notes) = channel(WAITING_MAX);
        let (mut orders, mut children) = (Vec::new(), Vec::new());
        for plan in plans {
            let (order, child) = start_process(&plan, note.clone()).await?;
            orders.push(order);
            children.push(child);
        }
        Ok(Processes { orders, notes, _children: children })
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Tell all of them.
    pub(crate) async fn order(&self, order: &Order) -> anyhow::Result<()> {
        for link in &self.orders {
            if link.send(order.clone()).await.is_err() {
                bail!("the viewers ended early");
            }
        }
        Ok(())
    }

    /// The next note, and whose it is. `None` when all have ended.
    pub(crate) async fn next_note(&mut self) -> Option<(usize, Note)> {
        self.notes.recv().await
    }
}

/// A crowd on a runtime of its own, until it is through.
fn run_crowd(
    plan: Plan,
    announcements: Option<&Announcements>,
    orders: Receiver<Order>,
    notes: &Sender<(usize, Note)>,
) {
    let process = plan.process;
    let outcome =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into).and_then(
            |runtime| {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, crowd::run(plan, announcements, orders, notes.clone()))
            },
        );
    if let Err(error) = outcome {
        // When nobody listens any more, nobody needs to know.
        let _ = notes.blocking_send((process, Note::Failed(format!("{error:#}"))));
    }
}

/// This program again, as a child that runs a hidden subcommand; its standard input and output are pipes.
pub(crate) fn start_self(command: &str, options: &[String]) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(program)
        .arg(command)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for the parent, which tells its children when to end.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start a process for `{command}`"))
}

async fn start_process(plan: &Plan, notes: Sender<(usize, Note)>) -> anyhow::Result<(Sender<Order>, Child)> {
    let mut child = start_self(CROWD_COMMAND, &[])?;
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    write_line(&mut stdin, plan).await.context("a process for viewers does not read its plan")?;
    let (order, mut orders) = channel::<Order>(WAITING_MAX);
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            if write_line(&mut stdin, &order).await.is_err() {
                return;
            }
        }
    });
    let process = plan.process;
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let note =
                serde_json::from_str(&line).unwrap_or_else(|error| Note::Failed(format!("{error}: {line}")));
            let is_last = matches!(note, Note::Done(_));
            if notes.send((process, note)).await.is_err() || is_last {
                return;
            }
        }
        let _ = notes.send((process, Note::Failed("its process ended".into()))).await;
    });
    Ok((order, child))
}

async fn write_line(
    to: &mut tokio::process::ChildStdin,
    value: &impl serde::Serialize,
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await?;
    Ok(())
}

/// The other end of [`Processes::in_processes`]: plan and orders on standard input, notes on standard output.
///
/// # Errors
/// When the pipes are not as expected.
pub(crate) fn run_process() -> anyhow::Result<()> {
    grandstand_harness::process::raise_file_limit();
    let mut plan = String::new();
    std::io::stdin().read_line(&mut plan)?;
    let plan = serde_json::from_str(&plan).context("this command is for `gs load`, which sends it a plan")?;
    let (order, orders) = channel(WAITING_MAX);
    std::thread::spawn(move || read_orders(&order));
    let (note, mut notes) = channel(WAITING_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = Rc::new(tokio::task::LocalSet::new());
    local.block_on(&runtime, async {
        let writer = tokio::task::spawn_local(async move {
            while let Some((_, note)) = notes.recv().await {
                write_note(&note)?;
            }
            anyhow::Ok(())
        });
        let outcome = crowd::run(plan, None, orders, note.clone()).await;
        if let Err(error) = outcome {
            let _ = note.send((0, Note::Failed(format!("{error:#}")))).await;
        }
        drop(note);
        writer.await?
    })
}

fn write_note(note: &Note) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, note)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Until the pipe ends; then the channel does.
fn read_orders(to: &Sender<Order>) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let Ok(order) = serde_json::from_str(&line) else { return };
        if to.blocking_send(order).is_err() {
            return;
        }
    }
}
