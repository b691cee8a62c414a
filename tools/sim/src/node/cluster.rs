//! A node's part in a cluster: its lives, what it hears and says, and pauses of its process.
//!
//! Not here: what the network's thread does (`crate::cluster`), turns and connections (`super`).

use grandstand_cluster::id::NodeId;
use grandstand_cluster::stand::FromWire;
use grandstand_engine::link::Now;
use grandstand_engine::runtime::Stand;

use super::Node;
use super::member::Member;
use crate::cluster::{Clock, CopyDisk, FromNet};
use crate::scene::{Event, Scene};

impl Node {
    /// A new life of this node in its cluster: its stands.
    pub(super) fn join_cluster(&mut self, scene: &mut Scene<'_>) -> Vec<Box<dyn Stand>> {
        let rate = scene.random.between(990_000, 1_010_000);
        self.clock = Clock::start(scene.now_us(), rate);
        let cluster = scene.cluster.as_mut().expect("a cluster's world");
        if self.copies.is_empty() {
            let copy = |_| CopyDisk::new(cluster.table.clone());
            self.copies = (0..scene.plan.shards).map(copy).collect();
        }
        for copy in &self.copies {
            let lost = if scene.random.chance(30) { scene.random.index(4) } else { 0 };
            copy.restart(lost);
            copy.set_sound(true);
        }
        cluster.set_life(self.number, Some(self.life));
        let now = self.now(scene);
        let (member, stands) = Member::new(scene.plan, (self.number, self.life), now, &self.copies);
        self.member = Some(member);
        let after_us = scene.random.below(100_000);
        scene.push(after_us, Event::Upkeep { node: self.number, life: self.life });
        stands
    }

    /// The process has ended; was it a node of a cluster?
    pub(super) fn leave_cluster(&mut self, scene: &mut Scene<'_>) -> bool {
        self.member = None;
        if let Some(cluster) = &mut scene.cluster {
            cluster.set_life(self.number, None);
        }
        scene.cluster.is_some()
    }

    /// Until when the process stands still, if it does.
    pub(super) fn paused_until_us(&self, scene: &Scene<'_>) -> Option<u64> {
        let until_us = scene.cluster.as_ref()?.paused_until_us(self.number);
        (until_us > scene.now_us()).then_some(until_us)
    }

    /// The network's thread looks around.
    pub(super) fn look_after_cluster(&mut self, scene: &mut Scene<'_>, event: Event) {
        if let Some(until_us) = self.paused_until_us(scene) {
            return scene.push(until_us - scene.now_us(), event);
        }
        let now = self.now(scene);
        if let Some(member) = &mut self.member {
            member.look(scene, now);
        }
    }

    /// A message of the cluster arrives.
    pub(super) fn hear(&mut self, scene: &mut Scene<'_>, message: FromNet) {
        if let Some(until_us) = self.paused_until_us(scene) {
            let event = Event::FromNet { node: self.number, life: self.life, message };
            return scene.push(until_us - scene.now_us(), event);
        }
        let now = self.now(scene);
        let Some(member) = &mut self.member else { return };
        for shard in member.arrive(scene, now, message) {
            self.wake_shard(scene, shard);
        }
    }

    /// What a shard's stand said and showed goes out.
    pub(super) fn speak(&mut self, scene: &mut Scene<'_>, shard: usize, now: Now) {
        let life = (self.number, self.life);
        let (Some(member), Some(process)) = (&mut self.member, &mut self.process) else { return };
        if let Some(cluster) = &mut scene.cluster {
            process.shown.drain(..).for_each(|output| cluster.handle_shown(life, &output));
        }
        while let Some(message) = member.next_said(shard) {
            if !process.fuse.burn() {
                return;
            }
            member.carry(scene, now, shard, message);
        }
        let now_us = scene.now_us();
        if let (Some(cluster), Some(status)) = (&mut scene.cluster, member.status(shard)) {
            cluster.handle_status(now_us, life, &status, &mut scene.checker);
        }
    }

    /// An operator moves a shard to another node.
    pub(crate) fn move_shard(&mut self, scene: &mut Scene<'_>, shard: usize, to: usize) {
        let now = self.now(scene);
        let Some(member) = &mut self.member else { return };
        member.deliver(now, shard, FromWire::HandOver { to: NodeId(to as u8), order: 0 });
        self.wake_shard(scene, shard);
    }

    /// Where its stands are, for people.
    pub(crate) fn describe(&self) -> String {
        self.member.as_ref().map_or_else(String::new, Member::describe)
    }

    /// How the node's copies differ from the logs; at rest they do not.
    pub(crate) fn differences(&self, scene: &Scene<'_>) -> Vec<String> {
        let Some(cluster) = &scene.cluster else { return Vec::new() };
        let copies = self.copies.iter().enumerate();
        copies.filter_map(|(shard, copy)| cluster.difference(self.number, shard, copy)).collect()
    }
}
