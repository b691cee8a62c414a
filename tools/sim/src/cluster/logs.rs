//! The logs of a cluster: which server leads each stream, who reaches it, and when it changes.
//!
//! A leader must reach a majority of the servers that keep logs. When it does not, another is elected, which
//! takes 4 to 9 s; one that is cut off goes on alone for a while, and does not know it. Without a majority
//! nobody leads.
//! Not here: what a leader does with a message (`grandstand_model::stream`).

use grandstand_cluster::flight::Attempt;
use grandstand_model::stream::{Chance, Reach, Stream};

use super::network::{MACHINES, Net};
use crate::random::Random;

/// Who waits for an answer: a node, its life, and the attempt.
pub(crate) type Token = (usize, u64, Attempt);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) stream: Stream<Token>,
    /// The server that leads, or will when it is elected.
    pub(crate) leader: usize,
    /// The server of a leader without a majority.
    pub(crate) stale: usize,
    /// No server has a majority.
    is_lost: bool,
    /// For when the stream's next turn is planned.
    pub(crate) planned_us: u64,
    /// Messages that the witness has seen.
    pub(crate) witnessed: usize,
}

impl Chance for Random {
    fn bits(&mut self) -> u64 {
        Random::bits(self)
    }
}

impl Log {
    pub(crate) fn new(leader: usize) -> Log {
        let stream = Stream::default();
        Log { stream, leader, stale: leader, is_lost: false, planned_us: u64::MAX, witnessed: 0 }
    }

    fn has_majority(net: &Net, now_us: u64, server: usize) -> bool {
        let keeps = |server: usize| net.runs(now_us, server) && !net.servers[server].is_disabled;
        let reached = (0..MACHINES).filter(|other| keeps(*other) && net.is_open(now_us, server, *other));
        keeps(server) && reached.count() > MACHINES / 2
    }

    /// Something changed between the servers.
    pub(crate) fn look(&mut self, net: &Net, now_us: u64, random: &mut Random) {
        let able: Vec<usize> =
            (0..MACHINES).filter(|server| Self::has_majority(net, now_us, *server)).collect();
        if able.contains(&self.leader) {
            if std::mem::take(&mut self.is_lost) {
                self.stream.regain(now_us, random);
            }
            return;
        }
        if !self.is_lost {
            // Cut off, it goes on alone; dead or paused, it does not.
            if net.runs(now_us, self.leader) && !net.servers[self.leader].is_disabled {
                self.stream.cut_leader(now_us, random);
                self.stale = self.leader;
            } else {
                self.stream.kill_leader(now_us, random);
            }
        }
        if able.is_empty() {
            self.stream.lose_majority();
            self.is_lost = true;
            return;
        }
        self.leader = able[random.index(able.len())];
        if std::mem::take(&mut self.is_lost) {
            self.stream.regain(now_us, random);
        }
    }

    /// The leader hands over to another server: an owner moves it away from its own machine.
    pub(crate) fn move_leader(&mut self, net: &Net, now_us: u64, random: &mut Random) {
        let others: Vec<usize> = (0..MACHINES)
            .filter(|server| *server != self.leader && Self::has_majority(net, now_us, *server))
            .collect();
        if !others.is_empty() && !self.stream.is_electing(now_us) {
            self.leader = others[random.index(others.len())];
            self.stream.step_down(now_us, random);
        }
    }

    /// A follower did not hear the leader for a while: another leader is elected.
    pub(crate) fn elect(&mut self, net: &Net, now_us: u64, random: &mut Random) {
        if !self.is_lost {
            self.stream.kill_leader(now_us, random);
            self.leader = (self.leader + random.index(MACHINES)) % MACHINES;
            self.look(net, now_us, random);
        }
    }

    /// Which leader a server reaches, and where it is.
    pub(crate) fn reach(&self, net: &Net, now_us: u64, server: usize) -> Option<(Reach, usize)> {
        let is_near = |other: usize| net.runs(now_us, other) && net.is_open(now_us, server, other);
        if !self.is_lost && is_near(self.leader) {
            return Some((Reach::Leader, self.leader));
        }
        (self.stream.has_stale_leader() && is_near(self.stale)).then_some((Reach::Stale, self.stale))
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self, now_us: u64) {
        self.stream.heal(now_us);
        self.is_lost = false;
    }
}
