//! A node's process: the real shards and audiences, with modelled threads, queues and sockets between them.
//!
//! It does what `grandstand_engine::runtime` and the workers of the edge do around the cores: bounded inboxes
//! that return inputs, a bounded queue with an overflow from each shard to each worker, a shard that takes no
//! input while an overflow is long, and workers that write within a budget. A turn takes what is there.
//! Invariant: once the fuse has burnt down, the process does nothing that anybody could see. It died at that
//! point, in the middle of whatever it did.
//! Not here: when turns are (`node`), what the network does (`network`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use grandstand_edge_core::audience::{Audience, Close, ConnectionKey, Drain, FrameSink, LinkKey, Settings};
use grandstand_edge_core::key::Key;
use grandstand_edge_core::people::{People, PeopleLimits};
use grandstand_edge_core::testing::{OpenAuthority, OpenTickets};
use grandstand_engine::link::{
    AdminAnswer, Backbone, ConnectionToken, Directory, Input, Now, Output, WorkerId,
};
use grandstand_engine::runtime::Stand;
use grandstand_model::Inboxes;
use grandstand_protocol::frame::permission;

use crate::plan::Plan;

/// The number of an operator's request to remove a room.
pub const REMOVAL: ConnectionToken = ConnectionToken(1);

/// The number of an operator's other requests.
pub const OTHER_REQUEST: ConnectionToken = ConnectionToken(0);

/// Counts down to the moment at which a process dies.
#[derive(Debug)]
pub struct Fuse(AtomicU64);

impl Fuse {
    const UNLIT: u64 = u64::MAX;

    /// Not lit.
    pub fn new() -> Arc<Fuse> {
        Arc::new(Fuse(AtomicU64::new(Self::UNLIT)))
    }

    /// Burns down after so many more things that the process does.
    pub fn light(&self, events: u64) {
        self.0.store(events, Ordering::Relaxed);
    }

    /// Is it lit, burnt down or not?
    pub fn is_lit(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::UNLIT
    }

    /// Has it burnt down?
    pub fn is_burnt(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// The process is about to do something that can be seen: may it still?
    pub fn burn(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            Self::UNLIT => true,
            0 => false,
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                left > 1
            }
        }
    }
}

/// The way from a shard to a worker.
#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Output>,
    overflow: VecDeque<Output>,
}

impl Outbox {
    fn flush(&mut self, outbox_max: usize) {
        while self.queue.len() < outbox_max
            && let Some(output) = self.overflow.pop_front()
        {
            self.queue.push_back(output);
        }
    }
}

/// A socket, as the worker has it.
#[derive(Debug)]
struct Wire {
    connection: usize,
    key: ConnectionKey,
    /// Bytes that it takes now.
    free: usize,
    wants_room: bool,
    taken: Vec<u8>,
}

/// The sockets of one worker.
#[derive(Debug)]
struct Wires {
    wires: Vec<Option<Wire>>,
    touched: Vec<u32>,
    fuse: Arc<Fuse>,
    broken_rule: Option<&'static str>,
}

impl FrameSink for Wires {
    fn send(&mut self, wire: LinkKey, frames: &[&Bytes]) -> usize {
        let total = frames.iter().map(|frame| frame.len()).sum();
        if !self.fuse.burn() {
            return total;
        }
        let wire_key = wire.0;
        let wire = self.wires[wire.0 as usize].as_mut().expect("a wire that stands");
        if wire.wants_room {
            self.broken_rule = Some("offered although it was full and has not said otherwise");
        }
        self.touched.push(wire_key);
        let mut taken = 0;
        for frame in frames {
            let n = frame.len().min(wire.free);
            wire.free -= n;
            wire.taken.extend_from_slice(&frame[..n]);
            taken += n;
            if n < frame.len() {
                wire.wants_room = true;
                break;
            }
        }
        taken
    }
}

/// What reaches a worker from its sockets.
#[derive(Debug)]
pub enum FromNetwork {
    /// A connection.
    Opened(usize),
    /// A frame on it.
    Frame(usize, Bytes),
    /// The peer has read so many bytes.
    Room(usize, usize),
    /// It is gone.
    Gone(usize),
}

/// What a worker's turn gives to the network.
#[derive(Debug, Default)]
pub struct ToNetwork {
    /// Bytes on connections, in order.
    pub bytes: Vec<(usize, Bytes)>,
    /// Connections that the node ends.
    pub closes: Vec<(usize, Close)>,
    /// Frames that the audience was given.
    pub requests: Vec<(usize, Bytes)>,
}

/// The seed of a process: a new one each time, as in production.
pub fn seed_of(plan: &Plan, life: u64) -> u64 {
    plan.seed ^ life.rotate_left(40)
}

/// See the file's head.
pub struct Process {
    /// Which process this is, of all nodes: 1 for the first.
    pub life: u64,
    /// Its end.
    pub fuse: Arc<Fuse>,
    /// Logs that an operator was told are gone, since the node last took them.
    pub removed: Vec<u64>,
    /// Outputs that workers were given since the node last took them, in a cluster.
    pub shown: Vec<Output>,
    notes_shown: bool,
    /// Shards accept nothing more, and clients are told to go.
    pub is_draining: bool,
    /// How often it was looked whether all is synced.
    pub flush_tries: u32,
    /// Shards take nothing at all.
    pub is_stopped: bool,
    /// Until when each shard stands still.
    pub shard_held_us: Vec<u64>,
    /// Until when each worker stands still.
    pub worker_held_us: Vec<u64>,
    shards: Vec<Box<dyn Stand>>,
    audiences: Vec<Audience>,
    inboxes: Arc<Inboxes>,
    outboxes: Vec<Vec<Outbox>>,
    wires: Vec<Wires>,
    from_network: Vec<VecDeque<FromNetwork>>,
    /// By connection of this process: worker and wire.
    places: std::collections::BTreeMap<usize, (usize, u32)>,
    outbox_max: usize,
    overflow_max: usize,
    chunk_inputs: usize,
    writes_max: usize,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Process {
    /// A process of a node, with whoever handles each shard.
    pub fn new(
        plan: &Plan,
        (node, life): (usize, u64),
        shards: Vec<Box<dyn Stand>>,
        fuse: Arc<Fuse>,
    ) -> Process {
        let (workers, seed) = (usize::from(plan.workers), seed_of(plan, life));
        let number = if plan.is_cluster { node as u8 } else { 0 };
        let places = if plan.is_cluster { plan.seed } else { seed };
        let inboxes = Arc::new(Inboxes::new(Directory::new(plan.shards, places), plan.inbox_max));
        // Rates apply, as the plan has them: a bridge has its own.
        let permissions = permission::PUBLISH | permission::REACT | permission::STATE;
        let authority = Arc::new(OpenAuthority { permissions });
        // One key over all processes of a node: tickets are honoured by the next.
        let tickets = Arc::new(OpenTickets { ttl_ms: plan.edge.ticket_ttl_ms.into() });
        let people = Arc::new(People::new(PeopleLimits::for_tests(), Key::from_seed(seed)));
        let audience = |worker: u16| {
            let worker_id = WorkerId::new(number, worker as u8);
            let settings = Settings { worker: worker_id, ..plan.edge.clone() };
            let seed = seed.wrapping_mul(3 + 2 * u64::from(worker));
            Audience::new(
                settings,
                authority.clone(),
                tickets.clone(),
                inboxes.clone(),
                people.clone(),
                Key::from_seed(seed),
            )
        };
        let wires =
            |_| Wires { wires: Vec::new(), touched: Vec::new(), fuse: fuse.clone(), broken_rule: None };
        Process {
            life,
            shown: Vec::new(),
            notes_shown: plan.is_cluster,
            removed: Vec::new(),
            is_draining: false,
            is_stopped: false,
            flush_tries: 0,
            shard_held_us: vec![0; shards.len()],
            worker_held_us: vec![0; workers],
            audiences: (0..plan.workers).map(audience).collect(),
            outboxes: shards.iter().map(|_| (0..workers).map(|_| Outbox::default()).collect()).collect(),
            shards,
            inboxes,
            wires: (0..workers).map(wires).collect(),
            from_network: (0..workers).map(|_| VecDeque::new()).collect(),
            places: std::collections::BTreeMap::new(),
            outbox_max: plan.outbox_max,
            overflow_max: plan.overflow_max,
            chunk_inputs: plan.chunk_inputs,
            writes_max: plan.writes_max,
            fuse,
        }
    }

    /// Something for a worker, which takes it in its next turn.
    pub fn handle_network(&mut self, worker: usize, event: FromNetwork) {
        self.from_network[worker].push_back(event);
    }

    /// An operator's input, which waits for a full inbox; the shard that it is for.
    pub fn submit(&mut self, room: &str, input: Input) -> usize {
        let shard = self.inboxes.shard_of(room);
        self.inboxes.push(shard, input);
        shard.0.into()
    }

    /// A shard's turn; `true` when there is more to do at once.
    pub fn shard_turn(&mut self, shard: usize, now: Now) -> bool {
        let outbox_max = self.outbox_max;
        self.outboxes[shard].iter_mut().for_each(|outbox| outbox.flush(outbox_max));
        if !self.is_stopped && !self.is_held_up(shard) {
            for _ in 0..self.chunk_inputs {
                if !self.shards[shard].is_taking() {
                    break;
                }
                let Some(input) = self.inboxes.pop(shard) else { break };
                if !self.fuse.burn() {
                    return false;
                }
                self.shards[shard].handle_input(now, input);
            }
        }
        self.shards[shard].handle_news(now);
        self.shards[shard].handle_timeout(now);
        self.hand_out(shard);
        !self.is_stopped && !self.is_held_up(shard) && !self.inboxes.is_empty(shard)
    }

    /// The process ends well: what waits is sealed and handed out.
    pub fn shut_down(&mut self, shard: usize, now: Now) {
        self.shards[shard].handle_handing(now);
        self.hand_out(shard);
        self.outboxes[shard].iter_mut().for_each(|outbox| outbox.flush(usize::MAX));
    }

    fn hand_out(&mut self, shard: usize) {
        while let Some((worker, output)) = self.shards[shard].poll_output() {
            if worker.is_node() {
                self.note_answer(output);
                continue;
            }
            if !self.fuse.burn() {
                return;
            }
            if self.notes_shown && matches!(output, Output::Attached { .. } | Output::Batch { .. }) {
                self.shown.push(output.clone());
            }
            let outbox = &mut self.outboxes[shard][worker.index()];
            outbox.overflow.push_back(output);
            outbox.flush(self.outbox_max);
        }
    }

    /// An answer to the operator: the node wants to know of logs that are gone.
    fn note_answer(&mut self, output: Output) {
        let Output::Admin(reply) = output else { return };
        if let (REMOVAL, Ok(AdminAnswer::Room(info))) = (reply.connection, reply.answer) {
            self.removed.push(info.epoch);
        }
    }

    fn is_held_up(&self, shard: usize) -> bool {
        self.outboxes[shard].iter().any(|outbox| outbox.overflow.len() > self.overflow_max)
    }

    /// When a shard has something to do, inputs aside.
    pub fn shard_due_us(&self, shard: usize, now_us: u64) -> Option<u64> {
        // A full queue is tried again after a millisecond.
        let waits = self.outboxes[shard].iter().any(|outbox| !outbox.overflow.is_empty());
        self.shards[shard].poll_timeout().into_iter().chain(waits.then_some(now_us + 1_000)).min()
    }

    /// Does a shard have inputs?
    pub fn has_inputs(&self, shard: usize) -> bool {
        !self.is_stopped && !self.is_held_up(shard) && !self.inboxes.is_empty(shard)
    }

    /// Does a shard have news?
    pub fn has_news(&mut self, shard: usize) -> bool {
        self.shards[shard].has_news()
    }

    /// Is everything synced that is to be kept?
    pub fn is_flushed(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_flushed() && shard.is_handed())
    }

    /// Refuse what still waits for the disk.
    pub fn give_up_answers(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards[shard].give_up_answers();
            self.hand_out(shard);
            self.outboxes[shard].iter_mut().for_each(|outbox| outbox.flush(usize::MAX));
        }
    }

    /// Does a worker have outputs, or something from the network?
    pub fn has_outputs(&self, worker: usize) -> bool {
        !self.from_network[worker].is_empty()
            || self.outboxes.iter().any(|outboxes| !outboxes[worker].queue.is_empty())
    }

    /// A worker's turn; `true` when there is more to do at once.
    pub fn worker_turn(&mut self, worker: usize, now: Now, network: &mut ToNetwork) -> bool {
        for shard in 0..self.outboxes.len() {
            while let Some(output) = self.outboxes[shard][worker].queue.pop_front() {
                self.audiences[worker].handle_output(output);
            }
        }
        while let Some(event) = self.from_network[worker].pop_front() {
            if !self.fuse.burn() {
                return false;
            }
            self.take(worker, now, event, network);
        }
        self.audiences[worker].handle_timeout(now);
        let has_more = self.audiences[worker].poll_writes(&mut self.wires[worker], self.writes_max);
        self.collect(worker, network);
        while let Some(close) = self.audiences[worker].poll_close() {
            if self.fuse.is_burnt() {
                return false;
            }
            let wire = self.wires[worker].wires[close.wire.0 as usize]
                .take()
                .expect("a close of a wire that stands");
            self.audiences[worker].handle_gone(close.connection);
            self.places.remove(&wire.connection);
            network.closes.push((wire.connection, close));
        }
        has_more || self.audiences[worker].has_work()
    }

    fn take(&mut self, worker: usize, now: Now, event: FromNetwork, network: &mut ToNetwork) {
        match event {
            FromNetwork::Opened(connection) => self.open(worker, now, connection),
            FromNetwork::Frame(connection, frame) => {
                let Some(key) = self.wire(connection).map(|wire| wire.key) else { return };
                self.audiences[worker].handle_frame(now, key, &frame);
                network.requests.push((connection, frame));
            }
            FromNetwork::Room(connection, bytes) => {
                let Some(wire) = self.wire(connection) else { return };
                wire.free += bytes;
                if std::mem::take(&mut wire.wants_room) {
                    let key = wire.key;
                    self.audiences[worker].handle_writable(key);
                }
            }
            FromNetwork::Gone(connection) => {
                let Some((_, at)) = self.places.remove(&connection) else { return };
                let wire = self.wires[worker].wires[at as usize].take().expect("a wire has a place");
                self.audiences[worker].handle_gone(wire.key);
            }
        }
    }

    fn open(&mut self, worker: usize, now: Now, connection: usize) {
        let wires = &mut self.wires[worker].wires;
        let at = wires.iter().position(Option::is_none).unwrap_or(wires.len());
        let key = self.audiences[worker].handle_open(now, LinkKey(at as u32), None);
        let wire = Wire { connection, key, free: 0, wants_room: true, taken: Vec::new() };
        if at == wires.len() {
            wires.push(Some(wire));
        } else {
            wires[at] = Some(wire);
        }
        // Room comes with the first `Room`.
        wires[at].as_mut().expect("just put there").wants_room = false;
        self.places.insert(connection, (worker, at as u32));
    }

    fn wire(&mut self, connection: usize) -> Option<&mut Wire> {
        let (worker, at) = *self.places.get(&connection)?;
        self.wires[worker].wires[at as usize].as_mut()
    }

    /// What the wires took goes to the network.
    fn collect(&mut self, worker: usize, network: &mut ToNetwork) {
        let mut touched = std::mem::take(&mut self.wires[worker].touched);
        for at in touched.drain(..) {
            if let Some(wire) = &mut self.wires[worker].wires[at as usize]
                && !wire.taken.is_empty()
            {
                network.bytes.push((wire.connection, std::mem::take(&mut wire.taken).into()));
            }
        }
        self.wires[worker].touched = touched;
    }

    /// When a worker has something to do, if nothing comes.
    pub fn worker_due_us(&self, worker: usize) -> u64 {
        self.audiences[worker].poll_timeout()
    }

    /// Send everybody away.
    pub fn drain(&mut self, now: Now, drain: &Drain) {
        self.is_draining = true;
        self.audiences.iter_mut().for_each(|audience| audience.handle_drain(now, drain));
    }

    /// Shards take nothing any more.
    pub fn release(&mut self) {
        self.is_stopped = true;
        self.audiences.iter_mut().for_each(Audience::handle_released);
    }

    /// A rule between audience and wires that was broken.
    pub fn broken_rule(&self) -> Option<&'static str> {
        self.wires.iter().find_map(|wires| wires.broken_rule)
    }

    /// Connections that stand.
    pub fn connections(&self) -> Vec<usize> {
        self.places.keys().copied().collect()
    }

    /// Queues are without bound, and nobody stands still: the world comes to rest.
    pub fn heal(&mut self) {
        self.shard_held_us.fill(0);
        self.worker_held_us.fill(0);
    }
}
