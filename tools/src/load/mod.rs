//! `gs load`: a load generator whose viewers check every message that they receive.
//!
//! - `args`: flags; `capacity`: what the machine holds;
//! - `publisher`, `script`: the publications, their times and their answers;
//! - `crowd`, `viewer`: viewers; `checker`: completeness and order; `expected`: contents;
//! - `restarts`, `ledger`: records of a run in which the node is killed or replaced; `prober`: new
//!   connections meanwhile;
//! - `processes`, `messages`: several processes; `run`: the steps of a run; `tally`: counts; `report`:
//!   figures.
//!
//! Not here: the protocol (`grandstand_client`).

mod args;
pub(crate) mod capacity;
mod checker;
mod crowd;
mod durability;
pub(crate) mod expected;
pub(crate) mod ledger;
pub(crate) mod messages;
pub(crate) mod prober;
mod processes;
pub(crate) mod progress;
pub(crate) mod publisher;
pub(crate) mod report;
mod restarts;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod tally;
mod viewer;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use grandstand_client::net::{Scheme, Url, seed};
use tokio::sync::watch;

pub(crate) use args::{Args, SPEED_MAX, SPEED_MIN, SPEED_WHY, micros};
pub(crate) use processes::{CROWD_COMMAND, run_process as run_crowd_process, start_self};

use crate::target::{self, is_loopback};
use crate::terminal::{Stop, exit_by};
use capacity::{Machine, PROCESSES_MAX, Wanted};
use grandstand_harness::chat_log::Log;
use messages::{Content, Plan};
use prober::Probers;
use progress::Lines;
use publisher::{PublisherPlan, Publishers};
use report::Report;
use run::{RunPlan, carry_out};
use script::{Marked, Script};

/// Run a load; `Ok(false)` when a message was lost, duplicated, reordered or unacknowledged, or a viewer did
/// not join.
///
/// # Errors
/// When the run cannot be carried out.
pub(crate) async fn run(mut args: Args) -> anyhow::Result<bool> {
    if let (Some(count), Some(name)) = (args.rooms_count, args.rooms.first().cloned()) {
        args.rooms = (0..count).map(|n| format!("{name}-{n}")).collect();
    }
    let mut plan = plan(&args)?;
    let processes = Machine::here().processes(&Wanted {
        ws_viewers: plan.ws_viewers,
        quic_viewers: plan.quic_viewers,
        ws_addresses: args
            .urls
            .iter()
            .filter(|url| url.scheme() != Scheme::Quic)
            .map(Url::authority)
            .collect::<BTreeSet<_>>()
            .len(),
        is_loopback: args.urls.iter().all(is_loopback),
        processes: args.processes,
        processes_max: PROCESSES_MAX,
    })?;
    if let Some(directory) = &args.ledger {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let (stop, stopped) = watch::channel(false);
    tokio::task::spawn_local(stop_on_signal(Stop::new()?, stop));
    let mut lines = Lines::new(args.quiet);
    let connector = plan.trust.connector(None)?;
    if let (Some(level), Some(admin)) = (args.durability, &args.admin) {
        durability::set(admin, &args.rooms, level)?;
    }
    let log = Log::open_all(&args.replay)?;
    let publishers = Publishers::connect(&publisher_plan(&args, &plan), &connector).await?;
    let text_bytes_max = publishers.text_bytes_max();
    ensure!(
        args.size <= text_bytes_max || publisher_count(&args) == 0 || !args.replay.is_empty(),
        "got --size {}, expected at most {text_bytes_max}: the node's limit of a text (limits.text_bytes_max)",
        args.size
    );
    let script = script(&args, &mut plan, log, text_bytes_max, &lines);
    let probers = args.probe.then(|| Probers::start(&args.urls, &plan.token, &connector));
    let run = RunPlan {
        plans: plan.split(processes),
        in_processes: args.processes.is_some() || processes > 1,
        pid: args.pid,
        announcements: None,
    };
    let outcome = carry_out(&run, publishers, script, &mut lines, stopped).await?;
    let probes = probers.map(|probers| probers.probes());
    Report::new(&outcome, plan.ws_viewers, plan.quic_viewers, probes.as_ref()).print(args.json)
}

/// The plan of the viewers, from checked arguments, without the published content.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    let urls = |is_quic: bool| -> Vec<String> {
        let of_transport = args.urls.iter().filter(|url| (url.scheme() == Scheme::Quic) == is_quic);
        of_transport.map(Url::to_string).collect()
    };
    let (ws_urls, quic_urls) = (urls(false), urls(true));
    let (ws_viewers, quic_viewers) = viewers(args, !ws_urls.is_empty(), !quic_urls.is_empty());
    ensure!(
        ws_viewers == 0 || !ws_urls.is_empty(),
        "viewers over WebSocket need a --url ws://... or wss://..."
    );
    ensure!(quic_viewers == 0 || !quic_urls.is_empty(), "viewers over QUIC need a --url quic://...");
    ensure!(
        ws_viewers + quic_viewers > 0 || args.viewers == 0,
        "got --ws-viewers {ws_viewers} and --quic-viewers {quic_viewers}, expected at least 1 viewer together"
    );
    ensure!(!args.rooms.is_empty(), "--room: at least one room is required");
    ensure!(
        args.replay.is_empty() || args.rooms.len() == 1,
        "--replay takes one --room: messages are recognised by their offsets"
    );
    ensure!(
        args.stall + 2 <= ws_viewers + quic_viewers || args.stall == 0,
        "--stall: at least two viewers must not be stalled"
    );
    Ok(Plan {
        ws_urls,
        fails_over: args.fail_over,
        quic_urls,
        trust: args.trust.decide(&args.urls)?,
        token: target::token(args.token.as_deref())?,
        compression: !args.no_compression,
        rooms: args.rooms.clone(),
        ws_viewers,
        quic_viewers,
        ramp_per_s: args.ramp,
        stalled: args.stall,
        stall_at_us: micros(args.stall_at),
        stall_for_us: micros(args.stall_for),
        drops: args.drop_viewer,
        churn_per_min: args.churn,
        reactions_per_s: args.reactions,
        // A viewer that is still stalled when publishing ends gets the rest of its stall first.
        settle_us: micros(args.settle) + if args.stall > 0 { micros(args.stall_for) } else { 0 },
        seed: args.seed.unwrap_or_else(seed),
        ledger: args.ledger.clone(),
        ..Plan::default()
    })
}

fn publisher_plan(args: &Args, plan: &Plan) -> PublisherPlan {
    PublisherPlan {
        urls: args.urls.clone(),
        fails_over: args.fail_over,
        token: plan.token.clone(),
        rooms: args.rooms.clone(),
        count: publisher_count(args),
        restarts_expected: args.ledger.is_some(),
    }
}

/// The number of publishers: one for a log.
fn publisher_count(args: &Args) -> usize {
    if args.replay.is_empty() { args.publishers } else { 1 }
}

/// The script of the publishers. It goes into the plan too, so that viewers can check it.
fn script(args: &Args, plan: &mut Plan, mut log: Log, text_bytes_max: usize, lines: &Lines) -> Script {
    let hold_us = micros(args.hold.unwrap_or(Duration::from_secs(10)));
    if args.replay.is_empty() {
        plan.hold_us = hold_us;
        if args.publishers == 0 {
            return Script::Silent;
        }
        let marked = Marked {
            run: plan.seed as u32,
            rate: args.rate,
            size_bytes: args.size,
            arrivals: args.arrivals,
            hold_us,
        };
        plan.content = Content::Marked(marked);
        return Script::Marked(marked);
    }
    log.fit(text_bytes_max);
    if let Some(notes) = log.notes.sentence() {
        lines.say(&format!("log: {notes}"));
    }
    if let Some(hold) = args.hold {
        let last_ms = hold.as_secs_f64() * 1000.0 * args.speed;
        log.lines.retain(|line| line.t_ms as f64 <= last_ms);
    }
    let script = Script::Log { lines: log.lines.into(), speed: args.speed };
    plan.hold_us = script.length_us();
    plan.content = Content::Logs { files: args.replay.clone(), text_bytes_max, speed: args.speed };
    script
}

/// When a signal comes (Ctrl-C, SIGTERM, a terminal that is closed), the run ends early, with its report;
/// when a second one comes, at once.
pub(crate) async fn stop_on_signal(mut signals: Stop, stop: watch::Sender<bool>) {
    signals.wait().await;
    let _ = stop.send(true);
    exit_by(signals.wait().await)
}

fn viewers(args: &Args, has_ws: bool, has_quic: bool) -> (usize, usize) {
    if args.ws_viewers.is_some() || args.quic_viewers.is_some() {
        return (args.ws_viewers.unwrap_or(0), args.quic_viewers.unwrap_or(0));
    }
    let share = args.quic.unwrap_or(match (has_ws, has_quic) {
        (true, true) => 0.5,
        (false, true) => 1.0,
        _ => 0.0,
    });
    let quic = ((args.viewers as f64 * share).round() as usize).min(args.viewers);
    (args.viewers - quic, quic)
}
