//! `pacing`: a bench of a flood in a paced room, beside a room with only as many messages as people can read.
//!
//! Method: the same node, viewers and publisher as in `fanout`, first at the rate that the room may show,
//! then at a hundred times that. The figure is the ratio of the two CPU shares. The part above 1 is the cost
//! of reading the flood, not of showing it.
//! Invariants: both rows come from one run; each message is delivered or counted as omitted for every viewer.
//! Not here: the choice of messages by pacing (the engine's tests).

use anyhow::{Result, ensure};
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{Row, Rows, ms, noted, ratio, rounded};
use grandstand_benches::trial::{TEXT_BYTES, Trial, node_plan};
use serde_json::json;
use std::time::Duration;

/// Messages per second that the room shows: the node's default.
const SHOWN_PER_S: u64 = 20;

/// Between the first message and the window: the bucket is empty by then.
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for &transport in &plan.choose(&plan.transport, &[Transport::Ws], &[Transport::Ws]) {
        for &viewers in &plan.choose(&plan.viewers, &[15_000], &[200]) {
            for &tick_ms in &plan.choose(&plan.tick_ms, &[100, 0], &[100]) {
                let mut calm_share = 0.0;
                let floods = plan.choose(&plan.rate, &[2_000], &[2_000]);
                for per_s in [SHOWN_PER_S].into_iter().chain(floods) {
                    let row = measure(plan, cores, transport, viewers, tick_ms, per_s)?;
                    let share = row.number("core_share");
                    calm_share = if per_s == SHOWN_PER_S { share } else { calm_share };
                    rows.push(noted(row.with("core_share_of_calm", ratio(share, calm_share))));
                }
            }
        }
    }
    Ok(rows)
}

fn measure(
    plan: &Plan,
    cores: Cores,
    transport: Transport,
    viewers: usize,
    tick_ms: u64,
    per_s: u64,
) -> Result<Row> {
    let node = node_plan(plan, cores, tick_ms)?
        .key("rooms.pacing_per_s", SHOWN_PER_S)
        .key("rooms.pacing_above_viewers", plan.size(1_000, viewers / 2));
    let mut trial = Trial::of_node(&node, cores, transport, viewers)?;
    let (seen, ()) = trial.window(&Script::even(per_s as f64, TEXT_BYTES), WARM_UP, plan.time(), |_| ())?;
    seen.check()?;
    let reading = &seen.reading;
    if per_s > 2 * SHOWN_PER_S {
        let most = SHOWN_PER_S as f64 * (reading.elapsed_ns as f64 / 1e9 + 1.0) * viewers as f64;
        ensure!(reading.omitted > 0 && reading.deliveries as f64 <= most, "it is not paced: {reading:?}");
    }
    let per_viewer = |count: u64| rounded(seen.per_s(count) / viewers as f64, 1);
    Ok(Row::of([
        ("transport", json!(transport)),
        ("viewers", json!(viewers)),
        ("tick_ms", json!(tick_ms)),
        ("messages_per_s", json!(per_s)),
    ])
    .with("shown_per_s", per_viewer(reading.deliveries))
    .with("frames_per_viewer_per_s", per_viewer(reading.frames + reading.other_frames))
    .with("wire_bytes_per_viewer_per_s", per_viewer(reading.wire_bytes))
    .with("p50_ms", ms(reading.latency.p50_us))
    .with("p99_ms", ms(reading.latency.p99_us))
    .with("lost", reading.lost)
    .with("generator_core_share", rounded(reading.core_share(), 3))
    .with("core_share", rounded(seen.core_share(), 3))
    .with("omitted_by_the_room", reading.omitted / viewers as u64))
}
