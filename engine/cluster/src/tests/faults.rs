//! Faults: what goes wrong in a world, drawn by its seed.
//!
//! Why each kind has a range of durations: the borders (a pause just over a lease, a cut just over a
//! suspicion) are where mistakes hide.

use super::node::{NODES, Node};
use super::world::{LOG, World};
use crate::id::NodeId;

/// When faults end and everything is healed.
pub(super) const FAULTS_US: u64 = 30_000_000;
/// Then a world has this long to become quiet.
const HEALED_US: u64 = 25_000_000;

/// Play a world with faults, heal it, and judge it.
pub(super) fn play(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    world.run_until(2_500_000)?;
    let mut restarts: Vec<(u64, usize)> = Vec::new();
    while world.now < FAULTS_US {
        let next = world.now + world.chance.between(20_000, 2_500_000);
        while let Some(ix) = restarts.iter().position(|(at, _)| *at <= next) {
            let (at, node) = restarts.remove(ix);
            world.run_until(at.max(world.now))?;
            restart(&mut world, node);
        }
        world.run_until(next)?;
        if let Some(restart) = fault(&mut world) {
            restarts.push(restart);
        }
    }
    heal(&mut world);
    world.run_until(FAULTS_US + HEALED_US)?;
    let acting: Vec<usize> = world.nodes.iter().filter(|n| n.acts(world.now)).map(|n| n.id).collect();
    if acting.len() != 1 {
        let phases: Vec<_> = world.nodes.iter().map(|node| node.seat.phase()).collect();
        world.print();
        return Err(format!("healed, and {acting:?} act: {phases:?}"));
    }
    world.checker.judge_log(world.stream.committed(), &world.nodes).inspect_err(|_| world.print())?;
    let term = world.nodes[acting[0]].seat.chain().head().term;
    if let Some(deaf) = world.nodes.iter().find(|node| node.seat.floor() > term) {
        world.print();
        return Err(format!("healed, and node {} takes nothing of {term}", deaf.id));
    }
    Ok(world.checker.claims)
}

fn fault(world: &mut World) -> Option<(u64, usize)> {
    let now = world.now;
    let owner = world.nodes.iter().find(|node| node.acts(now)).map(|node| node.id);
    let any = world.chance.between(0, NODES as u64) as usize;
    // The owner more often than the others.
    let node = owner.filter(|_| world.chance.in_thousand(500)).unwrap_or(any);
    let other = (node + world.chance.between(1, NODES as u64) as usize) % NODES;
    let lasts = world.chance.one_of(&[300_000, 1_100_000, 1_700_000, 3_000_000, 8_000_000]);
    let lasts = world.chance.between(lasts / 2, lasts * 3 / 2);
    let kind = world.chance.between(0, 14);
    world.note(|| format!("FAULT {kind}: node {node}, other {other}, {} ms", lasts / 1000));
    match kind {
        0 => world.nodes[node].paused_until = now + lasts,
        2 if owner == Some(node) => {
            world.ambushed = Some((node, false));
            return Some((now + 700_000 + lasts / 4, node));
        }
        1 | 2 => {
            world.nodes[node].is_alive = false;
            return Some((now + lasts, node));
        }
        3 => cut(world, &[(node, 0), (node, 1), (node, 2), (node, LOG)], lasts, true),
        4 => cut(world, &[(node, 0), (node, 1), (node, 2)], lasts, true),
        5 => cut(world, &[(node, 0), (node, 1), (node, 2)], lasts, false),
        6 => cut(world, &[(0, node), (1, node), (2, node)], lasts, false),
        7 => cut(world, &[(node, other)], lasts, true),
        8 => {
            let (from, to) = world.chance.one_of(&[(node, LOG), (LOG, node)]);
            let both = world.chance.in_thousand(500);
            cut(world, &[(from, to)], 2 * lasts, both);
        }
        13 => cut(world, &[(node, LOG), (node, other)], lasts, true),
        9 => world.stream.kill_leader(now, &mut world.chance),
        10 => {
            let with = if world.chance.in_thousand(500) { vec![node] } else { vec![node, other] };
            world.stream.cut_leader(now, &mut world.chance);
            world.stale = with;
        }
        _ => {
            if let Some(owner) = owner {
                let node = &mut world.nodes[owner];
                node.wake();
                let own = node.own(now);
                let to = NodeId(((owner + 1 + other % 2) % NODES) as u8);
                let begins = node.seat.hand_over(own, to, &node.membership);
                if kind == 12 && begins {
                    world.ambushed = Some((owner, true));
                    return Some((now + 1_000_000 + lasts, owner));
                }
            }
        }
    }
    None
}

fn cut(world: &mut World, links: &[(usize, usize)], lasts: u64, both: bool) {
    let until = (world.now + lasts, world.chance.in_thousand(300));
    for &(from, to) in links.iter().filter(|(from, to)| from != to) {
        world.cuts.insert((from, to), until);
        if both {
            world.cuts.insert((to, from), until);
        }
    }
}

/// Another life of a node, whose copy may have lost its end.
fn restart(world: &mut World, ix: usize) {
    let node = &mut world.nodes[ix];
    if node.is_alive {
        return;
    }
    let mut copy = std::mem::take(&mut node.copy);
    let life = node.life + 1;
    let lost = if world.chance.in_thousand(300) { world.chance.between(0, 4) as usize } else { 0 };
    copy.truncate(copy.len().saturating_sub(lost));
    world.nodes[ix] = Node::new(ix, world.now, life, copy, &mut world.chance);
}

fn heal(world: &mut World) {
    world.note(|| "HEALED".to_owned());
    world.cuts.clear();
    world.is_healed = true;
    let now = world.now;
    world.stream.heal(now);
    for node in 0..NODES {
        restart(world, node);
    }
    for node in &mut world.nodes {
        node.paused_until = node.paused_until.min(now);
    }
}
