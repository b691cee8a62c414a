//! `rounds`: a soak of one node, with rounds of an audience that misbehaves in every way that the protocol
//! allows.
//!
//! The room is on disk, with a retention that takes effect within the first rounds.
//! Why rounds: when all viewers have left, a node must hold as much memory as before. Memory that it does not
//! free is a leak, which is easier to see between rounds than under load. A round begins with all viewers
//! joining at once.
//! Invariant: every figure is printed by name, good or bad; the run fails if a figure misses its limit.
//! Not here: the checks of a viewer (`gs load`), invalid input (`edge/node/tests/hostile.rs`), speed
//! (`bench`).

use crate::load::Load;
use crate::programs::Programs;
use crate::run::target_dir;
use anyhow::{Context, Result};
use grandstand_harness::http::metric;
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::process;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Outcome, not_some, not_zero};

/// How often the node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// For the last connections to end, once everybody has left: QUIC drains for a few round trips.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// What resident memory may grow by between the middle of a run and its end, each the median of a quarter of
/// the idle moments: the log's thread moves what it journalled every 20 s, and what it needs for that comes
/// and goes. A leak of one kilobyte per connection shows within ten rounds.
const GROWTH_BYTES_MAX: i64 = 8 << 20;

/// The same in a run that is too short to tell growth from warming up: 3 MB of buffers on their way to their
/// bounds, 9 MB that the log thread's allocator keeps for a while after its first move.
const WARMING_BYTES_MAX: i64 = 14 << 20;

/// Idle moments from which on a run is long enough.
const ROUNDS_FOR_GROWTH: usize = 8;

/// Open files with a name: three connections to the database with two files each and an index that they
/// share, a lock, two files of the recorder, the node's words twice, /dev/null; and what a connection opens
/// anew after a fault.
const NAMED_FILES_MAX: u64 = 20;

/// The history in memory and the log on disk reach their bounds within the first rounds, so that growth
/// afterwards is neither.
const KEYS: [(&str, &str); 3] =
    [("rooms.history_bytes_max", "262144"), ("log.room_mb", "8"), ("log.node_mb", "16")];

/// What the log's files may grow by from the middle idle moment to the last: a write-ahead log and pages that
/// wait to be used again.
const DATABASE_GROWTH_BYTES_MAX: i64 = 8 << 20;

/// Figures of `gs load` that are added up over the rounds.
const SUMMED: [&str; 17] = [
    "joins",
    "messages",
    "frames",
    "deliveries",
    "lost",
    "duplicated",
    "out_of_order",
    "wrong",
    "unacknowledged",
    "unsettled",
    "gaps",
    "gap_messages",
    "churned",
    "drops",
    "resumes",
    "reactions_sent",
    "disconnects",
];

/// Figures that must be 0.
const ZERO: [&str; 12] = [
    "lost",
    "duplicated",
    "out_of_order",
    "wrong",
    "unacknowledged",
    "unsettled",
    "disconnects",
    "connections_left",
    "files_left",
    "panics",
    "errors_logged",
    "exit_code",
];

/// Figures that must not be 0, or the run has not done what it is for.
const SOME: [&str; 6] = ["messages", "deliveries", "churned", "drops", "resumes", "reactions_sent"];

/// See the module's head.
pub(super) fn go(programs: &Programs, seconds: u64, viewers: u64) -> Result<Outcome> {
    // Two rounds at least: growth is what the second adds.
    let hold_s = (seconds / 2).clamp(1, 30);
    let plan = Plan { viewers, hold: Duration::from_secs(hold_s), rounds: (seconds / hold_s).max(2) };
    let figures = soak(programs, &plan).context("the node's log: target/soak/node.txt")?;
    let faults = faults(&figures);
    Ok(Outcome { figures, faults })
}

/// The plan of a run.
struct Plan {
    viewers: u64,
    hold: Duration,
    rounds: u64,
}

/// Observations of the node.
#[derive(Default)]
struct Seen {
    before: Held,
    /// The highest of each.
    most: Held,
    /// Between rounds: seconds since the start, what it held, and bytes of its log's files.
    idle: Vec<(f64, Held, u64)>,
    connections_left: u64,
    files_left: u64,
}

fn soak(programs: &Programs, plan: &Plan) -> Result<Map<String, Value>> {
    let log_dir = target_dir().join("soak/log");
    if log_dir.exists() {
        fs::remove_dir_all(&log_dir)?;
    }
    let log = log_dir.to_string_lossy().into_owned();
    let base = NodePlan::new(&programs.node()).log(target_dir().join("soak/node.txt")).key("log.dir", &*log);
    let node = Node::start(&KEYS.into_iter().fold(base, |plan, (key, value)| plan.key(key, value)))?;
    let begin = Instant::now();
    let mut seen = Seen { before: settled(&node)?, ..Seen::default() };
    let mut reports = Vec::new();
    for number in 1..=plan.rounds {
        eprintln!(
            "round {number} of {}: {} viewers for {} s",
            plan.rounds,
            plan.viewers,
            plan.hold.as_secs()
        );
        let of_round = round(programs, &node, plan, &mut seen)?;
        of_round.iter().for_each(|report| eprintln!("round {number}: {report}"));
        reports.extend(of_round);
        wait_until_idle(&node, &mut seen)?;
        seen.idle.push((begin.elapsed().as_secs_f64(), held(&node)?, bytes_of_files(&log_dir)?));
    }
    let mut figures = sums(&reports);
    figures.insert("seconds".into(), json!(begin.elapsed().as_secs_f64().round()));
    figures.insert("rounds".into(), json!(seen.idle.len()));
    figures.insert("viewers".into(), json!(plan.viewers));
    seen.tell(&mut figures);
    let ended = node.stop()?;
    figures.insert("panics".into(), json!(ended.log.matches("panicked").count()));
    let errors = ended.log.lines().filter(|line| line.contains(" ERROR ")).count();
    figures.insert("errors_logged".into(), json!(errors));
    // A process that a signal ended has no code.
    figures.insert("exit_code".into(), json!(ended.status.code()));
    figures.insert("stop_ms".into(), json!(ended.took.as_millis() as u64));
    Ok(figures)
}

/// The resources of a node at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    resident_bytes: u64,
    files: u64,
    named_files: u64,
}

fn held(node: &Node) -> Result<Held> {
    let (resident_bytes, files) = (process::sample(node.pid())?.resident_bytes, process::files(node.pid())?);
    Ok(Held { resident_bytes, files: files.unnamed, named_files: files.named })
}

/// Connections that it counts, of all transports.
fn connections(node: &Node) -> Result<u64> {
    let counted = metric(node.address("http://")?, "grandstand_connections")?;
    Ok(counted.context("the node's metrics have no grandstand_connections")? as u64)
}

/// What a node that has just begun holds: its threads open files of their own, and some come after its word
/// that it is ready.
fn settled(node: &Node) -> Result<Held> {
    let mut before = held(node)?;
    loop {
        connections(node)?;
        thread::sleep(LOOK_EVERY);
        let now = held(node)?;
        if (now.files, now.named_files) == (before.files, before.named_files) {
            return Ok(now);
        }
        before = now;
    }
}

/// One round: all viewers join, watch and leave, with a burst of others in between.
fn round(programs: &Programs, node: &Node, plan: &Plan, seen: &mut Seen) -> Result<Vec<Value>> {
    let urls = ["ws://", "wss://", "quic://"]
        .map(|scheme| node.url(scheme))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut crowd = Load::start(&programs.gs(), &urls, plan.hold, &crowd_args(plan))?;
    // One second for the joins; then it begins while some are stalled.
    let burst_at = Instant::now() + Duration::from_secs(1) + plan.hold / 5;
    let mut burst = None;
    while !crowd.has_ended()? {
        if burst.is_none() && Instant::now() > burst_at {
            burst = Some(Load::start(&programs.gs(), &urls, plan.hold / 2, &burst_args(plan))?);
        }
        seen.look(node)?;
        thread::sleep(LOOK_EVERY);
    }
    let burst = burst.map(Load::figures).transpose()?;
    Ok([crowd.figures()?].into_iter().chain(burst).collect())
}

fn crowd_args(plan: &Plan) -> Vec<(&'static str, String)> {
    let ms = |time: Duration| format!("{}ms", time.as_millis());
    vec![
        ("--room", "soak".into()),
        ("--viewers", plan.viewers.to_string()),
        ("--ramp", plan.viewers.to_string()),
        ("--publishers", "5".into()),
        ("--rate", "15".into()),
        ("--reactions", "20".into()),
        // In a round of 30 s, half of them leave and come back; in a short one, enough to see.
        ("--churn", "100%".into()),
        ("--stall", (plan.viewers / 20).to_string()),
        ("--stall-at", ms(plan.hold / 5)),
        ("--stall-for", ms(plan.hold / 2)),
        ("--drop-viewer", plan.hold.as_secs().to_string()),
    ]
}

/// Long texts, fast enough that a stalled viewer misses more than any window on the way holds (128 KiB over
/// QUIC), and no faster than two CPUs carry to so many. Each session speaks 3 times a second, under its
/// limit.
fn burst_args(plan: &Plan) -> Vec<(&'static str, String)> {
    let publishers = (4000 / plan.viewers.max(1)).clamp(10, 35);
    vec![
        ("--room", "soak".into()),
        ("--viewers", "10".into()),
        ("--publishers", publishers.to_string()),
        ("--rate", (publishers * 3).to_string()),
        ("--size", "1900".into()),
    ]
}

/// Waits for the node to hold what it held before; what it does not give back is noted.
fn wait_until_idle(node: &Node, seen: &mut Seen) -> Result<()> {
    let deadline = Instant::now() + IDLE_MAX;
    loop {
        let (connections, files) = (connections(node)?, held(node)?.files);
        let is_idle = connections == 0 && files <= seen.before.files;
        if is_idle || Instant::now() > deadline {
            seen.connections_left = seen.connections_left.max(connections);
            seen.files_left = seen.files_left.max(files.saturating_sub(seen.before.files));
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
}

impl Seen {
    fn look(&mut self, node: &Node) -> Result<()> {
        let now = held(node)?;
        self.most.resident_bytes = self.most.resident_bytes.max(now.resident_bytes);
        self.most.files = self.most.files.max(now.files);
        self.most.named_files = self.most.named_files.max(now.named_files);
        Ok(())
    }

    fn tell(&self, figures: &mut Map<String, Value>) {
        let resident: Vec<(f64, f64)> =
            self.idle.iter().map(|(at, s, _)| (*at, s.resident_bytes as f64)).collect();
        let database: Vec<u64> = self.idle.iter().map(|(_, _, bytes)| *bytes).collect();
        let later = database.get(database.len() / 2).zip(database.last());
        let database_growth = later.map_or(0, |(middle, last)| *last as i64 - *middle as i64);
        let idle: Vec<u64> = self.idle.iter().map(|(_, sample, _)| sample.resident_bytes).collect();
        let growth = growth(&idle);
        for (name, value) in [
            ("files_before", json!(self.before.files)),
            ("files_max", json!(self.most.files)),
            ("files_left", json!(self.files_left)),
            ("named_files_before", json!(self.before.named_files)),
            ("named_files_max", json!(self.most.named_files)),
            ("connections_left", json!(self.connections_left)),
            ("resident_before_bytes", json!(self.before.resident_bytes)),
            ("resident_max_bytes", json!(self.most.resident_bytes)),
            ("resident_idle_bytes", json!(idle)),
            ("resident_growth_bytes", json!(growth)),
            ("resident_bytes_per_minute", json!((slope(&resident) * 60.0).round() as i64)),
            (
                "resident_later_bytes_per_minute",
                json!((slope(&resident[resident.len() / 2..]) * 60.0).round() as i64),
            ),
            ("files_idle", json!(self.idle.iter().map(|(_, s, _)| s.files).collect::<Vec<_>>())),
            ("database_idle_bytes", json!(database)),
            ("database_later_growth_bytes", json!(database_growth)),
        ] {
            figures.insert(name.into(), value);
        }
    }
}

/// From the second quarter to the last, by their medians; in a short run from the first to the last.
fn growth(idle: &[u64]) -> i64 {
    if idle.len() < ROUNDS_FOR_GROWTH {
        return idle.first().zip(idle.last()).map_or(0, |(first, last)| *last as i64 - *first as i64);
    }
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2] as i64
    };
    let quarter = idle.len() / 4;
    median(&idle[idle.len() - quarter..]) - median(&idle[quarter..2 * quarter])
}

/// Bytes of the files in a folder, without those in folders in it.
fn bytes_of_files(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        // A file that went meanwhile has none.
        bytes += entry?.metadata().map_or(0, |facts| if facts.is_file() { facts.len() } else { 0 });
    }
    Ok(bytes)
}

/// The least-squares slope of points (x, y); 0 where there is none.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let across: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let along: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if along > 0.0 { across / along } else { 0.0 }
}

/// The loads' figures, added up; of latencies the worst, of what they found wrong everything.
fn sums(reports: &[Value]) -> Map<String, Value> {
    let number = |value: &Value| match value {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).sum(),
        other => other.as_u64().unwrap_or(0),
    };
    let sum = |name: &str| reports.iter().map(|report| number(&report[name])).sum::<u64>();
    let mut figures: Map<String, Value> =
        SUMMED.iter().map(|name| ((*name).to_owned(), json!(sum(name)))).collect();
    for name in ["p50_us", "p99_us", "p999_us", "max_us"] {
        let worst = reports.iter().map(|report| number(&report[name])).max();
        figures.insert(format!("worst_{name}"), json!(worst));
    }
    let faults = reports.iter().filter_map(|report| report["faults"].as_array()).flatten().cloned().collect();
    figures.insert("load_faults".into(), Value::Array(faults));
    figures
}

/// The shortfalls, in words.
fn faults(figures: &Map<String, Value>) -> Vec<String> {
    let say = |name: &str, must: &str| {
        format!("{name} is {}, but must {must}", figures.get(name).unwrap_or(&Value::Null))
    };
    let mut faults = not_zero(figures, &ZERO);
    faults.extend(not_some(figures, &SOME));
    let rounds = figures.get("rounds").and_then(Value::as_u64).unwrap_or(0);
    let is_long = rounds >= ROUNDS_FOR_GROWTH as u64;
    let bounded = [
        ("resident_growth_bytes", if is_long { GROWTH_BYTES_MAX } else { WARMING_BYTES_MAX }),
        ("database_later_growth_bytes", DATABASE_GROWTH_BYTES_MAX),
        ("named_files_max", NAMED_FILES_MAX as i64),
    ];
    let bounded = bounded.into_iter().filter_map(|(name, most)| {
        let is_over = figures.get(name).and_then(Value::as_i64).is_none_or(|value| value > most);
        is_over.then(|| say(name, &format!("be at most {most}")))
    });
    let of_loads = figures.get("load_faults").and_then(Value::as_array).into_iter().flatten();
    let of_loads = of_loads.map(|fault| format!("gs load: {}", fault.as_str().unwrap_or_default()));
    faults.extend(bounded.chain(of_loads));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Map<String, Value> {
        let report = json!({
            "joins": 1, "messages": 5, "deliveries": 9, "churned": 1, "drops": 1, "resumes": 1, "reactions_sent": 1,
            "disconnects": {}, "faults": [], "p99_us": 7,
        });
        let mut figures = sums(&[report.clone(), report]);
        Seen::default().tell(&mut figures);
        figures.insert("rounds".into(), json!(ROUNDS_FOR_GROWTH));
        for name in ["panics", "errors_logged", "exit_code"] {
            figures.insert(name.into(), json!(0));
        }
        figures
    }

    #[test]
    fn figures_are_summed_and_a_good_run_has_no_faults() {
        let figures = good();
        assert_eq!((&figures["messages"], &figures["worst_p99_us"]), (&json!(10), &json!(7)));
        assert_eq!(faults(&figures), Vec::<String>::new());
    }

    #[test]
    fn every_figure_that_falls_short_is_named() {
        let bad = |name: &str, value: Value| {
            let mut figures = good();
            figures.insert(name.into(), value);
            faults(&figures)
        };
        for name in ZERO {
            assert_eq!(bad(name, json!(1)), [format!("{name} is 1, but must be 0")]);
        }
        for name in SOME {
            assert_eq!(bad(name, json!(0)), [format!("{name} is 0, but must not be 0")]);
        }
        // Ended by a signal.
        assert_eq!(bad("exit_code", Value::Null), ["exit_code is null, but must be 0"]);
        assert_eq!(bad("resident_growth_bytes", json!(9 << 20)).len(), 1);
        assert_eq!(bad("named_files_max", json!(21)).len(), 1);
        assert_eq!(bad("database_later_growth_bytes", json!(9 << 20)).len(), 1);
        assert_eq!(bad("load_faults", json!(["3 messages lost"])), ["gs load: 3 messages lost"]);
    }

    #[test]
    fn growth_is_between_medians_of_quarters_and_a_short_run_may_warm_up() {
        // A sawtooth is no growth, nor is what came before the second quarter.
        assert_eq!(growth(&[10, 30, 52, 50, 51, 60, 50, 51]), 51 - 52);
        assert_eq!(growth(&[50, 50, 60, 60, 70, 70, 80, 80]), 20);
        assert_eq!((growth(&[]), growth(&[1]), growth(&[5, 4, 9])), (0, 0, 4));
        let mut figures = good();
        figures.insert("resident_growth_bytes".into(), json!(13 << 20));
        figures.insert("rounds".into(), json!(2));
        assert_eq!(faults(&figures), Vec::<String>::new());
    }

    #[test]
    fn disconnects_are_counted_over_their_reasons() {
        let figures = sums(&[json!({"disconnects": {"timeout": 2, "reset": 3}})]);
        assert_eq!(figures["disconnects"], 5);
    }

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!((slope(&[]), slope(&[(1.0, 1.0)])), (0.0, 0.0));
    }
}
