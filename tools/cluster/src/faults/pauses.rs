//! Pauses: a process hangs for ten seconds and goes on, as on a machine that swaps or is moved.
//!
//! Not here: processes that end (`deaths`).

use anyhow::Result;

use super::{Fault, Limits};
use crate::trial::Round;

const PAUSE_S: u64 = 10;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "owner-paused",
        times: 50,
        what: "the process of a shard's owner hangs for 10 s",
        limits: Limits { pause_max_ms: Some(3_000), ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: owner_paused,
    },
    Fault {
        name: "server-paused",
        times: 50,
        what: "a NATS server hangs for 10 s: of the log's leader, the owner, the third",
        limits: Limits { pause_max_ms: Some(3_000), ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: server_paused,
    },
];

fn owner_paused(round: &mut Round<'_>) -> Result<()> {
    let owner = round.owner;
    round.begin(format!("node {owner}"), round.shards_of(owner), &[owner]);
    round.arena.machines.pause_node(owner, true)?;
    let time = round.time(PAUSE_S);
    let held = round.arena.hold(time);
    round.arena.machines.pause_node(owner, false)?;
    held
}

fn server_paused(round: &mut Round<'_>) -> Result<()> {
    let of = [round.leader, round.owner, round.third()];
    let (server, name) = (of[round.number % of.len()], ["leader", "owner", "third"][round.number % of.len()]);
    round.begin(format!("server {server}, of the {name}"), (0..round.before.len()).collect(), &[]);
    round.arena.machines.servers.pause(server)?;
    let time = round.time(PAUSE_S);
    let held = round.arena.hold(time);
    round.arena.machines.servers.resume(server)?;
    held
}
