//! Deaths: a node's process, its server, or both are killed at once, and start again when others have taken
//! over.
//!
//! Not here: machines that lose what they had written (`power`).

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Limits};
use crate::trial::Round;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "owner-killed",
        times: 200,
        what: "the process of a shard's owner is killed, and starts again",
        limits: Limits {
            pause_p50_ms: Some(400),
            pause_max_ms: Some(1_000),
            ack_max_ms: Some(10_000),
            ..Limits::NONE
        },
        needs_disks: false,
        is_smoke: true,
        act: owner_killed,
    },
    Fault {
        name: "node-killed",
        times: 200,
        what: "an owner and its NATS server are killed, and start again",
        limits: Limits {
            pause_max_ms: Some(3_000),
            unless_leader_beside: true,
            ack_max_ms: Some(10_000),
            ..Limits::NONE
        },
        needs_disks: false,
        is_smoke: true,
        act: node_killed,
    },
    Fault {
        name: "server-killed",
        times: 100,
        what: "a NATS server alone is killed, and starts again: of the log's leader, the owner, the third",
        limits: Limits { ack_max_ms: Some(10_000), owner_changes: Some(0), ..Limits::NONE },
        needs_disks: false,
        is_smoke: true,
        act: server_killed,
    },
];

/// After others took over, before the dead one comes back.
const AWAY: Duration = Duration::from_secs(2);

fn owner_killed(round: &mut Round<'_>) -> Result<()> {
    let owner = round.owner;
    round.begin(format!("node {owner}"), round.shards_of(owner), &[owner]);
    round.arena.machines.kill_node(owner)?;
    round.wait_for_heirs(owner)?;
    round.arena.hold(AWAY)?;
    round.arena.machines.spawn_node(owner)?;
    round.arena.machines.wait_node(owner)
}

fn node_killed(round: &mut Round<'_>) -> Result<()> {
    let owner = round.owner;
    round.begin(format!("machine {owner}"), round.shards_of(owner), &[owner]);
    round.arena.machines.servers.kill(owner)?;
    round.arena.machines.kill_node(owner)?;
    round.wait_for_heirs(owner)?;
    round.arena.hold(AWAY)?;
    round.arena.machines.servers.restart(owner)?;
    round.arena.machines.servers.wait_ready()?;
    round.arena.machines.spawn_node(owner)?;
    round.arena.machines.wait_node(owner)
}

fn server_killed(round: &mut Round<'_>) -> Result<()> {
    let of = [round.leader, round.owner, round.third()];
    let (server, name) = (of[round.number % of.len()], ["leader", "owner", "third"][round.number % of.len()]);
    round.begin(format!("server {server}, of the {name}"), (0..round.before.len()).collect(), &[]);
    round.arena.machines.servers.kill(server)?;
    // As long as an election may take.
    round.arena.hold(round.time(12))?;
    round.arena.machines.servers.restart(server)?;
    round.arena.machines.servers.wait_ready()?;
    Ok(())
}
