//! The expected contents of a room: the message that each offset must hold, and the time at which it was due.
//!
//! Why all viewers of a process share it: the message at an offset is checked in full for the first viewer,
//! and compared with that one for the others. So a memory comparison proves that all viewers saw the same.
//! Invariant: at most [`SEEN_MAX`] messages are remembered.
//! Not here: completeness and order (`checker`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::script::Marked;
use grandstand_harness::chat_log::Message;

/// Messages remembered per room and process: minutes of the busiest room, about 10 MB.
const SEEN_MAX: usize = 65_536;

/// How far ahead an announced message is looked for, when those before it were refused.
const LOOK_AHEAD: usize = 64;

/// Messages that are kept to be shown: a tall terminal's worth.
const ARRIVED_MAX: usize = 100;

/// The judgement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ours, and due at this time.
    Ours {
        /// Microseconds of the shared clock.
        due_us: u64,
    },
    /// Published by another client.
    Foreign,
    /// Different from the published message, or from the one that other viewers were shown.
    Wrong,
}

/// The knowledge about expected messages.
#[derive(Debug)]
pub(crate) enum Knowledge {
    /// None: all viewers must be shown the same messages, and that is all.
    Nothing,
    /// Texts with marks.
    Marked(Marked),
    /// Offset `base + n` holds line `n`.
    Log {
        /// The lines.
        lines: Rc<[Message]>,
        /// How fast.
        speed: f64,
        /// Offset of the first, and the time of the start; once they are known.
        start: Option<(u64, u64)>,
    },
    /// The messages of a publisher of this process, in its order, possibly mixed with those of others.
    Announced(Announcements),
}

/// A message that is about to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// When it was due.
    pub(crate) due_us: u64,
    /// The author.
    pub(crate) author: Box<str>,
    /// The text.
    pub(crate) text: Box<str>,
}

/// Between the publisher's thread and the viewers': messages on their way, and the newest that arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announcements(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    waiting: VecDeque<Announced>,
    arrived: VecDeque<(Box<str>, Box<str>)>,
}

#[derive(Debug)]
struct Seen {
    verdict: Verdict,
    author: Box<str>,
    text: Box<str>,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Expected {
    knowledge: Knowledge,
    first: u64,
    seen: VecDeque<Option<Seen>>,
    scratch: RefCell<String>,
}

impl Expected {
    pub(crate) fn new(knowledge: Knowledge) -> Expected {
        Expected { knowledge, first: 0, seen: VecDeque::new(), scratch: RefCell::default() }
    }

    /// Publishing begins: the next offset of the room then, and the time.
    pub(crate) fn begin(&mut self, base: u64, t0_us: u64) {
        if let Knowledge::Log { start, .. } = &mut self.knowledge {
            *start = Some((base, t0_us));
        }
    }

    /// Judges a message that a viewer received.
    pub(crate) fn judge(&mut self, offset: u64, author: &str, text: &str) -> Verdict {
        match self.slot(offset) {
            Some(Some(seen)) if *seen.author == *author && *seen.text == *text => seen.verdict,
            Some(Some(_)) => Verdict::Wrong,
            Some(None) => {
                let verdict = self.first_look(offset, author, text);
                if let Some(slot) = self.slot(offset) {
                    *slot = Some(Seen { verdict, author: author.into(), text: text.into() });
                }
                verdict
            }
            None => self.first_look(offset, author, text),
        }
    }

    /// As [`Expected::judge`], but from the text alone, where logs follow each other and `restarts` compares
    /// what is shown: and the message's number, if it is one of this run.
    pub(crate) fn judge_alone(&self, text: &str) -> (Verdict, Option<u64>) {
        match &self.knowledge {
            Knowledge::Marked(marked) => {
                (self.judge_mark(marked, text), marked.read(text).map(|(seq, _)| seq))
            }
            _ => (Verdict::Foreign, None),
        }
    }

    /// The place of an offset; `None` when it is too old.
    fn slot(&mut self, offset: u64) -> Option<&mut Option<Seen>> {
        if self.seen.is_empty() || offset >= self.first + (self.seen.len() + SEEN_MAX) as u64 {
            self.seen.clear();
            self.first = offset;
        }
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        while self.seen.len() <= at {
            self.seen.push_back(None);
        }
        let excess = self.seen.len().saturating_sub(SEEN_MAX);
        self.seen.drain(..excess);
        self.first += excess as u64;
        self.seen.get_mut(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    fn first_look(&self, offset: u64, author: &str, text: &str) -> Verdict {
        match &self.knowledge {
            Knowledge::Nothing => Verdict::Foreign,
            Knowledge::Marked(marked) => self.judge_mark(marked, text),
            Knowledge::Log { lines, speed, start } => {
                let expected = start.and_then(|(base, t0_us)| {
                    let line = lines.get(usize::try_from(offset.checked_sub(base)?).ok()?)?;
                    Some((line, t0_us + (line.t_ms as f64 * 1000.0 / speed) as u64))
                });
                match expected {
                    Some((line, due_us)) if *line.author == *author && *line.text == *text => {
                        Verdict::Ours { due_us }
                    }
                    Some(_) => Verdict::Wrong,
                    None => Verdict::Foreign,
                }
            }
            Knowledge::Announced(announcements) => announcements.take(author, text),
        }
    }

    fn judge_mark(&self, marked: &Marked, text: &str) -> Verdict {
        let Some((seq, due_us)) = marked.read(text) else { return Verdict::Foreign };
        let mut expected = self.scratch.borrow_mut();
        marked.write(seq, due_us, &mut expected);
        if *expected == *text { Verdict::Ours { due_us } } else { Verdict::Wrong }
    }
}

impl Announcements {
    /// A message is about to be published.
    pub(crate) fn announce(&self, announced: Announced) {
        self.board().waiting.push_back(announced);
    }

    /// Author and text of the newest messages that reached a viewer, whoever wrote them; oldest first.
    pub(crate) fn arrived(&self) -> Vec<(Box<str>, Box<str>)> {
        self.board().arrived.iter().cloned().collect()
    }

    fn take(&self, author: &str, text: &str) -> Verdict {
        let mut board = self.board();
        board.arrived.push_back((author.into(), text.into()));
        let excess = board.arrived.len().saturating_sub(ARRIVED_MAX);
        board.arrived.drain(..excess);
        let is_it = |a: &Announced| *a.author == *author && *a.text == *text;
        let at = board.waiting.iter().take(LOOK_AHEAD).position(is_it);
        match at.and_then(|at| board.waiting.drain(..=at).next_back()) {
            Some(announced) => Verdict::Ours { due_us: announced.due_us },
            None => Verdict::Foreign,
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::script::Arrivals;
    use grandstand_protocol::frame::Role;

    fn log() -> Expected {
        let line =
            |text: &str| Message { t_ms: 1000, author: "ann".into(), text: text.into(), role: Role::Viewer };
        Expected::new(Knowledge::Log { lines: ["a", "b"].map(line).into(), speed: 10.0, start: None })
    }

    #[test]
    fn a_logs_lines_are_known_by_their_offsets() {
        let mut expected = log();
        assert_eq!(expected.judge(4, "x", "before the start"), Verdict::Foreign);
        expected.begin(5, 1_000_000);
        for _ in 0..2 {
            assert_eq!(expected.judge(5, "ann", "a"), Verdict::Ours { due_us: 1_100_000 });
            assert_eq!(expected.judge(6, "ann", "a"), Verdict::Wrong);
            assert_eq!(expected.judge(7, "ann", "behind the end"), Verdict::Foreign);
        }
        assert_eq!(expected.judge(5, "eve", "a"), Verdict::Wrong);
    }

    #[test]
    fn a_mark_with_another_filling_is_wrong() {
        let marked = Marked { run: 9, rate: 1.0, size_bytes: 40, arrivals: Arrivals::Even, hold_us: 1 };
        let (mut expected, mut text) = (Expected::new(Knowledge::Marked(marked)), String::new());
        marked.write(3, 50, &mut text);
        assert_eq!(expected.judge(0, "", &text), Verdict::Ours { due_us: 50 });
        assert_eq!(expected.judge(1, "", &text.to_uppercase().replace("GS", "gs")), Verdict::Wrong);
        assert_eq!(expected.judge(2, "", "hello"), Verdict::Foreign);
    }

    #[test]
    fn others_may_talk_between_announced_messages() {
        let announced = |text: &str, due_us| Announced { due_us, author: "a".into(), text: text.into() };
        let announcements = Announcements::default();
        let mut expected = Expected::new(Knowledge::Announced(announcements.clone()));
        for (text, due_us) in [("1", 1), ("refused", 2), ("3", 3)] {
            announcements.announce(announced(text, due_us));
        }
        assert_eq!(expected.judge(0, "a", "1"), Verdict::Ours { due_us: 1 });
        assert_eq!(expected.judge(1, "guest", "hi"), Verdict::Foreign);
        assert_eq!(expected.judge(2, "a", "3"), Verdict::Ours { due_us: 3 });
        assert_eq!(expected.judge(0, "a", "1"), Verdict::Ours { due_us: 1 });
        assert!(announcements.board().waiting.is_empty());
        assert_eq!(
            announcements.arrived().iter().map(|(_, text)| &**text).collect::<Vec<_>>(),
            ["1", "hi", "3"]
        );
    }

    #[test]
    fn memory_is_bounded_and_old_offsets_are_judged_anew() {
        let mut expected = log();
        expected.begin(0, 0);
        for offset in 0..(SEEN_MAX as u64 + 10) {
            expected.judge(offset, "ann", "a");
        }
        assert_eq!(expected.seen.len(), SEEN_MAX);
        assert_eq!(expected.judge(0, "ann", "a"), Verdict::Ours { due_us: 100_000 });
        expected.judge(u64::MAX / 2, "ann", "a");
        assert_eq!(expected.seen.len(), 1);
    }
}
