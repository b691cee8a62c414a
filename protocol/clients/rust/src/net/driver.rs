//! A driver: one future that runs a session over real connections, and gives its events to a callback.
//!
//! Why one hand-polled future: a load generator runs fifteen thousand of these in one thread. The state of
//! connecting is boxed and freed when done. An idle connection is a socket, a timer and the session, without
//! channels or buffers.
//! Invariants: a turn reads a bounded number of times, then yields to other tasks; the future calls the
//! handler with events in order.
//! Not here: all decisions (`core`).

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::addresses::{Addresses, Urls};
use super::clock::{instant, now_us};
use super::connector::Connecting;
use super::link::{Incoming, Link};
use super::migration::Migration;
use super::{Connector, Url};
use crate::core::{Ending, Event, Next, Reason, Session};

/// Size of the read buffer: a TCP window, so that a viewer catches up in few calls. One buffer per thread.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Most reads in one turn, so that a busy connection does not delay the others of its thread.
const READS_PER_TURN: usize = 4;

/// Bytes of frames that the driver gathers before a write.
const WRITE_BYTES: usize = 16 * 1024;

/// Longest time for name resolution, TCP or QUIC, TLS and the upgrade together.
pub(super) const CONNECT_WAIT_US: u64 = 10_000_000;

/// Longest wait for the node's close.
pub(super) const GOODBYE_WAIT_US: u64 = 1_000_000;

/// An application's callbacks for a session's events. A closure `FnMut(u64, &Event<'_>)` is a handler.
pub trait Handler {
    /// An event happened, at this time on [`now_us`](super::now_us)'s clock.
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>);

    /// Whether the handler takes no more for now. The driver then gives it no further frame in this turn.
    /// `poll_control` follows, where the handler can hold the reading.
    fn is_full(&self) -> bool {
        false
    }

    /// A connection is established, over this URL.
    fn handle_connected(&mut self, url: &Url) {
        let _ = url;
    }

    /// Called on every turn, to publish, subscribe, hold, drop or close. Returns the latest time of the next
    /// call. The handler can register other wake-ups with `cx`.
    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let _ = (cx, control);
        None
    }

    /// The token has expired. Returns a new one, or `None` to give up.
    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let _ = cx;
        Poll::Ready(None)
    }
}

impl<F: FnMut(u64, &Event<'_>)> Handler for F {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        self(now_us, event);
    }
}

/// Traffic counts of a driver, over all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes read: without TLS and QUIC, with WebSocket's headers.
    pub bytes_in: u64,
    /// Bytes written, counted likewise.
    pub bytes_out: u64,
    /// Frames read.
    pub frames_in: u64,
    /// Frames written.
    pub frames_out: u64,
    /// Connections that were established.
    pub connects: u64,
}

/// The controls of a driver, for its handler's turn.
#[derive(Debug)]
pub struct Control<'a> {
    /// The session, to publish, react, subscribe, close and so on.
    pub session: &'a mut Session,
    /// The time of this turn.
    pub now_us: u64,
    /// Traffic counts of the connections.
    pub stats: &'a Stats,
    held_until_us: &'a mut u64,
    drop_due: &'a mut Option<u64>,
    probe_due: &'a mut bool,
}

impl Control<'_> {
    /// Stop reading the socket until this time ([`u64::MAX`]: until told otherwise; 0: read again). Pings are
    /// still sent. Frames from the node wait in the socket's buffer, and then at the node.
    pub fn hold_reading_until(&mut self, until_us: u64) {
        if (*self.held_until_us > self.now_us) != (until_us > self.now_us) {
            self.session.handle_reading_held(self.now_us, until_us > self.now_us);
        }
        *self.held_until_us = until_us;
    }

    /// Drop the connection without a close; the session reconnects at once, and resumes.
    pub fn drop_connection(&mut self) {
        self.drop_connection_for(0);
    }

    /// The device woke up, or its network changed: try at once if the session waits for its next try, and
    /// probe the connection if there is one. See [`Session::probe`].
    pub fn network_changed(&mut self) {
        *self.probe_due = true;
    }

    /// As [`Control::drop_connection`], but reconnect only after this time, like a viewer whose network has
    /// failed.
    pub fn drop_connection_for(&mut self, away_us: u64) {
        *self.drop_due = Some(away_us);
    }
}

/// The result of a driver.
#[derive(Debug)]
pub struct Finished<H> {
    /// Why the session ended.
    pub reason: Reason,
    /// Traffic counts of its connections.
    pub stats: Stats,
    /// The session, with faults and positions.
    pub session: Session,
    /// The handler.
    pub handler: H,
}

enum State {
    Resting { until_us: u64 },
    Connecting { connecting: Connecting, deadline_us: u64 },
    Up(Link),
    Closing { link: Link, deadline_us: u64 },
    AwaitingToken,
    Over(Reason),
}

/// The result of one step of the state.
enum Step {
    /// The state changed: take another step.
    Again,
    /// Nothing to do before this time.
    Wait(Option<u64>),
}

/// One session over real connections. See [`Driver::run`].
pub struct Driver<H> {
    connector: Connector,
    addresses: Addresses,
    session: Session,
    handler: H,
    state: State,
    migration: Migration,
    stats: Stats,
    held_until_us: u64,
    drop_due: Option<u64>,
    probe_due: bool,
    timer: Option<Pin<Box<Sleep>>>,
    armed_us: u64,
}

impl<H: Handler> Driver<H> {
    /// A driver, which connects when it runs.
    pub fn new(connector: &Connector, urls: impl Into<Urls>, mut session: Session, handler: H) -> Driver<H> {
        session.overlap_migrations();
        Driver {
            connector: connector.clone(),
            addresses: Addresses::new(urls.into()),
            session,
            handler,
            state: State::Resting { until_us: 0 },
            migration: Migration::default(),
            stats: Stats::default(),
            held_until_us: 0,
            drop_due: None,
            probe_due: false,
            timer: None,
            armed_us: u64::MAX,
        }
    }

    /// Connect, and reconnect as needed, until the session ends: by [`Session::close`], or because it may not
    /// or cannot continue. Spawn it on a tokio runtime with net and time. Dropping the future drops the
    /// connection without a close.
    ///
    /// # Panics
    /// When it is polled after its end.
    // Not an async function: its future would hold the driver twice.
    pub fn run(self) -> impl Future<Output = Finished<H>> {
        let mut driver = Some(self);
        std::future::poll_fn(move |cx| {
            let reason = ready!(driver.as_mut().expect("polled after its end").poll_turn(cx));
            let Driver { stats, session, handler, .. } = driver.take().expect("it was polled");
            Poll::Ready(Finished { reason, stats, session, handler })
        })
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        loop {
            let now_us = now_us();
            self.release_reading(now_us);
            let ended = self.poll_incoming(cx, now_us);
            let was_held = self.held_until_us > now_us;
            let handler_due = self.poll_handler(cx, now_us);
            if was_held && self.held_until_us <= now_us {
                // Nothing else would wake it: what is to be read came long ago.
                cx.waker().wake_by_ref();
            }
            let goodbye_due = self.migration.poll_goodbye(cx, now_us, &mut self.stats);
            let step = match ended {
                Some(ending) => self.handle_ended(now_us, ending),
                None => self.step(cx, now_us),
            };
            if let State::Over(reason) = &self.state {
                return Poll::Ready(reason.clone());
            }
            if let Step::Wait(due) = step {
                let held = Some(self.held_until_us).filter(|&at| at > now_us && at < u64::MAX);
                self.arm(cx, [due, handler_due, goodbye_due, held].into_iter().flatten().min());
                return Poll::Pending;
            }
        }
    }

    fn release_reading(&mut self, now_us: u64) {
        if self.held_until_us != 0 && self.held_until_us <= now_us {
            self.held_until_us = 0;
            self.session.handle_reading_held(now_us, false);
        }
    }

    fn poll_handler(&mut self, cx: &mut Context<'_>, now_us: u64) -> Option<u64> {
        let mut control = Control {
            session: &mut self.session,
            now_us,
            stats: &self.stats,
            held_until_us: &mut self.held_until_us,
            drop_due: &mut self.drop_due,
            probe_due: &mut self.probe_due,
        };
        let due = self.handler.poll_control(cx, &mut control);
        if std::mem::take(&mut self.probe_due) {
            self.session.probe(now_us);
            // A connection that is being made may wait for a network that is gone.
            if matches!(self.state, State::Resting { .. } | State::Connecting { .. }) {
                self.state = State::Resting { until_us: now_us };
            }
        }
        due
    }

    /// Read available bytes, within the turn's budget. Returns how the connection ended, if it did.
    fn poll_incoming(&mut self, cx: &mut Context<'_>, now_us: u64) -> Option<Ending> {
        let State::Up(link) = &mut self.state else { return None };
        if self.held_until_us > now_us {
            return None;
        }
        let (session, handler, stats) = (&mut self.session, &mut self.handler, &mut self.stats);
        with_scratch(|scratch| {
            for _ in 0..READS_PER_TURN {
                let frames_in = &mut stats.frames_in;
                let read = link.poll_read(cx, scratch, &mut |incoming| {
                    match incoming {
                        Incoming::Frame(frame) => {
                            *frames_in += 1;
                            let emit = &mut |event: Event<'_>| handler.handle_event(now_us, &event);
                            session.handle_frame(now_us, frame, emit);
                        }
                        Incoming::Fault(code, what) => session.handle_malformed(code, what),
                    }
                    !handler.is_full()
                });
                match read {
                    Poll::Ready(Ok(bytes)) => stats.bytes_in += bytes as u64,
                    Poll::Ready(Err(ending)) => {
                        // The node's close gets an answer, if it can be sent at once.
                        let _ = link.poll_flush(cx, &mut stats.bytes_out);
                        return Some(ending);
                    }
                    Poll::Pending => return None,
                }
                if handler.is_full() {
                    break;
                }
            }
            cx.waker().wake_by_ref();
            None
        })
    }

    fn step(&mut self, cx: &mut Context<'_>, now_us: u64) -> Step {
        let handler = &mut self.handler;
        let emit = &mut |event: Event<'_>| handler.handle_event(now_us, &event);
        if let Some(reason) = self.session.poll_over(now_us, emit) {
            self.state = State::Over(reason);
        }
        let due = self.session.poll_timeout();
        let no_later = |at_us: u64| Step::Wait(Some(due.map_or(at_us, |due| due.min(at_us))));
        match &mut self.state {
            State::Over(_) => Step::Wait(None),
            State::Resting { until_us } if now_us < *until_us => no_later(*until_us),
            State::Resting { .. } => {
                let draw = self.session.draw();
                let urls = self.addresses.order(now_us, self.session.nodes(), draw);
                let (connecting, deadline_us) = (self.connector.connect(urls), now_us + CONNECT_WAIT_US);
                self.state = State::Connecting { connecting, deadline_us };
                Step::Again
            }
            State::Connecting { connecting, deadline_us } => match connecting.as_mut().poll(cx) {
                Poll::Ready(Ok((link, url))) => {
                    self.stats.connects += 1;
                    self.addresses.handle_won(now_us, &url);
                    self.handler.handle_connected(&url);
                    #[cfg(feature = "tracing")]
                    tracing::debug!(%url, "connected");
                    self.session.handle_connected(now_us);
                    self.state = State::Up(link);
                    Step::Again
                }
                Poll::Ready(Err(ending)) => self.handle_unreachable(now_us, ending),
                Poll::Pending if now_us >= *deadline_us => {
                    self.handle_unreachable(now_us, Ending::Broken(std::io::ErrorKind::TimedOut))
                }
                Poll::Pending => no_later(*deadline_us),
            },
            State::Up(_) => self.step_up(cx, now_us),
            State::Closing { .. } => self.step_closing(cx, now_us),
            State::AwaitingToken => match self.handler.poll_token(cx) {
                Poll::Pending => Step::Wait(due),
                Poll::Ready(token) => {
                    let is_set = token.is_some_and(|token| self.session.set_token(&token).is_ok());
                    self.state = if is_set {
                        State::Resting { until_us: now_us }
                    } else {
                        let handler = &mut self.handler;
                        let emit = &mut |event: Event<'_>| handler.handle_event(now_us, &event);
                        State::Over(self.session.give_up(Reason::NoToken, emit))
                    };
                    Step::Again
                }
            },
        }
    }

    fn step_up(&mut self, cx: &mut Context<'_>, now_us: u64) -> Step {
        if let Some(away_us) = self.drop_due.take() {
            if let State::Up(link) = std::mem::replace(&mut self.state, State::Resting { until_us: now_us }) {
                link.abort();
            }
            let step = self.handle_ended(now_us, Ending::Dropped);
            if let State::Resting { until_us } = &mut self.state {
                *until_us = until_us.saturating_add(away_us);
            }
            return step;
        }
        if self.session.poll_timeout().is_some_and(|at_us| at_us <= now_us) {
            self.session.handle_timeout(now_us);
        }
        let next_due = self.poll_next(cx, now_us);
        if self.change_over(now_us, false) {
            return Step::Again;
        }
        if let Err(ending) = self.transmit(cx, now_us) {
            return self.handle_ended(now_us, ending);
        }
        let Some(code) = self.session.poll_close() else {
            return Step::Wait([self.session.poll_timeout(), next_due].into_iter().flatten().min());
        };
        let State::Up(mut link) = std::mem::replace(&mut self.state, State::Resting { until_us: now_us })
        else {
            unreachable!()
        };
        if !link.begin_close(code) {
            return self.handle_ended(now_us, Ending::Eof);
        }
        self.state = State::Closing { link, deadline_us: now_us + GOODBYE_WAIT_US };
        Step::Again
    }

    /// Write due frames, until there are none or the transport accepts no more.
    fn transmit(&mut self, cx: &mut Context<'_>, now_us: u64) -> Result<(), Ending> {
        let State::Up(link) = &mut self.state else { return Ok(()) };
        let (session, stats) = (&mut self.session, &mut self.stats);
        with_frame(|frame| {
            loop {
                let mut more = true;
                while more && link.queued_bytes() < WRITE_BYTES {
                    frame.clear();
                    more = session.poll_transmit(now_us, frame);
                    if more {
                        stats.frames_out += 1;
                        link.queue(frame);
                    }
                }
                match link.poll_flush(cx, &mut stats.bytes_out) {
                    Poll::Ready(Ok(())) if more => {}
                    Poll::Ready(other) => return other,
                    Poll::Pending => return Ok(()),
                }
            }
        })
    }

    /// Ends when our close is sent and the node's has arrived, or the time is over.
    fn step_closing(&mut self, cx: &mut Context<'_>, now_us: u64) -> Step {
        let State::Closing { link, deadline_us } = &mut self.state else { return Step::Again };
        let flushed = link.poll_flush(cx, &mut self.stats.bytes_out);
        let ended = with_scratch(|scratch| {
            loop {
                match link.poll_read(cx, scratch, &mut |_| true) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return true,
                    Poll::Pending => return false,
                }
            }
        });
        if !ended && now_us < *deadline_us && !matches!(flushed, Poll::Ready(Err(_))) {
            return Step::Wait(Some(*deadline_us));
        }
        link.end_stream();
        let _ = link.poll_flush(cx, &mut self.stats.bytes_out);
        self.handle_ended(now_us, Ending::Eof)
    }

    /// No node answers at the address in `GoAway`: return to the address that the application gave.
    fn handle_unreachable(&mut self, now_us: u64, ending: Ending) -> Step {
        self.addresses.moved_to = None;
        self.handle_ended(now_us, ending)
    }

    fn handle_ended(&mut self, now_us: u64, ending: Ending) -> Step {
        if ending != Ending::Dropped && self.change_over(now_us, true) {
            return Step::Again;
        }
        self.migration.next = None;
        let handler = &mut self.handler;
        let next = self
            .session
            .handle_disconnected(now_us, ending, &mut |event| handler.handle_event(now_us, &event));
        #[cfg(feature = "tracing")]
        tracing::debug!(url = %self.addresses.present(), ?next, "the connection has ended");
        self.state = match next {
            Next::Reconnect { after_us } => State::Resting { until_us: now_us.saturating_add(after_us) },
            Next::Reauthenticate => State::AwaitingToken,
            Next::GiveUp(reason) => State::Over(reason),
        };
        let where_to = self.session.take_where_to();
        if let Some(url) = where_to.and_then(|where_to| self.addresses.given().moved(&where_to)) {
            self.addresses.moved_to = Some(Box::new(url));
        }
        self.drop_due = None;
        Step::Again
    }

    /// Advance the next connection, beside the present one. Returns the time of the next step.
    fn poll_next(&mut self, cx: &mut Context<'_>, now_us: u64) -> Option<u64> {
        if let Some(where_to) = self.session.next_connection().poll_open() {
            let has_fallen_back = self.session.next_connection().has_fallen_back();
            let (given, present) = (self.addresses.given(), self.addresses.present());
            let is_doubt = self.session.next_connection().is_doubt();
            let named = Some(&*where_to).filter(|to| !to.is_empty()).and_then(|to| given.moved(to));
            let urls = match named {
                // The process that takes over from this one has its address.
                None if !is_doubt => vec![if has_fallen_back { given } else { present }.clone()],
                first => {
                    let draw = self.session.draw();
                    self.addresses.elsewhere(first, self.session.nodes(), draw)
                }
            };
            self.migration.open(&self.connector, urls, now_us);
        }
        self.migration.poll_next(cx, now_us, &mut self.session, &mut self.stats)
    }

    /// Change over to the next connection, if the session decides so.
    fn change_over(&mut self, now_us: u64, ended: bool) -> bool {
        let Self { session, handler, .. } = self;
        if !session.poll_change(now_us, ended, &mut |event| handler.handle_event(now_us, &event)) {
            return false;
        }
        let (link, url) = self.migration.take_next().expect("it was greeted over a link");
        self.handler.handle_connected(&url);
        self.addresses.handle_won(now_us, &url);
        let old = std::mem::replace(&mut self.state, State::Up(link));
        if let State::Up(link) = old
            && !ended
        {
            self.migration.leave(link, now_us);
        }
        true
    }

    /// Ensure a turn at this time. A timer for an earlier time is kept: most turns only delay the next ping,
    /// and a turn that is too early does nothing.
    fn arm(&mut self, cx: &mut Context<'_>, at_us: Option<u64>) {
        let Some(at_us) = at_us else { return };
        let at = instant(at_us);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if at_us < self.armed_us || timer.is_elapsed() {
            timer.as_mut().reset(at);
            self.armed_us = at_us;
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

/// The thread's scratch buffer for reads. It is taken out while in use, so a handler that drives another
/// session gets its own.
pub(super) fn with_scratch<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    }
    let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice());
    let result = f(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// The thread's scratch buffer for a frame to send, taken out likewise.
pub(super) fn with_frame<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static FRAME: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut frame = FRAME.take();
    let result = f(&mut frame);
    FRAME.set(frame);
    result
}
