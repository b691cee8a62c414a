//! `tick`: a bench of the adaptive tick: latency by audience size, from a hundred viewers to nearly the file
//! limit of one process.
//!
//! Method: the room of one node grows; at each size a publisher sends at an even rate, and a probe measures
//! the node's answers.
//! Invariant: a row whose run lost a message has a fault in place of figures.
//! Not here: how the tick is computed (the engine), its bounds (docs/OPERATING.md).

use anyhow::Result;
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::plan::Plan;
use grandstand_benches::probe::Probe;
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{Row, Rows, noted, rounded};
use grandstand_benches::trial::{TEXT_BYTES, Trial, node_plan};
use grandstand_harness::node::Node;
use serde_json::json;
use std::time::Duration;

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let sizes = plan.choose(&plan.viewers, &[100, 300, 1_000, 3_000, 10_000, 19_000], &[20, 60]);
    let mut rows = Rows::new();
    for transport in plan.choose(&plan.transport, &Transport::ALL, &[Transport::Ws]) {
        // A busy room, so that every tick has something to say.
        for per_s in plan.choose(&plan.rate, &[100], &[100]) {
            let tick_ms = plan.tick_ms.first().copied().unwrap_or(0);
            let mut trial = Trial::of_node(&node_plan(plan, cores, tick_ms)?, cores, transport, 0)?;
            for &viewers in &sizes {
                trial.grow(viewers.saturating_sub(trial.count))?;
                let case = Row::of([
                    ("transport", json!(transport)),
                    ("viewers", json!(trial.count)),
                    ("messages_per_s", json!(per_s)),
                ]);
                let row = measure(plan, &mut trial, per_s, case.clone());
                rows.push(noted(row.unwrap_or_else(|error| case.failed(format!("{error:#}")))));
            }
        }
    }
    Ok(rows)
}

fn measure(plan: &Plan, trial: &mut Trial<Node>, per_s: u64, mut row: Row) -> Result<Row> {
    let script = Script::even(per_s as f64, TEXT_BYTES);
    // The tick takes some seconds to find its place.
    let warm_up = Duration::from_millis(plan.size(4_000, 300));
    let publishers = trial.publishers.clone();
    let beside = |node: &Node| {
        let probe = Probe::start(&publishers);
        std::thread::sleep(plan.time());
        (probe.stop(), node.metric("grandstand_engine_largest_tick_seconds"))
    };
    let (seen, (probed, tick_s)) = trial.window(&script, warm_up, plan.time(), beside)?;
    seen.check_whole()?;
    row.set("tick_ms", rounded(tick_s? * 1e3, 1));
    seen.add_to(&mut row);
    probed.add_to(&mut row);
    Ok(row)
}
