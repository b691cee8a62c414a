//! Heartbeat: the times at which a connection must send something, or treats its node as dead.
//!
//! Why pings as well as frames: reactions have no answer, so a session that sends only reactions would never
//! notice a dead node.
//! Why doubts: a machine that dies without a word says nothing, and two intervals are long. A node answers
//! every ping, so a ping without an answer for seconds is a reason to look elsewhere. Whoever only stalls is
//! not left: the doubt ends with the next frame.
//! Invariants: a frame is due at least every half interval, and soon after an unusual silence. A node is
//! doubted once until it is heard. A node that was pinged and sends nothing for two intervals is dead. While
//! the driver has paused reading, a node is neither.
//! Not here: the reaction to a dead node (`session`), which silence is unusual (`silence`).

use super::silence::Silence;

/// Bounds of the interval, whatever `Welcome` says, so that there is neither a flood of pings nor none.
const INTERVAL_US: std::ops::RangeInclusive<u64> = 100_000..=3_600_000_000;

/// How long a ping may be without an answer, where a doubt opens a second connection beside this one: a few
/// retransmissions on a slow network.
const ANSWER_WAIT_US: u64 = 3_000_000;
/// The same where a doubt ends the connection.
const LAST_WAIT_US: u64 = 6_000_000;

/// The times of one connection. See the file's head.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval_us: u64,
    heard_us: u64,
    sent_us: u64,
    pinged_us: u64,
    /// When the first ping since the node was heard was sent; `u64::MAX` for none.
    asked_us: u64,
    answer_wait_us: u64,
    /// The time by which a probed node must have sent something.
    probe_by_us: u64,
    silence: Silence,
    is_ping_due: bool,
    is_reading_held: bool,
    is_doubted: bool,
}

impl Heartbeat {
    pub(super) fn new() -> Heartbeat {
        Heartbeat {
            interval_us: *INTERVAL_US.end(),
            heard_us: 0,
            sent_us: 0,
            pinged_us: 0,
            asked_us: u64::MAX,
            answer_wait_us: LAST_WAIT_US,
            probe_by_us: u64::MAX,
            silence: Silence::new(),
            is_ping_due: false,
            is_reading_held: false,
            is_doubted: false,
        }
    }

    /// A doubt opens a second connection, and does not end this one.
    pub(super) fn overlap(&mut self) {
        self.answer_wait_us = ANSWER_WAIT_US;
    }

    /// A connection is established.
    pub(super) fn handle_connected(&mut self, now_us: u64) {
        (self.heard_us, self.sent_us, self.pinged_us) = (now_us, now_us, now_us);
        (self.asked_us, self.is_doubted) = (u64::MAX, false);
    }

    /// The connection has ended.
    pub(super) fn handle_disconnected(&mut self) {
        (self.is_ping_due, self.probe_by_us) = (false, u64::MAX);
    }

    /// Set the interval that the node asks for.
    pub(super) fn set_interval_ms(&mut self, ms: u32) {
        self.interval_us = (u64::from(ms) * 1000).clamp(*INTERVAL_US.start(), *INTERVAL_US.end());
    }

    /// A frame arrived. `true`: the node was doubted.
    pub(super) fn handle_heard(&mut self, now_us: u64) -> bool {
        self.silence.handle_heard(now_us.saturating_sub(self.heard_us));
        (self.heard_us, self.probe_by_us) = (self.heard_us.max(now_us), u64::MAX);
        self.asked_us = u64::MAX;
        std::mem::take(&mut self.is_doubted)
    }

    /// Ask the node for a sign of life, within this time.
    pub(super) fn probe(&mut self, now_us: u64, within_us: u64) {
        self.is_ping_due = true;
        self.probe_by_us = self.probe_by_us.min(now_us.saturating_add(within_us));
    }

    /// A frame was sent.
    pub(super) fn handle_sent(&mut self, now_us: u64) {
        self.sent_us = now_us;
    }

    /// The driver pauses or resumes reading. While it pauses, silence does not mean that the node is dead.
    /// `true`: the node was doubted.
    pub(super) fn handle_reading_held(&mut self, now_us: u64, held: bool) -> bool {
        self.is_reading_held = held;
        self.handle_heard(now_us)
    }

    /// It is (at least) [`Heartbeat::due_us`].
    pub(super) fn handle_timeout(&mut self, now_us: u64) {
        self.is_ping_due |= now_us >= self.ping_at_us();
    }

    /// Whether the answer to a ping is overdue: once, until the node is heard.
    pub(super) fn poll_doubt(&mut self, now_us: u64) -> bool {
        let is_due = now_us >= self.doubt_at_us();
        self.is_doubted |= is_due;
        is_due
    }

    /// Whether the node was pinged and has sent nothing for two intervals.
    pub(super) fn is_dead(&self, now_us: u64) -> bool {
        now_us >= self.dead_at_us()
    }

    /// The time at which a ping is due, or the node is doubted or dead.
    pub(super) fn due_us(&self) -> u64 {
        self.dead_at_us().min(self.ping_at_us()).min(self.doubt_at_us())
    }

    /// Whether a ping is due now.
    pub(super) fn poll_ping(&mut self, now_us: u64) -> bool {
        let is_due = std::mem::take(&mut self.is_ping_due);
        if is_due {
            self.pinged_us = now_us;
            self.asked_us = self.asked_us.min(now_us);
        }
        is_due
    }

    fn doubt_at_us(&self) -> u64 {
        let is_idle = self.is_reading_held || self.is_doubted;
        if is_idle { u64::MAX } else { self.asked_us.saturating_add(self.answer_wait_us) }
    }

    fn dead_at_us(&self) -> u64 {
        if self.is_reading_held {
            return u64::MAX;
        }
        self.probe_by_us.min(self.heard_us + 2 * self.interval_us)
    }

    /// Half an interval after the last frame sent; an interval after the last frame heard; and after an
    /// unusual silence.
    fn ping_at_us(&self) -> u64 {
        let silence_at_us = self.heard_us.max(self.pinged_us) + self.interval_us;
        let unusual_at_us = self.silence.ask_at_us(self.heard_us, self.pinged_us);
        (self.sent_us + self.interval_us / 2).min(silence_at_us).min(unusual_at_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600_000_000;

    /// Pings in an hour of a node that sends this often and answers at once.
    fn pings(every_us: u64) -> u32 {
        let mut heartbeat = Heartbeat::new();
        heartbeat.handle_connected(1);
        heartbeat.set_interval_ms(25_000);
        let (mut now_us, mut next_us, mut pings) = (1, every_us, 0);
        while now_us < HOUR_US {
            now_us = heartbeat.due_us().min(next_us);
            if now_us >= next_us {
                heartbeat.handle_heard(now_us);
                next_us += every_us;
            }
            assert!(!heartbeat.poll_doubt(now_us) && !heartbeat.is_dead(now_us));
            heartbeat.handle_timeout(now_us);
            if heartbeat.poll_ping(now_us) {
                pings += 1;
                heartbeat.handle_sent(now_us);
                heartbeat.handle_heard(now_us);
            }
        }
        pings
    }

    #[test]
    fn neither_a_quiet_room_nor_a_busy_one_costs_more_pings_than_the_node_asks_for() {
        // Half of the interval of 25 s; a room without a word begins with a few, until it is known as quiet.
        for every_us in [50_000, 1_000_000, 60_000_000, u64::MAX / 2] {
            let pings = pings(every_us);
            println!("{pings} pings in an hour of a room that speaks every {every_us} us");
            assert!((286..292).contains(&pings), "{every_us}: {pings}");
        }
    }
}
