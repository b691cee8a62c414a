//! A probe: a client that measures how soon a busy node answers a new connection.
//!
//! Method: one plain WebSocket at a time, from its own thread: connect and follow a room (join), ping,
//! publish, leave; again after a pause. An answer that does not arrive within `ANSWER_MAX` is a failure,
//! and is timed as that long.
//! Not here: the other load of the node (`publisher`, `viewers`).

use crate::lean_clients::protocol::{Publication, Role};
use crate::lean_clients::{ClientsPlan, LeanClients, Reading};
use crate::record::{Row, ms};
use anyhow::{Result, ensure};
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::histogram::{Summary, Times};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest wait for an answer: a later one is of no use to a live chat.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between two rounds: a probe that asks all the time would be a load.
const PAUSE: Duration = Duration::from_millis(50);

/// The results of a probe.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// From connecting until the room was followed, from ping to pong, from publish to its answer.
    pub times: [Summary; 3],
    /// Publications that were refused (with a reason and a time to retry): an answer, and not a failure.
    pub refused: u64,
    /// Questions without an answer.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
}

/// A probe at work.
#[derive(Debug)]
pub struct Probe {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Probed>>,
}

impl Probe {
    /// Begins to ask.
    #[must_use]
    pub fn start(plan: &ClientsPlan) -> Probe {
        let is_over = Arc::new(AtomicBool::new(false));
        let (theirs, plan) = (is_over.clone(), plan.clone());
        Probe { is_over, thread: Some(std::thread::spawn(move || ask(&plan, &theirs))) }
    }

    /// Asks nothing more.
    #[must_use]
    pub fn stop(mut self) -> Probed {
        self.is_over.store(true, Ordering::Release);
        self.thread.take().expect("taken once").join().expect("probes do not panic")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl Probed {
    /// The figures of a row.
    pub fn add_to(&self, row: &mut Row) {
        for (name, times) in ["join", "ping", "publish"].iter().zip(&self.times) {
            row.set(&format!("probe_{name}_p99_ms"), ms(times.p99_us));
        }
        row.set("probe_rounds", self.times[0].count);
        row.set("probe_refused", self.refused);
        row.set("probe_failures", self.failures);
    }
}

fn ask(plan: &ClientsPlan, is_over: &AtomicBool) -> Probed {
    let (mut times, mut probed) = (<[Times; 3]>::default(), Probed::default());
    while !is_over.load(Ordering::Acquire) {
        match round(plan, &mut times) {
            Ok(seen) => probed.refused += seen.refused,
            Err(error) => {
                probed.failures += 1;
                probed.first_failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
        std::thread::sleep(PAUSE);
    }
    Probed { times: times.map(|times| times.summary()), ..probed }
}

fn round(plan: &ClientsPlan, times: &mut [Times; 3]) -> Result<Reading> {
    let mut clients = LeanClients::new(plan.clone(), |_| None)?;
    clients.add(Role::Publisher, [0]);
    let begin_ns = monotonic_ns();
    let joined = clients.come(0..1, 1, ANSWER_MAX);
    times[0].record((monotonic_ns() - begin_ns) / 1_000);
    joined?;
    clients.ping(0);
    wait(&mut clients, &mut times[1], |clients| clients.context().seen.counts.pongs > 0)?;
    let publication =
        Publication { text: "is anybody there", due_ns: monotonic_ns(), ..Publication::default() };
    clients.publish(0, &[publication]);
    wait(&mut clients, &mut times[2], |clients| clients.unanswered() == 0)?;
    Ok(clients.read())
}

fn wait(clients: &mut LeanClients, times: &mut Times, is_so: fn(&mut LeanClients) -> bool) -> Result<()> {
    let (begin, mut is_answered) = (Instant::now(), false);
    while !is_answered && begin.elapsed() < ANSWER_MAX && clients.client(0).is_joined {
        clients.turn(Duration::from_millis(5))?;
        is_answered = is_so(clients);
    }
    times.record(begin.elapsed().as_micros() as u64);
    ensure!(is_answered, "no answer within {ANSWER_MAX:?}, or the connection ended");
    Ok(())
}
