//! Tests of stands: three nodes with real shards, in virtual time.
//!
//! Why here: what a viewer sees over an owner change is decided by all parts of a stand together.

mod block;
mod counts;
mod hall;
mod life;
mod memory;
mod rooms;

use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use hall::{Hall, NODES, WAITING_MAX};

/// A hall whose three viewers are attached, and its owner.
fn opened() -> (Hall, usize) {
    let mut hall = Hall::new();
    hall.run_until(10_000, |hall| {
        hall.owner().is_some() && hall.nodes.iter().flatten().all(|node| node.viewer.alias.is_some())
    });
    let owner = hall.owner().unwrap();
    (hall, owner)
}

/// Every living viewer saw every one of these texts once, and all at the same offsets.
fn assert_all_saw(hall: &Hall, texts: &[u64]) {
    let mut offsets = Vec::new();
    for node in hall.nodes.iter().flatten() {
        let seen = &node.viewer.seen;
        for text in texts {
            let at: Vec<u64> =
                seen.iter().filter(|(_, of)| **of == text.to_string()).map(|(at, _)| *at).collect();
            assert_eq!(at.len(), 1, "{text} was seen at {at:?}");
            offsets.push((*text, at[0]));
        }
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), texts.len(), "seen at different offsets");
}

#[test]
fn a_message_published_at_any_node_reaches_all_and_is_replicated() {
    let (mut hall, _) = opened();
    let texts: Vec<u64> = (0..NODES).map(|node| hall.publish(node)).collect();
    hall.run(300);
    assert_all_saw(&hall, &texts);
    for (node, text) in texts.iter().enumerate() {
        let (_, durability) = hall.viewer(node).accepted[text];
        assert_eq!(durability, Durability::Replicated);
    }
}

#[test]
fn a_killed_owner_costs_a_pause_and_nothing_else() {
    let (mut hall, owner) = opened();
    let others: Vec<usize> = (0..NODES).filter(|node| *node != owner).collect();
    let mut texts = Vec::new();
    for round in 0..40 {
        for node in &others {
            texts.push(hall.publish(*node));
        }
        if round == 20 {
            hall.kill(owner);
        }
        hall.run(50);
    }
    hall.run(3_000);
    assert_all_saw(&hall, &texts);
    let of_others = |hall: &mut Hall| -> usize {
        others.iter().map(|node| hall.viewer(*node).accepted.len() + hall.viewer(*node).refused.len()).sum()
    };
    assert_eq!(of_others(&mut hall), texts.len(), "each publication is answered");
    for node in &others {
        assert!(hall.viewer(*node).refused.is_empty(), "{:?}", hall.viewer(*node).refused);
        assert!(hall.viewer(*node).pause_ms <= 700, "{} ms", hall.viewer(*node).pause_ms);
    }
    // Who comes back reads everything.
    hall.start(owner);
    hall.run(3_000);
    let again = hall.publish(owner);
    hall.run(500);
    assert!(hall.viewer(owner).accepted.contains_key(&again));
}

#[test]
fn a_hand_over_costs_almost_no_pause_and_keeps_the_epoch() {
    let (mut hall, owner) = opened();
    let to = (owner + 1) % NODES;
    let epoch = hall.viewer(owner).epoch;
    let mut texts = Vec::new();
    for round in 0..40 {
        texts.extend((0..NODES).map(|node| hall.publish(node)));
        if round == 20 {
            hall.hand_over(owner, to);
        }
        hall.run(50);
    }
    hall.run(1_000);
    assert_eq!(hall.owner(), Some(to));
    assert_all_saw(&hall, &texts);
    for node in 0..NODES {
        let viewer = hall.viewer(node);
        assert_eq!(viewer.accepted.len() + viewer.refused.len(), 40);
        assert!(viewer.refused.is_empty());
        assert_eq!(viewer.epoch, epoch);
        assert!(viewer.pause_ms <= 200, "{} ms", viewer.pause_ms);
    }
}

#[test]
fn lost_frames_in_either_direction_are_made_good() {
    let (mut hall, _) = opened();
    let mut texts = Vec::new();
    for round in 0..60 {
        texts.extend((0..NODES).map(|node| hall.publish(node)));
        if round % 10 == 5 {
            hall.lose_frames = 3;
        }
        hall.run(40);
    }
    hall.run(2_000);
    assert_all_saw(&hall, &texts);
    for node in 0..NODES {
        assert_eq!(hall.viewer(node).accepted.len(), 60, "{:?}", hall.viewer(node).refused);
    }
    assert!(hall.boards().iter().flatten().any(|status| status.restatements > 1));
}

#[test]
fn an_owner_cut_off_shows_nothing_and_acknowledges_nothing_until_it_is_heard() {
    let (mut hall, owner) = opened();
    let others: Vec<usize> = (0..NODES).filter(|node| *node != owner).collect();
    for other in &others {
        hall.cut.extend([(owner, *other), (*other, owner)]);
    }
    hall.run(1_200);
    assert_eq!(hall.owner(), None, "its lease is over");
    let of_minority = hall.publish(owner);
    hall.run(2_000);
    let now_owner = hall.owner().expect("the majority has an owner");
    assert_ne!(now_owner, owner);
    let of_majority = hall.publish(others[0]);
    hall.run(1_000);
    assert!(!hall.viewer(owner).accepted.contains_key(&of_minority));
    // Whoever asks the minority for its health learns that it delivers nothing.
    assert!(hall.unheard_ms(owner) >= 1_500, "{} ms", hall.unheard_ms(owner));
    assert!(hall.unheard_ms(now_owner) <= 300, "{} ms", hall.unheard_ms(now_owner));
    assert!(hall.viewer(others[0]).accepted.contains_key(&of_majority));
    assert!(!hall.viewer(owner).seen.values().any(|text| *text == of_majority.to_string()));
    hall.cut.clear();
    hall.run(3_000);
    assert_all_saw(&hall, &[of_minority, of_majority]);
    assert!(hall.viewer(owner).accepted.contains_key(&of_minority), "said again to the new owner");
}

#[test]
fn without_a_leader_of_the_log_viewers_see_and_publishers_wait() {
    let (mut hall, _) = opened();
    hall.no_leader_until = hall.ms + 5_000;
    let texts: Vec<u64> = (0..NODES).map(|node| hall.publish(node)).collect();
    hall.run(500);
    assert_all_saw(&hall, &texts);
    assert!((0..NODES).all(|node| hall.viewer(node).accepted.is_empty()));
    hall.run(5_500);
    assert!((0..NODES).all(|node| hall.viewer(node).accepted.len() == 1));
}

#[test]
fn a_log_that_does_not_keep_what_it_acknowledges_takes_nothing_until_it_is_mended() {
    let (mut hall, owner) = opened();
    hall.set_replicated(false);
    hall.run(10);
    let refused: Vec<u64> = (0..NODES).map(|node| hall.publish(node)).collect();
    hall.run(300);
    for (node, text) in refused.iter().enumerate() {
        assert_eq!(hall.viewer(node).refused.get(text), Some(&Refusal::StorageUnavailable));
        assert!(hall.viewer(node).accepted.is_empty() && hall.viewer(node).seen.is_empty());
    }
    hall.set_replicated(true);
    hall.run(10);
    let text = hall.publish(owner);
    hall.run(300);
    assert_all_saw(&hall, &[text]);
}

#[test]
fn a_disk_that_is_full_costs_its_node_the_shard_and_no_viewer_anything() {
    let (mut hall, owner) = opened();
    let mut texts = Vec::new();
    let round = |hall: &mut Hall, texts: &mut Vec<u64>, rounds: usize| {
        for _ in 0..rounds {
            texts.extend((0..NODES).map(|node| hall.publish(node)));
            hall.run(50);
        }
    };
    round(&mut hall, &mut texts, 20);
    hall.disks[owner].set_full(true);
    round(&mut hall, &mut texts, 100);
    let next = hall.owner().expect("another node owns the shard");
    assert_ne!(next, owner, "a node whose disk is full owns nothing");
    let given = hall.disks[owner].too_many();
    assert!((WAITING_MAX..2 * WAITING_MAX).contains(&given), "{given} records wait for the disk");
    round(&mut hall, &mut texts, 20);
    assert_eq!(hall.disks[owner].too_many(), given, "memory is bounded");
    // There is room again: it goes on by itself, and may own the shard.
    hall.disks[owner].set_full(false);
    round(&mut hall, &mut texts, 20);
    hall.run(1_000);
    hall.hand_over(next, owner);
    hall.run(500);
    assert_eq!(hall.owner(), Some(owner), "its copy has caught up");
    round(&mut hall, &mut texts, 10);
    hall.run(2_000);
    assert_all_saw(&hall, &texts);
    for node in 0..NODES {
        let viewer = hall.viewer(node);
        assert_eq!(viewer.accepted.len(), 170, "node {node}: {:?}", viewer.refused);
    }
}
