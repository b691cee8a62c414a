//! `grandstand-faults`: faults of a real cluster. Three nodes and three NATS servers run in network
//! namespaces of their own, under viewers and publishers with the real client, and are killed, paused, cut
//! off and moved.
//!
//! - `machines`, `network`, `disk`, `system`: what runs where; `crowd`: clients; `checker`: what they saw;
//! - `arena`, `trial`: a fault and what is measured around it; `faults`: their kinds; `report`: figures.
//!
//! Why a program apart from the tests: it needs root, minutes, and a build like those that are given away.
//! Invariants: everything that it makes has its process number in its name and ends with it; what a killed
//! run left is removed by the next; no packet leaves its namespaces.
//! Not here: the same promises in virtual time (`tools/sim`), the demo (`gs demo --nodes 3`).

#![forbid(unsafe_code)]

mod arena;
mod checker;
mod crowd;
mod disk;
mod faults;
mod machines;
mod network;
mod report;
mod system;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use grandstand_harness::numbers::integer;

use arena::{Arena, Scale};
use faults::Fault;
use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much longer pauses may be in a smoke.
const SMOKE_SLOWER: u64 = 4;

/// The exit code for a machine that lacks something.
const LACKING: u8 = 3;

/// Faults of a real cluster: three nodes and three NATS servers in network namespaces, under load.
///
/// Each trial waits until the cluster is steady, does one fault at a random moment, lets everything come
/// back, and compares what every viewer was told with what was acknowledged. It prints a line per trial, and
/// at the end each figure beside its limit. The exit code is 0 if every trial holds, 1 if one falls short, 2
/// for a wrong command line or a trial that could not be carried out, 3 if this machine lacks root or
/// namespaces.
#[derive(Parser)]
#[command(name = "grandstand-faults")]
struct Cli {
    /// Faults to try, by the beginnings of their names; --list shows them.
    faults: Vec<String>,
    /// List the faults, how often a full run does each, and what must hold.
    #[arg(long)]
    list: bool,
    /// All faults, each as often as in a full run: hours.
    #[arg(long, conflicts_with = "faults")]
    all: bool,
    /// The quickest faults, once each, with short holds and four times the limits of time: a minute.
    #[arg(long, conflicts_with_all = ["faults", "all"])]
    smoke: bool,
    /// Trials of each fault; with --all, how often a full run does it.
    #[arg(long, value_name = "N",
        value_parser = integer(1_usize, 100_000, "a fault that is not tried shows nothing"))]
    times: Option<usize>,
    /// Viewers, spread over rooms and nodes.
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = integer(18_usize, 15_000, "one at each node in each room, and the files of one process"))]
    viewers: usize,
    /// Messages a second, all rooms together.
    #[arg(long, value_name = "N", default_value_t = 200,
        value_parser = integer(20_u32, 10_000, "a pause is seen between two messages of a room"))]
    rate: u32,
    /// Keep all trials in this file, and go on from those that it holds already.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Binary of the node; `grandstand` beside this program if none is given.
    #[arg(long, env = "GRANDSTAND_BIN", value_name = "FILE")]
    node: Option<PathBuf>,
    /// Binary of the release before, for rolling upgrades from it and back.
    #[arg(long, value_name = "FILE")]
    old_binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match go(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn go(cli: &Cli) -> Result<ExitCode> {
    let is_wanted = |fault: &Fault| match (cli.smoke, &cli.faults[..]) {
        (true, _) => fault.is_smoke,
        (false, []) => true,
        (false, names) => names.iter().any(|name| fault.name.starts_with(name.as_str())),
    };
    let mut wanted: Vec<Fault> = faults::all().into_iter().filter(is_wanted).collect();
    if cli.smoke {
        wanted.iter_mut().for_each(|fault| fault.limits = fault.limits.slower(SMOKE_SLOWER));
    }
    ensure!(!wanted.is_empty(), "no fault has a name with such a beginning; --list shows them");
    if cli.list {
        for fault in &wanted {
            println!("{:<22}{:>4} times  {}", fault.name, fault.times, fault.what);
            println!("{:<34}must hold: {}", "", fault.limits.sentence());
        }
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        cli.smoke || cli.all || !cli.faults.is_empty(),
        "name faults (--list shows them), or give --all or --smoke"
    );
    let missing = system::missing();
    if !missing.is_empty() {
        println!("missing: {}", missing.join("; "));
        return Ok(ExitCode::from(LACKING));
    }
    system::sweep()?;
    grandstand_harness::process::raise_file_limit();
    let node = cli.node.clone().map_or_else(grandstand_harness::node::binary, Ok)?;
    let scale = Scale {
        binary: arena::program(&node)?,
        old_binary: cli.old_binary.as_deref().map(arena::program).transpose()?,
        viewers: cli.viewers,
        rate: cli.rate.into(),
        is_quick: cli.smoke,
    };
    let version = machines::version(&scale.binary)?;
    let mut report = Report::open(cli.json.as_deref(), version, cli.viewers, cli.rate)?;
    let done = run(cli, &scale, &wanted, &mut report);
    system::remove_folder(&system::folder());
    let all_hold = report.close(&wanted);
    done?;
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Carries out the trials that are still to be made.
fn run(cli: &Cli, scale: &Scale, wanted: &[Fault], report: &mut Report) -> Result<()> {
    let is_interrupted = interrupts()?;
    let mut arena: Option<Arena> = None;
    for fault in wanted {
        let times = cli.times.unwrap_or(if cli.all { fault.times } else { 1 });
        while report.count(fault) < times {
            let mut ready = match arena.take().filter(|arena| arena.has_disks == fault.needs_disks) {
                Some(arena) => arena,
                None => Arena::start(scale, fault.needs_disks, is_interrupted.clone())
                    .context("the cluster does not start")?,
            };
            let number = report.count(fault);
            match trial::carry_out(&mut ready, fault.name, fault.act, number) {
                Ok(mut figures) => {
                    let short = fault.limits.judge(&figures);
                    figures.short.extend(short);
                    report.add(figures)?;
                    arena = Some(ready);
                }
                Err(error) if ready.is_interrupted() => return Err(error),
                Err(error) => {
                    // The next trial gets a new cluster.
                    println!("{}", ready.machines.log_tails());
                    report.add(trial::Figures {
                        fault: fault.name.to_owned(),
                        short: vec![format!("{error:#}")],
                        ..trial::Figures::default()
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Is set when the user asks to stop: what runs ends then in order. A second time ends at once.
fn interrupts() -> Result<Arc<AtomicBool>> {
    let is_set = Arc::new(AtomicBool::new(false));
    let flag = is_set.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut signals: Vec<_> =
                [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
                    .into_iter()
                    .filter_map(|kind| signal(kind).ok())
                    .collect();
            for is_second in [false, true] {
                std::future::poll_fn(|cx| {
                    let is_any = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
                    if is_any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                flag.store(true, Relaxed);
                if is_second {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(is_set)
}
