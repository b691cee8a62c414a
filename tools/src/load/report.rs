//! Reports: the figures of a run, for people and as one line of JSON.
//!
//! Why one type: `gs load`, `gs replay` and `gs demo` report the same figures, and a comparison of two runs
//! needs the same names.
//! Every latency begins when a message was due or when a connection was begun.
//! Invariant: messages, frames and deliveries are counted apart; a figure that was not measured is null,
//! never zero.
//! Not here: measuring (`run`, `tally`).

use std::fmt::Write as _;

use serde::Serialize;
use std::collections::BTreeMap;

use super::prober::Probes;
use super::publisher::Published;
use super::run::{Outcome, Server};
use super::tally::{Counts, Gaps, Reasons};
use crate::say;
use grandstand_harness::histogram::Summary;

/// All figures of a run. Messages are publications that were acknowledged; a frame is one batch reaching one
/// viewer; a delivery is one message reaching one viewer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) viewers: u64,
    ws_viewers: usize,
    quic_viewers: usize,
    processes: usize,
    seconds: f64,
    messages: u64,
    unacknowledged: u64,
    #[serde(flatten)]
    published: Published,
    #[serde(flatten)]
    counts: Counts,
    gaps: u64,
    gap_messages: u64,
    gaps_by_reason: BTreeMap<String, Gaps>,
    disconnects: Reasons,
    /// Latency from due to received.
    #[serde(flatten)]
    latency: Summary,
    /// Latency from due to received, of viewers that were stalled or dropped on purpose.
    disturbed: Summary,
    join: Summary,
    /// Longest silence of each viewer, if the run measures it.
    silence: Summary,
    /// New connections that probers tried during the run; null without probers.
    probes: Option<u64>,
    /// The refused ones among the probes.
    probes_refused: Reasons,
    probe: Summary,
    joins_per_s: f64,
    messages_per_s: f64,
    frames_per_s: f64,
    deliveries_per_s: f64,
    bytes_per_delivery: f64,
    bytes_per_frame: f64,
    text_bytes_per_message: f64,
    client_cpu_ns_per_delivery: f64,
    client_user_bytes_per_viewer: f64,
    #[serde(flatten)]
    server: ServerFigures,
    interrupted: bool,
    pub(crate) faults: Vec<String>,
}

/// The server's CPU and memory; null if not measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ServerFigures {
    cpu_ns_per_delivery: Option<f64>,
    cpu_ns_per_frame: Option<f64>,
    /// Number of CPUs that it kept busy.
    server_cpus: Option<f64>,
    server_user_bytes_per_viewer: Option<f64>,
    server_resident_bytes: Option<u64>,
    server_resident_max_bytes: Option<u64>,
}

impl Report {
    /// The figures of an outcome with this number of viewers of each transport, and of the new connections
    /// that were tried meanwhile.
    pub(crate) fn new(
        outcome: &Outcome,
        ws_viewers: usize,
        quic_viewers: usize,
        probes: Option<&Probes>,
    ) -> Report {
        let (tally, published) = (&outcome.tally, &outcome.published);
        let counts = tally.counts;
        let seconds = outcome.publish_us as f64 / 1e6;
        let viewers = (ws_viewers + quic_viewers) as u64;
        let of = |amount: u64, of: u64| per(amount as f64, of as f64);
        let per_s = |amount: u64| per(amount as f64, seconds);
        let mut faults = published.faults();
        faults.extend(tally.faults());
        if let Some(refused) = probes.map(|probes| &probes.refused).filter(|refused| refused.total() > 0) {
            faults.push(format!("{} new connections refused: {}", refused.total(), refused.sentence()));
        }
        Report {
            ok: faults.is_empty(),
            viewers: counts.joins.min(viewers),
            ws_viewers,
            quic_viewers,
            processes: outcome.processes,
            seconds,
            messages: published.acknowledged,
            unacknowledged: published.unacknowledged(),
            published: published.clone(),
            counts,
            gaps: tally.gap_notices(),
            gap_messages: tally.gap_messages(),
            gaps_by_reason: tally.gaps.clone(),
            disconnects: tally.disconnects.clone(),
            latency: tally.latency.summary(),
            disturbed: tally.disturbed_latency.summary(),
            join: tally.join_latency.summary(),
            silence: tally.silence.summary(),
            probes: probes.map(|probes| probes.tries),
            probes_refused: probes.map_or_else(Reasons::default, |probes| probes.refused.clone()),
            probe: probes.map_or_else(Summary::default, |probes| probes.welcome.summary()),
            joins_per_s: per(tally.join_latency.count().min(viewers) as f64, outcome.ramp_us as f64 / 1e6),
            messages_per_s: per_s(published.acknowledged),
            frames_per_s: per_s(counts.frames),
            deliveries_per_s: per_s(counts.deliveries),
            bytes_per_delivery: of(counts.bytes, counts.deliveries),
            bytes_per_frame: of(counts.bytes, counts.frames),
            text_bytes_per_message: of(published.text_bytes, published.acknowledged),
            client_cpu_ns_per_delivery: of(counts.cpu_us * 1000, counts.deliveries),
            client_user_bytes_per_viewer: of(counts.user_bytes, viewers),
            server: outcome.server.map_or_else(ServerFigures::default, |server| {
                let cpu_ns = server.cpu_us() * 1000;
                ServerFigures {
                    cpu_ns_per_delivery: Some(of(cpu_ns, counts.deliveries)),
                    cpu_ns_per_frame: Some(of(cpu_ns, counts.frames)),
                    server_cpus: Some(per(cpu_ns as f64 / 1e9, seconds)),
                    server_user_bytes_per_viewer: Some(server.user_bytes(viewers)),
                    server_resident_bytes: Some(server.end.resident_bytes),
                    server_resident_max_bytes: Some(server.resident_max_bytes),
                }
            }),
            interrupted: outcome.interrupted,
            faults,
        }
    }

    /// Prints the figures, for people or as one line of JSON, and all faults. Returns whether there were
    /// none.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print(&self, is_json: bool) -> anyhow::Result<bool> {
        let text = if is_json { self.json() + "\n" } else { self.text() };
        say::result(&text)?;
        if !self.ok {
            say::notice(&format!("error: {}", self.faults.join("; ")));
        }
        Ok(self.ok)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("figures are JSON")
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<14}{text}");
        };
        let (c, p, s) = (&self.counts, &self.published, &self.server);
        let has_viewers = self.ws_viewers + self.quic_viewers > 0;
        line(
            "published",
            format!("{} messages of {} due ({:.1}/s)", self.messages, p.due, self.messages_per_s),
        );
        line(
            "",
            format!(
                "{} unacknowledged, {} refused{}",
                self.unacknowledged,
                p.refused.total(),
                p.refused.in_brackets()
            ),
        );
        line("  sent late", times(&p.send_lag.summary()));
        line("  answered", times(&p.ack.summary()));
        if has_viewers {
            line("viewers", self.viewers_line());
            line("  joined", times(&self.join));
            line("", format!("{:.0} joins/s", self.joins_per_s));
            line("received", format!("{} messages ({:.0}/s)", c.deliveries, self.deliveries_per_s));
            line(
                "",
                format!("in {} frames ({:.0}/s) over {:.1} s", c.frames, self.frames_per_s, self.seconds),
            );
            line("  latency", times(&self.latency));
            if self.disturbed.count > 0 {
                line("  stalled", times(&self.disturbed));
            }
            line("bytes", self.bytes_line());
            line("checked", self.checked_line());
        }
        for (reason, gaps) in &self.gaps_by_reason {
            line("gap notices", format!("{} for {} messages ({reason})", gaps.notices, gaps.messages));
        }
        if c.omitted > 0 {
            line("paced", format!("{} messages left out by pacing, over all viewers", c.omitted));
        }
        if c.drops + c.churned > 0 {
            line("reconnects", format!("{} connections dropped on purpose, {} resumed", c.drops, c.resumes));
            line("", format!("{} viewers left and came back", c.churned));
        }
        if c.reactions_sent > 0 {
            line("reactions", format!("{} sent, {} received", c.reactions_sent, c.reactions_seen));
        }
        if self.disconnects.total() > 0 {
            line("disconnected", self.disconnects.sentence());
        }
        if self.silence.count > 0 {
            line("restarts", self.restarts_line());
            line("", self.retries_line());
        }
        if let Some(probes) = self.probes {
            let refused = self.probes_refused.in_brackets();
            let total = self.probes_refused.total();
            line("probes", format!("{probes} new connections, {total} refused{refused}"));
            line("  welcomed", times(&self.probe));
        }
        if let (Some(delivery), Some(frame), Some(cpus)) =
            (s.cpu_ns_per_delivery, s.cpu_ns_per_frame, s.server_cpus)
        {
            line(
                "node CPU",
                format!("{delivery:.0} ns per message received, {frame:.0} ns per frame, {cpus:.2} CPUs"),
            );
        }
        if let (Some(user), Some(resident), Some(max)) =
            (s.server_user_bytes_per_viewer, s.server_resident_bytes, s.server_resident_max_bytes)
        {
            let (resident, max) = (mib(resident), mib(max));
            line("node memory", format!("{user:.0} bytes per viewer; {resident} in all, peak {max}"));
        }
        if has_viewers {
            if s.server_cpus.is_none() {
                line("node", "not measured (give --pid)".to_owned());
            }
            let (cpu, memory) = (self.client_cpu_ns_per_delivery, self.client_user_bytes_per_viewer);
            line("gs itself", format!("{cpu:.0} ns CPU per message received, {memory:.0} bytes per viewer"));
        }
        let verdict = match (self.ok, has_viewers) {
            (true, true) => "nothing lost, duplicated or reordered".to_owned(),
            (true, false) => "every message was acknowledged".to_owned(),
            (false, _) => self.faults.join("; "),
        };
        line(if self.ok { "OK" } else { "FAILED" }, verdict);
        out
    }

    fn viewers_line(&self) -> String {
        let processes =
            if self.processes > 1 { format!(", in {} processes", self.processes) } else { String::new() };
        format!("{} ({} WebSocket, {} QUIC{processes})", self.viewers, self.ws_viewers, self.quic_viewers)
    }

    fn bytes_line(&self) -> String {
        format!(
            "{:.1} per message received, {:.1} per frame; text and name: {:.1}",
            self.bytes_per_delivery, self.bytes_per_frame, self.text_bytes_per_message
        )
    }

    fn checked_line(&self) -> String {
        let c = &self.counts;
        let others = if c.foreign > 0 { format!(", {} from others", c.foreign) } else { String::new() };
        format!(
            "{} lost, {} not read yet, {} duplicated, {} out of order, {} wrong{others}",
            c.lost, c.unread, c.duplicated, c.out_of_order, c.wrong
        )
    }

    fn restarts_line(&self) -> String {
        let c = &self.counts;
        format!(
            "{} resumes, {} in a new log, longest silence {}, {} connections refused",
            c.resumes,
            c.logs_changed,
            duration(self.silence.max_us),
            c.refused_connections
        )
    }

    fn retries_line(&self) -> String {
        let p = &self.published;
        format!(
            "{} messages on disk, {} known to the node before, {} uncertain, {} retries{}",
            p.acknowledged_disk,
            p.repeated,
            p.uncertain,
            p.retried.total(),
            p.retried.in_brackets()
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

/// A ratio; 0 if the divisor is 0.
fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { (amount / of * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// `p50 1.2 ms  p90 ..`.
pub(crate) fn times(s: &Summary) -> String {
    let t = duration;
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        t(s.p50_us),
        t(s.p90_us),
        t(s.p99_us),
        t(s.p999_us),
        t(s.max_us)
    )
}

/// Microseconds in a unit that fits their size.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
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
        let counts = &mut tally.counts;
        (counts.joins, counts.deliveries, counts.frames, counts.bytes) = (100, 1000, 400, 30_000);
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
        let json: serde_json::Value =
            serde_json::from_str(&Report::new(&outcome, 50, 50, None).json()).unwrap();
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
        outcome.tally.counts.lost = 3;
        outcome.published.due += 1;
        let report = Report::new(&outcome, 100, 0, None);
        assert!(!report.ok && report.server.cpu_ns_per_delivery.is_none());
        let text = report.text();
        assert!(text.contains("not measured (give --pid)"), "{text}");
        assert!(text.ends_with("FAILED        1 publications unacknowledged; 3 messages lost\n"), "{text}");
    }
}
