//! Stream: a model of the replicated log, as nasty as what was measured of JetStream.
//!
//! Why: the crate's promises are about what the log does at its worst. This one judges the expected sequence
//! against what it has *proposed*, loses and delays acknowledgements, is without a leader for 4 to 9 s, keeps
//! or drops the uncommitted tail, has a stale leader that proposes for 10 s without a majority, returns stale
//! reads, and now and then lets a message through against its own condition.
//! Invariants: what is committed stays, in its order. A repetition of a committed message is not appended.
//! Not here: who sends (`world`), what the messages are.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::chance::Chance;
use crate::flight::{Append, Attempt, Reply};
use crate::id::Position;

#[derive(Clone, Debug)]
struct Proposal {
    id: String,
    bytes: Bytes,
    from: usize,
    attempt: Attempt,
    due: u64,
}

/// One server's view that takes proposals.
#[derive(Debug, Default)]
struct Leader {
    /// How much of the committed log it has.
    has: usize,
    tail: Vec<Proposal>,
}

impl Leader {
    fn end(&self) -> u64 {
        (self.has + self.tail.len()) as u64
    }
}

/// An answer on its way to a node.
pub(super) struct LogReply {
    pub(super) to: usize,
    pub(super) attempt: Attempt,
    pub(super) reply: Reply,
    /// Beyond the usual delay.
    pub(super) late_us: u64,
}

/// See the file's head.
pub(super) struct Stream {
    pub(super) committed: Vec<Bytes>,
    ids: BTreeMap<String, u64>,
    leader: Leader,
    /// Until when there is no leader.
    electing_until: u64,
    /// A leader without a majority, until when, and which nodes reach only it.
    stale: Option<(Leader, u64, Vec<usize>)>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Stream {
            committed: Vec::new(),
            ids: BTreeMap::new(),
            leader: Leader::default(),
            electing_until: 0,
            stale: None,
        }
    }

    /// The leader's server dies: an election of 4 to 9 s, and some of the tail lives on.
    pub(super) fn kill_leader(&mut self, now: u64, chance: &mut Chance) {
        self.electing_until = self.electing_until.max(now + chance.between(4_000_000, 9_000_000));
        let kept = chance.between(0, self.leader.tail.len() as u64 + 1) as usize;
        self.leader.tail.truncate(kept);
        for proposal in &mut self.leader.tail {
            proposal.due = self.electing_until + 1_000;
        }
    }

    /// The leader is cut off with some nodes: it goes on proposing, and the others elect another.
    pub(super) fn cut_leader(&mut self, now: u64, with: Vec<usize>, chance: &mut Chance) {
        let stale = Leader { has: self.leader.has, tail: self.leader.tail.clone() };
        self.stale = Some((stale, now + chance.between(2_000_000, 10_000_000), with));
        self.kill_leader(now, chance);
    }

    /// What is due: commits, and the end of a stale leader.
    pub(super) fn turn(&mut self, now: u64, chance: &mut Chance) -> Vec<LogReply> {
        let mut replies = Vec::new();
        if self.stale.as_ref().is_some_and(|(_, until, _)| now >= *until) {
            let (stale, ..) = self.stale.take().expect("looked at");
            // Healed before anybody else led: its tail is committed after all, and acknowledged late.
            let is_only = now < self.electing_until && self.leader.has == stale.has;
            if is_only && chance.in_thousand(500) {
                self.electing_until = now;
                self.leader = stale;
                for proposal in &mut self.leader.tail {
                    proposal.due = now + 1_000;
                }
            }
        }
        while now >= self.electing_until && self.leader.tail.first().is_some_and(|next| next.due <= now) {
            let proposal = self.leader.tail.remove(0);
            self.committed.push(proposal.bytes);
            self.leader.has = self.committed.len();
            let position = self.committed.len() as u64;
            self.ids.insert(proposal.id, position);
            let reply = Reply::Acknowledged(Position(position));
            replies.extend(answer(proposal.from, proposal.attempt, reply, chance));
        }
        replies
    }

    pub(super) fn append(
        &mut self,
        now: u64,
        from: usize,
        append: Append,
        chance: &mut Chance,
    ) -> Option<LogReply> {
        let at_stale = self.stale.as_ref().is_some_and(|(_, _, with)| with.contains(&from));
        if !at_stale && now < self.electing_until {
            let reply =
                LogReply { to: from, attempt: append.attempt, reply: Reply::NoResponders, late_us: 0 };
            return Some(reply).filter(|_| chance.in_thousand(700));
        }
        if let Some(position) = self.ids.get(&append.message_id).filter(|_| !at_stale) {
            let reply = Reply::Acknowledged(Position(*position));
            return answer(from, append.attempt, reply, chance);
        }
        let leader = match &mut self.stale {
            Some((stale, ..)) if at_stale => stale,
            _ => &mut self.leader,
        };
        let is_in_tail = leader.tail.iter().any(|proposal| proposal.id == append.message_id);
        // A lone leader answers a repetition by the sequence, not by the identity (measured).
        if is_in_tail && !at_stale && chance.in_thousand(500) {
            return answer(from, append.attempt, Reply::InProcess, chance);
        }
        let is_let_through = !at_stale && !is_in_tail && chance.in_thousand(3);
        if leader.end() != append.expected_last.0 && !is_let_through {
            return answer(from, append.attempt, Reply::WrongLast, chance);
        }
        let due = now + chance.between(300, 3_000);
        let Append { attempt, message_id: id, bytes, .. } = append;
        leader.tail.push(Proposal { id, bytes, from, attempt, due });
        None
    }

    /// Messages from a position on, at most `most`, and the end; nothing if nobody leads.
    pub(super) fn read(
        &self,
        now: u64,
        from: usize,
        first: Position,
        most: usize,
    ) -> Option<(Vec<(Position, Bytes)>, Position)> {
        let at_stale = self.stale.as_ref().filter(|(_, _, with)| with.contains(&from));
        if at_stale.is_none() && now < self.electing_until {
            return None;
        }
        let end = at_stale.map_or(self.committed.len(), |(stale, ..)| stale.has);
        let messages = (first.0 as usize..=end)
            .take(most)
            .map(|position| (Position(position as u64), self.committed[position - 1].clone()));
        Some((messages.collect(), Position(end as u64)))
    }

    pub(super) fn heal(&mut self, now: u64) {
        self.stale = None;
        self.electing_until = self.electing_until.min(now);
    }
}

/// Lost in one of fifty cases, late in one of twenty.
fn answer(to: usize, attempt: Attempt, reply: Reply, chance: &mut Chance) -> Option<LogReply> {
    let late_us = if chance.in_thousand(50) { chance.between(10_000, 600_000) } else { 0 };
    (!chance.in_thousand(20)).then_some(LogReply { to, attempt, reply, late_us })
}
