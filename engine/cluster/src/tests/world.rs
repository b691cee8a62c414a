//! World: three nodes, their network and the log in virtual time, played by a seed.
//!
//! Why: an owner change is right only if it is right for every order of messages, pauses and cuts. A failure
//! repeats by its seed.
//! Not here: what must hold (`checker`), which faults there are (`faults`).

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_model::stream::{Answered, Offer, Reach, Stream, Verdict};

use super::chance::Chance;
use super::checker::Checker;
use super::node::{NODES, Node, content};
use crate::flight::{Append, Attempt, Reply};
use crate::id::{NodeId, Position, Term};
use crate::membership::Heartbeat;
use crate::record::{Body, decode};
use crate::seat::{Answer, Ask, EntryVerdict, Output, ShownEntry};

/// What reaches a node.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Heartbeat(Heartbeat),
    Ask(Ask),
    Answer(Answer),
    Announce(Position),
    Entry { from: usize, entry: ShownEntry },
    WantRestate { from: usize },
    Restated { term: Term, first: u64 },
    Pong(usize),
    NoResponders(usize),
    Reply { attempt: Attempt, reply: Reply },
    Read { messages: Vec<(Position, Bytes)>, end: Position },
}

#[derive(Clone, Debug)]
enum Event {
    Turn(usize),
    Deliver { to: usize, life: u64, message: Message },
    Append { from: usize, append: Append },
    ReadAsk { from: usize, first: Position },
    LogTurn,
    Kill(usize),
}

/// See the file's head.
pub(super) struct World {
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) nodes: Vec<Node>,
    pub(super) stream: Stream<(usize, Attempt)>,
    /// Nodes that reach a leader without a majority, while there is one.
    pub(super) stale: Vec<usize>,
    pub(super) checker: Checker,
    /// From, to: cut until, and whether what is sent meanwhile arrives then. The log is node [`NODES`].
    pub(super) cuts: BTreeMap<(usize, usize), (u64, bool)>,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// The last arrival by pair: what one node sends to another keeps its order.
    arrivals: BTreeMap<(usize, usize), u64>,
    contents: u64,
    /// This node's next record, or next term record, finds the log's leader dying, and the node dies after
    /// it.
    pub(super) ambushed: Option<(usize, bool)>,
    /// Nothing goes wrong any more.
    pub(super) is_healed: bool,
    trace: Option<Vec<String>>,
}

pub(super) const LOG: usize = NODES;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let nodes = (0..NODES).map(|id| Node::new(id, 0, 1, Vec::new(), &mut chance)).collect();
        let mut world = World {
            now: 0,
            chance,
            nodes,
            stream: Stream::default(),
            stale: Vec::new(),
            checker: Checker::default(),
            cuts: BTreeMap::new(),
            events: BTreeMap::new(),
            order: 0,
            arrivals: BTreeMap::new(),
            contents: 0,
            ambushed: None,
            is_healed: false,
            trace: std::env::var_os("CLUSTER_TRACE").map(|_| Vec::new()),
        };
        for node in 0..NODES {
            world.at(node as u64 * 500, Event::Turn(node));
        }
        world.at(0, Event::LogTurn);
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.insert((time, self.order), event);
    }

    pub(super) fn note(&mut self, says: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.now as f64 / 1e3, says()));
        }
    }

    /// With `CLUSTER_TRACE`: what happened.
    pub(super) fn print(&self) {
        for line in self.trace.iter().flatten() {
            eprintln!("{line}");
        }
    }

    /// Play until this time, or until a promise is broken.
    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            self.now = entry.key().0;
            let event = entry.remove();
            let is_of_log = matches!(event, Event::LogTurn);
            self.handle(event);
            if !is_of_log {
                let acting: Vec<usize> =
                    self.nodes.iter().filter(|node| node.acts(self.now)).map(|node| node.id).collect();
                self.checker.acting(self.now, &acting);
            }
            if let Some(overslept) = self.nodes.iter_mut().find_map(|node| node.overslept.take()) {
                self.checker.broken.get_or_insert(overslept);
            }
            if let Some(broken) = self.checker.broken.take() {
                self.print();
                return Err(format!("at {} ms: {broken}", self.now / 1000));
            }
        }
        self.now = end;
        Ok(())
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|(until, _)| self.now < *until)
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let mut leaves = self.now;
        if self.is_cut(from, to) {
            let (until, holds) = self.cuts[&(from, to)];
            if !holds {
                return;
            }
            leaves = until;
        }
        let delay = if self.chance.in_thousand(5) { 60_000 } else { 2_500 };
        let arrival = leaves + self.chance.between(150, delay);
        let last = self.arrivals.entry((from, to)).or_insert(0);
        *last = arrival.max(*last + 1);
        let (at, life) = (*last, self.nodes[to].life);
        self.at(at, Event::Deliver { to, life, message });
    }

    fn broadcast(&mut self, from: usize, message: &Message) {
        for to in (0..NODES).filter(|to| *to != from) {
            self.send(from, to, message.clone());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::LogTurn => {
                self.at(self.now + 500, Event::LogTurn);
                let replies = self.stream.turn(self.now, &mut self.chance);
                replies.into_iter().for_each(|reply| self.log_answers(reply));
            }
            Event::Kill(ix) => self.nodes[ix].is_alive &= self.is_healed,
            Event::Turn(ix) => {
                let next = self.now + self.chance.between(2_000, 6_000);
                self.at(next, Event::Turn(ix));
                if self.nodes[ix].runs(self.now) {
                    self.turn(ix);
                }
            }
            Event::Deliver { to, life, message } => {
                let node = &mut self.nodes[to];
                if !node.is_alive || node.life != life {
                } else if self.now < node.paused_until {
                    node.waiting.push(message);
                } else {
                    self.deliver(to, message);
                }
            }
            Event::Append { from, append } => {
                let begins = matches!(decode(&append.bytes).map(|r| r.body), Ok(Body::Term(_)));
                let Append { attempt, expected_last, message_id: id, bytes } = append;
                let offer = Offer { token: (from, attempt), expected_last: expected_last.0, id, bytes };
                let reach = self.reach(from);
                if let Some(answer) = self.stream.offer(self.now, reach, offer, &mut self.chance) {
                    self.log_answers(answer);
                }
                let is_it = self.ambushed.is_some_and(|(node, terms)| node == from && (begins || !terms));
                if is_it && !self.is_healed {
                    self.ambushed = None;
                    self.stream.kill_leader(self.now, &mut self.chance);
                    let dies = self.now + self.chance.between(10_000, 600_000);
                    self.at(dies, Event::Kill(from));
                }
            }
            Event::ReadAsk { from, first } => {
                let most = self.chance.between(1, 200) as usize;
                if let Some((messages, end)) = self.stream.read(self.now, self.reach(from), first.0, most) {
                    let messages = messages.into_iter().map(|(at, bytes)| (Position(at), bytes)).collect();
                    self.send(LOG, from, Message::Read { messages, end: Position(end) });
                }
            }
        }
    }

    fn reach(&self, node: usize) -> Reach {
        if self.stale.contains(&node) { Reach::Stale } else { Reach::Leader }
    }

    fn log_answers(&mut self, Answered { token, verdict, late_us }: Answered<(usize, Attempt)>) {
        let (to, attempt) = token;
        let reply = match verdict {
            Verdict::Acknowledged(position) => Reply::Acknowledged(Position(position)),
            Verdict::WrongLast => Reply::WrongLast,
            Verdict::InProcess => Reply::InProcess,
            Verdict::NoResponders => Reply::NoResponders,
        };
        if self.is_cut(LOG, to) {
            return;
        }
        let (at, life) = (self.now + late_us + self.chance.between(150, 2_500), self.nodes[to].life);
        self.at(at, Event::Deliver { to, life, message: Message::Reply { attempt, reply } });
    }

    fn turn(&mut self, ix: usize) {
        let waiting = std::mem::take(&mut self.nodes[ix].waiting);
        // The turn after a pause: time first, as the driver does it.
        self.nodes[ix].poll(self.now);
        self.drain(ix);
        for message in waiting {
            self.deliver(ix, message);
        }
        let node = &mut self.nodes[ix];
        if self.now >= node.next_heartbeat {
            node.next_heartbeat = self.now + 200_000;
            let own = node.own(self.now);
            let heartbeat = node.membership.heartbeat(own, vec![node.seat.report(own)]);
            self.broadcast(ix, &Message::Heartbeat(heartbeat));
        }
        self.ping(ix);
        self.push(ix);
        self.nodes[ix].poll(self.now);
        self.drain(ix);
    }

    fn ping(&mut self, ix: usize) {
        let node = &mut self.nodes[ix];
        let Some((owner, _)) = node.seat.chain().head().owner.filter(|_| self.now >= node.next_ping) else {
            return;
        };
        node.next_ping = self.now + 100_000;
        let to = owner.0 as usize;
        if to == ix {
            return;
        }
        let is_cut = self.is_cut(ix, to) || self.is_cut(to, ix);
        if is_cut {
            // Routes that fell look like nobody is there.
            if self.chance.in_thousand(500) {
                self.send(LOG, ix, Message::NoResponders(to));
            }
        } else if !self.nodes[to].is_alive {
            self.send(LOG, ix, Message::NoResponders(to));
        } else if self.nodes[to].runs(self.now) {
            self.send(to, ix, Message::Pong(to));
        }
    }

    fn push(&mut self, ix: usize) {
        if self.now < self.nodes[ix].next_push || !self.nodes[ix].acts(self.now) {
            return;
        }
        self.nodes[ix].next_push = self.now + self.chance.between(5_000, 60_000);
        let number = self.contents + 1;
        if let Some(entry) = self.nodes[ix].push(self.now, number) {
            self.contents = number;
            self.checker.pushed(number);
            let node = &mut self.nodes[ix];
            node.pushed.push(number);
            assert_eq!(node.pushed.len() as u64, entry.index, "indices are a run");
            self.broadcast(ix, &Message::Entry { from: ix, entry });
        }
    }

    fn deliver(&mut self, to: usize, message: Message) {
        let now = self.now;
        let node = &mut self.nodes[to];
        node.wake();
        let own = node.own(now);
        match message {
            Message::Heartbeat(heartbeat) => {
                if node.membership.handle_heartbeat(own, &heartbeat).is_ok() {
                    node.seat.handle_heartbeat(&heartbeat, &node.membership);
                }
            }
            Message::Ask(ask) => node.seat.handle_ask(own, &ask, &node.membership),
            Message::Answer(answer) => {
                self.checker.answered(to, node.life, &answer);
                node.seat.handle_answer(answer);
            }
            Message::Announce(position) => node.seat.handle_announce(position),
            Message::Entry { from, entry } => {
                let (term, number) = (entry.term, content(&entry.bytes));
                if let Some(trace) = &mut self.trace {
                    let index = entry.index;
                    trace.push(format!(
                        "{:>9.3} node {to}: gets entry {number} as {index} of {term}",
                        now as f64 / 1e3
                    ));
                }
                match node.seat.handle_entry(entry) {
                    EntryVerdict::Show => node.shown.push((term, number)),
                    EntryVerdict::Hole if now >= node.restate_asked + 100_000 => {
                        node.restate_asked = now;
                        self.send(to, from, Message::WantRestate { from: to });
                    }
                    _ => {}
                }
            }
            Message::WantRestate { from } => {
                let unkept = node.seat.unkept();
                if let Some(first) = unkept.first() {
                    let (term, first) = (first.term, first.index);
                    self.send(to, from, Message::Restated { term, first });
                }
                for entry in unkept {
                    self.send(to, from, Message::Entry { from: to, entry });
                }
            }
            Message::Restated { term, first } => node.seat.handle_restated(term, first),
            Message::Pong(from) => node.membership.handle_pong(NodeId(from as u8)),
            Message::NoResponders(of) => node.membership.handle_no_responders(own, NodeId(of as u8)),
            Message::Reply { attempt, reply } => {
                node.seat.handle_reply(own, attempt, reply, &node.membership);
            }
            Message::Read { messages, end } => node.seat.handle_read(own, &messages, end, &node.membership),
        }
        self.nodes[to].poll(now);
        self.drain(to);
    }

    fn drain(&mut self, ix: usize) {
        for output in self.nodes[ix].outputs() {
            self.note(|| format!("node {ix}: {}", brief(&output)));
            match output {
                Output::AskAll(ask) => self.broadcast(ix, &Message::Ask(ask)),
                Output::Answer { to, answer } => {
                    self.checker.answers(ix, self.nodes[ix].life, to.0 as usize, answer.term);
                    self.send(ix, to.0 as usize, Message::Answer(answer));
                }
                Output::Read { from } if !self.is_cut(ix, LOG) => {
                    let at = self.now + self.chance.between(150, 2_000);
                    self.at(at, Event::ReadAsk { from: ix, first: from });
                }
                Output::Append(append) => {
                    self.checker.appended(ix, self.nodes[ix].life, &append);
                    if !self.is_cut(ix, LOG) && !self.chance.in_thousand(10) {
                        let at = self.now + self.chance.between(150, 2_000);
                        self.at(at, Event::Append { from: ix, append });
                    }
                }
                Output::Announce { position, .. } => self.broadcast(ix, &Message::Announce(position)),
                Output::Own { term } => {
                    self.nodes[ix].pushed.clear();
                    let position = self.nodes[ix].seat.chain().head().position;
                    self.checker.owns(ix, self.nodes[ix].life, term, position);
                }
                Output::Kept { term, through, position } => {
                    let node = &self.nodes[ix];
                    self.checker.kept(ix, term, through, position, &node.pushed);
                }
                Output::Apply(..)
                | Output::Void { .. }
                | Output::NotUnderstood { .. }
                | Output::Stop { .. }
                | Output::Freeze
                | Output::Thaw
                | Output::Overdue { .. }
                | Output::Read { .. } => {}
            }
        }
        let head = *self.nodes[ix].seat.chain().head();
        let node = &mut self.nodes[ix];
        if head.position > node.copy.last().map_or(Position(0), |last| last.position) {
            node.copy.push(head);
        }
    }
}

fn brief(output: &Output) -> String {
    match output {
        Output::Append(append) => {
            format!("append {} as {}", append.attempt.number, append.message_id)
        }
        Output::Apply(record, _) => format!("apply {:?}", record.place),
        other => {
            let mut text = format!("{other:?}");
            text.truncate(220);
            text
        }
    }
}
