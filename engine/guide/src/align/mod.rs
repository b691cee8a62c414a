//! Alignment: which stored airing of a channel each new one is.
//!
//! Why not the start as a key: one overrun moves an evening, and a key of channel and start puts the people
//! of one show into the room of the next (4.7 % of decisions on an edited real listing).
//! How: both schedules are sorted by start, and an order-preserving assignment with the greatest sum of
//! similarities is found by dynamic programming, within [`BAND`] of each start. A second pass finds shows
//! that changed places: equal content within [`SWAP`].
//! Invariants: nothing is used twice; pairs of the first pass do not cross; equal schedules are aligned as
//! they are. Not here: what follows from a pair (`store`).

#[cfg(test)]
mod tests;

use crate::text::{Prepared, similarity};

/// How far a start may move.
pub const BAND: i64 = 3 * 3_600;
/// How far shows may change places.
pub const SWAP: i64 = 6 * 3_600;
/// A pair below this value is none.
const PAIR_MIN: f32 = 0.45;
/// What a move over the whole band costs.
const MOVE_COST: f32 = 0.25;
/// Same slot and this similarity: renamed.
const RENAMED_MIN: f32 = 0.35;
/// A pair of lower value is another show to the people in its room.
const SURE_MIN: f32 = 0.7;
/// Neighbours in the band that are looked at, nearest first: no channel has more.
const BAND_ENTRIES_MAX: usize = 128;

/// An airing to align.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub stop: i64,
    /// What is on.
    pub show: Prepared,
}

/// A stored airing for a new one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Index of the stored one.
    pub old: usize,
    /// Similarity, less what the move costs.
    pub value: f32,
    /// Whether content tells the two apart.
    pub is_equal: bool,
}

/// For each new airing the stored one that it is. Both are sorted by start.
pub fn align(old: &[Entry], new: &[Entry]) -> Vec<Option<Pair>> {
    let is_same =
        |(a, b): &(&Entry, &Entry)| (a.start, a.stop) == (b.start, b.stop) && a.show.is_equal(&b.show);
    // What is equal at both ends is a part of every best alignment.
    let head = old.iter().zip(new).take_while(is_same).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(is_same).count();
    let same = |old| Some(Pair { old, value: 1.0, is_equal: true });
    let mut pairs: Vec<Option<Pair>> = (0..head).map(same).collect();
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    pairs.extend(
        in_order(old_middle, new_middle)
            .into_iter()
            .map(|pair| pair.map(|pair| Pair { old: pair.old + head, ..pair })),
    );
    pairs.extend((old.len() - tail..old.len()).map(same));
    swaps(old, new, &mut pairs);
    pairs
}

/// How the best sum of a cell is reached.
#[derive(Clone, Copy)]
enum Step {
    /// Without the new airing.
    WithoutNew,
    /// Without the stored one.
    WithoutOld,
    /// By the pair, of this value.
    Pair(f32),
}

/// The order-preserving assignment with the greatest sum.
fn in_order(old: &[Entry], new: &[Entry]) -> Vec<Option<Pair>> {
    let mut pairs = vec![None; new.len()];
    // best[j]: the best sum of the new ones so far with old[..j]. Beyond `filled` it is best[filled].
    let mut best = vec![0.0_f32; old.len() + 1];
    let mut filled = 0;
    let mut rows: Vec<(usize, Vec<Step>)> = Vec::with_capacity(new.len());
    for entry in new {
        let band = band(old, entry.start);
        if band.end > filled {
            let reached = best[filled];
            best[filled..=band.end].fill(reached);
            filled = band.end;
        }
        let from = band.start;
        let mut row = Vec::with_capacity(band.len());
        let mut diagonal = best[from];
        for j in band {
            let value = value(&old[j], entry);
            let mut cell = (best[j + 1], Step::WithoutNew);
            if best[j] > cell.0 {
                cell = (best[j], Step::WithoutOld);
            }
            if value >= PAIR_MIN && diagonal + value > cell.0 {
                cell = (diagonal + value, Step::Pair(value));
            }
            diagonal = std::mem::replace(&mut best[j + 1], cell.0);
            row.push(cell.1);
        }
        rows.push((from, row));
    }
    let mut j = old.len();
    for (i, (from, row)) in rows.iter().enumerate().rev() {
        // To the right of a band nothing pairs, and to its left nothing changed.
        j = j.min(from + row.len());
        while j > *from {
            match row[j - 1 - from] {
                Step::WithoutNew => break,
                Step::WithoutOld => j -= 1,
                Step::Pair(value) => {
                    j -= 1;
                    pairs[i] = Some(Pair { old: j, value, is_equal: old[j].show.is_equal(&new[i].show) });
                    break;
                }
            }
        }
    }
    pairs
}

/// Stored airings that start near `start`; both ends rise with it.
fn band(old: &[Entry], start: i64) -> std::ops::Range<usize> {
    let at = |limit: i64| old.partition_point(|entry| entry.start < limit);
    let near = at(start);
    let from = at(start - BAND).max(near.saturating_sub(BAND_ENTRIES_MAX / 2));
    let to = at(start + BAND + 1).min(near + BAND_ENTRIES_MAX / 2);
    // Both rise, and so does the later of both.
    from..to.max(from)
}

fn value(old: &Entry, new: &Entry) -> f32 {
    let distance = (old.start - new.start).abs();
    let similarity = similarity(&old.show, &new.show);
    let value = similarity - MOVE_COST * distance as f32 / BAND as f32;
    if (old.start, old.stop) != (new.start, new.stop) {
        return value;
    }
    let is_renamed = similarity >= RENAMED_MIN && old.show.shares_a_word(&new.show);
    match (old.show.is_described_like(&new.show), is_renamed) {
        (true, _) if similarity > 0.0 => value.max(0.75),
        (_, true) => value.max(0.5),
        _ => value,
    }
}

/// Whether people in the room of a pair are in the same show without doubt: its value, its name or slot, and
/// no twin nearby that a move could be mistaken for.
pub fn is_sure(old: &[Entry], new: &[Entry], pair: &Pair, at: usize) -> bool {
    let (was, is) = (&old[pair.old], &new[at]);
    let has_its_slot = (was.start, was.stop) == (is.start, is.stop);
    if pair.value < SURE_MIN || !(has_its_slot || was.show.is_called_like(&is.show)) {
        return false;
    }
    let has_twin = |entries: &[Entry], of: usize| {
        let first = entries.partition_point(|entry| entry.start < entries[of].start - BAND);
        let near = entries.iter().enumerate().skip(first);
        let mut near = near.take_while(|(_, entry)| entry.start <= entries[of].start + BAND);
        near.any(|(n, entry)| {
            n != of && entry.show.is_called_like(&entries[of].show) && similarity(&entry.show, &is.show) > 0.7
        })
    };
    let stayed = was.start == is.start && was.show.is_equal(&is.show);
    stayed || !(has_twin(old, pair.old) || has_twin(new, at))
}

/// Shows that changed places: what is left over on both sides.
fn swaps(old: &[Entry], new: &[Entry], pairs: &mut [Option<Pair>]) {
    let mut is_used = vec![false; old.len()];
    pairs.iter().flatten().for_each(|pair| is_used[pair.old] = true);
    let left: Vec<usize> = (0..old.len()).filter(|j| !is_used[*j]).collect();
    let found = nearest_equal(old, &left, new, pairs);
    for (pair, old) in pairs.iter_mut().zip(found) {
        if let Some(old) = old {
            *pair = Some(Pair { old, value: 1.0, is_equal: true });
        }
    }
}

/// For new airings without a pair: the airing of `old` with equal content nearest to it, within [`SWAP`].
/// Each is found once.
pub fn equal_nearby(old: &[Entry], new: &[Entry], pairs: &[Option<Pair>]) -> Vec<Option<usize>> {
    nearest_equal(old, &(0..old.len()).collect::<Vec<_>>(), new, pairs)
}

fn nearest_equal(old: &[Entry], left: &[usize], new: &[Entry], pairs: &[Option<Pair>]) -> Vec<Option<usize>> {
    let mut is_used = vec![false; old.len()];
    let mut found = vec![None; new.len()];
    for (n, entry) in new.iter().enumerate().filter(|(n, _)| pairs[*n].is_none()) {
        let from = left.partition_point(|j| old[*j].start < entry.start - SWAP);
        let near =
            left[from..].iter().take_while(|j| old[**j].start <= entry.start + SWAP).take(BAND_ENTRIES_MAX);
        let same = near.filter(|j| !is_used[**j] && old[**j].show.is_equal(&entry.show));
        if let Some(j) = same.min_by_key(|j| (old[**j].start - entry.start).abs()) {
            is_used[*j] = true;
            found[n] = Some(*j);
        }
    }
    found
}
