//! No quorum: two of three machines, or two of three servers, are gone for half a minute.
//!
//! Invariant: what is acknowledged meanwhile is wrong, whoever says so.
//! Not here: one machine that is gone (`deaths`).

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Limits};
use crate::arena::others;
use crate::network::MACHINES;
use crate::trial::Round;

/// A node may grow by what it holds for the log, and for publishers, in megabytes: `cluster.unkept_bytes_max`
/// of six shards, and as much again for those who follow.
const GROWTH_MAX: u64 = 128;

pub(super) const FAULTS: &[Fault] = &[Fault {
    name: "quorum-gone",
    times: 20,
    what: "two servers, or two machines, are killed and come back after 30 s; the rooms stay readable",
    // Those who were on the killed machines come to the one that is left.
    limits: Limits { must_put_off: true, keeps_viewers: false, ..Limits::NONE },
    needs_disks: false,
    is_smoke: false,
    act: quorum_gone,
}];

fn quorum_gone(round: &mut Round<'_>) -> Result<()> {
    let rest = round.owner;
    let gone = others(&[rest]);
    let with_nodes = round.number % 2 == 1;
    let what = if with_nodes { "machines" } else { "servers" };
    let rooms = round.shards_of(rest);
    round.begin(format!("{what} {} and {}", gone[0], gone[1]), rooms, &gone);
    let before = round.arena.machines.sample(rest)?.resident_bytes;
    for &machine in &gone {
        round.arena.machines.servers.kill(machine)?;
        if with_nodes {
            round.arena.machines.kill_node(machine)?;
        }
    }
    round.begin_minority(&[0, 1, 2]);
    let half = round.time(30) / 2;
    round.arena.hold(half)?;
    for node in if with_nodes { vec![rest] } else { (0..MACHINES).collect() } {
        let room = round.shard;
        if !round.arena.crowd.can_read(room, node, Duration::from_secs(5)) {
            round.figures.short.push(format!("node {node} gives nobody the newest messages of a room"));
        }
    }
    round.arena.hold(half)?;
    let after = round.arena.machines.sample(rest)?.resident_bytes;
    round.end_minority();
    let growth = after.saturating_sub(before) >> 20;
    round.more("a node grew by, MB", growth);
    if growth > GROWTH_MAX {
        round.figures.short.push(format!("a node grew by {growth} MB, at most {GROWTH_MAX}"));
    }
    for &machine in &gone {
        round.arena.machines.servers.restart(machine)?;
    }
    round.arena.machines.servers.wait_ready()?;
    if with_nodes {
        gone.iter().try_for_each(|&machine| round.arena.machines.spawn_node(machine))?;
        gone.iter().try_for_each(|&machine| round.arena.machines.wait_node(machine))?;
    }
    Ok(())
}
