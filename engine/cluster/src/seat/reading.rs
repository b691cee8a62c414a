//! Reading: when the log is read, and what a seat knows of its end.
//!
//! Why a type of its own: four facts change together at each answer of the log, and a driver that sleeps must
//! know when the next question is due.
//! Invariants: at most one read waits for its answer; a read that is not answered is asked again.
//! Not here: what is read (`log`).

use std::collections::VecDeque;

use super::message::Output;
use crate::flight::FlightAction;
use crate::time::OwnTime;

/// A read that was not answered is asked again after this time.
const READ_WITHIN_MS: u64 = 250;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Reading {
    wants: bool,
    asked: Option<OwnTime>,
    /// Has the log something at the place of the owner's next record that was not judged yet?
    is_behind: bool,
    /// Was the log read to its end in this life?
    has_read: bool,
}

impl Reading {
    /// Of a life that has read nothing yet, and begins with that.
    pub(super) fn begin() -> Self {
        Reading { wants: true, asked: None, is_behind: false, has_read: false }
    }

    /// There may be something to read.
    pub(super) fn want(&mut self) {
        self.wants = true;
    }

    /// There is something to find out: ask now, whatever was asked before.
    pub(super) fn want_now(&mut self) {
        (self.wants, self.asked) = (true, None);
    }

    /// There may be something to read in a while.
    pub(super) fn want_later(&mut self, now: OwnTime) {
        (self.wants, self.asked) = (true, Some(now));
    }

    /// Something stands where the owner's next record was to be: until it was read, nothing follows.
    pub(super) fn fall_behind(&mut self) {
        (self.wants, self.is_behind) = (true, true);
    }

    /// The log answered. Is there more?
    pub(super) fn handle_answer(&mut self, has_more: bool) {
        (self.asked, self.wants) = (None, has_more);
        if !has_more {
            (self.is_behind, self.has_read) = (false, true);
        }
    }

    /// Is a read to be asked now?
    pub(super) fn poll(&mut self, now: OwnTime) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// What a flight wants.
    pub(super) fn act(&mut self, action: Option<FlightAction>, outputs: &mut VecDeque<Output>) {
        match action {
            None => {}
            Some(FlightAction::Append(append)) => outputs.push_back(Output::Append(append)),
            Some(FlightAction::Read(_)) => self.want_now(),
        }
    }

    /// When the next read is due.
    pub(super) fn due(&self) -> Option<OwnTime> {
        self.wants.then(|| self.asked.map_or(OwnTime(0), |asked| asked.plus(READ_WITHIN_MS)))
    }

    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    pub(super) fn has_read(&self) -> bool {
        self.has_read
    }
}
