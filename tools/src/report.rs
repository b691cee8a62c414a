//! Reports: the figures of a run, for people and as one line of JSON.
//!
//! Why one type: `gs load` and `gs demo` speak of the same things, and whoever compares two runs needs the
//! same names.
//! Invariant: messages, frames and deliveries are never mixed up; what was not measured is null, never zero.
//! Not here: measuring (`load`).

use std::fmt::Write as _;

use serde::Serialize;
use std::collections::BTreeMap;

use crate::load::conductor::{Outcome, Server};
use crate::load::prober::Probes;
use crate::load::tally::{Gaps, Reasons};
use grandstand_harness::histogram::Summary;

/// All figures of a run. Messages are publications that were acknowledged; a frame is one batch reaching one
/// viewer; a delivery is one message reaching one viewer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) viewers: u64,
    pub(crate) ws_viewers: usize,
    pub(crate) quic_viewers: usize,
    pub(crate) processes: usize,
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) frames: u64,
    pub(crate) deliveries: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) wrong: u64,
    pub(crate) gaps: u64,
    pub(crate) gap_messages: u64,
    pub(crate) gaps_by_reason: BTreeMap<String, Gaps>,
    pub(crate) omitted: u64,
    pub(crate) foreign: u64,
    pub(crate) unsettled: u64,
    pub(crate) due: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) refused: Reasons,
    /// Messages that were acknowledged as synced to a disk.
    pub(crate) acknowledged_disk: u64,
    /// Messages whose acknowledgement says that the node had taken them before.
    pub(crate) repeated: u64,
    /// Refusals after which a publication was said again.
    pub(crate) retried: Reasons,
    /// Publications that could not be said again, nor are known to stand.
    pub(crate) uncertain: u64,
    pub(crate) logs_changed: u64,
    pub(crate) order_differences: u64,
    pub(crate) refused_connections: u64,
    /// Longest silence of each viewer, where that is watched.
    pub(crate) silence: Summary,
    /// Newcomers who knocked while the run went on; null where none did.
    pub(crate) probes: Option<u64>,
    /// Those that were not let in.
    pub(crate) probes_refused: Reasons,
    pub(crate) probe: Summary,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    /// Of viewers that were stalled or dropped on purpose.
    pub(crate) disturbed: Summary,
    /// From due to acknowledged.
    pub(crate) ack: Summary,
    /// How late the generator itself was.
    pub(crate) send_lag: Summary,
    pub(crate) join: Summary,
    pub(crate) joins: u64,
    pub(crate) joins_per_s: f64,
    pub(crate) messages_per_s: f64,
    pub(crate) frames_per_s: f64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) bytes_per_delivery: f64,
    pub(crate) bytes_per_frame: f64,
    pub(crate) text_bytes_per_message: f64,
    pub(crate) cpu_ns_per_delivery: Option<f64>,
    pub(crate) cpu_ns_per_frame: Option<f64>,
    /// CPUs that the server kept busy.
    pub(crate) server_cpus: Option<f64>,
    pub(crate) server_user_bytes_per_viewer: Option<f64>,
    pub(crate) server_resident_bytes: Option<u64>,
    pub(crate) server_resident_max_bytes: Option<u64>,
    pub(crate) client_cpu_ns_per_delivery: f64,
    pub(crate) client_user_bytes_per_viewer: f64,
    pub(crate) reactions_sent: u64,
    pub(crate) reactions_seen: u64,
    pub(crate) drops: u64,
    pub(crate) resumes: u64,
    pub(crate) churned: u64,
    pub(crate) disconnects: Reasons,
    pub(crate) interrupted: bool,
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// The figures of an outcome with so many viewers of each transport.
    pub(crate) fn new(outcome: &Outcome, ws_viewers: usize, quic_viewers: usize) -> Report {
        let (tally, published) = (&outcome.tally, &outcome.published);
        let seconds = outcome.publish_us as f64 / 1e6;
        let viewers = (ws_viewers + quic_viewers) as u64;
        let cpu_ns = outcome.server.map(|s| s.cpu_us() as f64 * 1000.0);
        let latency = tally.latency.summary();
        let mut faults = published.faults();
        faults.extend(tally.faults());
        Report {
            ok: faults.is_empty(),
            viewers: tally.joins.min(viewers),
            ws_viewers,
            quic_viewers,
            processes: outcome.processes,
            seconds,
            messages: published.acknowledged,
            frames: tally.frames,
            deliveries: tally.deliveries,
            lost: tally.lost,
            duplicated: tally.duplicated,
            out_of_order: tally.out_of_order,
            wrong: tally.wrong,
            gaps: tally.gap_notices(),
            gap_messages: tally.gap_messages(),
            gaps_by_reason: tally.gaps.clone(),
            omitted: tally.omitted,
            foreign: tally.foreign,
            unsettled: tally.unsettled,
            due: published.due,
            unacknowledged: published.unacknowledged(),
            refused: published.refused.clone(),
            acknowledged_disk: published.acknowledged_disk,
            repeated: published.repeated,
            retried: published.retried.clone(),
            uncertain: published.uncertain,
            logs_changed: tally.logs_changed,
            order_differences: tally.order_differences,
            refused_connections: tally.refused_connections,
            silence: tally.silence.summary(),
            probes: None,
            probes_refused: Reasons::default(),
            probe: Summary::default(),
            p50_us: latency.p50_us,
            p90_us: latency.p90_us,
            p99_us: latency.p99_us,
            p999_us: latency.p999_us,
            max_us: latency.max_us,
            disturbed: tally.disturbed_latency.summary(),
            ack: published.ack.summary(),
            send_lag: published.send_lag.summary(),
            join: tally.join_latency.summary(),
            joins: tally.joins,
            joins_per_s: per(tally.join_latency.count().min(viewers) as f64, outcome.ramp_us as f64 / 1e6),
            messages_per_s: per(published.acknowledged as f64, seconds),
            frames_per_s: per(tally.frames as f64, seconds),
            deliveries_per_s: per(tally.deliveries as f64, seconds),
            bytes_per_delivery: per(tally.bytes as f64, tally.deliveries as f64),
            bytes_per_frame: per(tally.bytes as f64, tally.frames as f64),
            text_bytes_per_message: per(published.text_bytes as f64, published.acknowledged as f64),
            cpu_ns_per_delivery: cpu_ns.map(|ns| per(ns, tally.deliveries as f64)),
            cpu_ns_per_frame: cpu_ns.map(|ns| per(ns, tally.frames as f64)),
            server_cpus: cpu_ns.map(|ns| per(ns / 1e9, seconds)),
            server_user_bytes_per_viewer: outcome.server.map(|s| s.user_bytes(viewers)),
            server_resident_bytes: outcome.server.map(|s| s.end.resident_bytes),
            server_resident_max_bytes: outcome.server.map(|s| s.resident_max_bytes),
            client_cpu_ns_per_delivery: per(tally.cpu_us as f64 * 1000.0, tally.deliveries as f64),
            client_user_bytes_per_viewer: per(tally.user_bytes as f64, viewers as f64),
            reactions_sent: tally.reactions_sent,
            reactions_seen: tally.reactions_seen,
            drops: tally.drops,
            resumes: tally.resumes,
            churned: tally.churned,
            disconnects: tally.disconnects.clone(),
            interrupted: outcome.interrupted,
            faults,
        }
    }

    /// What newcomers found who knocked meanwhile.
    pub(crate) fn with_probes(mut self, probes: Option<&Probes>) -> Report {
        let Some(probes) = probes else { return self };
        self.probes = Some(probes.tries);
        self.probe = probes.welcome.summary();
        self.probes_refused = probes.refused.clone();
        let refused = probes.refused.total();
        if refused > 0 {
            self.faults.push(format!("{refused} newcomers not let in: {}", probes.refused.sentence()));
            self.ok = false;
        }
        self
    }

    /// One line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("figures are JSON")
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<12}{text}");
        };
        line("viewers", self.viewers_line());
        line("joins", format!("{:.0}/s, {}", self.joins_per_s, times(&self.join)));
        line("published", self.published_line());
        line("delivered", self.delivered_line());
        line("wire", self.wire_line());
        line("latency", format!("{} (from due to received)", times(&self.latency())));
        if self.disturbed.count > 0 {
            line("", format!("{} (viewers that were stalled or dropped)", times(&self.disturbed)));
        }
        line("acks", format!("{}; sent late {}", times(&self.ack), times(&self.send_lag)));
        line("complete", self.complete_line());
        if self.gaps > 0 || self.omitted > 0 {
            line("gaps", self.gaps_line());
        }
        if self.drops + self.churned + self.reactions_sent > 0 {
            line("done to", self.done_line());
        }
        if self.disconnects.total() > 0 {
            line("disconnects", self.disconnects.sentence());
        }
        if self.silence.count > 0 {
            line("restarts", self.restarts_line());
        }
        if let Some(probes) = self.probes {
            let refused = self.probes_refused.sentence();
            line(
                "newcomers",
                format!(
                    "{probes} knocked; not let in: {}; {}",
                    if refused.is_empty() { "0" } else { &refused },
                    times(&self.probe)
                ),
            );
        }
        line("server", self.server_line());
        line(
            "this side",
            format!(
                "{:.0} ns CPU per delivery, {:.0} bytes of user memory per viewer",
                self.client_cpu_ns_per_delivery, self.client_user_bytes_per_viewer
            ),
        );
        let verdict =
            if self.ok { "nothing lost, duplicated or reordered".to_owned() } else { self.faults.join("; ") };
        line(if self.ok { "OK" } else { "FAILED" }, verdict);
        out
    }

    fn restarts_line(&self) -> String {
        format!(
            "{} resumes, {} in another log, longest silence {}, {} connections refused; {} acknowledged as synced, {} repeated, {} uncertain, said again after {}",
            self.resumes,
            self.logs_changed,
            duration(self.silence.max_us),
            self.refused_connections,
            self.acknowledged_disk,
            self.repeated,
            self.uncertain,
            if self.retried.0.is_empty() { "no refusal".to_owned() } else { self.retried.sentence() },
        )
    }

    fn latency(&self) -> Summary {
        Summary {
            count: self.deliveries,
            p50_us: self.p50_us,
            p90_us: self.p90_us,
            p99_us: self.p99_us,
            p999_us: self.p999_us,
            max_us: self.max_us,
        }
    }

    fn viewers_line(&self) -> String {
        let processes =
            if self.processes > 1 { format!(", in {} processes", self.processes) } else { String::new() };
        format!("{} ({} WebSocket, {} QUIC{processes})", self.viewers, self.ws_viewers, self.quic_viewers)
    }

    fn published_line(&self) -> String {
        let refused = match self.refused.total() {
            0 => String::new(),
            n => format!(", {n} refused ({})", self.refused.sentence()),
        };
        format!(
            "{} messages acknowledged of {} due ({:.1}/s), {} unacknowledged{refused}",
            self.messages, self.due, self.messages_per_s, self.unacknowledged
        )
    }

    fn delivered_line(&self) -> String {
        format!(
            "{} deliveries ({:.0}/s) in {} frames ({:.0}/s) within {:.1} s",
            self.deliveries, self.deliveries_per_s, self.frames, self.frames_per_s, self.seconds
        )
    }

    fn wire_line(&self) -> String {
        format!(
            "{:.1} bytes per delivery, {:.1} per frame (text and name: {:.1} per message)",
            self.bytes_per_delivery, self.bytes_per_frame, self.text_bytes_per_message
        )
    }

    fn complete_line(&self) -> String {
        let foreign = if self.foreign > 0 {
            format!(", {} deliveries of others' messages", self.foreign)
        } else {
            String::new()
        };
        format!(
            "lost {}, duplicated {}, out of order {}, wrong content {}{foreign}",
            self.lost, self.duplicated, self.out_of_order, self.wrong
        )
    }

    fn gaps_line(&self) -> String {
        let mut parts: Vec<String> = self
            .gaps_by_reason
            .iter()
            .map(|(reason, gaps)| {
                format!("{reason}: {} notices for {} messages", gaps.notices, gaps.messages)
            })
            .collect();
        if self.omitted > 0 {
            parts.push(format!("{} messages omitted by pacing", self.omitted));
        }
        parts.join(", ")
    }

    fn done_line(&self) -> String {
        format!(
            "{} dropped, {} resumed, {} left and came back, {} reactions given, {} seen",
            self.drops, self.resumes, self.churned, self.reactions_sent, self.reactions_seen
        )
    }

    fn server_line(&self) -> String {
        let (Some(delivery), Some(frame), Some(cpus), Some(user), Some(resident), Some(max)) = (
            self.cpu_ns_per_delivery,
            self.cpu_ns_per_frame,
            self.server_cpus,
            self.server_user_bytes_per_viewer,
            self.server_resident_bytes,
            self.server_resident_max_bytes,
        ) else {
            return "not measured (give --pid)".to_owned();
        };
        format!(
            "{delivery:.0} ns CPU per delivery, {frame:.0} per frame ({cpus:.2} CPUs); {user:.0} bytes of user memory per viewer; \
             {} resident, {} at most",
            mib(resident),
            mib(max)
        )
    }
}

impl Server {
    fn cpu_us(&self) -> u64 {
        self.end.cpu_us().saturating_sub(self.begin.cpu_us())
    }

    fn user_bytes(&self, viewers: u64) -> f64 {
        let grown = self.joined.anonymous_bytes as f64 - self.before.anonymous_bytes as f64;
        per(grown, viewers as f64)
    }
}

/// A ratio; 0 where there is nothing to divide by.
fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { (amount / of * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// `p50 1.2 ms, p90 ..`.
pub(crate) fn times(s: &Summary) -> String {
    let t = duration;
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        t(s.p50_us),
        t(s.p90_us),
        t(s.p99_us),
        t(s.p999_us),
        t(s.max_us)
    )
}

/// Microseconds in the unit that a person would use.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// Bytes as MB of memory.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_harness::process::Sample;

    fn outcome() -> Outcome {
        let mut outcome =
            Outcome { publish_us: 2_000_000, ramp_us: 500_000, processes: 1, ..Outcome::default() };
        let tally = &mut outcome.tally;
        (tally.joins, tally.deliveries, tally.frames, tally.bytes) = (100, 1000, 400, 30_000);
        (0..100).for_each(|_| tally.join_latency.record(900));
        (1..=1000).for_each(|us| tally.latency.record(us));
        (outcome.published.due, outcome.published.acknowledged) = (10, 10);
        outcome
    }

    #[test]
    fn the_line_has_the_names_that_others_rely_on() {
        let mut outcome = outcome();
        let at = |user_us, anonymous_bytes| Sample {
            user_us,
            resident_bytes: 5_000_000,
            anonymous_bytes,
            ..Sample::default()
        };
        let (before, joined, begin, end) = (at(0, 1_000_000), at(5, 1_070_000), at(10, 0), at(1010, 0));
        outcome.server = Some(Server { before, joined, begin, end, resident_max_bytes: 5_000_000 });
        let json: serde_json::Value = serde_json::from_str(&Report::new(&outcome, 50, 50).json()).unwrap();
        for (name, value) in [
            ("viewers", 100.0),
            ("messages", 10.0),
            ("frames", 400.0),
            ("deliveries", 1000.0),
            ("lost", 0.0),
            ("duplicated", 0.0),
            ("out_of_order", 0.0),
            ("gaps", 0.0),
            ("p50_us", 500.0),
            ("p99_us", 990.0),
            ("p999_us", 999.0),
            ("cpu_ns_per_delivery", 1000.0),
            ("cpu_ns_per_frame", 2500.0),
            ("bytes_per_delivery", 30.0),
            ("server_user_bytes_per_viewer", 700.0),
            ("joins_per_s", 200.0),
            ("frames_per_s", 200.0),
        ] {
            assert_eq!(json[name].as_f64(), Some(value), "{name}");
        }
        assert_eq!(json["ok"], true);
    }

    #[test]
    fn what_went_wrong_is_in_the_last_line_and_not_ok() {
        let mut outcome = outcome();
        outcome.tally.lost = 3;
        outcome.published.due += 1;
        let report = Report::new(&outcome, 100, 0);
        assert!(!report.ok && report.cpu_ns_per_delivery.is_none());
        let text = report.text();
        assert!(text.contains("not measured (give --pid)"), "{text}");
        assert!(text.ends_with("FAILED      1 publications unacknowledged; 3 messages lost\n"), "{text}");
    }
}
