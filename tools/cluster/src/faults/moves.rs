//! Moves: what operators do, and nobody should notice: a node drains, a shard is moved, a node comes back and
//! gets shards, one joins without a copy, all are restarted with another release.
//!
//! Not here: nodes that end without a word (`deaths`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Fault, Limits};
use crate::network::MACHINES;
use crate::trial::Round;

const LIMITS: Limits =
    Limits { pause_p50_ms: Some(50), pause_p99_ms: Some(200), ack_max_ms: Some(10_000), ..Limits::NONE };

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "move",
        times: 40,
        what: "a shard is moved to another node",
        limits: Limits { owner_changes: Some(2), ..LIMITS },
        needs_disks: false,
        is_smoke: true,
        act: move_shard,
    },
    Fault {
        name: "drain",
        times: 30,
        what: "a node is told to stop, its shards and viewers go to the others, and it starts again",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: true,
        act: drain,
    },
    Fault {
        name: "rebalance",
        times: 20,
        what: "a node that was killed is back, and gets shards from the others",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: false,
        act: rebalance,
    },
    Fault {
        name: "join",
        times: 10,
        what: "a node starts without a copy, catches up, and gets shards",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: false,
        act: join,
    },
    Fault {
        name: "rolling",
        times: 20,
        what: "all nodes are restarted one by one with the other release (--old-binary), and back",
        limits: Limits { refuses_nothing: true, keeps_viewers: false, ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: rolling,
    },
];

/// A drain has told its clients to go after 5 s, and closes the last ones 5 s later; shards and leaders go
/// first.
const STOPPED_WITHIN: Duration = Duration::from_secs(45);

/// Nodes must have been the same for 15 s, and move one shard a second.
const REBALANCED_WITHIN: Duration = Duration::from_secs(60);

fn move_shard(round: &mut Round<'_>) -> Result<()> {
    let (shard, owner) = (round.shard, round.owner);
    let to = (owner + 1 + round.number % 2) % MACHINES;
    round.begin(format!("shard {shard}, {owner} to {to}"), vec![shard], &[]);
    let path = format!("/cluster/shards/{shard}/move");
    round.arena.machines.ask(owner, "POST", &path, &format!("{{\"to\":{to}}}"))?;
    let took = round.arena.until(Duration::from_secs(10), "the shard is at the other node", |arena| {
        arena.machines.view(to).is_ok_and(|view| view[shard].owner == Some(to))
    })?;
    round.figures.owned_ms = Some(took.as_millis() as u64);
    round.arena.hold(Duration::from_secs(1))
}

fn drain(round: &mut Round<'_>) -> Result<()> {
    let owner = round.owner;
    round.begin(format!("node {owner}"), round.shards_of(owner), &[owner]);
    stop(round, owner)?;
    start(round, owner)
}

fn rebalance(round: &mut Round<'_>) -> Result<()> {
    let owner = round.owner;
    round.arena.machines.kill_node(owner)?;
    round.wait_for_heirs(owner)?;
    // What its death costs is another trial.
    round.arena.hold(Duration::from_secs(2))?;
    round.begin(format!("node {owner}"), (0..round.before.len()).collect(), &[owner]);
    start(round, owner)?;
    wait_for_shards(round, owner)
}

fn join(round: &mut Round<'_>) -> Result<()> {
    let node = round.owner;
    stop(round, node)?;
    std::fs::remove_dir_all(round.arena.machines.data(node).join("log")).context("it had a copy")?;
    round.begin(format!("node {node}"), (0..round.before.len()).collect(), &[node]);
    start(round, node)?;
    wait_for_shards(round, node)
}

fn rolling(round: &mut Round<'_>) -> Result<()> {
    let new = round.arena.scale.binary.clone();
    let old = round.arena.scale.old_binary.clone();
    let what = if old.is_some() { "to the old release and back" } else { "the same release, twice" };
    round.begin(what.to_owned(), Vec::new(), &[]);
    for binary in [old.unwrap_or_else(|| new.clone()), new] {
        for node in 0..MACHINES {
            stop(round, node)?;
            round.arena.machines.set_binary(node, &binary);
            start(round, node)?;
            round.arena.steady()?;
        }
    }
    Ok(())
}

/// Tells a node to stop, and waits for its end.
fn stop(round: &mut Round<'_>, node: usize) -> Result<()> {
    round.arena.machines.tell_node_to_stop(node)?;
    round.arena.until(STOPPED_WITHIN, "the node has stopped", |arena| {
        arena.machines.has_node_ended(node).is_ok_and(|has_ended| has_ended)
    })?;
    Ok(())
}

fn start(round: &mut Round<'_>, node: usize) -> Result<()> {
    round.arena.machines.spawn_node(node)?;
    round.arena.machines.wait_node(node)
}

/// Waits until a node that came back owns as many shards as it should.
fn wait_for_shards(round: &mut Round<'_>, node: usize) -> Result<()> {
    let share = round.before.len() / MACHINES;
    let took = round.arena.until(REBALANCED_WITHIN, "the node has its share of shards", |arena| {
        let owns = |view: Vec<crate::machines::ShardView>| {
            view.iter().filter(|shard| shard.owner == Some(node) && shard.is_owning).count()
        };
        arena.machines.view(node).is_ok_and(|view| owns(view) >= share)
    });
    match took {
        Ok(took) => round.more("shards are back after, ms", took.as_millis() as u64),
        Err(error) => {
            ensure!(!round.arena.is_interrupted(), "interrupted");
            round.figures.short.push(format!("{error:#}"));
        }
    }
    Ok(())
}
