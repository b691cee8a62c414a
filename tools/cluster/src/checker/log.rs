//! The log of one room, as viewers were shown it: a part per epoch, each with the number of the message at
//! every offset.
//!
//! Why parts: what a dead owner had shown and nobody else had, is of the old epoch alone. The newest epoch
//! that has an offset is right.
//! Not here: which viewer saw what (`account`).

use std::collections::{HashMap, VecDeque};

/// An offset that nobody was shown.
const NOTHING: u64 = u64::MAX - 1;

/// How far apart two offsets of a part may be: no run is so long.
const LENGTH_MAX: u64 = 1 << 26;

#[derive(Debug, Default)]
pub(super) struct RoomLog {
    /// In the order in which they appeared.
    parts: Vec<Part>,
    /// Offsets at which a message was shown, in any epoch.
    places: HashMap<u64, Vec<(u64, u64)>>,
}

#[derive(Debug)]
struct Part {
    epoch: u64,
    first: u64,
    numbers: VecDeque<u64>,
}

impl RoomLog {
    /// A message was shown. `false`: another viewer was shown another message there.
    pub(super) fn handle_shown(&mut self, epoch: u64, offset: u64, number: u64) -> bool {
        let at = self.parts.iter().rposition(|part| part.epoch == epoch).unwrap_or_else(|| {
            self.parts.push(Part { epoch, first: offset, numbers: VecDeque::new() });
            self.parts.len() - 1
        });
        let Some(place) = self.parts[at].place(offset) else { return false };
        if *place == NOTHING {
            *place = number;
            self.places.entry(number).or_default().push((epoch, offset));
        }
        *place == number
    }

    /// The message at an offset, in the newest epoch that has it.
    pub(super) fn truth(&self, offset: u64) -> Option<u64> {
        self.right_part(offset)?.get(offset)
    }

    /// The offsets at which a message is in the log; it is asked once for each message.
    pub(super) fn places(&mut self, number: u64) -> Vec<u64> {
        let places = self.places.remove(&number).unwrap_or_default();
        let is_right =
            |&&(epoch, offset): &&(u64, u64)| self.right_part(offset).is_some_and(|part| part.epoch == epoch);
        let mut offsets: Vec<u64> = places.iter().filter(is_right).map(|&(_, offset)| offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        offsets
    }

    /// The part that an offset is of: the newest that begins before or at it.
    fn right_part(&self, offset: u64) -> Option<&Part> {
        self.parts.iter().rev().find(|part| part.first <= offset)
    }
}

impl Part {
    fn get(&self, offset: u64) -> Option<u64> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.numbers.get(at).copied().filter(|&number| number != NOTHING)
    }

    fn place(&mut self, offset: u64) -> Option<&mut u64> {
        while offset < self.first && self.first - offset < LENGTH_MAX {
            self.numbers.push_front(NOTHING);
            self.first -= 1;
        }
        let at = offset.checked_sub(self.first).filter(|&at| at < LENGTH_MAX)?;
        let at = usize::try_from(at).ok()?;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, NOTHING);
        }
        self.numbers.get_mut(at)
    }
}
