//! Silence that is longer than usual: when a node that used to send often is asked whether it is there.
//!
//! Why: UDP does not tell a client that its node died. The next process answers a datagram of the dead
//! connection with a reset, so a client that sends something soon after the node fell silent returns within
//! seconds, and not after its heartbeat.
//! Invariants: a node that seldom sends is not asked more often than the heartbeat asks it. A room that falls
//! silent for good costs a few pings. Clients of one room do not ask at the same moment.
//! Not here: when a silent node is dead (`heartbeat`).

/// The shortest silence after which the node is asked.
const SILENCE_US: u64 = 1_500_000;

/// Silence that is unusual, in parts of the longest usual one.
const UNUSUAL: u64 = 4;

/// The longest usual silence shrinks by this part with each frame: after some thirty frames in quick
/// succession, the node is one that sends often.
const FORGET_PART: u32 = 8;

/// The spread of clients, in parts of the silence.
const SPREAD_PART: u64 = 2;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// The longest usual silence, in milliseconds: four bytes, since a session is small.
    usual_ms: u32,
}

impl Silence {
    /// Of a node that is believed to send often, until it shows that it does not.
    pub(super) fn new() -> Silence {
        Silence { usual_ms: (SILENCE_US / UNUSUAL / 1_000) as u32 }
    }

    /// A frame arrived after this silence.
    pub(super) fn handle_heard(&mut self, after_us: u64) {
        let after_ms = u32::try_from(after_us / 1_000).unwrap_or(u32::MAX);
        self.usual_ms = (self.usual_ms - self.usual_ms / FORGET_PART).max(after_ms);
    }

    /// When to ask a node that was heard last then, and asked last then.
    pub(super) fn ask_at_us(&self, heard_us: u64, pinged_us: u64) -> u64 {
        let least_us = (u64::from(self.usual_ms) * 1_000 * UNUSUAL).max(SILENCE_US);
        // The time at which a frame arrived differs from client to client by more than this.
        let spread_us = heard_us.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (least_us / SPREAD_PART);
        let asked_us = pinged_us.saturating_sub(heard_us);
        heard_us.saturating_add((least_us + spread_us).max(2 * asked_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_US: u64 = 25_000_000;

    /// A node that sends this often, for so many frames; the silence and when the last frame came.
    fn heard(every_us: u64, frames: u64) -> (Silence, u64) {
        let mut silence = Silence::new();
        (0..frames).for_each(|_| silence.handle_heard(every_us));
        (silence, every_us * frames)
    }

    #[test]
    fn a_node_that_sends_often_is_asked_soon_after_it_falls_silent() {
        for (every_us, frames) in [(0, 1), (1_000, 40), (100_000, 40), (370_000, 40)] {
            let (silence, heard_us) = heard(every_us, frames);
            let ask_us = silence.ask_at_us(heard_us, 0) - heard_us;
            assert!((1_500_000..=2_250_000).contains(&ask_us), "{every_us}: {ask_us}");
            // No answer: again after twice as long, and so on.
            let again_us = silence.ask_at_us(heard_us, heard_us + ask_us) - heard_us;
            assert_eq!(again_us, 2 * ask_us);
        }
    }

    #[test]
    fn a_node_that_seldom_sends_is_not_asked_by_this() {
        for (every_us, frames) in [(10_000_000, 2), (10_000_000, 1_000), (INTERVAL_US, 50)] {
            let (silence, heard_us) = heard(every_us, frames);
            assert!(silence.ask_at_us(heard_us, 0) - heard_us > INTERVAL_US, "{every_us}");
        }
    }

    #[test]
    fn a_room_that_falls_silent_costs_a_few_pings() {
        let (mut silence, mut heard_us) = heard(100_000, 100);
        let mut pings = 0;
        let end_us = heard_us + 3_600_000_000;
        while heard_us < end_us {
            let at_us = silence.ask_at_us(heard_us, 0);
            if at_us - heard_us >= INTERVAL_US {
                break;
            }
            pings += 1;
            // Its pong is a frame.
            silence.handle_heard(at_us - heard_us);
            heard_us = at_us;
        }
        assert!(pings <= 3, "{pings}");
    }

    #[test]
    fn clients_ask_at_times_of_their_own() {
        let (silence, heard_us) = heard(100_000, 100);
        let mut times: Vec<u64> =
            (0..1_000).map(|n| silence.ask_at_us(heard_us + n, 0) - (heard_us + n)).collect();
        times.sort_unstable();
        let (first, last) = (times[0], times[999]);
        assert!(last - first > 700_000);
        let most = times.chunk_by(|a, b| a / 10_000 == b / 10_000).map(<[u64]>::len).max();
        assert!(most.unwrap() < 40, "{most:?} of 1,000 within 10 ms");
    }
}
