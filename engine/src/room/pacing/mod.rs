//! Pacing: of a tick's messages, which ones a batch shows people, so that a large audience can read what it
//! is shown.
//!
//! A token bucket gives the room so many messages a second. While a tick fits it, everything is shown as it
//! is. Otherwise, in this order: hosts and moderators are shown always, beyond the budget; equal texts are
//! folded into one, with a count; of what remains, those are shown whose authors were shown least within the
//! last [`WINDOW_US`], a chatter's first message before another's second, the newest first among equals. The
//! rest is omitted: counted in the batch, kept in the log.
//!
//! Invariants: what is shown, folded and omitted adds up to the tick; of two people nobody is shown twice
//! more than the other while that one has a message left; the order of messages never changes. Costs O(n log
//! n) in a tick over the budget, O(n) below, and allocates nothing per message once its buffers have grown. A
//! room that is not paced has none of this.
//! Not here: when a room is paced (`shard/turn`), the bytes of a batch (`seal`), who a message means
//! (`mentions`).

pub(crate) mod mentions;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use grandstand_protocol::frame::Role;

use crate::link::Publication;
pub(crate) use mentions::Mentions;

/// How far back it counts who was shown: a screen of chat at the rate that people can read.
const WINDOW_US: u64 = 10_000_000;

/// Messages counted in the window: 10 s at 800 messages/s, beyond which nobody reads. Beyond, the oldest are
/// forgotten.
const WINDOW_MESSAGES_MAX: usize = 8192;

/// One message, in millionths.
const MESSAGE: u64 = 1_000_000;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stands in the batch, for itself and so many others with an equal text.
    Shown { folded: u32 },
    /// Another message with an equal text stands for it.
    Folded,
    /// It is counted, and no more.
    Omitted,
}

/// An author, whatever connection they speak on: a bridge's authors are told apart by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AuthorKey(u64);

/// What one paced room remembers.
#[derive(Debug)]
pub(crate) struct Pacing {
    hash: FixedState,
    credit: u64,
    earned_us: u64,
    spacing_us: u64,
    shown: HashMap<AuthorKey, u32, FixedState>,
    shown_order: VecDeque<(u64, AuthorKey)>,
    pub(crate) mentions: Mentions,
}

/// Selects; its buffers serve all rooms of a shard.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    fates: Vec<Fate>,
    // By message: its group, for those that are not always shown.
    group_of: Vec<u32>,
    groups: Vec<Group>,
    by_text: HashMap<u64, u32, FixedState>,
    ordinals: HashMap<AuthorKey, u32, FixedState>,
    ranks: Vec<Rank>,
}

/// Messages with equal texts, or a single one.
#[derive(Clone, Copy, Debug)]
struct Group {
    // The message that stands for all: its index, its author, and how often that one was shown lately.
    at: u32,
    author: AuthorKey,
    lately: u32,
    messages: u32,
    is_shown: bool,
}

/// In what order groups are shown: how often the author will have been shown before, the newest first.
type Rank = (u32, Reverse<u32>, u32);

impl Pacing {
    /// Nobody was shown yet; there is a second's worth of credit. `seed` keeps strangers from choosing what
    /// collides.
    pub(crate) fn new(per_s: u32, now_us: u64, seed: u64) -> Self {
        let hash = FixedState::with_seed(seed);
        Pacing {
            credit: u64::from(per_s) * MESSAGE,
            earned_us: now_us,
            spacing_us: 0,
            shown: HashMap::with_hasher(hash.clone()),
            shown_order: VecDeque::new(),
            mentions: Mentions::new(hash.clone()),
            hash,
        }
    }

    /// No two batches nearer than this: a tick that is too short for one message would only count.
    pub(crate) fn spacing_us(&self) -> u64 {
        self.spacing_us
    }

    /// Who says this.
    pub(crate) fn author(&self, p: &Publication) -> AuthorKey {
        AuthorKey(self.hash.hash_one((p.user, &*p.author)))
    }

    /// Take on the time: credit grows, up to a second's worth, and who was shown long ago is forgotten.
    fn earn(&mut self, now_us: u64, per_s: u32) {
        let passed_us = now_us.saturating_sub(self.earned_us);
        self.earned_us = self.earned_us.max(now_us);
        self.spacing_us = MESSAGE / u64::from(per_s);
        let earned = passed_us.saturating_mul(per_s.into());
        self.credit = self.credit.saturating_add(earned).min(u64::from(per_s) * MESSAGE);
        while let Some(&(us, author)) = self.shown_order.front() {
            let is_over = us.saturating_add(WINDOW_US) <= now_us;
            if !is_over && self.shown_order.len() <= WINDOW_MESSAGES_MAX {
                break;
            }
            self.shown_order.pop_front();
            match self.shown.get_mut(&author) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.shown.remove(&author)),
            }
        }
    }

    fn spend(&mut self, now_us: u64, author: AuthorKey) {
        self.credit = self.credit.saturating_sub(MESSAGE);
        *self.shown.entry(author).or_default() += 1;
        self.shown_order.push_back((now_us, author));
    }

    fn lately(&self, author: AuthorKey) -> u32 {
        self.shown.get(&author).copied().unwrap_or(0)
    }
}

impl Selector {
    /// What becomes of each of a tick's messages, in their order; `None`: all are shown as they are.
    pub(crate) fn select(
        &mut self,
        pacing: &mut Pacing,
        messages: &[Box<Publication>],
        now_us: u64,
        per_s: u32,
    ) -> Option<&[Fate]> {
        pacing.earn(now_us, per_s);
        let budget = (pacing.credit / MESSAGE) as usize;
        let candidates = messages.iter().filter(|p| !is_always_shown(p)).count();
        if candidates <= budget {
            for p in messages.iter().filter(|p| !is_always_shown(p)) {
                pacing.spend(now_us, pacing.author(p));
            }
            return None;
        }
        self.group(pacing, messages);
        self.rank();
        let taken = budget.min(self.ranks.len());
        if taken < self.ranks.len() {
            self.ranks.select_nth_unstable(taken);
        }
        for &(_, _, group) in &self.ranks[..taken] {
            let group = &mut self.groups[group as usize];
            group.is_shown = true;
            pacing.spend(now_us, group.author);
        }
        self.decide(messages);
        Some(&self.fates)
    }

    /// Put equal texts together. For each group speaks who was shown least, of those the last.
    fn group(&mut self, pacing: &Pacing, messages: &[Box<Publication>]) {
        self.groups.clear();
        self.group_of.clear();
        self.by_text.clear();
        for (at, p) in (0..).zip(messages) {
            if is_always_shown(p) {
                self.group_of.push(u32::MAX);
                continue;
            }
            let author = pacing.author(p);
            let lately = pacing.lately(author);
            let group = self.group_for(pacing, messages, p);
            self.group_of.push(group);
            match self.groups.get_mut(group as usize) {
                None => self.groups.push(Group { at, author, lately, messages: 1, is_shown: false }),
                Some(g) => {
                    g.messages += 1;
                    if lately <= g.lately {
                        (g.at, g.author, g.lately) = (at, author, lately);
                    }
                }
            }
        }
    }

    /// The group of a message with this text, or the number of a new one.
    fn group_for(&mut self, pacing: &Pacing, messages: &[Box<Publication>], p: &Publication) -> u32 {
        let new = self.groups.len() as u32;
        if !p.attachment.is_empty() {
            return new;
        }
        let hash = pacing.hash.hash_one((p.text.trim(), p.reply_to));
        let group = *self.by_text.entry(hash).or_insert(new);
        let is_equal = self.groups.get(group as usize).is_none_or(|g| {
            let other = &messages[g.at as usize];
            other.text.trim() == p.text.trim() && other.reply_to == p.reply_to
        });
        if is_equal { group } else { new }
    }

    /// Rank groups: each author's in the order of their offsets.
    fn rank(&mut self) {
        self.ordinals.clear();
        self.ranks.clear();
        self.ranks.extend((0..).zip(&self.groups).map(|(group, g)| (g.at, Reverse(g.at), group)));
        self.ranks.sort_unstable();
        for (rank, _, group) in &mut self.ranks {
            let g = &self.groups[*group as usize];
            let ordinal = self.ordinals.entry(g.author).or_default();
            *rank = g.lately.saturating_add(*ordinal);
            *ordinal += 1;
        }
    }

    fn decide(&mut self, messages: &[Box<Publication>]) {
        self.fates.clear();
        for (at, (&group, p)) in (0..).zip(self.group_of.iter().zip(messages)) {
            self.fates.push(match self.groups.get(group as usize) {
                _ if is_always_shown(p) => Fate::Shown { folded: 0 },
                Some(g) if g.is_shown && g.at == at => Fate::Shown { folded: g.messages - 1 },
                Some(g) if g.is_shown => Fate::Folded,
                _ => Fate::Omitted,
            });
        }
    }
}

/// Those who run the show and keep order in it; a bridge's authors by the role that it gives them.
fn is_always_shown(p: &Publication) -> bool {
    matches!(p.role, Role::Host | Role::Moderator)
}

#[cfg(test)]
mod tests;
