//! Saturation: the rate is raised until p99 passes 200 ms or anything is lost or refused; then twice that
//! rate.
//!
//! Why twice: a server that is asked for too much must bend (longer ticks, refusals with a time to retry),
//! not collapse. What it still delivers is compared with the most that it ever delivered, and a probe says
//! whether it still answers.
//! Invariant: a step is judged by what viewers saw in its window; the steps of one search share a node and
//! its audience.
//! Not here: the run itself (`trial`).

use crate::trial::{Seen, TEXT_BYTES, Trial};
use anyhow::{Result, ensure};
use grandstand_benches::crowd::Transport;
use grandstand_benches::node::Node;
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::probe::{Probe, Probed};
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{FAULT, Row, Rows, ratio, rounded};
use std::time::Duration;

/// A chat that is later than this is no conversation.
const P99_MAX_US: u64 = 200_000;

/// From one step to the next.
const STEP: f64 = 1.25;

/// Steps at most: from the first rate to a hundred times that.
const STEPS_MAX: usize = 21;

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for transport in plan.choose(&plan.transport, &crate::fanout::TRANSPORTS, &[Transport::Ws]) {
        for &viewers in &plan.choose(&plan.viewers, &[5_000], &[50]) {
            for &tick_ms in &plan.choose(&plan.tick_ms, &[100, 0], &[100]) {
                if let Err(error) = search(plan, cores, transport, viewers, tick_ms, &mut rows) {
                    let row = Row::new().with("transport", transport.name()).with("viewers", viewers);
                    rows.push(row.with(FAULT, format!("{error:#}")));
                }
            }
        }
    }
    Ok(rows)
}

/// One search: a row for each step, one for twice the rate.
fn search(
    plan: &Plan,
    cores: Cores,
    transport: Transport,
    viewers: usize,
    tick_ms: u64,
    rows: &mut Rows,
) -> Result<()> {
    let mut trial = Trial::open(plan, cores, transport, viewers, tick_ms)?;
    // No work yet: 400 messages/s to 5,000 viewers, and scaled to the audience.
    let easy = if plan.quick { 500.0 } else { 2e6 / viewers as f64 };
    let first = plan.rate.first().map_or(easy, |per_s| *per_s as f64);
    let steps = if plan.quick { 2 } else { STEPS_MAX };
    let (mut per_s, mut best, mut good) = (first, 0.0f64, None);
    for step in 0..steps {
        let (seen, _) = window(plan, &mut trial, per_s, |_| ())?;
        best = best.max(seen.deliveries_per_s());
        let is_good = seen.is_whole() && seen.reading.latency.p99_us <= P99_MAX_US;
        let row =
            row(transport, viewers, tick_ms, per_s, &seen).with("step", step + 1).with("holds", is_good);
        eprintln!("{}", serde_json::to_string(&row)?);
        rows.push(row);
        if plan.quick {
            seen.check()?;
        }
        if !is_good {
            break;
        }
        good = Some(per_s);
        per_s *= STEP;
    }
    let twice = good.unwrap_or(first) * 2.0;
    let (seen, probed) = window(plan, &mut trial, twice, |node| beside(plan, node))?;
    ensure!(!plan.quick || probed.failures == 0, "the probe was not answered: {probed:?}");
    let mut row =
        row(transport, viewers, tick_ms, twice, &seen).with("step", "twice").with("holds", seen.is_whole());
    row.set("delivered_of_most", ratio(seen.deliveries_per_s(), best.max(seen.deliveries_per_s())));
    add_probe(&probed, &mut row);
    eprintln!("{}", serde_json::to_string(&row)?);
    rows.push(row);
    Ok(())
}

fn length(plan: &Plan) -> Duration {
    Duration::from_secs(plan.seconds(5))
}

fn window<T>(
    plan: &Plan,
    trial: &mut Trial,
    per_s: f64,
    beside: impl FnOnce(&Node) -> T,
) -> Result<(Seen, T)> {
    let script = Script::Even { per_s, size: TEXT_BYTES };
    let warm_up = Duration::from_millis(if plan.quick { 200 } else { 1_500 });
    trial.window(&script, warm_up, length(plan), beside)
}

fn beside(plan: &Plan, node: &Node) -> Probed {
    let probe = Probe::start(node.ws, "bench");
    std::thread::sleep(length(plan));
    probe.stop()
}

fn row(transport: Transport, viewers: usize, tick_ms: u64, per_s: f64, seen: &Seen) -> Row {
    let mut row = Row::new()
        .with("transport", transport.name())
        .with("viewers", viewers)
        .with("tick", if tick_ms == 0 { "adaptive".into() } else { format!("{tick_ms} ms") })
        .with("messages_per_s", rounded(per_s, 0));
    seen.add_to(&mut row);
    row.set("acknowledged_p99_ms", rounded(seen.said.answer.p99_us as f64 / 1e3, 1));
    row.set("generator_late_max_ms", rounded(seen.said.late_max_us as f64 / 1e3, 1));
    row
}

pub(crate) fn add_probe(probed: &Probed, row: &mut Row) {
    row.set("probe_join_p99_ms", rounded(probed.join.p99_us as f64 / 1e3, 1));
    row.set("probe_ping_p99_ms", rounded(probed.ping.p99_us as f64 / 1e3, 1));
    row.set("probe_publish_p99_ms", rounded(probed.publish.p99_us as f64 / 1e3, 1));
    row.set("probe_rounds", probed.join.count);
    row.set("probe_refused", probed.refused);
    row.set("probe_failures", probed.failures);
}
