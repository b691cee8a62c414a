//! The arena: machines with a crowd on them, and the checker of what the crowd is told.
//!
//! Invariants: every wait has a limit and ends at an interrupt; while it waits, the checker takes what
//! viewers were told, so that memory does not grow with time.
//! Not here: a trial's steps (`trial`), faults (`faults`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use grandstand_client::net::now_us;
use grandstand_harness::random::{Random, seed};

use crate::checker::Checker;
use crate::crowd::Crowd;
use crate::machines::{Machines, SHARDS, ShardView};
use crate::network::MACHINES;

/// How long a cluster may take until all is as it should be.
const STEADY_WITHIN: Duration = Duration::from_secs(120);

/// How long viewers may take to join.
const JOINED_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What all trials have in common.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) binary: PathBuf,
    /// Another release of the node.
    pub(crate) old_binary: Option<PathBuf>,
    pub(crate) viewers: usize,
    /// Messages a second.
    pub(crate) rate: f64,
    /// Holds and outages are shorter, as in CI.
    pub(crate) is_quick: bool,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Arena {
    // Ends before the machines do.
    pub(crate) crowd: Crowd,
    pub(crate) machines: Machines,
    pub(crate) checker: Checker,
    pub(crate) random: Random,
    pub(crate) scale: Scale,
    /// Publications before this one should have their outcome.
    pub(crate) settled: usize,
    /// Has each machine a disk of its own?
    pub(crate) has_disks: bool,
    is_interrupted: Arc<AtomicBool>,
}

impl Arena {
    /// Starts machines, and a crowd that is in its rooms.
    pub(crate) fn start(scale: &Scale, has_disks: bool, is_interrupted: Arc<AtomicBool>) -> Result<Arena> {
        let machines = Machines::start(&scale.binary, has_disks)?;
        let crowd = Crowd::start(rooms(&machines), scale.viewers, scale.rate)?;
        let checker = Checker::new(scale.viewers);
        let random = Random::new(seed());
        let mut arena = Arena {
            machines,
            crowd,
            checker,
            random,
            scale: scale.clone(),
            settled: 0,
            has_disks,
            is_interrupted,
        };
        arena.steady()?;
        Ok(arena)
    }

    /// Waits until every shard has an owner that all nodes agree on, and every viewer is in its room.
    pub(crate) fn steady(&mut self) -> Result<Vec<ShardView>> {
        let mut why = String::new();
        let mut found = None;
        let look = |arena: &mut Arena| {
            match arena.machines.steady() {
                Ok(shards) => found = Some(shards),
                Err(error) => why = format!("{error:#}"),
            }
            found.is_some()
        };
        let done = self.until(STEADY_WITHIN, "the cluster is steady", look);
        done.with_context(|| why)?;
        self.until(JOINED_WITHIN, "every viewer is in its room", |arena| {
            arena.crowd.inside() == arena.crowd.viewers
        })?;
        found.context("it was found")
    }

    /// Brings viewers back to their own nodes.
    pub(crate) fn go_home(&mut self) -> Result<()> {
        self.crowd.go_home();
        self.until(JOINED_WITHIN, "every viewer is at its own node", |arena| {
            arena.checker.at_home() == arena.crowd.viewers
        })?;
        Ok(())
    }

    /// Waits until `is_so`; how long that took.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut is_so: impl FnMut(&mut Arena) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        loop {
            self.pump()?;
            if is_so(self) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                bail!("not within {} s: {what}", limit.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Lets time pass.
    pub(crate) fn hold(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.pump()?;
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Has the user asked to stop?
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Relaxed)
    }

    fn pump(&mut self) -> Result<()> {
        self.checker.take(&self.crowd.take_records());
        if self.crowd.has_failed() {
            bail!("a thread of clients ended before its time");
        }
        if self.is_interrupted() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits until clients know all that came before now; what went wrong is judged then.
    pub(crate) fn settle(&mut self, limit: Duration) -> Result<()> {
        let until = self.crowd.publications().len();
        self.settled = until;
        // What is not settled in time shows in the judgement.
        let done = self.until(limit, "every publication has its outcome, and every viewer has it", |arena| {
            arena.checker.is_settled(&arena.crowd.publications(), until)
        });
        if self.is_interrupted() {
            return done.map(drop);
        }
        if done.is_err() {
            let unsettled = self.checker.unsettled(&self.crowd.publications(), until);
            unsettled.iter().for_each(|line| println!("         {line}"));
            (0..MACHINES).for_each(|node| println!("         node {node}: {}", self.machines.state(node)));
        }
        Ok(())
    }
}

/// The time of records.
pub(crate) fn now() -> u64 {
    now_us()
}

/// A name of a room for each shard.
fn rooms(machines: &Machines) -> Vec<String> {
    let name = |shard: usize| {
        let mut names = (0..).map(|number| format!("show-{number}"));
        names.find(|name| machines.directory.shard_of(name).0 == shard as u16).expect("names are spread")
    };
    (0..SHARDS).map(name).collect()
}

/// The machines that are not among these.
pub(crate) fn others(of: &[usize]) -> Vec<usize> {
    (0..MACHINES).filter(|machine| !of.contains(machine)).collect()
}

/// A program that can be started, as a full path.
pub(crate) fn program(path: &Path) -> Result<PathBuf> {
    let path = std::fs::canonicalize(path).with_context(|| format!("{} is no file", path.display()))?;
    Ok(path)
}
