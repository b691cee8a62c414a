//! Messages between a run and the processes of its viewers, sent over a channel or as lines of JSON over a
//! pipe.
//!
//! Not here: pipes and channels (`processes`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::script::Marked;
use super::tally::{Counts, Tally};
use crate::target::TrustBy;

/// The plan of one process's viewers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Addresses of the WebSocket viewers, used in turn.
    pub(crate) ws_urls: Vec<String>,
    /// Addresses of the QUIC viewers, used in turn.
    pub(crate) quic_urls: Vec<String>,
    /// Does a viewer go to another address when its own does not answer?
    pub(crate) fails_over: bool,
    pub(crate) trust: TrustBy,
    pub(crate) token: String,
    /// Whether viewers accept compressed batches.
    pub(crate) compression: bool,
    /// Rooms, over which viewers are spread in turn.
    pub(crate) rooms: Vec<String>,
    pub(crate) ws_viewers: usize,
    pub(crate) quic_viewers: usize,
    /// Number of the process, which decides its share of the audience.
    pub(crate) process: usize,
    /// Joins per second.
    pub(crate) ramp_per_s: f64,
    /// Number of viewers that stop reading, the time after the start of publishing, and the length of the
    /// stall.
    pub(crate) stalled: usize,
    pub(crate) stall_at_us: u64,
    pub(crate) stall_for_us: u64,
    /// How many times one viewer of each transport drops its connection during publishing.
    pub(crate) drops: u32,
    /// Share of the viewers that leave and come back each minute.
    pub(crate) churn_per_min: f64,
    /// Reactions per second, of all viewers together.
    pub(crate) reactions_per_s: f64,
    /// Reactions for each second, if the rate changes; the last value continues.
    pub(crate) reactions_by_s: Vec<f32>,
    /// Planned length of publishing.
    pub(crate) hold_us: u64,
    /// How long viewers may take to receive the rest after publishing.
    pub(crate) settle_us: u64,
    pub(crate) seed: u64,
    pub(crate) content: Content,
    /// If set, viewers reconnect without limit, a new log is not a fault, and received messages are recorded
    /// in this directory.
    pub(crate) ledger: Option<PathBuf>,
}

/// The expected contents, as far as viewers can know them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Content {
    #[default]
    Unknown,
    Marked(Marked),
    /// These files, fitted to this limit, at this speed.
    Logs {
        files: Vec<PathBuf>,
        text_bytes_max: usize,
        speed: f64,
    },
    /// The messages that a publisher of the same process announces.
    Announced,
}

/// An order of the run to the viewers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Publishing starts at this time; the next offset of each room then.
    Begin { t0_us: u64, bases: Vec<u64> },
    /// Publishing is over; viewers receive the rest. Contains each room's epoch and next offset, if known.
    End { heads: Vec<Option<Head>> },
    /// All figures are taken: viewers leave.
    Close,
}

/// The end of a room's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
}

/// A note of the viewers to the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// Progress, once a second.
    Progress(Box<Progress>),
    /// Every viewer has joined or failed; and the time that this took.
    Ramped { took_us: u64 },
    /// Every viewer has received all messages, or the time for it is over.
    Settled,
    /// The crowd has left.
    Done(Box<Tally>),
    /// The crowd cannot go on.
    Failed(String),
}

/// The progress of a crowd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Time of these counts.
    pub(crate) at_us: u64,
    /// Viewers in the room now.
    pub(crate) live: u64,
    pub(crate) failed: u64,
    pub(crate) gaps: u64,
    /// Counts so far, including open sessions.
    pub(crate) counts: Counts,
    /// Latencies of the last second.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Progress {
    /// Add another crowd's progress; the percentiles are those of the worse crowd.
    pub(crate) fn add(&mut self, other: &Progress) {
        self.at_us = self.at_us.max(other.at_us);
        self.live += other.live;
        self.failed += other.failed;
        self.gaps += other.gaps;
        self.counts.add(&other.counts);
        self.p50_us = self.p50_us.max(other.p50_us);
        self.p99_us = self.p99_us.max(other.p99_us);
    }
}

impl Plan {
    /// Split the plan for this number of processes.
    pub(crate) fn split(&self, processes: usize) -> Vec<Plan> {
        let share = |total: usize, n: usize| total * (n + 1) / processes - total * n / processes;
        (0..processes)
            .map(|n| Plan {
                ws_viewers: share(self.ws_viewers, n),
                quic_viewers: share(self.quic_viewers, n),
                stalled: share(self.stalled, n),
                drops: if n == 0 { self.drops } else { 0 },
                ramp_per_s: self.ramp_per_s / processes as f64,
                reactions_per_s: self.reactions_per_s / processes as f64,
                process: n,
                ..self.clone()
            })
            .collect()
    }

    /// Number of viewers of both transports.
    pub(crate) fn viewers(&self) -> usize {
        self.ws_viewers + self.quic_viewers
    }

    /// Transports are interleaved, so that joins and stalls meet both alike.
    pub(crate) fn is_quic(&self, number: usize) -> bool {
        self.quic_before(number + 1) > self.quic_before(number)
    }

    /// Number of earlier viewers of the same transport.
    pub(crate) fn nth_of_transport(&self, number: usize) -> usize {
        let quic = self.quic_before(number);
        if self.is_quic(number) { quic } else { number - quic }
    }

    fn quic_before(&self, number: usize) -> usize {
        number * self.quic_viewers / self.viewers().max(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::load) fn plan(ws_viewers: usize, quic_viewers: usize) -> Plan {
        Plan {
            ws_urls: vec!["ws://127.0.0.1:1/v1".into()],
            quic_urls: vec!["quic://127.0.0.1:1".into()],
            compression: true,
            rooms: vec!["room".into()],
            ws_viewers,
            quic_viewers,
            ramp_per_s: 100.0,
            hold_us: 1_000_000,
            settle_us: 1_000_000,
            seed: 1,
            ..Plan::default()
        }
    }

    #[test]
    fn transports_are_interleaved_and_complete() {
        for (ws, quic) in [(5, 5), (7, 3), (0, 4), (4, 0), (1, 99)] {
            let plan = plan(ws, quic);
            let (mut seen_ws, mut seen_quic) = (0, 0);
            for n in 0..ws + quic {
                let seen = if plan.is_quic(n) { &mut seen_quic } else { &mut seen_ws };
                assert_eq!(plan.nth_of_transport(n), *seen);
                *seen += 1;
            }
            assert_eq!((seen_ws, seen_quic), (ws, quic));
        }
    }

    #[test]
    fn orders_and_notes_survive_a_pipe() {
        let order = Order::End { heads: vec![Some(Head { epoch: u64::MAX, offset: 3 }), None] };
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Order>(&json).unwrap()).unwrap(), json);
        let note = Note::Done(Box::default());
        let json = serde_json::to_string(&note).unwrap();
        assert!(matches!(serde_json::from_str(&json).unwrap(), Note::Done(_)));
    }

    #[test]
    fn shares_of_a_plan_add_up() {
        let plan = Plan { stalled: 5, drops: 7, ..plan(10, 7) };
        let shares = plan.split(3);
        let sum = |f: fn(&Plan) -> usize| shares.iter().map(f).sum::<usize>();
        assert_eq!((sum(|p| p.ws_viewers), sum(|p| p.quic_viewers), sum(|p| p.stalled)), (10, 7, 5));
        assert_eq!(sum(|p| p.drops as usize), 7);
        assert!((shares.iter().map(|p| p.ramp_per_s).sum::<f64>() - plan.ramp_per_s).abs() < 1e-9);
    }
}
