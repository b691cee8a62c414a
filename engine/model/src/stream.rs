//! A model of a replicated stream, as nasty as what was measured of JetStream.
//!
//! Why: the cluster's promises are about what its log does at its worst. This one judges the expected
//! sequence against what it has *proposed*, loses and delays acknowledgements, is without a leader for 4 to
//! 9 s, keeps or drops the uncommitted tail, has a stale leader that proposes for 10 s without a majority,
//! gives short and stale reads, and now and then lets a message through against its own condition.
//! Invariants: what is committed stays, in its order, unless [`Stream::forget`] is called. A repetition of a
//! committed message is not appended. It draws from the given chance alone.
//! Not here: which server leads and who reaches it, what the messages are (the simulations).

use std::collections::BTreeMap;

use bytes::Bytes;

/// A source of random numbers, which belongs to the world that plays.
pub trait Chance {
    /// 64 bits.
    fn bits(&mut self) -> u64;

    /// From `low`, below `high`.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low)
    }

    /// True in so many of a thousand cases.
    fn in_thousand(&mut self, n: u64) -> bool {
        self.bits() % 1_000 < n
    }
}

/// The leader that a sender reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The one with a majority, or nobody while it is elected.
    Leader,
    /// One without a majority that does not know it, while there is one.
    Stale,
}

/// A message for the stream. `token` names the attempt in its answer.
#[derive(Clone, Debug)]
pub struct Offer<T> {
    /// See above.
    pub token: T,
    /// The sequence that must be the last one.
    pub expected_last: u64,
    /// The identity by which repetitions are dropped.
    pub id: String,
    /// The message.
    pub bytes: Bytes,
}

/// What the stream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is committed, with this sequence.
    Acknowledged(u64),
    /// Another message is, or is proposed, at its sequence.
    WrongLast,
    /// The same message is being worked on.
    InProcess,
    /// Nobody leads.
    NoResponders,
}

/// An answer, which leaves the leader so much later than now.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// Of which attempt.
    pub token: T,
    /// What it says.
    pub verdict: Verdict,
    /// Beyond the usual delay, microseconds.
    pub late_us: u64,
}

#[derive(Clone, Debug)]
struct Proposal<T> {
    offer: Offer<T>,
    due: u64,
}

/// One server's view that takes proposals.
#[derive(Clone, Debug)]
struct Leader<T> {
    /// How much of the committed log it has.
    has: usize,
    tail: Vec<Proposal<T>>,
}

impl<T> Leader<T> {
    fn end(&self) -> u64 {
        (self.has + self.tail.len()) as u64
    }
}

/// See the file's head. Times are microseconds.
#[derive(Debug)]
pub struct Stream<T> {
    committed: Vec<Bytes>,
    ids: BTreeMap<String, u64>,
    leader: Leader<T>,
    /// Until when there is no leader.
    electing_until: u64,
    /// A leader without a majority, and until when.
    stale: Option<(Leader<T>, u64)>,
    /// A commit takes so much longer.
    slow_us: u64,
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Stream {
            committed: Vec::new(),
            ids: BTreeMap::new(),
            leader: Leader { has: 0, tail: Vec::new() },
            electing_until: 0,
            stale: None,
            slow_us: 0,
        }
    }
}

impl<T: Clone> Stream<T> {
    /// All that is committed.
    pub fn committed(&self) -> &[Bytes] {
        &self.committed
    }

    /// The leader's server dies: an election of 4 to 9 s, and some of the tail lives on.
    pub fn kill_leader(&mut self, now: u64, chance: &mut impl Chance) {
        let until = now + chance.within(4_000_000, 9_000_000);
        self.elect(until, chance);
    }

    /// The leader hands over to another server, which is leader within a quarter of a second.
    pub fn step_down(&mut self, now: u64, chance: &mut impl Chance) {
        let until = now + chance.within(1_000, 253_000);
        self.elect(until, chance);
    }

    fn elect(&mut self, until: u64, chance: &mut impl Chance) {
        self.electing_until = self.electing_until.max(until);
        let kept = chance.within(0, self.leader.tail.len() as u64 + 1) as usize;
        self.leader.tail.truncate(kept);
        self.delay_tail();
    }

    fn delay_tail(&mut self) {
        let due = self.electing_until.saturating_add(1_000);
        self.leader.tail.iter_mut().for_each(|proposal| proposal.due = due);
    }

    /// The leader is cut off: it goes on proposing for up to 10 s, and the others elect another.
    pub fn cut_leader(&mut self, now: u64, chance: &mut impl Chance) {
        self.stale = Some((self.leader.clone(), now + chance.within(2_000_000, 10_000_000)));
        self.kill_leader(now, chance);
    }

    /// Without a majority of servers nobody leads, until [`Stream::regain`].
    pub fn lose_majority(&mut self) {
        self.electing_until = u64::MAX;
        self.delay_tail();
    }

    /// A majority of servers is back, and elects a leader.
    pub fn regain(&mut self, now: u64, chance: &mut impl Chance) {
        if self.electing_until == u64::MAX {
            self.electing_until = now + chance.within(4_000_000, 6_000_000);
            self.delay_tail();
        }
    }

    /// The disk of the leader takes so much longer for each commit.
    pub fn set_slow(&mut self, us: u64) {
        self.slow_us = us;
    }

    /// The last messages are lost at all servers, although they were acknowledged.
    pub fn forget(&mut self, messages: usize) {
        let left = self.committed.len().saturating_sub(messages);
        self.committed.truncate(left);
        self.ids.retain(|_, position| *position <= left as u64);
        self.leader = Leader { has: left, tail: Vec::new() };
        self.stale = None;
    }

    /// Is it without a leader?
    pub fn is_electing(&self, now: u64) -> bool {
        now < self.electing_until
    }

    /// Is there a leader without a majority?
    pub fn has_stale_leader(&self) -> bool {
        self.stale.is_some()
    }

    /// When [`Stream::turn`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let commit = self.leader.tail.first().map(|next| next.due.max(self.electing_until));
        let stale = self.stale.as_ref().map(|(_, until)| *until);
        commit.into_iter().chain(stale).filter(|due| *due != u64::MAX).min()
    }

    /// What is due: commits, and the end of a stale leader.
    pub fn turn(&mut self, now: u64, chance: &mut impl Chance) -> Vec<Answered<T>> {
        let mut answers = Vec::new();
        if self.stale.as_ref().is_some_and(|(_, until)| now >= *until) {
            let (stale, _) = self.stale.take().expect("looked at");
            // Healed before anybody else led: its tail is committed after all, and acknowledged late.
            let is_only = self.is_electing(now) && self.leader.has == stale.has;
            if is_only && self.electing_until != u64::MAX && chance.in_thousand(500) {
                self.electing_until = now;
                self.leader = stale;
                self.delay_tail();
            }
        }
        while !self.is_electing(now) && self.leader.tail.first().is_some_and(|next| next.due <= now) {
            let Offer { token, id, bytes, .. } = self.leader.tail.remove(0).offer;
            self.committed.push(bytes);
            self.leader.has = self.committed.len();
            let position = self.committed.len() as u64;
            self.ids.insert(id, position);
            answers.extend(answer(token, Verdict::Acknowledged(position), chance));
        }
        answers
    }

    /// A message reaches a leader. Its answer, if there is one at once.
    pub fn offer(
        &mut self,
        now: u64,
        reach: Reach,
        offer: Offer<T>,
        chance: &mut impl Chance,
    ) -> Option<Answered<T>> {
        let at_stale = reach == Reach::Stale && self.has_stale_leader();
        let token = offer.token.clone();
        if !at_stale && self.is_electing(now) {
            let nobody = Answered { token, verdict: Verdict::NoResponders, late_us: 0 };
            return Some(nobody).filter(|_| chance.in_thousand(700));
        }
        if let Some(position) = self.ids.get(&offer.id).filter(|_| !at_stale) {
            return answer(token, Verdict::Acknowledged(*position), chance);
        }
        let leader = match &mut self.stale {
            Some((stale, _)) if at_stale => stale,
            _ => &mut self.leader,
        };
        let is_in_tail = leader.tail.iter().any(|proposal| proposal.offer.id == offer.id);
        // A lone leader answers a repetition by the sequence, not by the identity (measured).
        if is_in_tail && !at_stale && chance.in_thousand(500) {
            return answer(token, Verdict::InProcess, chance);
        }
        let is_let_through = !at_stale && !is_in_tail && chance.in_thousand(3);
        if leader.end() != offer.expected_last && !is_let_through {
            return answer(token, Verdict::WrongLast, chance);
        }
        let due = now + self.slow_us + chance.within(300, 3_000);
        leader.tail.push(Proposal { offer, due });
        None
    }

    /// Messages from a sequence on, at most `most`, and the end; nothing if nobody leads.
    pub fn read(&self, now: u64, reach: Reach, first: u64, most: usize) -> Option<(Vec<(u64, Bytes)>, u64)> {
        let stale = self.stale.as_ref().filter(|_| reach == Reach::Stale);
        if stale.is_none() && self.is_electing(now) {
            return None;
        }
        let end = stale.map_or(self.committed.len(), |(stale, _)| stale.has);
        let message = |sequence: usize| (sequence as u64, self.committed[sequence - 1].clone());
        Some(((first.max(1) as usize..=end).take(most).map(message).collect(), end as u64))
    }

    /// Everything is well again.
    pub fn heal(&mut self, now: u64) {
        self.stale = None;
        self.slow_us = 0;
        let was_lost = self.electing_until == u64::MAX;
        self.electing_until = self.electing_until.min(now);
        if was_lost {
            self.delay_tail();
        }
    }
}

/// Lost in one of fifty cases, late in one of twenty.
fn answer<T>(token: T, verdict: Verdict, chance: &mut impl Chance) -> Option<Answered<T>> {
    let late_us = if chance.in_thousand(50) { chance.within(10_000, 600_000) } else { 0 };
    (!chance.in_thousand(20)).then_some(Answered { token, verdict, late_us })
}
