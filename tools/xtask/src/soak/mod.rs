//! `soak`: long runs of nodes under heavy use and faults, which must not lose acknowledged messages.
//!
//! - `rounds`: an hour of an audience that misbehaves in every way that the protocol allows; `restarts`: a
//!   node that is killed, cut off or replaced during a load; `flips`: a database with flipped bits;
//! - `restartable`: a node that restarts at the same addresses; `image`: a disk whose power can be cut;
//!   `audience`: the viewers and publishers.
//!
//! Invariants: every figure is printed by name, good or bad; a run fails if a figure misses its limit, and
//! names it. Random choices follow from a printed seed.
//! Not here: the checks of a viewer (`gs load`), the final comparison (`gs audit`), invalid input
//! (`edge/node/tests/hostile.rs`), speed (`bench`).

mod audience;
mod flips;
mod image;
mod restartable;
mod restarts;
mod rounds;

use crate::programs::{self, Programs, Purpose};
use anyhow::{Result, bail};
use grandstand_harness::numbers::integer;
use serde_json::{Map, Value};

/// Use a node hard, and check what it must not lose: memory, files, and nothing that it acknowledged.
///
/// Without a kind: rounds of an audience over WebSocket, WebSocket over TLS and QUIC that comes, goes,
/// stalls, drops and talks in bursts; fails if a message was lost, duplicated, reordered or not acknowledged,
/// if memory, files or the database grew, if the node panicked or logged an error, or if it did not end with
/// 0 after SIGTERM.
/// With one: a node under `gs load` that is killed (--crashes), loses its power (--power-cuts, as root) or is
/// replaced (--drains) N times; at the end everything that was published, shown and acknowledged is compared
/// with its log. With --bit-flips, bits of a stopped node's database are flipped. Logs and ledgers are in
/// target/soak.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kill the node N times (SIGKILL), at random moments, and start it again at once.
    #[arg(long, value_name = "N", group = "kind", value_parser = integer(1_u64, 1_000_000, "a start takes a second"))]
    crashes: Option<u64>,
    /// Cut the power N times: kill, copy the mounted disk, start from the copy. Needs root and loop devices.
    #[arg(long, value_name = "N", group = "kind", value_parser = integer(1_u64, 1_000_000, "a power cut takes seconds"))]
    power_cuts: Option<u64>,
    /// Replace the running node N times by another process that takes its sockets over.
    #[arg(long, value_name = "N", group = "kind", value_parser = integer(1_u64, 1_000_000, "a drain takes seconds"))]
    drains: Option<u64>,
    /// Flip N random bits of stored messages, and N anywhere in the database, one at a time.
    #[arg(long, value_name = "N", group = "kind", value_parser = integer(1_u64, 1_000_000, "a flip takes a tenth of a second"))]
    bit_flips: Option<u64>,
    /// Length of all rounds together, in seconds.
    #[arg(long, value_name = "N", default_value_t = 600, default_value_if("quick", "true", "10"),
        value_parser = integer(1_u64, 2_592_000, "a soak takes at most 30 days"))]
    seconds: u64,
    /// Number of viewers (in each round, where there are rounds).
    #[arg(long, value_name = "N", default_value_t = 1000, default_value_if("quick", "true", "100"),
        value_parser = integer(1_u64, 1_000_000, "without viewers nothing is checked"))]
    viewers: u64,
    /// Messages per second that are published (with --crashes, --power-cuts or --drains).
    #[arg(long, value_name = "PER_S", default_value_t = 200,
        value_parser = integer(1_u64, 1_000_000, "without messages nothing is checked"))]
    rate: u64,
    /// Durability of the rooms (with --crashes, --power-cuts or --drains).
    #[arg(long, value_enum, default_value = "disk")]
    durability: audience::Durability,
    /// Seed of the random numbers; taken from the clock if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Run a short form with the programs of the test build.
    #[arg(long)]
    quick: bool,
    /// Use the programs as they were last built, without building them.
    #[arg(long)]
    as_built: bool,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let purpose = if args.quick { Purpose::Smoke } else { Purpose::Measurement };
    go_with(args, &if args.as_built { programs::built(purpose) } else { programs::build(purpose)? })
}

fn go_with(args: &Args, programs: &Programs) -> Result<()> {
    let seed = args.seed.unwrap_or_else(grandstand_harness::random::seed);
    eprintln!("seed {seed}");
    let plan = restarts::Plan {
        kind: restarts::Kind::Crash,
        count: 0,
        viewers: args.viewers,
        rate: args.rate,
        durability: args.durability,
        seed,
        is_quick: args.quick,
    };
    let of = |kind, count| restarts::Plan { kind, count, ..plan };
    let mut outcome = match (args.crashes, args.power_cuts, args.drains, args.bit_flips) {
        (Some(count), ..) => restarts::go(programs, &of(restarts::Kind::Crash, count))?,
        (_, Some(count), ..) => restarts::go(programs, &of(restarts::Kind::PowerCut, count))?,
        (_, _, Some(count), _) => restarts::go(programs, &of(restarts::Kind::Drain, count))?,
        (.., Some(count)) => flips::go(programs, count, seed)?,
        _ => rounds::go(programs, args.seconds, args.viewers)?,
    };
    outcome.figures.insert("seed".into(), seed.into());
    outcome.tell(args.json)
}

/// The smokes, for `test`.
pub(crate) fn smoke() -> Result<()> {
    quick(&[])
}

/// A few crashes.
pub(crate) fn smoke_of_crashes() -> Result<()> {
    quick(&["--crashes", "3"])
}

/// Two power cuts, where this machine lets us.
pub(crate) fn smoke_of_power_cuts() -> Result<()> {
    quick(&["--power-cuts", "2"])
}

/// Two drains.
pub(crate) fn smoke_of_drains() -> Result<()> {
    quick(&["--drains", "2"])
}

/// Some flips.
pub(crate) fn smoke_of_bit_flips() -> Result<()> {
    quick(&["--bit-flips", "5"])
}

fn quick(args: &[&str]) -> Result<()> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let line = ["soak", "--quick"].into_iter().chain(args.iter().copied());
    go(&<Line as clap::Parser>::try_parse_from(line)?.args)
}

/// The outcome of a soak.
struct Outcome {
    figures: Map<String, Value>,
    /// The shortfalls, in words.
    faults: Vec<String>,
}

impl Outcome {
    /// Print every figure; fail if one falls short.
    fn tell(self, as_json: bool) -> Result<()> {
        let mut figures = self.figures;
        figures.insert("ok".into(), self.faults.is_empty().into());
        if as_json {
            println!("{}", Value::Object(figures));
        } else {
            figures.iter().for_each(|(name, value)| println!("{name:<28}{value}"));
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        bail!("{} (logs and ledgers: target/soak)", self.faults.join("; "))
    }
}

/// Figures that must be 0 and are not, or are missing.
fn not_zero(figures: &Map<String, Value>, names: &[&str]) -> Vec<String> {
    let is_zero = |name: &str| figures.get(name).is_some_and(|value| value.as_u64() == Some(0));
    let say =
        |name: &&str| format!("{name} is {}, but must be 0", figures.get(*name).unwrap_or(&Value::Null));
    names.iter().filter(|name| !is_zero(name)).map(say).collect()
}

/// Figures that are 0 and must not be, since the run proves nothing without them.
fn not_some(figures: &Map<String, Value>, names: &[&str]) -> Vec<String> {
    let is_some = |name: &str| figures.get(name).is_some_and(|value| value.as_f64().is_some_and(|n| n > 0.0));
    let say =
        |name: &&str| format!("{name} is {}, but must not be 0", figures.get(*name).unwrap_or(&Value::Null));
    names.iter().filter(|name| !is_some(name)).map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_that_fall_short_are_named_and_missing_ones_fall_short() {
        let figures = json!({"lost": 0, "twice": 3, "said": 5, "shown": 0});
        let figures = figures.as_object().unwrap();
        assert_eq!(not_zero(figures, &["lost"]), Vec::<String>::new());
        assert_eq!(
            not_zero(figures, &["twice", "gone"]),
            ["twice is 3, but must be 0", "gone is null, but must be 0"]
        );
        assert_eq!(not_some(figures, &["said", "shown"]), ["shown is 0, but must not be 0"]);
    }

    #[test]
    fn every_smoke_has_a_command_line_that_is_understood() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        for line in
            [vec!["soak"], vec!["soak", "--quick", "--crashes", "3"], vec!["soak", "--bit-flips", "5"]]
        {
            assert!(<Line as clap::Parser>::try_parse_from(line).is_ok());
        }
        let both = ["soak", "--crashes", "1", "--drains", "1"];
        assert!(<Line as clap::Parser>::try_parse_from(both).is_err());
    }
}
