//! Tests of placement: single decisions by example, and several nodes that each decide, in virtual time.
//!
//! Why several: what one node decides is right only if the others, who heard something older, decide
//! nothing that contradicts it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::{Incarnation, Position, Term};
use crate::membership::{Config, Facts, Versions};

const NODES: usize = 5;

fn member(me: u8, life: u64, now: OwnTime) -> Membership {
    let config = Config {
        me: NodeId(me),
        incarnation: Incarnation(life),
        nodes: (0..NODES as u8).map(NodeId).collect(),
        facts: Facts { seed: 1, shards: 1, ticket_key_print: 2 },
        versions: Versions { min: 1, max: 1 },
    };
    Membership::new(now, config).unwrap()
}

/// Reports of a node that owns these shards.
fn reports(shards: u16, owned: &[u16]) -> Vec<ShardReport> {
    let of = |shard| ShardReport {
        shard: ShardId(shard),
        term: Term(1),
        owns: owned.contains(&shard),
        claims: false,
        position: Position(1_000),
        can_own: true,
    };
    (0..shards).map(of).collect()
}

/// What node 0 hears, and its own reports.
fn heard(now: OwnTime, all: &[Vec<ShardReport>]) -> (Membership, Vec<ShardReport>) {
    let mut membership = member(0, 1, now);
    for (node, reports) in all.iter().enumerate().skip(1) {
        let heartbeat = member(node as u8, 1, now).heartbeat(now, reports.clone());
        membership.handle_heartbeat(now, &heartbeat).unwrap();
    }
    (membership, all[0].clone())
}

/// Asks node 0 once it has seen nothing change for long enough.
fn after_quiet(all: &[Vec<ShardReport>]) -> Option<(ShardId, NodeId)> {
    let (membership, mine) = heard(OwnTime(0), all);
    let mut placement = Placement::new(OwnTime(0));
    assert_eq!(placement.next_move(OwnTime(0), &membership, &mine), None);
    let now = OwnTime(STABLE_MS);
    let (membership, _) = heard(now, all);
    placement.next_move(now, &membership, &mine)
}

#[test]
fn a_shard_goes_from_a_node_that_has_too_many_to_one_that_has_too_few() {
    let (shard, to) =
        after_quiet(&[reports(6, &[0, 1, 2]), reports(6, &[3, 4, 5]), reports(6, &[])]).unwrap();
    assert!(shard.0 < 3 && to == NodeId(2), "{shard:?} to {to}");
    assert_eq!(after_quiet(&[reports(6, &[0, 1]), reports(6, &[2, 3]), reports(6, &[4, 5])]), None);
    // One more than others is equal enough, whoever has it.
    assert_eq!(after_quiet(&[reports(7, &[0, 1]), reports(7, &[2, 3]), reports(7, &[4, 5, 6])]), None);
    assert_eq!(after_quiet(&[reports(7, &[0, 1, 6]), reports(7, &[2, 3]), reports(7, &[4, 5])]), None);
}

#[test]
fn nothing_moves_while_a_shard_has_no_owner_or_two() {
    assert_eq!(after_quiet(&[reports(6, &[0, 1, 2, 3, 4]), reports(6, &[]), reports(6, &[])]), None);
    assert_eq!(after_quiet(&[reports(6, &[0, 1, 2, 3, 4, 5]), reports(6, &[5]), reports(6, &[])]), None);
}

#[test]
fn a_node_that_is_behind_or_unable_gets_no_shard() {
    let owner = reports(4, &[0, 1, 2, 3]);
    let mut behind = reports(4, &[]);
    behind.iter_mut().for_each(|report| report.position = Position(1_000 - BEHIND_MAX - 1));
    assert_eq!(after_quiet(&[owner.clone(), behind.clone()]), None);
    behind[1].position = Position(1_000 - BEHIND_MAX);
    assert_eq!(after_quiet(&[owner.clone(), behind.clone()]), Some((ShardId(1), NodeId(1))));
    behind[1].can_own = false;
    assert_eq!(after_quiet(&[owner.clone(), behind]), None);
    let mut unable = reports(4, &[]);
    unable.iter_mut().for_each(|report| report.can_own = false);
    assert_eq!(after_quiet(&[owner, unable]), None);
}

#[test]
fn an_owner_that_may_not_own_gives_all_away() {
    let mut mine = reports(4, &[0, 1]);
    mine.iter_mut().for_each(|report| report.can_own = false);
    let all = [mine, reports(4, &[2, 3]), reports(4, &[])];
    assert_eq!(after_quiet(&all), Some((ShardId(0), NodeId(2))));
}

#[test]
fn a_wish_is_said_once_a_second() {
    let all = [reports(2, &[0, 1]), reports(2, &[])];
    let (_, mine) = heard(OwnTime(0), &all);
    let mut placement = Placement::new(OwnTime(0));
    let mut at = Vec::new();
    for now in (0..STABLE_MS + 2_100).step_by(100).map(OwnTime) {
        let (membership, _) = heard(now, &all);
        if placement.next_move(now, &membership, &mine).is_some() {
            at.push(now.0);
        }
    }
    assert_eq!(at, [STABLE_MS, STABLE_MS + 1_000, STABLE_MS + 2_000]);
}

#[test]
fn a_node_that_stops_spreads_its_shards() {
    let all = [reports(6, &[0, 1, 2, 3]), reports(6, &[4]), reports(6, &[5])];
    let (membership, mine) = heard(OwnTime(0), &all);
    let to: Vec<NodeId> =
        (0..4).map(|shard| drain_to(OwnTime(0), &membership, &mine, ShardId(shard)).unwrap()).collect();
    let of = |node| to.iter().filter(|to| **to == NodeId(node)).count();
    assert_eq!((of(0), of(1), of(2)), (0, 2, 2), "{to:?}");
    // Alone it keeps them.
    let (membership, mine) = heard(OwnTime(0), &all[..1]);
    assert_eq!(drain_to(OwnTime(0), &membership, &mine, ShardId(0)), None);
    // One that is behind is better than none.
    let mut behind = reports(6, &[]);
    behind.iter_mut().for_each(|report| report.position = Position(1));
    let (membership, mine) = heard(OwnTime(0), &[all[0].clone(), behind.clone()]);
    assert_eq!(drain_to(OwnTime(0), &membership, &mine, ShardId(0)), Some(NodeId(1)));
    let (membership, mine) = heard(OwnTime(0), &[all[0].clone(), behind, reports(6, &[4, 5])]);
    assert_eq!(drain_to(OwnTime(0), &membership, &mine, ShardId(0)), Some(NodeId(2)));
}

#[test]
fn shards_of_a_dead_node_fall_to_different_nodes() {
    let all = [reports(6, &[0, 1]), reports(6, &[2, 3])];
    let (membership, mine) = heard(OwnTime(0), &all);
    let first = |shard| ranks(OwnTime(0), &membership, ShardId(shard), &mine)[0];
    assert_ne!(first(4), first(5));
    let mut unable = reports(6, &[2, 3]);
    unable[4].can_own = false;
    let (membership, mine) = heard(OwnTime(0), &[all[0].clone(), unable]);
    assert_eq!(ranks(OwnTime(0), &membership, ShardId(4), &mine), [NodeId(0)]);
}

/// Several nodes, their heartbeats with delays, and hand-overs that take a while.
struct World {
    now: u64,
    shards: u16,
    nodes: BTreeMap<u8, (Membership, Placement)>,
    owners: BTreeMap<u16, u8>,
    /// Shard: from, to, done at.
    moving: BTreeMap<u16, (u8, u8, u64)>,
    unable: Vec<u8>,
    messages: BTreeMap<(u64, u64), (u8, crate::membership::Heartbeat)>,
    order: u64,
    /// When, from, to.
    moves: Vec<(u64, u8, u8)>,
    changed: u64,
    random: u64,
    life: u64,
}

impl World {
    fn new(shards: u16, nodes: &[u8], random: u64) -> Self {
        let mut world = World {
            now: 1_000,
            shards,
            nodes: BTreeMap::new(),
            owners: BTreeMap::new(),
            moving: BTreeMap::new(),
            unable: Vec::new(),
            messages: BTreeMap::new(),
            order: 0,
            moves: Vec::new(),
            changed: 0,
            random,
            life: 0,
        };
        nodes.iter().for_each(|node| world.join(*node));
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn join(&mut self, node: u8) {
        self.life += 1;
        let now = OwnTime(self.now);
        self.nodes.insert(node, (member(node, self.life, now), Placement::new(now)));
        self.changed = self.now;
    }

    fn leave(&mut self, node: u8) {
        self.nodes.remove(&node);
        self.moving.retain(|_, (from, ..)| *from != node);
        self.owners.retain(|_, owner| *owner != node);
        self.changed = self.now;
    }

    fn reports(&self, node: u8) -> Vec<ShardReport> {
        let owned: Vec<u16> =
            self.owners.iter().filter(|(_, owner)| **owner == node).map(|(shard, _)| *shard).collect();
        let mut reports = reports(self.shards, &owned);
        reports.iter_mut().for_each(|report| report.can_own = !self.unable.contains(&node));
        reports
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 50;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = OwnTime(self.now);
        let live: Vec<u8> = self.nodes.keys().copied().collect();
        let beat = self.now / 50;
        for from in live.iter().copied().filter(|node| (beat + u64::from(*node)).is_multiple_of(4)) {
            let heartbeat = self.nodes[&from].0.heartbeat(now, self.reports(from));
            for to in live.iter().copied().filter(|to| *to != from) {
                let arrives = self.now + self.random(150);
                self.order += 1;
                self.messages.insert((arrives, self.order), (to, heartbeat.clone()));
            }
        }
        while let Some(first) = self.messages.first_entry().filter(|first| first.key().0 <= self.now) {
            let (to, heartbeat) = first.remove();
            if let Some((membership, _)) = self.nodes.get_mut(&to) {
                let _ = membership.handle_heartbeat(now, &heartbeat);
            }
        }
        let done: Vec<u16> =
            self.moving.iter().filter(|(_, (.., at))| *at <= self.now).map(|(shard, _)| *shard).collect();
        for shard in done {
            let (_, to, _) = self.moving.remove(&shard).unwrap();
            if self.nodes.contains_key(&to) {
                self.owners.insert(shard, to);
            }
        }
        // A claim: whoever takes itself for the first in rank.
        for shard in (0..self.shards).filter(|shard| !self.owners.contains_key(shard)).collect::<Vec<_>>() {
            let first = live.iter().copied().find(|node| {
                let ranks = ranks(now, &self.nodes[node].0, ShardId(shard), &self.reports(*node));
                self.now >= self.changed + 1_500 && ranks.first() == Some(&NodeId(*node))
            });
            self.owners.extend(first.map(|node| (shard, node)));
        }
        for node in live {
            let mine = self.reports(node);
            let (membership, placement) = self.nodes.get_mut(&node).unwrap();
            let Some((shard, to)) = placement.next_move(now, membership, &mine) else { continue };
            assert_eq!(self.owners.get(&shard.0), Some(&node), "it hands over what it does not own");
            assert!(self.now >= self.changed + STABLE_MS - 1_000, "it moves before the nodes are stable");
            self.moves.push((self.now, node, to.0));
            let done = self.now + 5 + self.random(400);
            self.moving.entry(shard.0).or_insert((node, to.0, done));
        }
    }

    fn counts(&self) -> BTreeMap<u8, usize> {
        let able = self.nodes.keys().filter(|node| !self.unable.contains(node));
        able.map(|node| (*node, self.owners.values().filter(|owner| *owner == node).count())).collect()
    }

    /// How many moves it takes at least until numbers are equal.
    fn moves_needed(&self) -> usize {
        let counts = self.counts();
        let mut sorted: Vec<usize> = counts.values().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let (each, rest) = (usize::from(self.shards) / sorted.len(), usize::from(self.shards) % sorted.len());
        let quota = |ix: usize| each + usize::from(ix < rest);
        sorted.iter().enumerate().map(|(ix, count)| quota(ix).saturating_sub(*count)).sum()
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Leave(usize),
    Join(usize),
    Unable(usize),
    Able,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..NODES).prop_map(Change::Leave),
        3 => (0..NODES).prop_map(Change::Join),
        1 => (0..NODES).prop_map(Change::Unable),
        1 => Just(Change::Able),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nodes come, go and become unable, and hear each other late. After each change numbers are equal within
    /// one, by the fewest moves, and then nothing moves any more.
    #[test]
    fn nodes_that_decide_alone_come_to_equal_numbers_and_rest(
        shards in 1..14_u16, changes in proptest::collection::vec(any_change(), 1..5), random in any::<u64>(),
    ) {
        let mut world = World::new(shards, &[0, 1, 2], random);
        for change in changes {
            let live: Vec<u8> = world.nodes.keys().copied().collect();
            match change {
                Change::Leave(ix) if live.len() > 2 => world.leave(live[ix % live.len()]),
                Change::Join(ix) if !live.contains(&(ix as u8)) => world.join(ix as u8),
                Change::Unable(ix) if live.len() > 2 => world.unable = vec![live[ix % live.len()]],
                Change::Able => world.unable.clear(),
                _ => {}
            }
            world.changed = world.now;
            // Claims of what died are over.
            world.run(8_000);
            let (before, needed) = (world.moves.len(), world.moves_needed());
            prop_assert!(world.owners.len() == usize::from(shards), "without an owner: {:?}", world.owners);
            world.run(STABLE_MS + 2_000 + 2_000 * u64::from(shards));
            let counts = world.counts();
            let most = counts.values().max().unwrap();
            prop_assert!(most - counts.values().min().unwrap() <= 1, "{counts:?}");
            prop_assert!(world.owners.values().all(|owner| counts.contains_key(owner)), "{:?}", world.owners);
            prop_assert_eq!(world.moves.len() - before, needed, "{:?}", &world.moves[before..]);
            world.run(30_000);
            prop_assert_eq!(world.moves.len() - before, needed, "they move on: {:?}", &world.moves[before..]);
            for node in 0..NODES as u8 {
                let own: Vec<u64> = world.moves.iter().filter(|(_, from, _)| *from == node).map(|m| m.0).collect();
                prop_assert!(own.windows(2).all(|pair| pair[1] - pair[0] >= BETWEEN_MOVES_MS));
            }
            let all: Vec<u64> = world.moves.iter().map(|m| m.0).collect();
            prop_assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= BETWEEN_MOVES_MS), "of all: {all:?}");
        }
    }
}
