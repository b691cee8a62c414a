//! Fan-out: one room, many viewers, one core: what a frame and a delivery cost, as a multiple of the floor.
//!
//! Method: viewers join, a publisher speaks evenly (or a real log, ten times as fast), some seconds pass,
//! then a window is measured: CPU time of the node's process, what viewers got and when. Right after it the
//! floor is run with frames of the size that was seen, as many sockets and the same interval. A QUIC frame
//! that takes several packets is compared with as many datagrams.
//! Invariant: a row has figures only if nothing was lost, duplicated, late, wrong or omitted; otherwise it
//! has a `fault`.
//! Not here: how far it can go (`saturation`), the run itself (`trial`).

use crate::floor::{self, Way};
use crate::trial::{Seen, TEXT_BYTES, Trial};
use anyhow::Result;
use grandstand_benches::chatlog::{self, Line};
use grandstand_benches::crowd::Transport;
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{FAULT, Row, Rows, ratio, rounded};
use std::sync::Arc;
use std::time::Duration;

/// All of ours.
pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Ws, Transport::Wss, Transport::Quic];

/// How much faster than it was said.
const LOG_SPEED: f64 = 10.0;

/// What TLS 1.3 adds to a frame: header, type, tag (RFC 8446, 5.2).
const TLS_BYTES: f64 = 22.0;

/// What QUIC adds to a frame in one packet: short header with our connection id, frame header, tag; about.
const QUIC_BYTES: f64 = 36.0;

/// The largest payload of a datagram that is compared with one write.
const DATAGRAM_BYTES: f64 = 1_200.0;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Talk {
    PerSecond(u64),
    Logs,
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Case {
    transport: Transport,
    viewers: usize,
    talk: Talk,
    tick_ms: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for case in cases(plan) {
        let Some(script) = script(plan, case)? else { continue };
        let row = measure(plan, cores, case, &script).unwrap_or_else(|error| failed(case, &error));
        eprintln!("{}", serde_json::to_string(&row)?);
        rows.push(row);
    }
    Ok(rows)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let mut cases = grid(plan);
    let is_chosen = !(plan.viewers.is_empty() && plan.rate.is_empty() && plan.tick_ms.is_empty());
    if plan.quick || is_chosen {
        return cases;
    }
    let transports = plan.choose(&plan.transport, &TRANSPORTS, &TRANSPORTS);
    for &transport in &transports {
        let logs = |viewers| Case { transport, viewers, talk: Talk::Logs, tick_ms: 100 };
        cases.extend([5_000, 15_000].map(logs));
    }
    // The line of the issue: 5,000 viewers, two rates, at every tick.
    if transports.contains(&Transport::Ws) {
        for tick_ms in [25, 50, 100, 250, 0] {
            let line = |per_s| Case {
                transport: Transport::Ws,
                viewers: 5_000,
                talk: Talk::PerSecond(per_s),
                tick_ms,
            };
            // 200 messages/s at 100 ms stand in the grid.
            cases.extend([200, 1_200].into_iter().filter(|per_s| tick_ms != 100 || *per_s != 200).map(line));
        }
    }
    cases
}

fn grid(plan: &Plan) -> Vec<Case> {
    let mut cases = Vec::new();
    for &transport in &plan.choose(&plan.transport, &TRANSPORTS, &TRANSPORTS) {
        for &viewers in &plan.choose(&plan.viewers, &[5_000, 15_000], &[50]) {
            for &per_s in &plan.choose(&plan.rate, &[20, 50, 100, 200], &[200]) {
                for &tick_ms in &plan.choose(&plan.tick_ms, &[100], &[100]) {
                    cases.push(Case { transport, viewers, talk: Talk::PerSecond(per_s), tick_ms });
                }
            }
        }
    }
    cases
}

fn times(plan: &Plan) -> (Duration, Duration) {
    let warm_up = Duration::from_millis(if plan.quick { 200 } else { 2_000 });
    (warm_up, Duration::from_secs(plan.seconds(10)))
}

/// What is said in a case; `None` when the logs are missing, which is said.
fn script(plan: &Plan, case: Case) -> Result<Option<Script>> {
    let Talk::PerSecond(per_s) = case.talk else {
        let files = chatlog::shared();
        if files.is_empty() {
            eprintln!("SKIPPED: no chat logs in {}", chatlog::SHARED);
            return Ok(None);
        }
        let (warm_up, window) = times(plan);
        let span_ms = ((warm_up + window).as_millis() as f64 * LOG_SPEED) as u64 + 5_000;
        let lines = Arc::new(busiest(&chatlog::merged(&files)?, span_ms));
        return Ok(Some(Script::Log { lines, speed: LOG_SPEED }));
    };
    Ok(Some(Script::Even { per_s: per_s as f64, size: TEXT_BYTES }))
}

/// The part of so long in which the most was said; its times begin at 0.
fn busiest(lines: &[Line], span_ms: u64) -> Vec<Line> {
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
    lines[best].iter().map(|line| Line { t_ms: line.t_ms - first_ms, ..line.clone() }).collect()
}

fn measure(plan: &Plan, cores: Cores, case: Case, script: &Script) -> Result<Row> {
    let (warm_up, window) = times(plan);
    let mut trial = Trial::open(plan, cores, case.transport, case.viewers, case.tick_ms)?;
    let tick = |node: &grandstand_benches::node::Node| node.metric("grandstand_engine_largest_tick_seconds");
    let (seen, _) = trial.window(script, warm_up, window, |_| ())?;
    let tick_s = tick(&trial.node)?;
    // The floor alone on the machine, as the node was.
    drop(trial);
    seen.check()?;
    let (floor_ns, writes) = floor_of(plan, cores, case, &seen)?;
    let mut row = Row::new()
        .with("transport", case.transport.name())
        .with("viewers", case.viewers)
        .with("messages_per_s", said_per_s(case.talk, &seen))
        .with("talk", if case.talk == Talk::Logs { "logs x10" } else { "128 bytes" })
        .with("tick_ms", if case.tick_ms == 0 { rounded(tick_s * 1e3, 1) } else { case.tick_ms.into() })
        .with("is_tick_adaptive", case.tick_ms == 0);
    seen.add_to(&mut row);
    row.set("floor_ns_per_write", rounded(floor_ns, 0));
    row.set("floor_writes_per_frame", writes);
    row.set("frame_times_floor", ratio(seen.cpu_ns_per_frame(), floor_ns * writes as f64));
    row.set("delivery_times_floor", ratio(seen.cpu_ns_per_delivery(), floor_ns));
    Ok(row)
}

fn said_per_s(talk: Talk, seen: &Seen) -> serde_json::Value {
    match talk {
        Talk::PerSecond(per_s) => per_s.into(),
        Talk::Logs => rounded(seen.deliveries_per_s() / seen.reading.viewers.max(1) as f64, 1),
    }
}

/// A case that failed does not take the figures of the others with it; the bench still fails in the end.
fn failed(case: Case, error: &anyhow::Error) -> Row {
    let row = Row::new().with("transport", case.transport.name()).with("viewers", case.viewers);
    let row = match case.talk {
        Talk::PerSecond(per_s) => row.with("messages_per_s", per_s).with("talk", "128 bytes"),
        Talk::Logs => row.with("talk", "logs x10"),
    };
    row.with("tick_ms", case.tick_ms)
        .with("is_tick_adaptive", case.tick_ms == 0)
        .with(FAULT, format!("{error:#}"))
}

/// CPU ns of a write of the floor with this case's frames, and how many writes a frame takes.
fn floor_of(plan: &Plan, cores: Cores, case: Case, seen: &Seen) -> Result<(f64, u64)> {
    let wire = seen.wire_bytes_per_frame();
    let (bytes, writes) = match case.transport {
        Transport::Ws => (wire, 1.0),
        Transport::Wss => (wire - TLS_BYTES, 1.0),
        Transport::Quic => {
            let writes = (wire / DATAGRAM_BYTES).ceil().max(1.0);
            (wire / writes - QUIC_BYTES, writes)
        }
    };
    let way = Way::of(case.transport);
    let bytes = bytes.max(1.0) as usize;
    let cost = floor::beside(way, bytes, case.viewers, seen.interval(case.viewers), cores, plan.quick)?;
    Ok((cost.ns_per_write, writes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::frame::Role;

    #[test]
    fn the_busiest_part_begins_at_zero() {
        let at = |t_ms| Line { t_ms, author: "a".into(), text: "b".into(), role: Role::Viewer };
        let lines = [0, 500, 2_000, 2_100, 2_999, 3_000, 9_000].map(at);
        let times: Vec<u64> = busiest(&lines, 1_000).iter().map(|line| line.t_ms).collect();
        assert_eq!(times, [0, 100, 999]);
        assert!(busiest(&[], 1_000).is_empty());
    }
}
