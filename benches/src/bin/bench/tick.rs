//! The adaptive tick: latency against audience, from a hundred viewers to nearly as many as one process has
//! files for.
//!
//! Method: one node, its room grows; at each size somebody speaks evenly, and the probe asks meanwhile.
//! Invariant: nothing is lost at any size; where it is, the row has a `fault` in place of figures.
//! Not here: how the tick is computed (the engine), its bounds (docs/OPERATING.md).

use crate::saturation::add_probe;
use crate::trial::{TEXT_BYTES, Trial};
use anyhow::Result;
use grandstand_benches::crowd::Transport;
use grandstand_benches::node::Node;
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::probe::Probe;
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{FAULT, Row, Rows, rounded};
use std::time::Duration;

/// A busy room, so that every tick has something to say.
const MESSAGES_PER_S: u64 = 100;

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for transport in plan.choose(&plan.transport, &crate::fanout::TRANSPORTS, &[Transport::Ws]) {
        grow(plan, cores, transport, &mut rows)?;
    }
    Ok(rows)
}

fn grow(plan: &Plan, cores: Cores, transport: Transport, rows: &mut Rows) -> Result<()> {
    let sizes = plan.choose(&plan.viewers, &[100, 300, 1_000, 3_000, 10_000, 19_000], &[20, 60]);
    for per_s in plan.choose(&plan.rate, &[MESSAGES_PER_S], &[MESSAGES_PER_S]) {
        let tick_ms = plan.tick_ms.first().copied().unwrap_or(0);
        let mut trial = Trial::open(plan, cores, transport, 0, tick_ms)?;
        let mut there = 0;
        for &viewers in &sizes {
            trial.grow(viewers.saturating_sub(there))?;
            there = there.max(viewers);
            let row = measure(plan, &mut trial, per_s);
            let row = row.unwrap_or_else(|error| Row::new().with(FAULT, format!("{error:#}")));
            let mut whole = Row::new()
                .with("transport", transport.name())
                .with("viewers", there)
                .with("messages_per_s", per_s);
            row.iter().for_each(|(name, value)| whole.set(name, value.clone()));
            eprintln!("{}", serde_json::to_string(&whole)?);
            rows.push(whole);
        }
    }
    Ok(())
}

fn measure(plan: &Plan, trial: &mut Trial, per_s: u64) -> Result<Row> {
    let script = Script::Even { per_s: per_s as f64, size: TEXT_BYTES };
    // The tick takes some seconds to find its place.
    let warm_up = Duration::from_millis(if plan.quick { 300 } else { 4_000 });
    let window = Duration::from_secs(plan.seconds(10));
    let beside = |node: &Node| {
        let probe = Probe::start(node.ws, "bench");
        std::thread::sleep(window);
        (probe.stop(), node.metric("grandstand_engine_largest_tick_seconds"))
    };
    let (seen, (probed, tick_s)) = trial.window(&script, warm_up, window, beside)?;
    seen.check()?;
    let mut row = Row::new().with("tick_ms", rounded(tick_s? * 1e3, 1));
    seen.add_to(&mut row);
    add_probe(&probed, &mut row);
    Ok(row)
}
