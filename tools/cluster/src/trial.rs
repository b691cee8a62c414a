//! A trial: a steady cluster, one fault at a random moment, the way back, and the figures of it.
//!
//! Invariant: what went wrong between two trials is a wrong of the later one: nothing is left out.
//! Not here: what a fault does (`faults`), which figures fall short (`report`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use grandstand_harness::histogram::{Summary, Times};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, now, others};
use crate::checker::{Pauses, Watch, Wrongs};
use crate::crowd::Fate;
use crate::machines::{SHARDS, ShardView};
use crate::network::MACHINES;

/// For the last answers and the last viewer: a publication waits for 10 s, and may be sent again then.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// For another owner.
const OWNED_WITHIN: Duration = Duration::from_secs(30);

/// The figures of a trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) fault: String,
    /// What exactly was done: to which machine, in which direction.
    pub(crate) what: String,
    pub(crate) seconds: f64,
    pub(crate) pauses: Pauses,
    /// From the fault until others had read of the new owners.
    pub(crate) owned_ms: Option<u64>,
    /// Of the answers that came after the fault.
    pub(crate) acks: Summary,
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    /// Refusals that named a time, and such that did not.
    pub(crate) put_off: u64,
    pub(crate) put_off_without_time: u64,
    /// Refused for good, and told to be uncertain.
    pub(crate) refused: u64,
    pub(crate) uncertain: u64,
    /// By nodes that could not know that a majority has it.
    pub(crate) minority_acks: u64,
    /// Terms that began, all shards together.
    pub(crate) owner_changes: u64,
    /// Was the log of the shard led by the machine of its owner?
    pub(crate) had_leader_beside_owner: bool,
    pub(crate) packets_dropped: u64,
    pub(crate) wrongs: Wrongs,
    /// Figures of this kind of fault alone.
    pub(crate) more: BTreeMap<String, u64>,
    /// What fell short; empty in a good trial.
    pub(crate) short: Vec<String>,
}

/// A trial while it runs.
pub(crate) struct Round<'a> {
    pub(crate) arena: &'a mut Arena,
    /// Of this kind, from 0: faults go through their forms in turn.
    pub(crate) number: usize,
    /// A shard of whose owner or log the fault is.
    pub(crate) shard: usize,
    pub(crate) owner: usize,
    /// The machine whose server leads the shard's log; the owner's own if that is not known.
    pub(crate) leader: usize,
    pub(crate) before: Vec<ShardView>,
    pub(crate) figures: Figures,
    began_us: u64,
    /// Nodes that are a minority, from when, until when.
    minority: Option<(Vec<usize>, u64, u64)>,
}

/// What a fault does.
pub(crate) type Act = fn(&mut Round<'_>) -> Result<()>;

/// Carries out a trial.
pub(crate) fn carry_out(arena: &mut Arena, fault: &str, act: Act, number: usize) -> Result<Figures> {
    let before = arena.steady()?;
    arena.go_home()?;
    let shard = arena.random.below(SHARDS);
    let owner = before[shard].owner.unwrap_or_default();
    let moment = arena.random.between(Duration::ZERO, Duration::from_secs(1));
    arena.hold(moment)?;
    let (first, dropped) = (arena.crowd.publications().len(), arena.machines.network.switch.dropped());
    let leader = before[shard].leader.unwrap_or(owner);
    let figures =
        Figures { fault: fault.to_owned(), had_leader_beside_owner: leader == owner, ..Figures::default() };
    let began = Instant::now();
    let mut round =
        Round { arena, number, shard, owner, leader, before, figures, began_us: now(), minority: None };
    act(&mut round)?;
    let Round { arena, before, mut figures, began_us, minority, .. } = round;
    let after = arena.steady()?;
    figures.pauses = arena.checker.pauses(now());
    arena.settle(SETTLED_WITHIN)?;
    figures.seconds = began.elapsed().as_secs_f64();
    figures.owner_changes =
        before.iter().zip(&after).map(|(before, after)| after.term.saturating_sub(before.term)).sum();
    figures.packets_dropped = arena.machines.network.switch.dropped() - dropped;
    figures.count_publications(arena, first, began_us, minority.as_ref());
    let publications = arena.crowd.publications();
    figures.wrongs = arena.checker.judge(&publications, publications.len().min(arena.settled));
    drop(publications);
    Ok(figures)
}

impl Figures {
    fn count_publications(
        &mut self,
        arena: &Arena,
        first: usize,
        began_us: u64,
        minority: Option<&(Vec<usize>, u64, u64)>,
    ) {
        let publications = arena.crowd.publications();
        let mut acks = Times::default();
        for publication in &publications[..arena.settled] {
            if let Fate::Acknowledged { at_us, node, .. } = publication.fate
                && at_us >= began_us
            {
                acks.record(at_us - publication.sent_us);
                let is_minority = minority.is_some_and(|(nodes, from_us, to_us)| {
                    nodes.contains(&node) && publication.sent_us >= *from_us && at_us <= *to_us
                });
                self.minority_acks += u64::from(is_minority);
            }
        }
        for publication in &publications[first..arena.settled] {
            self.published += 1;
            self.acknowledged += u64::from(matches!(publication.fate, Fate::Acknowledged { .. }));
            self.refused += u64::from(publication.fate == Fate::Refused);
            self.uncertain += u64::from(publication.fate == Fate::Uncertain);
            self.put_off += u64::from(publication.put_off);
            self.put_off_without_time += u64::from(publication.put_off_without_time);
        }
        self.acks = acks.summary();
    }
}

impl Round<'_> {
    /// The shards that a node owned.
    pub(crate) fn shards_of(&self, node: usize) -> Vec<usize> {
        (0..SHARDS).filter(|&shard| self.before[shard].owner == Some(node)).collect()
    }

    /// The machine that neither owns the shard nor leads its log.
    pub(crate) fn third(&self) -> usize {
        let third = (0..MACHINES).find(|machine| ![self.owner, self.leader].contains(machine));
        third.unwrap_or_default()
    }

    /// The fault begins: what viewers of nodes other than these see of these rooms is measured.
    pub(crate) fn begin(&mut self, what: String, rooms: Vec<usize>, without: &[usize]) {
        self.figures.what = what;
        self.began_us = now();
        let watch = Watch { rooms, without: without.to_vec() };
        self.arena.checker.watch(&watch);
    }

    /// Waits until these nodes have read that others own what a node owned.
    pub(crate) fn wait_for_heirs(&mut self, of: usize) -> Result<()> {
        let shards = self.shards_of(of);
        let took = self.arena.until(OWNED_WITHIN, "others own the shards", |arena| {
            let all = others(&[of]).into_iter().map(|node| arena.machines.view(node));
            all.into_iter().all(|view| {
                view.is_ok_and(|view| shards.iter().all(|&s| view[s].owner.is_some_and(|o| o != of)))
            })
        })?;
        self.figures.owned_ms = Some(took.as_millis() as u64);
        Ok(())
    }

    /// Until [`Round::end_minority`], these nodes must acknowledge nothing that they get from now on.
    pub(crate) fn begin_minority(&mut self, nodes: &[usize]) {
        self.minority = Some((nodes.to_vec(), now(), u64::MAX));
    }

    pub(crate) fn end_minority(&mut self) {
        if let Some((.., to_us)) = &mut self.minority {
            *to_us = now();
        }
    }

    /// A time that is shorter in CI.
    pub(crate) fn time(&self, seconds: u64) -> Duration {
        let part = if self.arena.scale.is_quick { 3 } else { 1 };
        Duration::from_secs(seconds) / part
    }

    pub(crate) fn more(&mut self, what: &str, number: u64) {
        self.figures.more.insert(what.to_owned(), number);
    }
}
