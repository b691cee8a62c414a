//! The account of one viewer: which offset comes next, and what was missing, named or not.
//!
//! Invariant: `next` is the offset behind everything that the viewer was shown or told of.
//! Not here: whether others saw the same (`log`).

use grandstand_protocol::frame::Outcome;

use super::Wrongs;
use crate::crowd::{Record, Told};

#[derive(Debug)]
pub(super) struct Account {
    pub(super) room: usize,
    /// The node of its session, or of its last one.
    pub(super) node: Option<usize>,
    pub(super) epoch: u64,
    pub(super) next: u64,
    /// Subscribed at this moment.
    pub(super) is_inside: bool,
    /// Was subscribed before in this session.
    has_begun: bool,
    pub(super) heard_us: u64,
    pub(super) is_watched: bool,
    /// Its node had the fault: it may have seen what no log had.
    pub(super) is_exempt: bool,
    /// The longest time between two messages since it is watched.
    pub(super) pause_us: u64,
    pub(super) reconnects: u64,
}

impl Account {
    pub(super) fn new(room: usize) -> Account {
        Account {
            room,
            node: None,
            epoch: 0,
            next: 0,
            is_inside: false,
            has_begun: false,
            heard_us: 0,
            is_watched: false,
            is_exempt: true,
            pause_us: 0,
            reconnects: 0,
        }
    }

    pub(super) fn handle(&mut self, record: &Record, wrongs: &mut Wrongs) {
        match record.told {
            Told::Welcome { node } => self.node = Some(node),
            Told::Subscribed { outcome, epoch, offset } => {
                self.handle_subscribed(outcome, epoch, offset, wrongs);
                if self.heard_us == 0 {
                    self.heard_us = record.at_us;
                }
            }
            Told::Message { offset, .. } => {
                self.handle_message(offset, wrongs);
                self.pause_us = self.pause_until(record.at_us);
                self.heard_us = record.at_us;
            }
            Told::Omitted { from, to } => self.handle_named(from, to, wrongs),
            Told::Gap { epoch, from, to, is_restart: true } => {
                self.handle_restarted(epoch, from, to, wrongs);
            }
            Told::Gap { from, to, .. } => self.handle_named(from, to, wrongs),
            Told::Fault => wrongs.breaches += 1,
            Told::Unsubscribed => self.is_inside = false,
            Told::Disconnected => {
                self.is_inside = false;
                self.reconnects += 1;
            }
            Told::Closed { was_asked } => {
                wrongs.breaches += u64::from(!was_asked);
                (self.is_inside, self.has_begun, self.heard_us) = (false, false, 0);
            }
        }
    }

    /// The longest time without a message, if the next one came at this time.
    pub(super) fn pause_until(&self, at_us: u64) -> u64 {
        let since = at_us.saturating_sub(self.heard_us);
        if self.heard_us == 0 { self.pause_us } else { self.pause_us.max(since) }
    }

    fn handle_subscribed(&mut self, outcome: Outcome, epoch: u64, offset: u64, wrongs: &mut Wrongs) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.is_inside = true;
        self.epoch = epoch;
        match outcome {
            _ if is_first => self.next = offset,
            // The gap that follows names the hole.
            Outcome::Gapped => {}
            Outcome::Resumed | Outcome::Live => {
                wrongs.unnamed += offset.saturating_sub(self.next);
                self.next = self.next.max(offset);
            }
            Outcome::Restarted => self.begin_anew(offset, wrongs),
        }
    }

    fn handle_message(&mut self, offset: u64, wrongs: &mut Wrongs) {
        wrongs.unnamed += offset.saturating_sub(self.next);
        wrongs.twice += u64::from(offset < self.next);
        self.next = self.next.max(offset + 1);
    }

    fn handle_named(&mut self, from: u64, to: u64, wrongs: &mut Wrongs) {
        wrongs.unnamed += from.saturating_sub(self.next);
        wrongs.named += to.saturating_sub(from.max(self.next));
        self.next = self.next.max(to);
    }

    /// The log goes on under another epoch: here, or behind something that is taken back.
    fn handle_restarted(&mut self, epoch: u64, from: u64, to: u64, wrongs: &mut Wrongs) {
        self.epoch = epoch;
        if from >= self.next {
            self.handle_named(from, to, wrongs);
            return;
        }
        self.take_back(self.next - from.min(to), wrongs);
        wrongs.named += to.saturating_sub(from);
        self.next = to;
    }

    fn begin_anew(&mut self, offset: u64, wrongs: &mut Wrongs) {
        if offset <= self.next {
            self.take_back(self.next - offset, wrongs);
        } else {
            wrongs.begun_anew += 1;
            // Nobody said which messages these were.
            wrongs.unnamed += offset - self.next;
        }
        self.next = offset;
    }

    fn take_back(&self, count: u64, wrongs: &mut Wrongs) {
        *(if self.is_exempt { &mut wrongs.unsaid } else { &mut wrongs.stale_frames }) += count;
    }
}
