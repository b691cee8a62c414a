//! Looks at what guests hear: how many messages, how late, which reactions; and speaks, at moments fixed
//! beforehand.
//!
//! Method: a message's text begins with the moment at which it was due, so what this process was late to send
//! or to read counts as latency: figures err on the side against the node.
//! Not here: sockets (`super`), whether what was heard is enough (the benches).

use std::time::Duration;

use grandstand_protocol::batch::{BatchReader, Item};

use super::{Guests, Watch};
use crate::clock::now_ns;
use crate::histogram::Times;

/// Hexadecimal digits of the moment at which a text was due.
const STAMP_BYTES: usize = 16;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Listener {
    /// Messages that each guest heard, in all its rooms.
    pub heard: Vec<u64>,
    /// Reactions that each guest was told of.
    pub tallied: Vec<u64>,
    /// From a message's due time to a guest's reading it, by the guest's class.
    pub latency: Vec<Times>,
    /// From being told to come to being in.
    pub joins: Times,
    /// Class of each guest; those beyond have class 0.
    pub classes: Vec<u8>,
    /// Publications that were accepted.
    pub published: u64,
    /// Requests refused.
    pub refused: u64,
    /// Reaction frames refused: how many reactions they stood for is the bench's to know.
    pub last_refusal: String,
    /// Batches that could not be read: none, ever.
    pub unreadable: u64,
    /// From when a publication was due until it was acknowledged, for those that `schedule` knows.
    pub answers: Times,
    /// When publications are due.
    pub schedule: Option<Schedule>,
}

/// When each publication of a [`Talk`] is due, by its guest and nonce. Each guest of it speaks in one room.
#[derive(Clone, Debug)]
pub struct Schedule {
    begin_ns: u64,
    interval_ns: f64,
    speakers: Vec<usize>,
    /// Nonces that were used up before, by speaker.
    before: Vec<u64>,
}

impl Schedule {
    /// `None` for what is not of this talk.
    fn due_ns(&self, guest: usize, nonce: u64) -> Option<u64> {
        let at = self.speakers.binary_search(&guest).ok()?;
        let nth = nonce.checked_sub(self.before[at] + 1)?;
        let number = nth * self.speakers.len() as u64 + at as u64;
        Some(self.begin_ns + (number as f64 * self.interval_ns) as u64)
    }
}

impl Listener {
    /// For guests of so many classes.
    #[must_use]
    pub fn new(classes: usize) -> Listener {
        Listener { latency: (0..classes).map(|_| Times::default()).collect(), ..Listener::default() }
    }

    /// Forget what was heard, not who is who.
    pub fn reset(&mut self) {
        let classes = std::mem::take(&mut self.classes);
        *self = Listener { classes, ..Listener::new(self.latency.len()) };
    }

    fn class_of(&self, guest: usize) -> usize {
        self.classes.get(guest).copied().unwrap_or(0).into()
    }
}

impl Watch for Listener {
    fn handle_joined(&mut self, _: usize, took: Duration) {
        self.joins.record(took.as_micros() as u64);
    }

    fn handle_batch(&mut self, guest: usize, _: usize, body: &[u8]) {
        let class = self.class_of(guest);
        if self.heard.len() <= guest {
            self.heard.resize(guest + 1, 0);
            self.tallied.resize(guest + 1, 0);
        }
        let Ok(mut reader) = BatchReader::new(body) else {
            self.unreadable += 1;
            return;
        };
        let mut now = None;
        loop {
            match reader.next_item() {
                Ok(Some(Item::Message(message))) => {
                    self.heard[guest] += 1;
                    if let Some(due_ns) = stamp_of(message.text) {
                        let now: u64 = *now.get_or_insert_with(now_ns);
                        self.latency[class].record(now.saturating_sub(due_ns) / 1000);
                    }
                }
                Ok(Some(Item::Tally { count, .. })) => self.tallied[guest] += count,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.unreadable += 1;
                    return;
                }
            }
        }
    }

    fn handle_published(&mut self, guest: usize, nonce: u64) {
        self.published += 1;
        if let Some(due_ns) = self.schedule.as_ref().and_then(|schedule| schedule.due_ns(guest, nonce)) {
            self.answers.record(now_ns().saturating_sub(due_ns) / 1000);
        }
    }

    fn handle_refused(&mut self, _: usize, kind: u8, why: &str) {
        self.refused += 1;
        self.last_refusal = format!("kind {kind:#04x}: {why}");
    }
}

/// Somebody who speaks: a guest, and which of its rooms.
pub type Speaker = (usize, usize);

/// Publications at an even rate, by each speaker in turn; what is due is sent, whether or not earlier ones
/// were answered.
#[derive(Debug)]
pub struct Talk {
    speakers: Vec<Speaker>,
    interval_ns: f64,
    bytes: usize,
    begin_ns: u64,
    sent: u64,
}

impl Talk {
    /// Of so many messages per second with texts of so many bytes, beginning now.
    #[must_use]
    pub fn new(speakers: Vec<Speaker>, per_s: f64, bytes: usize) -> Talk {
        Talk { speakers, interval_ns: 1e9 / per_s, bytes, begin_ns: now_ns(), sent: 0 }
    }

    /// Send what is due; how many were sent since the beginning.
    pub fn speak(&mut self, guests: &mut Guests) -> u64 {
        let due = ((now_ns() - self.begin_ns) as f64 / self.interval_ns) as u64 + 1;
        while self.sent < due {
            let due_ns = self.begin_ns + (self.sent as f64 * self.interval_ns) as u64;
            let (guest, room) = self.speakers[self.sent as usize % self.speakers.len()];
            guests.publish(guest, room, &text(due_ns, self.bytes));
            self.sent += 1;
        }
        self.sent
    }

    /// When its publications are due. Its guests are in ascending order and speak in one room each; `before`
    /// tells how often each had published when it began.
    #[must_use]
    pub fn schedule(&self, before: Vec<u64>) -> Schedule {
        let speakers = self.speakers.iter().map(|&(guest, _)| guest).collect();
        Schedule { begin_ns: self.begin_ns, interval_ns: self.interval_ns, speakers, before }
    }

    /// How many messages each speaker sent so far.
    #[must_use]
    pub fn sent_by(&self, speaker: usize) -> u64 {
        let (count, at) = (self.speakers.len() as u64, speaker as u64);
        self.sent / count + u64::from(self.sent % count > at)
    }

    /// Speak for this long, and listen.
    ///
    /// # Errors
    /// When the system fails us.
    pub fn speak_for(
        &mut self,
        time: Duration,
        guests: &mut Guests,
        on: &mut Listener,
    ) -> anyhow::Result<u64> {
        let until_ns = now_ns() + time.as_nanos() as u64;
        while now_ns() < until_ns {
            self.speak(guests);
            guests.turn(Duration::from_millis(1), on)?;
        }
        Ok(self.sent)
    }
}

fn text(due_ns: u64, bytes: usize) -> String {
    let mut text = format!("{due_ns:0STAMP_BYTES$x}");
    while text.len() < bytes {
        text.push('x');
    }
    text
}

fn stamp_of(text: &str) -> Option<u64> {
    u64::from_str_radix(text.get(..STAMP_BYTES)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_when_it_was_due() {
        let text = text(0x1234_5678_9abc, 128);
        assert_eq!((text.len(), stamp_of(&text)), (128, Some(0x1234_5678_9abc)));
        assert_eq!(stamp_of("hello"), None);
    }

    #[test]
    fn a_schedule_knows_when_a_nonce_was_due() {
        let talk = Talk { begin_ns: 1000, ..Talk::new(vec![(4, 0), (9, 0)], 1e9, 16) };
        let schedule = talk.schedule(vec![5, 0]);
        assert_eq!(schedule.due_ns(4, 6), Some(1000));
        assert_eq!(schedule.due_ns(9, 1), Some(1001));
        assert_eq!(schedule.due_ns(4, 7), Some(1002));
        assert_eq!((schedule.due_ns(4, 5), schedule.due_ns(5, 1)), (None, None));
    }

    #[test]
    fn speakers_take_turns() {
        let mut talk = Talk::new(vec![(0, 0), (1, 0), (2, 0)], 1.0, 16);
        talk.sent = 7;
        assert_eq!([0, 1, 2].map(|speaker| talk.sent_by(speaker)), [3, 2, 2]);
    }
}
