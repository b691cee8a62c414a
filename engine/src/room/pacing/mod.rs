//! Pacing: selects which of a tick's messages a batch shows, so that a large audience can read them.
//!
//! A token bucket gives the room a number of messages a second. A tick within that budget is shown complete.
//! Otherwise, pacing selects in this order:
//!
//! - hosts and moderators are always shown, beyond the budget;
//! - equal texts are folded into one message, with a count;
//! - of the rest, the authors who were shown least within the last [`WINDOW_US`] are shown first. An author's
//!   first message comes before another author's second; among equals, the newest comes first.
//!
//! All other messages are omitted: counted in the batch, kept in the log.
//!
//! Invariants: shown, folded and omitted messages add up to the tick. No author is shown two messages more
//! than another who has a message left. The order of messages never changes. A tick over the budget costs O(n
//! log n), one within it O(n). Once its buffers have grown, pacing allocates nothing per message. A room that
//! is not paced has none of this.
//! Not here: when a room is paced (`shard::timeouts`), the bytes of a batch (`seal`), whom a message means
//! (`mentions`).

pub(crate) mod mentions;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use grandstand_protocol::frame::Role;

use crate::link::Publication;
pub(crate) use mentions::Mentions;

/// How far back shown messages are counted: a screen of chat at the rate that people can read.
const WINDOW_US: u64 = 10_000_000;

/// Messages counted in the window: 10 s at 800 messages/s, which nobody can read. Above this, the oldest are
/// forgotten.
const WINDOW_MESSAGES_MAX: usize = 8192;

/// One message, in millionths.
const MESSAGE: u64 = 1_000_000;

/// The outcome for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The batch shows it, for itself and for `folded` others with an equal text.
    Shown { folded: u32 },
    /// The batch shows another message with an equal text in its place.
    Folded,
    /// The batch only counts it.
    Omitted,
}

/// An author, on any connection. The authors of a bridge are told apart by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AuthorKey(u64);

/// The memory of one paced room.
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

/// Selects messages. Its buffers serve all rooms of a shard.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    fates: Vec<Fate>,
    // The group of each message, for messages that are not always shown.
    group_of: Vec<u32>,
    groups: Vec<Group>,
    by_text: HashMap<u64, u32, FixedState>,
    ordinals: HashMap<AuthorKey, u32, FixedState>,
    ranks: Vec<Rank>,
}

/// Messages with equal texts, or a single one.
#[derive(Clone, Copy, Debug)]
struct Group {
    // The message shown for the group: its index, its author, and how often that author was shown lately.
    at: u32,
    author: AuthorKey,
    lately: u32,
    messages: u32,
    is_shown: bool,
}

/// The order in which groups are shown: by how often the author will have been shown before, then the newest
/// first.
type Rank = (u32, Reverse<u32>, u32);

impl Pacing {
    /// A memory without shown messages, with credit for a second. `seed` keeps clients from choosing keys
    /// that collide in the tables.
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

    /// The shortest time between two batches: a tick too short for one message would only count.
    pub(crate) fn spacing_us(&self) -> u64 {
        self.spacing_us
    }

    /// The author of a publication.
    pub(crate) fn author(&self, p: &Publication) -> AuthorKey {
        AuthorKey(self.hash.hash_one((p.user, &*p.author)))
    }

    /// Advance the time: credit grows, up to a second's worth, and messages shown long ago are forgotten.
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
    /// The outcome for each of a tick's messages, in their order; `None`: all are shown unchanged.
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

    /// Group equal texts. The group shows the last message of the author who was shown least.
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

/// Hosts and moderators; for a bridge's authors, by the role that the bridge gives them.
fn is_always_shown(p: &Publication) -> bool {
    matches!(p.role, Role::Host | Role::Moderator)
}

#[cfg(test)]
mod tests;
