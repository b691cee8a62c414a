//! `gs demo`: runs a node, a show, its audience and their chat on this machine, without any setup.
//!
//! Why the node is a process of its own: so that its CPU and memory can be measured alone.
//! Invariants: the node never outlives the demo; figures and exit code are those of `gs load`.
//! Not here: viewers and publishers (`load`), the texts of the chat (`synth`).

mod invitation;
mod member;
mod node;
mod three_nodes;
mod title;
mod view;

use std::time::Duration;

use grandstand_client::net::seed;
use tokio::sync::watch;

pub(crate) use node::{NODE_COMMAND, NodeArgs, run_node};

use crate::load::capacity::{Machine, VIEWERS_MAX, Wanted};
use crate::load::expected::Announcements;
use crate::load::messages::{Content, Plan};
use crate::load::progress::Lines;
use crate::load::publisher::{PublisherPlan, Publishers};
use crate::load::report::Report;
use crate::load::run::{Outcome, RunPlan, Watcher, carry_out};
use crate::load::script::Script;
use crate::load::{micros, stop_on_signal};
use crate::say;
use crate::synth::generator::{Chat, Settings, reactions_per_s};
use crate::target::TrustBy;
use crate::terminal::{self, Stop};
use grandstand_harness::chat_log::Message;
use grandstand_harness::numbers::{HOUR, MILLISECOND, SEED_WHY, integer, number, time};
use invitation::Invitation;
use node::{Address, NodeProcess};
use three_nodes::{NODES, ThreeNodes};
use view::View;

/// Longest show: the length of a film.
const SHOW: Duration = Duration::from_secs(2 * 60 * 60);

/// Mean number of messages per second: that of a room of a hundred thousand, so that the chat is lively.
const RATE_PER_S: f64 = 8.0;

/// Bursts, in which everybody writes at once: one or two a minute, so that nobody waits long for one.
const BURSTS_PER_HOUR: f64 = 90.0;

/// This audience reacts like one of LIVELINESS times its size, for the same reason.
const LIVELINESS: u64 = 5;

/// The show of three nodes has its death at the latest after half of this.
const MIDDLE_MAX: Duration = Duration::from_secs(60);

/// How long viewers may take to receive the rest.
const SETTLE: Duration = Duration::from_secs(15);

/// The same after a death: over QUIC a viewer of the dead node notices it at its next packet, or when the
/// connection has been idle for 70 s (quic.idle_timeout_ms), and then has to come back.
const SETTLE_AFTER_DEATH: Duration = Duration::from_secs(90);

/// How long the node that died is away.
const AWAY: Duration = Duration::from_secs(3);

/// What viewers need to join, before the show begins.
const RAMP: Duration = Duration::from_secs(3);

/// Arguments of `gs demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of viewers, half over WebSocket, half over QUIC.
    #[arg(long, default_value_t = 2_000,
        value_parser = integer(2, VIEWERS_MAX, "one for each transport, and at most 200 processes of 20,000 viewers"))]
    viewers: usize,
    /// Number of nodes, 1 or 3. Three stand on three NATS servers; one node dies in the middle of the show.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nodes)]
    nodes: usize,
    /// Stop after this many seconds on air. Default: 2 hours.
    #[arg(long, value_name = "N",
        value_parser = time(MILLISECOND, 24 * HOUR, "the chat of a whole show is written in advance"))]
    seconds: Option<Duration>,
    /// Number of joins per second.
    #[arg(long, value_name = "PER_S", default_value_t = 1_000.0,
        value_parser = number(0.1, 100_000.0, "below that nobody joins, and no node takes more"))]
    ramp: f64,
    /// Mean number of messages per second.
    #[arg(long, value_name = "PER_S", default_value_t = RATE_PER_S,
        value_parser = number(0.001, 1_000.0, "a show without messages shows nothing, and its chat is written in advance"))]
    rate: f64,
    /// Seed of the show: title, chat and reactions.
    #[arg(long, value_name = "SEED", value_parser = integer(0, u64::MAX, SEED_WHY))]
    seed: Option<u64>,
    /// Print the figures as one line of JSON, and progress on standard error.
    #[arg(long)]
    json: bool,
    /// Print no progress lines.
    #[arg(long)]
    quiet: bool,
}

/// Run the demo; `Ok(false)` when something was lost, duplicated or reordered.
///
/// # Errors
/// When the node does not start.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    // All viewers are in this process.
    let (ws_viewers, quic_viewers) = halves(args.viewers);
    Machine::here().processes(&Wanted {
        ws_viewers,
        quic_viewers,
        ws_addresses: 1,
        is_loopback: true,
        processes: None,
        processes_max: 1,
    })?;
    let seed = args.seed.unwrap_or_else(seed);
    let title = title::title(seed);
    if args.nodes > 1 {
        return show_three(&args, seed, &title).await;
    }
    let node = NodeProcess::start(args.viewers, None).await?;
    let invitation = Invitation::new(&title, &node.address);
    let (stop, stopped) = watch::channel(false);
    tokio::task::spawn_local(stop_on_signal(Stop::new()?, stop.clone()));
    let announcements = Announcements::default();
    let outcome = if terminal::can_draw() && !args.json {
        let mut view = View::open(&title, &invitation, args.viewers, announcements.clone(), stop)?;
        perform(&args, std::slice::from_ref(&node.address), &title, seed, announcements, &mut view, stopped)
            .await?
    } else {
        let mut lines = Lines::new(args.quiet);
        lines.say(&invitation.welcome());
        perform(&args, std::slice::from_ref(&node.address), &title, seed, announcements, &mut lines, stopped)
            .await?
    };
    node.stop().await;
    if !args.quiet {
        say::notice(&invitation.farewell());
    }
    Report::new(&outcome, ws_viewers, quic_viewers, None).print(args.json)
}

/// Three nodes, one of which dies in the middle.
async fn show_three(args: &Args, seed: u64, title: &title::Title) -> anyhow::Result<bool> {
    let (ws_viewers, quic_viewers) = halves(args.viewers);
    let mut three = ThreeNodes::start(args.viewers).await?;
    let (stop, stopped) = watch::channel(false);
    tokio::task::spawn_local(stop_on_signal(Stop::new()?, stop));
    let mut lines = Lines::new(args.quiet);
    // The processes stay with the cluster, which kills one of them.
    let nodes: Vec<Address> = three.nodes.iter().flatten().map(|node| node.address.clone()).collect();
    let invitation = Invitation::new(title, &nodes[0]);
    lines.say(&invitation.welcome());
    let middle = args.seconds.unwrap_or(SHOW).min(MIDDLE_MAX) / 2;
    let death = async {
        tokio::time::sleep(RAMP + middle).await;
        let death = three.kill_owner(&title.room).await?;
        if !args.quiet {
            say::notice(&format!(
                "node {} died, with its NATS server; node {} owned the show {} ms later",
                death.node,
                death.heir,
                death.took.as_millis()
            ));
        }
        tokio::time::sleep(AWAY).await;
        three.revive(death.node).await?;
        if !args.quiet {
            say::notice(&format!("node {} and its server are back", death.node));
        }
        anyhow::Ok(())
    };
    let show = perform(args, &nodes, title, seed, Announcements::default(), &mut lines, stopped);
    let (outcome, death) = {
        tokio::pin!(show, death);
        let mut died = None;
        loop {
            tokio::select! {
                outcome = &mut show => break (outcome, died),
                end = &mut death, if died.is_none() => died = Some(end),
            }
        }
    };
    three.stop().await;
    let outcome = outcome?;
    death.transpose()?;
    Report::new(&outcome, ws_viewers, quic_viewers, None).print(args.json)
}

async fn perform(
    args: &Args,
    nodes: &[Address],
    title: &title::Title,
    seed: u64,
    announcements: Announcements,
    watcher: &mut dyn Watcher,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Outcome> {
    let fails_over = nodes.len() > 1;
    // Each node has a development certificate of its own, and all are on loopback.
    let trust = if fails_over { TrustBy::Anyone } else { TrustBy::Fingerprint(nodes[0].fingerprint.clone()) };
    let publisher = PublisherPlan {
        urls: nodes.iter().map(Address::ws_url).collect(),
        fails_over,
        token: String::new(),
        rooms: vec![title.room.clone()],
        count: 1,
        restarts_expected: false,
    };
    let publishers = Publishers::connect(&publisher, &trust.connector(None)?).await?;
    let hold = args.seconds.unwrap_or(SHOW);
    let (lines, reactions_by_s) = chat(args, seed, hold, publishers.text_bytes_max());
    let (ws_viewers, quic_viewers) = halves(args.viewers);
    let plan = Plan {
        ws_urls: nodes.iter().map(|node| node.ws_url().to_string()).collect(),
        quic_urls: nodes.iter().map(|node| node.quic_url().to_string()).collect(),
        fails_over,
        trust,
        compression: true,
        rooms: vec![title.room.clone()],
        ws_viewers,
        quic_viewers,
        ramp_per_s: args.ramp,
        reactions_by_s,
        hold_us: micros(hold),
        settle_us: micros(if fails_over { SETTLE_AFTER_DEATH } else { SETTLE }),
        seed,
        content: Content::Announced,
        ..Plan::default()
    };
    let run = RunPlan {
        plans: vec![plan],
        in_processes: false,
        pid: (!fails_over).then_some(nodes[0].pid),
        announcements: Some(announcements),
    };
    let script = Script::Log { lines: lines.into(), speed: 1.0 };
    carry_out(&run, publishers, script, watcher, stopped).await
}

/// The messages of the show, and the number of reactions in each of its seconds.
fn chat(args: &Args, seed: u64, hold: Duration, text_bytes_max: usize) -> (Vec<Message>, Vec<f32>) {
    let settings = Settings {
        seed,
        viewers: args.viewers as u64,
        rate_per_s: Some(args.rate),
        bursts_per_hour: BURSTS_PER_HOUR,
        ..Settings::default()
    };
    let mut chat = Chat::new(&settings);
    let (mut lines, mut reactions) = (Vec::new(), Vec::new());
    while let Some(line) = chat.next().filter(|line| u128::from(line.t_ms) < hold.as_millis()) {
        let second = (line.t_ms / 1000) as usize;
        if reactions.len() <= second {
            let viewers = args.viewers as u64 * LIVELINESS;
            reactions.resize(second + 1, reactions_per_s(viewers, chat.heat()) as f32);
        }
        if line.text.len() <= text_bytes_max {
            lines.push(line);
        }
    }
    (lines, reactions)
}

/// The numbers of viewers over WebSocket and over QUIC.
fn halves(viewers: usize) -> (usize, usize) {
    (viewers - viewers / 2, viewers / 2)
}

/// 1 or 3.
fn nodes(text: &str) -> Result<usize, String> {
    let why = "an even number has no majority, and five need five servers";
    match integer(1, NODES, why)(text)? {
        2 => Err(format!("expected an integer from 1 to 3, and not 2: {why}")),
        nodes => Ok(nodes),
    }
}
