//! The filter: several lists, the rooms that each concerns, and the judgement of a text.
//!
//! Why one value: a shard holds it by one reference, and a reload replaces it as a whole.
//! How: the text is folded once. Its letters are searched as they are; where digits or signs may be letters,
//! also as letters; where an override turns a part around, also turned. Each list searches each reading.
//! Invariants: a judgement depends on the text, the author and the lists alone; it allocates nothing once
//! `Scratch` has grown. The strictest action decides; where two are equal, the list that is named first, then
//! the severity. A match that an exception of its list covers is none.
//! Not here: what is done about it (the room), reading files (the node).

use std::sync::Arc;

use crate::common::Common;
use crate::fold::fold;
use crate::letters::{Reading, Readings};
use crate::list::{Action, List, Rule};
use crate::scratch::{Hit, Scratch, Seen};

/// Lists of a filter, at most: a room's choice of them is a word of bits.
pub const LISTS_MAX: usize = 64;

/// What the filter is told of an author.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// Only rules that concern moderators are asked.
    pub is_moderator: bool,
}

/// Rooms that a list concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rooms {
    /// Every room.
    All,
    /// Those whose name begins so.
    Prefix(Box<str>),
    /// The one of this name.
    Named(Box<str>),
}

impl Rooms {
    /// `*`, `prefix*` or a name.
    pub fn parse(text: &str) -> Rooms {
        match text.strip_suffix('*') {
            Some("") => Rooms::All,
            Some(prefix) => Rooms::Prefix(prefix.into()),
            None => Rooms::Named(text.into()),
        }
    }

    fn has(&self, room: &str) -> bool {
        match self {
            Rooms::All => true,
            Rooms::Prefix(prefix) => room.starts_with(&**prefix),
            Rooms::Named(name) => room == &**name,
        }
    }
}

/// The lists that concern a room, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection(u64);

impl Selection {
    /// Does no list concern it?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What the lists say of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub action: Action,
    /// The rule that decided, if any was met.
    pub hit: Option<Hit>,
}

/// See the file's head.
pub struct Filter {
    lists: Vec<(Rooms, Arc<List>)>,
    common: Common,
}

impl Filter {
    /// A filter of these lists, in this order. Of more than [`LISTS_MAX`] the last are left out.
    pub fn new(lists: impl IntoIterator<Item = (Rooms, Arc<List>)>) -> Filter {
        Filter { lists: lists.into_iter().take(LISTS_MAX).collect(), common: Common::new() }
    }

    /// A filter of one list for every room.
    pub fn of(list: List) -> Filter {
        Filter::new([(Rooms::All, Arc::new(list))])
    }

    /// Its lists.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<List>> {
        self.lists.iter().map(|(_, list)| list)
    }

    /// The rule of a hit, and its list.
    pub fn rule(&self, hit: &Hit) -> (&List, &Rule) {
        let list = &self.lists[usize::from(hit.list)].1;
        (list, &list.rules()[hit.rule as usize])
    }

    /// The lists that concern a room.
    pub fn select(&self, room: &str) -> Selection {
        let bits = self.lists.iter().enumerate().filter(|(_, (rooms, _))| rooms.has(room));
        Selection(bits.fold(0, |bits, (ix, _)| bits | 1 << ix))
    }

    /// Judge a text. What was met, and what is to be masked, is in `scratch` until the next judgement.
    pub fn judge(&self, selection: Selection, text: &str, author: Author, scratch: &mut Scratch) -> Verdict {
        scratch.hits.clear();
        scratch.spans.clear();
        let mut bits = selection.0;
        if author.is_moderator {
            for (ix, (_, list)) in self.lists.iter().enumerate() {
                bits &= !(u64::from(!list.concerns_moderators) << ix);
            }
        }
        if bits == 0 {
            return Verdict::default();
        }
        self.search(bits, text, scratch);
        self.verdict(author, scratch)
    }

    /// Count a verdict at the list that decided.
    pub fn count(&self, verdict: &Verdict) {
        if let Some(hit) = &verdict.hit {
            self.lists[usize::from(hit.list)].1.counts().add(verdict.action);
        }
    }

    fn search(&self, bits: u64, text: &str, scratch: &mut Scratch) {
        fold(text, &mut scratch.units, &mut scratch.turned);
        let readings = Readings::of(&scratch.units);
        self.search_readings(bits, readings, None, scratch);
        if !scratch.turned.is_empty() {
            for &(from, to) in &scratch.turned {
                scratch.units[from as usize..to as usize].reverse();
            }
            self.search_readings(bits, Readings::of(&scratch.units), Some(Seen::Turned), scratch);
        }
        for (ix, list) in self.chosen(bits) {
            for (at, expression) in list.expressions.iter().enumerate() {
                let hit = |found: regex::Match<'_>| Hit {
                    list: ix,
                    rule: list.words + at as u32,
                    start: found.start() as u32,
                    end: found.end() as u32,
                    seen: Seen::Expression,
                };
                scratch.hits.extend(expression.find_iter(text).filter(|found| !found.is_empty()).map(hit));
            }
        }
    }

    fn chosen(&self, bits: u64) -> impl Iterator<Item = (u16, &List)> {
        let lists = self.lists.iter().enumerate().filter(move |(ix, _)| bits >> ix & 1 == 1);
        lists.map(|(ix, (_, list))| (ix as u16, &**list))
    }

    fn search_readings(&self, bits: u64, readings: Readings, seen: Option<Seen>, scratch: &mut Scratch) {
        self.search_reading(bits, Reading::Plain, seen.unwrap_or(Seen::Plain), readings.hides, scratch);
        if readings.as_letters {
            self.search_reading(bits, Reading::AsLetters, seen.unwrap_or(Seen::AsLetters), false, scratch);
        }
    }

    fn search_reading(&self, bits: u64, reading: Reading, seen: Seen, hides: bool, scratch: &mut Scratch) {
        let Scratch { units, row, excepted, candidates, hits, .. } = scratch;
        row.fill(units, reading);
        for (ix, list) in self.chosen(bits) {
            excepted.clear();
            candidates.clear();
            list.terms.scan(row, units, reading, &self.common, |id, from, to| {
                let place = (from as u32, to as u32);
                match list.rule_of[id as usize] {
                    Some(rule) => candidates.push((rule, place.0, place.1)),
                    None => excepted.push(place),
                }
            });
            let mut take = |rule: u32, from: u32, to: u32, seen| {
                // A part that is turned around has its last unit first.
                let units = &units[from as usize..to as usize];
                let start = units.iter().map(|unit| unit.start).min().unwrap_or(0);
                let end = units.iter().map(|unit| unit.end).max().unwrap_or(0);
                hits.push(Hit { list: ix, rule, start, end, seen });
            };
            for &(rule, from, to) in candidates.iter() {
                if !excepted.iter().any(|&(start, end)| start <= from && to <= end) {
                    take(rule, from, to, seen);
                }
            }
            if hides {
                list.terms.scan_hidden(units, |id, from, to| {
                    if let Some(rule) = list.rule_of[id as usize] {
                        take(rule, from as u32, to as u32, Seen::Hidden);
                    }
                });
            }
        }
    }

    fn verdict(&self, author: Author, scratch: &mut Scratch) -> Verdict {
        let Scratch { hits, spans, .. } = scratch;
        if author.is_moderator {
            hits.retain(|hit| self.rule(hit).1.marks.concerns_moderators);
        }
        let mut best: Option<(&Hit, &Rule)> = None;
        for hit in hits.iter() {
            let rule = self.rule(hit).1;
            let is_better = best.is_none_or(|(first, other)| {
                let rank = |hit: &Hit, rule: &Rule| {
                    (rule.marks.action, std::cmp::Reverse(hit.list), rule.marks.severity)
                };
                rank(hit, rule) > rank(first, other)
            });
            if is_better {
                best = Some((hit, rule));
            }
            if rule.marks.action == Action::Mask {
                spans.push((hit.start, hit.end));
            }
        }
        join(spans);
        best.map_or_else(Verdict::default, |(hit, rule)| Verdict {
            action: rule.marks.action,
            hit: Some(*hit),
        })
    }
}

/// Sort spans, and make one of those that overlap.
fn join(spans: &mut Vec<(u32, u32)>) {
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let overlaps = next.0 < last.1;
        if overlaps {
            last.1 = last.1.max(next.1);
        }
        overlaps
    });
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lists()).finish()
    }
}
