//! `gs replay`: a chat log into a room, at its own speed or faster, as a bridge.
//!
//! Invariants: messages go out in the log's order, each when it is due, whatever became of those before;
//! every one of them is acknowledged, refused, or counted as unacknowledged.
//! Not here: reading logs (`grandstand_harness::chat_log`), publishing (`load::publisher`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use grandstand_client::net::{Url, seed};
use serde::Serialize;
use tokio::sync::watch;

use crate::load::publisher::{Published, Publishers, Stage};
use crate::load::script::Script;
use crate::load::tally::Reasons;
use crate::load::{micros, parse_time, stop_on_ctrl_c};
use crate::report::{duration, times};
use crate::target::{self, DEFAULT_WS, TrustArgs};
use grandstand_harness::chat_log::{Log, Notes};
use grandstand_harness::clock::monotonic_us;
use grandstand_harness::histogram::Summary;

/// For answers to the last messages.
const ANSWERS_US: u64 = 15_000_000;

/// How often to look whether it is over.
const TURN: Duration = Duration::from_millis(50);

/// One line of progress a second.
const LINE_EVERY_US: u64 = 1_000_000;

/// Arguments of `gs replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Chat logs: JSON lines, plain or gzip. Several play at once, each from its beginning.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the node is: ws://, wss:// or quic://.
    #[arg(long, default_value = DEFAULT_WS)]
    url: Url,
    #[command(flatten)]
    trust: TrustArgs,
    /// File with a signed token that may bridge; a node without keys needs none.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Room to play into.
    #[arg(long, default_value = "show")]
    room: String,
    /// How many times as fast as it was.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    speed: f64,
    /// Only so much, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    hold: Option<Duration>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
    /// No progress lines.
    #[arg(long)]
    quiet: bool,
}

/// The figures of a replay.
#[derive(Debug, Serialize)]
struct Figures {
    ok: bool,
    messages: u64,
    due: u64,
    unacknowledged: u64,
    refused: Reasons,
    seconds: f64,
    skipped_rows: u64,
    unreadable_lines: u64,
    cut: u64,
    cleaned: u64,
    ack: Summary,
    send_lag: Summary,
    interrupted: bool,
    faults: Vec<String>,
}

/// Play; `Ok(false)` when something was refused or not acknowledged.
///
/// # Errors
/// When a log cannot be read or the node does not let this in.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    ensure!(args.speed > 0.0, "--speed must be above 0");
    let logs = args.files.iter().map(|file| Log::open(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut log = Log::merge(logs);
    let connector = args.trust.decide(std::slice::from_ref(&args.url))?.connector(None)?;
    let stage = Stage {
        urls: vec![args.url.clone()],
        token: target::token(args.token.as_deref())?,
        rooms: vec![args.room.clone()],
        count: 1,
        survives: false,
    };
    let mut publishers = Publishers::connect(&stage, &connector).await?;
    log.fit(publishers.text_bytes_max());
    if let Some(notes) = log.notes.sentence() {
        eprintln!("log: {notes}");
    }
    let script = Script::Log { lines: log.lines.into(), speed: args.speed };
    let began_us = monotonic_us();
    let interrupted = play(&mut publishers, script, &args).await;
    let seconds = (monotonic_us() - began_us) as f64 / 1e6;
    let figures = Figures::new(&publishers.published(), &log.notes, seconds, interrupted);
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", figures.text());
    }
    if !figures.ok {
        eprintln!("error: {}", figures.faults.join("; "));
    }
    Ok(figures.ok)
}

/// Until all is said and answered, or Ctrl-C; which of them.
async fn play(publishers: &mut Publishers, script: Script, args: &Args) -> bool {
    let (stop, mut stopped) = watch::channel(false);
    tokio::task::spawn_local(stop_on_ctrl_c(stop));
    let hold_us = args.hold.map_or(u64::MAX / 2, micros);
    let length_us = script.length_us().min(hold_us);
    let t0_us = monotonic_us();
    publishers.begin(script, t0_us, seed(), None);
    let mut turn = tokio::time::interval(TURN);
    let (mut answers_until_us, mut lined_us) = (t0_us + length_us + ANSWERS_US, t0_us);
    let mut is_stopped = false;
    while !publishers.is_finished() && monotonic_us() < answers_until_us {
        tokio::select! {
            _ = turn.tick() => {}
            Ok(()) = stopped.changed() => {}
        }
        let now_us = monotonic_us();
        if !is_stopped && (*stopped.borrow() || now_us > t0_us + hold_us) {
            is_stopped = true;
            publishers.stop();
            answers_until_us = now_us + ANSWERS_US;
        }
        if !args.quiet && now_us >= lined_us + LINE_EVERY_US {
            lined_us = now_us;
            eprintln!("{}", line(&publishers.published(), now_us - t0_us, length_us));
        }
    }
    *stopped.borrow()
}

fn line(published: &Published, since_us: u64, length_us: u64) -> String {
    let ack = published.ack.summary();
    format!(
        "{} of {}  {} published  {} acknowledged  {} refused  ack p50 {} p99 {}",
        duration(since_us.min(length_us)),
        duration(length_us),
        published.due,
        published.acknowledged,
        published.refused.total(),
        duration(ack.p50_us),
        duration(ack.p99_us),
    )
}

impl Figures {
    fn new(published: &Published, notes: &Notes, seconds: f64, interrupted: bool) -> Figures {
        let faults = published.faults();
        Figures {
            ok: faults.is_empty(),
            messages: published.acknowledged,
            due: published.due,
            unacknowledged: published.unacknowledged(),
            refused: published.refused.clone(),
            seconds,
            skipped_rows: notes.others + notes.empty,
            unreadable_lines: notes.bad,
            cut: notes.cut,
            cleaned: notes.cleaned,
            ack: published.ack.summary(),
            send_lag: published.send_lag.summary(),
            interrupted,
            faults,
        }
    }

    fn text(&self) -> String {
        let verdict =
            if self.ok { "every message was acknowledged".to_owned() } else { self.faults.join("; ") };
        format!(
            "published   {} in {:.1} s ({:.1}/s)\nacknowledged {}, refused {}, unacknowledged {}\nacks        {}\n{:<12}{verdict}\n",
            self.due,
            self.seconds,
            self.due as f64 / self.seconds.max(0.001),
            self.messages,
            self.refused.total(),
            self.unacknowledged,
            times(&self.ack),
            if self.ok { "OK" } else { "FAILED" },
        )
    }
}
