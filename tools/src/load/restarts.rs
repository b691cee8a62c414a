//! Restarts: the records with which viewers check a node that is killed, cut off or replaced during the run.
//!
//! Why beside `checker` and `expected`: those check one log within a window of memory. Here several logs
//! follow each other, and after the run every message that any viewer was shown is compared with the log.
//! Invariants: if two viewers see different messages at one offset of a log, that is counted as a difference
//! of order. A process keeps eight bytes per message for all its viewers together, and at most [`PLACES_MAX`]
//! runs and gaps per viewer.
//! Not here: the files (`ledger`), the comparison with the final log (`audit`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use super::ledger::{self, ShownLine, ViewerLine};

/// Runs, and gaps, kept per viewer: one or two for each restart of a long run.
const PLACES_MAX: usize = 2_048;

/// How far ahead of what was shown an offset may lie: beyond, it is no offset of this run.
const AHEAD_MAX: u64 = 1 << 22;

/// The mark of an offset without a message.
const NOTHING: u64 = u64::MAX;

/// The messages that the viewers of a process were shown, and the course of each viewer.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    shown: RefCell<BTreeMap<(usize, u64), Shown>>,
    stories: RefCell<Vec<Story>>,
}

#[derive(Debug)]
struct Shown {
    first: u64,
    seqs: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct Story {
    line: ViewerLine,
    heard_us: Option<u64>,
}

impl Restarts {
    /// For `viewers`, spread over `rooms` in turn.
    pub(crate) fn new(viewers: usize, rooms: usize) -> Restarts {
        let story = |viewer| Story {
            line: ViewerLine { viewer, room: viewer % rooms, ..ViewerLine::default() },
            heard_us: None,
        };
        Restarts { shown: RefCell::default(), stories: RefCell::new((0..viewers).map(story).collect()) }
    }

    /// A viewer was shown message `seq` at this offset. `false`: another viewer was shown another message.
    pub(crate) fn handle_shown(
        &self,
        viewer: usize,
        room: usize,
        epoch: u64,
        offset: u64,
        seq: Option<u64>,
    ) -> bool {
        self.stories.borrow_mut()[viewer].handle_message(epoch, offset);
        // Another's message is known by its offset only.
        let seq = seq.unwrap_or(NOTHING - 1);
        let mut shown = self.shown.borrow_mut();
        let log = shown.entry((room, epoch)).or_insert_with(|| Shown { first: offset, seqs: Vec::new() });
        log.place(offset).is_some_and(|place| {
            let is_first = *place == NOTHING;
            if is_first {
                *place = seq;
            }
            is_first || *place == seq
        })
    }

    /// The node named what a viewer missed.
    pub(crate) fn handle_gap(&self, viewer: usize, epoch: u64, from: u64, to: u64, count: u64, why: &str) {
        let line = &mut self.stories.borrow_mut()[viewer].line;
        if line.gaps.len() < PLACES_MAX {
            line.gaps.push((epoch, from, to, count, why.to_owned()));
        } else {
            line.is_cut = true;
        }
    }

    /// A viewer's connection ended, or could not be made.
    pub(crate) fn handle_disconnected(&self, viewer: usize, was_refused: bool) {
        let line = &mut self.stories.borrow_mut()[viewer].line;
        line.disconnects += 1;
        line.refused += u64::from(was_refused);
    }

    /// A batch reached a viewer at this time; whether it should have heard from the room all the time before.
    pub(crate) fn handle_heard(&self, viewer: usize, now_us: u64, counts: bool) {
        let story = &mut self.stories.borrow_mut()[viewer];
        if let Some(heard_us) = story.heard_us.filter(|_| counts) {
            story.line.silence_us = story.line.silence_us.max(now_us.saturating_sub(heard_us));
        }
        story.heard_us = Some(now_us);
    }

    /// A session of a viewer is over; what it heard last is of no meaning for the next.
    pub(crate) fn handle_finished(&self, viewer: usize, lost: u64, duplicated: u64, out_of_order: u64) {
        let story = &mut self.stories.borrow_mut()[viewer];
        story.heard_us = None;
        story.line.lost += lost;
        story.line.duplicated += duplicated;
        story.line.out_of_order += out_of_order;
    }

    /// The longest silence of each viewer.
    pub(crate) fn silences_us(&self) -> Vec<u64> {
        self.stories.borrow().iter().map(|story| story.line.silence_us).collect()
    }

    /// Write the crowd's part of the ledger.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, directory: &Path, process: usize) -> anyhow::Result<()> {
        let shown = self.shown.borrow();
        let lines = shown.iter().map(|(&(room, epoch), log)| ShownLine {
            room,
            epoch,
            first: log.first,
            seqs: log.seqs.iter().map(|&seq| (seq != NOTHING).then_some(seq)).collect(),
        });
        ledger::write(&ledger::shown_file(directory, process), None, lines)?;
        let stories = self.stories.borrow();
        ledger::write(&ledger::viewers_file(directory, process), None, stories.iter().map(|s| &s.line))
    }
}

impl Shown {
    /// The place of an offset; `None` for one that cannot be of this run.
    fn place(&mut self, offset: u64) -> Option<&mut u64> {
        if offset < self.first {
            // A viewer resumed from before the first offset that was recorded.
            let before = self.first - offset;
            if before > AHEAD_MAX {
                return None;
            }
            self.seqs.splice(0..0, std::iter::repeat_n(NOTHING, usize::try_from(before).ok()?));
            self.first = offset;
        }
        let at = offset - self.first;
        if at > self.seqs.len() as u64 + AHEAD_MAX {
            return None;
        }
        let at = usize::try_from(at).ok()?;
        if self.seqs.len() <= at {
            self.seqs.resize(at + 1, NOTHING);
        }
        self.seqs.get_mut(at)
    }
}

impl Story {
    fn handle_message(&mut self, epoch: u64, offset: u64) {
        let has_room = self.line.runs.len() < PLACES_MAX;
        match self.line.runs.last_mut() {
            Some((of, _, next)) if *of == epoch && *next == offset => *next += 1,
            _ if has_room => self.line.runs.push((epoch, offset, offset + 1)),
            _ => self.line.is_cut = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_must_be_shown_the_same_at_an_offset_of_a_log_and_another_log_is_another_matter() {
        let restarts = Restarts::new(4, 2);
        assert!(restarts.handle_shown(0, 0, 7, 10, Some(100)));
        assert!(restarts.handle_shown(2, 0, 7, 10, Some(100)));
        assert!(restarts.handle_shown(2, 0, 7, 4, Some(94)));
        assert!(!restarts.handle_shown(0, 0, 7, 4, Some(95)));
        assert!(restarts.handle_shown(0, 0, 8, 4, Some(95)));
        assert!(restarts.handle_shown(1, 1, 7, 4, Some(95)));
        assert!(!restarts.handle_shown(1, 1, 7, u64::MAX / 2, Some(1)), "no offset of this run");
    }

    #[test]
    fn runs_are_ranges_and_silence_is_the_longest_time_between_batches() {
        let restarts = Restarts::new(1, 1);
        for offset in [1, 2, 3, 7, 8] {
            restarts.handle_shown(0, 0, 5, offset, Some(offset));
        }
        restarts.handle_shown(0, 0, 6, 9, Some(9));
        for (at_us, counts) in [(10, true), (30, true), (900, false), (910, true)] {
            restarts.handle_heard(0, at_us, counts);
        }
        let line = restarts.stories.borrow()[0].line.clone();
        assert_eq!(line.runs, [(5, 1, 4), (5, 7, 9), (6, 9, 10)]);
        assert_eq!(restarts.silences_us(), [20]);
        restarts.handle_finished(0, 0, 0, 0);
        restarts.handle_heard(0, 5_000, true);
        assert_eq!(restarts.silences_us(), [20], "another session begins anew");
    }
}
