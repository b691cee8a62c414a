//! Tests of a seat: each transition and each output, with a log and two peers that do what a test says.
//!
//! Why by example, beside the simulation: a world finds what nobody thought of, and an example says what was
//! meant.

mod adopting;
mod claiming;
mod following;
mod owning;
mod watch;

use super::*;
use crate::appender::PushRefusal;
use crate::flight::{Append, Reply};
use crate::id::{Incarnation, NodeId};
use crate::membership::{Config, Echo, Facts, HEARTBEAT_MS, Heartbeat, SILENCE_MS, Versions};
use crate::record::{Body, Cause, Entries, EntriesBuilder, Place, TermBody, VoidCause, decode, encode};
use crate::time::PeerTime;

const SHARD: ShardId = ShardId(0);
const ME: NodeId = NodeId(0);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const LIFE: Incarnation = Incarnation(1);

fn entry(content: u8) -> Bytes {
    vec![1, 0, 0, 0, content].into()
}

fn shown(term: u64, index: u64) -> ShownEntry {
    ShownEntry { term: Term(term), index, bytes: entry(index as u8) }
}

/// Node 0, and what it is given.
struct Bench {
    now: OwnTime,
    membership: Membership,
    seat: Seat,
    log: Vec<Bytes>,
}

impl Bench {
    /// A node that has been there for two seconds and hears both others, with this log.
    fn new(terms: &[(NodeId, u64)]) -> Bench {
        Bench::in_life(LIFE, terms)
    }

    fn in_life(incarnation: Incarnation, terms: &[(NodeId, u64)]) -> Bench {
        let config = Config {
            me: ME,
            incarnation,
            nodes: vec![ME, ONE, TWO],
            facts: Facts { seed: 1, shards: 1, ticket_key_print: 1 },
            versions: Versions { min: 1, max: 1 },
        };
        let membership = Membership::new(OwnTime(0), config).unwrap();
        let seat = Seat::new(AppenderConfig::default(), SHARD, ChainHead::default(), &membership);
        let mut bench = Bench { now: OwnTime(2_000), membership, seat, log: Vec::new() };
        for (owner, term) in terms {
            bench.write_term(*owner, *term);
        }
        bench
    }

    /// Peers that say this of the shard, if they own it.
    fn beat(&mut self, node: NodeId, term: u64, owns: bool) {
        self.beat_of_life(node, LIFE, term, owns);
    }

    fn beat_of_life(&mut self, node: NodeId, incarnation: Incarnation, term: u64, owns: bool) {
        let report = ShardReport {
            shard: SHARD,
            term: Term(term),
            owns,
            claims: false,
            position: self.seat.chain().head().position,
            can_own: true,
        };
        let heartbeat = Heartbeat {
            node,
            incarnation,
            sent: PeerTime(self.now.0),
            echoes: vec![Echo { node: ME, incarnation: LIFE, sent: PeerTime(self.now.0) }],
            facts: Facts { seed: 1, shards: 1, ticket_key_print: 1 },
            versions: Versions { min: 1, max: 1 },
            reports: vec![report],
            load: 0,
            house: 0,
            about: crate::membership::About::default(),
        };
        self.membership.handle_heartbeat(self.now, &heartbeat).unwrap();
        self.seat.handle_heartbeat(&heartbeat, &self.membership);
    }

    fn beat_both(&mut self, term: u64) {
        self.beat(ONE, term, false);
        self.beat(TWO, term, false);
    }

    fn poll(&mut self) -> Vec<Output> {
        let mine = [self.seat.report(self.now)];
        self.seat.poll(self.now, &self.membership, &mine);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.seat.next_output()).collect()
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    /// The log's leader returns what the seat has not judged, and the end.
    fn read(&mut self) {
        let first = self.seat.chain().next().0;
        let messages: Vec<(Position, Bytes)> = (first..=self.log.len() as u64)
            .map(|at| (Position(at), self.log[at as usize - 1].clone()))
            .collect();
        let end = Position(self.log.len() as u64);
        self.seat.handle_read(self.now, &messages, end, &self.membership);
    }

    /// The base and term of the next record, by a reader of its own.
    fn end(&self) -> (u64, Term) {
        let mut chain = Chain::new(SHARD);
        for (ix, bytes) in self.log.iter().enumerate() {
            chain.judge(Position(ix as u64 + 1), bytes).unwrap();
        }
        (chain.head().sum, chain.head().term)
    }

    fn write(&mut self, term: Term, body: &Body) {
        let position = Position(self.log.len() as u64 + 1);
        let place = Place { shard: SHARD, term, position, base: self.end().0 };
        self.log.push(encode(place, body).unwrap().bytes);
    }

    fn write_term(&mut self, owner: NodeId, term: u64) {
        let body = TermBody {
            version: 1,
            owner,
            incarnation: LIFE,
            cause: Cause::Claim,
            previous: self.end().1,
            adopted: Entries::default(),
        };
        self.write(Term(term), &Body::Term(body));
    }

    fn promise(&mut self, from: NodeId, term: u64, entries: Vec<ShownEntry>) {
        let asked = PeerTime::of_own(self.now);
        let verdict = AnswerVerdict::Promised(entries);
        self.seat.handle_answer(Answer { from, term: Term(term), asked, verdict });
    }

    /// The one record that the seat sends now.
    fn appended(&mut self) -> Append {
        let outputs = self.poll();
        let append = outputs.iter().find_map(|output| match output {
            Output::Append(append) => Some(append.clone()),
            _ => None,
        });
        append.unwrap_or_else(|| panic!("nothing is appended: {outputs:?}"))
    }

    fn acknowledge(&mut self, append: &Append) {
        self.log.push(append.bytes.clone());
        let position = Position(self.log.len() as u64);
        let reply = Reply::Acknowledged(position);
        self.seat.handle_reply(self.now, append.attempt, reply, &self.membership);
    }

    /// From a log whose owner is not there to an owner under this term.
    fn claim(&mut self, term: u64) -> Vec<Output> {
        self.beat_both(term - 1);
        self.read();
        self.poll();
        assert_eq!(self.seat.phase(), Phase::Claiming);
        self.promise(ONE, term, Vec::new());
        self.poll();
        self.read();
        let append = self.appended();
        self.acknowledge(&append);
        assert_eq!(self.seat.phase(), Phase::Owning);
        self.outputs()
    }

    fn owner() -> Bench {
        let mut bench = Bench::new(&[]);
        bench.claim(1);
        bench
    }

    fn ask(&mut self, candidate: NodeId, term: u64) -> AnswerVerdict {
        let sent = PeerTime::of_own(self.now);
        let ask = Ask { candidate, incarnation: LIFE, term: Term(term), sent };
        self.seat.handle_ask(self.now, &ask, &self.membership);
        let Some(Output::Answer { to, answer }) = self.outputs().pop() else { panic!("an answer") };
        assert_eq!((to, answer.from, answer.term, answer.asked), (candidate, ME, Term(term), sent));
        answer.verdict
    }
}

fn stops(outputs: &[Output]) -> Vec<(Term, StopCause)> {
    let of = |output: &Output| match output {
        Output::Stop { term, cause } => Some((*term, *cause)),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}
