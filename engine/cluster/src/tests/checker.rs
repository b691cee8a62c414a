//! Checker: what must hold in every world, by what nodes did and what the log has at the end.
//!
//! Why a second reader of the log: the crate's own chain must not be the judge of itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::node::{Node, content, place};
use crate::flight::Append;
use crate::id::{Position, Term};
use crate::record::{Body, Cause, decode};
use crate::seat::{Answer, AnswerVerdict};

/// Two nodes may act at once for as long as a lease lasts, and a little for clocks that differ.
const OVERLAP_US_MAX: u64 = 1_100_000;

/// See the file's head.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) broken: Option<String>,
    owners: BTreeMap<Term, (usize, u64)>,
    /// Contents that an owner took for kept, and at which position.
    kept: BTreeMap<u64, Position>,
    kept_through: BTreeMap<(Term, usize), u64>,
    /// By candidate, its life and term: who promised before the term record was sent, and in which life. A
    /// promise ends with the life of the node that gave it.
    promised: BTreeMap<(usize, u64, Term), BTreeSet<(usize, u64)>>,
    lives: BTreeMap<(usize, usize, Term), u64>,
    sent: BTreeSet<(usize, u64, Term)>,
    overlap_since: Option<u64>,
    /// The highest position of which anybody was told that it is kept.
    acknowledged: Position,
    /// What was so when an entry was pushed, and when a claim was sent first.
    pushed_after: BTreeMap<u64, Position>,
    claimed_after: BTreeMap<(usize, u64, Term), Position>,
    pub(super) claims: u64,
}

impl Checker {
    fn break_promise(&mut self, says: String) {
        self.broken.get_or_insert(says);
    }

    pub(super) fn owns(&mut self, node: usize, life: u64, term: Term, position: Position) {
        self.claims += 1;
        self.acknowledged = position.max(self.acknowledged);
        let owner = *self.owners.entry(term).or_insert((node, life));
        if owner != (node, life) {
            self.break_promise(format!("{term} has two owners: node {} and node {node}", owner.0));
        }
    }

    pub(super) fn acting(&mut self, now: u64, acting: &[usize]) {
        if acting.len() < 2 {
            self.overlap_since = None;
            return;
        }
        let since = *self.overlap_since.get_or_insert(now);
        if now - since > OVERLAP_US_MAX {
            self.break_promise(format!("nodes {acting:?} act at once for {} ms", (now - since) / 1000));
        }
    }

    pub(super) fn kept(&mut self, node: usize, term: Term, through: u64, position: Position, pushed: &[u64]) {
        self.acknowledged = position.max(self.acknowledged);
        let before = self.kept_through.insert((term, node), through).unwrap_or(0);
        for content in &pushed[before.min(through) as usize..through as usize] {
            if self.kept.insert(*content, position).is_some() {
                self.break_promise(format!("entry {content} is kept twice"));
            }
        }
    }

    /// An owner took an entry.
    pub(super) fn pushed(&mut self, content: u64) {
        self.pushed_after.insert(content, self.acknowledged);
    }

    /// A node answers a candidate.
    pub(super) fn answers(&mut self, node: usize, life: u64, candidate: usize, term: Term) {
        self.lives.insert((node, candidate, term), life);
    }

    /// A promise reached a candidate.
    pub(super) fn answered(&mut self, candidate: usize, its_life: u64, answer: &Answer) {
        if matches!(answer.verdict, AnswerVerdict::Promised(_))
            && !self.sent.contains(&(candidate, its_life, answer.term))
        {
            let node = answer.from.0 as usize;
            let life = self.lives[&(node, candidate, answer.term)];
            self.promised.entry((candidate, its_life, answer.term)).or_default().insert((node, life));
        }
    }

    pub(super) fn appended(&mut self, node: usize, life: u64, append: &Append) {
        let record = decode(&append.bytes).expect("what is sent is a record");
        let Body::Term(body) = record.body else { return };
        let claim = (node, life, record.place.term);
        // Its own promise is not sent to anybody; one more is a majority of three.
        if body.cause != Cause::Clean && !self.promised.contains_key(&claim) {
            self.break_promise(format!("node {node} claims {} and nobody promised it", record.place.term));
        }
        self.sent.insert(claim);
        self.claimed_after.entry(claim).or_insert(self.acknowledged);
    }

    /// When all is healed and quiet: the log against everything that was promised.
    pub(super) fn judge_log(&self, log: &[Bytes], nodes: &[Node]) -> Result<(), String> {
        let (mut term, mut sum) = (Term(0), 0);
        let mut order = Vec::new();
        let mut valid = Vec::new();
        let mut claimed = Vec::new();
        let mut late = None;
        for (ix, bytes) in log.iter().enumerate() {
            let position = Position(ix as u64 + 1);
            let Ok(record) = decode(bytes) else { continue };
            let begins = matches!(record.body, Body::Term(_));
            let follows = if begins { record.place.term > term } else { record.place.term == term };
            if !follows || record.place.position != position || record.place.base != sum {
                continue;
            }
            let entries = match &record.body {
                Body::Term(body) => {
                    let (owner, life) = (body.owner.0 as usize, body.incarnation.0);
                    claimed.push((owner, life, record.place.term, term));
                    let after = self.claimed_after.get(&(owner, life, record.place.term)).copied();
                    late = late.or(after.filter(|after| *after >= position).map(|after| (position, after)));
                    &body.adopted
                }
                Body::Entries(entries) => entries,
                Body::Unknown { .. } => return Err("a kind that nobody writes".into()),
            };
            order.extend(entries.iter().map(|entry| (content(&entry), position)));
            (term, sum) = (record.place.term, record.sum);
            valid.push((position, sum));
        }
        let in_log: BTreeMap<u64, Position> = order.iter().copied().collect();
        if in_log.len() != order.len() {
            return Err("an entry is in the log twice".into());
        }
        for (content, position) in &self.kept {
            if in_log.get(content) != Some(position) {
                return Err(format!(
                    "entry {content} was acknowledged at {position} and is not in the log there"
                ));
            }
        }
        // Linearizable: positions are an order of all claims and appends, and one that began after another
        // was acknowledged is behind it.
        for (content, position) in &in_log {
            if let Some(after) = self.pushed_after.get(content).filter(|after| *after >= position) {
                return Err(format!("entry {content} was said after {after} was kept, and is at {position}"));
            }
        }
        if let Some((position, after)) = late {
            return Err(format!("the claim at {position} began after {after} was kept"));
        }
        for node in nodes {
            let copy: Vec<_> = node.copy.iter().map(place).collect();
            if let Some(wrong) = copy.iter().find(|place| !valid.contains(place)) {
                return Err(format!("the copy of node {} has {wrong:?}, which is void", node.id));
            }
        }
        // What a node showed that promised the next term stands.
        for (owner, life, term, previous) in claimed {
            let promised = self.promised.get(&(owner, life, term));
            for (node, _) in promised.into_iter().flatten().filter(|(node, life)| nodes[*node].life == *life)
            {
                let seen = nodes[*node].shown.iter().filter(|(of, _)| *of == previous);
                if let Some((_, lost)) = seen.clone().find(|(_, content)| !in_log.contains_key(content)) {
                    return Err(format!(
                        "node {node} showed entry {lost} of {previous}, and {term} is without it"
                    ));
                }
            }
        }
        Ok(())
    }
}
