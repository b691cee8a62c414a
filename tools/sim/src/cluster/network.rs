//! The network of a cluster: machines, each with a NATS server and a node, and the links between them.
//!
//! What is sent between two nodes goes by way of their servers: FIFO, with a delay for each hop. A link that
//! is cut in one direction holds what is sent, or loses it: a hole. A server that is paused goes on later
//! with what it had.
//! Not here: what is sent (`member`), logs (`logs`).

use std::collections::BTreeMap;

use crate::random::Random;

/// Machines of a cluster.
pub(crate) const MACHINES: usize = 3;

/// A server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server {
    pub(crate) is_down: bool,
    pub(crate) paused_until_us: u64,
    /// Its disk was full: it keeps no logs until it is started again.
    pub(crate) is_disabled: bool,
}

/// A directed link that is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    since_us: u64,
    until_us: u64,
    /// What is sent meanwhile arrives when it is over.
    holds: bool,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) servers: [Server; MACHINES],
    cuts: BTreeMap<(usize, usize), Cut>,
    /// The last arrival by sender, its server and receiver.
    arrivals: BTreeMap<(usize, usize, usize), u64>,
    /// Beyond the usual delay of each hop.
    pub(crate) slow_us: u64,
}

impl Net {
    /// Does a server run?
    pub(crate) fn runs(&self, now_us: u64, server: usize) -> bool {
        let Server { is_down, paused_until_us, .. } = self.servers[server];
        !is_down && now_us >= paused_until_us
    }

    /// Cut a link until a time.
    pub(crate) fn cut(&mut self, now_us: u64, link: (usize, usize), us: u64, holds: bool) {
        if link.0 != link.1 {
            let since_us = self.cut_at(now_us, link).map_or(now_us, |cut| cut.since_us);
            self.cuts.insert(link, Cut { since_us, until_us: now_us + us, holds });
        }
    }

    fn cut_at(&self, now_us: u64, link: (usize, usize)) -> Option<Cut> {
        self.cuts.get(&link).copied().filter(|cut| now_us < cut.until_us)
    }

    /// Can two machines talk in both directions?
    pub(crate) fn is_open(&self, now_us: u64, a: usize, b: usize) -> bool {
        self.cut_at(now_us, (a, b)).is_none() && self.cut_at(now_us, (b, a)).is_none()
    }

    /// For how long two machines have not talked in both directions.
    pub(crate) fn closed_us(&self, now_us: u64, a: usize, b: usize) -> u64 {
        let of = |link| self.cut_at(now_us, link).map_or(0, |cut| now_us - cut.since_us);
        of((a, b)).max(of((b, a)))
    }

    /// Can a node use a server?
    pub(crate) fn is_usable(&self, now_us: u64, node: usize, server: usize) -> bool {
        self.runs(now_us, server) && self.is_open(now_us, node, server)
    }

    /// How long something is under way over these machines: `None` if it is lost.
    fn travel(&self, now_us: u64, way: &[usize], random: &mut Random) -> Option<u64> {
        let mut at_us = now_us;
        for hop in way.windows(2) {
            at_us += if hop[0] == hop[1] {
                random.between(20, 80)
            } else {
                random.between(60, 400) + self.slow_us
            };
            if let Some(cut) = self.cut_at(at_us.max(now_us), (hop[0], hop[1])) {
                if !cut.holds {
                    return None;
                }
                at_us = cut.until_us;
            }
        }
        if random.below(1_000) < 5 {
            at_us += random.below(60_000);
        }
        Some(at_us)
    }

    /// When what a node sends by its server to another server arrives there.
    pub(crate) fn arrival_at_server(
        &mut self,
        now_us: u64,
        (node, server, to): (usize, usize, usize),
        random: &mut Random,
    ) -> Option<u64> {
        let at_us = self.travel(now_us, &[node, server, to], random)?;
        if self.servers[server].is_down || self.servers[to].is_down {
            return None;
        }
        let at_us = self.after_pauses(at_us, &[server, to]);
        Some(self.in_order((node, server, MACHINES + to), at_us))
    }

    /// When what a server sends to a node by the node's server arrives there.
    pub(crate) fn arrival_from_server(
        &mut self,
        now_us: u64,
        (from, server, node): (usize, usize, usize),
        random: &mut Random,
    ) -> Option<u64> {
        let at_us = self.travel(now_us, &[from, server, node], random)?;
        if self.servers[server].is_down {
            return None;
        }
        let at_us = self.after_pauses(at_us, &[server]);
        Some(self.in_order((MACHINES + from, server, node), at_us))
    }

    /// When what a node sends by its server to another node, by that one's server, arrives.
    pub(crate) fn arrival_at_node(
        &mut self,
        now_us: u64,
        (node, server): (usize, usize),
        (to, its_server): (usize, usize),
        random: &mut Random,
    ) -> Option<u64> {
        let at_us = self.travel(now_us, &[node, server, its_server, to], random)?;
        if self.servers[server].is_down || self.servers[its_server].is_down {
            return None;
        }
        let at_us = self.after_pauses(at_us, &[server, its_server]);
        Some(self.in_order((node, server, to), at_us))
    }

    fn after_pauses(&self, at_us: u64, servers: &[usize]) -> u64 {
        servers.iter().map(|server| self.servers[*server].paused_until_us).fold(at_us, u64::max)
    }

    fn in_order(&mut self, way: (usize, usize, usize), at_us: u64) -> u64 {
        let last_us = self.arrivals.entry(way).or_default();
        *last_us = at_us.max(*last_us + 1);
        *last_us
    }

    /// All servers are started, and all links are open. What is paused goes on when its time has come: its
    /// messages must not be overtaken.
    pub(crate) fn heal(&mut self) -> u64 {
        self.cuts.clear();
        self.slow_us = 0;
        self.servers.iter_mut().for_each(|server| {
            (server.is_down, server.is_disabled) = (false, false);
        });
        self.servers.iter().map(|server| server.paused_until_us).fold(0, u64::max)
    }
}
