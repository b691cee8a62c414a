//! Reconnecting clients: thousands of sessions of the real client in one thread, which lose their connections
//! at once and are measured as they reconnect.
//!
//! Why the client library, where other benches have lean clients: the client decides as much as the node how
//! an audience reconnects, by its backoff, its tickets and its handling of retry times. Why a thread of lower
//! priority: viewers who stayed run in another process on the same core, and the handshakes of this one must
//! not add to their latency.
//! Invariants: every client accounts for every offset from its first on: a message, an omission or a gap, in
//! order and once. Every fault of its session is counted.
//! Not here: viewers who stay (`viewers`), messages (`publisher`).

use anyhow::{Context as _, Result, bail, ensure};
use grandstand_client::core::{Ending, Event, Fault, Options, Reason, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Control, Driver, Handler, Trust, Url, now_us};
use grandstand_harness::histogram::{Summary, Times};
use grandstand_protocol::frame::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// First joins under way at a time.
const IN_FLIGHT_MAX: usize = 128;

/// Between two looks at what has become of everybody.
const LOOK: Duration = Duration::from_millis(5);

/// Below the viewers who stay, and the publisher.
const NICENESS: i32 = 10;

/// Who comes, and how.
#[derive(Clone, Debug)]
pub struct ReconnectingPlan {
    /// Where to: `ws://`, `wss://` or `quic://`.
    pub url: String,
    /// The room.
    pub room: String,
    /// How many.
    pub count: usize,
    /// They show TLS tickets and address tokens when they come back.
    pub resume_tls: bool,
}

/// What became of a storm.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// Clients that follow the room from where they were, and have everything up to then.
    pub back: usize,
    /// Of them, those whose session and subscription were resumed.
    pub resumed: usize,
    /// From the cut until the last one was back.
    pub last_back: Duration,
    /// From the moment at which a client wanted to come back until it was.
    pub took: Summary,
    /// Tries that the node refused with a time to come back.
    pub told_to_retry: u64,
    /// Tries that ended without one.
    pub cut_early: u64,
    /// The first such end.
    pub first_end: Option<String>,
}

/// Where everybody stands at the end: sums over all clients.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Clients that expect the offset that was asked for, and account for every one before it.
    pub complete: usize,
    /// Messages that they got.
    pub messages: u64,
    /// Offsets left out by pacing.
    pub omitted: u64,
    /// Offsets within gaps that were named.
    pub gap_messages: u64,
    /// Offsets that went missing without a word, or did not fit.
    pub lost: u64,
    /// Offsets that came again.
    pub duplicated: u64,
    /// Connections that ended when nobody had cut them.
    pub ended: u64,
    /// The first fault.
    pub first_fault: Option<String>,
}

/// What the bench and the thread of the clients share.
#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    returned: Returned,
    first_fault: Option<String>,
}

/// What a client has had, and where it stands.
#[derive(Debug, Default)]
struct Slot {
    is_following: bool,
    accounts: Accounts,
    first: u64,
    next: u64,
    storm: Storm,
    waker: Option<Waker>,
}

/// A cut, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Storm {
    /// When the client wants to come back.
    wants_us: u64,
    /// Told to drop its connection for so long, and has not done so.
    order: Option<u64>,
    /// Its session was resumed, and so was its subscription.
    is_welcome: bool,
    is_resumed: bool,
    /// It follows again, and is back when it has what lies before this.
    head: Option<u64>,
    back_us: Option<u64>,
}

/// The clients' thread.
#[derive(Debug)]
pub struct ReconnectingClients {
    state: Arc<Mutex<State>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

impl ReconnectingClients {
    /// Starts the thread, and waits until everybody follows the room.
    ///
    /// # Errors
    /// Somebody did not get in within `patience`.
    pub fn come(plan: ReconnectingPlan, patience: Duration) -> Result<ReconnectingClients> {
        let (state, is_over, count) = (Arc::<Mutex<State>>::default(), Arc::default(), plan.count);
        let (theirs, end) = (Arc::clone(&state), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || run(&plan, &theirs, &end));
        let mut clients = ReconnectingClients { state, is_over, thread: Some(thread) };
        clients.wait(patience, |state| following(state) == count)?;
        let state = locked(&clients.state);
        let (there, first_end) = (following(&state), state.returned.first_end.clone());
        ensure!(there == count, "{there} of {count} came: {}", first_end.unwrap_or_default());
        drop(state);
        Ok(clients)
    }

    /// All are cut; each comes back after a time of its own, evenly over `within`. Until all are back, or
    /// `patience` is over.
    ///
    /// # Errors
    /// The thread failed.
    pub fn cut(&mut self, within: Duration, patience: Duration) -> Result<Returned> {
        let cut_us = now_us();
        let mut state = locked(&self.state);
        state.returned = Returned::default();
        let count = state.slots.len() as u64;
        for (n, slot) in (0..).zip(&mut state.slots) {
            let away_us = within.as_micros() as u64 * n / count;
            slot.storm = Storm { wants_us: cut_us + away_us, order: Some(away_us), ..Storm::default() };
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
        drop(state);
        self.wait(patience, |state| state.slots.iter().all(|slot| slot.storm.back_us.is_some()))?;
        let state = locked(&self.state);
        let (mut returned, mut times) = (state.returned.clone(), Times::default());
        for storm in state.slots.iter().map(|slot| slot.storm) {
            let Some(back_us) = storm.back_us else { continue };
            returned.back += 1;
            returned.resumed += usize::from(storm.is_resumed);
            times.record(back_us.saturating_sub(storm.wants_us));
            let after = Duration::from_micros(back_us.saturating_sub(cut_us));
            returned.last_back = returned.last_back.max(after);
        }
        returned.took = times.summary();
        Ok(returned)
    }

    /// Waits until everybody expects `head`, and tells how they got there.
    ///
    /// # Errors
    /// The thread failed.
    pub fn settle(&mut self, head: u64, patience: Duration) -> Result<Accounts> {
        self.wait(patience, |state| state.slots.iter().all(|slot| slot.next == head))?;
        let state = locked(&self.state);
        let mut sum = Accounts { first_fault: state.first_fault.clone(), ..Accounts::default() };
        for slot in &state.slots {
            let own = &slot.accounts;
            sum.complete += usize::from(slot.is_complete(head));
            sum.messages += own.messages;
            sum.omitted += own.omitted;
            sum.gap_messages += own.gap_messages;
            sum.lost += own.lost;
            sum.duplicated += own.duplicated;
            sum.ended += own.ended;
        }
        Ok(sum)
    }

    /// Until this is so, or `patience` is over.
    fn wait(&mut self, patience: Duration, is_so: impl Fn(&State) -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !is_so(&locked(&self.state)) && Instant::now() < deadline {
            if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                match self.thread.take().map(JoinHandle::join) {
                    Some(Ok(Err(error))) => return Err(error),
                    _ => bail!("the clients' thread has ended"),
                }
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for ReconnectingClients {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What failed was told to whoever waited.
            let _ = thread.join();
        }
    }
}

fn following(state: &State) -> usize {
    state.slots.iter().filter(|slot| slot.is_following).count()
}

fn run(plan: &ReconnectingPlan, state: &Arc<Mutex<State>>, is_over: &AtomicBool) -> Result<()> {
    rustix::process::setpriority_process(None, NICENESS).context("no lower priority")?;
    let tickets = if plan.resume_tls { plan.count } else { 0 };
    let connector = Connector::for_many(&Trust::AnyoneForTests, None, None, tickets)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let url: Url = plan.url.parse().map_err(|error| anyhow::anyhow!("{}: {error}", plan.url))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut begun = 0;
        while !is_over.load(Ordering::Acquire) {
            while begun < plan.count && begun < following(&locked(state)) + IN_FLIGHT_MAX {
                // Every session draws its own delays and nonces, the same in every run.
                let seed = (begun as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mut session = Session::new(Options { seed, keep_state: false, ..Options::default() });
                session
                    .subscribe(&plan.room, SubscribeOptions::default())
                    .expect("the plan's room has a valid name");
                locked(state).slots.push(Slot::default());
                let client = Client { number: begun, state: state.clone() };
                tokio::task::spawn_local(Driver::new(&connector, &url, session, client).run());
                begun += 1;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    })
}

impl Slot {
    /// It stands at `head`, and every offset since it came is accounted for.
    fn is_complete(&self, head: u64) -> bool {
        let own = &self.accounts;
        let had = own.messages + own.omitted + own.gap_messages;
        self.next == head && had == head - self.first && own.lost + own.duplicated == 0
    }

    /// Offsets from `from` to `to` are accounted for.
    fn advance(&mut self, from: u64, to: u64) {
        self.accounts.lost += from.saturating_sub(self.next);
        self.accounts.duplicated += self.next.saturating_sub(from);
        self.next = self.next.max(to);
    }

    /// Has it caught up since it follows again?
    fn look_whether_back(&mut self, now_us: u64) {
        if self.storm.back_us.is_none() && self.storm.head.is_some_and(|head| self.next >= head) {
            self.storm.back_us = Some(now_us);
        }
    }
}

/// The handler of one session.
struct Client {
    number: usize,
    state: Arc<Mutex<State>>,
}

impl State {
    fn fault(&mut self, number: usize, text: impl FnOnce() -> String) {
        self.first_fault.get_or_insert_with(|| format!("client {number}: {}", text()));
    }

    fn ended(&mut self, number: usize, reason: &Reason) {
        let was_told = match reason {
            Reason::Transport(Ending::Dropped) => return,
            Reason::Transport(Ending::Http { status: 429 | 503, .. }) | Reason::Told { code: 104, .. } => {
                true
            }
            _ => false,
        };
        let slot = &mut self.slots[number];
        if slot.is_following && (slot.storm.wants_us == 0 || slot.storm.back_us.is_some()) {
            slot.accounts.ended += 1;
            return self.fault(number, || reason.to_string());
        }
        let returned = &mut self.returned;
        *(if was_told { &mut returned.told_to_retry } else { &mut returned.cut_early }) += 1;
        returned.first_end.get_or_insert_with(|| reason.to_string());
    }

    fn subscribed(&mut self, number: usize, outcome: Outcome, offset: u64, head: u64) {
        let slot = &mut self.slots[number];
        if !slot.is_following {
            (slot.is_following, slot.first, slot.next) = (true, offset, offset);
            return;
        }
        let is_continued = matches!(outcome, Outcome::Resumed | Outcome::Gapped);
        (slot.storm.is_resumed, slot.storm.head) = (slot.storm.is_welcome && is_continued, Some(head));
        if outcome == Outcome::Live || outcome == Outcome::Restarted {
            slot.accounts.lost += 1;
            self.fault(number, || format!("began anew: {outcome:?}"));
        }
    }
}

impl Handler for Client {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let (n, state) = (self.number, &mut *locked(&self.state));
        let slot = &mut state.slots[n];
        match event {
            Event::Welcome { resumed, .. } => slot.storm.is_welcome = *resumed,
            Event::Message { offset, .. } => {
                slot.advance(*offset, offset + 1);
                slot.accounts.messages += 1;
            }
            Event::Omitted { from, to, .. } => {
                slot.advance(*from, *to);
                slot.accounts.omitted += to - from;
            }
            Event::Gap { from, to, .. } => {
                slot.advance(*from, *to);
                slot.accounts.gap_messages += to - from;
            }
            Event::Subscribed { outcome, offset, head, .. } => state.subscribed(n, *outcome, *offset, *head),
            Event::Fault { fault, .. } => {
                match fault {
                    Fault::Duplicate { .. } => slot.accounts.duplicated += 1,
                    Fault::Skipped { .. } | Fault::Desync { .. } => slot.accounts.lost += 1,
                }
                state.fault(n, || format!("{fault:?}"));
            }
            Event::Disconnected { reason } => state.ended(n, reason),
            Event::Closed { reason } => {
                slot.accounts.ended += 1;
                state.fault(n, || format!("gave up: {reason}"));
            }
            _ => {}
        }
        state.slots[n].look_whether_back(now_us);
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let slot = &mut locked(&self.state).slots[self.number];
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        if let Some(away_us) = slot.storm.order.take() {
            control.drop_connection_for(away_us);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_back_with_everything_up_to_the_head_at_its_return() {
        let mut slot = Slot { is_following: true, next: 10, ..Slot::default() };
        slot.storm.head = Some(12);
        slot.advance(10, 11);
        slot.look_whether_back(5);
        assert_eq!(slot.storm.back_us, None);
        slot.advance(11, 12);
        slot.look_whether_back(7);
        slot.look_whether_back(9);
        assert_eq!(slot.storm.back_us, Some(7));
    }

    #[test]
    fn what_is_missing_or_comes_again_is_no_complete_account() {
        let mut slot = Slot { first: 5, next: 5, ..Slot::default() };
        slot.advance(5, 6);
        slot.accounts.messages = 1;
        assert!(slot.is_complete(6) && !slot.is_complete(7));
        slot.advance(8, 9);
        slot.accounts.messages = 2;
        assert!(!slot.is_complete(9) && slot.accounts.lost == 2);
        slot.advance(8, 9);
        assert_eq!(slot.accounts.duplicated, 1);
    }
}
