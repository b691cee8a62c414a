//! A world: nodes and their viewers, run by events in virtual time. It plays a story and lets everything come
//! to rest.
//!
//! A world has one node; or a few that know nothing of each other, each with rooms and viewers of its own; or
//! three that are one cluster. Everything small is drawn from the stream of the newest step.
//! Invariant: what happens is a function of plan and story. The trace of two runs of the same is the same.
//! Not here: what is drawn (`plan`, `story`), what must hold during a story (`checker`) and after it
//! (`verdict`).

use grandstand_engine::RoomSettings;
use grandstand_engine::link::AdminRequest;

use crate::checker::{Counts, Violation};
use crate::client::{Inbound, Pace};
use crate::cluster::{MACHINES, NetEvent};
use crate::network::{Link, To};
use crate::node::{Death, Listener, Node};
use crate::people::People;
use crate::plan::Plan;
use crate::process::FromNetwork;
use crate::random::Random;
use crate::scene::{Event, Scene};
use crate::story::{NetFault, Step, What};
use crate::verdict;

/// A world that has had more events than this goes in circles.
const EVENTS_MAX: u64 = 20_000_000;
/// A world in which so many events happen at one moment does so too: a thread spins.
const MOMENT_EVENTS_MAX: u64 = 50_000;

/// A dial that waits in the queue of a listening socket is tried again after this time.
const LISTEN_AGAIN_US: u64 = 20_000;

/// What came of a story.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The promise that was not kept, and after how many steps.
    pub violation: Option<(Violation, usize)>,
    /// A hash of everything that was seen.
    pub trace: u64,
    /// Events that the world had.
    pub events: u64,
    /// Virtual time.
    pub us: u64,
    /// What was seen.
    pub counts: Counts,
    /// Processes that started, on all nodes.
    pub lives: u64,
}

/// Play a story in the world of a plan, and let it come to rest.
pub fn play(plan: &Plan, story: &[Step]) -> Outcome {
    let mut world = World::new(plan);
    let mut steps = 0;
    for step in story {
        world.run_until(world.scene.now_us() + step.after_us);
        if world.scene.checker.violation.is_some() {
            break;
        }
        steps += 1;
        world.scene.random = Random::new(step.salt);
        world.take(&step.what);
    }
    if world.scene.checker.violation.is_none() {
        verdict::rest(&mut world);
    }
    let scene = world.scene;
    Outcome {
        violation: scene.checker.violation.map(|violation| (violation, steps)),
        trace: scene.checker.trace,
        events: scene.queue.taken(),
        us: scene.queue.now_us(),
        counts: scene.checker.counts,
        lives: scene.lives,
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) people: People,
    /// The last moment, and how many events there were before it.
    moment: (u64, u64),
}

impl World<'_> {
    fn new(plan: &Plan) -> World<'_> {
        let mut scene = Scene::new(plan);
        let mut nodes: Vec<Node> = (0..plan.nodes).map(|number| Node::new(number, plan)).collect();
        nodes.iter_mut().for_each(|node| node.start(&mut scene));
        for viewer in 0..plan.clients {
            let after_us = scene.random.below(200_000);
            scene.push(after_us, Event::Dial { viewer, restarts: 0 });
        }
        World { scene, nodes, people: People::new(plan), moment: (0, 0) }
    }

    /// Let everything happen that is due up to a time, or until a promise is broken.
    pub(crate) fn run_until(&mut self, until_us: u64) {
        while self.scene.checker.violation.is_none()
            && let Some(event) = self.scene.queue.pop(until_us)
        {
            let (us, taken) = (self.scene.now_us(), self.scene.queue.taken());
            if self.moment.0 != us {
                self.moment = (us, taken);
            }
            if taken > EVENTS_MAX || taken - self.moment.1 > MOMENT_EVENTS_MAX {
                let since = taken - self.moment.1;
                let detail = format!("{taken} events, {since} of them at {us} us, then {event:?}");
                return self.scene.checker.violate("circles", detail);
            }
            self.handle(event);
        }
    }

    /// As [`World::run_until`], and no longer than something is waited for.
    pub(crate) fn run_while(&mut self, until_us: u64, is_waiting: impl Fn(&Self) -> bool) {
        while self.scene.now_us() < until_us && self.scene.checker.violation.is_none() && is_waiting(self) {
            self.run_until(self.scene.now_us() + 100_000);
        }
    }

    fn handle(&mut self, event: Event) {
        let World { scene, nodes, people, .. } = self;
        match event {
            Event::Shard { node, .. }
            | Event::Worker { node, .. }
            | Event::Disk { node, .. }
            | Event::FuseOut { node, .. }
            | Event::DrainEnds { node, .. }
            | Event::DrainStops { node, .. }
            | Event::Upkeep { node, .. }
            | Event::FromNet { node, .. }
            | Event::Up { node } => nodes[node].handle(scene, event),
            Event::Net(event) => {
                if let Some(cluster) = &mut scene.cluster {
                    cluster.handle(event, &mut scene.queue, (&mut scene.random, &mut scene.checker));
                }
            }
            Event::ToNode { connection, frame } => {
                self.give_node(connection, FromNetwork::Frame(connection, frame));
            }
            Event::Read { connection, bytes } => {
                self.give_node(connection, FromNetwork::Room(connection, bytes));
            }
            Event::NodeHears { connection } => {
                let node = scene.network.get(connection).node;
                nodes[node].give(scene, connection, FromNetwork::Gone(connection));
            }
            Event::ToViewer { connection, bytes } => {
                if scene.network.arrives(scene.now_us(), connection, To::Viewer) {
                    people.give(scene, connection, Inbound::Bytes(bytes));
                }
            }
            Event::ViewerHears { connection, ending } => {
                people.give(scene, connection, Inbound::End(ending));
            }
            Event::Dial { viewer, restarts } => self.dial(viewer, restarts),
            Event::Dialed { viewer, connection } => self.dialed(viewer, connection),
            Event::Viewer { viewer } => people.turn(scene, viewer),
            Event::JoinAgain { viewer } => people.join_again(scene, viewer),
        }
    }

    fn give_node(&mut self, connection: usize, event: FromNetwork) {
        let scene = &mut self.scene;
        if scene.network.arrives(scene.queue.now_us(), connection, To::Node) {
            self.nodes[scene.network.get(connection).node].give(scene, connection, event);
        }
    }

    fn dial(&mut self, viewer: usize, restarts: u64) {
        let Some(node) = self.people.dials(&self.scene, viewer, restarts) else { return };
        match self.nodes[node].listener() {
            Listener::Waiting => self.scene.push(LISTEN_AGAIN_US, Event::Dial { viewer, restarts }),
            Listener::Closed => self.people.refused(&mut self.scene, viewer),
            Listener::Open(life) => self.people.dial(&mut self.scene, viewer, life),
        }
    }

    fn dialed(&mut self, viewer: usize, connection: usize) {
        if self.scene.network.link(viewer) != Link::Dialing(connection) {
            return;
        }
        let node = self.scene.network.get(connection).node;
        if self.nodes[node].accept(&mut self.scene, connection) {
            self.people.connected(&mut self.scene, viewer, connection);
        } else {
            self.people.refused(&mut self.scene, viewer);
        }
    }

    /// A step of the story.
    fn take(&mut self, what: &What) {
        let World { scene, nodes, people, .. } = self;
        scene.checker.note(&[23, scene.queue.now_us()]);
        match *what {
            What::Say { client, room, times } => people.say(scene, client, room, times),
            What::SayAgain { client, which } => people.say_again(scene, client, which),
            What::React { client, room } => people.react(scene, client, room),
            What::SetState { client, room, key, value } => {
                people.set_state(scene, client, room, (key, value));
            }
            What::Join { client, room, replay } => people.join(scene, client, room, replay),
            What::Leave { client, room } => people.leave(scene, client, room),
            What::History { client, room, back, count } => {
                people.ask_history(scene, client, room, (back, count));
            }
            What::Cut { client, how } => people.cut(scene, client, how),
            What::Restart { client } => people.restart(scene, client),
            What::Stall { client } => people.set_pace(scene, client, Pace::Stalled),
            What::Trickle { client, bytes } => people.set_pace(scene, client, Pace::Trickle(bytes)),
            What::Flow { client } => people.set_pace(scene, client, Pace::Flow),
            What::HoldWorker { node, worker, us } => nodes[node].hold_worker(scene, worker, us),
            What::HoldShard { node, shard, us } => nodes[node].hold_shard(scene, shard, us),
            What::Clock { node, step_ms } => nodes[node].step_clock(step_ms),
            What::Crash { node, fuse, down_us } => nodes[node].end(scene, Death::Killed, fuse, down_us),
            What::PowerCut { node, fuse, down_us } => nodes[node].end(scene, Death::PowerCut, fuse, down_us),
            What::Drain { node, spread_us, down_us } => nodes[node].drain(scene, spread_us, down_us),
            What::Disk { node, mood } => nodes[node].set_mood(mood),
            What::Move { shard, to } => {
                // Whoever owns it hands it over; to the others the order means nothing.
                nodes.iter_mut().for_each(|node| node.move_shard(scene, shard, to));
            }
            What::Net(what) => self.take_net(what),
            What::Close { node, room } => {
                nodes[node].administer(scene, room, |room| AdminRequest::Close { room });
            }
            What::Open { node, room } => {
                nodes[node].administer(scene, room, |room| AdminRequest::Open { room });
            }
            What::Remove { node, room } => {
                nodes[node].administer(scene, room, |room| AdminRequest::Remove { room });
            }
            What::Create { node, room } => {
                nodes[node].administer(scene, room, |room| AdminRequest::Create {
                    room,
                    settings: RoomSettings::default(),
                });
            }
            What::Configure { node, room, tick_ms, pacing_per_s, durability } => {
                let settings =
                    RoomSettings { tick_min_ms: tick_ms, tick_max_ms: tick_ms, pacing_per_s, durability };
                nodes[node].administer(scene, room, |room| AdminRequest::Configure { room, settings });
            }
        }
    }

    /// Something happens to the machines, servers and links of a cluster.
    fn take_net(&mut self, what: NetFault) {
        let World { scene, nodes, .. } = self;
        let now_us = scene.queue.now_us();
        let Some(cluster) = &mut scene.cluster else { return };
        let mut later = None;
        match what {
            NetFault::KillServer { machine, us } => {
                cluster.net.servers[machine].is_down = true;
                later = Some((us, NetEvent::Start { machine }));
            }
            NetFault::KillMachine { machine, us } => {
                cluster.net.servers[machine].is_down = true;
                later = Some((us, NetEvent::Start { machine }));
                nodes[machine].end(scene, Death::PowerCut, 0, us);
            }
            NetFault::PauseServer { machine, us } => {
                cluster.net.servers[machine].paused_until_us = now_us + us;
                later = Some((us + 1, NetEvent::Look));
            }
            NetFault::PauseNode { machine, us } => cluster.pause(machine, now_us + us),
            NetFault::Cut { from, to, us, holds } => {
                cluster.net.cut(now_us, (from, to), us, holds);
                later = Some((us + 1, NetEvent::Look));
            }
            NetFault::CutOff { machine, us, inwards, outwards, holds } => {
                for other in 0..MACHINES {
                    if inwards {
                        cluster.net.cut(now_us, (other, machine), us, holds);
                    }
                    if outwards {
                        cluster.net.cut(now_us, (machine, other), us, holds);
                    }
                }
                later = Some((us + 1, NetEvent::Look));
            }
            NetFault::SlowLinks { us } => cluster.net.slow_us = us,
            NetFault::FullDisk { machine } => cluster.net.servers[machine].is_disabled = true,
            NetFault::SlowLog { shard, us } => cluster.set_slow(shard, us),
            NetFault::Elect { shard } => cluster.elect(shard, (now_us, &mut scene.random)),
        }
        if let Some((after_us, event)) = later {
            scene.push(after_us, Event::Net(event));
        }
        if let Some(cluster) = &mut scene.cluster {
            cluster.look((now_us, &mut scene.random));
            cluster.plan_logs(&mut scene.queue);
        }
    }
}
