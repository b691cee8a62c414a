//! The crowd's process: one thread, one epoll, a socket for each viewer.
//!
//! Orders come as lines of JSON on standard input, answers go to standard output; in between, sockets are read into one
//! scratch buffer.
//! Invariants: nothing waits but the epoll; a viewer that fails is closed and counted, and the others go on.
//! Not here: what bytes mean (`viewer`, talks).

use super::link::{Arrived, Link, Shared};
use super::stage::Stage;
use super::talk::{self, Place, Seat, Talk};
use super::{Answer, CrowdPlan, Joined, Order, Settled, Transport, tls};
use crate::clock::now_ns;
use crate::cpu;
use crate::histogram::Times;
use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::io::Write as _;
use std::sync::Arc;

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

/// Runs a crowd until its standard input ends.
///
/// # Errors
/// The plan makes no sense, or the system refuses what every program gets.
pub fn serve() -> Result<()> {
    let mut orders = Orders::default();
    let plan = loop {
        if let Some(line) = orders.next() {
            break serde_json::from_str(&line).context("the plan is no plan")?;
        }
        if !orders.read()? {
            return Ok(());
        }
    };
    match House::new(plan) {
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

/// Everything.
struct House {
    plan: CrowdPlan,
    talk: Box<dyn Talk>,
    stage: Stage,
    links: Vec<Option<Link>>,
    shared: Shared,
    marked_ns: u64,
    marked_cpu_ns: u64,
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
    fn new(plan: CrowdPlan) -> Result<House> {
        if plan.rooms.is_empty() || plan.rooms_per_viewer == 0 || plan.rooms_per_viewer > plan.rooms.len() {
            bail!("{} rooms for {} of each viewer", plan.rooms.len(), plan.rooms_per_viewer);
        }
        let sessions = if plan.resume_tls { SESSIONS_MAX } else { 0 };
        let tls = match plan.transport {
            Transport::Ws => None,
            Transport::Wss => Some(Arc::new(tls::config(&[b"http/1.1"], sessions)?)),
            Transport::Quic => bail!("QUIC is not among what the crowd speaks"),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, rustix::stdio::stdin(), epoll::EventData::new_u64(ORDERS), epoll::EventFlags::IN)?;
        Ok(House {
            talk: talk::by_name(&plan.talk)?,
            stage: Stage::new(&plan),
            links: Vec::new(),
            shared: Shared {
                epoll,
                tls,
                scratch: vec![0; SCRATCH_BYTES],
                plain: Vec::new(),
                out: Vec::new(),
            },
            marked_ns: now_ns(),
            marked_cpu_ns: 0,
            joining: None,
            settling: None,
            keep_alive_at: 0,
            keep_alive_ns: now_ns(),
            plan,
        })
    }

    fn run(mut self, mut orders: Orders) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.pace()?;
            events.clear();
            let is_busy = self.joining.is_some() || self.settling.is_some();
            let wait = Timespec { tv_sec: 0, tv_nsec: if is_busy { 1_000_000 } else { 50_000_000 } };
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for (n, event) in events.iter().enumerate() {
                if n % EVENTS_PER_CLOCK == 0 {
                    self.stage.now_ns = now_ns();
                }
                match event.data.u64() {
                    ORDERS if !orders.read()? => return Ok(()),
                    ORDERS => self.orders(&mut orders)?,
                    index => self.ready(index as usize, event.flags),
                }
            }
        }
    }

    /// What is due by time: newcomers, signs of life, the end of waiting.
    fn pace(&mut self) -> Result<()> {
        self.stage.now_ns = now_ns();
        self.connect_more();
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
                    self.links.truncate(self.links.len().saturating_sub(viewers));
                    answer(&Answer::Done)?;
                }
                Order::Due { room, first_offset, due_ns } => {
                    self.stage.due.insert(room as u32, (first_offset, due_ns));
                    answer(&Answer::Done)?;
                }
                Order::Mark => {
                    self.stage.mark();
                    (self.marked_ns, self.marked_cpu_ns) = (now_ns(), cpu::exact_ns(std::process::id())?);
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
        reading.cpu_ns = cpu::exact_ns(std::process::id())?.saturating_sub(self.marked_cpu_ns);
        reading.viewers =
            self.links.iter().flatten().filter(|link| link.viewer.seat.is_joined).count() as u64;
        answer(&Answer::Reading(Box::new(reading)))
    }

    fn connect_more(&mut self) {
        while let Some(joining) = &mut self.joining
            && joining.begun < joining.wanted
            && joining.in_flight < self.plan.in_flight_max
        {
            joining.begun += 1;
            joining.in_flight += 1;
            let seat = seat(&self.plan, self.links.len());
            match Link::connect(&self.plan, seat, self.links.len(), self.stage.now_ns, &self.shared) {
                Ok(link) => self.links.push(Some(link)),
                Err(error) => {
                    self.links.push(None);
                    self.not_joined(&error);
                }
            }
        }
    }

    fn ready(&mut self, index: usize, flags: epoll::EventFlags) {
        // A viewer may have left since the kernel told of it.
        let Some(Some(link)) = self.links.get_mut(index) else { return };
        let was_joined = link.viewer.seat.is_joined;
        let arrived =
            link.ready(flags, &self.plan.path, self.talk.as_mut(), &mut self.stage, &mut self.shared);
        match arrived {
            Ok(arrived) if !was_joined && link.viewer.seat.is_joined => {
                let began_ns = link.viewer.began_ns;
                self.joined(began_ns, &arrived);
            }
            Ok(_) => {}
            Err(error) => {
                self.links[index] = None;
                if was_joined {
                    self.stage.tally.ended += 1;
                    self.stage.tally.fault(|| format!("a viewer's connection ended: {error:#}"));
                } else {
                    self.not_joined(&error);
                }
            }
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
        let due = (self.links.len() as u64 * elapsed_ns / KEEP_ALIVE_NS) as usize;
        if due == 0 {
            return;
        }
        self.keep_alive_ns = self.stage.now_ns;
        for _ in 0..due.min(self.links.len()) {
            self.keep_alive_at = (self.keep_alive_at + 1) % self.links.len();
            if let Some(link) = &mut self.links[self.keep_alive_at]
                && link.viewer.seat.is_joined
            {
                // One that fails here is found when it is read.
                let _ = link.keep_alive(self.talk.as_mut(), &mut self.stage, &mut self.shared);
            }
        }
    }

    fn end_settling(&mut self) -> Result<()> {
        let Some(settling) = &self.settling else { return Ok(()) };
        let mut settled = Settled::default();
        for place in self.links.iter().flatten().flat_map(|link| &link.viewer.seat.places) {
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
