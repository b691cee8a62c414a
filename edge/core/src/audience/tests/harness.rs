//! The house: audiences, shards, the links between them, wires and a clock, all of the test's making.
//!
//! A turn moves everything that is due; time passes only by [`Harness::run_ms`]. Links keep their order, as
//! the engine promises, and delay each input and output by chance; wires take as many bytes as they are told
//! to, and cut anywhere.
//! Invariant: what happens is a function of the seed and the calls.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::Backbone;
use grandstand_engine::link::Directory;
use grandstand_engine::link::*;
use grandstand_engine::{Shard, ShardConfig};
use grandstand_protocol::batch::Position;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{
    ClientFrame, Durability, Encoder, Hello, Publish, React, SetState, Subscribe, permission,
};
use grandstand_protocol::version::capability;

use super::super::{Audience, ConnectionKey, Drain, FrameSink, LinkKey, Settings};
use super::viewer::{Following, Truth, Viewer};
use crate::admission::limits::Address;
use crate::auth::Authorize;
use crate::key::Key;
use crate::people::{People, PeopleLimits};
use crate::testing::{OpenAuthority, OpenTickets};
use grandstand_model::{Disk, Inboxes};

/// 2023-11-14: any time will do.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

/// Names a viewer of the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct V(pub(super) usize);

/// How a harness is made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) workers: u16,
    pub(super) shards: u16,
    pub(super) settings: Settings,
    pub(super) rooms: ShardConfig,
    pub(super) authority: Arc<dyn Authorize>,
    pub(super) people: PeopleLimits,
    pub(super) seed: u64,
    /// Inputs and outputs take up to so long.
    pub(super) delay_us_max: u64,
    pub(super) inbox_max: usize,
    pub(super) writes_max: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let rates = super::super::Rate { per_s: 100_000, burst: 100_000 };
        // Without the right of a bridge, so that the ordinary rates hold.
        let permissions = permission::PUBLISH | permission::REACT | permission::STATE;
        Plan {
            workers: 1,
            shards: 1,
            settings: Settings { publish: rates, reactions: rates, frames: rates, ..Settings::for_tests() },
            rooms: ShardConfig { viewers_every_ms: 0, ..ShardConfig::for_tests() },
            authority: Arc::new(OpenAuthority { permissions }),
            people: PeopleLimits::for_tests(),
            seed: 1,
            delay_us_max: 0,
            inbox_max: 100_000,
            writes_max: 1_000,
        }
    }
}

#[derive(Debug)]
struct ModelLink {
    viewer: usize,
    /// Bytes that it still takes.
    room: usize,
    taken: Vec<u8>,
    wants_room: bool,
}

/// The links of one worker.
#[derive(Debug, Default)]
struct ModelLinks {
    wires: Vec<Option<ModelLink>>,
    sends: usize,
}

impl FrameSink for ModelLinks {
    fn send(&mut self, wire: LinkKey, frames: &[&Bytes]) -> usize {
        self.sends += 1;
        let wire = self.wires[wire.0 as usize].as_mut().expect("a wire that stands");
        assert!(!wire.wants_room, "offered although it was full and has not said otherwise");
        let mut taken = 0;
        for frame in frames {
            assert!(!frame.is_empty(), "nothing to send");
            let n = frame.len().min(wire.room);
            wire.room -= n;
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

/// Where a viewer's connection stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    worker: usize,
    wire: LinkKey,
    key: ConnectionKey,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: CloseCode,
    pub(super) detail: String,
    pub(super) is_clean: bool,
}

/// See the file's head.
pub(super) struct Harness {
    pub(super) us: u64,
    pub(super) audiences: Vec<Audience>,
    pub(super) shards: Vec<Shard>,
    pub(super) links: Arc<Inboxes>,
    /// By shard: inputs on their way, in order.
    going: Vec<VecDeque<(u64, Input)>>,
    /// By shard and worker: outputs on their way, in order.
    coming: Vec<Vec<VecDeque<(u64, Output)>>>,
    wires: Vec<ModelLinks>,
    places: Vec<Option<Place>>,
    /// Where new connections come from.
    pub(super) address: Option<Address>,
    pub(super) ended: Vec<Option<Ended>>,
    pub(super) viewers: Vec<Viewer>,
    pub(super) truth: Truth,
    pub(super) writes_max: usize,
    /// Set: outputs stay on their way.
    pub(super) hold_outputs: bool,
    delay_us_max: u64,
    encoder: Encoder,
    random: u64,
}

impl Harness {
    pub(super) fn new(plan: &Plan) -> Self {
        let (workers, shards) = (usize::from(plan.workers), usize::from(plan.shards));
        let links = Arc::new(Inboxes::new(Directory::new(plan.shards, plan.seed), plan.inbox_max));
        let tickets = Arc::new(OpenTickets { ttl_ms: plan.settings.ticket_ttl_ms.into() });
        let people = Arc::new(People::new(plan.people, Key::from_seed(plan.seed)));
        let audience = |worker: u16| {
            let settings = Settings { worker: WorkerId(worker), ..plan.settings.clone() };
            let seed = plan.seed.wrapping_mul(1 + u64::from(worker));
            Audience::new(
                settings,
                plan.authority.clone(),
                tickets.clone(),
                links.clone(),
                people.clone(),
                Key::from_seed(seed),
            )
        };
        let shard = |id| Shard::new(plan.rooms.clone(), ShardId(id), plan.shards, plan.seed);
        Harness {
            us: 1_000_000,
            audiences: (0..plan.workers).map(audience).collect(),
            shards: (0..plan.shards).map(shard).collect(),
            links,
            going: (0..shards).map(|_| VecDeque::new()).collect(),
            coming: (0..shards).map(|_| (0..workers).map(|_| VecDeque::new()).collect()).collect(),
            wires: (0..workers).map(|_| ModelLinks::default()).collect(),
            places: Vec::new(),
            address: None,
            ended: Vec::new(),
            viewers: Vec::new(),
            truth: Truth::default(),
            writes_max: plan.writes_max,
            hold_outputs: false,
            delay_us_max: plan.delay_us_max,
            encoder: Encoder::new(),
            random: plan.seed,
        }
    }

    /// The only shard, newly started over what a disk has.
    pub(super) fn start_shard_on(&mut self, disk: &Disk, plan: &Plan) {
        let rooms = ShardConfig { durability: Durability::Disk, ..plan.rooms.clone() };
        let shard = Shard::new(rooms, ShardId(0), 1, plan.seed);
        self.shards[0] = shard.with_durable_log(Box::new(disk.log()));
        let now = self.now();
        self.shards[0].restore(now, disk.stored());
    }

    pub(super) fn now(&self) -> Now {
        Now { us: self.us, unix_ms: EPOCH_MS + self.us / 1000 }
    }

    /// Up to `max`, by the seed (SplitMix64).
    pub(super) fn chance(&mut self, max: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (max + 1)
    }

    /// Shards take no input from now on, or do again.
    pub(super) fn set_full(&mut self, full: bool) {
        self.links.set_full(full);
    }

    // Connections.

    /// A person, connected and not greeted.
    pub(super) fn enter(&mut self, worker: usize) -> V {
        let v = V(self.viewers.len());
        // Two of three open compressed batches; a bit that nobody knows does no harm.
        let offers = if v.0 % 3 == 2 { 1 << 40 } else { 1 << 40 | capability::DEFLATE_1 };
        self.viewers.push(Viewer::new(offers));
        self.places.push(None);
        self.ended.push(None);
        self.connect(v, worker);
        v
    }

    /// A person with a session.
    pub(super) fn guest(&mut self, worker: usize) -> V {
        let v = self.enter(worker);
        self.hello(v);
        v
    }

    /// A person who follows a room.
    pub(super) fn member(&mut self, worker: usize, room: &str) -> V {
        let v = self.guest(worker);
        self.subscribe(v, room, None, 0);
        self.run_ms(10);
        v
    }

    /// A new connection of a person, on the first wire that is free.
    pub(super) fn connect(&mut self, v: V, worker: usize) {
        assert!(self.places[v.0].is_none(), "connected already");
        self.viewers[v.0].reconnect();
        self.ended[v.0] = None;
        let wires = &mut self.wires[worker].wires;
        let at = wires.iter().position(Option::is_none).unwrap_or(wires.len());
        let wire = ModelLink { viewer: v.0, room: usize::MAX, taken: Vec::new(), wants_room: false };
        if at == wires.len() {
            wires.push(Some(wire));
        } else {
            wires[at] = Some(wire);
        }
        let wire = LinkKey(at as u32);
        let now = self.now();
        let key = self.audiences[worker].handle_open(now, wire, self.address);
        self.places[v.0] = Some(Place { worker, wire, key });
    }

    /// The transport breaks.
    pub(super) fn cut(&mut self, v: V) {
        let Some(place) = self.places[v.0].take() else { return };
        self.read(v);
        self.wires[place.worker].wires[place.wire.0 as usize] = None;
        self.audiences[place.worker].handle_gone(place.key);
    }

    pub(super) fn is_connected(&self, v: V) -> bool {
        self.places[v.0].is_some()
    }

    pub(super) fn worker(&self, v: V) -> Option<usize> {
        self.places[v.0].map(|place| place.worker)
    }

    pub(super) fn key(&self, v: V) -> ConnectionKey {
        self.places[v.0].expect("connected").key
    }

    /// The wire takes so many bytes more, and no others.
    pub(super) fn set_room(&mut self, v: V, bytes: usize) {
        let Some(place) = self.places[v.0] else { return };
        let wire = self.wires[place.worker].wires[place.wire.0 as usize].as_mut().expect("a wire of its own");
        wire.room = bytes;
    }

    pub(super) fn sends(&self, worker: usize) -> usize {
        self.wires[worker].sends
    }

    // What people send.

    pub(super) fn send(&mut self, v: V, frame: &ClientFrame<'_>) {
        let mut bytes = Vec::new();
        self.encoder.client(frame, &mut bytes);
        self.viewers[v.0].note(frame);
        self.send_bytes(v, &bytes);
    }

    pub(super) fn send_bytes(&mut self, v: V, frame: &[u8]) {
        let (place, now) = (self.places[v.0].expect("connected"), self.now());
        self.audiences[place.worker].handle_frame(now, place.key, frame);
    }

    pub(super) fn hello(&mut self, v: V) {
        let ticket = self.viewers[v.0].ticket.clone();
        let capabilities = self.viewers[v.0].offers;
        self.send(v, &ClientFrame::Hello(Hello { ticket: &ticket, capabilities, ..Hello::default() }));
    }

    pub(super) fn subscribe(&mut self, v: V, room: &str, resume: Option<(u64, u64)>, replay: u32) -> u32 {
        let request = self.viewers[v.0].next_request();
        self.send(v, &ClientFrame::Subscribe(Subscribe { request, room, resume, replay }));
        request
    }

    /// Subscribe where the person stood before.
    pub(super) fn resume(&mut self, v: V, room: &str) -> u32 {
        let place = self.viewers[v.0].places.get(room).copied();
        self.subscribe(v, room, place, 0)
    }

    pub(super) fn unsubscribe(&mut self, v: V, alias: u32) -> u32 {
        let request = self.viewers[v.0].next_request();
        self.send(v, &ClientFrame::Unsubscribe { request, alias });
        request
    }

    /// Say something new; its nonce.
    pub(super) fn say(&mut self, v: V, alias: u32) -> u64 {
        self.viewers[v.0].nonce += 1;
        let nonce = self.viewers[v.0].nonce;
        let text = format!("{} of {} in {alias}", nonce, self.viewers[v.0].session);
        self.say_again(v, alias, nonce, &text);
        nonce
    }

    pub(super) fn say_again(&mut self, v: V, alias: u32, nonce: u64, text: &str) {
        self.send(v, &ClientFrame::Publish(Publish { alias, nonce, text, ..Publish::default() }));
    }

    pub(super) fn react(&mut self, v: V, alias: u32, key: &str, count: u32) {
        self.send(v, &ClientFrame::React(React { alias, key, count }));
    }

    pub(super) fn set_state(&mut self, v: V, alias: u32, key: &str, value: Option<&[u8]>) -> u32 {
        let request = self.viewers[v.0].next_request();
        self.send(v, &ClientFrame::SetState(SetState { request, alias, key, value }));
        request
    }

    pub(super) fn alias(&self, v: V, room: &str) -> u32 {
        self.viewers[v.0].alias_of(room).expect("it follows the room")
    }

    /// So many batches of one message each.
    pub(super) fn talk(&mut self, v: V, room: &str, batches: usize) {
        for _ in 0..batches {
            let alias = self.alias(v, room);
            self.say(v, alias);
            self.run_ms(100);
        }
    }

    pub(super) fn administer(&mut self, room: &str, request: AdminRequest) {
        let (shard, now) = (self.links.shard_of(room), self.now());
        let from = ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) };
        let input = Input::Admin { from, request: Box::new(request) };
        self.shards[usize::from(shard.0)].handle_input(now, input);
    }

    pub(super) fn drain(&mut self, drain: &Drain) {
        let now = self.now();
        self.audiences.iter_mut().for_each(|a| a.handle_drain(now, drain));
    }

    // Time.

    pub(super) fn run_ms(&mut self, ms: u64) {
        let until = self.us + ms * 1000;
        self.turn();
        while self.us < until {
            self.us = (self.us + 5_000).min(until);
            self.turn();
        }
    }

    /// Everything that is due now.
    pub(super) fn turn(&mut self) {
        self.move_inputs();
        self.move_outputs();
        for worker in 0..self.audiences.len() {
            let now = self.now();
            self.audiences[worker].handle_timeout(now);
            self.offer_room(worker);
            self.write(worker);
            self.close_ended(worker);
        }
        for v in 0..self.viewers.len() {
            self.read(V(v));
        }
        self.move_inputs();
    }

    fn move_inputs(&mut self) {
        let now = self.now();
        for shard in 0..self.shards.len() {
            let new: Vec<Input> = std::iter::from_fn(|| self.links.pop(shard)).collect();
            for input in new {
                let due = self.us + self.delay();
                self.going[shard].push_back((due, input));
            }
            while let Some((_, input)) = self.going[shard].pop_front_if(|(due, _)| *due <= now.us) {
                self.shards[shard].handle_input(now, input);
            }
            self.shards[shard].handle_news(now);
            self.shards[shard].handle_timeout(now);
            while let Some((worker, output)) = self.shards[shard].poll_output() {
                if let Output::Admin(reply) = output {
                    assert!(reply.answer.is_ok(), "{:?}", reply.answer);
                    continue;
                }
                let due = self.us + self.delay();
                self.coming[shard][usize::from(worker.0)].push_back((due, output));
            }
        }
    }

    fn move_outputs(&mut self) {
        let mut due = Vec::new();
        for links in &mut self.coming {
            for (worker, link) in links.iter_mut().enumerate() {
                while !self.hold_outputs
                    && let Some((_, output)) = link.pop_front_if(|(due, _)| *due <= self.us)
                {
                    due.push((worker, output));
                }
            }
        }
        for (worker, output) in due {
            self.take_output(worker, output);
        }
    }

    fn delay(&mut self) -> u64 {
        let max = self.delay_us_max;
        self.chance(max)
    }

    /// Tell the audience of wires that have room again.
    fn offer_room(&mut self, worker: usize) {
        for at in 0..self.wires[worker].wires.len() {
            let Some(wire) = self.wires[worker].wires[at].as_mut() else { continue };
            if wire.wants_room && wire.room > 0 {
                wire.wants_room = false;
                let key = self.places[wire.viewer].expect("a wire has a viewer").key;
                self.audiences[worker].handle_writable(key);
            }
        }
    }

    /// Write as a worker does: in turns of a budget, until there is nothing more to do.
    fn write(&mut self, worker: usize) {
        let mut turns = 0;
        while self.writes_max > 0
            && self.audiences[worker].poll_writes(&mut self.wires[worker], self.writes_max)
        {
            turns += 1;
            assert!(turns < 1_000_000, "writing comes to no end");
        }
    }

    /// What is on its way arrives; nothing is written.
    pub(super) fn deliver(&mut self) {
        self.move_inputs();
        self.move_outputs();
    }

    pub(super) fn write_once(&mut self, worker: usize, writes_max: usize) -> bool {
        self.audiences[worker].poll_writes(&mut self.wires[worker], writes_max)
    }

    fn close_ended(&mut self, worker: usize) {
        while let Some(close) = self.audiences[worker].poll_close() {
            let wire = self.wires[worker].wires[close.wire.0 as usize]
                .as_ref()
                .expect("a close of a wire that stands");
            let v = V(wire.viewer);
            assert_eq!(
                self.places[v.0].expect("connected").key,
                close.connection,
                "a close for somebody else"
            );
            self.read(v);
            assert!(!close.is_clean || !self.viewers[v.0].is_mid_frame(), "clean in the middle of a frame");
            self.ended[v.0] =
                Some(Ended { code: close.code, detail: close.detail, is_clean: close.is_clean });
            self.cut(v);
        }
    }

    /// The person reads what the wire took.
    pub(super) fn read(&mut self, v: V) {
        let Some(place) = self.places[v.0] else { return };
        let wire = self.wires[place.worker].wires[place.wire.0 as usize].as_mut().expect("a wire of its own");
        let bytes = std::mem::take(&mut wire.taken);
        self.truth.removed.reader = place.worker;
        self.viewers[v.0].take(&bytes, &mut self.truth);
    }

    /// Let everything come to rest, and check what must then hold: everyone stands at the head of the same
    /// rooms with the same state, every request is answered, and what was acknowledged stands where it was
    /// said to.
    pub(super) fn settle(&mut self) {
        self.hold_outputs = false;
        self.set_full(false);
        (0..self.viewers.len()).for_each(|v| self.set_room(V(v), usize::MAX));
        self.run_ms(3_000);
        let probe = self.guest(0);
        let mut rooms: Vec<String> = self.viewers.iter().flat_map(|v| v.places.keys().cloned()).collect();
        rooms.sort();
        rooms.dedup();
        for room in &rooms {
            self.subscribe(probe, room, None, 0);
        }
        self.run_ms(3_000);
        // What is kept of acts takes versions that only later followers of the room are told.
        let has_acts = self.truth.removed.acts_met > 0;
        for (v, viewer) in self.viewers.iter().enumerate().filter(|(v, _)| self.places[*v].is_some()) {
            assert_eq!(viewer.unanswered(), 0, "viewer {v} waits for an answer: {viewer:?}");
            assert!(!viewer.is_mid_frame());
            for f in viewer.following.values() {
                let best = self.viewers[probe.0].room(&f.room);
                assert_eq!(f.at, best.at, "viewer {v} is not at the head of {}", f.room);
                let version = |f: &Following| if has_acts { 0 } else { f.version };
                assert_eq!(
                    (version(f), &f.state),
                    (version(best), &best.state),
                    "the state of {}, viewer {v}",
                    f.room
                );
            }
        }
        let heads: Vec<Position> = self.viewers[probe.0].following.values().map(|f| f.at).collect();
        for (epoch, offset, text) in &self.truth.promised {
            let head = heads.iter().find(|head| head.epoch == *epoch);
            assert!(
                head.is_none_or(|head| *offset < head.offset),
                "{text:?} was acknowledged beyond the head"
            );
            let said = self.truth.said.get(&(*epoch, *offset));
            assert!(
                said.is_none_or(|said| said == text),
                "{text:?} was acknowledged at {offset}, where {said:?} stands"
            );
        }
        self.cut(probe);
        self.run_ms(100);
        self.check_inside();
        for audience in &self.audiences {
            assert!(!audience.has_work() && audience.subscriptions.shards.deferred() == 0);
            assert!(audience.subscriptions.pages.is_empty());
            let connections = &audience.subscriptions.connections.slab;
            assert!(connections.iter().all(|(_, c)| c.out.is_none() && !c.blocked && !c.queued));
        }
    }
}
