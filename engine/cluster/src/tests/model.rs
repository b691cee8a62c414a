//! Model: the protocol of terms without time, explored in every order of its steps.
//!
//! Why beside the simulation: worlds sample orders, and this visits all of them, of a small cluster. It is an
//! abstraction written for this: whether a node hears another decides nothing here, so what holds does not
//! depend on clocks, leases or suspicions.
//! Bounds: three nodes, three places in the log, and those of [`Bounds`]: terms, entries, crashes, elections,
//! and messages that the log lets through against its own condition. Breadth first, up to a number of states.
//! Invariants that are checked in each state: a term has one owner; what an owner took for kept is valid for
//! every reader; no entry is valid twice.
//! Not here: what is shown before it is kept, adopted entries, time (the simulation).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

const NODES: usize = 3;
const TERMS_MAX: usize = 3;
const PLACES: usize = 3;

/// A mistake, planted to see that the model finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    WrongLastIsKept,
    IdWithoutSum,
    TwoInFlight,
}

/// How much may happen in what is explored.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    terms: u8,
    entries: u8,
    crashes: u8,
    elections: u8,
    let_through: u8,
    states: usize,
    mistake: Mistake,
}

/// A node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Life {
    node: u8,
    life: u8,
}

/// A record: a term of an owner, or an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    term: u8,
    writer: Life,
    /// None: it begins the term.
    entry: Option<u8>,
    position: u8,
    base: u64,
}

impl Record {
    fn sum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower,
    Candidate { term: u8, promised: u8 },
    Owner { term: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    life: u8,
    /// How much of the log it has read.
    read: usize,
    promised: u8,
    role: Role,
    in_flight: Vec<Record>,
    /// The next entry that it would send.
    wants: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; NODES],
    log: Vec<Record>,
    proposed: Vec<Record>,
    /// The owner of each term, as it took itself for one.
    owners: [Option<Life>; TERMS_MAX + 1],
    kept: Vec<Record>,
    entries: u8,
    crashes: u8,
    elections: u8,
    let_through: u8,
    broken: Option<&'static str>,
}

/// What a reader of this much of the log knows: the term, its owner, the last sum, the valid records.
struct Judged {
    term: u8,
    owner: Option<Life>,
    sum: u64,
    valid: Vec<Record>,
}

fn judge(log: &[Record]) -> Judged {
    let mut judged = Judged { term: 0, owner: None, sum: 0, valid: Vec::new() };
    for (ix, record) in log.iter().enumerate() {
        let follows = match record.entry {
            None => record.term > judged.term,
            Some(_) => record.term == judged.term,
        };
        let is_placed = usize::from(record.position) == ix + 1 && record.base == judged.sum;
        if !(follows && is_placed) {
            continue;
        }
        if record.entry.is_none() {
            (judged.term, judged.owner) = (record.term, Some(record.writer));
        }
        judged.sum = record.sum();
        judged.valid.push(*record);
    }
    judged
}

impl State {
    fn first() -> State {
        let node = || Node {
            life: 0,
            read: 0,
            promised: 0,
            role: Role::Follower,
            in_flight: Vec::new(),
            wants: None,
        };
        State {
            nodes: std::array::from_fn(|_| node()),
            log: Vec::new(),
            proposed: Vec::new(),
            owners: [None; TERMS_MAX + 1],
            kept: Vec::new(),
            entries: 0,
            crashes: 0,
            elections: 0,
            let_through: 0,
            broken: None,
        }
    }

    fn life(&self, n: usize) -> Life {
        Life { node: n as u8, life: self.nodes[n].life }
    }

    /// An owner, or a candidate, takes its record for kept.
    fn keep(&mut self, n: usize, record: Record) {
        let judged = judge(&self.log);
        let life = self.life(n);
        self.nodes[n].in_flight.retain(|other| *other != record);
        let is_valid = judged.valid.contains(&record);
        if !is_valid {
            self.broken = Some("kept and void");
        }
        self.kept.push(record);
        match record.entry {
            Some(_) => self.nodes[n].wants = None,
            None => {
                let owner = self.owners[record.term as usize].get_or_insert(life);
                if *owner != life {
                    self.broken = Some("two owners of a term");
                }
                self.nodes[n].role = Role::Owner { term: record.term };
            }
        }
        self.nodes[n].read = self.nodes[n].read.max(record.position as usize);
        self.learn(n);
    }

    /// A node acts on what it has read.
    fn learn(&mut self, n: usize) {
        let read = self.nodes[n].read.min(self.log.len());
        let judged = judge(&self.log[..read]);
        let me = self.life(n);
        let node = &mut self.nodes[n];
        let outdone = match node.role {
            Role::Follower => false,
            // The term in the log may be its own, which it takes for kept by another step.
            Role::Candidate { term, .. } => {
                judged.term > term || judged.term == term && judged.owner != Some(me)
            }
            Role::Owner { term } => judged.term > term,
        };
        if outdone {
            (node.role, node.wants) = (Role::Follower, None);
            node.in_flight.clear();
        }
    }

    fn next(&self, bounds: &Bounds) -> Vec<State> {
        let mut all = Vec::new();
        let mut to = |change: &dyn Fn(&mut State)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        for n in 0..NODES {
            let node = &self.nodes[n];
            let judged = judge(&self.log[..node.read.min(self.log.len())]);
            let me = self.life(n);
            let candidate = judged.term.max(node.promised) + 1;
            if node.role == Role::Follower && candidate <= bounds.terms {
                to(&|s| {
                    s.nodes[n].promised = candidate;
                    s.nodes[n].role = Role::Candidate { term: candidate, promised: 1 << n };
                });
            }
            if let Role::Candidate { term, promised } = node.role {
                for other in (0..NODES).filter(|o| *o != n && self.nodes[*o].promised < term) {
                    to(&|s| {
                        s.nodes[other].promised = term;
                        s.nodes[n].role = Role::Candidate { term, promised: promised | 1 << other };
                    });
                }
                if promised.count_ones() >= 2 && node.in_flight.is_empty() && node.read < PLACES {
                    let position = node.read as u8 + 1;
                    let record = Record { term, writer: me, entry: None, position, base: judged.sum };
                    to(&|s| s.nodes[n].in_flight.push(record));
                }
            }
            if node.read < self.log.len() {
                to(&|s| {
                    s.nodes[n].read += 1;
                    s.learn(n);
                });
            }
            if let Role::Owner { term } = node.role {
                let most = if bounds.mistake == Mistake::TwoInFlight { 2 } else { 1 };
                let last = node.in_flight.last();
                let place = last.map_or(node.read, |last| last.position as usize);
                let base = last.map_or(judged.sum, Record::sum);
                let is_again = node.wants.filter(|_| last.is_none());
                let entry = is_again.unwrap_or(self.entries);
                let may = is_again.is_some() || (node.wants.is_none() || most == 2) && entry < bounds.entries;
                if may && node.in_flight.len() < most && place < PLACES {
                    let position = place as u8 + 1;
                    let record = Record { term, writer: me, entry: Some(entry), position, base };
                    to(&|s| {
                        s.nodes[n].in_flight.push(record);
                        s.nodes[n].wants = Some(entry);
                        s.entries = s.entries.max(entry + 1);
                    });
                }
            }
            for record in &node.in_flight {
                self.append(n, record, bounds, &mut to);
            }
            if self.crashes < bounds.crashes {
                to(&|s| {
                    s.crashes += 1;
                    let life = s.nodes[n].life + 1;
                    s.nodes[n] = Node { life, read: s.nodes[n].read, ..State::first().nodes[n].clone() };
                });
            }
        }
        if !self.proposed.is_empty() {
            to(&|s| {
                let first = s.proposed.remove(0);
                s.log.push(first);
            });
            if self.elections < bounds.elections {
                for lives in 0..self.proposed.len() {
                    to(&|s| {
                        s.proposed.truncate(lives);
                        s.elections += 1;
                    });
                }
            }
        }
        all
    }

    /// What may become of a record in flight.
    fn append(&self, n: usize, record: &Record, bounds: &Bounds, to: &mut impl FnMut(&dyn Fn(&mut State))) {
        let ix = record.position as usize - 1;
        let end = self.log.len() + self.proposed.len();
        let is_same = |other: &Record| match bounds.mistake {
            Mistake::IdWithoutSum => (other.term, other.position) == (record.term, record.position),
            _ => other == record,
        };
        // The log says so, or a read finds it there.
        if self.log.get(ix).is_some_and(is_same) {
            to(&|s| s.keep(n, *record));
        } else if self.log.len() > ix {
            to(&|s| s.nodes[n].in_flight.retain(|other| other != record));
        }
        let is_known = self.log.iter().chain(&self.proposed).any(is_same);
        if end == ix && !is_known {
            to(&|s| s.proposed.push(*record));
        } else if bounds.mistake == Mistake::WrongLastIsKept && end > ix {
            to(&|s| s.keep(n, *record));
        }
        // Let through against the log's own condition: at another place than it names.
        if end != ix && end < PLACES && !is_known && self.let_through < bounds.let_through {
            to(&|s| {
                s.proposed.push(*record);
                s.let_through += 1;
            });
        }
    }

    fn check(&self) -> Option<&'static str> {
        let valid = judge(&self.log).valid;
        let mut entries: Vec<u8> = valid.iter().filter_map(|record| record.entry).collect();
        let all = entries.len();
        entries.sort_unstable();
        entries.dedup();
        let lost = self.kept.iter().any(|record| !valid.contains(record));
        let twice = entries.len() < all;
        self.broken.or(lost.then_some("kept and void")).or(twice.then_some("an entry is valid twice"))
    }
}

/// Breadth first, so what is found is short. How many states in how many steps, and whether these are all; or
/// what is broken after how many steps.
fn explore(bounds: Bounds) -> Result<(usize, usize, bool), (&'static str, usize)> {
    let mut seen: HashSet<u64, BuildHasherDefault<DefaultHasher>> = HashSet::default();
    let mut waiting = VecDeque::from([(State::first(), 0)]);
    let mut deepest = 0;
    while let Some((state, steps)) = waiting.pop_front() {
        deepest = steps;
        if let Some(broken) = state.check() {
            return Err((broken, steps));
        }
        if seen.len() >= bounds.states {
            return Ok((seen.len(), deepest, false));
        }
        for next in state.next(&bounds) {
            let mut hasher = DefaultHasher::new();
            next.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                waiting.push_back((next, steps + 1));
            }
        }
    }
    Ok((seen.len(), deepest, true))
}

const SMALL: Bounds = Bounds {
    terms: 2,
    entries: 1,
    crashes: 0,
    elections: 0,
    let_through: 0,
    states: 100_000,
    mistake: Mistake::None,
};

/// States of each exploration; more by `CLUSTER_STATES`.
fn states() -> usize {
    std::env::var("CLUSTER_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(SMALL.states)
}

#[test]
fn no_order_of_steps_gives_a_term_two_owners_or_voids_what_is_kept() {
    let small = Bounds { states: states(), ..SMALL };
    for bounds in [
        small,
        Bounds { elections: 1, ..small },
        Bounds { let_through: 1, ..small },
        Bounds { terms: 3, ..small },
        Bounds { crashes: 1, entries: 2, ..small },
        Bounds { terms: 3, entries: 2, crashes: 1, elections: 1, let_through: 1, ..small },
    ] {
        let explored =
            explore(bounds).unwrap_or_else(|(broken, steps)| panic!("{broken} after {steps} steps"));
        eprintln!("{explored:?} of {bounds:?}");
        assert!(explored.2 || explored.0 >= bounds.states, "{explored:?}");
    }
}

#[test]
fn planted_mistakes_are_found_by_the_model() {
    // Two candidates of one term have a majority each only if a crash makes one promise forgotten.
    for (mistake, crashes) in
        [(Mistake::WrongLastIsKept, 0), (Mistake::IdWithoutSum, 1), (Mistake::TwoInFlight, 0)]
    {
        let bounds = Bounds { entries: 2, states: 1_000_000, crashes, mistake, ..SMALL };
        let (broken, steps) = explore(bounds).expect_err("not found");
        eprintln!("{mistake:?}: {broken} after {steps} steps");
        assert_eq!(broken, "kept and void");
    }
}
