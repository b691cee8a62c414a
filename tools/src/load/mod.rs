//! `gs load`: a load generator whose viewers check everything that they receive.
//!
//! - `publisher`, `script`: what is published, when, and what became of it;
//! - `crowd`, `viewer`: viewers; `checker`: completeness and order; `expected`: contents;
//! - `restarts`, `ledger`: what is kept when the node is killed or replaced during the run; `prober`: new
//!   connections meanwhile;
//! - `processes`, `messages`: several processes; `run`: the order of a run; `tally`: counts.
//!
//! Not here: figures (`crate::report`), the protocol (`grandstand_client`).

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
mod restarts;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod tally;
mod viewer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use grandstand_client::net::{Scheme, Url, seed};
use tokio::sync::watch;

pub(crate) use processes::{CROWD_COMMAND, run_process as run_crowd_process};

use crate::report::Report;
use crate::target::{self, DEFAULT_QUIC, DEFAULT_WS, TrustArgs, TrustBy};
use grandstand_harness::chat_log::Log;
use grandstand_harness::process;
use messages::{Content, Plan};
use prober::Probers;
use progress::Lines;
use publisher::{PublisherPlan, Publishers};
use run::{RunPlan, carry_out};
use script::{Arrivals, Marked, Script};

/// Files that a process needs beside its viewers: standard streams, timers, libraries, publishers, UDP
/// sockets.
const FILES_BESIDE: u64 = 200;

/// WebSocket viewers of one process, whatever its limits: a loopback address has 28,000 ports.
const WS_PER_PROCESS: usize = 20_000;

/// Arguments of `gs load`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the node: ws://, wss:// or quic://. Viewers are spread over several.
    #[arg(long = "url", value_name = "URL", default_values = [DEFAULT_WS, DEFAULT_QUIC])]
    pub(crate) urls: Vec<Url>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// File with a signed token, shown by every session.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Room to fill. Viewers and publishers are spread over several.
    #[arg(long = "room", value_name = "NAME", default_values = ["load"])]
    pub(crate) rooms: Vec<String>,
    /// Number of rooms, named after --room: load-0, load-1 and so on.
    #[arg(long = "rooms", value_name = "COUNT")]
    rooms_count: Option<usize>,
    /// Durability of the rooms, which are created through --admin.
    #[arg(long, value_enum, requires = "admin")]
    durability: Option<durability::Level>,
    /// The node's admin port, such as http://127.0.0.1:7480.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,

    /// Directory for `gs audit`. The node may be killed or replaced during the run: viewers reconnect without
    /// limit, publishers retry what was not acknowledged under the same nonce, and what was published,
    /// received and missed is written to files in this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "replay", help_heading = "Restarts")]
    ledger: Option<PathBuf>,
    /// Open new connections to every --url during the whole run; one that is refused fails the run.
    #[arg(long, help_heading = "Restarts")]
    probe: bool,

    /// Number of viewers.
    #[arg(long, default_value_t = 100, help_heading = "Audience")]
    pub(crate) viewers: usize,
    /// Share of the viewers that connect over QUIC, such as 50%. Default: half, if a quic:// and another URL
    /// are given.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, help_heading = "Audience")]
    quic: Option<f64>,
    /// Number of viewers over WebSocket, instead of --viewers.
    #[arg(long, conflicts_with_all = ["viewers", "quic"], help_heading = "Audience")]
    ws_viewers: Option<usize>,
    /// Number of viewers over QUIC, instead of --viewers.
    #[arg(long, conflicts_with_all = ["viewers", "quic"], help_heading = "Audience")]
    quic_viewers: Option<usize>,
    /// Joins per second.
    #[arg(long, value_name = "PER_S", default_value_t = 500.0, help_heading = "Audience")]
    ramp: f64,
    /// Share of the viewers that leave and come back each minute, such as 20%.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value = "0%", help_heading = "Audience")]
    churn: f64,
    /// Reactions per second, of all viewers together.
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, help_heading = "Audience")]
    reactions: f64,
    /// Number of viewers that stop reading for a while.
    #[arg(long, value_name = "VIEWERS", default_value_t = 0, help_heading = "Audience")]
    stall: usize,
    /// How long a stalled viewer stops reading.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s", help_heading = "Audience")]
    stall_for: Duration,
    /// When stalled viewers stop reading, after the first message.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s", help_heading = "Audience")]
    stall_at: Duration,
    /// How many times one viewer of each transport drops its connection. It resumes each time and must end
    /// with the complete log.
    #[arg(long, value_name = "TIMES", default_value_t = 0, help_heading = "Audience")]
    drop_viewer: u32,
    /// Viewers accept uncompressed batches only.
    #[arg(long, help_heading = "Audience")]
    no_compression: bool,

    /// Number of sessions that publish.
    #[arg(long, default_value_t = 1, help_heading = "Chat")]
    publishers: usize,
    /// Messages per second of all publishers together. A message is sent when it is due, whether or not
    /// earlier ones were answered.
    #[arg(long, value_name = "PER_S", default_value_t = 10.0, help_heading = "Chat")]
    rate: f64,
    /// Length of a message's text.
    #[arg(long, value_name = "BYTES", default_value_t = 60, help_heading = "Chat")]
    size: usize,
    /// How messages are spread over time.
    #[arg(long, value_enum, default_value = "poisson", help_heading = "Chat")]
    arrivals: Arrivals,
    /// How long to publish; with --replay, the maximum. Default: 10s, or the whole log.
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "Chat")]
    pub(crate) hold: Option<Duration>,
    /// Publish these chat logs instead, at once and from their beginnings (JSON lines, plain or gzip).
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Chat")]
    pub(crate) replay: Vec<PathBuf>,
    /// Speed of the replay, as a multiple of the original.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, requires = "replay", help_heading = "Chat")]
    pub(crate) speed: f64,

    /// Process ID of the node, to measure its CPU and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Number of processes that hold the viewers. Default: as many as the limit of open files requires.
    #[arg(long, value_name = "COUNT")]
    processes: Option<usize>,
    /// Seed of the random numbers.
    #[arg(long)]
    seed: Option<u64>,
    /// How long viewers may take to receive the rest, once the last message is answered.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15s")]
    settle: Duration,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress lines.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Default for Args {
    /// What no flag at all means.
    fn default() -> Args {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            args: Args,
        }
        <Flags as clap::Parser>::parse_from(["load"]).args
    }
}

/// Run a load; `Ok(false)` when a message was lost, duplicated, reordered or unacknowledged, or a viewer could
/// not join.
///
/// # Errors
/// When the run cannot be carried out.
pub(crate) async fn run(mut args: Args) -> anyhow::Result<bool> {
    if let (Some(count), Some(name)) = (args.rooms_count, args.rooms.first().cloned()) {
        args.rooms = (0..count).map(|n| format!("{name}-{n}")).collect();
    }
    let goal = Goal::new(&args)?;
    if let Some(directory) = &args.ledger {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let (stop, stopped) = watch::channel(false);
    tokio::task::spawn_local(stop_on_ctrl_c(stop));
    let mut lines = Lines::new(args.quiet);
    let connector = goal.trust.connector(None)?;
    if let (Some(level), Some(admin)) = (args.durability, &args.admin) {
        durability::set(admin, &args.rooms, level)?;
    }
    let log = Log::open_all(&args.replay)?;
    let plan = goal.publisher_plan(&args);
    let publishers = Publishers::connect(&plan, &connector).await?;
    let (script, content) = goal.script(&args, log, publishers.text_bytes_max(), &mut lines)?;
    let run = goal.run(&args, content, &script);
    let probers = args.probe.then(|| Probers::start(&args.urls, &goal.token, &connector));
    let outcome = carry_out(&run, publishers, script, &mut lines, stopped).await?;
    let probes = probers.map(|probers| probers.probes());
    Ok(Report::new(&outcome, goal.ws_viewers, goal.quic_viewers, probes.as_ref()).print(args.json))
}

/// What the arguments ask for, checked.
struct Goal {
    ws_urls: Vec<Url>,
    quic_urls: Vec<Url>,
    trust: TrustBy,
    token: String,
    ws_viewers: usize,
    quic_viewers: usize,
    processes: usize,
    seed: u64,
}

impl Goal {
    fn new(args: &Args) -> anyhow::Result<Goal> {
        let (quic_urls, ws_urls): (Vec<Url>, Vec<Url>) =
            args.urls.iter().cloned().partition(|url| url.scheme() == Scheme::Quic);
        let (ws_viewers, quic_viewers) = viewers(args, !ws_urls.is_empty(), !quic_urls.is_empty());
        ensure!(
            ws_viewers == 0 || !ws_urls.is_empty(),
            "viewers over WebSocket need a --url ws://... or wss://..."
        );
        ensure!(quic_viewers == 0 || !quic_urls.is_empty(), "viewers over QUIC need a --url quic://...");
        ensure!(args.ramp > 0.0, "--ramp must be above 0");
        ensure!(args.speed > 0.0, "--speed must be above 0");
        ensure!(args.rate >= 0.0 && args.reactions >= 0.0, "--rate and --reactions must be 0 or more");
        ensure!(!args.rooms.is_empty(), "--room: at least one room is required");
        if !args.replay.is_empty() {
            ensure!(
                args.rooms.len() == 1,
                "--replay takes one --room: messages are recognised by their offsets"
            );
        }
        ensure!(
            args.stall + 2 <= ws_viewers + quic_viewers || args.stall == 0,
            "--stall: at least two viewers must not be stalled"
        );
        let limit = process::raise_file_limit();
        let processes = processes(args.processes, ws_viewers, limit)?;
        Ok(Goal {
            trust: args.trust.decide(&args.urls)?,
            token: target::token(args.token.as_deref())?,
            ws_urls,
            quic_urls,
            ws_viewers,
            quic_viewers,
            processes,
            seed: args.seed.unwrap_or_else(seed),
        })
    }

    fn publisher_plan(&self, args: &Args) -> PublisherPlan {
        let count = match (args.replay.is_empty(), args.rate > 0.0) {
            (false, _) => 1,
            (true, true) => args.publishers,
            (true, false) => 0,
        };
        PublisherPlan {
            urls: args.urls.clone(),
            token: self.token.clone(),
            rooms: args.rooms.clone(),
            count,
            restarts_expected: args.ledger.is_some(),
        }
    }

    fn script(
        &self,
        args: &Args,
        mut log: Log,
        text_bytes_max: usize,
        lines: &mut Lines,
    ) -> anyhow::Result<(Script, Content)> {
        let hold = args.hold.unwrap_or(Duration::from_secs(10));
        if args.replay.is_empty() {
            if args.rate == 0.0 || args.publishers == 0 {
                return Ok((Script::Silent, Content::Unknown));
            }
            let marked = Marked {
                run: self.seed as u32,
                rate: args.rate,
                size_bytes: args.size.min(text_bytes_max),
                arrivals: args.arrivals,
                hold_us: micros(hold),
            };
            return Ok((Script::Marked(marked), Content::Marked(marked)));
        }
        log.fit(text_bytes_max);
        if let Some(notes) = log.notes.sentence() {
            lines.say(&format!("log: {notes}"));
        }
        if let Some(hold) = args.hold {
            let last_ms = hold.as_secs_f64() * 1000.0 * args.speed;
            log.lines.retain(|line| line.t_ms as f64 <= last_ms);
        }
        let content = Content::Logs { files: args.replay.clone(), text_bytes_max, speed: args.speed };
        Ok((Script::Log { lines: log.lines.into(), speed: args.speed }, content))
    }

    fn run(&self, args: &Args, content: Content, script: &Script) -> RunPlan {
        let hold_us = match script {
            Script::Silent => micros(args.hold.unwrap_or(Duration::from_secs(10))),
            _ => script.length_us(),
        };
        let whole = Plan {
            ws_urls: self.ws_urls.iter().map(Url::to_string).collect(),
            quic_urls: self.quic_urls.iter().map(Url::to_string).collect(),
            trust: self.trust.clone(),
            token: self.token.clone(),
            compression: !args.no_compression,
            rooms: args.rooms.clone(),
            ws_viewers: self.ws_viewers,
            quic_viewers: self.quic_viewers,
            ramp_per_s: args.ramp,
            stalled: args.stall,
            stall_at_us: micros(args.stall_at),
            stall_for_us: micros(args.stall_for),
            drops: args.drop_viewer,
            churn_per_min: args.churn,
            reactions_per_s: args.reactions,
            hold_us,
            // Whoever is still stalled when publishing ends gets its time first.
            settle_us: micros(args.settle) + if args.stall > 0 { micros(args.stall_for) } else { 0 },
            seed: self.seed,
            content,
            ledger: args.ledger.clone(),
            ..Plan::default()
        };
        RunPlan {
            plans: whole.split(self.processes),
            in_processes: args.processes.is_some() || self.processes > 1,
            pid: args.pid,
            announcements: None,
        }
    }
}

impl Plan {
    /// Shares for this number of processes.
    pub(crate) fn split(&self, processes: usize) -> Vec<Plan> {
        let share = |total: usize, n: usize| total * (n + 1) / processes - total * n / processes;
        (0..processes)
            .map(|n| Plan {
                ws_viewers: share(self.ws_viewers, n),
                quic_viewers: share(self.quic_viewers, n),
                stalled: share(self.stalled, n),
                drops: if n == 0 { self.drops } else { 0 },
                ramp_per_s: self.ramp_per_s / processes as f64,
                reactions_per_s: self.reactions_per_s / processes as f64,
                process: n,
                ..self.clone()
            })
            .collect()
    }
}

/// When Ctrl-C comes, the run ends early, with its report; when it comes again, at once.
pub(crate) async fn stop_on_ctrl_c(stop: watch::Sender<bool>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        let _ = stop.send(true);
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    }
    std::future::pending::<()>().await;
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

/// How many processes hold this number of sockets.
fn processes(asked: Option<usize>, ws_viewers: usize, limit: u64) -> anyhow::Result<usize> {
    let each = usize::try_from(limit.saturating_sub(FILES_BESIDE)).unwrap_or(usize::MAX).min(WS_PER_PROCESS);
    if each == 0 {
        bail!("the limit of open files is {limit}, too low for viewers: raise it with `ulimit -n`");
    }
    let needed = ws_viewers.div_ceil(each).max(1);
    let processes = asked.unwrap_or(needed);
    ensure!(
        (needed..=200).contains(&processes),
        "got --processes {processes}, expected {needed} to 200: {ws_viewers} WebSocket viewers, {limit} open files"
    );
    Ok(processes)
}

fn parse_share(text: &str) -> anyhow::Result<f64> {
    let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().context("expected a share such as 50% or 0.5")? / of;
    ensure!((0.0..=1.0).contains(&share), "expected a share from 0% to 100%");
    Ok(share)
}

/// `10s`, `500ms`, `2m`; a bare number is seconds.
pub(crate) fn parse_time(text: &str) -> anyhow::Result<Duration> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => bail!("expected a time such as 500ms, 10s, 2m or 1h"),
    };
    let seconds =
        number.trim().parse::<f64>().context("expected a time such as 500ms, 10s, 2m or 1h")? * factor;
    Ok(Duration::try_from_secs_f64(seconds)?)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times_are_read() {
        for (text, share) in [("50%", 0.5), ("0.25", 0.25), ("100%", 1.0)] {
            assert_eq!(parse_share(text).unwrap(), share);
        }
        assert!(parse_share("150%").is_err() && parse_share("half").is_err());
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("3", 3_000), ("1.5s", 1_500)] {
            assert_eq!(parse_time(text).unwrap().as_millis(), ms);
        }
        assert!(parse_time("10 parsecs").is_err() && parse_time("-1s").is_err());
    }

    #[test]
    fn processes_follow_the_limit_of_files() {
        assert_eq!(processes(None, 5_000, 20_000).unwrap(), 1);
        assert_eq!(processes(None, 15_000, 10_200).unwrap(), 2);
        assert_eq!(processes(None, 50_000, 1_000_000).unwrap(), 3);
        assert_eq!(processes(Some(4), 100, 1024).unwrap(), 4);
        assert!(processes(Some(1), 5_000, 1024).is_err() && processes(None, 5, 100).is_err());
    }

    #[test]
    fn shares_of_a_plan_add_up() {
        let plan = Plan { stalled: 5, drops: 7, ..messages::tests::plan(10, 7) };
        let shares = plan.split(3);
        let sum = |f: fn(&Plan) -> usize| shares.iter().map(f).sum::<usize>();
        assert_eq!((sum(|p| p.ws_viewers), sum(|p| p.quic_viewers), sum(|p| p.stalled)), (10, 7, 5));
        assert_eq!(sum(|p| p.drops as usize), 7);
        assert!((shares.iter().map(|p| p.ramp_per_s).sum::<f64>() - plan.ramp_per_s).abs() < 1e-9);
    }
}
