//! Disks: one machine's is full, slow, or gives back other bytes than it was given.
//!
//! Not here: disks that forget what was not synced (`power`).

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Fault, Limits};
use crate::trial::Round;

/// Writes a second of a slow disk: a sync takes some 80 ms.
const SLOW_WRITES_PER_S: u32 = 20;

/// How long a disk is full or slow.
const BAD_S: u64 = 15;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "disk-full",
        times: 17,
        what: "a machine's disk is full for 15 s: the log leader's, the owner's, the third; then its server restarts",
        limits: Limits { pause_max_ms: Some(3_000), ack_max_ms: Some(12_000), ..Limits::NONE },
        needs_disks: true,
        is_smoke: false,
        act: full,
    },
    Fault {
        name: "disk-slow",
        times: 17,
        what: "a machine's disk writes 20 times a second for 15 s: the log leader's, the owner's, the third",
        limits: Limits { pause_max_ms: Some(3_000), ack_max_ms: Some(10_000), ..Limits::NONE },
        needs_disks: true,
        is_smoke: false,
        act: slow,
    },
    Fault {
        name: "disk-rotten",
        times: 16,
        what: "bits flip in a node's copy while it is down; it starts, and goes on from a new copy",
        limits: Limits { pause_max_ms: Some(3_000), ack_max_ms: Some(10_000), ..Limits::NONE },
        needs_disks: true,
        is_smoke: false,
        act: rotten,
    },
];

/// The machine whose turn it is, and its part.
fn machine(round: &Round<'_>) -> (usize, &'static str) {
    let of = [(round.leader, "leader"), (round.owner, "owner"), (round.third(), "third")];
    of[round.number % of.len()]
}

fn full(round: &mut Round<'_>) -> Result<()> {
    let (machine, name) = machine(round);
    round.begin(format!("machine {machine}, {name}"), (0..round.before.len()).collect(), &[machine]);
    round.arena.machines.disk(machine)?.fill()?;
    let time = round.time(BAD_S);
    let held = round.arena.hold(time);
    round.arena.machines.disk(machine)?.make_room()?;
    // Its JetStream stays off until it is restarted, as docs/OPERATING.md says.
    round.arena.machines.servers.stop(machine)?;
    round.arena.machines.servers.restart(machine)?;
    round.arena.machines.servers.wait_ready()?;
    held
}

fn slow(round: &mut Round<'_>) -> Result<()> {
    let (machine, name) = machine(round);
    round.begin(format!("machine {machine}, {name}"), (0..round.before.len()).collect(), &[]);
    let pids: Vec<u32> = round.arena.machines.pids(machine);
    round.arena.machines.disk(machine)?.slow_down(&pids, SLOW_WRITES_PER_S)?;
    let time = round.time(BAD_S);
    let held = round.arena.hold(time);
    round.arena.machines.disk(machine)?.speed_up()?;
    held
}

fn rotten(round: &mut Round<'_>) -> Result<()> {
    let node = round.owner;
    round.begin(format!("node {node}"), round.shards_of(node), &[node]);
    round.arena.machines.kill_node(node)?;
    round.wait_for_heirs(node)?;
    let copy = round.arena.machines.data(node).join("log");
    let flips = round.arena.random.next_u64();
    flip(&database(&copy)?, flips)?;
    round.arena.machines.spawn_node(node)?;
    if let Err(error) = round.arena.machines.wait_node(node) {
        let first = format!("{error:#}").lines().last().unwrap_or_default().to_owned();
        round.figures.short.push(format!("the node does not start on a rotten copy: {first}"));
    }
    let time = round.time(6);
    round.arena.hold(time)?;
    // An operator's remedy: a new copy.
    round.arena.machines.kill_node(node)?;
    fs::remove_dir_all(&copy)?;
    round.arena.machines.spawn_node(node)?;
    round.arena.machines.wait_node(node)
}

/// The largest file of a copy.
fn database(copy: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(copy)?.flatten().map(|entry| entry.path());
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |of| of.len());
    files.max_by_key(size).context("a copy has files")
}

/// Flips a bit in every 64th page, from a page that is drawn.
fn flip(file: &Path, chance: u64) -> Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(file)?;
    let pages = file.metadata()?.len() / 4096;
    for page in (1 + chance % 8..pages).step_by(64) {
        let at = SeekFrom::Start(page * 4096 + chance % 4096);
        let mut byte = [0];
        file.seek(at)?;
        file.read_exact(&mut byte)?;
        file.seek(at)?;
        file.write_all(&[byte[0] ^ 1])?;
    }
    Ok(())
}
