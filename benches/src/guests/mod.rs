//! Guests: many lean sessions of one process, on one thread and one epoll, that come, talk and drop when
//! told.
//!
//! Why not the client library: a guest must cost its process so little that the node is what is measured,
//! must hold its own files only, and must tell a full TLS handshake from a resumed one.
//! Invariants: a guest that was told to come is counted exactly once as joined or failed; one that is turned
//! away comes back when it was told to, with jitter, and is counted for each time; nothing here blocks.
//! Not here: what is measured (`bin/bench`), fan-out at full rate (`crowd`).

mod line;
mod listener;
mod quic;
mod session;
mod trust;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use line::Line;
pub use listener::{Listener, Schedule, Speaker, Talk};
use quic::{QuicEvent, QuicLines};
pub use session::Watch;
use session::{Session, Stage, Turn};
pub use trust::Tickets;

use crate::crowd::Transport;

/// Events taken per look.
const EVENTS_PER_LOOK: usize = 1024;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 128 * 1024;

/// The epoll token of the QUIC socket; a guest's is its number.
const QUIC_TOKEN: u64 = u64::MAX;

/// Times that a guest tries before it counts as failed: with their pauses longer than any node's rush.
const TRIES_MAX: u32 = 30;

/// What happened to guests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In all their rooms for the first time since they were told to come.
    pub joined: u64,
    /// Gave up.
    pub failed: u64,
    /// Why, the last of them.
    pub last_fault: String,
    /// Times that a guest was told to come back later (HTTP 429 and 503).
    pub told_to_retry: u64,
    /// Times that a connection ended before the guest was in, without such an answer.
    pub cut_early: u64,
    /// Guests that were in and lost their connection without being told to.
    pub cut: u64,
    /// TLS handshakes by kind, those of QUIC included.
    pub full_handshakes: u64,
    /// Resumed ones.
    pub resumed_handshakes: u64,
    /// Batch frames read.
    pub frames: u64,
    /// Bytes read, after decryption.
    pub bytes: u64,
    /// Requests that were refused: `Refused` frames.
    pub refused: u64,
    /// Gap notices.
    pub gaps: u64,
}

struct Guest {
    transport: Transport,
    line: Line,
    session: Session,
    /// When it was told to come.
    began: Instant,
    tries: u32,
    /// Its TLS handshake over TCP was counted.
    is_agreed: bool,
}

/// See the file's head.
pub struct Guests {
    epoll: OwnedFd,
    guests: Vec<Guest>,
    doors: [Option<SocketAddr>; 3],
    tickets: Arc<Tickets>,
    tls: Arc<rustls::ClientConfig>,
    quic: Option<QuicLines>,
    /// Full QUIC handshakes counted.
    quic_full: u64,
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    scratch: Vec<u8>,
    turn: Turn,
    counts: Counts,
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("guests", &self.guests.len()).field("counts", &self.counts).finish()
    }
}

impl Guests {
    /// Nobody yet; by these doors, in the order of [`Transport`].
    ///
    /// # Errors
    /// When the system gives no epoll or no TLS.
    pub fn new(doors: [Option<SocketAddr>; 3]) -> anyhow::Result<Guests> {
        let tickets = Arc::new(Tickets::default());
        Ok(Guests {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            guests: Vec::new(),
            doors,
            tls: trust::config(b"http/1.1", &tickets)?,
            tickets,
            quic: None,
            quic_full: 0,
            waiting: BinaryHeap::new(),
            scratch: vec![0; SCRATCH_BYTES],
            turn: Turn::default(),
            counts: Counts::default(),
        })
    }

    /// A guest that will follow these rooms, once it is told to come. Its number is its place in the order of
    /// invitations.
    pub fn invite(&mut self, transport: Transport, rooms: Vec<Arc<str>>) -> usize {
        let session = Session::new(rooms);
        let (line, began) = (Line::None, Instant::now());
        self.guests.push(Guest { transport, line, session, began, tries: 0, is_agreed: false });
        self.guests.len() - 1
    }

    /// How many were invited.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// Whether nobody was.
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// What happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The pool of TLS session tickets that all share.
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Whether a guest is in all its rooms.
    pub fn is_in(&self, n: usize) -> bool {
        self.guests[n].session.stage == Stage::In
    }

    /// Tell a guest to come.
    ///
    /// # Errors
    /// When this side cannot open a connection at all: its files or ports are used up.
    pub fn come(&mut self, n: usize) -> anyhow::Result<()> {
        self.guests[n].began = Instant::now();
        self.guests[n].tries = 0;
        self.connect(n)
    }

    /// Cut a guest's connection, without a word.
    pub fn cut(&mut self, n: usize) {
        if let Line::Quic(slot) = self.guests[n].line
            && let Some(quic) = self.quic.as_mut()
        {
            quic.close(Instant::now(), slot);
        }
        // Dropping a TCP line closes it with a reset: nothing lingers in the kernel.
        self.guests[n].line = Line::None;
        self.guests[n].session.handle_cut();
    }

    /// Publish into the guest's `room`-th room.
    pub fn publish(&mut self, n: usize, room: usize, text: &str) {
        let session = &mut self.guests[n].session;
        session.publish(room, text, &mut self.turn);
        self.flush(n);
    }

    /// React in the guest's first room: one frame per count, all in one write.
    pub fn react(&mut self, n: usize, key: &str, counts: &[u32]) {
        let session = &mut self.guests[n].session;
        for &count in counts {
            session.react(0, key, count, &mut self.turn);
        }
        self.flush(n);
    }

    /// Ping from everybody who is in, so that nobody is closed for silence.
    pub fn ping_all(&mut self) {
        for n in 0..self.guests.len() {
            if self.is_in(n) {
                self.guests[n].session.ping(&mut self.turn);
                self.flush(n);
            }
        }
    }

    /// Do what is ready, waiting at most so long for it; whether anything was.
    ///
    /// # Errors
    /// When the system fails us; what happens to guests is counted.
    pub fn turn(&mut self, wait: Duration, watch: &mut impl Watch) -> anyhow::Result<bool> {
        self.reconnect_due()?;
        let wait = self.wait_for(wait);
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS_PER_LOOK];
        let timespec = rustix::event::Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let events = match epoll::wait(&self.epoll, &mut events, Some(&timespec)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let ready: Vec<(u64, EventFlags)> = events.iter().map(|e| (e.data.u64(), e.flags)).collect();
        for (token, flags) in &ready {
            match *token {
                QUIC_TOKEN => self.handle_quic(watch)?,
                token => self.handle_ready(token as usize, *flags, watch),
            }
        }
        self.drive_quic(watch);
        Ok(!ready.is_empty())
    }

    /// Turn until this is so.
    ///
    /// # Errors
    /// When it is not within `limit`, or somebody failed.
    pub fn turn_until(
        &mut self,
        limit: Duration,
        watch: &mut impl Watch,
        mut is_so: impl FnMut(&Guests) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !is_so(self) {
            if self.counts.failed > 0 {
                bail!("{} guests failed: {}", self.counts.failed, self.counts.last_fault);
            }
            if Instant::now() > deadline {
                bail!("not within {} s: {:?}", limit.as_secs(), self.counts);
            }
            self.turn(Duration::from_millis(5), watch)?;
        }
        Ok(())
    }

    /// Let these come, at most `in_flight` at once, and wait until all are in.
    ///
    /// # Errors
    /// When not all are within `limit`.
    pub fn all_come(
        &mut self,
        who: std::ops::Range<usize>,
        in_flight: usize,
        limit: Duration,
        watch: &mut impl Watch,
    ) -> anyhow::Result<()> {
        let (deadline, before) = (Instant::now() + limit, self.counts.joined);
        let (mut next, count) = (who.start, who.len() as u64);
        loop {
            let done = self.counts.joined - before;
            if done == count {
                return Ok(());
            }
            while next < who.end && ((next - who.start) as u64) < done + in_flight as u64 {
                self.come(next)?;
                next += 1;
            }
            if self.counts.failed > 0 {
                bail!("{} guests failed: {}", self.counts.failed, self.counts.last_fault);
            }
            if Instant::now() > deadline {
                bail!("{done} of {count} in after {} s: {:?}", limit.as_secs(), self.counts);
            }
            self.turn(Duration::from_millis(5), watch)?;
        }
    }

    /// Turn for this long.
    ///
    /// # Errors
    /// When the system fails us.
    pub fn rest(&mut self, time: Duration, watch: &mut impl Watch) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left.min(Duration::from_millis(5)), watch)?;
        }
        Ok(())
    }

    fn wait_for(&self, wait: Duration) -> Duration {
        let quic = self.quic.as_ref().and_then(QuicLines::poll_timeout);
        let due = self.waiting.peek().map(|Reverse((at, _))| *at);
        let now = Instant::now();
        [quic, due]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .min()
            .unwrap_or(wait)
            .min(wait)
    }

    fn reconnect_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(&Reverse((at, n))) = self.waiting.peek()
            && at <= now
        {
            self.waiting.pop();
            self.connect(n)?;
        }
        Ok(())
    }

    fn connect(&mut self, n: usize) -> anyhow::Result<()> {
        let guest = &mut self.guests[n];
        guest.tries += 1;
        guest.is_agreed = false;
        let door = self.doors[guest.transport as usize].context("the node has no such door")?;
        if guest.transport == Transport::Quic {
            let quic = match &mut self.quic {
                Some(quic) => quic,
                none => {
                    let lines = QuicLines::new(&self.tickets)?;
                    watch_fd(&self.epoll, lines.socket(), QUIC_TOKEN)?;
                    none.insert(lines)
                }
            };
            guest.line = Line::Quic(quic.connect(Instant::now(), door, n)?);
            guest.session.begin(false, &door, &mut self.turn);
            return Ok(());
        }
        let tls = (guest.transport == Transport::Wss).then(|| self.tls.clone());
        guest.line = Line::connect(door, tls).context("this side cannot open another connection")?;
        guest.session.begin(true, &door, &mut self.turn);
        let socket = guest.line.socket().expect("a TCP line");
        watch_fd(&self.epoll, socket, n as u64)
    }

    fn handle_ready(&mut self, n: usize, flags: EventFlags, watch: &mut impl Watch) {
        if flags.intersects(EventFlags::OUT) {
            self.flush(n);
        }
        let over = flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP);
        if !(over || flags.intersects(EventFlags::IN)) {
            return;
        }
        match self.read(n, over, watch) {
            Ok(()) => self.settle(n, watch),
            Err(why) => self.handle_ended(n, &why),
        }
    }

    /// Read what is there; why the connection is over, if it is.
    fn read(&mut self, n: usize, over: bool, watch: &mut impl Watch) -> Result<(), String> {
        let guest = &mut self.guests[n];
        loop {
            let outcome = guest.line.read(&mut self.scratch);
            if guest.line.is_agreed() && !std::mem::replace(&mut guest.is_agreed, true) {
                count_handshake(&mut self.counts, guest.line.is_resumed());
            }
            let read = match outcome {
                Ok(0) => return Err("the connection ended".into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            self.counts.bytes += read as u64;
            guest.session.handle_bytes(n, &mut self.scratch[..read], &mut self.turn, &mut self.counts, watch);
            // A short read emptied the socket; what comes later is told of anew.
            let may_have_more = over || read == SCRATCH_BYTES || guest.line.may_have_more();
            if guest.session.is_over() || !may_have_more {
                return Ok(());
            }
        }
    }

    /// After a guest's bytes were read: what it says, whether it is in, whether it was sent away.
    fn settle(&mut self, n: usize, watch: &mut impl Watch) {
        self.flush(n);
        let guest = &mut self.guests[n];
        match guest.session.stage {
            Stage::Arrived => {
                guest.session.stage = Stage::In;
                self.counts.joined += 1;
                watch.handle_joined(n, guest.began.elapsed());
            }
            Stage::SentAway { retry_after_s } => {
                self.counts.told_to_retry += 1;
                self.come_back(n, Duration::from_secs(retry_after_s.into()), "sent away too often");
            }
            Stage::Broken(why) => self.handle_ended(n, why),
            _ => {}
        }
    }

    fn handle_ended(&mut self, n: usize, why: &str) {
        let guest = &mut self.guests[n];
        if guest.session.stage == Stage::In {
            self.counts.cut += 1;
            self.counts.last_fault = why.to_owned();
            return self.cut(n);
        }
        self.counts.cut_early += 1;
        self.come_back(n, Duration::from_millis(200), why);
    }

    fn come_back(&mut self, n: usize, after: Duration, why: &str) {
        self.cut(n);
        if self.guests[n].tries >= TRIES_MAX {
            self.counts.failed += 1;
            self.counts.last_fault = why.to_owned();
            return;
        }
        // Up to a second of jitter, as clients add.
        let jitter = Duration::from_millis(self.turn.random() % 1000);
        self.waiting.push(Reverse((Instant::now() + after + jitter, n)));
    }

    fn flush(&mut self, n: usize) {
        let guest = &mut self.guests[n];
        if let Line::Quic(slot) = guest.line {
            if let Some(quic) = self.quic.as_mut() {
                quic.send(slot, &mut guest.session.out);
            }
        } else if guest.line.is_open() && guest.line.write(&mut guest.session.out).is_err() {
            // The next read shows it.
            guest.session.out.clear();
        }
    }

    fn handle_quic(&mut self, watch: &mut impl Watch) -> anyhow::Result<()> {
        if let Some(quic) = self.quic.as_mut() {
            quic.handle_readable(Instant::now())?;
        }
        self.drive_quic(watch);
        Ok(())
    }

    fn drive_quic(&mut self, watch: &mut impl Watch) {
        loop {
            let Some(quic) = self.quic.as_mut() else { return };
            quic.drive(Instant::now());
            let Some(event) = quic.poll_event() else { return };
            match event {
                QuicEvent::Open { guest } => {
                    // Quinn does not tell which kind it was: those that checked a certificate were full ones.
                    let is_full = self.quic_full < self.tickets.quic_verified();
                    self.quic_full += u64::from(is_full);
                    count_handshake(&mut self.counts, !is_full);
                    self.guests[guest].session.handle_open(&mut self.turn);
                    self.flush(guest);
                }
                QuicEvent::Bytes { guest, mut bytes } => {
                    self.counts.bytes += bytes.len() as u64;
                    let session = &mut self.guests[guest].session;
                    session.handle_bytes(guest, &mut bytes, &mut self.turn, &mut self.counts, watch);
                    self.settle(guest, watch);
                }
                QuicEvent::Room { guest } => self.flush(guest),
                QuicEvent::Gone { guest, slot, why } => {
                    if matches!(self.guests[guest].line, Line::Quic(now) if now == slot) {
                        self.handle_ended(guest, &why);
                    }
                }
            }
        }
    }
}

fn count_handshake(counts: &mut Counts, is_resumed: bool) {
    *(if is_resumed { &mut counts.resumed_handshakes } else { &mut counts.full_handshakes }) += 1;
}

fn watch_fd(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> anyhow::Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(epoll, fd, EventData::new_u64(token), flags)?)
}
