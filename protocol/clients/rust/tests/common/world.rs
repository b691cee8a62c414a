//! The world of the session's tests: a session, a scripted node, what is under way between them, and a clock.
//!
//! Invariant: nothing happens but by a call; time passes only by [`World::advance`].
//! Not here: what the node does (`common`), what is asked of the session (the tests).

use std::collections::VecDeque;

use grandstand_client::core::{
    Ending, Fault, Next, Options, OwnedEvent as E, Publication, RoomId, Session, SubscribeOptions,
};

use super::{HEARTBEAT_MS, ScriptedNode};

pub const HEARTBEAT_US: u64 = HEARTBEAT_MS as u64 * 1000;

/// A session, a node, and what is under way between them.
pub struct World {
    pub now_us: u64,
    pub session: Session,
    pub room: RoomId,
    pub node: ScriptedNode,
    pub to_node: VecDeque<Vec<u8>>,
    pub events: Vec<E>,
}

impl World {
    pub fn new(options: Options) -> World {
        World::replaying(options, 0)
    }

    pub fn replaying(options: Options, replay: u32) -> World {
        let mut session = Session::new(options);
        let room = session.subscribe("show", SubscribeOptions { replay, resume: None }).unwrap();
        let (node, to_node) = (ScriptedNode::new(), VecDeque::new());
        World { now_us: 1_000_000, session, room, node, to_node, events: Vec::new() }
    }

    /// Connected, welcomed, subscribed.
    pub fn up() -> World {
        let mut world = World::new(Options { seed: 5, ..Options::default() });
        world.connect();
        world.settle();
        assert!(world.session.is_live(world.room));
        world
    }

    pub fn connect(&mut self) {
        self.session.handle_connected(self.now_us);
        self.transmit();
    }

    pub fn transmit(&mut self) {
        let mut frame = Vec::new();
        while self.session.poll_transmit(self.now_us, &mut frame) {
            self.to_node.push_back(std::mem::take(&mut frame));
        }
    }

    pub fn deliver_to_node(&mut self, frames_max: usize) {
        for frame in self.to_node.drain(..frames_max.min(self.to_node.len())) {
            self.node.handle_frame(&frame);
        }
    }

    pub fn deliver_to_client(&mut self, frames_max: usize) {
        for _ in 0..frames_max {
            let Some(frame) = self.node.to_client.pop_front() else { break };
            self.session.handle_frame(self.now_us, &frame, &mut |event| self.events.push(event.to_owned()));
        }
        self.transmit();
    }

    /// Until nothing is under way.
    pub fn settle(&mut self) {
        self.transmit();
        while !self.to_node.is_empty() || !self.node.to_client.is_empty() {
            self.deliver_to_node(usize::MAX);
            self.deliver_to_client(usize::MAX);
        }
    }

    pub fn disconnect(&mut self, ending: Ending) -> Next {
        self.node.handle_disconnected();
        self.to_node.clear();
        self.session.handle_disconnected(self.now_us, ending, &mut |event| self.events.push(event.to_owned()))
    }

    /// Cut, back, settled.
    pub fn reconnect(&mut self) {
        assert!(matches!(self.disconnect(Ending::Eof), Next::Reconnect { .. }));
        self.connect();
        self.settle();
    }

    pub fn pump(&mut self) {
        self.node.pump(3);
        self.settle();
    }

    pub fn advance(&mut self, by_us: u64) {
        self.now_us += by_us;
        self.session.handle_timeout(self.now_us);
        self.transmit();
    }

    pub fn publish(&mut self, text: &str) -> u64 {
        self.session.publish(self.now_us, self.room, &Publication { text, ..Publication::default() }).unwrap()
    }

    pub fn unsubscribe(&mut self, room: RoomId) {
        self.session.unsubscribe(room, &mut |event| self.events.push(event.to_owned()));
    }

    pub fn texts(&self) -> Vec<(u64, &str, bool)> {
        let message = |e| match e {
            &E::Message { offset, ref text, replay, .. } => Some((offset, &**text, replay)),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.events
            .iter()
            .filter_map(|e| if let E::Fault { fault, .. } = e { Some(*fault) } else { None })
            .collect()
    }

    pub fn count(&self, which: impl Fn(&E) -> bool) -> usize {
        self.events.iter().filter(|e| which(e)).count()
    }
}
