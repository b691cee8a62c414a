//! Detour: to the server of a node that hears more than this one, while a link between two machines is cut.
//!
//! Why: servers pass on what a client or one other server sent, and nothing over two of them. Where one link
//! is cut, two nodes do not hear each other, though a third hears both. At the server of the third they do.
//! Invariants: nobody leaves its server for a node that died: the third must have heard it just now. Between
//! two moves there are at least [`MOVE_EVERY_MS`].
//! Not here: the client's own search for a server that answers (async-nats).

use std::collections::BTreeMap;

use grandstand_cluster::id::NodeId;
use grandstand_cluster::membership::{Heartbeat, Membership};
use grandstand_cluster::time::{OwnTime, PeerTime};

use super::Driver;

/// A node is not heard when it was silent for so long: longer than a heartbeat that comes late.
const UNHEARD_MS: u64 = 1_200;

/// Another node hears it if what it echoes rose within this time: two heartbeats, and a late one.
const ECHOED_MS: u64 = 600;

/// A move costs a moment of silence, so the next one waits.
const MOVE_EVERY_MS: u64 = 5_000;

/// Who is at another's server and hears nobody goes back at once; after a move some time must pass.
const ALONE_MS: u64 = 2_000;

/// Its own server is the best: a node goes back to it after this time. It costs another move where the link
/// is still cut.
const BACK_AFTER_MS: u64 = 60_000;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Detour {
    /// What a node echoed of another one last, and since when.
    echoes: BTreeMap<(NodeId, NodeId), (PeerTime, OwnTime)>,
    /// The node whose server this one uses in place of its own.
    at: Option<NodeId>,
    moved: Option<OwnTime>,
}

impl Detour {
    /// A node was heard, and says whom it heard.
    pub(super) fn handle_heartbeat(&mut self, now: OwnTime, heartbeat: &Heartbeat) {
        for echo in &heartbeat.echoes {
            let known = self.echoes.entry((heartbeat.node, echo.node)).or_insert((echo.sent, now));
            if known.0 != echo.sent {
                *known = (echo.sent, now);
            }
        }
    }

    /// The node to whose server this one goes now; itself: back to its own.
    pub(super) fn poll(&mut self, now: OwnTime, membership: &Membership, peers: &[NodeId]) -> Option<NodeId> {
        let since_move = self.moved.map_or(u64::MAX, |moved| now.since(moved));
        let hears_nobody = peers.iter().all(|node| !membership.hears(now, *node));
        if self.at.is_some() && hears_nobody && since_move >= ALONE_MS {
            // The way to that server is cut, and the client would take long to notice.
            (self.at, self.moved) = (None, Some(now));
            return Some(membership.me());
        }
        if since_move < MOVE_EVERY_MS {
            return None;
        }
        let silence = |node: NodeId| membership.heard_at(node).map(|heard| now.since(heard));
        let is_deaf = |node: &&NodeId| silence(**node).is_some_and(|silent| silent >= UNHEARD_MS);
        let hears = |by: NodeId, node: NodeId| {
            let echo = self.echoes.get(&(by, node));
            echo.is_some_and(|(_, since)| now.since(*since) < ECHOED_MS)
        };
        let missing = peers.iter().find(is_deaf);
        let to = match missing {
            Some(&missing) => peers.iter().copied().find(|&by| {
                by != missing && Some(by) != self.at && membership.hears(now, by) && hears(by, missing)
            })?,
            None => {
                let since = self.moved.filter(|_| self.at.is_some())?;
                (now.since(since) >= BACK_AFTER_MS).then(|| membership.me())?
            }
        };
        self.at = (to != membership.me()).then_some(to);
        self.moved = Some(now);
        Some(to)
    }
}

/// Goes to another server if this node hears less than others do.
pub(super) fn go(driver: &mut Driver) {
    let nodes: Vec<NodeId> = driver.peers.iter().map(|peer| peer.node).collect();
    if driver.servers.len() != nodes.len() + 1 || !driver.is_connected() {
        return;
    }
    let (me, now) = (driver.membership.me(), driver.now());
    let Some(to) = driver.detour.poll(now, &driver.membership, &nodes) else { return };
    // The servers are in the order of the nodes, from this node's own on.
    let mut all = nodes;
    all.push(me);
    all.sort_unstable();
    let place = |node: NodeId| all.iter().position(|known| *known == node).unwrap_or(0);
    let by = (place(to) + all.len() - place(me)) % all.len();
    let mut servers = driver.servers.clone();
    servers[..=by].rotate_right(1);
    let client = driver.client.clone();
    tokio::spawn(async move {
        // A client that is gone has nowhere to go.
        if client.set_server_pool(servers).await.is_ok() {
            let _ = client.force_reconnect().await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_cluster::id::Incarnation;
    use grandstand_cluster::membership::{Config, Echo, Facts, Versions};

    const NODES: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];
    const PEERS: [NodeId; 2] = [NodeId(1), NodeId(2)];

    struct Scene {
        now: OwnTime,
        membership: Membership,
        detour: Detour,
    }

    impl Scene {
        fn new() -> Scene {
            let config = Config {
                me: NODES[0],
                incarnation: Incarnation(1),
                nodes: NODES.to_vec(),
                facts: Facts { seed: 1, shards: 1, ticket_key_print: 1 },
                versions: Versions { min: 1, max: 1 },
            };
            let membership = Membership::new(OwnTime(0), config).unwrap();
            let mut scene = Scene { now: OwnTime(10_000), membership, detour: Detour::default() };
            scene.pass(1_000, &PEERS, &PEERS);
            scene
        }

        /// For so long these nodes are heard by this one, and each hears `by_them`.
        fn pass(&mut self, ms: u64, heard: &[NodeId], by_them: &[NodeId]) -> Vec<NodeId> {
            let mut moves = Vec::new();
            for _ in 0..ms / 200 {
                self.now = self.now.plus(200);
                for &node in heard {
                    let echo = |of: &NodeId| Echo {
                        node: *of,
                        incarnation: Incarnation(1),
                        sent: PeerTime(self.now.0),
                    };
                    let heartbeat = Heartbeat {
                        node,
                        incarnation: Incarnation(1),
                        sent: PeerTime(self.now.0),
                        echoes: by_them.iter().filter(|of| **of != node).map(echo).collect(),
                        facts: Facts { seed: 1, shards: 1, ticket_key_print: 1 },
                        versions: Versions { min: 1, max: 1 },
                        reports: Vec::new(),
                        load: 0,
                        house: 0,
                        about: grandstand_cluster::membership::About::default(),
                    };
                    self.membership.handle_heartbeat(self.now, &heartbeat).unwrap();
                    self.detour.handle_heartbeat(self.now, &heartbeat);
                }
                moves.extend(self.detour.poll(self.now, &self.membership, &PEERS));
            }
            moves
        }
    }

    #[test]
    fn a_node_that_another_hears_is_heard_at_the_others_server() {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(1_000, &PEERS[..1], &PEERS), [], "it may only be late");
        assert_eq!(scene.pass(400, &PEERS[..1], &PEERS), [NODES[1]]);
        // There it hears both, and after a minute it goes home.
        assert_eq!(scene.pass(59_000, &PEERS, &PEERS), []);
        assert_eq!(scene.pass(2_000, &PEERS, &PEERS), [NODES[0]]);
        assert_eq!(scene.pass(120_000, &PEERS, &PEERS), [], "it stays at home");
    }

    #[test]
    fn nobody_moves_for_a_node_that_died_or_when_it_is_cut_off_itself() {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(20_000, &PEERS[..1], &PEERS[..1]), []);
        let mut scene = Scene::new();
        assert_eq!(scene.pass(20_000, &[], &PEERS), []);
    }

    #[test]
    fn whoever_hears_nobody_at_anothers_server_goes_home_at_once() {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(1_400, &PEERS[..1], &PEERS), [NODES[1]]);
        scene.pass(2_000, &PEERS, &PEERS);
        assert_eq!(scene.pass(1_200, &[], &PEERS), [NODES[0]]);
        assert_eq!(scene.pass(20_000, &[], &PEERS), [], "at home there is nowhere to go");
    }

    #[test]
    fn moves_are_rare_whatever_is_heard() {
        let mut scene = Scene::new();
        let moves = scene.pass(60_000, &PEERS[..1], &PEERS);
        // The other server does not help, and there is no third.
        assert_eq!(moves, [NODES[1]]);
    }
}
