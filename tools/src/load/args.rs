//! Flags of `gs load`, and the range of each number.
//!
//! Not here: the checks of flags against each other (`load`), flags of all tools (`target`).

use std::path::PathBuf;
use std::time::Duration;

use grandstand_client::net::Url;
use grandstand_client::protocol::limits::TEXT_BYTES_MAX;

use super::capacity::{PROCESSES_MAX, VIEWERS_MAX};
use super::durability;
use super::script::{Arrivals, MARK_BYTES_MAX};
use crate::target::{DEFAULT_QUIC, DEFAULT_WS, TrustArgs};
use grandstand_harness::numbers::{HOUR, MILLISECOND, SEED_WHY, integer, number, share, time};

/// Bounds of the speed of a replay.
pub(crate) const SPEED_MIN: f64 = 0.001;
pub(crate) const SPEED_MAX: f64 = 1e6;
pub(crate) const SPEED_WHY: &str =
    "a second takes at most a quarter of an hour, and a day at least a tenth of a second";

/// Why there is a bound of viewers whatever the machine.
const VIEWERS_WHY: &str = "a run has at most 200 processes of 20,000 viewers";

/// Arguments of `gs load`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the node: ws://, wss:// or quic://. Viewers are spread over several.
    #[arg(long = "url", value_name = "URL", default_values = [DEFAULT_WS, DEFAULT_QUIC])]
    pub(crate) urls: Vec<Url>,
    /// A viewer or publisher whose address does not answer goes to the others.
    #[arg(long)]
    pub(crate) fail_over: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// File with a signed token, shown by every session.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Room to fill. Viewers and publishers are spread over several.
    #[arg(long = "room", value_name = "NAME", default_values = ["load"])]
    pub(crate) rooms: Vec<String>,
    /// Number of rooms, named after --room: load-0, load-1 and so on.
    #[arg(long = "rooms", value_name = "COUNT",
        value_parser = integer(1_usize, 100_000, "a node has at most 100000 rooms by default (rooms.max)"))]
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
    #[arg(long, default_value_t = 100, help_heading = "Audience",
        value_parser = integer(1, VIEWERS_MAX, "`gs replay` publishes without viewers, and a run has at most 200 \
                                                processes of 20,000 viewers"))]
    pub(crate) viewers: usize,
    /// Share of the viewers that connect over QUIC, such as 50%. Default: half, if a quic:// and another URL
    /// are given.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Audience")]
    pub(super) quic: Option<f64>,
    /// Number of viewers over WebSocket, instead of --viewers.
    #[arg(long, value_name = "VIEWERS", conflicts_with_all = ["viewers", "quic"], help_heading = "Audience",
        value_parser = integer(0, VIEWERS_MAX, VIEWERS_WHY))]
    pub(super) ws_viewers: Option<usize>,
    /// Number of viewers over QUIC, instead of --viewers.
    #[arg(long, value_name = "VIEWERS", conflicts_with_all = ["viewers", "quic"], help_heading = "Audience",
        value_parser = integer(0, VIEWERS_MAX, VIEWERS_WHY))]
    pub(super) quic_viewers: Option<usize>,
    /// Joins per second.
    #[arg(long, value_name = "PER_S", default_value_t = 500.0, help_heading = "Audience",
        value_parser = number(0.1, 100_000.0, "below that nobody joins, and no node takes more"))]
    pub(super) ramp: f64,
    /// Share of the viewers that leave and come back each minute, such as 20%.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%", help_heading = "Audience")]
    pub(super) churn: f64,
    /// Reactions per second, of all viewers together.
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, help_heading = "Audience",
        value_parser = number(0.0, 1e6, "0 sends none, and one process sends no more"))]
    pub(super) reactions: f64,
    /// Number of viewers that stop reading for a while.
    #[arg(long, value_name = "VIEWERS", default_value_t = 0, help_heading = "Audience",
        value_parser = integer(0, VIEWERS_MAX, VIEWERS_WHY))]
    pub(super) stall: usize,
    /// How long a stalled viewer stops reading.
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Audience",
        value_parser = time(MILLISECOND, HOUR, "the run waits for stalled viewers"))]
    pub(super) stall_for: Duration,
    /// When stalled viewers stop reading, after the first message.
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Audience",
        value_parser = time(Duration::ZERO, 30 * 24 * HOUR, "a run takes at most 30 days"))]
    pub(super) stall_at: Duration,
    /// How many times one viewer of each transport drops its connection. It resumes each time and must end
    /// with the complete log.
    #[arg(long, value_name = "TIMES", default_value_t = 0, help_heading = "Audience",
        value_parser = integer(0_u32, 100_000, "each takes a reconnect, one after the other"))]
    pub(super) drop_viewer: u32,
    /// Viewers accept uncompressed batches only.
    #[arg(long, help_heading = "Audience")]
    pub(super) no_compression: bool,

    /// Number of sessions that publish; 0 publishes nothing.
    #[arg(long, value_name = "SESSIONS", default_value_t = 1, help_heading = "Chat",
        value_parser = integer(0_usize, 10_000, "all of them are in one process"))]
    pub(super) publishers: usize,
    /// Messages per second of all publishers together. A message is sent when it is due, whether or not
    /// earlier ones were answered.
    #[arg(long, value_name = "PER_S", default_value_t = 10.0, help_heading = "Chat",
        value_parser = number(0.001, 1e6, "--publishers 0 publishes nothing, and one process sends no more"))]
    pub(super) rate: f64,
    /// Length of a message's text. The node may have a lower limit than the protocol (limits.text_bytes_max).
    #[arg(long, value_name = "BYTES", default_value_t = 60, help_heading = "Chat",
        value_parser = integer(MARK_BYTES_MAX, TEXT_BYTES_MAX, "a text holds its number and its time, and the protocol \
                                                                has no longer texts"))]
    pub(super) size: usize,
    /// How messages are spread over time.
    #[arg(long, value_enum, default_value = "poisson", help_heading = "Chat")]
    pub(super) arrivals: Arrivals,
    /// How long to publish; with --replay, the maximum. Default: 10s, or the whole log.
    #[arg(long, value_name = "TIME", help_heading = "Chat",
        value_parser = time(MILLISECOND, 30 * 24 * HOUR, "a run takes at most 30 days"))]
    pub(crate) hold: Option<Duration>,
    /// Publish these chat logs instead, at once and from their beginnings (JSON lines, plain or gzip).
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Chat")]
    pub(crate) replay: Vec<PathBuf>,
    /// Speed of the replay, as a multiple of the original.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, requires = "replay", help_heading = "Chat",
        value_parser = number(SPEED_MIN, SPEED_MAX, SPEED_WHY))]
    pub(crate) speed: f64,

    /// Process ID of the node, to measure its CPU and memory.
    #[arg(long, value_name = "PID", value_parser = integer(1_u32, 4_194_304, "Linux has no others"))]
    pub(super) pid: Option<u32>,
    /// Number of processes that hold the viewers. Default: as many as the limit of open files requires.
    #[arg(long, value_name = "COUNT", value_parser = integer(1, PROCESSES_MAX, "more than this is no use to one machine"))]
    pub(super) processes: Option<usize>,
    /// Seed of the random numbers.
    #[arg(long, value_name = "SEED", value_parser = integer(0, u64::MAX, SEED_WHY))]
    pub(super) seed: Option<u64>,
    /// How long viewers may take to receive the rest, once the last message is answered.
    #[arg(long, value_name = "TIME", default_value = "15s",
        value_parser = time(Duration::ZERO, HOUR, "whoever has not received it by then never will"))]
    pub(super) settle: Duration,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress lines.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Default for Args {
    /// The arguments of a command line without flags.
    fn default() -> Args {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            args: Args,
        }
        <Flags as clap::Parser>::parse_from(["load"]).args
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
