//! Scripts: the messages of a run, and the time at which each is due. Open loop: no message waits for an
//! answer.
//!
//! Why open: a generator that waits for a slow node loads it less, so the worst latencies would not be seen.
//! Invariant: a script depends only on its parameters, so every process of a run can compute from an offset
//! or a text when a message was due.
//! Not here: sending (`publisher`), checking (`expected`).

use std::fmt::Write as _;
use std::rc::Rc;

use grandstand_protocol::frame::Role;
use serde::{Deserialize, Serialize};

use grandstand_harness::chat_log::Message;
use grandstand_harness::random::Random;

/// How messages are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Every `1 / rate` seconds.
    Even,
    /// At random times, independent of each other.
    Poisson,
}

/// Texts that hold the time at which they were due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// Tells this run's messages from others in the room.
    pub(crate) run: u32,
    /// Messages per second, of all publishers together.
    pub(crate) rate: f64,
    /// Bytes of a text; at least what the mark takes.
    pub(crate) size_bytes: usize,
    pub(crate) arrivals: Arrivals,
    pub(crate) hold_us: u64,
}

/// The content of a run.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    Silent,
    Marked(Marked),
    /// A log, `speed` times as fast as it was.
    Log {
        lines: Rc<[Message]>,
        speed: f64,
    },
}

/// One message of a script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Due {
    /// Number in the script.
    pub(crate) seq: u64,
    /// Since the start of publishing.
    pub(crate) after_us: u64,
}

/// Something to publish.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    pub(crate) author: &'a str,
    pub(crate) role: Role,
    pub(crate) text: &'a str,
}

/// One publisher's part of a script, in order of time.
#[derive(Debug)]
pub(crate) struct Part {
    script: Script,
    publishers: u64,
    next_seq: u64,
    at_s: f64,
    random: Random,
}

impl Script {
    /// The part of publisher `index` of `publishers`.
    pub(crate) fn part(&self, index: u64, publishers: u64, seed: u64) -> Part {
        let mut part = Part {
            script: self.clone(),
            publishers,
            next_seq: index,
            at_s: 0.0,
            random: Random::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        if let Script::Marked(marked) = self {
            part.at_s = match marked.arrivals {
                Arrivals::Even => index as f64 / marked.rate,
                Arrivals::Poisson => part.random.arrival_s(marked.rate / publishers as f64),
            };
        }
        part
    }

    /// When line `seq` of a log is due.
    pub(crate) fn log_after_us(lines: &[Message], speed: f64, seq: u64) -> Option<u64> {
        let line = lines.get(usize::try_from(seq).ok()?)?;
        Some((line.t_ms as f64 * 1000.0 / speed) as u64)
    }

    /// From the first message to the last.
    pub(crate) fn length_us(&self) -> u64 {
        match self {
            Script::Silent => 0,
            Script::Marked(marked) => marked.hold_us,
            Script::Log { lines, speed } => {
                Script::log_after_us(lines, *speed, lines.len().saturating_sub(1) as u64).unwrap_or(0)
            }
        }
    }

    /// The words of message `seq`, due at `due_us` of the clock that all processes share.
    pub(crate) fn words<'a>(&'a self, seq: u64, due_us: u64, scratch: &'a mut String) -> Words<'a> {
        match self {
            Script::Silent => unreachable!("a silent script has no parts"),
            Script::Marked(marked) => {
                marked.write(seq, due_us, scratch);
                Words { author: "", role: Role::Viewer, text: scratch }
            }
            Script::Log { lines, .. } => {
                let line = &lines[seq as usize];
                Words { author: &line.author, role: line.role, text: &line.text }
            }
        }
    }
}

impl Part {
    /// The next due message; `None` at the end.
    pub(crate) fn peek(&self) -> Option<Due> {
        let seq = self.next_seq;
        let after_us = match &self.script {
            Script::Silent => return None,
            Script::Marked(marked) => Some((self.at_s * 1e6) as u64).filter(|&us| us < marked.hold_us)?,
            Script::Log { lines, speed } => Script::log_after_us(lines, *speed, seq)?,
        };
        Some(Due { seq, after_us })
    }

    /// Go on behind it.
    pub(crate) fn advance(&mut self) {
        self.next_seq += self.publishers;
        if let Script::Marked(marked) = &self.script {
            let per_s = marked.rate / self.publishers as f64;
            match marked.arrivals {
                // From the number, not by adding up: rounding must not drift.
                Arrivals::Even => self.at_s = self.next_seq as f64 / marked.rate,
                Arrivals::Poisson => self.at_s += self.random.arrival_s(per_s),
            }
        }
    }
}

/// The beginning of a marked text.
const MARK: &str = "gs";

/// Most bytes of a mark: the word, three numbers of 8, 8 and 12 digits, and the spaces behind them.
pub(crate) const MARK_BYTES_MAX: usize = MARK.len() + 8 + 8 + 12 + 4;

impl Marked {
    /// `gs RUN SEQ DUE` and letters that follow from the number, up to the size.
    pub(crate) fn write(&self, seq: u64, due_us: u64, out: &mut String) {
        out.clear();
        // Writing to a String cannot fail.
        let _ = write!(out, "{MARK} {:x} {seq:x} {due_us:x} ", self.run);
        let letters = (out.len()..self.size_bytes).map(|n| char::from(b'a' + ((n as u64 + seq) % 26) as u8));
        out.extend(letters);
    }

    /// Number and due time of a text of this run; `None` for others'.
    pub(crate) fn read(&self, text: &str) -> Option<(u64, u64)> {
        let mut words = text.strip_prefix(MARK)?.strip_prefix(' ')?.splitn(4, ' ');
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        (number()? == u64::from(self.run)).then_some(())?;
        Some((number()?, number()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(rate: f64, arrivals: Arrivals) -> Marked {
        Marked { run: 0xabc, rate, size_bytes: 60, arrivals, hold_us: 10_000_000 }
    }

    fn dues(script: &Script, publishers: u64) -> Vec<Due> {
        let mut dues = Vec::new();
        for index in 0..publishers {
            let mut part = script.part(index, publishers, 3);
            while let Some(due) = part.peek() {
                dues.push(due);
                part.advance();
            }
        }
        dues.sort_by_key(|due| due.seq);
        dues
    }

    #[test]
    fn even_arrivals_are_the_same_however_many_publish() {
        let script = Script::Marked(marked(30.0, Arrivals::Even));
        let one = dues(&script, 1);
        assert_eq!(one, dues(&script, 7));
        assert_eq!((one.len(), one[0].after_us, one[299].after_us), (300, 0, 9_966_666));
        assert!(one.iter().enumerate().all(|(n, due)| due.seq == n as u64));
    }

    #[test]
    fn poisson_arrivals_have_their_mean_and_its_variance() {
        let script = Script::Marked(Marked { hold_us: 200_000_000, ..marked(50.0, Arrivals::Poisson) });
        let dues = dues(&script, 4);
        assert!((9_600..10_400).contains(&dues.len()), "{}", dues.len());
        let mut seconds = vec![0.0f64; 200];
        dues.iter().for_each(|due| seconds[(due.after_us / 1_000_000) as usize] += 1.0);
        let mean = seconds.iter().sum::<f64>() / 200.0;
        let variance = seconds.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 200.0;
        assert!((0.6..1.5).contains(&(variance / mean)), "{}", variance / mean);
    }

    #[test]
    fn a_log_is_due_as_it_was_only_faster() {
        let line = |t_ms| Message { t_ms, author: "a".into(), text: "b".into(), role: Role::Viewer };
        let script = Script::Log { lines: [0, 0, 1000, 5000].map(line).into(), speed: 20.0 };
        let after: Vec<u64> = dues(&script, 1).iter().map(|due| due.after_us).collect();
        assert_eq!(after, [0, 0, 50_000, 250_000]);
        assert_eq!(script.length_us(), 250_000);
    }

    #[test]
    fn marks_are_read_back_and_others_are_not() {
        let (marked, mut text) = (marked(1.0, Arrivals::Even), String::new());
        marked.write(77, 123_456_789, &mut text);
        assert_eq!((text.len(), marked.read(&text)), (60, Some((77, 123_456_789))));
        let other = Marked { run: 1, ..marked };
        other.write(77, 5, &mut text);
        assert_eq!(marked.read(&text), None);
        assert_eq!(marked.read("gs abc zz"), None);
        assert_eq!(marked.read("good show!"), None);
    }
}
