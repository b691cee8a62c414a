//! `fanout`: a bench of one room with many viewers on one core: the cost of a frame and a delivery, as a
//! multiple of the floor.
//!
//! Method: viewers join, and a publisher sends at an even rate (or a real log, ten times as fast). After some
//! seconds a window is measured: CPU time of the node's process, deliveries and their latency. Right after it
//! the floor runs with frames of the observed size, as many sockets and the same interval. A QUIC frame that
//! takes several packets is compared with as many datagrams.
//! Invariant: a row has figures only if no message was lost, duplicated, late, wrong or omitted; otherwise it
//! has a fault.
//! Not here: the highest rate (`saturation`), the run itself (`trial`).

use crate::floor::{self, Way};
use anyhow::Result;
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};
use grandstand_benches::trial::{TEXT_BYTES, Trial, Window, node_plan};
use grandstand_harness::chat_log::{self, Log, Message};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The speed of a log, as a multiple of the original.
const LOG_SPEED: f64 = 10.0;

/// What TLS 1.3 adds to a frame: header, type, tag (RFC 8446, 5.2).
const TLS_BYTES: f64 = 22.0;

/// What QUIC adds to a frame in one packet: short header with our connection id, frame header, tag; about.
const QUIC_BYTES: f64 = 36.0;

/// The largest payload of a datagram that is compared with one write.
const DATAGRAM_BYTES: f64 = 1_200.0;

/// One run. Without a rate it publishes a log.
#[derive(Clone, Copy, Debug)]
struct Case {
    transport: Transport,
    viewers: usize,
    per_s: Option<u64>,
    tick_ms: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for case in cases(plan) {
        let Some(script) = script(plan, case)? else { continue };
        // A case that failed does not take the figures of the others with it; the bench fails in the end.
        let row = measure(plan, cores, case, &script);
        rows.push(noted(row.unwrap_or_else(|error| case.row().failed(format!("{error:#}")))));
    }
    Ok(rows)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let (all, mut cases) = (Transport::ALL, Vec::new());
    let transports = plan.choose(&plan.transport, &all, &all);
    for &transport in &transports {
        for &viewers in &plan.choose(&plan.viewers, &[5_000, 15_000], &[50]) {
            for &per_s in &plan.choose(&plan.rate, &[20, 50, 100, 200], &[200]) {
                for &tick_ms in &plan.choose(&plan.tick_ms, &[100], &[100]) {
                    cases.push(Case { transport, viewers, per_s: Some(per_s), tick_ms });
                }
            }
        }
    }
    let is_chosen = !(plan.viewers.is_empty() && plan.rate.is_empty() && plan.tick_ms.is_empty());
    if plan.quick || is_chosen {
        return cases;
    }
    for &transport in &transports {
        cases.extend([5_000, 15_000].map(|viewers| Case { transport, viewers, per_s: None, tick_ms: 100 }));
    }
    // Every tick at two rates; 200 messages/s at 100 ms are in the grid above.
    if transports.contains(&Transport::Ws) {
        for (tick_ms, per_s) in
            [25, 50, 100, 250, 0].into_iter().flat_map(|tick| [(tick, 200), (tick, 1_200)])
        {
            if (tick_ms, per_s) != (100, 200) {
                cases.push(Case { transport: Transport::Ws, viewers: 5_000, per_s: Some(per_s), tick_ms });
            }
        }
    }
    cases
}

fn warm_up(plan: &Plan) -> Duration {
    Duration::from_millis(plan.size(2_000, 200))
}

/// The script of a case; `None` when the logs are missing, which is printed.
fn script(plan: &Plan, case: Case) -> Result<Option<Script>> {
    if let Some(per_s) = case.per_s {
        return Ok(Some(Script::even(per_s as f64, TEXT_BYTES)));
    }
    let files = chat_log::shared();
    if files.is_empty() {
        eprintln!("SKIPPED: no chat logs in {}", chat_log::SHARED);
        return Ok(None);
    }
    let span_ms = ((warm_up(plan) + plan.time()).as_millis() as f64 * LOG_SPEED) as u64 + 5_000;
    let log = Log::merged(&files, 2_000)?;
    Ok(Some(Script::Log { lines: Arc::new(busiest(&log.lines, span_ms)), speed: LOG_SPEED }))
}

/// The part of this length with the most messages; its times begin at 0.
fn busiest(lines: &[Message], span_ms: u64) -> Vec<Message> {
    let (mut best, mut end) = (0..0, 0);
    for (begin, line) in lines.iter().enumerate() {
        while lines.get(end).is_some_and(|last| last.t_ms < line.t_ms + span_ms) {
            end += 1;
        }
        if end - begin > best.len() {
            best = begin..end;
        }
    }
    let first_ms = lines.get(best.start).map_or(0, |line| line.t_ms);
    lines[best].iter().map(|line| Message { t_ms: line.t_ms - first_ms, ..line.clone() }).collect()
}

impl Case {
    fn row(self) -> Row {
        let talk = if self.per_s.is_some() { "128 bytes" } else { "logs x10" };
        Row::of([
            ("transport", json!(self.transport)),
            ("viewers", json!(self.viewers)),
            ("messages_per_s", json!(self.per_s)),
            ("talk", json!(talk)),
            ("tick_ms", json!(self.tick_ms)),
        ])
    }
}

fn measure(plan: &Plan, cores: Cores, case: Case, script: &Script) -> Result<Row> {
    let node = node_plan(plan, cores, case.tick_ms)?;
    let mut trial = Trial::of_node(&node, cores, case.transport, case.viewers)?;
    let (seen, ()) = trial.window(script, warm_up(plan), plan.time(), |_| ())?;
    let tick_s = trial.server.metric("grandstand_engine_largest_tick_seconds")?;
    // The floor alone on the machine, as the node was.
    drop(trial);
    seen.check_whole()?;
    let (floor_ns, writes) = floor_of(plan, cores, case, &seen)?;
    let said = seen.per_s(seen.reading.deliveries) / seen.reading.viewers.max(1) as f64;
    let mut row =
        case.row().with("said_per_s", rounded(said, 1)).with("seen_tick_ms", rounded(tick_s * 1e3, 1));
    seen.add_to(&mut row);
    row.set("floor_ns_per_write", rounded(floor_ns, 0));
    row.set("floor_writes_per_frame", writes);
    row.set("frame_times_floor", ratio(seen.cpu_ns_per_frame(), floor_ns * writes as f64));
    row.set("delivery_times_floor", ratio(seen.cpu_ns_per_delivery(), floor_ns));
    Ok(row)
}

/// CPU ns of a write of the floor with this case's frames, and how many writes a frame takes.
fn floor_of(plan: &Plan, cores: Cores, case: Case, seen: &Window) -> Result<(f64, u64)> {
    let wire = seen.reading.wire_bytes as f64 / seen.reading.frames.max(1) as f64;
    let (way, bytes, writes) = match case.transport {
        Transport::Ws => (Way::Send, wire, 1.0),
        Transport::Wss => (Way::Tls, wire - TLS_BYTES, 1.0),
        Transport::Quic => {
            let writes = (wire / DATAGRAM_BYTES).ceil().max(1.0);
            (Way::Udp, wire / writes - QUIC_BYTES, writes)
        }
    };
    // From one frame of a viewer to its next.
    let frames_per_s = seen.per_s(seen.reading.frames).max(1.0);
    let interval = Duration::from_secs_f64((case.viewers as f64 / frames_per_s).clamp(0.001, 2.0));
    let cost = floor::beside(plan, cores, way, bytes.max(1.0) as usize, case.viewers, interval)?;
    Ok((cost.ns_per_write, writes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::frame::Role;

    #[test]
    fn the_busiest_part_begins_at_zero() {
        let at = |t_ms| Message { t_ms, author: "a".into(), text: "b".into(), role: Role::Viewer };
        let lines = [0, 500, 2_000, 2_100, 2_999, 3_000, 9_000].map(at);
        let times: Vec<u64> = busiest(&lines, 1_000).iter().map(|line| line.t_ms).collect();
        assert_eq!(times, [0, 100, 999]);
        assert!(busiest(&[], 1_000).is_empty());
    }
}
