//! `tallies`: a bench of the node's cost per reaction, beside the bare cost of reading its frame.
//!
//! Method: as many sockets, the same frames in the same writes, at the same rate, go first to a bare loop
//! (epoll, `recv`, walk the frame headers, count) on the node's core, then to a node. A node's cost is the
//! difference to a run in which one viewer reacts just enough that every tick has a tally, since sending a
//! tally to all viewers each tick is the cost of fan-out. Every viewer must receive every reaction's count:
//! if the sums differ, there are no figures.
//! Not here: fan-out (`fanout`).

use anyhow::{Result, ensure};
use grandstand_benches::cpu::{Meter, thread_ns};
use grandstand_benches::fixture::{Fixture, PATIENCE, plan as node_plan};
use grandstand_benches::lean_clients::{LeanClients, Transport};
use grandstand_benches::plan::Plan;
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::process::pin_here;
use grandstand_protocol::frame::{ClientFrame, Encoder, React};
use grandstand_protocol::websocket::{Opcode, write_masked};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use serde_json::json;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// More kinds than a batch tells by name, so that the rest is used as well.
const KEYS: [&str; 20] = [
    "❤", "👏", "😂", "🎉", "🔥", "😮", "😢", "👍", "🙏", "💯", "w", "gg", "lol", "pog", "888", "hype",
    "clap", "nice", "wow", "rip",
];

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    viewers: usize,
    per_s: f64,
    time: Duration,
}

/// A pattern of reactions: the frames in one write, and the reactions in each.
#[derive(Clone, Copy)]
struct Pattern {
    name: &'static str,
    frames: usize,
    count: u32,
}

const PATTERNS: [Pattern; 3] = [
    Pattern { name: "each in a frame and a write of its own", frames: 1, count: 1 },
    Pattern { name: "bursts: eight frames in a write", frames: 8, count: 1 },
    Pattern { name: "gathered by the client: ten in a frame", frames: 1, count: 10 },
];

impl Pattern {
    fn reactions(self) -> u64 {
        self.frames as u64 * u64::from(self.count)
    }
}

/// Runs it. It fails when a reaction was refused or lost.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.cores()?.server;
    let full = Sizes { core, viewers: 5_000, per_s: 200_000.0, time: Duration::from_secs(8) };
    let quick = Sizes { core, viewers: 40, per_s: 2_000.0, time: Duration::from_millis(500) };
    let sizes = plan.size(full, quick);
    let idle = trickle(&sizes)?;
    let idle_ns_per_s = idle.cpu_ns as f64 / idle.time.as_secs_f64();
    PATTERNS.iter().map(|&pattern| one(&sizes, pattern, idle_ns_per_s).map(noted)).collect()
}

fn one(sizes: &Sizes, pattern: Pattern, idle_ns_per_s: f64) -> Result<Row> {
    let floor = floor(sizes, pattern)?;
    let seen =
        react(sizes, sizes.per_s / pattern.reactions() as f64, pattern, sizes.viewers, Duration::ZERO)?;
    let idle_ns = idle_ns_per_s * seen.time.as_secs_f64();
    let ns = (seen.cpu_ns as f64 - idle_ns) / seen.reactions as f64;
    let floor_ns = floor.cpu_ns as f64 / floor.reactions as f64;
    let per_s = |run: &Spent| rounded(run.reactions as f64 / run.time.as_secs_f64(), 0);
    Ok(Row::of([
        ("what", json!(pattern.name)),
        ("viewers", json!(sizes.viewers)),
        ("frames_per_write", json!(pattern.frames)),
        ("reactions_per_frame", json!(pattern.count)),
    ])
    .with("reactions_per_s", per_s(&seen))
    .with("floor_reactions_per_s", per_s(&floor))
    .with("cpu_ns_per_reaction", rounded(ns, 0))
    .with("cpu_ns_per_frame", rounded(ns * f64::from(pattern.count), 0))
    .with("floor_ns_per_frame", rounded(floor_ns * f64::from(pattern.count), 0))
    .with("times_floor", ratio(ns, floor_ns))
    .with("server_cpu_share", rounded(seen.cpu_ns as f64 / seen.time.as_nanos() as f64, 3))
    .with("of_it_fan_out", rounded(idle_ns_per_s / 1e9, 3))
    .with("told_to_each_viewer", seen.reactions))
}

/// The CPU time of a number of reactions.
struct Spent {
    reactions: u64,
    cpu_ns: u64,
    time: Duration,
}

/// Which write is due: spread evenly over viewers and time.
struct Writes {
    began_ns: u64,
    interval_ns: f64,
    done: u64,
}

impl Writes {
    fn new(per_s: f64) -> Writes {
        Writes { began_ns: monotonic_ns(), interval_ns: 1e9 / per_s, done: 0 }
    }

    /// The numbers of those due now; at most a hundred, so that the caller reads in between.
    fn due(&mut self) -> std::ops::Range<u64> {
        let due = ((monotonic_ns() - self.began_ns) as f64 / self.interval_ns) as u64;
        let from = self.done;
        self.done = due.min(from + 100);
        from..self.done
    }
}

/// One viewer reacts twice a tick, which gives the cost of fan-out alone.
fn trickle(sizes: &Sizes) -> Result<Spent> {
    react(sizes, 20.0, PATTERNS[0], 1, Duration::from_millis(1))
}

/// So many writes per second by so many of the viewers in turn, until every viewer was told of every
/// reaction: no more, no less.
fn react(sizes: &Sizes, writes_per_s: f64, pattern: Pattern, by: usize, wait: Duration) -> Result<Spent> {
    let node = node_plan(sizes.core)?;
    let node = node.key("limits.reactions_per_s", 1_000_000).key("limits.reactions_burst", 1_000_000);
    let fixture = Fixture::open(&node, None)?;
    let mut clients = fixture.full_room(Transport::Ws, sizes.viewers)?;
    let counts = vec![pattern.count; pattern.frames];
    let mut writes = Writes::new(writes_per_s);
    let (meter, began) = (Meter::start(fixture.node.pid())?, Instant::now());
    while began.elapsed() < sizes.time {
        for n in writes.due() {
            clients.react(n as usize % by, KEYS[n as usize % KEYS.len()], &counts);
        }
        clients.turn(wait)?;
    }
    let (cpu_ns, time) = (meter.spent()?.total_ns(), began.elapsed());
    let reactions = writes.done * pattern.reactions();
    let deadline = Instant::now() + PATIENCE;
    let least = |clients: &LeanClients| (0..sizes.viewers).map(|n| clients.client(n).reactions).min();
    while least(&clients) < Some(reactions) {
        let seen = &clients.context().seen.counts;
        ensure!(seen.faults() + seen.refused + seen.gaps == 0, "something was lost or refused: {seen:?}");
        ensure!(Instant::now() < deadline, "{:?} of {reactions} told to somebody", least(&clients));
        clients.turn(Duration::from_millis(1))?;
    }
    let exact = (0..sizes.viewers).all(|n| clients.client(n).reactions == reactions);
    ensure!(exact, "somebody was told of more than was sent");
    Ok(Spent { reactions, cpu_ns, time })
}

/// The same writes to a bare loop.
fn floor(sizes: &Sizes, pattern: Pattern) -> Result<Spent> {
    let door = TcpListener::bind(("127.0.0.1", 0))?;
    let address = door.local_addr()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<Spent> {
        let reader = scope.spawn(|| read_bare(&door, sizes, &is_over));
        let written = write_bare(address, sizes, pattern);
        is_over.store(true, Ordering::Release);
        let (frames, cpu_ns) = reader.join().expect("reading does not panic")?;
        let (sent, time) = written?;
        ensure!(frames == sent * pattern.frames as u64, "{frames} frames of {sent} writes");
        Ok(Spent { reactions: sent * pattern.reactions(), cpu_ns, time })
    })
}

fn write_bare(address: SocketAddr, sizes: &Sizes, pattern: Pattern) -> Result<(u64, Duration)> {
    let mut sockets = Vec::with_capacity(sizes.viewers);
    for _ in 0..sizes.viewers {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let texts: Vec<Vec<u8>> = KEYS.iter().map(|key| frames_of(key, pattern)).collect();
    let mut writes = Writes::new(sizes.per_s / pattern.reactions() as f64);
    let began = Instant::now();
    while began.elapsed() < sizes.time {
        for n in writes.due() {
            sockets[n as usize % sizes.viewers].write_all(&texts[n as usize % KEYS.len()])?;
        }
    }
    Ok((writes.done, began.elapsed()))
}

fn frames_of(key: &str, pattern: Pattern) -> Vec<u8> {
    let (mut encoder, mut frame, mut out) = (Encoder::new(), Vec::new(), Vec::new());
    encoder.client(&ClientFrame::React(React { alias: 1, key, count: pattern.count }), &mut frame);
    (0..pattern.frames)
        .for_each(|n| write_masked(Opcode::Binary, &frame, (n as u32).to_ne_bytes(), &mut out));
    out
}

/// Frames that came, and this thread's CPU time from the first to the last.
fn read_bare(door: &TcpListener, sizes: &Sizes, is_over: &AtomicBool) -> Result<(u64, u64)> {
    sizes.core.map_or(Ok(()), pin_here)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::with_capacity(sizes.viewers);
    for n in 0..sizes.viewers {
        let (socket, _) = door.accept()?;
        socket.set_nonblocking(true)?;
        epoll::add(&epoll, &socket, EventData::new_u64(n as u64), EventFlags::IN | EventFlags::ET)?;
        sockets.push((socket, 0usize));
    }
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let (mut frames, mut scratch, begun_ns) = (0, vec![0; 64 * 1024], thread_ns());
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let mut events = [MaybeUninit::<Event>::uninit(); 512];
        let (events, _) = epoll::wait(&epoll, &mut events, Some(&wait))?;
        if was_over && events.is_empty() {
            return Ok((frames, thread_ns() - begun_ns));
        }
        for event in events.iter() {
            let (socket, missing) = &mut sockets[event.data.u64() as usize];
            loop {
                match socket.read(&mut scratch) {
                    Ok(len) => {
                        frames += walk(&scratch[..len], missing);
                        if len < scratch.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Frames that end within these bytes. They are short, masked and written whole; `missing` bytes of the last
/// are to come.
fn walk(bytes: &[u8], missing: &mut usize) -> u64 {
    let (mut at, mut frames) = (*missing, u64::from(*missing > 0 && *missing <= bytes.len()));
    while at < bytes.len() {
        // Writes are whole and far smaller than what a socket holds, so a header is never cut.
        let len = 6 + usize::from(bytes.get(at + 1).copied().unwrap_or(0) & 0x7f);
        at += len;
        frames += u64::from(at <= bytes.len());
    }
    *missing = at - bytes.len();
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_loop_counts_frames_however_they_are_cut() {
        let bytes = frames_of("❤", PATTERNS[1]);
        let len = bytes.len() / 8;
        for cut in [len, 2 * len + 7, 5 * len + 2, bytes.len()] {
            let mut missing = 0;
            let first = walk(&bytes[..cut], &mut missing);
            assert_eq!((first + walk(&bytes[cut..], &mut missing), missing), (8, 0), "cut at {cut}");
        }
    }
}
