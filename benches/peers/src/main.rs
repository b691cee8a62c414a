//! `grandstand-peers`: measures the same room on other servers, in the same run: the rate that each holds on
//! one core.
//!
//! Method: the library's search, the same for every server; then a row with each server's highest rate, and
//! ratios.
//! Invariants: every server runs alone on the same core, its viewers and its publisher on another. The report
//! names each server that is not installed, and each rate that the generator limited.
//! Not here: the servers (`servers`), their installation (`install`), their protocols (`protocol`).

mod install;
mod protocol;
mod server;
mod servers;

use anyhow::{Result, ensure};
use clap::Parser;
use grandstand_benches::plan::{self, Plan, report};
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};
use grandstand_benches::search::{Found, Search, Step};
use grandstand_benches::viewers;
use serde_json::json;
use servers::{ALL, Peer};
use std::process::ExitCode;

/// Viewers over WebSocket.
const VIEWERS: usize = 5_000;

/// The first rate that is tried, in messages per second.
const FIRST: u64 = 100;

/// The same load on other servers: NATS, Socket.IO, ws, uWebSockets.
#[derive(Clone, Debug, Parser)]
#[command(name = "grandstand-peers", version)]
struct Choice {
    #[command(flatten)]
    plan: Plan,
    /// Install the peers under target/peers, and do nothing else.
    #[arg(long)]
    install: bool,
    /// Peers to run, by name; Grandstand always runs.
    #[arg(long = "peer", value_delimiter = ',', value_name = "NAME,..")]
    peers: Vec<String>,
}

fn main() -> ExitCode {
    plan::main(bench)
}

fn bench() -> Result<()> {
    // As the process of the viewers it gets its plan on standard input.
    if std::env::args().nth(1).is_some_and(|word| word == viewers::COMMAND) {
        return viewers::serve(protocol::by_name);
    }
    let choice = Choice::parse();
    if choice.install {
        return install::all();
    }
    report("peers", &choice.plan, &run(&choice)?)
}

fn run(choice: &Choice) -> Result<Rows> {
    let plan = &choice.plan;
    let cores = plan.cores()?;
    let viewers = plan.choose(&plan.viewers, &[VIEWERS], &[50])[0];
    let search = Search::of(plan, plan.choose(&plan.rate, &[FIRST], &[50])[0] as f64);
    let (mut rows, mut ends) = (Rows::new(), Vec::new());
    let is_wanted = |peer: &&Peer| {
        choice.peers.is_empty() || peer.is_ours() || choice.peers.iter().any(|name| name == peer.name)
    };
    for &peer in ALL.iter().filter(is_wanted) {
        let viewers = peer.viewers(viewers);
        match peer.find() {
            Err(missing) => {
                let verdict = Some(format!("missing: {missing}"));
                rows.push(noted(Row { verdict, ..peer.row("", viewers) }));
            }
            Ok(version) => {
                let case = peer.row(&version, viewers);
                let mut found = search.run(&case, || peer.open(plan, cores, viewers));
                // Late is no fault of a debug build, silence is.
                ensure!(!plan.quick || found.heard(), "{peer:?} was not heard: {:?}", found.miss);
                rows.append(&mut found.rows);
                ends.push((peer, viewers, found));
            }
        }
    }
    rows.extend(ends.iter().map(|(peer, viewers, found)| noted(end(peer, *viewers, found))));
    rows.extend(ratios(&ends).into_iter().map(noted));
    Ok(rows)
}

/// Where a peer ended.
fn end(peer: &Peer, viewers: usize, found: &Found) -> Row {
    let mut row = peer.row("", viewers);
    row.ask("try", json!("highest that held"));
    let then = found.miss.as_ref().map(|(per_s, why)| format!("{per_s} messages/s: {why}"));
    row.verdict = Some(format!("then: {}", then.as_deref().unwrap_or("nothing missed")));
    if let Some((per_s, step)) = &found.best {
        row.ask("messages_per_s", json!(per_s));
        step.add_to(&mut row);
    }
    row
}

/// Deliveries per second at the highest rate that held: each server has one core.
fn per_core(found: &Found) -> f64 {
    found.best.as_ref().map_or(0.0, |(_, step)| Step::deliveries_per_s(step))
}

/// Grandstand beside the best of each form, transport by transport.
fn ratios(ends: &[(Peer, usize, Found)]) -> Rows {
    let mut rows = Rows::new();
    for (own, _, found) in ends.iter().filter(|(peer, ..)| peer.is_ours()) {
        for (what, with_batched) in
            [("the servers as they are", false), ("an application's own batching too", true)]
        {
            let others = ends.iter().filter(|(peer, _, found)| {
                let is_counted = with_batched || peer.form != "batched";
                !peer.is_ours() && peer.transport == own.transport && is_counted && found.best.is_some()
            });
            let best = others.max_by(|(.., a), (.., b)| per_core(a).total_cmp(&per_core(b)));
            let Some((peer, _, best)) = best else { continue };
            let case = [
                ("peer", json!(own.name)),
                ("form", json!(own.form)),
                ("transport", json!(own.transport)),
                ("beside", json!(what)),
            ];
            rows.push(
                Row::of(case)
                    .with("best_peer", format!("{} {}", peer.name, peer.form))
                    .with("best_peer_deliveries_per_s", rounded(per_core(best), 0))
                    .with("times_the_best_peer", ratio(per_core(found), per_core(best))),
            );
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_benches::lean_clients::Transport;

    #[test]
    fn ratios_are_to_the_fastest_with_and_without_batching() {
        let end = |name, form, deliveries| {
            let step = Step { deliveries, seconds: 1.0, ..Step::default() };
            let found = Found { best: Some((1.0, step)), ..Found::default() };
            (Peer { name, form, transport: Transport::Ws }, 10, found)
        };
        let ends = [end("grandstand", "default", 800), end("a", "plain", 100), end("a", "batched", 200)];
        let times: Vec<f64> = ratios(&ends).iter().map(|row| row.number("times_the_best_peer")).collect();
        assert_eq!(times, [8.0, 4.0]);
    }
}
