//! `saturation`: a bench of the highest rate that one core holds, and of the behaviour at twice that rate.
//!
//! Why twice: an overloaded server must degrade (longer ticks, refusals with a time to retry), not collapse.
//! The bench compares its deliveries with the most that it ever delivered, and a probe checks whether it
//! still answers.
//! Not here: the search (`search`), the run itself (`trial`).

use anyhow::{Result, ensure};
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::plan::Plan;
use grandstand_benches::probe::Probe;
use grandstand_benches::publisher::Script;
use grandstand_benches::record::{Row, Rows, noted, ratio};
use grandstand_benches::search::{Search, Step};
use grandstand_benches::trial::{TEXT_BYTES, Trial, node_plan};
use grandstand_harness::node::Node;
use serde_json::json;
use std::time::Duration;

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for transport in plan.choose(&plan.transport, &Transport::ALL, &[Transport::Ws]) {
        for &viewers in &plan.choose(&plan.viewers, &[5_000], &[50]) {
            for &tick_ms in &plan.choose(&plan.tick_ms, &[100, 0], &[100]) {
                let case = Row::of([
                    ("transport", json!(transport)),
                    ("viewers", json!(viewers)),
                    ("tick_ms", json!(tick_ms)),
                ]);
                let open = || {
                    let node = node_plan(plan, cores, tick_ms)?;
                    Trial::of_node(&node, cores, transport, viewers)
                };
                // Easy at first: 400 messages/s to 5,000 viewers, and scaled to the audience.
                let easy = plan.size(2e6 / viewers as f64, 500.0);
                let search = Search::of(plan, plan.rate.first().map_or(easy, |per_s| *per_s as f64));
                let found = search.run(&case, || Ok(Box::new(open()?)));
                let (good, most) = found
                    .best
                    .as_ref()
                    .map_or((search.first, 0.0), |(per_s, step)| (*per_s, Step::deliveries_per_s(step)));
                ensure!(!plan.quick || found.heard(), "nothing came: {:?}", found.miss);
                rows.extend(found.rows);
                let row = twice(plan, &mut open()?, &case, good * 2.0, most);
                rows.push(noted(row.unwrap_or_else(|error| case.clone().failed(format!("{error:#}")))));
            }
        }
    }
    Ok(rows)
}

fn twice(plan: &Plan, trial: &mut Trial<Node>, case: &Row, per_s: f64, most: f64) -> Result<Row> {
    let (script, publishers) = (Script::even(per_s, TEXT_BYTES), trial.publishers.clone());
    let beside = |_: &Node| {
        let probe = Probe::start(&publishers);
        std::thread::sleep(plan.time());
        probe.stop()
    };
    let warm_up = Duration::from_millis(plan.size(1_500, 200));
    let (seen, probed) = trial.window(&script, warm_up, plan.time(), beside)?;
    ensure!(!plan.quick || probed.failures == 0, "the probe was not answered: {probed:?}");
    let mut row = case.clone();
    row.ask("try", json!("twice"));
    row.ask("messages_per_s", json!(per_s));
    seen.add_to(&mut row);
    let delivered = seen.per_s(seen.reading.deliveries);
    row.set("delivered_of_most", ratio(delivered, most.max(delivered)));
    probed.add_to(&mut row);
    let whole = seen.check_whole().err().map(|error| format!("missed: {error:#}"));
    row.verdict = Some(whole.unwrap_or_else(|| "whole".into()));
    Ok(row)
}
