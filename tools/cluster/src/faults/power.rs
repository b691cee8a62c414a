//! Power cuts: machines lose, with their processes, all that was not synced to their disks.
//!
//! Not here: processes that are killed on machines that go on (`deaths`).

use anyhow::Result;

use super::{Fault, Limits};
use crate::network::MACHINES;
use crate::trial::Round;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "power-one",
        times: 50,
        what: "the power of an owner's machine is cut and comes back",
        limits: Limits {
            pause_max_ms: Some(3_000),
            unless_leader_beside: true,
            ack_max_ms: Some(10_000),
            ..Limits::NONE
        },
        needs_disks: true,
        is_smoke: false,
        act: |round| {
            let owner = round.owner;
            round.begin(format!("machine {owner}"), round.shards_of(owner), &[owner]);
            off(round, owner)?;
            round.wait_for_heirs(owner)?;
            round.arena.machines.disk(owner)?.cut()?;
            on(round, &[owner])
        },
    },
    Fault {
        name: "power-all",
        times: 20,
        what: "the power of all machines is cut and comes back",
        limits: Limits { keeps_viewers: false, ..Limits::NONE },
        needs_disks: true,
        is_smoke: false,
        act: |round| {
            let all: Vec<usize> = (0..MACHINES).collect();
            round.begin("all machines".to_owned(), Vec::new(), &all);
            all.iter().try_for_each(|&machine| off(round, machine))?;
            all.iter().try_for_each(|&machine| round.arena.machines.disk(machine)?.cut())?;
            on(round, &all)
        },
    },
];

fn off(round: &mut Round<'_>, machine: usize) -> Result<()> {
    round.arena.machines.servers.kill(machine)?;
    round.arena.machines.kill_node(machine)
}

fn on(round: &mut Round<'_>, machines: &[usize]) -> Result<()> {
    machines.iter().try_for_each(|&machine| round.arena.machines.servers.restart(machine))?;
    round.arena.machines.servers.wait_ready()?;
    machines.iter().try_for_each(|&machine| round.arena.machines.spawn_node(machine))?;
    machines.iter().try_for_each(|&machine| round.arena.machines.wait_node(machine))
}
