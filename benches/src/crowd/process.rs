//! The crowd's process: one thread, one epoll, a socket for each viewer.
//!
//! Orders come as lines of JSON on standard input, answers go to standard output; in between, sockets are
//! read into one scratch buffer.
//! Invariants: nothing waits but the epoll; a viewer that fails is closed and counted, and the others go on.
//! Not here: what bytes mean (`viewer`, talks).

use super::line::Line;
use super::link::{Around, Arrived, Shared};
use super::quic::QuicConfig;
use super::stage::Stage;
use super::talk::{self, Place, Seat, Talk};
use super::timers::Timers;
use super::{Answer, CrowdPlan, Joined, Order, Settled, Transport, tls};
use crate::clock::now_ns;
use crate::histogram::Times;
use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes read at once: more than a tick of the busiest room.
const SCRATCH_BYTES: usize = 512 * 1024;

/// Events taken at once.
const EVENTS_MAX: usize = 1_024;

/// Events for which one look at the clock is enough: some 50 µs.
const EVENTS_PER_CLOCK: usize = 16;

/// The epoll's mark of standard input.
const ORDERS: u64 = u64::MAX;

/// How often each viewer says something: well within the 25 s that nodes ask for.
const KEEP_ALIVE_NS: u64 = 15_000_000_000;

/// Runs a crowd until its standard input ends. `more`: the program's own talks.
///
/// # Errors
/// The plan makes no sense, or the system refuses what every program gets.
pub fn serve(more: talk::ByName) -> Result<()> {
    let mut orders = Orders::default();
    let plan = loop {
        if let Some(line) = orders.next() {
            break serde_json::from_str(&line).context("the plan is no plan")?;
        }
        if !orders.read()? {
            return Ok(());
        }
    };
    match House::new(plan, more) {
        Ok(house) => {
            answer(&Answer::Done)?;
            house.run(orders)
        }
        Err(error) => answer(&Answer::Failed(format!("{error:#}"))),
    }
}

fn answer(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// Lines of standard input.
#[derive(Default)]
struct Orders {
    bytes: Vec<u8>,
}

impl Orders {
    fn next(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads what is there; `false` at the end.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 64 * 1024];
        let read = rustix::io::read(rustix::stdio::stdin(), &mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }
}

/// What a line works with; a macro, since a method would borrow the lines as well.
macro_rules! around {
    ($house:ident) => {
        Around {
            path: &$house.plan.path,
            now: $house.now,
            talk: $house.talk.as_mut(),
            stage: &mut $house.stage,
            shared: &mut $house.shared,
        }
    };
}

/// Everything.
struct House {
    plan: CrowdPlan,
    talk: Box<dyn Talk>,
    stage: Stage,
    lines: Vec<Option<Line>>,
    timers: Timers,
    shared: Shared,
    now: Instant,
    marked_ns: u64,
    /// Time spent with what came in since the mark: looking whether anything has is not counted.
    busy_ns: u64,
    joining: Option<Joining>,
    settling: Option<Settling>,
    /// Who says something next, and when the last round began.
    keep_alive_at: usize,
    keep_alive_ns: u64,
}

struct Joining {
    wanted: usize,
    begun: usize,
    in_flight: usize,
    began_ns: u64,
    times: Times,
    joined: Joined,
}

struct Settling {
    heads: Vec<(usize, u64)>,
    began_ns: u64,
    until_ns: u64,
}

impl House {
    fn new(plan: CrowdPlan, more: talk::ByName) -> Result<House> {
        if plan.rooms.is_empty() || plan.rooms_per_viewer == 0 || plan.rooms_per_viewer > plan.rooms.len() {
            bail!("{} rooms for {} of each viewer", plan.rooms.len(), plan.rooms_per_viewer);
        }
        let sessions = if plan.resume_tls { SESSIONS_MAX } else { 0 };
        let (mut tls, mut quic) = (None, None);
        match plan.transport {
            Transport::Ws => {}
            Transport::Wss => tls = Some(Arc::new(tls::config(&[b"http/1.1"], sessions)?)),
            Transport::Quic => quic = Some(QuicConfig::new(sessions)?),
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, rustix::stdio::stdin(), epoll::EventData::new_u64(ORDERS), epoll::EventFlags::IN)?;
        Ok(House {
            talk: talk::by_name(&plan.talk)
                .or_else(|| more(&plan.talk))
                .with_context(|| format!("no talk `{}`", plan.talk))?,
            stage: Stage::new(&plan),
            lines: Vec::new(),
            timers: Timers::default(),
            shared: Shared {
                epoll,
                tls,
                quic,
                scratch: vec![0; SCRATCH_BYTES],
                plain: Vec::new(),
                out: Vec::new(),
            },
            now: Instant::now(),
            marked_ns: now_ns(),
            busy_ns: 0,
            joining: None,
            settling: None,
            keep_alive_at: 0,
            keep_alive_ns: now_ns(),
            plan,
        })
    }

    fn run(mut self, mut orders: Orders) -> Result<()> {
        let (mut events, address) = (Vec::with_capacity(EVENTS_MAX), self.plan.address);
        loop {
            self.pace()?;
            events.clear();
            let wait = self.wait();
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if events.is_empty() {
                continue;
            }
            let began_ns = now_ns();
            for (n, event) in events.iter().enumerate() {
                if n % EVENTS_PER_CLOCK == 0 {
                    self.look_at_the_clock();
                }
                match event.data.u64() {
                    ORDERS if !orders.read()? => return Ok(()),
                    ORDERS => self.orders(&mut orders)?,
                    index => self.ready(index as usize, event.flags, address),
                }
            }
            self.busy_ns += now_ns() - began_ns;
        }
    }

    fn look_at_the_clock(&mut self) {
        (self.stage.now_ns, self.now) = (now_ns(), Instant::now());
    }

    /// How long the kernel may keep us: until the next timer, and never long. Not at all on a core of our
    /// own: whoever writes to a reader that sleeps pays for waking it, over loopback more than for the write
    /// itself, and that is the generator's doing: viewers on a network are woken by their own machines.
    fn wait(&self) -> Timespec {
        if self.plan.core.is_some() {
            return Timespec { tv_sec: 0, tv_nsec: 0 };
        }
        let is_busy = self.joining.is_some() || self.settling.is_some();
        let wait = Duration::from_millis(if is_busy { 1 } else { 50 });
        let next = self.timers.next().map(|at| at.saturating_duration_since(self.now));
        let wait = next.map_or(wait, |next| wait.min(next));
        Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    /// What is due by time: newcomers, signs of life, the end of waiting.
    fn pace(&mut self) -> Result<()> {
        self.look_at_the_clock();
        self.connect_more();
        self.ring();
        self.keep_alive();
        self.end_joining()?;
        self.end_settling()
    }

    fn orders(&mut self, orders: &mut Orders) -> Result<()> {
        while let Some(line) = orders.next() {
            match serde_json::from_str(&line).context("no such order")? {
                Order::Join { viewers } => {
                    self.joining = Some(Joining {
                        wanted: viewers,
                        begun: 0,
                        in_flight: 0,
                        began_ns: now_ns(),
                        times: Times::default(),
                        joined: Joined::default(),
                    });
                }
                Order::Leave { viewers } => {
                    self.lines.truncate(self.lines.len().saturating_sub(viewers));
                    answer(&Answer::Done)?;
                }
                Order::Due { room, first_offset, due_ns } => {
                    self.stage.due.insert(room as u32, (first_offset, due_ns));
                    answer(&Answer::Done)?;
                }
                Order::Mark => {
                    self.stage.mark();
                    (self.marked_ns, self.busy_ns) = (now_ns(), 0);
                    answer(&Answer::Done)?;
                }
                Order::Read => self.read()?,
                Order::Settle { heads, within_ms } => {
                    let began_ns = now_ns();
                    self.settling =
                        Some(Settling { heads, began_ns, until_ns: began_ns + within_ms * 1_000_000 });
                }
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut reading = self.stage.read();
        reading.elapsed_ns = now_ns() - self.marked_ns;
        reading.busy_ns = self.busy_ns;
        reading.viewers =
            self.lines.iter().flatten().filter(|line| line.viewer().seat.is_joined).count() as u64;
        answer(&Answer::Reading(Box::new(reading)))
    }

    fn connect_more(&mut self) {
        while let Some(joining) = &mut self.joining
            && joining.begun < joining.wanted
            && joining.in_flight < self.plan.in_flight_max
        {
            joining.begun += 1;
            joining.in_flight += 1;
            let (index, seat) = (self.lines.len(), seat(&self.plan, self.lines.len()));
            let line = Line::connect(&self.plan, seat, index, &mut around!(self));
            match line {
                Ok(line) => {
                    if let Line::Udp(sink) = &line {
                        joining.joined.ports.push(sink.port);
                    }
                    let (is_joined, began_ns) = (line.viewer().seat.is_joined, line.viewer().began_ns);
                    self.lines.push(Some(line));
                    self.arm(index);
                    if is_joined {
                        self.joined(began_ns, &Arrived::default());
                    }
                }
                Err(error) => {
                    self.lines.push(None);
                    self.not_joined(&error);
                }
            }
        }
    }

    /// Timers of QUIC connections that ring now.
    fn ring(&mut self) {
        while let Some((index, at)) = self.timers.pop(self.now) {
            let Some(Some(Line::Quic(link))) = self.lines.get_mut(index) else { continue };
            if link.armed == Some(at) {
                link.armed = None;
                self.act(index, |line, around| line.ring(around));
            }
        }
    }

    fn ready(&mut self, index: usize, flags: epoll::EventFlags, address: SocketAddr) {
        self.act(index, |line, around| line.ready(flags, address, around));
    }

    /// Does something with a line, and what follows from it.
    #[inline]
    fn act(&mut self, index: usize, act: impl FnOnce(&mut Line, &mut Around<'_>) -> Result<Arrived>) {
        // A viewer may have left since the kernel told of it.
        let Some(Some(line)) = self.lines.get_mut(index) else { return };
        let was_joined = line.viewer().seat.is_joined;
        match act(line, &mut around!(self)) {
            Ok(arrived) => {
                if !was_joined && line.viewer().seat.is_joined {
                    let began_ns = line.viewer().began_ns;
                    self.joined(began_ns, &arrived);
                }
                self.arm(index);
            }
            Err(error) => {
                self.lines[index] = None;
                if was_joined {
                    self.stage.tally.ended += 1;
                    self.stage.tally.fault(|| format!("a viewer's connection ended: {error:#}"));
                } else {
                    self.not_joined(&error);
                }
            }
        }
    }

    #[inline]
    fn arm(&mut self, index: usize) {
        if let Some(Some(Line::Quic(link))) = self.lines.get_mut(index) {
            let deadline = link.deadline();
            self.timers.arm(index, deadline, &mut link.armed);
        }
    }

    fn joined(&mut self, began_ns: u64, arrived: &Arrived) {
        if let Some(joining) = &mut self.joining {
            joining.in_flight -= 1;
            joining.joined.joined += 1;
            joining.joined.resumed_tls += u64::from(arrived.has_resumed_tls);
            joining.times.record(now_ns().saturating_sub(began_ns) / 1_000);
        }
    }

    fn not_joined(&mut self, error: &anyhow::Error) {
        if let Some(joining) = &mut self.joining {
            joining.in_flight -= 1;
            joining.joined.failed += 1;
            joining.joined.first_failure.get_or_insert_with(|| format!("{error:#}"));
        }
    }

    fn end_joining(&mut self) -> Result<()> {
        let is_over = |joining: &mut Joining| joining.begun == joining.wanted && joining.in_flight == 0;
        let Some(mut joining) = self.joining.take_if(is_over) else { return Ok(()) };
        joining.joined.took_us = (now_ns() - joining.began_ns) / 1_000;
        joining.joined.join = joining.times.summary();
        answer(&Answer::Joined(joining.joined))
    }

    /// As many viewers as are due since the last turn; one round over all takes [`KEEP_ALIVE_NS`].
    fn keep_alive(&mut self) {
        let elapsed_ns = self.stage.now_ns.saturating_sub(self.keep_alive_ns);
        let due = (self.lines.len() as u64 * elapsed_ns / KEEP_ALIVE_NS) as usize;
        if due == 0 {
            return;
        }
        self.keep_alive_ns = self.stage.now_ns;
        for _ in 0..due.min(self.lines.len()) {
            self.keep_alive_at = (self.keep_alive_at + 1) % self.lines.len();
            if self.lines[self.keep_alive_at].as_ref().is_some_and(|line| line.viewer().seat.is_joined) {
                self.act(self.keep_alive_at, Line::keep_alive);
            }
        }
    }

    fn end_settling(&mut self) -> Result<()> {
        let Some(settling) = &self.settling else { return Ok(()) };
        let mut settled = Settled::default();
        for place in self.lines.iter().flatten().flat_map(|line| &line.viewer().seat.places) {
            let head = settling.heads.iter().find(|(room, _)| *room == place.room as usize);
            let lacking = head.map_or(0, |(_, head)| head.saturating_sub(place.next));
            settled.lacking += lacking;
            settled.behind += u64::from(lacking > 0);
        }
        if settled.behind == 0 || self.stage.now_ns > settling.until_ns {
            settled.took_us = (self.stage.now_ns - settling.began_ns) / 1_000;
            self.settling = None;
            return answer(&Answer::Settled(settled));
        }
        Ok(())
    }
}

/// TLS sessions kept: every viewer's.
const SESSIONS_MAX: usize = 65_536;

fn seat(plan: &CrowdPlan, number: usize) -> Seat {
    let room = |n| ((number + n) % plan.rooms.len()) as u32;
    let places = (0..plan.rooms_per_viewer).map(|n| Place { room: room(n), ..Place::default() }).collect();
    Seat { number: number as u32, places, ..Seat::default() }
}
