//! A world: one node, its viewers, the network between them, a disk and a clock, run by events in virtual
//! time.
//!
//! Connections are two streams of bytes with a delay: they never reorder, they take only so much before the
//! other side reads, and they break at any moment, after a prefix of what was under way. Threads are turns,
//! some time after their doorbell. Processes die in the middle of a turn. Everything small is drawn from the
//! stream of the step that came last.
//! Invariant: what happens is a function of plan and story; the trace of two runs of the same is the same.
//! Not here: what is drawn (`plan`, `story`), what must hold (`checker`).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grandstand_client::core::{Ending, Next};
use grandstand_edge_core::audience::Drain;
use grandstand_engine::link::Directory;
use grandstand_engine::link::{AdminAnswer, AdminReply, AdminRequest, Input, Now, ShardId};
use grandstand_engine::{RoomSettings, Shard};

use crate::checker::{Checker, Violation};
use crate::client::{Inbound, Link, Pace, Viewer};
use crate::disk::Disk;
use crate::plan::Plan;
use crate::process::{FromNetwork, Fuse, Process, ToNetwork, seed_of};
use crate::random::Random;
use crate::story::{Break, Step, What};

/// 2023-11-14: any time will do.
const BEGIN_MS: i64 = 1_700_000_000_000;

/// A process that was to die, and had nothing to do, dies at last.
const FUSE_US_MAX: u64 = 1_000_000;

/// A world that is left alone comes to rest within this.
const REST_US_MAX: u64 = 120_000_000;

/// Events of one world: beyond, something goes in circles.
const EVENTS_MAX: u64 = 20_000_000;

/// What came of a story.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The promise that was not kept, and after how many steps.
    pub violation: Option<(Violation, usize)>,
    /// Of everything that was seen.
    pub trace: u64,
    /// Events that the world had.
    pub events: u64,
    /// Virtual time.
    pub us: u64,
    /// What was seen.
    pub counts: crate::checker::Counts,
    /// Processes that there were.
    pub lives: u64,
}

/// Play a story in the world of a plan, and let it come to rest.
pub fn play(plan: &Plan, story: &[Step]) -> Outcome {
    let mut world = World::new(plan);
    let mut steps = 0;
    for step in story {
        world.run_until(world.us + step.after_us);
        if world.checker.violation.is_some() {
            break;
        }
        steps += 1;
        world.random = Random::new(step.salt);
        world.take(&step.what);
    }
    if world.checker.violation.is_none() {
        world.rest();
    }
    Outcome {
        violation: world.checker.violation.take().map(|violation| (violation, steps)),
        trace: world.checker.trace,
        events: world.events,
        us: world.us,
        counts: world.checker.counts,
        lives: world.life,
    }
}

#[derive(Debug)]
enum Event {
    Shard { life: u64, shard: usize },
    Worker { life: u64, worker: usize },
    Viewer { viewer: usize },
    Dial { viewer: usize, restarts: u64 },
    Dialed { viewer: usize, connection: usize },
    ToNode { connection: usize, frame: Bytes },
    ToViewer { connection: usize, bytes: Bytes },
    Read { connection: usize, bytes: usize },
    NodeHears { connection: usize },
    ViewerHears { connection: usize, ending: Ending },
    JoinAgain { viewer: usize },
    FuseOut { life: u64 },
    DrainEnds { life: u64, down_us: u64 },
    DrainStops { life: u64, down_us: u64, is_late: bool },
    Up,
    Disk { life: u64 },
}

struct Planned {
    us: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.us, self.seq).cmp(&(other.us, other.seq))
    }
}

/// A connection, as the network has it.
#[derive(Debug)]
struct Connection {
    viewer: usize,
    life: u64,
    worker: usize,
    /// When what was sent last arrives.
    to_node_us: u64,
    to_viewer_us: u64,
    /// What would arrive later is lost.
    to_node_until_us: u64,
    to_viewer_until_us: u64,
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Killed,
    PowerCut,
}

/// See the file's head.
struct World<'a> {
    plan: &'a Plan,
    us: u64,
    clock_ms: i64,
    random: Random,
    queue: BinaryHeap<Reverse<Planned>>,
    seq: u64,
    events: u64,
    life: u64,
    process: Option<Process>,
    shard_planned_us: Vec<u64>,
    worker_planned_us: Vec<u64>,
    death: Option<(Death, u64)>,
    /// The listening sockets stay while one process follows another.
    is_handing_over: bool,
    connections: Vec<Connection>,
    viewers: Vec<Viewer>,
    checker: Checker,
    removed: Arc<Mutex<Vec<u64>>>,
    disk: Disk,
    disk_planned_us: u64,
}

impl World<'_> {
    fn new(plan: &Plan) -> World<'_> {
        let viewer = |number| Viewer::new(number, plan.seed ^ (number as u64 + 1).rotate_left(32));
        let mut world = World {
            plan,
            us: 1_000_000,
            clock_ms: 0,
            random: Random::new(plan.seed ^ 1),
            queue: BinaryHeap::new(),
            seq: 0,
            events: 0,
            life: 0,
            process: None,
            shard_planned_us: Vec::new(),
            worker_planned_us: Vec::new(),
            death: None,
            is_handing_over: false,
            connections: Vec::new(),
            viewers: (0..plan.clients).map(viewer).collect(),
            checker: Checker::default(),
            removed: Arc::default(),
            disk: Disk::new(plan.log_queue_max, plan.log_rows_max),
            disk_planned_us: u64::MAX,
        };
        world.start();
        for viewer in 0..plan.clients {
            let after_us = world.random.below(200_000);
            world.plan_event(after_us, Event::Dial { viewer, restarts: 0 });
        }
        world
    }

    fn now(&self) -> Now {
        Now { us: self.us, unix_ms: (BEGIN_MS + (self.us / 1000) as i64 + self.clock_ms) as u64 }
    }

    fn plan_event(&mut self, after_us: u64, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse(Planned { us: self.us + after_us, seq: self.seq, event }));
    }

    fn run_until(&mut self, until_us: u64) {
        while self.checker.violation.is_none()
            && self.queue.peek().is_some_and(|Reverse(planned)| planned.us <= until_us)
        {
            let Some(Reverse(planned)) = self.queue.pop() else { break };
            self.us = planned.us;
            self.events += 1;
            if self.events > EVENTS_MAX {
                return self.checker.violate("circles", format!("{EVENTS_MAX} events at {} us", self.us));
            }
            self.handle(planned.event);
        }
        self.us = self.us.max(until_us);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Shard { life, shard } if life == self.life => self.shard_turn(shard),
            Event::Worker { life, worker } if life == self.life => self.worker_turn(worker),
            Event::Shard { .. } | Event::Worker { .. } => {}
            Event::Viewer { viewer } => self.viewer_turn(viewer),
            Event::Dial { viewer, restarts } => self.dial(viewer, restarts),
            Event::Dialed { viewer, connection } => self.dialed(viewer, connection),
            Event::ToNode { connection, frame } => {
                if self.us <= self.connections[connection].to_node_until_us {
                    self.give_node(connection, FromNetwork::Frame(connection, frame));
                }
            }
            Event::ToViewer { connection, bytes } => {
                if self.us <= self.connections[connection].to_viewer_until_us {
                    self.give_viewer(connection, Inbound::Bytes(bytes));
                }
            }
            Event::Read { connection, bytes } => {
                if self.us <= self.connections[connection].to_node_until_us {
                    self.give_node(connection, FromNetwork::Room(connection, bytes));
                }
            }
            Event::NodeHears { connection } => self.give_node(connection, FromNetwork::Gone(connection)),
            Event::ViewerHears { connection, ending } => self.give_viewer(connection, Inbound::End(ending)),
            Event::JoinAgain { viewer } => {
                self.viewers[viewer].join_again();
                self.pump(viewer);
            }
            Event::FuseOut { life } if life == self.life && self.process.is_some() => self.die(),
            Event::DrainEnds { life, down_us } if life == self.life => self.end_drain(down_us),
            Event::DrainStops { life, down_us, is_late } if life == self.life => {
                self.stop_drained(down_us, is_late);
            }
            Event::FuseOut { .. } | Event::DrainEnds { .. } | Event::DrainStops { .. } => {}
            Event::Up => self.start(),
            Event::Disk { life } if life == self.life && self.process.is_some() => self.disk_turn(),
            Event::Disk { .. } => {}
        }
    }

    // The node.

    fn start(&mut self) {
        self.life += 1;
        let plan = self.plan;
        self.disk.open(plan.shards.into());
        self.disk_planned_us = u64::MAX;
        self.checker.handle_life(self.life);
        self.checker.note(&[20, self.life, self.us]);
        let fuse = Fuse::new();
        let seed = seed_of(plan, self.life);
        let shards: Vec<Shard> = (0..plan.shards).map(|id| self.shard(ShardId(id), seed, &fuse)).collect();
        self.process = Some(Process::new(plan, self.life, shards, fuse));
        self.shard_planned_us = vec![u64::MAX; plan.shards.into()];
        self.worker_planned_us = vec![u64::MAX; plan.workers.into()];
        (self.death, self.is_handing_over) = (None, false);
        (0..plan.workers.into()).for_each(|worker| self.wake_worker(worker));
        for room in 0..plan.rooms_kept {
            self.administer(room, |room| AdminRequest::Create { room });
        }
    }

    fn shard(&self, id: ShardId, seed: u64, fuse: &Arc<Fuse>) -> Shard {
        let plan = self.plan;
        let shard = Shard::new(plan.shard.clone(), id, plan.shards, plan.workers, seed);
        if !plan.has_log {
            return shard;
        }
        let directory = Directory::new(plan.shards, seed);
        let mut shard = shard.with_durable_log(Box::new(self.disk.log(id.0.into(), fuse.clone())));
        shard.restore(self.now(), self.disk.stored(|room| directory.shard_of(room) == id));
        shard
    }

    /// The disk does what is due, and shards hear of it.
    fn disk_turn(&mut self) {
        if self.disk_planned_us <= self.us {
            self.disk_planned_us = u64::MAX;
        }
        let sync_us = 1 + self.random.below(self.plan.sync_us_max);
        let (due_us, has_news) = self.disk.handle_timeout(self.us, sync_us);
        has_news.into_iter().for_each(|shard| self.wake_shard(shard));
        if let Some(due_us) = due_us.map(|us| us.max(self.us + 1)).filter(|&us| us < self.disk_planned_us) {
            self.disk_planned_us = due_us;
            self.plan_event(due_us - self.us, Event::Disk { life: self.life });
        }
    }

    /// A shard's doorbell rings.
    fn wake_shard(&mut self, shard: usize) {
        let after_us = self.random.below(self.plan.wake_us_max + 1);
        self.plan_shard(shard, self.us + after_us);
    }

    fn plan_shard(&mut self, shard: usize, at_us: u64) {
        let Some(process) = &self.process else { return };
        let at_us = at_us.max(process.shard_held_us[shard]).max(self.us);
        if at_us < self.shard_planned_us[shard] {
            self.shard_planned_us[shard] = at_us;
            self.plan_event(at_us - self.us, Event::Shard { life: self.life, shard });
        }
    }

    fn wake_worker(&mut self, worker: usize) {
        let after_us = self.random.below(self.plan.wake_us_max + 1);
        self.plan_worker(worker, self.us + after_us);
    }

    fn plan_worker(&mut self, worker: usize, at_us: u64) {
        let Some(process) = &self.process else { return };
        let at_us = at_us.max(process.worker_held_us[worker]).max(self.us);
        if at_us < self.worker_planned_us[worker] {
            self.worker_planned_us[worker] = at_us;
            self.plan_event(at_us - self.us, Event::Worker { life: self.life, worker });
        }
    }

    fn shard_turn(&mut self, shard: usize) {
        if self.shard_planned_us[shard] != self.us {
            return;
        }
        self.shard_planned_us[shard] = u64::MAX;
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        let has_more = process.shard_turn(shard, now);
        if process.fuse.is_burnt() {
            return self.die();
        }
        self.note_removed();
        if self.plan.has_log {
            self.disk_turn();
        }
        if has_more {
            self.wake_shard(shard);
        }
        let due_us = self.process.as_ref().and_then(|process| process.shard_due_us(shard, self.us));
        if let Some(due_us) = due_us {
            self.plan_shard(shard, due_us);
        }
        self.wake_workers_with_outputs();
    }

    fn note_removed(&mut self) {
        let replied = std::mem::take(&mut *self.removed.lock().expect("one thread"));
        for epoch in replied.into_iter().chain(self.disk.take_removed()) {
            self.checker.handle_removed(epoch);
        }
    }

    fn wake_workers_with_outputs(&mut self) {
        for worker in 0..usize::from(self.plan.workers) {
            if self.process.as_ref().is_some_and(|process| process.has_outputs(worker)) {
                self.wake_worker(worker);
            }
        }
    }

    fn worker_turn(&mut self, worker: usize) {
        if self.worker_planned_us[worker] != self.us {
            return;
        }
        self.worker_planned_us[worker] = u64::MAX;
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        let mut network = ToNetwork::default();
        let has_more = process.worker_turn(worker, now, &mut network);
        if let Some(rule) = process.broken_rule() {
            self.checker.violate("carrier", rule.to_owned());
        }
        let (is_burnt, due_us) = (process.fuse.is_burnt(), process.worker_due_us(worker));
        self.take_to_network(network);
        if is_burnt {
            return self.die();
        }
        if has_more {
            self.plan_worker(worker, self.us + 1);
        }
        // A worker that waits for a full shard would spin; here it looks twice a millisecond.
        self.plan_worker(worker, due_us.max(self.us + 500));
        for shard in 0..usize::from(self.plan.shards) {
            if self.process.as_ref().is_some_and(|process| process.has_inputs(shard)) {
                self.wake_shard(shard);
            }
        }
    }

    fn take_to_network(&mut self, network: ToNetwork) {
        for (connection, frame) in network.requests {
            self.checker.handle_request(connection, self.connections[connection].viewer, &frame);
        }
        for (connection, bytes) in network.bytes {
            let after_us = self.delay(connection, false);
            self.plan_event(after_us, Event::ToViewer { connection, bytes });
        }
        for (connection, close) in network.closes {
            let after_us = self.delay(connection, false);
            self.connections[connection].to_node_until_us = self.us;
            let ending = Ending::Code(close.code.wire());
            self.plan_event(after_us, Event::ViewerHears { connection, ending });
        }
    }

    /// How long what is sent now is under way: never less than what was sent before it.
    fn delay(&mut self, connection: usize, is_to_node: bool) -> u64 {
        let arrives_us = self.us + self.random.below(self.plan.delay_us_max + 1);
        let connection = &mut self.connections[connection];
        let last_us = if is_to_node { &mut connection.to_node_us } else { &mut connection.to_viewer_us };
        *last_us = arrives_us.max(*last_us);
        *last_us - self.us
    }

    fn give_node(&mut self, connection: usize, event: FromNetwork) {
        let (life, worker) = (self.connections[connection].life, self.connections[connection].worker);
        if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
            process.handle_network(worker, event);
            self.wake_worker(worker);
        }
    }

    /// The process is gone, from one moment to the next.
    fn die(&mut self) {
        let (death, down_us) = self.death.take().unwrap_or((Death::Killed, 0));
        self.checker.note(&[21, self.us, u64::from(death == Death::PowerCut)]);
        self.process = None;
        self.note_removed();
        if death == Death::PowerCut {
            let is_through = self.random.chance(50);
            let random = &mut self.random;
            for (epoch, before, next_offset) in self.disk.cut_power(is_through, || random.bits().max(1)) {
                self.checker.handle_fork(epoch, before, next_offset);
            }
        }
        for connection in 0..self.connections.len() {
            if self.connections[connection].life != self.life || !self.is_of_viewer(connection) {
                continue;
            }
            let until_us = self.us + self.random.below(self.plan.delay_us_max + 1);
            self.connections[connection].to_viewer_until_us = until_us;
            // The kernel tells of a process that dies. Of a machine that is gone nobody tells, until it is
            // back and is asked.
            let hears_us = match death {
                Death::Killed => Some(until_us.max(self.connections[connection].to_viewer_us)),
                Death::PowerCut if self.random.chance(50) => Some(until_us + down_us + 20_000),
                Death::PowerCut => None,
            };
            if let Some(hears_us) = hears_us {
                let ending = Ending::Broken(std::io::ErrorKind::ConnectionReset);
                self.plan_event(hears_us - self.us, Event::ViewerHears { connection, ending });
            }
        }
        self.plan_event(down_us, Event::Up);
    }

    fn is_of_viewer(&self, connection: usize) -> bool {
        self.viewers[self.connections[connection].viewer].link == Link::Up(connection)
    }

    fn end(&mut self, death: Death, fuse: u64, down_us: u64) {
        let Some(process) = self.process.as_ref().filter(|process| !process.fuse.is_lit()) else { return };
        self.death = Some((death, down_us));
        if fuse == 0 {
            return self.die();
        }
        process.fuse.light(fuse);
        self.plan_event(FUSE_US_MAX, Event::FuseOut { life: self.life });
    }

    fn drain(&mut self, spread_us: u64, down_us: u64) {
        let now = self.now();
        let Some(process) =
            self.process.as_mut().filter(|process| !process.is_draining && !process.fuse.is_lit())
        else {
            return;
        };
        let drain = Drain {
            where_to: String::new(),
            spread_ms: (spread_us / 1000) as u32,
            grace_ms: 200,
            is_handed_over: false,
        };
        process.drain(now, &drain);
        self.is_handing_over = true;
        (0..usize::from(self.plan.workers)).for_each(|worker| self.wake_worker(worker));
        self.plan_event(spread_us + 200_000, Event::DrainEnds { life: self.life, down_us });
    }

    /// Shards seal what waits, and stop.
    fn end_drain(&mut self, down_us: u64) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        for shard in 0..usize::from(self.plan.shards) {
            process.shut_down(shard, now);
        }
        process.release();
        process.heal();
        self.wake_workers_with_outputs();
        (0..usize::from(self.plan.shards)).for_each(|shard| self.wake_shard(shard));
        self.plan_event(100_000, Event::DrainStops { life: self.life, down_us, is_late: false });
    }

    /// What the disk has not synced in two seconds is refused.
    fn stop_drained(&mut self, down_us: u64, is_late: bool) {
        if let Some(process) = self.process.as_mut().filter(|process| !is_late && !process.is_flushed()) {
            let waits_us = if process.flush_tries < 20 { 100_000 } else { 50_000 };
            process.flush_tries += 1;
            let is_late = process.flush_tries > 20;
            if is_late {
                process.give_up_answers();
                self.wake_workers_with_outputs();
            }
            return self.plan_event(waits_us, Event::DrainStops { life: self.life, down_us, is_late });
        }
        let Some(process) = self.process.take() else { return };
        for connection in process.connections() {
            let after_us = self.delay(connection, false);
            let ending = Ending::Code(grandstand_protocol::close::CloseCode::GoingAway.wire());
            self.plan_event(after_us, Event::ViewerHears { connection, ending });
        }
        self.checker.note(&[22, self.us]);
        self.plan_event(down_us, Event::Up);
    }

    fn administer(&mut self, room: usize, request: impl FnOnce(String) -> AdminRequest) {
        let name = room_name(room % self.plan.rooms);
        let Some(process) = self.process.as_mut().filter(|process| !process.is_draining) else { return };
        let request = request(name.clone());
        let removed = matches!(request, AdminRequest::Remove { .. }).then(|| self.removed.clone());
        let reply = AdminReply(Box::new(move |answer| {
            if let (Some(removed), Ok(AdminAnswer::Room(info))) = (removed, answer) {
                removed.lock().expect("one thread").push(info.epoch);
            }
        }));
        let shard = process.submit(&name, Input::Admin(request, reply));
        self.wake_shard(shard);
    }

    // Viewers.

    fn dial(&mut self, viewer: usize, restarts: u64) {
        let v = &mut self.viewers[viewer];
        if v.restarts != restarts || v.link != Link::Down {
            return;
        }
        let is_up = self.process.as_ref().is_some_and(|process| !process.fuse.is_burnt());
        let is_waiting =
            self.is_handing_over && self.process.as_ref().is_none_or(|process| process.is_draining);
        if is_waiting {
            // In the queue of the listening socket, which the next process takes over.
            return self.plan_event(20_000, Event::Dial { viewer, restarts });
        }
        if !is_up {
            return self.disconnected(viewer, Ending::Broken(std::io::ErrorKind::ConnectionRefused));
        }
        let connection = self.connections.len();
        v.link = Link::Dialing(connection);
        let worker = self.random.index(self.plan.workers.into());
        self.connections.push(Connection {
            viewer,
            life: self.life,
            worker,
            to_node_us: 0,
            to_viewer_us: 0,
            to_node_until_us: u64::MAX,
            to_viewer_until_us: u64::MAX,
        });
        let after_us = 2 * self.random.below(self.plan.delay_us_max + 1);
        self.plan_event(after_us, Event::Dialed { viewer, connection });
    }

    fn dialed(&mut self, viewer: usize, connection: usize) {
        if self.viewers[viewer].link != Link::Dialing(connection) {
            return;
        }
        let life = self.connections[connection].life;
        if self.process.as_ref().is_none_or(|process| process.life != life || process.is_stopped) {
            self.viewers[viewer].link = Link::Down;
            return self.disconnected(viewer, Ending::Broken(std::io::ErrorKind::ConnectionRefused));
        }
        self.give_node(connection, FromNetwork::Opened(connection));
        self.give_node(connection, FromNetwork::Room(connection, self.plan.window_bytes));
        self.viewers[viewer].link = Link::Up(connection);
        self.viewers[viewer].session.handle_connected(self.us);
        self.checker.handle_connected(viewer, life);
        self.pump(viewer);
    }

    fn give_viewer(&mut self, connection: usize, inbound: Inbound) {
        if self.is_of_viewer(connection) {
            let viewer = self.connections[connection].viewer;
            self.viewers[viewer].inbound.push_back(inbound);
            self.read(viewer);
        }
    }

    /// A viewer reads what it can, and acts on it.
    fn read(&mut self, viewer: usize) {
        let Link::Up(connection) = self.viewers[viewer].link else { return };
        let (read, ending) = self.viewers[viewer].read(self.us, connection, &mut self.checker);
        if read > 0 {
            let after_us = self.delay(connection, true);
            self.plan_event(after_us, Event::Read { connection, bytes: read });
        }
        if let Some(ending) = ending {
            self.viewers[viewer].link = Link::Down;
            self.checker.handle_connection_over(connection);
            return self.disconnected(viewer, ending);
        }
        self.pump(viewer);
        let v = &self.viewers[viewer];
        if matches!(v.pace, Pace::Trickle(_)) && !v.inbound.is_empty() {
            self.plan_viewer(viewer, self.us + 10_000);
        }
    }

    /// A viewer's connection is gone, or could not be made.
    fn disconnected(&mut self, viewer: usize, ending: Ending) {
        let us = self.us;
        let v = &mut self.viewers[viewer];
        v.link = Link::Down;
        v.inbound.clear();
        v.partial.clear();
        let act = |session: &mut grandstand_client::core::Session,
                   emit: &mut dyn FnMut(&grandstand_client::core::Event<'_>)| {
            session.handle_disconnected(us, ending, &mut |event| emit(&event))
        };
        let next = v.with_events(us, &mut self.checker, act);
        let restarts = v.restarts;
        drop(v.session.take_where_to());
        if let Next::Reconnect { after_us } = next {
            self.plan_event(after_us, Event::Dial { viewer, restarts });
        }
        self.plan_timers(viewer);
    }

    /// What a viewer's session has to send goes out; if it wants its connection to end, that ends.
    fn pump(&mut self, viewer: usize) {
        let Link::Up(connection) = self.viewers[viewer].link else { return self.plan_timers(viewer) };
        loop {
            let mut frame = Vec::new();
            if !self.viewers[viewer].session.poll_transmit(self.us, &mut frame) {
                break;
            }
            let after_us = self.delay(connection, true);
            self.plan_event(after_us, Event::ToNode { connection, frame: frame.into() });
        }
        if self.viewers[viewer].session.poll_close().is_some() {
            let after_us = self.delay(connection, true);
            self.plan_event(after_us, Event::NodeHears { connection });
            self.checker.handle_connection_over(connection);
            return self.disconnected(viewer, Ending::Eof);
        }
        let v = &self.viewers[viewer];
        if v.rooms.keys().any(|name| v.room(name).is_none()) {
            self.plan_event(150_000, Event::JoinAgain { viewer });
        }
        self.plan_timers(viewer);
    }

    fn plan_timers(&mut self, viewer: usize) {
        let v = &mut self.viewers[viewer];
        let again_us = v.wanted.values().filter_map(|wanted| wanted.again_us).min();
        if let Some(us) = v.session.poll_timeout().into_iter().chain(again_us).min() {
            self.plan_viewer(viewer, us);
        }
    }

    fn plan_viewer(&mut self, viewer: usize, at_us: u64) {
        let at_us = at_us.max(self.us);
        if at_us < self.viewers[viewer].planned_us {
            self.viewers[viewer].planned_us = at_us;
            self.plan_event(at_us - self.us, Event::Viewer { viewer });
        }
    }

    fn viewer_turn(&mut self, viewer: usize) {
        if self.viewers[viewer].planned_us != self.us {
            return;
        }
        let v = &mut self.viewers[viewer];
        v.planned_us = u64::MAX;
        v.say_refused_again(self.us);
        v.session.handle_timeout(self.us);
        match v.link {
            Link::Up(_) => self.read(viewer),
            _ => self.pump(viewer),
        }
    }

    /// A connection breaks: what is under way arrives up to some moment, and each side may hear of it.
    fn cut(&mut self, viewer: usize, how: Break) {
        let Link::Up(connection) = self.viewers[viewer].link else { return };
        let delay_us_max = self.plan.delay_us_max + 1;
        let (node_us, viewer_us) = (self.random.below(delay_us_max), self.random.below(delay_us_max));
        let c = &mut self.connections[connection];
        c.to_node_until_us = c.to_node_until_us.min(self.us + node_us);
        c.to_viewer_until_us = c.to_viewer_until_us.min(self.us + viewer_us);
        if how != Break::NodeUnaware {
            self.plan_event(node_us, Event::NodeHears { connection });
        }
        if how != Break::ClientUnaware {
            let ending = Ending::Broken(std::io::ErrorKind::ConnectionReset);
            self.plan_event(viewer_us, Event::ViewerHears { connection, ending });
        }
    }

    fn restart(&mut self, viewer: usize) {
        if let Link::Up(connection) = self.viewers[viewer].link {
            let after_us = self.delay(connection, true);
            self.plan_event(after_us, Event::NodeHears { connection });
            self.checker.handle_connection_over(connection);
        }
        let kept = self.viewers[viewer].restart();
        self.checker.handle_restart(viewer, &kept);
        let (after_us, restarts) = (self.random.below(300_000), self.viewers[viewer].restarts);
        self.plan_event(after_us, Event::Dial { viewer, restarts });
    }

    // Steps.

    fn take(&mut self, what: &What) {
        self.checker.note(&[23, self.us]);
        match *what {
            What::Say { client, room, times } => (0..times).for_each(|_| self.say(client, room)),
            What::SayAgain { client, which } => {
                self.viewers[client].say_again(self.us, which);
                self.pump(client);
            }
            What::React { client, room } => {
                if let Some(room) = self.viewers[client].room(&room_name(room)) {
                    self.viewers[client].session.react(room, "x", 1);
                    self.pump(client);
                }
            }
            What::SetState { client, room, key, value } => {
                if let Some(room) = self.viewers[client].room(&room_name(room)) {
                    let value = value.map(|byte| vec![byte; 1 + usize::from(byte) / 4]);
                    let _ =
                        self.viewers[client].session.set_state(room, &format!("key{key}"), value.as_deref());
                    self.pump(client);
                }
            }
            What::Join { client, room, replay } => {
                self.viewers[client].join(&room_name(room), replay);
                self.pump(client);
            }
            What::Leave { client, room } => {
                self.viewers[client].leave(&room_name(room));
                self.checker.handle_left(client, &room_name(room));
                self.pump(client);
            }
            What::History { client, room, back, count } => self.ask_past(client, room, back, count),
            What::Cut { client, how } => self.cut(client, how),
            What::Restart { client } => self.restart(client),
            What::Stall { client } => self.set_pace(client, Pace::Stalled),
            What::Trickle { client, bytes } => self.set_pace(client, Pace::Trickle(bytes)),
            What::Flow { client } => self.set_pace(client, Pace::Flow),
            What::HoldWorker { worker, us } => {
                if let Some(process) = &mut self.process {
                    process.worker_held_us[worker] = self.us + us;
                    self.worker_planned_us[worker] = u64::MAX;
                    self.plan_worker(worker, self.us + us);
                }
            }
            What::HoldShard { shard, us } => {
                if let Some(process) = &mut self.process {
                    process.shard_held_us[shard] = self.us + us;
                    self.shard_planned_us[shard] = u64::MAX;
                    self.plan_shard(shard, self.us + us);
                }
            }
            What::Clock { step_ms } => self.clock_ms += step_ms,
            What::Crash { fuse, down_us } => self.end(Death::Killed, fuse, down_us),
            What::PowerCut { fuse, down_us } => self.end(Death::PowerCut, fuse, down_us),
            What::Drain { spread_us, down_us } => self.drain(spread_us, down_us),
            What::Disk { mood } => self.disk.set_mood(mood),
            What::Close { room } => self.administer(room, |room| AdminRequest::Close { room }),
            What::Open { room } => self.administer(room, |room| AdminRequest::Open { room }),
            What::Remove { room } => self.administer(room, |room| AdminRequest::Remove { room }),
            What::Create { room } => self.administer(room, |room| AdminRequest::Create { room }),
            What::Configure { room, tick_ms, pacing_per_s, durability } => {
                let settings =
                    RoomSettings { tick_min_ms: tick_ms, tick_max_ms: tick_ms, pacing_per_s, durability };
                self.administer(room, |room| AdminRequest::Configure { room, settings });
            }
        }
    }

    fn say(&mut self, client: usize, room: usize) {
        let room = room_name(room);
        let pad = self.random.index(80);
        let reply_to = self.checker.reading(client, &room).filter(|_| self.random.chance(20));
        let reply_to = reply_to.and_then(|(_, next)| next.checked_sub(1 + self.random.below(5)));
        if let Some((nonce, text)) = self.viewers[client].say(self.us, &room, pad, reply_to) {
            self.checker.handle_said(client, nonce, &text);
            self.pump(client);
        }
    }

    fn ask_past(&mut self, client: usize, room: usize, back: u64, count: u64) {
        let name = room_name(room);
        let (Some(room), Some((_, next))) =
            (self.viewers[client].room(&name), self.checker.reading(client, &name))
        else {
            return;
        };
        let _ = self.viewers[client].session.history(room, next.saturating_sub(back), count);
        self.pump(client);
    }

    fn set_pace(&mut self, viewer: usize, pace: Pace) {
        self.viewers[viewer].pace = pace;
        self.viewers[viewer].session.handle_reading_held(self.us, pace == Pace::Stalled);
        if pace != Pace::Stalled {
            self.read(viewer);
        }
    }

    // At rest.

    /// Everything heals, and everyone stays: the world must come to rest, and then everything must be in its
    /// place.
    fn rest(&mut self) {
        self.random = Random::new(self.plan.seed ^ 2);
        (0..self.viewers.len()).for_each(|viewer| self.set_pace(viewer, Pace::Flow));
        for room in 0..self.plan.rooms {
            self.administer(room, |room| AdminRequest::Open { room });
        }
        self.disk.set_mood(crate::story::DiskMood::Well);
        if let Some(process) = &mut self.process {
            process.heal();
        }
        for shard in 0..usize::from(self.plan.shards) {
            self.wake_shard(shard);
        }
        for worker in 0..usize::from(self.plan.workers) {
            self.wake_worker(worker);
        }
        let until_us = self.us + REST_US_MAX;
        self.run_while(until_us, |world| !world.is_quiet());
        // What connections that are gone had sent may still be on its way inside.
        self.run_until(self.us + 3_000_000);
        let rooms: BTreeSet<String> = self.viewers.iter().flat_map(|v| v.rooms.keys().cloned()).collect();
        let probe = self.probe(&rooms);
        self.run_while(until_us, |world| !world.is_quiet());
        for room in &rooms {
            if let Some(id) = self.viewers[probe].room(room) {
                let _ = self.viewers[probe].session.history(id, 0, u64::MAX);
            }
        }
        self.pump(probe);
        self.run_while(until_us, |world| world.viewers[probe].past_over.len() < rooms.len());
        // Counts of viewers come a while after they joined.
        self.run_until(self.us + 5_000_000);
        self.run_while(until_us, |world| !world.is_even(probe));
        if self.checker.violation.is_none() {
            self.check_rest(probe, &rooms);
        }
    }

    fn run_while(&mut self, until_us: u64, is_waiting: impl Fn(&Self) -> bool) {
        while self.us < until_us && self.checker.violation.is_none() && is_waiting(self) {
            self.run_until(self.us + 100_000);
        }
    }

    fn probe(&mut self, rooms: &BTreeSet<String>) -> usize {
        let probe = self.viewers.len();
        let mut viewer = Viewer::new(probe, self.plan.seed ^ 0xabcd_ef01);
        viewer.is_probe = true;
        rooms.iter().for_each(|room| viewer.join(room, 0));
        self.viewers.push(viewer);
        self.plan_event(0, Event::Dial { viewer: probe, restarts: 0 });
        probe
    }

    fn is_quiet(&self) -> bool {
        self.process.is_some() && self.viewers.iter().all(Viewer::is_at_rest)
    }

    /// Does everyone stand where the probe stands, with the same state?
    fn is_even(&self, probe: usize) -> bool {
        self.is_quiet() && self.uneven(probe).is_none()
    }

    fn uneven(&self, probe: usize) -> Option<(usize, String)> {
        let best = &self.viewers[probe];
        for v in &self.viewers {
            for room in v.rooms.keys() {
                let is_even = self.checker.reading(v.number, room) == self.checker.reading(probe, room)
                    && states(v, room) == states(best, room);
                if !is_even {
                    return Some((v.number, room.clone()));
                }
            }
        }
        None
    }

    fn check_rest(&mut self, probe: usize, rooms: &BTreeSet<String>) {
        for viewer in 0..self.viewers.len() {
            let v = &self.viewers[viewer];
            let open = match v.link {
                Link::Up(connection) => self.checker.open(connection),
                _ => Vec::new(),
            };
            if !v.is_at_rest() || !open.is_empty() {
                let (up, unanswered, wanted) = (v.session.is_up(), v.session.unanswered(), &v.wanted);
                let live: Vec<_> =
                    v.rooms.keys().map(|name| v.room(name).is_some_and(|r| v.session.is_live(r))).collect();
                let detail = format!(
                    "client {viewer} does not come to rest: up {up}, rooms live {live:?}, unanswered {unanswered}, open {open:x?}, wanted {wanted:?}, inbound {}",
                    v.inbound.len()
                );
                return self.checker.violate("unanswered", detail);
            }
        }
        let may_trim = self.plan.has_log || self.plan.shard.history_batches_max < 1000;
        for room in rooms {
            let Some((epoch, head)) = self.checker.reading(probe, room) else { continue };
            for viewer in 0..self.viewers.len() {
                if self.viewers[viewer].rooms.contains_key(room) {
                    self.checker.check_viewer(viewer, room, epoch, head);
                    let (own, best) =
                        (states(&self.viewers[viewer], room), states(&self.viewers[probe], room));
                    if own != best {
                        let detail = format!(
                            "client {viewer} has {own:?} as the state of {room}, the newest has {best:?}"
                        );
                        self.checker.violate("state", detail);
                    }
                }
            }
            let past = self.viewers[probe].past.get(room).cloned().unwrap_or_default();
            self.checker.check_log(room, epoch, &past, head, may_trim);
        }
    }
}

type State = Vec<(String, Vec<u8>)>;

fn states(viewer: &Viewer, room: &str) -> Option<State> {
    let id = viewer.room(room)?;
    Some(viewer.session.states(id).map(|(key, value)| (key.to_owned(), value.to_vec())).collect())
}

/// The name of a room.
pub fn room_name(room: usize) -> String {
    format!("room{room}")
}
