//! A node: one process after another on one machine, with a disk and a clock of its own.
//!
//! Threads are turns, some time after their doorbell rang. A process dies in the middle of a turn when its
//! fuse has burnt down. The next one starts after a while, with a new seed, and finds what the disk kept.
//! Not here: what a turn does (`process`), what the disk keeps (`disk`), when a node dies (`story`), its part
//! in a cluster (`cluster`).

mod cluster;
mod member;

use std::sync::Arc;

use grandstand_client::core::Ending;
use grandstand_cluster::stand::FromWire;
use grandstand_edge_core::audience::Drain;
use grandstand_engine::link::{
    AdminRequest, ConnectionToken, Directory, Input, Now, ReplyTo, ShardId, WorkerId,
};
use grandstand_engine::runtime::Stand;
use grandstand_engine::{RoomSettings, Shard};
use grandstand_protocol::close::CloseCode;

use member::Member;

use crate::cluster::{Clock, CopyDisk};
use crate::disk::Disk;
use crate::network::To;
use crate::plan::Plan;
use crate::process::{FromNetwork, Fuse, OTHER_REQUEST, Process, REMOVAL, ToNetwork, seed_of};
use crate::scene::{Event, Scene, room_name};
use crate::story::DiskMood;

/// The wall clock at the beginning: 2023-11-14. The value has no meaning.
const BEGIN_MS: i64 = 1_700_000_000_000;

/// A process that was to die and had nothing to do dies after this time.
const FUSE_US_MAX: u64 = 1_000_000;

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Killed,
    PowerCut,
}

/// What a viewer meets that dials a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The process with this number accepts it.
    Open(u64),
    /// It waits in the queue of the listening socket, which the next process takes over.
    Waiting,
    /// It is refused.
    Closed,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Node {
    number: usize,
    life: u64,
    process: Option<Process>,
    /// For when the next turn of each thread is planned.
    shard_planned_us: Vec<u64>,
    worker_planned_us: Vec<u64>,
    /// How the process dies when its fuse has burnt down, and for how long the node is down then.
    death: Option<(Death, u64)>,
    /// The listening sockets stay while one process follows another.
    is_handing_over: bool,
    clock_ms: i64,
    clock: Clock,
    disk: Disk,
    disk_planned_us: u64,
    /// Its part in the cluster, if there is one.
    member: Option<Member>,
    /// Its copies of the cluster's logs.
    copies: Vec<CopyDisk>,
    /// Requests of operators.
    requests: u64,
}

impl Node {
    /// A node that has not started yet.
    pub(crate) fn new(number: usize, plan: &Plan) -> Node {
        Node {
            number,
            life: 0,
            process: None,
            shard_planned_us: Vec::new(),
            worker_planned_us: Vec::new(),
            death: None,
            is_handing_over: false,
            clock_ms: 0,
            clock: Clock::WORLD,
            disk: Disk::new(plan.log_queue_max, plan.log_rows_max),
            disk_planned_us: u64::MAX,
            member: None,
            copies: Vec::new(),
            requests: 0,
        }
    }

    /// A new process starts.
    pub(crate) fn start(&mut self, scene: &mut Scene<'_>) {
        let plan = scene.plan;
        scene.lives += 1;
        self.life = scene.lives;
        self.disk.open(plan.shards.into());
        self.disk_planned_us = u64::MAX;
        scene.checker.handle_life(self.number, self.life);
        scene.checker.note(&[20, self.life, scene.now_us()]);
        let fuse = Fuse::new();
        let shards = if plan.is_cluster {
            self.join_cluster(scene)
        } else {
            let (seed, now) = (seed_of(plan, self.life), self.now(scene));
            let shard = |id| Box::new(self.shard(plan, ShardId(id), seed, now, &fuse)) as Box<dyn Stand>;
            (0..plan.shards).map(shard).collect()
        };
        self.process = Some(Process::new(plan, (self.number, self.life), shards, fuse));
        self.shard_planned_us = vec![u64::MAX; plan.shards.into()];
        self.worker_planned_us = vec![u64::MAX; plan.workers.into()];
        (self.death, self.is_handing_over) = (None, false);
        (0..plan.workers.into()).for_each(|worker| self.wake_worker(scene, worker));
        if plan.is_cluster {
            (0..plan.shards.into()).for_each(|shard| self.wake_shard(scene, shard));
        }
        for room in 0..plan.rooms_kept {
            self.administer(scene, room, |room| AdminRequest::Create {
                room,
                settings: RoomSettings::default(),
            });
        }
    }

    fn shard(&self, plan: &Plan, id: ShardId, seed: u64, now: Now, fuse: &Arc<Fuse>) -> Shard {
        let shard = Shard::new(plan.shard.clone(), id, plan.shards, seed);
        if !plan.has_log {
            return shard;
        }
        let directory = Directory::new(plan.shards, seed);
        let mut shard = shard.with_durable_log(Box::new(self.disk.log(id.0.into(), fuse.clone())));
        shard.restore(now, self.disk.stored(|room| directory.shard_of(room) == id));
        shard
    }

    fn now(&self, scene: &Scene<'_>) -> Now {
        let us = scene.now_us();
        Now { us: self.clock.own_us(us), unix_ms: (BEGIN_MS + (us / 1000) as i64 + self.clock_ms) as u64 }
    }

    /// An event of this node.
    pub(crate) fn handle(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Upkeep { life, .. } if life == self.life => self.look_after_cluster(scene, event),
            Event::FromNet { life, message, .. } if life == self.life => self.hear(scene, message),
            Event::Shard { life, shard, .. } if life == self.life => self.shard_turn(scene, shard),
            Event::Worker { life, worker, .. } if life == self.life => self.worker_turn(scene, worker),
            Event::FuseOut { life, .. } if life == self.life && self.process.is_some() => self.die(scene),
            Event::DrainEnds { life, down_us, .. } if life == self.life => self.end_drain(scene, down_us),
            Event::DrainStops { life, down_us, is_late, .. } if life == self.life => {
                self.stop_drained(scene, down_us, is_late);
            }
            Event::Disk { life, .. } if life == self.life && self.process.is_some() => self.disk_turn(scene),
            Event::Up { .. } => self.start(scene),
            // Of a process that is gone.
            _ => {}
        }
    }

    // Threads.

    /// The disk does what is due, and shards hear of it.
    fn disk_turn(&mut self, scene: &mut Scene<'_>) {
        let now_us = scene.now_us();
        if self.disk_planned_us <= now_us {
            self.disk_planned_us = u64::MAX;
        }
        let sync_us = 1 + scene.random.below(scene.plan.sync_us_max);
        let (due_us, has_news) = self.disk.handle_timeout(now_us, sync_us);
        has_news.into_iter().for_each(|shard| self.wake_shard(scene, shard));
        if let Some(due_us) = due_us.map(|us| us.max(now_us + 1)).filter(|&us| us < self.disk_planned_us) {
            self.disk_planned_us = due_us;
            scene.push(due_us - now_us, Event::Disk { node: self.number, life: self.life });
        }
    }

    /// A shard's doorbell rings.
    fn wake_shard(&mut self, scene: &mut Scene<'_>, shard: usize) {
        let at_us = scene.now_us() + scene.random.below(scene.plan.wake_us_max + 1);
        self.plan_shard(scene, shard, at_us);
    }

    fn plan_shard(&mut self, scene: &mut Scene<'_>, shard: usize, at_us: u64) {
        let Some(process) = &self.process else { return };
        let at_us = at_us.max(process.shard_held_us[shard]).max(scene.now_us());
        if at_us < self.shard_planned_us[shard] {
            self.shard_planned_us[shard] = at_us;
            let event = Event::Shard { node: self.number, life: self.life, shard };
            scene.push(at_us - scene.now_us(), event);
        }
    }

    fn wake_worker(&mut self, scene: &mut Scene<'_>, worker: usize) {
        let at_us = scene.now_us() + scene.random.below(scene.plan.wake_us_max + 1);
        self.plan_worker(scene, worker, at_us);
    }

    fn plan_worker(&mut self, scene: &mut Scene<'_>, worker: usize, at_us: u64) {
        let Some(process) = &self.process else { return };
        let at_us = at_us.max(process.worker_held_us[worker]).max(scene.now_us());
        if at_us < self.worker_planned_us[worker] {
            self.worker_planned_us[worker] = at_us;
            let event = Event::Worker { node: self.number, life: self.life, worker };
            scene.push(at_us - scene.now_us(), event);
        }
    }

    fn shard_turn(&mut self, scene: &mut Scene<'_>, shard: usize) {
        if self.shard_planned_us[shard] != scene.now_us() {
            return;
        }
        self.shard_planned_us[shard] = u64::MAX;
        if let Some(until_us) = self.paused_until_us(scene) {
            return self.plan_shard(scene, shard, until_us);
        }
        let now = self.now(scene);
        let Some(process) = &mut self.process else { return };
        let has_more = process.shard_turn(shard, now);
        self.speak(scene, shard, now);
        if self.process.as_ref().is_none_or(|process| process.fuse.is_burnt()) {
            return self.die(scene);
        }
        self.note_removed(scene);
        if scene.plan.has_log {
            self.disk_turn(scene);
        }
        let has_news =
            scene.plan.is_cluster && self.process.as_mut().is_some_and(|process| process.has_news(shard));
        if has_more || has_news {
            self.wake_shard(scene, shard);
        }
        let due_us = self.process.as_ref().and_then(|process| process.shard_due_us(shard, now.us));
        if let Some(due_us) = due_us {
            self.plan_shard(scene, shard, self.clock.world_us(due_us));
        }
        self.wake_workers_with_outputs(scene);
    }

    fn note_removed(&mut self, scene: &mut Scene<'_>) {
        let process = self.process.as_mut();
        let replied = process.map(|process| std::mem::take(&mut process.removed)).unwrap_or_default();
        for epoch in replied.into_iter().chain(self.disk.take_removed()) {
            scene.checker.handle_removed(epoch);
        }
    }

    fn wake_workers_with_outputs(&mut self, scene: &mut Scene<'_>) {
        for worker in 0..usize::from(scene.plan.workers) {
            if self.process.as_ref().is_some_and(|process| process.has_outputs(worker)) {
                self.wake_worker(scene, worker);
            }
        }
    }

    fn worker_turn(&mut self, scene: &mut Scene<'_>, worker: usize) {
        if self.worker_planned_us[worker] != scene.now_us() {
            return;
        }
        self.worker_planned_us[worker] = u64::MAX;
        if let Some(until_us) = self.paused_until_us(scene) {
            return self.plan_worker(scene, worker, until_us);
        }
        let now = self.now(scene);
        let Some(process) = &mut self.process else { return };
        let mut network = ToNetwork::default();
        let has_more = process.worker_turn(worker, now, &mut network);
        if let Some(rule) = process.broken_rule() {
            scene.checker.violate("carrier", rule.to_owned());
        }
        let (is_burnt, due_us) = (process.fuse.is_burnt(), process.worker_due_us(worker));
        send(scene, network);
        if is_burnt {
            return self.die(scene);
        }
        if has_more {
            self.plan_worker(scene, worker, scene.now_us() + 1);
        }
        // A worker that waits for a full shard would spin; here it looks twice a millisecond.
        self.plan_worker(scene, worker, self.clock.world_us(due_us).max(scene.now_us() + 500));
        for shard in 0..usize::from(scene.plan.shards) {
            if self.process.as_ref().is_some_and(|process| process.has_inputs(shard)) {
                self.wake_shard(scene, shard);
            }
        }
    }

    // Connections.

    /// What a viewer meets that dials this node now.
    pub(crate) fn listener(&self) -> Listener {
        let process = self.process.as_ref();
        if self.is_handing_over && process.is_none_or(|process| process.is_draining) {
            return Listener::Waiting;
        }
        match process {
            Some(process) if !process.fuse.is_burnt() => Listener::Open(process.life),
            _ => Listener::Closed,
        }
    }

    /// A connection reaches the process that it was dialed to. `false`: that one accepts it no longer.
    pub(crate) fn accept(&mut self, scene: &mut Scene<'_>, connection: usize) -> bool {
        let life = scene.network.get(connection).life;
        if self.process.as_ref().is_none_or(|process| process.life != life || process.is_stopped) {
            return false;
        }
        self.give(scene, connection, FromNetwork::Opened(connection));
        let window_bytes = scene.plan.window_bytes;
        self.give(scene, connection, FromNetwork::Room(connection, window_bytes));
        true
    }

    /// Something arrives on a connection.
    pub(crate) fn give(&mut self, scene: &mut Scene<'_>, connection: usize, event: FromNetwork) {
        let connection = scene.network.get(connection);
        if let Some(process) = self.process.as_mut().filter(|process| process.life == connection.life) {
            process.handle_network(connection.worker, event);
            self.wake_worker(scene, connection.worker);
        }
    }

    // Ends of a process.

    /// The process is gone, from one moment to the next.
    fn die(&mut self, scene: &mut Scene<'_>) {
        let (death, down_us) = self.death.take().unwrap_or((Death::Killed, 0));
        let now_us = scene.now_us();
        scene.checker.note(&[21, now_us, u64::from(death == Death::PowerCut)]);
        self.process = None;
        self.note_removed(scene);
        if self.leave_cluster(scene) {
            // Its copies lose their end at the next start.
        } else if death == Death::PowerCut {
            let is_through = scene.random.chance(50);
            let random = &mut scene.random;
            for (epoch, before, next_offset) in self.disk.cut_power(is_through, || random.bits().max(1)) {
                scene.checker.handle_fork(epoch, before, next_offset);
            }
        }
        for connection in scene.network.of_process(self.life) {
            let until_us = now_us + scene.network.draw_delay(&mut scene.random);
            scene.network.cut(connection, To::Viewer, until_us);
            // The kernel tells of a process that dies. Nobody tells of a machine that is gone, until it is
            // back and is asked.
            let hears_us = match death {
                Death::Killed => Some(until_us.max(scene.network.last_us(connection, To::Viewer))),
                Death::PowerCut if scene.random.chance(50) => Some(until_us + down_us + 20_000),
                Death::PowerCut => None,
            };
            if let Some(hears_us) = hears_us {
                let ending = Ending::Broken(std::io::ErrorKind::ConnectionReset);
                scene.push(hears_us - now_us, Event::ViewerHears { connection, ending });
            }
        }
        scene.push(down_us, Event::Up { node: self.number });
    }

    /// The process dies, after `fuse` more things that it does.
    pub(crate) fn end(&mut self, scene: &mut Scene<'_>, death: Death, fuse: u64, down_us: u64) {
        let Some(process) = self.process.as_ref().filter(|process| !process.fuse.is_lit()) else { return };
        self.death = Some((death, down_us));
        if fuse == 0 {
            return self.die(scene);
        }
        process.fuse.light(fuse);
        scene.push(FUSE_US_MAX, Event::FuseOut { node: self.number, life: self.life });
    }

    /// The process is asked to end: it sends its clients away.
    pub(crate) fn drain(&mut self, scene: &mut Scene<'_>, spread_us: u64, down_us: u64) {
        let now = self.now(scene);
        let process = self.process.as_mut().filter(|process| !process.is_draining && !process.fuse.is_lit());
        let Some(process) = process else { return };
        let drain = Drain {
            where_to: String::new(),
            heirs: Vec::new(),
            spread_ms: (spread_us / 1000) as u32,
            grace_ms: 200,
            is_handed_over: false,
        };
        process.drain(now, &drain);
        // Viewers of a cluster go to other nodes; a single node's process leaves its sockets to the next.
        self.is_handing_over = !scene.plan.is_cluster;
        if let Some(member) = &mut self.member {
            member.order(now, &FromWire::Drain(true));
            (0..usize::from(scene.plan.shards)).for_each(|shard| self.wake_shard(scene, shard));
        }
        (0..usize::from(scene.plan.workers)).for_each(|worker| self.wake_worker(scene, worker));
        let event = Event::DrainEnds { node: self.number, life: self.life, down_us };
        scene.push(spread_us + 200_000, event);
    }

    /// Shards seal what waits, and stop.
    fn end_drain(&mut self, scene: &mut Scene<'_>, down_us: u64) {
        let now = self.now(scene);
        let Some(process) = &mut self.process else { return };
        for shard in 0..usize::from(scene.plan.shards) {
            process.shut_down(shard, now);
        }
        process.release();
        process.heal();
        (0..usize::from(scene.plan.shards)).for_each(|shard| self.speak(scene, shard, now));
        self.wake_workers_with_outputs(scene);
        (0..usize::from(scene.plan.shards)).for_each(|shard| self.wake_shard(scene, shard));
        self.plan_stop(scene, 100_000, down_us, false);
    }

    fn plan_stop(&self, scene: &mut Scene<'_>, after_us: u64, down_us: u64, is_late: bool) {
        let event = Event::DrainStops { node: self.number, life: self.life, down_us, is_late };
        scene.push(after_us, event);
    }

    /// What the disk has not synced in two seconds is refused, and the process ends.
    fn stop_drained(&mut self, scene: &mut Scene<'_>, down_us: u64, is_late: bool) {
        if let Some(process) = self.process.as_mut().filter(|process| !is_late && !process.is_flushed()) {
            let waits_us = if process.flush_tries < 20 { 100_000 } else { 50_000 };
            process.flush_tries += 1;
            let is_late = process.flush_tries > 20;
            if is_late {
                process.give_up_answers();
                self.wake_workers_with_outputs(scene);
            }
            return self.plan_stop(scene, waits_us, down_us, is_late);
        }
        let Some(process) = self.process.take() else { return };
        self.leave_cluster(scene);
        for connection in process.connections() {
            let ending = Ending::Code(CloseCode::GoingAway.wire());
            scene.send(connection, To::Viewer, Event::ViewerHears { connection, ending });
        }
        scene.checker.note(&[22, scene.now_us()]);
        scene.push(down_us, Event::Up { node: self.number });
    }

    // Steps of a story.

    /// An operator asks for something.
    pub(crate) fn administer(
        &mut self,
        scene: &mut Scene<'_>,
        room: usize,
        request: impl FnOnce(String) -> AdminRequest,
    ) {
        let name = room_name(scene.plan, self.number, room % scene.plan.rooms);
        let Some(process) = self.process.as_mut().filter(|process| !process.is_draining) else { return };
        let request = request(name.clone());
        let mut number = if matches!(request, AdminRequest::Remove { .. }) { REMOVAL } else { OTHER_REQUEST };
        let mut node = 0;
        if scene.plan.is_cluster {
            self.requests += 1;
            (node, number) = (self.number as u8, ConnectionToken(self.requests + 1));
        }
        let from = ReplyTo { worker: WorkerId::of_node(node), connection: number };
        let shard = process.submit(&name, Input::Admin { from, request: Box::new(request) });
        self.wake_shard(scene, shard);
    }

    /// A worker does nothing for a while.
    pub(crate) fn hold_worker(&mut self, scene: &mut Scene<'_>, worker: usize, us: u64) {
        if let Some(process) = &mut self.process {
            let until_us = scene.now_us() + us;
            process.worker_held_us[worker] = until_us;
            self.worker_planned_us[worker] = u64::MAX;
            self.plan_worker(scene, worker, until_us);
        }
    }

    /// A shard does nothing for a while.
    pub(crate) fn hold_shard(&mut self, scene: &mut Scene<'_>, shard: usize, us: u64) {
        if let Some(process) = &mut self.process {
            let until_us = scene.now_us() + us;
            process.shard_held_us[shard] = until_us;
            if let Some(cluster) = &mut scene.cluster {
                cluster.hold(self.number, shard);
            }
            self.shard_planned_us[shard] = u64::MAX;
            self.plan_shard(scene, shard, until_us);
        }
    }

    /// The wall clock steps.
    pub(crate) fn step_clock(&mut self, ms: i64) {
        self.clock_ms += ms;
    }

    /// The disk changes its state.
    pub(crate) fn set_mood(&self, mood: DiskMood) {
        self.disk.set_mood(mood);
        self.copies.iter().for_each(|copy| copy.set_sound(mood != DiskMood::Full));
    }

    /// Is a process running?
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Everything works from now on.
    pub(crate) fn heal(&mut self, scene: &mut Scene<'_>) {
        for room in 0..scene.plan.rooms {
            self.administer(scene, room, |room| AdminRequest::Open { room });
        }
        self.set_mood(DiskMood::Well);
        if let Some(process) = &mut self.process {
            process.heal();
        }
        (0..usize::from(scene.plan.shards)).for_each(|shard| self.wake_shard(scene, shard));
        (0..usize::from(scene.plan.workers)).for_each(|worker| self.wake_worker(scene, worker));
    }
}

/// What a worker's turn gave to the network is on its way.
fn send(scene: &mut Scene<'_>, network: ToNetwork) {
    for (connection, frame) in network.requests {
        scene.checker.handle_request(connection, scene.network.get(connection).viewer, &frame);
    }
    for (connection, bytes) in network.bytes {
        scene.send(connection, To::Viewer, Event::ToViewer { connection, bytes });
    }
    for (connection, close) in network.closes {
        let ending = Ending::Code(close.code.wire());
        scene.send(connection, To::Viewer, Event::ViewerHears { connection, ending });
        scene.network.cut(connection, To::Node, scene.now_us());
    }
}
