//! Flags of `gs load`, and parsers of shares and times.
//!
//! Not here: the checks of flags against each other (`load`), flags of all tools (`target`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use grandstand_client::net::Url;

use super::durability;
use super::script::Arrivals;
use crate::target::{DEFAULT_QUIC, DEFAULT_WS, TrustArgs};

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
    pub(super) rooms_count: Option<usize>,
    /// Durability of the rooms, which are created through --admin.
    #[arg(long, value_enum, requires = "admin")]
    pub(super) durability: Option<durability::Level>,
    /// The node's admin port, such as http://127.0.0.1:7480.
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,

    /// Directory for `gs audit`. The node may be killed or replaced during the run: viewers reconnect without
    /// limit, publishers retry what was not acknowledged under the same nonce, and what was published,
    /// received and missed is written to files in this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "replay", help_heading = "Restarts")]
    pub(super) ledger: Option<PathBuf>,
    /// Open new connections to every --url during the whole run; one that is refused fails the run.
    #[arg(long, help_heading = "Restarts")]
    pub(super) probe: bool,

    /// Number of viewers.
    #[arg(long, default_value_t = 100, help_heading = "Audience")]
    pub(crate) viewers: usize,
    /// Share of the viewers that connect over QUIC, such as 50%. Default: half, if a quic:// and another URL
    /// are given.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, help_heading = "Audience")]
    pub(super) quic: Option<f64>,
    /// Number of viewers over WebSocket, instead of --viewers.
    #[arg(long, conflicts_with_all = ["viewers", "quic"], help_heading = "Audience")]
    pub(super) ws_viewers: Option<usize>,
    /// Number of viewers over QUIC, instead of --viewers.
    #[arg(long, conflicts_with_all = ["viewers", "quic"], help_heading = "Audience")]
    pub(super) quic_viewers: Option<usize>,
    /// Joins per second.
    #[arg(long, value_name = "PER_S", default_value_t = 500.0, help_heading = "Audience")]
    pub(super) ramp: f64,
    /// Share of the viewers that leave and come back each minute, such as 20%.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value = "0%", help_heading = "Audience")]
    pub(super) churn: f64,
    /// Reactions per second, of all viewers together.
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, help_heading = "Audience")]
    pub(super) reactions: f64,
    /// Number of viewers that stop reading for a while.
    #[arg(long, value_name = "VIEWERS", default_value_t = 0, help_heading = "Audience")]
    pub(super) stall: usize,
    /// How long a stalled viewer stops reading.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s", help_heading = "Audience")]
    pub(super) stall_for: Duration,
    /// When stalled viewers stop reading, after the first message.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s", help_heading = "Audience")]
    pub(super) stall_at: Duration,
    /// How many times one viewer of each transport drops its connection. It resumes each time and must end
    /// with the complete log.
    #[arg(long, value_name = "TIMES", default_value_t = 0, help_heading = "Audience")]
    pub(super) drop_viewer: u32,
    /// Viewers accept uncompressed batches only.
    #[arg(long, help_heading = "Audience")]
    pub(super) no_compression: bool,

    /// Number of sessions that publish.
    #[arg(long, default_value_t = 1, help_heading = "Chat")]
    pub(super) publishers: usize,
    /// Messages per second of all publishers together. A message is sent when it is due, whether or not
    /// earlier ones were answered.
    #[arg(long, value_name = "PER_S", default_value_t = 10.0, help_heading = "Chat")]
    pub(super) rate: f64,
    /// Length of a message's text.
    #[arg(long, value_name = "BYTES", default_value_t = 60, help_heading = "Chat")]
    pub(super) size: usize,
    /// How messages are spread over time.
    #[arg(long, value_enum, default_value = "poisson", help_heading = "Chat")]
    pub(super) arrivals: Arrivals,
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
    pub(super) pid: Option<u32>,
    /// Number of processes that hold the viewers. Default: as many as the limit of open files requires.
    #[arg(long, value_name = "COUNT")]
    pub(super) processes: Option<usize>,
    /// Seed of the random numbers.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// How long viewers may take to receive the rest, once the last message is answered.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15s")]
    pub(super) settle: Duration,
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
}
