//! The verdict: everything heals, the world comes to rest, and then everything must be in its place.
//!
//! A probe joins each node, reads every room from its oldest message, and stands where every viewer of that
//! node must stand.
//! Not here: what must hold while a story goes on (`checker`).

use std::collections::BTreeSet;

use crate::client::{Pace, Viewer};
use crate::network::Link;
use crate::node::Node;
use crate::random::Random;
use crate::world::World;

/// A world that is left alone comes to rest within this time.
const REST_US_MAX: u64 = 120_000_000;

/// A node's rooms, and the viewer that reads all of them.
struct Probe {
    node: usize,
    viewer: usize,
    rooms: Vec<String>,
}

/// Let a world come to rest, and look whether everything is in its place.
pub(crate) fn rest(world: &mut World<'_>) {
    world.scene.random = Random::new(world.scene.plan.seed ^ 2);
    for viewer in 0..world.people.all().len() {
        world.people.set_pace(&mut world.scene, viewer, Pace::Flow);
    }
    if let Some(cluster) = &mut world.scene.cluster {
        cluster.heal(&mut world.scene.queue, &mut world.scene.random);
    }
    world.nodes.iter_mut().for_each(|node| node.heal(&mut world.scene));
    let until_us = world.scene.now_us() + REST_US_MAX;
    world.run_while(until_us, |world| !is_quiet(world));
    // What connections that are gone had sent may still be on its way inside.
    world.run_until(world.scene.now_us() + 3_000_000);
    let probes: Vec<Probe> = (0..world.nodes.len()).map(|node| send_probe(world, node)).collect();
    world.run_while(until_us, |world| !is_quiet(world));
    for probe in &probes {
        world.people.ask_all_history(&mut world.scene, probe.viewer, &probe.rooms);
    }
    let has_read = |world: &World<'_>, probe: &Probe| {
        world.people.all()[probe.viewer].past_over.len() >= probe.rooms.len()
    };
    world.run_while(until_us, |world| !probes.iter().all(|probe| has_read(world, probe)));
    // Counts of viewers come a while after they joined.
    world.run_until(world.scene.now_us() + 5_000_000);
    world.run_while(until_us, |world| {
        !is_quiet(world) || !probes.iter().all(|probe| is_even(world, probe)) || has_differences(world)
    });
    if world.scene.checker.violation.is_none() {
        check_answers(world);
        let World { nodes, scene, .. } = world;
        for difference in nodes.iter().flat_map(|node| node.differences(scene)).collect::<Vec<_>>() {
            scene.checker.violate("copies", difference);
        }
        probes.iter().for_each(|probe| check_rooms(world, probe));
    }
}

fn send_probe(world: &mut World<'_>, node: usize) -> Probe {
    let is_cluster = world.scene.plan.is_cluster;
    let own = world.people.all().iter().filter(|v| is_cluster || v.node == node);
    let rooms: BTreeSet<String> = own.flat_map(|v| v.rooms.keys().cloned()).collect();
    let rooms: Vec<String> = rooms.into_iter().collect();
    Probe { node, viewer: world.people.add_probe(&mut world.scene, node, &rooms), rooms }
}

fn is_quiet(world: &World<'_>) -> bool {
    world.nodes.iter().all(|node| node.is_running()) && world.people.all().iter().all(Viewer::is_at_rest)
}

/// Does a node have a copy that is not what the log says?
fn has_differences(world: &World<'_>) -> bool {
    world.nodes.iter().any(|node| !node.differences(&world.scene).is_empty())
}

/// Does every viewer of the node stand where the probe stands, with the same state?
fn is_even(world: &World<'_>, probe: &Probe) -> bool {
    let best = &world.people.all()[probe.viewer];
    let own = world.people.all().iter().filter(|v| v.node == probe.node);
    own.flat_map(|v| v.rooms.keys().map(move |room| (v, room))).all(|(v, room)| {
        let reading = |v: &Viewer| world.scene.checker.reading(v.number, room);
        reading(v) == reading(best) && states(v, room) == states(best, room)
    })
}

/// Every request must be answered, and every room followed.
fn check_answers(world: &mut World<'_>) {
    let nodes: Vec<String> = world.nodes.iter().map(Node::describe).collect();
    let (scene, viewers) = (&mut world.scene, world.people.all());
    for v in viewers {
        let open = match scene.network.link(v.number) {
            Link::Up(connection) => scene.checker.open(connection),
            _ => Vec::new(),
        };
        if !v.is_at_rest() || !open.is_empty() {
            let (up, unanswered, wanted) = (v.session.is_up(), v.session.unanswered(), &v.wanted);
            let is_live = |name: &String| v.room(name).is_some_and(|room| v.session.is_live(room));
            let live: Vec<bool> = v.rooms.keys().map(is_live).collect();
            let detail = format!(
                "client {} does not come to rest: up {up}, rooms live {live:?}, unanswered {unanswered}, \
                 open {open:x?}, wanted {wanted:?}, inbound {}; {}",
                v.number,
                v.inbound.len(),
                nodes.join("; ")
            );
            return scene.checker.violate("unanswered", detail);
        }
    }
}

/// Every viewer of a node must stand at the end of its rooms, with their state, and the logs must be whole.
fn check_rooms(world: &mut World<'_>, probe: &Probe) {
    if world.scene.checker.violation.is_some() {
        return;
    }
    let (checker, viewers) = (&mut world.scene.checker, world.people.all());
    let plan = world.scene.plan;
    let may_trim = plan.has_log || plan.shard.history_batches_max < 1000;
    let best = &viewers[probe.viewer];
    for room in &probe.rooms {
        let Some((epoch, head)) = checker.reading(probe.viewer, room) else { continue };
        for v in viewers.iter().filter(|v| v.rooms.contains_key(room)) {
            checker.check_viewer(v.number, room, epoch, head);
            let (own, newest) = (states(v, room), states(best, room));
            if own != newest {
                let number = v.number;
                let detail =
                    format!("client {number} has {own:?} as the state of {room}, the newest has {newest:?}");
                checker.violate("state", detail);
            }
        }
        let past = best.past.get(room).map_or(&[][..], Vec::as_slice);
        checker.check_log(room, epoch, past, head, may_trim);
    }
}

type State = Vec<(String, Vec<u8>)>;

fn states(viewer: &Viewer, room: &str) -> Option<State> {
    let id = viewer.room(room)?;
    Some(viewer.session.states(id).map(|(key, value)| (key.to_owned(), value.to_vec())).collect())
}
