//! A run: publishers connect, viewers join, the script is published and received, figures are taken, and all
//! viewers leave.
//!
//! Why in this order: memory is measured around the joins. CPU is measured from the first message until every
//! viewer has received the last one, and no viewer leaves before that.
//! Invariant: every wait has a time limit.
//! Not here: figures (`report`), the display during the run ([`Watcher`]s).

use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;

use super::expected::Announcements;
use super::ledger::{self, Header};
use super::messages::{Content, Note, Order, Plan, Progress};
use super::processes::Processes;
use super::publisher::{Published, Publishers};
use super::script::Script;
use super::tally::Tally;
use crate::clock::instant;
use grandstand_harness::clock::monotonic_us;
use grandstand_harness::process::{self, Sample};

/// Interval at which the run checks its state, and a watcher may draw.
const TURN: Duration = Duration::from_millis(50);

/// Interval at which the server is measured during publishing.
const SAMPLE_EVERY_US: u64 = 1_000_000;

/// Between the last join and the measurement of memory, for the server to finish what joins began.
const SETTLE_JOINS: Duration = Duration::from_millis(500);

/// Time from the order to begin to the first message, so that the order reaches every process.
const LEAD_US: u64 = 200_000;

/// Longest wait for answers to the last publications.
const ANSWERS_US: u64 = 15_000_000;

/// Longest wait for these answers when publishers retry and the node may just be starting.
const ANSWERS_AGAIN_US: u64 = 60_000_000;

/// Longest wait beyond the expected time of joins: a viewer that retries gives up within it.
const JOINS_US: u64 = 120_000_000;

/// Longest wait for viewers to leave.
const LEAVE_US: u64 = 15_000_000;

/// The plan of a run: its steps, publishers and viewers.
pub(crate) struct RunPlan {
    /// Of each process.
    pub(crate) plans: Vec<Plan>,
    /// Whether viewers are in processes of their own, even if it is only one.
    pub(crate) in_processes: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) announcements: Option<Announcements>,
}

/// The step that a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Joining,
    Publishing,
    Settling,
}

/// The state that a watcher sees.
pub(crate) struct Moment<'a> {
    pub(crate) phase: Phase,
    pub(crate) now_us: u64,
    pub(crate) viewers: usize,
    pub(crate) progress: Progress,
    pub(crate) published: &'a Published,
    pub(crate) server: Option<Sample>,
}

/// An observer of a run.
pub(crate) trait Watcher {
    /// Called many times a second.
    fn watch(&mut self, moment: &Moment<'_>) -> anyhow::Result<()>;
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) published: Published,
    /// Time until every viewer had joined or failed.
    pub(crate) ramp_us: u64,
    /// Time from the first due message until every viewer had received all messages.
    pub(crate) publish_us: u64,
    pub(crate) server: Option<Server>,
    pub(crate) processes: usize,
    pub(crate) interrupted: bool,
}

/// The server's CPU and memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) before: Sample,
    pub(crate) joined: Sample,
    pub(crate) begin: Sample,
    pub(crate) end: Sample,
    pub(crate) resident_max_bytes: u64,
}

struct Run<'a> {
    plan: &'a RunPlan,
    publishers: Publishers,
    processes: Processes,
    watcher: &'a mut dyn Watcher,
    stop: watch::Receiver<bool>,
    phase: Phase,
    latest: Vec<Progress>,
    ramped: Vec<Option<u64>>,
    settled: Vec<bool>,
    done: Vec<bool>,
    tally: Tally,
    server: Option<Sample>,
    sampled_us: u64,
    resident_max_bytes: u64,
}

/// Carry out a run; `script` gets the node's limit of a text in bytes. Ends early when `stop` says so. To be
/// called within a `LocalSet`.
///
/// # Errors
/// When the run cannot be carried out. Faults of viewers and messages are in the outcome.
pub(crate) async fn carry_out(
    plan: &RunPlan,
    publishers: Publishers,
    script: Script,
    watcher: &mut dyn Watcher,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Outcome> {
    let before = plan.pid.map(process::sample).transpose()?;
    let processes = match (plan.in_processes, &plan.plans[..]) {
        (false, [only]) => Processes::in_thread(only.clone(), plan.announcements.clone())?,
        _ => Processes::in_processes(plan.plans.clone()).await?,
    };
    let count = processes.len();
    let mut running = Run {
        plan,
        publishers,
        processes,
        watcher,
        stop,
        phase: Phase::Joining,
        latest: vec![Progress::default(); count],
        ramped: vec![None; count],
        settled: vec![false; count],
        done: vec![false; count],
        tally: Tally::default(),
        server: before,
        sampled_us: 0,
        resident_max_bytes: before.map_or(0, |s| s.resident_bytes),
    };
    running.join().await?;
    let joined = plan.pid.map(process::sample).transpose()?;
    let began = running.publishers.heads();
    let (begin, t0_us) = running.publish(script).await?;
    running.settle().await?;
    let publish_us = monotonic_us().saturating_sub(t0_us);
    let end = plan.pid.map(process::sample).transpose()?;
    running.leave().await?;
    let server = match (before, joined, begin, end) {
        (Some(before), Some(joined), Some(begin), Some(end)) => {
            let resident_max_bytes = running.resident_max_bytes.max(end.resident_bytes);
            Some(Server { before, joined, begin, end, resident_max_bytes })
        }
        _ => None,
    };
    let published = running.publishers.published().clone();
    if let (Some(directory), Content::Marked(marked)) = (&plan.plans[0].ledger, &plan.plans[0].content) {
        let header = Header { marked: *marked, rooms: plan.plans[0].rooms.clone(), began };
        ledger::write(&ledger::publications(directory), Some(&header), running.publishers.records())?;
    }
    Ok(Outcome {
        ramp_us: running.ramped.iter().flatten().copied().max().unwrap_or(0),
        interrupted: *running.stop.borrow(),
        tally: running.tally,
        published,
        publish_us,
        server,
        processes: count,
    })
}

impl Run<'_> {
    async fn join(&mut self) -> anyhow::Result<()> {
        let joins_us =
            self.plan.plans.iter().map(|plan| (plan.viewers() as f64 / plan.ramp_per_s * 1e6) as u64);
        let deadline_us = monotonic_us() + joins_us.max().unwrap_or(0) + JOINS_US;
        self.pump(deadline_us, |c| c.ramped.iter().all(Option::is_some) || *c.stop.borrow()).await?;
        let until_us = monotonic_us() + SETTLE_JOINS.as_micros() as u64;
        self.pump(until_us, |_| false).await
    }

    /// Publish all messages, and wait for every answer.
    async fn publish(&mut self, script: Script) -> anyhow::Result<(Option<Sample>, u64)> {
        self.phase = Phase::Publishing;
        let t0_us = monotonic_us() + LEAD_US;
        let bases = self.publishers.heads().iter().map(|head| head.map_or(0, |h| h.offset)).collect();
        self.processes.order(&Order::Begin { t0_us, bases }).await?;
        let hold_us = self.plan.plans[0].hold_us.max(script.length_us());
        self.publishers.begin(script, t0_us, self.plan.plans[0].seed, self.plan.announcements.clone());
        self.pump(t0_us, |_| false).await?;
        let begin = self.plan.pid.map(process::sample).transpose()?;
        let hold_until_us = t0_us + hold_us;
        self.pump(hold_until_us, |c| *c.stop.borrow()).await?;
        if *self.stop.borrow() {
            self.publishers.stop();
        }
        let restarts_expected = self.plan.plans[0].ledger.is_some();
        let answers_until_us = monotonic_us() + if restarts_expected { ANSWERS_AGAIN_US } else { ANSWERS_US };
        self.pump(answers_until_us, |c| c.publishers.is_finished()).await?;
        self.publishers.stop();
        Ok((begin, t0_us))
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        self.phase = Phase::Settling;
        self.processes.order(&Order::End { heads: self.publishers.heads() }).await?;
        // A crowd ends this by itself; the rest is for its note to arrive.
        let deadline_us = monotonic_us() + self.plan.plans[0].settle_us + LEAVE_US;
        self.pump(deadline_us, |c| c.settled.iter().all(|settled| *settled)).await
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        self.processes.order(&Order::Close).await?;
        self.pump(monotonic_us() + LEAVE_US, |c| c.done.iter().all(|done| *done)).await?;
        if !self.done.iter().all(|done| *done) {
            bail!("a process with viewers does not end: its figures are missing");
        }
        Ok(())
    }

    /// Take notes and show the progress until a condition holds or the time is over.
    async fn pump(&mut self, deadline_us: u64, is_done: impl Fn(&mut Self) -> bool) -> anyhow::Result<()> {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let deadline = tokio::time::sleep_until(instant(deadline_us));
        tokio::pin!(deadline);
        while !is_done(self) {
            tokio::select! {
                note = self.processes.next_note() => match note {
                    Some((process, note)) => self.handle_note(process, note)?,
                    None => bail!("all viewers are gone before their time"),
                },
                _ = turn.tick() => self.look()?,
                () = &mut deadline => return Ok(()),
            }
        }
        Ok(())
    }

    fn handle_note(&mut self, process: usize, note: Note) -> anyhow::Result<()> {
        match note {
            Note::Progress(progress) => self.latest[process] = *progress,
            Note::Ramped { took_us } => self.ramped[process] = Some(took_us),
            Note::Settled => self.settled[process] = true,
            Note::Done(tally) => {
                self.tally.add(&tally);
                self.done[process] = true;
            }
            Note::Failed(why) => bail!("viewers, process {process}: {why}"),
        }
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let now_us = monotonic_us();
        if now_us >= self.sampled_us + SAMPLE_EVERY_US
            && let Some(pid) = self.plan.pid
        {
            self.sampled_us = now_us;
            let sample = process::sample(pid)?;
            self.resident_max_bytes = self.resident_max_bytes.max(sample.resident_bytes);
            self.server = Some(sample);
        }
        let mut progress = Progress::default();
        self.latest.iter().for_each(|part| progress.add(part));
        let published = self.publishers.published();
        self.watcher.watch(&Moment {
            phase: self.phase,
            now_us,
            viewers: self.plan.plans.iter().map(Plan::viewers).sum(),
            progress,
            published: &published,
            server: self.server,
        })
    }
}
