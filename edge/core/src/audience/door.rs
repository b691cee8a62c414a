//! The door behind the handshake: where newcomers crowd in among those who come back, the first are sent
//! away.
//!
//! Why here: over plain WebSocket only the `Hello` shows who comes back, by its ticket. Only while most of
//! those who come have one: in a rush of a first evening nobody has, and who has paid for a handshake is let
//! in.
//! Not here: when the door is full (`admission`, told by the worker).

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ErrorFrame, ServerFrame};

use super::Audience;
use crate::admission::Appointments;

/// Newcomers without proof are being sent away before their handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// How long they would wait.
    pub wait_us: u64,
    /// How long one of them takes.
    pub step_us: u64,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Door {
    pressure: Option<Pressure>,
    appointments: Appointments,
    /// Of the latest hellos, the part with a good ticket, in 65,536ths; each counts a sixteenth.
    returning: u32,
}

impl Door {
    pub(super) fn new(seed: u64) -> Self {
        Door { pressure: None, appointments: Appointments::new(seed), returning: 0 }
    }

    /// Somebody says hello: when it is to come back, if it may not come in.
    pub(super) fn handle_hello(&mut self, now_us: u64, has_ticket: bool) -> Option<u32> {
        let newest = if has_ticket { 65_536 } else { 0 };
        self.returning = (self.returning * 15 + newest) / 16;
        let Pressure { wait_us, step_us } = self.pressure?;
        if has_ticket || self.returning < 32_768 {
            return None;
        }
        let after_us = self.appointments.book(now_us, wait_us, step_us);
        Some(u32::try_from(after_us / 1_000).unwrap_or(u32::MAX))
    }
}

impl Audience {
    /// Newcomers are being sent away before their handshake, or no longer.
    pub fn handle_pressure(&mut self, pressure: Option<Pressure>) {
        self.door.pressure = pressure;
    }

    pub(super) fn send_away(&mut self, ix: u32, retry_after_ms: u32) {
        let code = CloseCode::Overloaded;
        if self.end(ix, code, code.text()) {
            let (code, retry, detail) = (code.wire(), code.retry(), code.text());
            self.write_control(ix, &ServerFrame::Error(ErrorFrame { code, retry, retry_after_ms, detail }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESSURE: Option<Pressure> = Some(Pressure { wait_us: 2_000_000, step_us: 1_000 });

    #[test]
    fn among_those_who_come_back_newcomers_are_sent_away() {
        let mut door = Door::new(1);
        (0..30).for_each(|_| assert_eq!(door.handle_hello(0, true), None));
        assert_eq!(door.handle_hello(0, false), None, "there is room");
        door.pressure = PRESSURE;
        assert_eq!(door.handle_hello(0, false), Some(2_001));
        assert_eq!(door.handle_hello(0, false), Some(2_002), "each has its time");
        assert_eq!(door.handle_hello(0, true), None);
    }

    #[test]
    fn in_a_first_rush_nobody_is() {
        let mut door = Door { pressure: PRESSURE, ..Door::new(1) };
        assert!((0..100).all(|n| door.handle_hello(n, n % 3 == 0).is_none()));
    }
}
