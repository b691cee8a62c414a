//! Viewer counts over nodes: sums of what nodes have, whatever dies, moves or is lost.
//!
//! Why a property: counts that are kept by differences drift, and no list of faults shows every drift. These
//! are restated whole, so all that was wrong is right again after a moment.

use grandstand_protocol::random::Random;

use super::hall::{Hall, NODES};
use super::opened;

/// As long as a dead node's viewers may stay in the count: silence, a claim, and an interval of counts.
const GONE_WITHIN_MS: u64 = 6_000;

fn all_show(hall: &Hall, sum: u64) -> bool {
    hall.nodes.iter().flatten().all(|node| node.viewer.count == Some(sum))
}

#[test]
fn a_dead_nodes_viewers_leave_the_count_within_seconds() {
    for dies in ["the owner", "another"] {
        let (mut hall, owner) = opened();
        let dead = if dies == "the owner" { owner } else { (owner + 1) % NODES };
        (0..NODES).for_each(|node| hall.count(node, 100 + node as u32));
        hall.run_until(5_000, |hall| all_show(hall, 303));
        hall.kill(dead);
        hall.run_until(GONE_WITHIN_MS, |hall| all_show(hall, 303 - 100 - dead as u64));
        // They come back elsewhere, and the node without anybody.
        let heir = (dead + 1) % NODES;
        hall.count(heir, 200 + heir as u32 + dead as u32);
        hall.start(dead);
        hall.run_until(GONE_WITHIN_MS, |hall| hall.nodes[dead].as_ref().unwrap().viewer.alias.is_some());
        hall.count(dead, 0);
        hall.run_until(GONE_WITHIN_MS, |hall| all_show(hall, 303));
    }
}

#[test]
fn whatever_dies_moves_or_is_lost_the_count_is_the_sum_in_the_end() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let (mut hall, _) = opened();
        let mut members = [0_u32; NODES];
        for _ in 0..40 {
            let (node, other) = (random.below(NODES as u64) as usize, random.below(NODES as u64) as usize);
            let is_there = hall.nodes[node].is_some();
            match random.below(8) {
                0..=2 if is_there => members[node] = random.below(900) as u32,
                3 if is_there && hall.nodes[other].is_some() && node != other => {
                    let moved = random.below(u64::from(members[node]) + 1) as u32;
                    members[node] -= moved;
                    members[other] += moved;
                }
                4 if is_there && hall.nodes.iter().flatten().count() == NODES => {
                    hall.kill(node);
                    members[node] = 0;
                }
                5 if !is_there => hall.start(node),
                6 => hall.lose_frames += random.below(4) as usize,
                7 if is_there
                    && hall.owner() == Some(node)
                    && hall.nodes[other].is_some()
                    && node != other =>
                {
                    hall.hand_over(node, other);
                }
                _ => {}
            }
            for (node, &members) in members.iter().enumerate() {
                if hall.nodes[node].is_some() {
                    hall.count(node, members);
                }
            }
            hall.run(random.below(700));
        }
        hall.lose_frames = 0;
        (0..NODES)
            .filter(|node| hall.nodes[*node].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|node| hall.start(node));
        hall.run_until(20_000, |hall| hall.nodes.iter().flatten().all(|node| node.viewer.alias.is_some()));
        // A worker says its number again when it changes, and the last change may have come before it
        // attached.
        (0..NODES).for_each(|node| hall.count(node, members[node]));
        let sum = members.iter().sum::<u32>();
        // Above 1,000 a count has three significant digits.
        let place = 10_u64.pow(u64::from(sum).max(1).ilog10().saturating_sub(2));
        let shown = if sum > 1_000 { None } else { Some(u64::from(sum)) };
        hall.run(9_000);
        for node in hall.nodes.iter().flatten() {
            let count = node.viewer.count.unwrap_or(0);
            assert!(
                count.abs_diff(sum.into()) < place || shown == Some(count),
                "seed {seed}: {count} of {sum}"
            );
        }
        assert!(
            hall.nodes
                .iter()
                .flatten()
                .all(|node| node.viewer.count == hall.nodes[0].as_ref().unwrap().viewer.count)
        );
    }
}
