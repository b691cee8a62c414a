//! `durable`: rooms on disk beside rooms in memory, in one run: what it costs that nothing acknowledged is
//! lost.
//!
//! Method: 5,000 messages/s over 500 rooms of four viewers, each room spoken in by one of them, on a fresh
//! node for each window. Windows of `memory` and `disk` take turns, so that a machine that changes its pace
//! changes it for both, and their times are added up. An acknowledgement of `memory` comes when the batch is
//! sealed, one of `disk` when it is synced; what a bare sync takes on the same disk stands beside it. Bytes
//! written are the kernel's count for the process (`write_bytes`): the log's files, not the crash log's,
//! which lies in memory.
//! Falls short when people wait over 1.2 times as long for what others say in `disk` rooms (p50 and p99): the
//! disk must not be in the way of fan-out. Nothing may be lost or refused.
//! Not here: crashes (`cargo xtask soak --crashes`), full and slow disks (edge/node/tests/durable).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grandstand_benches::crowd::Transport;
use grandstand_benches::guests::{Listener, Talk};
use grandstand_benches::histogram::Times;
use grandstand_benches::house::{House, PATIENCE, plan as house_plan};
use grandstand_benches::node::Node;
use grandstand_benches::record::{FAULT, Row, Rows, noted, ratio, rounded};

use crate::rooms::settle;
use grandstand_benches::plan::Plan;

/// What people may wait for fan-out in `disk` rooms, as a multiple of `memory`.
const LATENCY_TIMES_MAX: f64 = 1.2;

/// Bytes of a text.
const TEXT_BYTES: usize = 100;

/// Viewers of a room, its speaker among them.
const VIEWERS: usize = 4;

/// Windows of each kind.
const TURNS: usize = 3;

/// Before a window is measured: caches and the tick find their pace.
const WARM_UP: Duration = Duration::from_secs(1);

/// Syncs of the yardstick, and the bytes of each: a page of the database.
const SYNCS: usize = 100;
const SYNC_BYTES: usize = 4096;

/// Sizes of a run.
struct Sizes {
    rooms: usize,
    per_s: f64,
    turns: usize,
    time: Duration,
    tick_ms: u64,
}

/// Windows of one kind, added up.
#[derive(Default)]
struct Sum {
    answers: Times,
    fanout: Times,
    sent: u64,
    cpu_ns: u64,
    written: u64,
    commits: f64,
    seconds: f64,
    user_bytes: u64,
}

/// Runs it.
///
/// # Errors
/// A message was lost or refused, or the node did not start.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.take_cores()?;
    let folder = Folders::make()?;
    let mut rows = Rows::new();
    for &per_s in &plan.choose(&plan.rate, &[5_000], &[200]) {
        for &tick_ms in &plan.choose(&plan.tick_ms, &[0], &[0]) {
            let sizes = Sizes {
                rooms: if plan.quick { 20 } else { 500 },
                per_s: per_s as f64,
                turns: if plan.quick { 1 } else { TURNS },
                time: Duration::from_secs(plan.seconds(10)),
                tick_ms,
            };
            rows.extend(compare(plan, core, &sizes, &folder)?);
        }
    }
    Ok(rows)
}

fn compare(plan: &Plan, core: Option<usize>, sizes: &Sizes, folder: &Folders) -> Result<[Row; 2]> {
    let (mut memory, mut disk, mut syncs) = (Sum::default(), Sum::default(), Times::default());
    for turn in 0..sizes.turns {
        window(plan, core, sizes, None, &mut memory)?;
        sync_bare(&folder.log, &mut syncs)?;
        window(
            plan,
            core,
            sizes,
            Some((&folder.log.join(format!("log-{turn}")), &folder.recorder)),
            &mut disk,
        )?;
    }
    let memory = noted(figures(sizes, "memory", &memory));
    let seen = syncs.summary();
    let mut disk = figures(sizes, "disk", &disk)
        .with("bare_sync_p50_ms", ms(seen.p50_us))
        .with("bare_sync_p99_ms", ms(seen.p99_us));
    for percentile in ["p50", "p99"] {
        let (mine, theirs) =
            (disk.number(&format!("{percentile}_ms")), memory.number(&format!("{percentile}_ms")));
        disk.set(&format!("{percentile}_beside_memory"), ratio(mine, theirs));
    }
    disk.set(
        "cpu_beside_memory",
        ratio(disk.number("cpu_us_per_message"), memory.number("cpu_us_per_message")),
    );
    if !plan.quick
        && let Some(fault) = fault(&disk)
    {
        disk.set(FAULT, fault);
    }
    Ok([memory, noted(disk)])
}

fn fault(disk: &Row) -> Option<String> {
    let over: Vec<String> = ["p50_beside_memory", "p99_beside_memory"]
        .into_iter()
        .filter(|name| disk.number(name) > LATENCY_TIMES_MAX)
        .map(|name| format!("{name} is {} and may be {LATENCY_TIMES_MAX}", disk.number(name)))
        .collect();
    (!over.is_empty()).then(|| over.join(", "))
}

/// One window on a node of its own; with a log there, or in memory.
fn window(
    plan: &Plan,
    core: Option<usize>,
    sizes: &Sizes,
    log: Option<(&Path, &Path)>,
    sum: &mut Sum,
) -> Result<()> {
    let mut node = house_plan(core).key("rooms.tick_ms", sizes.tick_ms);
    if let Some((log, recorder)) = log {
        let text = |path: &'_ Path| path.to_str().map(str::to_owned).context("a path of UTF-8");
        node = node.key("log.dir", &*text(log)?).key("log.recorder_dir", &*text(recorder)?);
        node = node.key("rooms.durability", "disk");
    }
    node.keys.extend(plan.keys.iter().cloned());
    let mut house = House::open(&node)?;
    let names: Vec<Arc<str>> = (0..sizes.rooms).map(|n| format!("room-{n}").into()).collect();
    for guest in 0..sizes.rooms * VIEWERS {
        house.guests.invite(Transport::Ws, vec![names[guest / VIEWERS].clone()]);
    }
    let mut listener = Listener::new(1);
    let all = 0..house.guests.len();
    house.guests.all_come(all, 64, PATIENCE, &mut listener)?;
    let speakers: Vec<_> = (0..sizes.rooms).map(|room| (room * VIEWERS, 0)).collect();

    listener.reset();
    let mut warm_up = Talk::new(speakers.clone(), sizes.per_s, TEXT_BYTES);
    let sent = warm_up.speak_for(WARM_UP, &mut house.guests, &mut listener)?;
    settle(&mut house.guests, &mut listener, sent, |guest| warm_up.sent_by(guest / VIEWERS))?;

    listener.reset();
    let before = Counted::of(&house.node, log.is_some())?;
    let (meter, began) = (house.node.meter()?, Instant::now());
    let mut talk = Talk::new(speakers, sizes.per_s, TEXT_BYTES);
    listener.schedule = Some(talk.schedule((0..sizes.rooms).map(|room| warm_up.sent_by(room)).collect()));
    let sent = talk.speak_for(sizes.time, &mut house.guests, &mut listener)?;
    settle(&mut house.guests, &mut listener, sent, |guest| talk.sent_by(guest / VIEWERS))?;
    let (spent, after) = (meter.spent()?, Counted::of(&house.node, log.is_some())?);

    ensure!(listener.refused == 0, "{} were refused: {}", listener.refused, listener.last_refusal);
    let answered = listener.answers.summary().count;
    ensure!(answered == sent, "{answered} of {sent} were acknowledged at a time that is known");
    ensure!(log.is_none() || after.commits > before.commits, "a node with a log commits nothing");
    sum.answers.add(&listener.answers);
    sum.fanout.add(&listener.latency[0]);
    sum.sent += sent;
    sum.cpu_ns += spent.total_ns();
    sum.written += after.written - before.written;
    sum.commits += after.commits - before.commits;
    sum.seconds += began.elapsed().as_secs_f64();
    sum.user_bytes = sum.user_bytes.max(house.held()?.user);
    Ok(())
}

/// What the node has written and committed so far.
struct Counted {
    written: u64,
    commits: f64,
}

impl Counted {
    fn of(node: &Node, has_log: bool) -> Result<Counted> {
        let io = fs::read_to_string(format!("/proc/{}/io", node.pid())).context("the node is gone")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        let written = written.and_then(|bytes| bytes.trim().parse().ok()).context("no write_bytes")?;
        let commits = if has_log { node.metric("grandstand_store_commits_total")? } else { 0.0 };
        Ok(Counted { written, commits })
    }
}

fn figures(sizes: &Sizes, durability: &str, sum: &Sum) -> Row {
    let (answers, fanout) = (sum.answers.summary(), sum.fanout.summary());
    Row::new()
        .with("durability", durability)
        .with("rooms", sizes.rooms)
        .with("viewers", sizes.rooms * VIEWERS)
        .with("tick_ms", sizes.tick_ms)
        .with("messages_per_s", rounded(sum.sent as f64 / sum.seconds, 0))
        .with("acknowledged_p50_ms", ms(answers.p50_us))
        .with("acknowledged_p99_ms", ms(answers.p99_us))
        .with("p50_ms", ms(fanout.p50_us))
        .with("p99_ms", ms(fanout.p99_us))
        .with("commits_per_s", rounded(sum.commits / sum.seconds, 1))
        .with("cpu_us_per_message", rounded(sum.cpu_ns as f64 / 1e3 / sum.sent as f64, 1))
        .with("bytes_written_per_message", rounded(sum.written as f64 / sum.sent as f64, 0))
        .with("user_memory_mb", rounded(sum.user_bytes as f64 / 1e6, 1))
        .with("core_share", rounded(sum.cpu_ns as f64 / 1e9 / sum.seconds, 3))
}

fn ms(us: u64) -> serde_json::Value {
    rounded(us as f64 / 1e3, 2)
}

/// What the disk itself takes to keep a page.
fn sync_bare(folder: &Path, times: &mut Times) -> Result<()> {
    let path = folder.join("bare");
    let mut file = File::create(&path)?;
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0x5a; SYNC_BYTES])?;
        file.sync_data()?;
        times.record(began.elapsed().as_micros() as u64);
    }
    Ok(fs::remove_file(path)?)
}

/// Where logs lie: beside this program, on a disk where the temporary folder may be memory; and crash logs:
/// in memory, as by default. Both removed at the end.
struct Folders {
    log: PathBuf,
    recorder: PathBuf,
}

impl Folders {
    fn make() -> Result<Folders> {
        let here = std::env::current_exe()?;
        let name = format!("grandstand-durable-{}", std::process::id());
        let log = here.parent().context("a program stands in a folder")?.join(&name);
        let memory = Path::new("/dev/shm");
        let recorder = if memory.is_dir() { memory.join(&name) } else { log.join("recorder") };
        for path in [&log, &recorder] {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Folders { log, recorder })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // What is left behind lies in the build's folder and in memory.
        let _ = fs::remove_dir_all(&self.log);
        let _ = fs::remove_dir_all(&self.recorder);
    }
}
