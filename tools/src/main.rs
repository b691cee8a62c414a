//! `gs`: Grandstand's tools in one binary.
//!
//! Why so little here: each tool is a module; this file parses the command line and calls one.
//! Exit codes: 0 for success; 1 when a message was lost or refused, or the tool failed; 2 for a wrong command
//! line; 128 and the signal's number after a second signal.
#![forbid(unsafe_code)]

mod audit;
mod chat;
mod clock;
mod demo;
mod load;
mod moderation;
mod replay;
mod say;
mod synth;
mod target;
mod terminal;

use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

/// The node of the demo is measured: it has the allocator that the node's own binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(
    name = "gs",
    version,
    about = "Tools for Grandstand, a real-time chat and fan-out server",
    after_help = "Exit codes: 0 for success; 1 when a message was lost or refused, or the tool failed; 2 for a wrong \
                  command line. `gs TOOL --help` explains every option."
)]
struct Cli {
    #[command(subcommand)]
    command: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Generate load: viewers that check everything they receive, publishers, figures.
    Load(Box<load::Args>),
    /// Compare a node's log with what `gs load --ledger` recorded.
    Audit(audit::Args),
    /// Publish a recorded chat log into a room.
    Replay(replay::Args),
    /// Run a node with a simulated audience on this machine, and watch it.
    Demo(demo::Args),
    /// Chat: follow a room in the terminal and write into it.
    Chat(chat::Args),
    /// Import TV listings, and show the guide.
    #[cfg(feature = "guide")]
    Guide(grandstand_guide_tool::Args),
    /// Word lists: what they catch, would have caught, and should not catch.
    Mod(Box<moderation::Args>),
    /// Generate a chat log with the shapes of real ones.
    Synth(synth::Args),
    /// Write the dictionary of compressed frames (cargo xtask dictionary).
    #[command(hide = true)]
    Dictionary(synth::dictionary::Args),
    /// The demo's node in a process of its own.
    #[command(name = demo::NODE_COMMAND, hide = true)]
    Node(demo::NodeArgs),
    /// Viewers of `gs load` in a process of their own.
    #[command(name = load::CROWD_COMMAND, hide = true)]
    Crowd,
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Tool::Load(args) => block_on(load::run(*args)),
        Tool::Audit(args) => block_on(audit::run(args)),
        Tool::Replay(args) => block_on(replay::run(args)),
        Tool::Demo(args) => block_on(demo::run(args)),
        Tool::Chat(args) => block_on(chat::run(args)),
        #[cfg(feature = "guide")]
        Tool::Guide(args) => grandstand_guide_tool::run(&args, &mut |text| say::result(text)),
        Tool::Mod(args) => block_on(moderation::run(*args)),
        Tool::Synth(args) => block_on(synth::run(args)).map(|()| true),
        Tool::Dictionary(args) => synth::dictionary::run(&args).map(|()| true),
        Tool::Node(args) => demo::run_node(&args).map(|()| true),
        Tool::Crowd => load::run_crowd_process().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::notice(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The command line. A negative number is a value that an option refuses with its bounds, not an unknown
/// flag.
fn command() -> Command {
    let reads_negative = |tool: Command| {
        tool.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
    };
    let cli = Cli::command();
    cli.mut_subcommands(reads_negative)
}

/// Run a tool on one thread.
fn block_on<T>(tool: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, tool)
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::time::Duration;

    use clap::error::ErrorKind;

    use super::*;

    /// What is required beside the option that is tried.
    const REQUIRED: [(&str, &[&str]); 3] =
        [("replay", &["log.jsonl"]), ("audit", &["ledger"]), ("dictionary", &["file"])];

    fn parse(tool: &str, option: &str, value: &str) -> Result<(), clap::Error> {
        let option = format!("--{option}={value}");
        let required =
            REQUIRED.iter().find(|(name, _)| *name == tool).map_or(&[][..], |(_, required)| required);
        // A speed needs something to play.
        let replay: &[&str] =
            if tool == "load" && option.starts_with("--speed") { &["--replay=log"] } else { &[] };
        let line = [&["gs", tool, &option][..], replay, required].concat();
        command().try_get_matches_from(line).map(drop)
    }

    /// Every option of every tool that takes a number, a share or a time.
    fn numeric() -> Vec<(String, String)> {
        let number = [
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<f64>(),
            TypeId::of::<Duration>(),
        ];
        let mut options = Vec::new();
        for tool in command().get_subcommands() {
            for arg in tool.get_opts() {
                let of = arg.get_value_parser().type_id();
                if number.iter().any(|id| of == *id) {
                    options.push((tool.get_name().to_owned(), arg.get_long().unwrap().to_owned()));
                }
            }
        }
        options
    }

    #[test]
    fn every_number_has_bounds_and_an_error_that_names_them_with_a_reason() {
        let options = numeric();
        assert!(options.len() >= 30, "{options:?}");
        for (tool, option) in &options {
            for absurd in ["-1", "-0.5", "nan", "inf", "1e300", "99999999999999999999999999", "many", "", " "]
            {
                let error = parse(tool, option, absurd).unwrap_err();
                let told = error.to_string();
                let is_named =
                    told.contains(&format!("'--{option} <")) && told.contains(&format!("'{absurd}'"));
                assert_eq!(error.exit_code(), 2);
                assert!(is_named || absurd.is_empty(), "{tool} --{option} {absurd:?}: {told}");
                let (_, rule) = told.split_once("expected a").unwrap_or_else(|| panic!("{tool}: {told}"));
                assert!(rule.contains(" from ") && rule.contains(" to "), "{tool} --{option}: {told}");
            }
        }
    }

    /// Tool, option, the last value below the range, the first and the last in it, the first above it. An
    /// empty text stands for none.
    const RANGES: [(&str, &str, [&str; 4]); 39] = [
        ("load", "viewers", ["0", "1", "4000000", "100000000"]),
        ("load", "ws-viewers", ["", "0", "4000000", "4000001"]),
        ("load", "quic-viewers", ["", "0", "4000000", "4000001"]),
        ("load", "rooms", ["0", "1", "100000", "100001"]),
        ("load", "quic", ["", "0%", "100%", "101%"]),
        ("load", "churn", ["", "0", "1", "1.1"]),
        ("load", "ramp", ["0", "0.1", "100000", "100001"]),
        ("load", "reactions", ["", "0", "1000000", "1000001"]),
        ("load", "stall", ["", "0", "4000000", "4000001"]),
        ("load", "stall-for", ["0", "1ms", "1h", "2h"]),
        ("load", "stall-at", ["", "0s", "720h", "721h"]),
        ("load", "drop-viewer", ["", "0", "100000", "100001"]),
        ("load", "publishers", ["", "0", "10000", "10001"]),
        ("load", "rate", ["0", "0.001", "1000000", "1000001"]),
        ("load", "size", ["33", "34", "4096", "4097"]),
        ("load", "hold", ["0s", "1ms", "720h", "721h"]),
        ("load", "speed", ["0", "0.001", "1000000", "1000001"]),
        ("load", "pid", ["0", "1", "4194304", "4194305"]),
        ("load", "processes", ["0", "1", "200", "201"]),
        ("load", "seed", ["", "0", "18446744073709551615", "18446744073709551616"]),
        ("load", "settle", ["", "0s", "1h", "61m"]),
        ("replay", "speed", ["0", "0.001", "1000000", "1000001"]),
        ("replay", "hold", ["0s", "1ms", "720h", "721h"]),
        ("demo", "viewers", ["1", "2", "4000000", "100000000"]),
        ("demo", "nodes", ["0", "1", "3", "4"]),
        ("demo", "seconds", ["0", "1ms", "24h", "25h"]),
        ("demo", "ramp", ["0", "0.1", "100000", "100001"]),
        ("demo", "rate", ["0", "0.001", "1000", "1001"]),
        ("demo", "seed", ["", "0", "18446744073709551615", "18446744073709551616"]),
        ("chat", "replay", ["", "0", "100000", "100001"]),
        ("synth", "minutes", ["0", "0.01", "10080", "10081"]),
        ("synth", "viewers", ["0", "1", "1000000000", "1000000001"]),
        ("synth", "rate", ["0", "0.001", "100000", "100001"]),
        ("synth", "seed", ["", "0", "18446744073709551615", "18446744073709551616"]),
        ("synth", "bursts", ["", "0", "3600", "3601"]),
        ("synth", "bans", ["", "0", "6000", "6001"]),
        ("chat", "replay", ["-1", "50", "200", "1e6"]),
        ("load", "viewers", ["-5", "100", "20000", "1e9"]),
        ("load", "size", ["0", "60", "2000", "65536"]),
    ];

    #[test]
    fn every_range_is_in_the_table_and_is_as_it_says() {
        for (tool, option, [below, first, last, above]) in RANGES {
            for good in [first, last] {
                let parsed = parse(tool, option, good);
                assert!(parsed.is_ok(), "{tool} --{option} {good}: {}", parsed.unwrap_err());
            }
            for bad in [below, above].into_iter().filter(|bad| !bad.is_empty()) {
                let error = parse(tool, option, bad).expect_err(option);
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{tool} --{option} {bad}: {error}");
            }
        }
        for (tool, option) in numeric() {
            let is_there = RANGES.iter().any(|(t, o, _)| *t == tool && *o == option);
            assert!(is_there, "{tool} --{option} is missing in the table");
        }
    }
}
