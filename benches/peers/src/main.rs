//! Peers: the same room on other servers, in the same run: how much each bears on one core.
//!
//! Method: viewers come, then the rate rises step by step until the 99th percentile passes [`P99_MAX_US`],
//! something is lost or refused, or a viewer is cut, twice; then one step between the last rate that held and
//! the first that did not, if the server is fit for it. A row for each step, one for where each peer ended,
//! and ratios.
//! Invariants: every server is alone on the same core, its viewers and its speaker on another; what is not
//! installed is said to be missing; a rate that ended because the generator was full says so.
//! Not here: the servers (`drivers`).

mod drivers;
mod protocol;
mod speaker;

use anyhow::Result;
use clap::Parser;
use drivers::{Peer, Site, Stand, Step};
use grandstand_benches::crowd;
use grandstand_benches::plan::{Plan, report};
use grandstand_benches::record::{Row, Rows, ratio, rounded};
use std::time::{Duration, Instant};

/// People see a chat that is later than this as late.
const P99_MAX_US: u64 = 200_000;

/// A generator beyond this share of its core measures itself.
const CROWD_SHARE_MAX: f64 = 0.95;

/// Peers that have not begun by then are left out, and it is said.
const RUN_MAX: Duration = Duration::from_secs(420);

/// Viewers over WebSocket; over QUIC as many of them as both client sides hold.
const VIEWERS: &[usize] = &[5_000];

/// Messages per second, step by step.
const RATES: &[u64] = &[10, 20, 50, 100, 200, 400, 800, 1_600, 3_200];

/// The same load on other servers: NATS, Socket.IO, ws, uWebSockets, moq-relay.
#[derive(Clone, Debug, Parser)]
#[command(name = "grandstand-peers", version)]
struct Choice {
    #[command(flatten)]
    plan: Plan,
    /// Install the peers under target/peers, and do nothing else.
    #[arg(long)]
    install: bool,
    /// Peers to run, by name; Grandstand always does.
    #[arg(long = "peer", value_delimiter = ',', value_name = "NAME,..")]
    peers: Vec<String>,
}

/// Where a peer ended.
struct End {
    peer: Peer,
    viewers: usize,
    /// The fastest step that held.
    best: Option<Step>,
    /// What was too much.
    verdict: String,
}

fn main() -> Result<()> {
    // As the viewers' process it gets its plan on standard input.
    if std::env::args().nth(1).is_some_and(|word| word == "crowd") {
        return crowd::serve(protocol::talk_by_name);
    }
    let choice = Choice::parse();
    if choice.install {
        return drivers::install::all();
    }
    report("peers", &choice.plan, &run(&choice)?)
}

fn run(choice: &Choice) -> Result<Rows> {
    let (plan, begin) = (&choice.plan, Instant::now());
    let cores = plan.cores()?;
    let viewers = plan.choose(&plan.viewers, VIEWERS, &[50])[0];
    let (mut rows, mut ends) = (Rows::new(), Vec::new());
    for peer in drivers::all() {
        let is_wanted = choice.peers.is_empty() || choice.peers.iter().any(|name| name == peer.name);
        if !is_wanted && peer.name != "grandstand" {
            continue;
        }
        let site = Site {
            server_core: cores.server,
            crowd_core: cores.crowd,
            viewers: viewers.min(peer.viewers_max.unwrap_or(viewers)),
        };
        match (peer.find)() {
            Ok(_) if begin.elapsed() > RUN_MAX => {
                note(&mut rows, peer.row("").with("verdict", "no time left"));
            }
            Ok(version) => ends.push(climb(plan, peer, &version, site, &mut rows)),
            Err(missing) => note(&mut rows, peer.row("").with("verdict", format!("missing: {missing}"))),
        }
    }
    ends.iter().for_each(|end| note(&mut rows, saturation(end)));
    ratios(&ends).into_iter().for_each(|row| note(&mut rows, row));
    if plan.quick {
        smoke(&ends)?;
    }
    Ok(rows)
}

/// Rows are seen as they come.
fn note(rows: &mut Rows, row: Row) {
    eprintln!("{}", serde_json::to_string(&row).unwrap_or_default());
    rows.push(row);
}

/// A peer's steps. What fails ends this peer, and no other.
fn climb(plan: &Plan, peer: Peer, version: &str, site: Site, rows: &mut Rows) -> End {
    let mut end = End { peer, viewers: site.viewers, best: None, verdict: String::new() };
    let climbed = (end.peer.open)(&site, end.peer.form)
        .and_then(|mut stand| steps(plan, stand.as_mut(), version, &mut end, rows));
    if let Err(error) = climbed {
        end.verdict = format!("failed: {error:#}");
    }
    end
}

fn steps(plan: &Plan, stand: &mut dyn Stand, version: &str, end: &mut End, rows: &mut Rows) -> Result<()> {
    let seconds = plan.seconds.map_or(if plan.quick { 0.4 } else { 2.0 }, |seconds| seconds as f64);
    let mut good = None;
    for per_s in plan.choose(&plan.rate, RATES, &[50]) {
        let per_s = per_s as f64;
        let holds = step(stand, per_s, seconds, version, end, rows)?
            // One second chance: a machine's hiccup is no end.
            || stand.recover()? && step(stand, per_s, seconds, version, end, rows)?;
        if holds {
            good = Some(per_s);
            continue;
        }
        if let Some(good) = good
            && stand.recover()?
        {
            // Found, the end is within a fifth.
            step(stand, (good * per_s).sqrt().round(), seconds, version, end, rows)?;
        }
        return Ok(());
    }
    end.verdict = "not reached".into();
    Ok(())
}

/// Whether this rate held.
fn step(
    stand: &mut dyn Stand,
    per_s: f64,
    seconds: f64,
    version: &str,
    end: &mut End,
    rows: &mut Rows,
) -> Result<bool> {
    let seen = stand.step(per_s, seconds)?;
    let verdict = verdict(&seen);
    let per_delivery = |sum: f64| if seen.deliveries > 0 { sum / seen.deliveries as f64 } else { 0.0 };
    let row = end.peer.row(version).with("viewers", end.viewers).with("messages_per_s", per_s);
    let row = row
        .with("deliveries_per_s", rounded(seen.deliveries as f64 / seen.seconds, 0))
        .with("core_share", rounded(seen.core_share, 3))
        .with("cpu_ns_per_delivery", rounded(per_delivery(seen.cpu_ns as f64), 1))
        .with("p50_ms", rounded(seen.p50_us as f64 / 1e3, 1))
        .with("p99_ms", rounded(seen.p99_us as f64 / 1e3, 1))
        .with("lost", seen.lost)
        .with("cut", seen.cut)
        .with("refused", seen.refused)
        .with("wire_bytes_per_delivery", seen.wire_bytes.map(|bytes| rounded(per_delivery(bytes as f64), 1)))
        .with("peak_memory_mb", seen.peak_bytes / 1_000_000)
        .with("crowd_core_share", rounded(seen.crowd_core_share, 3))
        .with("verdict", verdict.clone().unwrap_or_else(|| "holds".into()));
    note(rows, row);
    let holds = verdict.is_none();
    match verdict {
        None => end.best = Some(seen),
        Some(verdict) => end.verdict = verdict,
    }
    Ok(holds)
}

/// Why a step did not hold.
fn verdict(seen: &Step) -> Option<String> {
    let why = if seen.cut > 0 {
        format!("{} viewers cut", seen.cut)
    } else if seen.refused > 0 {
        format!("{} messages refused", seen.refused)
    } else if seen.lost > 0 || seen.deliveries == 0 {
        format!("{} deliveries lost or later than all bounds", seen.lost)
    } else if seen.p99_us > P99_MAX_US {
        "p99".to_owned()
    } else {
        return None;
    };
    let full = if seen.crowd_core_share > CROWD_SHARE_MAX { ", generator full" } else { "" };
    Some(format!("{why}{full}{}", seen.fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default()))
}

fn saturation(end: &End) -> Row {
    let row = end.peer.row("").with("viewers", end.viewers);
    let (best, verdict) = (end.best.clone().unwrap_or_default(), format!("at best; then: {}", end.verdict));
    row.with("messages_per_s", rounded(best.published as f64 / best.seconds.max(1e-9), 0))
        .with("deliveries_per_s", rounded(per_core(end), 0))
        .with("core_share", rounded(best.core_share, 3))
        .with("p99_ms", rounded(best.p99_us as f64 / 1e3, 1))
        .with("peak_memory_mb", best.peak_bytes / 1_000_000)
        .with("crowd_core_share", rounded(best.crowd_core_share, 3))
        .with("verdict", verdict)
}

/// Deliveries per second at the fastest step that held: each server has one core.
fn per_core(end: &End) -> f64 {
    end.best.as_ref().map_or(0.0, |best| best.deliveries as f64 / best.seconds)
}

/// Grandstand beside the best of each form, transport by transport.
fn ratios(ends: &[End]) -> Rows {
    let mut rows = Rows::new();
    for own in ends.iter().filter(|end| end.peer.name == "grandstand") {
        let others = || {
            ends.iter()
                .filter(|end| end.peer.name != "grandstand" && end.peer.transport == own.peer.transport)
        };
        let unbatched = others().filter(|end| end.peer.form != "batched");
        for (form, best) in [
            ("the servers as they are", fastest(unbatched)),
            ("an application's own batching too", fastest(others())),
        ] {
            let Some(best) = best else { continue };
            let row = Row::new()
                .with("peer", "grandstand")
                .with("form", own.peer.form)
                .with("beside", form)
                .with("transport", own.peer.transport);
            let beside = format!("{} {}", best.peer.name, best.peer.form);
            rows.push(
                row.with("best_peer", beside)
                    .with("times_the_best_peer", ratio(per_core(own), per_core(best))),
            );
        }
    }
    rows
}

fn fastest<'a>(ends: impl Iterator<Item = &'a End>) -> Option<&'a End> {
    ends.filter(|end| end.best.is_some()).max_by(|a, b| per_core(a).total_cmp(&per_core(b)))
}

/// A smoke fails when a server that is there was not heard at all; late is no fault of a debug build.
fn smoke(ends: &[End]) -> Result<()> {
    for end in ends {
        let is_heard = end.best.is_some() || end.verdict.starts_with("p99");
        anyhow::ensure!(is_heard, "{} {}: {}", end.peer.name, end.peer.form, end.verdict);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds up to a rate.
    struct Bears(f64);

    impl Stand for Bears {
        fn step(&mut self, per_s: f64, seconds: f64) -> Result<Step> {
            let p99_us = if per_s > self.0 { P99_MAX_US + 1 } else { 1_000 };
            let published = (per_s * seconds) as u64;
            Ok(Step { published, deliveries: published * 10, p99_us, seconds, ..Step::default() })
        }
        fn recover(&mut self) -> Result<bool> {
            Ok(true)
        }
    }

    fn bears(name: &'static str, form: &'static str, per_s: f64) -> End {
        let open =
            |_: &Site, _: &'static str| -> Result<Box<dyn Stand>> { anyhow::bail!("not started here") };
        let peer = Peer { name, form, transport: "ws", viewers_max: None, find: || Ok(String::new()), open };
        let mut end = End { peer, viewers: 10, best: None, verdict: String::new() };
        let plan = Choice::parse_from(["peers"]).plan;
        steps(&plan, &mut Bears(per_s), "1", &mut end, &mut Rows::new()).unwrap();
        end
    }

    #[test]
    fn the_climb_ends_between_the_last_that_held_and_the_first_that_did_not() {
        assert_eq!(per_core(&bears("a", "plain", 150.0)), 1_410.0);
        assert_eq!(per_core(&bears("a", "plain", 110.0)), 1_000.0);
        assert_eq!(per_core(&bears("a", "plain", 1.0)), 0.0);
        let all = bears("a", "plain", 1e9);
        assert_eq!((per_core(&all), all.verdict.as_str()), (32_000.0, "not reached"));
    }

    #[test]
    fn ratios_are_to_the_fastest_with_and_without_batching() {
        let ends = [
            bears("grandstand", "default", 1_000.0),
            bears("a", "plain", 100.0),
            bears("a", "batched", 200.0),
        ];
        let times: Vec<f64> = ratios(&ends).iter().map(|row| row.number("times_the_best_peer")).collect();
        assert_eq!(times, [8.0, 4.0]);
    }

    #[test]
    fn a_verdict_names_what_was_first_and_the_generator() {
        let held = Step { deliveries: 1, p99_us: P99_MAX_US, ..Step::default() };
        assert_eq!(verdict(&held), None);
        let full = Step { p99_us: P99_MAX_US + 1, crowd_core_share: 0.99, ..held.clone() };
        assert_eq!(verdict(&full).unwrap(), "p99, generator full");
        let cut = Step { cut: 2, lost: 5, fault: Some("slow".into()), ..held };
        assert_eq!(verdict(&cut).unwrap(), "2 viewers cut: slow");
    }
}
