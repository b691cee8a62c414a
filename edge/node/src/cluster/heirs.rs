//! Heirs: which nodes take the clients of a node that drains, and how many each.
//!
//! Why by load: all clients at the next node would be a wave there, and leave the others empty. Filling up
//! those with the fewest connections first makes all equal.
//! Invariant: a node that is not heard, or drains, gets nobody.
//! Not here: which client goes where (`grandstand_edge_core::audience`), when a node drains (`shutdown`).

use grandstand_cluster::id::NodeId;
use grandstand_cluster::membership::ALIVE_MS;
use grandstand_edge_core::audience::Heir;
use grandstand_nats::PeerStatus;

use super::Cluster;

impl Cluster {
    /// The live nodes, with the number of the own clients that each should get.
    pub(crate) fn heirs(&self, clients: usize) -> Vec<Heir> {
        let peers = self.network().peers;
        let takes = |node: &NodeId| peers.get(node).is_some_and(|peer| !peer.about.is_draining);
        let (addresses, loads): (Vec<String>, Vec<u32>) = self
            .live()
            .into_iter()
            .filter(|(node, _)| takes(node))
            .filter_map(|(node, load)| Some((self.addresses.get(usize::from(node.0))?.clone(), load)))
            .unzip();
        let parts = parts(clients as u64, &loads);
        addresses.into_iter().zip(parts).map(|(where_to, weight)| Heir { where_to, weight }).collect()
    }

    /// The other nodes that are heard, and how many connections each has.
    pub(super) fn live(&self) -> Vec<(NodeId, u32)> {
        let now = self.now();
        let peers = self.network().peers;
        let is_live = |peer: &PeerStatus| {
            !peer.is_unreachable && peer.heard.is_some_and(|heard| now.since(heard) < ALIVE_MS)
        };
        peers.iter().filter(|(_, peer)| is_live(peer)).map(|(node, peer)| (*node, peer.load)).collect()
    }
}

/// How many of these clients nodes with so many connections get: those with the fewest are filled up first.
fn parts(clients: u64, loads: &[u32]) -> Vec<u32> {
    let mut sorted: Vec<u64> = loads.iter().map(|&load| load.into()).collect();
    sorted.sort_unstable();
    // The level up to which everybody below it is filled: of the first n, for the largest n that it reaches.
    let (mut sum, mut level) = (0, 0);
    for (n, &load) in (1..).zip(&sorted) {
        if n > 1 && level <= load {
            break;
        }
        sum += load;
        level = (clients + sum).div_ceil(n);
    }
    let parts: Vec<u32> = loads.iter().map(|&load| level.saturating_sub(load.into()) as u32).collect();
    // Without clients nobody gets more than others.
    if parts.iter().all(|&part| part == 0) { vec![1; loads.len()] } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::random::Random;

    #[test]
    fn the_emptiest_are_filled_first() {
        assert_eq!(parts(600, &[100, 100]), [300, 300]);
        assert_eq!(parts(600, &[0, 200]), [400, 200]);
        assert_eq!(parts(100, &[0, 5_000, 50]), [75, 0, 25]);
        assert_eq!(parts(0, &[7, 9]), [1, 1]);
        assert_eq!(parts(9, &[]), [] as [u32; 0]);
    }

    #[test]
    fn whoever_gets_clients_ends_with_the_same_number_and_nobody_else_has_less() {
        let mut random = Random::new(11);
        for case in 0..10_000 {
            let (clients, nodes) = (1 + random.below(100_000), 1 + random.below(4));
            let loads: Vec<u32> = (0..nodes).map(|_| random.below(50_000) as u32).collect();
            let parts = parts(clients, &loads);
            let given: u64 = parts.iter().map(|&part| u64::from(part)).sum();
            assert!((clients..clients + nodes).contains(&given), "{case}: {clients} to {loads:?}: {parts:?}");
            let levels =
                parts.iter().zip(&loads).filter(|(part, _)| **part > 0).map(|(part, load)| part + load);
            let level = levels.clone().next().unwrap();
            assert!(levels.into_iter().all(|other| other == level), "{case}");
            assert!(parts.iter().zip(&loads).all(|(&part, &load)| part > 0 || load >= level), "{case}");
        }
    }
}
