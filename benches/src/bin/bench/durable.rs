//! `durable`: a bench of rooms on disk beside rooms in memory, in one run: the cost of never losing an
//! acknowledged message.
//!
//! Method: 5,000 messages/s over 500 rooms of four viewers, one of whom publishes in each room, on a fresh
//! node for each window. Windows of `memory` and `disk` take turns, so that a change of the machine's speed
//! affects both, and their times are added up. An acknowledgement of `memory` comes when the batch is sealed,
//! one of `disk` when it is synced; the time of a bare sync on the same disk is shown beside it. Bytes
//! written are the kernel's count for the process (`write_bytes`): the log's files, without the crash log,
//! which is in memory. The bench fails when delivery in `disk` rooms takes over 1.2 times as long (p50 and
//! p99): the disk must not delay fan-out. It also fails when a message is lost or refused.
//! Not here: crashes (`cargo xtask soak --crashes`), full and slow disks (the node's own tests).

use anyhow::{Context, Result, ensure};
use grandstand_benches::cpu::Meter;
use grandstand_benches::fixture::{Fixture, PATIENCE, Publications, come, plan as node_plan, publish_all};
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::lean_clients::protocol::Role;
use grandstand_benches::plan::Plan;
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};
use grandstand_harness::histogram::Times;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest latency in `disk` rooms, as a multiple of that in `memory` rooms.
const LATENCY_TIMES_MAX: f64 = 1.2;

/// Bytes of a text.
const TEXT_BYTES: usize = 100;

/// Viewers of a room, its speaker among them.
const VIEWERS: usize = 4;

/// Before a window is measured: caches and the tick find their pace.
const WARM_UP: Duration = Duration::from_secs(1);

/// Syncs of the yardstick, and the bytes of each: a page of the database.
const SYNCS: usize = 100;
const SYNC_BYTES: usize = 4096;

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    rooms: usize,
    per_s: f64,
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

/// Runs it. It fails when a message was lost or refused, or the node did not start.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.cores()?.server;
    let folders = Folders::make()?;
    let mut rows = Rows::new();
    for per_s in plan.choose(&plan.rate, &[5_000], &[200]) {
        for tick_ms in plan.choose(&plan.tick_ms, &[0], &[0]) {
            let sizes = Sizes { core, rooms: plan.size(500, 20), per_s: per_s as f64, tick_ms };
            rows.extend(compare(plan, &sizes, &folders)?);
        }
    }
    Ok(rows)
}

fn compare(plan: &Plan, sizes: &Sizes, folders: &Folders) -> Result<[Row; 2]> {
    let (mut memory, mut disk, mut syncs) = (Sum::default(), Sum::default(), Times::default());
    for turn in 0..plan.size(3, 1) {
        window(plan, sizes, None, &mut memory)?;
        sync_bare(&folders.log, &mut syncs)?;
        let log = folders.log.join(format!("log-{turn}"));
        window(plan, sizes, Some((&log, &folders.recorder)), &mut disk)?;
    }
    let memory = noted(figures(sizes, "memory", &memory));
    let syncs = syncs.summary();
    let mut disk = figures(sizes, "disk", &disk)
        .with("bare_sync_p50_ms", ms2(syncs.p50_us))
        .with("bare_sync_p99_ms", ms2(syncs.p99_us));
    let mut over = Vec::new();
    for (name, of) in [("p50", "p50_ms"), ("p99", "p99_ms"), ("cpu", "cpu_us_per_message")] {
        let (name, times) = (format!("{name}_beside_memory"), ratio(disk.number(of), memory.number(of)));
        disk.set(&name, times.clone());
        if name != "cpu_beside_memory" && times.as_f64().is_some_and(|times| times > LATENCY_TIMES_MAX) {
            over.push(format!("{name} is {times} and may be {LATENCY_TIMES_MAX}"));
        }
    }
    if !plan.quick && !over.is_empty() {
        disk = disk.failed(over.join(", "));
    }
    Ok([memory, noted(disk)])
}

/// One window on a node of its own; with a log and a crash log there, or in memory.
fn window(plan: &Plan, sizes: &Sizes, log: Option<(&Path, &Path)>, sum: &mut Sum) -> Result<()> {
    let mut node = node_plan(sizes.core)?.key("rooms.tick_ms", sizes.tick_ms);
    if let Some((log, recorder)) = log {
        let text = |path: &'_ Path| path.to_str().map(str::to_owned).context("a path of UTF-8");
        node = node.key("log.dir", &*text(log)?).key("log.recorder_dir", &*text(recorder)?);
        node = node.key("rooms.durability", "disk");
    }
    let fixture = Fixture::open(&plan.add_keys(node), None)?;
    let rooms = (0..sizes.rooms).map(|n| format!("room-{n}")).collect();
    let mut clients = fixture.clients(Transport::Ws, rooms)?;
    for client in 0..sizes.rooms * VIEWERS {
        clients.add(Role::Viewer, [client / VIEWERS]);
    }
    come(&mut clients, 0..sizes.rooms * VIEWERS)?;
    let publishers: Vec<_> = (0..sizes.rooms).map(|room| (room * VIEWERS, 0)).collect();
    publish_all(&mut clients, publishers.clone(), sizes.per_s, TEXT_BYTES, WARM_UP)?;

    clients.mark();
    let before = counted(&fixture, log.is_some())?;
    let (meter, began) = (Meter::start(fixture.node.pid())?, Instant::now());
    let mut publications = Publications::new(publishers, sizes.per_s, TEXT_BYTES);
    publications.publish_for(plan.time(), &mut clients)?;
    let seen = clients.settle(PATIENCE)?;
    let (spent, after) = (meter.spent()?, counted(&fixture, log.is_some())?);

    let (answered, sent) = (seen.answers.count, publications.sent);
    ensure!(answered == sent, "{answered} of {sent} were acknowledged at a time that is known");
    ensure!(seen.deliveries == sent * VIEWERS as u64, "{sent} messages, {} deliveries", seen.deliveries);
    ensure!(log.is_none() || after.1 > before.1, "a node with a log commits nothing");
    sum.answers.add(&clients.context().seen.answers);
    sum.fanout.add(&clients.context().seen.latency);
    sum.sent += sent;
    sum.cpu_ns += spent.total_ns();
    sum.written += after.0 - before.0;
    sum.commits += after.1 - before.1;
    sum.seconds += began.elapsed().as_secs_f64();
    sum.user_bytes = sum.user_bytes.max(fixture.held()?.user);
    Ok(())
}

/// Bytes that the node has written and times that it committed so far.
fn counted(fixture: &Fixture, has_log: bool) -> Result<(u64, f64)> {
    let io = fs::read_to_string(format!("/proc/{}/io", fixture.node.pid())).context("the node is gone")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    let written = written.and_then(|bytes| bytes.trim().parse().ok()).context("no write_bytes")?;
    let commits = if has_log { fixture.node.metric("grandstand_store_commits_total")? } else { 0.0 };
    Ok((written, commits))
}

fn figures(sizes: &Sizes, durability: &str, sum: &Sum) -> Row {
    let (answers, fanout, sent) = (sum.answers.summary(), sum.fanout.summary(), sum.sent as f64);
    Row::of([
        ("durability", json!(durability)),
        ("rooms", json!(sizes.rooms)),
        ("viewers", json!(sizes.rooms * VIEWERS)),
        ("tick_ms", json!(sizes.tick_ms)),
    ])
    .with("messages_per_s", rounded(sent / sum.seconds, 0))
    .with("acknowledged_p50_ms", ms2(answers.p50_us))
    .with("acknowledged_p99_ms", ms2(answers.p99_us))
    .with("p50_ms", ms2(fanout.p50_us))
    .with("p99_ms", ms2(fanout.p99_us))
    .with("commits_per_s", rounded(sum.commits / sum.seconds, 1))
    .with("cpu_us_per_message", rounded(sum.cpu_ns as f64 / 1e3 / sent, 1))
    .with("bytes_written_per_message", rounded(sum.written as f64 / sent, 0))
    .with("user_memory_mb", rounded(sum.user_bytes as f64 / 1e6, 1))
    .with("core_share", rounded(sum.cpu_ns as f64 / 1e9 / sum.seconds, 3))
}

fn ms2(us: u64) -> serde_json::Value {
    rounded(us as f64 / 1e3, 2)
}

/// Times the disk's own sync of a page.
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

/// Where logs are: beside this program, on a disk where the temporary folder may be memory; and crash logs:
/// in memory, as by default. Both are removed at the end.
struct Folders {
    log: PathBuf,
    recorder: PathBuf,
}

impl Folders {
    fn make() -> Result<Folders> {
        let here = std::env::current_exe()?;
        let name = format!("grandstand-durable-{}", std::process::id());
        let log = here.parent().context("a program is in a folder")?.join(&name);
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
        // Folders that stay behind are in the build's folder and in memory.
        let _ = fs::remove_dir_all(&self.log);
        let _ = fs::remove_dir_all(&self.recorder);
    }
}
