//! `gs replay`: publishes a chat log in a room as a bridge, at its own speed or faster. It is `gs load`
//! without viewers.
//!
//! Invariants: messages are sent in the log's order, each when it is due, without waiting for earlier
//! answers. Each is acknowledged, refused, or counted as unacknowledged.
//! Not here: publishing itself (`load`).

use std::path::PathBuf;
use std::time::Duration;

use grandstand_client::net::Url;

use crate::load::{self, SPEED_MAX, SPEED_MIN, SPEED_WHY};
use crate::target::{DEFAULT_WS, TrustArgs};
use grandstand_harness::numbers::{HOUR, MILLISECOND, number, time};

/// Arguments of `gs replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Chat logs: JSON lines, plain or gzip. Several play at once, each from its beginning.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Address of the node: ws://, wss:// or quic://.
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
    /// Speed as a multiple of the original.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0,
        value_parser = number(SPEED_MIN, SPEED_MAX, SPEED_WHY))]
    speed: f64,
    /// Play only this much, such as 30s.
    #[arg(long, value_name = "TIME",
        value_parser = time(MILLISECOND, 30 * 24 * HOUR, "a run takes at most 30 days"))]
    hold: Option<Duration>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Print no progress lines.
    #[arg(long)]
    quiet: bool,
}

/// Play; `Ok(false)` when something was refused or not acknowledged.
///
/// # Errors
/// When a log cannot be read or the node refuses the session.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    let mut load = load::Args::default();
    (load.urls, load.rooms, load.viewers) = (vec![args.url], vec![args.room], 0);
    (load.trust, load.token) = (args.trust, args.token);
    (load.replay, load.speed, load.hold) = (args.files, args.speed, args.hold);
    (load.json, load.quiet) = (args.json, args.quiet);
    load::run(load).await
}
