//! Lean clients: thousands of clients in one thread, with the least possible CPU per delivery. On orders they
//! join, follow rooms, publish, react, disconnect and resume; they check every received byte.
//!
//! Why lean: a saturated generator measures itself. All clients of a room get the same bytes, so a frame is
//! parsed once, and every other client's bytes are compared with the first (`frame_cache`). So every byte of
//! every delivery is checked, at the speed of memory. Why not the client library: it costs more CPU, and then
//! the generator would be measured, not the server.
//! Invariants: announced gaps and omissions are not losses; every other missing message is. A client that was
//! ordered to join is counted once, as joined or failed. A refused client comes back at the given time, with
//! jitter, and each refusal is counted. Only epoll blocks.
//!
//! - [`LeanClients`]: the event loop, and the orders to clients;
//! - [`protocol`]: the trait of an application protocol, with one file for each protocol;
//! - `conversation`, `framing`, `link`, `tls`, `quic`: from sockets to messages and back.
//!
//! Not here: a process of their own (`viewers`), the backoff of the real client (`gs load`).

mod bytes;
mod context;
mod conversation;
mod counters;
mod frame_cache;
mod framing;
mod grandstand;
mod io;
mod link;
mod plan;
pub mod protocol;
mod quic;
mod timers;
mod tls;

pub use context::Context;
pub use counters::{Counters, Reading};
pub use frame_cache::{FrameCache, Parsed, hash};
pub use plan::{ClientsPlan, Joined, Settled, Transport};

use anyhow::{Context as _, Result, ensure};
use conversation::Conversation;
use framing::Framing;
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::histogram::Times;
use grandstand_harness::trust::AnyCertificate;
use grandstand_protocol::websocket::handshake::response::ResponseFault;
use io::Io;
use link::{Link, Sink};
use protocol::{ByName, Client, Membership, Protocol, Publication, Role};
use quic::{QuicConfig, QuicLink};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timers::Timers;

/// Sockets taken at one look.
const EVENTS_MAX: usize = 1_024;

/// Events for which one look at the clock is enough: some 50 µs.
const EVENTS_PER_CLOCK: usize = 16;

/// How often each client says something: well within the 25 s that nodes ask for.
const KEEP_ALIVE_NS: u64 = 15_000_000_000;

/// Times that a client tries before it counts as failed: with their pauses longer than any node's rush.
const TRIES_MAX: u32 = 30;

/// After an end that came without a time to return.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// A client's connection.
enum Line {
    Tcp(Link),
    /// Ten times the size.
    Quic(Box<QuicLink>),
    Udp(Sink),
}

#[derive(Default)]
struct Slot {
    conversation: Conversation,
    line: Option<Line>,
    /// When its entry in the timers rings: QUIC's, or that of another try.
    armed: Option<Instant>,
    began_ns: u64,
    tries: u32,
}

struct Coming {
    who: Range<usize>,
    in_flight: usize,
    in_flight_max: usize,
    began_ns: u64,
    times: Times,
    joined: Joined,
}

/// See the file's head.
pub struct LeanClients {
    plan: ClientsPlan,
    io: Io,
    quic: Option<QuicConfig>,
    certificates: Arc<AnyCertificate>,
    slots: Vec<Slot>,
    timers: Timers,
    events: Vec<epoll::Event>,
    marked_ns: u64,
    coming: Option<Coming>,
    /// The client that pings next, and the time of the last pings.
    keep_alive_at: usize,
    keep_alive_ns: u64,
}

impl LeanClients {
    /// A generator without clients.
    ///
    /// # Errors
    /// There is no such protocol, or the system gives no epoll or no TLS.
    pub fn new(plan: ClientsPlan, more: ByName) -> Result<LeanClients> {
        let (mut tls, mut quic, certificates) = (None, None, Arc::default());
        let config = |alpn: &[u8]| tls::config(alpn, plan.resume_tls, &certificates);
        match plan.transport {
            Transport::Ws => {}
            Transport::Wss => tls = Some(Arc::new(config(b"http/1.1"))),
            Transport::Quic => quic = Some(QuicConfig::new(config(b"grandstand/1"))?),
        }
        let protocol = by_name(&plan.protocol).or_else(|| more(&plan.protocol));
        let (rooms, heads, resumes) = (plan.rooms.clone(), vec![0; plan.rooms.len()], plan.resumes);
        let context = Context { rooms, heads, resumes, ..Context::default() };
        let protocol = protocol.with_context(|| format!("no protocol {:?}", plan.protocol))?;
        let io = Io::new(protocol, context, plan.address, tls)?;
        Ok(LeanClients {
            plan,
            io,
            quic,
            certificates,
            slots: Vec::new(),
            timers: Timers::default(),
            events: Vec::with_capacity(EVENTS_MAX),
            marked_ns: monotonic_ns(),
            coming: None,
            keep_alive_at: 0,
            keep_alive_ns: monotonic_ns(),
        })
    }

    /// One more client, which will follow these rooms once it is told to come: its number.
    pub fn add(&mut self, role: Role, rooms: impl IntoIterator<Item = usize>) -> usize {
        let number = self.slots.len();
        let rooms = rooms.into_iter().map(|room| Membership { room: room as u32, ..Membership::default() });
        let client = Client { number: number as u32, role, rooms: rooms.collect(), ..Client::default() };
        let conversation = Conversation::new(client);
        self.slots.push(Slot { conversation, ..Slot::default() });
        number
    }

    /// Adds this number of viewers of the first room; returns their numbers.
    pub fn add_viewers(&mut self, count: usize) -> Range<usize> {
        let first = self.slots.len();
        for _ in 0..count {
            self.add(Role::Viewer, [0]);
        }
        first..self.slots.len()
    }

    /// How many were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A client, as its protocol sees it.
    #[must_use]
    pub fn client(&self, n: usize) -> &Client {
        &self.slots[n].conversation.client
    }

    /// The state that clients share.
    pub fn context(&mut self) -> &mut Context {
        &mut self.io.context
    }

    /// Tells these to come, at most `in_flight_max` at once; [`LeanClients::turn`] brings them.
    pub fn begin_coming(&mut self, who: Range<usize>, in_flight_max: usize) {
        let (began_ns, times, joined) = (monotonic_ns(), Times::default(), Joined::default());
        self.coming = Some(Coming { who, in_flight: 0, in_flight_max, began_ns, times, joined });
    }

    /// How the coming went, once each of them has joined or failed.
    pub fn end_coming(&mut self) -> Option<Joined> {
        let mut coming = self.coming.take_if(|coming| coming.who.is_empty() && coming.in_flight == 0)?;
        coming.joined.took_us = (monotonic_ns() - coming.began_ns) / 1_000;
        coming.joined.join = coming.times.summary();
        Some(coming.joined)
    }

    /// Lets these come, and waits until all have joined.
    ///
    /// # Errors
    /// One failed, or not all have joined within `limit`.
    pub fn come(&mut self, who: Range<usize>, in_flight_max: usize, limit: Duration) -> Result<Joined> {
        let (count, deadline) = (who.len(), Instant::now() + limit);
        self.begin_coming(who, in_flight_max);
        loop {
            self.turn(Duration::from_millis(5))?;
            if let Some(joined) = self.end_coming() {
                joined.check(count)?;
                return Ok(joined);
            }
            ensure!(Instant::now() < deadline, "not all of {count} clients joined within {limit:?}");
        }
    }

    /// Cuts a client's connection, over TCP without a word.
    pub fn cut(&mut self, n: usize) {
        let slot = &mut self.slots[n];
        if let Some(Line::Quic(link)) = &mut slot.line {
            link.close(&mut self.io);
        }
        (slot.line, slot.armed) = (None, None);
        slot.conversation.client.is_joined = false;
    }

    /// Cuts these, each of which connects again after a time of its own, evenly over `within`; then as after
    /// [`LeanClients::begin_coming`]. Times count from the moment at which a client wants to be back.
    pub fn begin_returning(&mut self, who: Range<usize>, within: Duration) {
        who.clone().for_each(|n| self.cut(n));
        self.look_at_the_clock();
        self.begin_coming(who.end..who.end, who.len());
        for (nth, n) in (0..).zip(who.clone()) {
            let away = within * nth / who.len() as u32;
            let slot = &mut self.slots[n];
            (slot.tries, slot.began_ns) = (0, self.io.context.now_ns + away.as_nanos() as u64);
            self.timers.arm(n, Some(self.io.now + away), &mut slot.armed);
        }
        if let Some(coming) = &mut self.coming {
            coming.in_flight = who.len();
        }
    }

    /// Publishes these, all in one write.
    pub fn publish(&mut self, n: usize, publications: &[Publication<'_>]) {
        self.io.context.seen.counts.published += publications.len() as u64;
        self.say(n, |io, client| {
            for publication in publications {
                io.protocol.publish(client, publication, &mut io.context);
            }
        });
    }

    /// Reacts in the client's first room: one frame per count, all in one write.
    pub fn react(&mut self, n: usize, key: &str, counts: &[u32]) {
        self.say(n, |io, client| {
            counts.iter().for_each(|&count| io.protocol.react(client, key, count, &mut io.context));
        });
    }

    /// Pings.
    pub fn ping(&mut self, n: usize) {
        self.say(n, |io, client| io.protocol.keep_alive(client, &mut io.context));
    }

    fn say(&mut self, n: usize, say: impl FnOnce(&mut Io, &mut Client)) {
        self.act(n, |_, conversation, io| {
            io.context.framing = conversation.framing;
            say(io, &mut conversation.client);
            Ok(())
        });
    }

    /// Bytes that a client's socket had no room for.
    #[must_use]
    pub fn unsent_bytes(&self, n: usize) -> usize {
        match &self.slots[n].line {
            Some(Line::Tcp(link)) => link.unsent_bytes(),
            _ => 0,
        }
    }

    /// Publications without an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.slots.iter().map(|slot| slot.conversation.client.unanswered.len()).sum()
    }

    /// Resets the counts: a window begins.
    pub fn mark(&mut self) {
        self.io.context.mark();
        self.marked_ns = monotonic_ns();
    }

    /// The counts since the mark; the window continues.
    pub fn read(&mut self) -> Reading {
        let viewers = self.slots.iter().filter(|slot| slot.conversation.client.is_joined).count() as u64;
        Reading { elapsed_ns: monotonic_ns() - self.marked_ns, viewers, ..self.io.context.read() }
    }

    /// Certificates that were checked: one for each full TLS handshake, none for a resumed one.
    #[must_use]
    pub fn certificates_checked(&self) -> u64 {
        self.certificates.accepted()
    }

    /// The clients that are behind the heads of the context.
    #[must_use]
    pub fn standing(&self) -> Settled {
        let mut settled = Settled::default();
        let clients = self.slots.iter().map(|slot| &slot.conversation.client);
        for room in clients.filter(|client| client.role == Role::Viewer).flat_map(|client| &client.rooms) {
            let lacking = self.io.context.heads[room.room as usize].saturating_sub(room.next);
            settled.lacking += lacking;
            settled.behind += u64::from(lacking > 0);
        }
        settled
    }

    /// Turns until every publication was answered and everybody has had everything that was accepted; what
    /// was seen since the mark.
    ///
    /// # Errors
    /// That is not so within `limit`, or something was lost, refused, wrong or left out.
    pub fn settle(&mut self, limit: Duration) -> Result<Reading> {
        let deadline = Instant::now() + limit;
        loop {
            let settled = self.standing();
            let unanswered = self.unanswered();
            if settled.lacking == 0 && unanswered == 0 {
                break;
            }
            let counts = &self.io.context.seen.counts;
            ensure!(counts.faults() + counts.refused == 0, "something was lost or refused: {counts:?}");
            ensure!(Instant::now() < deadline, "{settled:?}, {unanswered} publications without an answer");
            self.turn(Duration::from_millis(1))?;
        }
        let seen = self.read();
        ensure!(
            seen.faults() + seen.omitted + seen.gaps + seen.refused == 0,
            "not everybody got all: {seen:?}"
        );
        Ok(seen)
    }

    /// Turns for this long.
    ///
    /// # Errors
    /// The system fails us.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left.min(Duration::from_millis(5)))?;
        }
        Ok(())
    }

    /// Does what is ready, waiting at most so long for it.
    ///
    /// # Errors
    /// The system fails us; what happens to clients is counted.
    pub fn turn(&mut self, wait: Duration) -> Result<()> {
        self.look_at_the_clock();
        self.connect_more();
        self.ring();
        self.keep_alive();
        let wait = self.timers.next().map_or(wait, |at| wait.min(at.saturating_duration_since(self.io.now)));
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.io.epoll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let began_ns = monotonic_ns();
        for (n, event) in events.iter().enumerate() {
            if n % EVENTS_PER_CLOCK == 0 {
                self.look_at_the_clock();
            }
            let flags = event.flags;
            self.act(event.data.u64() as usize, |line, conversation, io| match line {
                Line::Tcp(link) => link.ready(flags, conversation, io),
                Line::Quic(link) => link.ready(conversation, io),
                Line::Udp(sink) => sink.ready(conversation, io),
            });
        }
        if !events.is_empty() {
            let counts = &mut self.io.context.seen.counts;
            counts.busy_ns += monotonic_ns() - began_ns;
            counts.looks += 1;
            counts.full_looks += u64::from(events.len() == EVENTS_MAX);
        }
        self.events = events;
        Ok(())
    }

    fn look_at_the_clock(&mut self) {
        (self.io.context.now_ns, self.io.now) = (monotonic_ns(), Instant::now());
    }

    fn connect_more(&mut self) {
        while let Some(coming) = &mut self.coming
            && coming.in_flight < coming.in_flight_max
            && let Some(n) = coming.who.next()
        {
            coming.in_flight += 1;
            (self.slots[n].began_ns, self.slots[n].tries) = (monotonic_ns(), 0);
            self.connect(n);
        }
    }

    fn connect(&mut self, n: usize) {
        let slot = &mut self.slots[n];
        slot.tries += 1;
        let is_quic = self.quic.is_some();
        slot.conversation.reset(match (is_quic, self.plan.datagrams) {
            (true, _) => Framing::Stream,
            (_, true) => Framing::Bytes,
            _ => Framing::WebSocket,
        });
        let line = match &self.quic {
            Some(config) => QuicLink::connect(config, n, &mut slot.conversation, &mut self.io)
                .map(|link| Line::Quic(Box::new(link))),
            None if self.plan.datagrams => Sink::open(n, &mut slot.conversation, &mut self.io).map(Line::Udp),
            None => Link::connect(n, &self.io).map(Line::Tcp),
        };
        match line {
            Ok(line) => {
                if let (Line::Udp(sink), Some(coming)) = (&line, &mut self.coming) {
                    coming.joined.ports.push(sink.port);
                }
                slot.line = Some(line);
                self.arm(n);
                if self.slots[n].conversation.client.is_joined {
                    self.joined(n);
                }
            }
            Err(error) => self.not_joined(n, &error),
        }
    }

    /// Timers that ring now: of QUIC connections, and of clients that try again.
    fn ring(&mut self) {
        while let Some((n, at)) = self.timers.pop(self.io.now) {
            if self.slots[n].armed != Some(at) {
                continue;
            }
            self.slots[n].armed = None;
            if self.slots[n].line.is_none() {
                self.connect(n);
                continue;
            }
            self.act(n, |line, conversation, io| match line {
                Line::Quic(link) => link.ring(conversation, io),
                _ => Ok(()),
            });
        }
    }

    /// Does something with a client's connection, sends what it says, and does what follows from it.
    #[inline]
    fn act(&mut self, n: usize, act: impl FnOnce(&mut Line, &mut Conversation, &mut Io) -> Result<()>) {
        let Slot { line: Some(line), conversation, .. } = &mut self.slots[n] else { return };
        let was_joined = conversation.client.is_joined;
        let done = act(line, conversation, &mut self.io).and_then(|()| match line {
            _ if self.io.context.said.is_empty() => Ok(()),
            Line::Tcp(link) => link.flush(&mut self.io),
            Line::Quic(link) => link.flush(conversation, &mut self.io),
            Line::Udp(_) => Ok(()),
        });
        match done {
            Ok(()) if !was_joined && conversation.client.is_joined => self.joined(n),
            Ok(()) => {}
            Err(error) => {
                self.io.context.said.clear();
                let slot = &mut self.slots[n];
                (slot.line, slot.conversation.client.is_joined) = (None, false);
                if !was_joined {
                    return self.not_joined(n, &error);
                }
                self.io.context.seen.counts.ended += 1;
                self.io.context.seen.counts.fault(|| format!("a client's connection ended: {error:#}"));
            }
        }
        self.arm(n);
    }

    #[inline]
    fn arm(&mut self, n: usize) {
        if let Slot { line: Some(Line::Quic(link)), armed, .. } = &mut self.slots[n] {
            self.timers.arm(n, link.deadline(), armed);
        }
    }

    fn joined(&mut self, n: usize) {
        if let Some(coming) = &mut self.coming {
            coming.in_flight -= 1;
            coming.joined.joined += 1;
            coming.times.record(monotonic_ns().saturating_sub(self.slots[n].began_ns) / 1_000);
        }
    }

    fn not_joined(&mut self, n: usize, error: &anyhow::Error) {
        let slot = &mut self.slots[n];
        let Some(Coming { joined, in_flight, .. }) = &mut self.coming else { return };
        let wait = match error.downcast_ref::<ResponseFault>() {
            Some(ResponseFault::Refused { status: 429 | 503, retry_after_s }) => {
                joined.told_to_retry += 1;
                Duration::from_secs(retry_after_s.unwrap_or(1).into())
            }
            _ => {
                joined.cut_early += 1;
                joined.first_failure.get_or_insert_with(|| format!("{error:#}"));
                TRY_AGAIN
            }
        };
        if slot.tries == TRIES_MAX {
            joined.failed += 1;
            *in_flight -= 1;
            return;
        }
        // Up to a second of jitter, as clients add.
        let jitter = Duration::from_millis(hash((n, slot.tries, monotonic_ns())) % 1_000);
        slot.armed = None;
        self.timers.arm(n, Some(self.io.now + wait + jitter), &mut slot.armed);
    }

    /// As many clients as are due since the last turn; one round over all takes [`KEEP_ALIVE_NS`].
    fn keep_alive(&mut self) {
        let now_ns = self.io.context.now_ns;
        let elapsed_ns = now_ns.saturating_sub(self.keep_alive_ns);
        let due = (self.slots.len() as u64 * elapsed_ns / KEEP_ALIVE_NS) as usize;
        if due == 0 || !self.plan.keep_alive {
            return;
        }
        self.keep_alive_ns = now_ns;
        for _ in 0..due.min(self.slots.len()) {
            self.keep_alive_at = (self.keep_alive_at + 1) % self.slots.len();
            if self.slots[self.keep_alive_at].conversation.client.is_joined {
                self.ping(self.keep_alive_at);
            }
        }
    }
}

/// The protocols of this library.
fn by_name(name: &str) -> Option<Box<dyn Protocol>> {
    Some(match name {
        "grandstand" => Box::new(grandstand::Grandstand::default()),
        "bytes" => Box::new(bytes::Bytes),
        _ => return None,
    })
}
