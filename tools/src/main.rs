//! `gs`: Grandstand's tools in one binary.
//!
//! Why so little here: each tool is a module; this file parses the command line and calls one.
//! Exit codes: 0 for success, 1 when a message was lost or refused or the tool failed, 2 for a wrong command
//! line.
#![forbid(unsafe_code)]

mod audit;
mod chat;
mod clock;
mod demo;
mod load;
mod replay;
mod synth;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The node of the demo is measured: it has the allocator that the node's own binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "gs", version, about = "Tools for Grandstand, a real-time chat and fan-out server")]
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
    /// Generate a chat log with the shapes of real ones.
    Synth(synth::Args),
    /// Write the dictionary of compressed frames (cargo xtask dictionary).
    #[command(hide = true)]
    Dictionary(synth::dictionary::Args),
    /// The demo's node in a process of its own.
    #[command(name = demo::NODE_COMMAND, hide = true)]
    Node,
    /// Viewers of `gs load` in a process of their own.
    #[command(name = load::CROWD_COMMAND, hide = true)]
    Crowd,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Tool::Load(args) => block_on(load::run(*args)),
        Tool::Audit(args) => block_on(audit::run(args)),
        Tool::Replay(args) => block_on(replay::run(args)),
        Tool::Demo(args) => block_on(demo::run(args)),
        Tool::Chat(args) => block_on(chat::run(args)).map(|()| true),
        Tool::Synth(args) => block_on(synth::run(args)).map(|()| true),
        Tool::Dictionary(args) => synth::dictionary::run(&args).map(|()| true),
        Tool::Node => demo::run_node().map(|()| true),
        Tool::Crowd => load::run_crowd_process().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Run a tool on one thread.
fn block_on<T>(tool: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, tool)
}
