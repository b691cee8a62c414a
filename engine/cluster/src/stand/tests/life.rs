//! Tests of a cluster's life: nodes that come back, drain, and are replaced; orders; versions.
//!
//! Why in virtual time: placement waits for 15 s, and what moves must stop moving.

use bytes::Bytes;

use super::super::{FromWire, MoveCause};
use super::block::{Block, NODES, SHARDS};
use crate::membership::Versions;
use crate::record::{self, Body, Place};

/// How long placement waits, and moves: 15 s, and a second for each shard.
const SETTLED_MS: u64 = 15_000 + 2_000 * SHARDS as u64;

fn whole() -> Block {
    let mut block = Block::new();
    block.run_until(10_000, Block::is_whole);
    block
}

#[test]
fn a_node_that_comes_back_gets_its_share_and_then_nothing_moves() {
    let mut block = whole();
    block.run(SETTLED_MS);
    assert_eq!(block.counts(), [2, 2, 2]);
    for victim in 0..NODES {
        block.kill(victim);
        let before = block.moved(MoveCause::Rebalanced);
        block.run_until(4_000, Block::is_whole);
        assert_eq!(block.counts()[victim], 0);
        block.start(victim);
        let (back, changes) = (block.ms, block.changes.len());
        block.run(SETTLED_MS);
        assert_eq!(block.counts(), [2, 2, 2], "after {victim} came back");
        let changes: Vec<u64> = block.changes[changes..].iter().map(|(at, ..)| *at).collect();
        assert_eq!(changes.len(), 2, "one move for each of its shards");
        assert!(changes[0] >= back + 15_000, "it moves while nodes come and go");
        assert!(changes[1] - changes[0] >= 1_000, "two shards at once");
        assert_eq!(block.moved(MoveCause::Rebalanced) - before, 2);
        block.run(30_000);
        assert_eq!(block.moved(MoveCause::Rebalanced) - before, 2, "it moves on");
    }
}

#[test]
fn nothing_is_rebalanced_where_that_is_off_or_while_a_node_drains() {
    let mut block = Block::with(|block| block.rebalances = false);
    block.run_until(10_000, Block::is_whole);
    block.kill(1);
    block.run_until(4_000, Block::is_whole);
    block.start(1);
    block.run(SETTLED_MS);
    assert_eq!((block.counts()[1], block.moved(MoveCause::Rebalanced)), (0, 0));

    let mut block = whole();
    block.run(SETTLED_MS);
    block.tell(2, &FromWire::Drain(true));
    block.kill(0);
    let before = block.moved(MoveCause::Rebalanced);
    block.run_until(4_000, Block::is_whole);
    block.start(0);
    block.run(SETTLED_MS);
    assert_eq!(block.counts(), [0, 6, 0], "the node that drains gets none");
    assert_eq!(block.moved(MoveCause::Rebalanced), before);
}

#[test]
fn a_node_that_drains_gives_all_away_and_gets_its_share_back_after_it() {
    let mut block = whole();
    block.run(SETTLED_MS);
    block.tell(1, &FromWire::Drain(true));
    let took = block.run_until(2_000, |block| block.counts() == [3, 0, 3]);
    assert!(took < 500, "{took} ms");
    block.run(500);
    let order = block.order(0, (0..SHARDS).find(|shard| block.owner(*shard) == Some(0)).unwrap(), 1);
    block.run(100);
    let refused = block.outcomes[&order].refused.clone().unwrap();
    assert_eq!(refused, "node 1 drains: end that by `grandstand cluster drain 1 --undo`");
    block.run(SETTLED_MS);
    assert_eq!(block.counts(), [3, 0, 3]);
    block.tell(1, &FromWire::Drain(false));
    block.run(SETTLED_MS);
    assert_eq!(block.counts(), [2, 2, 2]);
}

/// Each order is done, or refused with a reason that says what to do; nothing is lost by one that cannot be
/// done.
#[test]
fn an_order_is_done_or_refused_with_the_reason() {
    let mut block = whole();
    let owner = block.owner(3).unwrap();
    let (to, third) = ((owner + 1) % NODES, (owner + 2) % NODES);
    let refusal = |block: &mut Block, node: usize, to: usize| {
        let order = block.order(node, 3, to);
        block.run(300);
        block.outcomes[&order].refused.clone()
    };
    assert_eq!(refusal(&mut block, owner, owner).unwrap(), format!("node {owner} owns the shard already"));
    let of_other = refusal(&mut block, to, third).unwrap();
    assert_eq!(of_other, format!("node {owner} owns the shard now: ask again"));
    // The next owner acts as soon as it reads its term, and does not wait for a heartbeat.
    let order = block.order(owner, 3, to);
    let took = block.run_until(300, |block| block.owner(3) == Some(to));
    assert!(took <= 20, "{took} ms");
    assert_eq!(block.outcomes[&order].refused, None);
    block.kill(third);
    block.run(800);
    let term = block.board(to)[3].term;
    let dead = refusal(&mut block, to, third).unwrap();
    assert_eq!(dead, format!("node {third} is not heard by the owner: start it first"));
    assert_eq!((block.owner(3), block.board(to)[3].term), (Some(to), term), "it goes on as it was");
}

#[test]
fn a_node_on_an_empty_machine_reads_the_log_and_gets_its_share() {
    let mut block = whole();
    block.run(SETTLED_MS);
    block.kill(0);
    block.empty(0);
    block.run_until(4_000, Block::is_whole);
    block.start(0);
    block.run(2_000);
    for shard in block.board(0) {
        assert_eq!(shard.position.0, block.records(shard.shard.0).len() as u64);
        assert!(shard.can_own);
    }
    block.run(SETTLED_MS);
    assert_eq!(block.counts(), [2, 2, 2]);
}

#[test]
fn an_owner_that_alone_does_not_reach_the_log_leaves_its_shards_to_others() {
    let mut block = whole();
    block.run(SETTLED_MS);
    block.log_out_of_reach = Some(2);
    block.tell(2, &FromWire::Withdraw);
    let took = block.run_until(4_000, |block| block.is_whole() && block.counts()[2] == 0);
    assert!(took < 1_500, "{took} ms");
    let withdrawn: u64 = block.board(2).iter().map(|shard| shard.withdrawn).sum();
    assert_eq!(withdrawn, 2);
}

fn written_terms(block: &Block) -> Vec<u16> {
    let versions =
        (0..SHARDS).flat_map(|shard| block.records(shard)).filter_map(|bytes| {
            match record::decode(bytes).ok()?.body {
                Body::Term(body) => Some(body.version),
                _ => None,
            }
        });
    versions.collect()
}

/// Frames between two nodes are of the highest version that both know; the log is of the version that the
/// cluster agreed on, so that every node can go back until that is raised.
#[test]
fn nodes_of_two_releases_write_what_each_reads_until_the_upgrade_is_finished() {
    let (old, new) = (Versions { min: 1, max: 1 }, Versions { min: 1, max: 2 });
    let mut block = Block::with(|block| block.versions = [new, new, old]);
    block.run_until(10_000, Block::is_whole);
    block.run(SETTLED_MS);
    for (nodes, version) in &block.written {
        let expected = if nodes.0 == 2 || nodes.1 == 2 { 1 } else { 2 };
        assert_eq!(*version, expected, "{nodes:?}");
    }
    // The last node is upgraded, another goes back and comes again: whoever writes, all read it.
    for (node, versions) in [(2, new), (0, old), (0, new)] {
        block.kill(node);
        block.run_until(4_000, Block::is_whole);
        block.versions[node] = versions;
        block.start(node);
        block.run(SETTLED_MS);
        assert_eq!(block.counts(), [2, 2, 2], "{node} as {versions:?}");
    }
    assert!(written_terms(&block).iter().all(|version| *version == 1), "written before it was agreed");
    // Agreed at one node, and from there everywhere.
    block.tell(1, &FromWire::Agreed(2));
    block.nodes[1].as_mut().unwrap().agree(2);
    block.run(1_000);
    let before = written_terms(&block).len();
    for shard in 0..SHARDS {
        let owner = block.owner(shard).unwrap();
        block.order(owner, shard, (owner + 1) % NODES);
    }
    block.run(1_000);
    let after = written_terms(&block);
    assert_eq!(after.len(), before + usize::from(SHARDS));
    assert_eq!(after.iter().filter(|version| **version == 2).count(), usize::from(SHARDS));
    // A node of the last release is not heard any more.
    block.kill(2);
    block.run_until(4_000, Block::is_whole);
    block.versions[2] = old;
    block.start(2);
    block.run(SETTLED_MS);
    assert_eq!(block.counts()[2], 0);
}

#[test]
fn a_record_of_a_later_release_keeps_a_node_from_owning_and_is_said() {
    let mut block = whole();
    let shard = 4;
    let last = record::decode(block.records(shard).last().unwrap()).unwrap();
    let head = last.place.position;
    let place = Place { position: head.next(), base: last.sum, ..last.place };
    let later = Body::Unknown { kind: 77, bytes: Bytes::from_static(b"of a later release") };
    block.append_foreign(shard, record::encode(place, &later).unwrap().bytes);
    // Whoever owns the shard finds it in the place of its next record.
    let owner = block.owner(shard).unwrap();
    block.order(owner, shard, (owner + 1) % NODES);
    block.run(3_000);
    for node in 0..NODES {
        let status = block.board(node)[usize::from(shard)];
        assert_eq!(status.not_understood, Some(head.next()));
        assert!(!status.can_own);
    }
}
