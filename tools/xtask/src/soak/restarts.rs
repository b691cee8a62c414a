//! `restarts`: a soak that repeatedly kills a node, cuts its power or replaces it during a load.
//!
//! Why one loop for the three: the audience and the requirements are the same; only the end of the node
//! differs. The final comparison covers the answers to publishers, the messages that every viewer was shown,
//! and the log. The log is read over the protocol after the last restart, and by `grandstand verify` after
//! the node has stopped.
//! Invariants: the audience joins before the first stop and stays for a while after the last start; every
//! start is timed.
//! Not here: the comparison (`gs audit`), disks that can be cut (`image`).

use crate::programs::Programs;
use crate::run::target_dir;
use anyhow::{Context, Result, ensure};
use grandstand_harness::node::Node;
use grandstand_harness::random::Random;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::audience::{self, Audience, Durability, Size};
use super::image::Image;
use super::restartable::Restartable;
use super::{Outcome, not_some, not_zero};

/// Rooms, over which viewers and messages are spread.
const ROOMS: u64 = 8;

/// Between a start and the next end: from before the first are back until everybody is and has been for a
/// while.
const LIFE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(4_000));

/// Between drains: the process before leaves over some seconds, and only one takes over at a time.
const LIFE_BETWEEN_DRAINS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(4_000));

/// From the last start to the end of the load.
const CALM: Duration = Duration::from_secs(5);

/// The longest wait for all viewers to join, and for a drained process to end.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A killed node says no goodbye over QUIC: its clients ask at half a heartbeat, and the next process tells
/// them that it does not know them. With the default of 25 s most would sleep through the next kill.
const HEARTBEAT_MS: &str = "2000";

/// Over how long a drained node spreads its clients.
const SPREAD_MS: &str = "2000";

/// The kind of the node's ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Crash,
    PowerCut,
    Drain,
}

/// The plan of a run.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) count: u64,
    pub(super) viewers: u64,
    pub(super) rate: u64,
    pub(super) durability: Durability,
    pub(super) seed: u64,
    pub(super) is_quick: bool,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Crash => "crashes",
            Kind::PowerCut => "power_cuts",
            Kind::Drain => "drains",
        }
    }
}

/// Observations during a run.
#[derive(Default)]
struct Seen {
    /// From the start of a process until it serves.
    serving: Vec<Duration>,
    /// Databases that `grandstand verify` found sound after a power cut, before anybody opened them.
    sound: u64,
    unsound: Vec<String>,
}

/// See the module's head.
pub(super) fn go(programs: &Programs, plan: &Plan) -> Result<Outcome> {
    let name = plan.kind.name();
    let (begin, mut rng) = (Instant::now(), Random::new(plan.seed));
    let directory = target_dir().join("soak").join(name);
    let mut restartable = Restartable::new(&programs.node(), name, &mut rng)?;
    let mut disk = Disk::new(plan.kind, &directory)?;
    disk.put_under(&mut restartable, plan.durability);
    if plan.kind == Kind::Drain {
        restartable.set("drain.spread_ms", SPREAD_MS);
    } else {
        restartable.set("limits.heartbeat_ms", HEARTBEAT_MS);
    }
    let (mut node, _) = restartable.start()?;
    let mut audience = Audience::start(&programs.gs(), &restartable, size(plan), &directory)?;
    wait_for_everybody(&restartable, &mut audience, plan)?;
    let mut seen = Seen::default();
    let (least, most) = if plan.kind == Kind::Drain { LIFE_BETWEEN_DRAINS } else { LIFE };
    for number in 1..=plan.count {
        thread::sleep(rng.between(least, most));
        audience.check()?;
        let restarted = match plan.kind {
            Kind::Crash => crash(node, &mut restartable),
            Kind::PowerCut => cut(node, &mut restartable, &mut disk, programs, &mut seen),
            Kind::Drain => replace(node, &mut restartable),
        };
        let (next, serving) = restarted.with_context(|| format!("{name}, number {number}"))?;
        node = next;
        seen.serving.push(serving);
        eprintln!("{name} {number} of {}: serving after {} ms", plan.count, serving.as_millis());
    }
    thread::sleep(CALM);
    audience.check()?;
    let (load, ledger) = audience.finish()?;
    let flags: &[&str] = if plan.kind == Kind::PowerCut { &[] } else { &["--logs-kept"] };
    let audit = audience::audit(&programs.gs(), &restartable.urls()[0], &ledger, flags)?;
    let ended = node.stop()?;
    let mut figures = figures(plan, &seen, &load, &audit);
    figures.insert("seconds".into(), json!(begin.elapsed().as_secs()));
    figures.insert("panics".into(), json!(restartable.words().matches("panicked").count()));
    figures.insert("exit_code".into(), json!(ended.status.code()));
    if plan.durability == Durability::Disk {
        let (is_sound, said) = audience::verify(programs, &disk.directory())?;
        figures.insert("verify_failed".into(), json!(u64::from(!is_sound)));
        figures.insert("verify".into(), json!(said.lines().last().unwrap_or_default()));
    }
    let faults = faults(plan, &figures, &seen, &load);
    Ok(Outcome { figures, faults })
}

/// The disk of the node's log.
enum Disk {
    Folder(PathBuf),
    Image(Image),
}

impl Disk {
    fn new(kind: Kind, directory: &Path) -> Result<Disk> {
        if kind == Kind::PowerCut {
            return Ok(Disk::Image(Image::new(&directory.join("disk"))?));
        }
        let data = directory.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        Ok(Disk::Folder(data))
    }

    fn directory(&self) -> PathBuf {
        match self {
            Disk::Folder(folder) => folder.clone(),
            Disk::Image(image) => image.place().join("log"),
        }
    }

    fn put_under(&self, restartable: &mut Restartable, durability: Durability) {
        if durability == Durability::Disk {
            restartable.keep_in(&self.directory());
        }
    }
}

fn size(plan: &Plan) -> Size {
    Size {
        viewers: plan.viewers,
        rate: plan.rate,
        rooms: if plan.is_quick { 2 } else { ROOMS },
        durability: plan.durability,
        seed: plan.seed,
        probes: plan.kind == Kind::Drain,
        // Longer than any run of so many restarts takes.
        hold: Duration::from_secs(120 + plan.count * 40),
    }
}

fn wait_for_everybody(restartable: &Restartable, audience: &mut Audience, plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        audience.check()?;
        let here = restartable.metric("grandstand_connections")?.unwrap_or(0.0) as u64;
        if here >= plan.viewers {
            // Its first messages come soon after.
            thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "only {here} of {} viewers came in", plan.viewers);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Kills the node (SIGKILL) and starts it again.
fn crash(node: Node, restartable: &mut Restartable) -> Result<(Node, Duration)> {
    // A node is killed with its value.
    drop(node);
    restartable.start()
}

/// SIGKILL, the disk as it is at that moment, nothing of what was in memory.
fn cut(
    node: Node,
    restartable: &mut Restartable,
    disk: &mut Disk,
    programs: &Programs,
    seen: &mut Seen,
) -> Result<(Node, Duration)> {
    drop(node);
    if let Disk::Image(image) = disk {
        image.cut()?;
    }
    restartable.forget_memory()?;
    let (is_sound, said) = audience::verify(programs, &disk.directory())?;
    seen.sound += u64::from(is_sound);
    if !is_sound {
        seen.unsound.push(said);
    }
    restartable.keep_in(&disk.directory());
    restartable.start()
}

/// Another process with the same configuration, which takes the sockets over; the one before goes by itself.
fn replace(mut old: Node, restartable: &mut Restartable) -> Result<(Node, Duration)> {
    let begin = Instant::now();
    let mut next = restartable.spawn()?;
    while !next.log()?.contains(" ready ") {
        ensure!(next.has_ended()?.is_none(), "the successor ended: {}", next.log()?);
        ensure!(begin.elapsed() < WAIT_MAX, "the successor is not ready: {}", next.log()?);
        thread::sleep(Duration::from_millis(1));
    }
    let serving = begin.elapsed();
    loop {
        if let Some(status) = old.has_ended()? {
            ensure!(status.success(), "the process before ended with {status}");
            return Ok((next, serving));
        }
        ensure!(begin.elapsed() < WAIT_MAX, "the process before does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

fn figures(plan: &Plan, seen: &Seen, load: &Value, audit: &Value) -> Map<String, Value> {
    let mut serving: Vec<u64> = seen.serving.iter().map(|time| time.as_millis() as u64).collect();
    serving.sort_unstable();
    let count = |of: &Value, name: &str| match &of[name] {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).sum(),
        other => other.as_u64().unwrap_or(0),
    };
    let sum = |name: &str, other: &str| count(load, name) + count(audit, other);
    let mut figures = Map::new();
    let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
    put(plan.kind.name(), json!(seen.serving.len()));
    put("viewers", json!(count(load, "viewers")));
    for name in ["published", "acknowledged", "acknowledged_disk", "acknowledged_lost"] {
        put(name, json!(count(audit, name)));
    }
    put("duplicates", json!(sum("duplicated", "duplicates")));
    put(
        "order_differences",
        json!(
            sum("out_of_order", "order_differences")
                + count(load, "order_differences")
                + count(audit, "displaced")
        ),
    );
    put("unnamed_holes", json!(sum("lost", "log_holes")));
    put("wrong", json!(sum("wrong", "wrong")));
    for name in ["unanswered", "uncertain", "log_messages", "log_holes", "epochs", "shown", "shown_and_gone"]
    {
        put(name, json!(count(audit, name)));
    }
    for name in [
        "deliveries",
        "resumes",
        "logs_changed",
        "repeated",
        "retried",
        "gaps",
        "gap_messages",
        "unsettled",
        "refused_connections",
        "probes",
        "probes_refused",
    ] {
        put(name, json!(count(load, name)));
    }
    put("acknowledged_memory_gone", json!(count(audit, "acknowledged_memory_gone")));
    put("longest_silence_ms", json!(count(&load["silence"], "max_us") / 1000));
    put("silence_p50_ms", json!(count(&load["silence"], "p50_us") / 1000));
    put("serving_p50_ms", json!(serving.get(serving.len() / 2)));
    put("serving_max_ms", json!(serving.last()));
    put("ack_p99_ms", json!(count(&load["ack"], "p99_us") / 1000));
    if plan.kind == Kind::PowerCut {
        put("sound", json!(seen.sound));
        put("unsound", json!(seen.unsound.len()));
    }
    figures
}

fn faults(plan: &Plan, figures: &Map<String, Value>, seen: &Seen, load: &Value) -> Vec<String> {
    let mut zero = vec![
        "acknowledged_lost",
        "duplicates",
        "order_differences",
        "unnamed_holes",
        "wrong",
        "panics",
        "exit_code",
    ];
    let mut some = vec![plan.kind.name(), "acknowledged", "deliveries", "log_messages"];
    if plan.durability == Durability::Disk {
        zero.extend(["unanswered", "uncertain", "unsettled", "verify_failed", "acknowledged_memory_gone"]);
        some.push("acknowledged_disk");
    }
    match (plan.kind, plan.durability) {
        (Kind::Crash, Durability::Disk) => zero.push("shown_and_gone"),
        (Kind::Drain, Durability::Disk) => {
            zero.extend(["shown_and_gone", "refused_connections", "probes_refused"]);
            some.push("probes");
        }
        (Kind::PowerCut, _) => {
            zero.push("unsound");
            some.push("logs_changed");
        }
        _ => {}
    }
    let mut faults = not_zero(figures, &zero);
    faults.extend(not_some(figures, &some));
    faults.extend(seen.unsound.iter().map(|said| format!("verify: {said}")));
    if let Some(said) = load["failures"].as_object().filter(|reasons| !reasons.is_empty()) {
        faults.push(format!("viewers failed: {said:?}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: Kind) -> Plan {
        let durability = Durability::Disk;
        Plan { kind, count: 1, viewers: 9, rate: 9, durability, seed: 1, is_quick: true }
    }

    fn good(kind: Kind) -> (Map<String, Value>, Seen) {
        let load = json!({ "viewers": 9, "deliveries": 5, "logs_changed": 1, "probes": 3, "silence": {"max_us": 7_000} });
        let audit = json!({ "published": 5, "acknowledged": 5, "acknowledged_disk": 5, "log_messages": 5 });
        let seen = Seen { serving: vec![Duration::from_millis(80)], sound: 1, unsound: Vec::new() };
        let mut figures = figures(&plan(kind), &seen, &load, &audit);
        for name in ["panics", "exit_code", "verify_failed"] {
            figures.insert(name.into(), json!(0));
        }
        (figures, seen)
    }

    #[test]
    fn a_good_run_has_no_fault_and_every_figure_that_falls_short_is_one() {
        for kind in [Kind::Crash, Kind::PowerCut, Kind::Drain] {
            let (figures, seen) = good(kind);
            assert_eq!(faults(&plan(kind), &figures, &seen, &json!({})), Vec::<String>::new());
            for name in ["acknowledged_lost", "duplicates", "order_differences", "unnamed_holes", "uncertain"]
            {
                let mut bad = figures.clone();
                bad.insert(name.into(), json!(1));
                assert_eq!(faults(&plan(kind), &bad, &seen, &json!({})).len(), 1, "{name}");
            }
        }
        let (mut figures, seen) = good(Kind::Drain);
        assert_eq!((&figures["longest_silence_ms"], &figures["serving_max_ms"]), (&json!(7), &json!(80)));
        figures.insert("probes_refused".into(), json!(1));
        assert_eq!(faults(&plan(Kind::Drain), &figures, &seen, &json!({})).len(), 1);
    }
}
