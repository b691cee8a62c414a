//! People: the viewers of all nodes, and what they do with their connections.
//!
//! A viewer belongs to one node. In a cluster it goes to another when that one does not take it, and at times
//! when its connection ended.
//! Not here: the client core and the app above it (`client`), what a node does (`node`).

use grandstand_client::core::{Ending, Event as ClientEvent, Next, Session};

use crate::client::{Inbound, Pace, Viewer};
use crate::network::{Link, To};
use crate::plan::Plan;
use crate::scene::{Event, Scene, room_name};
use crate::story::Break;

/// An app follows a room again after this time when it was sent out of it.
const JOIN_AGAIN_US: u64 = 150_000;

/// A viewer that reads a few bytes at a time reads again after this time.
const TRICKLE_EVERY_US: u64 = 10_000;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct People {
    viewers: Vec<Viewer>,
}

impl People {
    /// The viewers of a plan, spread over its nodes, none of them connected.
    pub(crate) fn new(plan: &Plan) -> People {
        let seed = |number: usize| plan.seed ^ (number as u64 + 1).rotate_left(32);
        let viewer = |number| Viewer::new(number, number % plan.nodes, seed(number));
        People { viewers: (0..plan.clients).map(viewer).collect() }
    }

    /// All viewers.
    pub(crate) fn all(&self) -> &[Viewer] {
        &self.viewers
    }

    /// A viewer more, which joins some rooms of a node and reads all of them.
    pub(crate) fn add_probe(&mut self, scene: &mut Scene<'_>, node: usize, rooms: &[String]) -> usize {
        let number = self.viewers.len();
        let seed = scene.plan.seed ^ 0xabcd_ef01 ^ (node as u64).rotate_left(48);
        let mut viewer = Viewer::new(number, node, seed);
        viewer.is_probe = true;
        rooms.iter().for_each(|room| viewer.join(room, 0));
        self.viewers.push(viewer);
        scene.network.add_viewer();
        scene.push(0, Event::Dial { viewer: number, restarts: 0 });
        number
    }

    // Connections.

    /// The node that a viewer would dial now. `None`: it is connected, or its app has restarted since.
    pub(crate) fn dials(&self, scene: &Scene<'_>, viewer: usize, restarts: u64) -> Option<usize> {
        let v = &self.viewers[viewer];
        (v.restarts == restarts && scene.network.link(viewer) == Link::Down).then_some(v.node)
    }

    /// A viewer dials a process of its node.
    pub(crate) fn dial(&mut self, scene: &mut Scene<'_>, viewer: usize, life: u64) {
        let worker = scene.random.index(scene.plan.workers.into());
        let connection = scene.network.dial(viewer, self.viewers[viewer].node, life, worker);
        let after_us = 2 * scene.network.draw_delay(&mut scene.random);
        scene.push(after_us, Event::Dialed { viewer, connection });
    }

    /// A viewer's connection is established.
    pub(crate) fn connected(&mut self, scene: &mut Scene<'_>, viewer: usize, connection: usize) {
        scene.network.set_link(viewer, Link::Up(connection));
        self.viewers[viewer].session.handle_connected(scene.now_us());
        scene.checker.handle_connected(viewer, scene.network.get(connection).life);
        self.pump(scene, viewer);
    }

    /// A viewer's attempt to connect failed.
    pub(crate) fn refused(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        self.disconnected(scene, viewer, Ending::Broken(std::io::ErrorKind::ConnectionRefused));
    }

    /// A connection is over, or could not be established.
    fn disconnected(&mut self, scene: &mut Scene<'_>, viewer: usize, ending: Ending) {
        scene.network.set_link(viewer, Link::Down);
        let us = scene.now_us();
        let is_refused = matches!(ending, Ending::Broken(std::io::ErrorKind::ConnectionRefused));
        let v = &mut self.viewers[viewer];
        if scene.plan.is_cluster && !v.is_probe && (is_refused || scene.random.chance(40)) {
            v.node = (v.node + 1 + scene.random.index(scene.plan.nodes - 1)) % scene.plan.nodes;
        }
        v.inbound.clear();
        v.partial.clear();
        let act = |session: &mut Session, emit: &mut dyn FnMut(&ClientEvent<'_>)| {
            session.handle_disconnected(us, ending, &mut |event| emit(&event))
        };
        let next = v.with_events(us, &mut scene.checker, act);
        let restarts = v.restarts;
        drop(v.session.take_where_to());
        if let Next::Reconnect { after_us } = next {
            scene.push(after_us, Event::Dial { viewer, restarts });
        }
        self.plan_timers(scene, viewer);
    }

    /// Something arrives on a connection, unless its viewer has given it up.
    pub(crate) fn give(&mut self, scene: &mut Scene<'_>, connection: usize, inbound: Inbound) {
        if scene.network.is_up(connection) {
            let viewer = scene.network.get(connection).viewer;
            self.viewers[viewer].inbound.push_back(inbound);
            self.read(scene, viewer);
        }
    }

    /// A viewer reads what it can, and acts on it.
    fn read(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        let Link::Up(connection) = scene.network.link(viewer) else { return };
        let now_us = scene.now_us();
        let (read, ending) = self.viewers[viewer].read(now_us, connection, &mut scene.checker);
        if read > 0 {
            scene.send(connection, To::Node, Event::Read { connection, bytes: read });
        }
        if let Some(ending) = ending {
            scene.checker.handle_connection_over(connection);
            return self.disconnected(scene, viewer, ending);
        }
        self.pump(scene, viewer);
        let v = &self.viewers[viewer];
        if matches!(v.pace, Pace::Trickle(_)) && !v.inbound.is_empty() {
            self.plan_turn(scene, viewer, now_us + TRICKLE_EVERY_US);
        }
    }

    /// A viewer sends what its session has to send, and closes its connection if the session wants that.
    fn pump(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        let Link::Up(connection) = scene.network.link(viewer) else {
            return self.plan_timers(scene, viewer);
        };
        loop {
            let mut frame = Vec::new();
            if !self.viewers[viewer].session.poll_transmit(scene.now_us(), &mut frame) {
                break;
            }
            scene.send(connection, To::Node, Event::ToNode { connection, frame: frame.into() });
        }
        if self.viewers[viewer].session.poll_close().is_some() {
            scene.send(connection, To::Node, Event::NodeHears { connection });
            scene.checker.handle_connection_over(connection);
            return self.disconnected(scene, viewer, Ending::Eof);
        }
        let v = &self.viewers[viewer];
        if v.rooms.keys().any(|name| v.room(name).is_none()) {
            scene.push(JOIN_AGAIN_US, Event::JoinAgain { viewer });
        }
        self.plan_timers(scene, viewer);
    }

    // Timers.

    fn plan_timers(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        let v = &mut self.viewers[viewer];
        let again_us = v.wanted.values().filter_map(|wanted| wanted.again_us).min();
        if let Some(us) = v.session.poll_timeout().into_iter().chain(again_us).min() {
            self.plan_turn(scene, viewer, us);
        }
    }

    fn plan_turn(&mut self, scene: &mut Scene<'_>, viewer: usize, at_us: u64) {
        let (v, at_us) = (&mut self.viewers[viewer], at_us.max(scene.now_us()));
        if at_us < v.planned_us {
            v.planned_us = at_us;
            scene.push(at_us - scene.now_us(), Event::Viewer { viewer });
        }
    }

    /// A viewer's timer is due.
    pub(crate) fn turn(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        let (v, now_us) = (&mut self.viewers[viewer], scene.now_us());
        if v.planned_us != now_us {
            return;
        }
        v.planned_us = u64::MAX;
        v.say_refused_again(now_us);
        v.session.handle_timeout(now_us);
        match scene.network.link(viewer) {
            Link::Up(_) => self.read(scene, viewer),
            _ => self.pump(scene, viewer),
        }
    }

    /// A viewer follows again the rooms that it was sent out of.
    pub(crate) fn join_again(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        self.viewers[viewer].join_again();
        self.pump(scene, viewer);
    }

    // Steps of a story.

    /// A viewer says something new, so many times.
    pub(crate) fn say(&mut self, scene: &mut Scene<'_>, viewer: usize, room: usize, times: usize) {
        let name = self.name(scene.plan, viewer, room);
        for _ in 0..times {
            let pad = scene.random.index(80);
            let reply_to = scene.checker.reading(viewer, &name).filter(|_| scene.random.chance(20));
            let reply_to = reply_to.and_then(|(_, next)| next.checked_sub(1 + scene.random.below(5)));
            if let Some((nonce, text)) = self.viewers[viewer].say(scene.now_us(), &name, pad, reply_to) {
                scene.checker.handle_said(viewer, nonce, &text);
                self.pump(scene, viewer);
            }
        }
    }

    /// A viewer retries one of its newest publications.
    pub(crate) fn say_again(&mut self, scene: &mut Scene<'_>, viewer: usize, which: usize) {
        self.viewers[viewer].say_again(scene.now_us(), which);
        self.pump(scene, viewer);
    }

    /// A viewer reacts.
    pub(crate) fn react(&mut self, scene: &mut Scene<'_>, viewer: usize, room: usize) {
        let name = self.name(scene.plan, viewer, room);
        let v = &mut self.viewers[viewer];
        if let Some(room) = v.room(&name) {
            let _ = v.session.react(room, "x", 1);
            self.pump(scene, viewer);
        }
    }

    /// A viewer sets or removes a key of a room's state.
    pub(crate) fn set_state(
        &mut self,
        scene: &mut Scene<'_>,
        viewer: usize,
        room: usize,
        (key, value): (u8, Option<u8>),
    ) {
        let name = self.name(scene.plan, viewer, room);
        let v = &mut self.viewers[viewer];
        if let Some(room) = v.room(&name) {
            let value = value.map(|byte| vec![byte; 1 + usize::from(byte) / 4]);
            let _ = v.session.set_state(room, &format!("key{key}"), value.as_deref());
            self.pump(scene, viewer);
        }
    }

    /// A viewer follows a room.
    pub(crate) fn join(&mut self, scene: &mut Scene<'_>, viewer: usize, room: usize, replay: u32) {
        let name = self.name(scene.plan, viewer, room);
        self.viewers[viewer].join(&name, replay);
        self.pump(scene, viewer);
    }

    /// A viewer follows a room no longer.
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>, viewer: usize, room: usize) {
        let name = self.name(scene.plan, viewer, room);
        self.viewers[viewer].leave(&name);
        scene.checker.handle_left(viewer, &name);
        self.pump(scene, viewer);
    }

    /// A viewer asks for `count` messages from `back` messages ago.
    pub(crate) fn ask_history(
        &mut self,
        scene: &mut Scene<'_>,
        viewer: usize,
        room: usize,
        (back, count): (u64, u64),
    ) {
        let name = self.name(scene.plan, viewer, room);
        let v = &mut self.viewers[viewer];
        if let (Some(room), Some((_, next))) = (v.room(&name), scene.checker.reading(viewer, &name)) {
            let _ = v.session.history(room, next.saturating_sub(back), count);
            self.pump(scene, viewer);
        }
    }

    /// A viewer asks for the whole history of some rooms.
    pub(crate) fn ask_all_history(&mut self, scene: &mut Scene<'_>, viewer: usize, rooms: &[String]) {
        let v = &mut self.viewers[viewer];
        for room in rooms {
            if let Some(id) = v.room(room) {
                let _ = v.session.history(id, 0, u64::MAX);
            }
        }
        self.pump(scene, viewer);
    }

    /// A viewer reads faster or slower.
    pub(crate) fn set_pace(&mut self, scene: &mut Scene<'_>, viewer: usize, pace: Pace) {
        let v = &mut self.viewers[viewer];
        v.pace = pace;
        v.session.handle_reading_held(scene.now_us(), pace == Pace::Stalled);
        if pace != Pace::Stalled {
            self.read(scene, viewer);
        }
    }

    /// A connection breaks. What is under way arrives up to some moment, and each side may hear of it.
    pub(crate) fn cut(&self, scene: &mut Scene<'_>, viewer: usize, how: Break) {
        let Link::Up(connection) = scene.network.link(viewer) else { return };
        let now_us = scene.now_us();
        let node_us = scene.network.draw_delay(&mut scene.random);
        let viewer_us = scene.network.draw_delay(&mut scene.random);
        scene.network.cut(connection, To::Node, now_us + node_us);
        scene.network.cut(connection, To::Viewer, now_us + viewer_us);
        if how != Break::NodeUnaware {
            scene.push(node_us, Event::NodeHears { connection });
        }
        if how != Break::ClientUnaware {
            let ending = Ending::Broken(std::io::ErrorKind::ConnectionReset);
            scene.push(viewer_us, Event::ViewerHears { connection, ending });
        }
    }

    /// A viewer's app ends, and a new one takes its place, which knows the positions of the old one.
    pub(crate) fn restart(&mut self, scene: &mut Scene<'_>, viewer: usize) {
        if let Link::Up(connection) = scene.network.link(viewer) {
            scene.send(connection, To::Node, Event::NodeHears { connection });
            scene.checker.handle_connection_over(connection);
        }
        scene.network.set_link(viewer, Link::Down);
        let kept = self.viewers[viewer].restart();
        scene.checker.handle_restart(viewer, &kept);
        let (after_us, restarts) = (scene.random.below(300_000), self.viewers[viewer].restarts);
        scene.push(after_us, Event::Dial { viewer, restarts });
    }

    /// The name of a room of the viewer's node.
    fn name(&self, plan: &Plan, viewer: usize, room: usize) -> String {
        room_name(plan, self.viewers[viewer].node, room)
    }
}
