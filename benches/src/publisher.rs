//! The publisher: it sends messages at an even rate, each when the clock says, whatever the server does (open
//! loop).
//!
//! Why open: a generator that waits for a slow server loads it less, so the worst latencies would not be
//! seen. Why bounded all the same: messages that a server does not read for `STUCK_MAX` are dropped and
//! reported, not queued for ever.
//! A message contains its number and the time at which it was due (`stamp`). Texts of real logs do not; the
//! viewers get their times by offset (`Viewers::due`).
//! Invariant: each message is sent at most once, and answered or counted as unanswered.
//! Not here: the viewers (`viewers`).

use crate::cpu::thread_ns;
use crate::lean_clients::protocol::{ByName, Publication, Role};
use crate::lean_clients::{ClientsPlan, LeanClients};
use crate::stamp::stamp;
use anyhow::{Context, Result, ensure};
use grandstand_harness::chat_log::Message;
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::histogram::Summary;
use grandstand_harness::process::pin_here;
use grandstand_protocol::frame;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A publisher whose bytes are not taken for so long gives up.
const STUCK_MAX: Duration = Duration::from_secs(10);

/// How long it waits for answers at the end.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

/// The longest pause between two looks at its orders.
const PAUSE_NS: u64 = 1_000_000;

/// The messages of a publisher.
#[derive(Clone, Debug)]
pub enum Script {
    /// Messages of one size, evenly, until stopped.
    Even {
        /// Messages per second.
        per_s: f64,
        /// Bytes of a text.
        size: usize,
        /// The number of the first message.
        first: u64,
        /// Joins the messages of this many milliseconds in one publication, as an application would; 0 for
        /// one each.
        join_ms: u64,
    },
    /// A log, from its beginning; ends with it.
    Log {
        /// Its lines.
        lines: Arc<Vec<Message>>,
        /// How many times faster.
        speed: f64,
    },
}

impl Script {
    /// Messages at an even rate, each by itself.
    #[must_use]
    pub fn even(per_s: f64, size: usize) -> Script {
        Script::Even { per_s, size, first: 0, join_ms: 0 }
    }

    /// When the n-th message is due, after the beginning; `None` behind the end.
    #[must_use]
    pub fn due_after_ns(&self, n: u64) -> Option<u64> {
        match self {
            Script::Even { per_s, .. } => Some((n as f64 * 1e9 / per_s) as u64),
            Script::Log { lines, speed } => Some((lines.get(n as usize)?.t_ms as f64 * 1e6 / speed) as u64),
        }
    }

    /// The n-th message: author and role, empty for the publisher's own, and text.
    fn message(&self, n: u64, due_ns: u64) -> (&str, frame::Role, String) {
        match self {
            Script::Even { size, first, .. } => {
                let mut text = String::new();
                stamp(due_ns, first + n, *size, &mut text);
                ("", frame::Role::default(), text)
            }
            Script::Log { lines, .. } => {
                // Only a session that may bridge can speak in others' names; on an open node all may.
                let Message { author, text, role, .. } = &lines[n as usize];
                (author, *role, text.to_string())
            }
        }
    }

    /// When what is due at a time after the beginning is sent: at once, or at the end of what is joined.
    fn sent_after_ns(&self, due_ns: u64) -> u64 {
        match self {
            Script::Even { join_ms: join_ms @ 1.., .. } => {
                let join_ns = join_ms * 1_000_000;
                (due_ns / join_ns + 1) * join_ns
            }
            _ => due_ns,
        }
    }
}

/// A publisher's report.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Messages sent.
    pub sent: u64,
    /// Publications refused, and the first reason.
    pub refused: u64,
    /// The first refusal.
    pub first_refusal: Option<String>,
    /// Publications without an answer.
    pub unanswered: u64,
    /// The offset behind the last one acknowledged; before any, that at which the publisher came.
    pub head: u64,
    /// From when a message was due until its answer.
    pub answers: Summary,
    /// The latest that a message was sent after it should have been: the generator's own fault.
    pub late_max_us: u64,
    /// From the first message on.
    pub elapsed_ns: u64,
    /// CPU time of its thread in that.
    pub cpu_ns: u64,
    /// Why it ended early.
    pub fault: Option<String>,
}

/// A publisher in a thread of its own.
#[derive(Debug)]
pub struct Publisher {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<Said>>,
    /// The room's head when it came.
    pub first_offset: u64,
}

/// When to begin and when to stop; 0 while that is not known.
#[derive(Debug, Default)]
struct Orders {
    begin_ns: AtomicU64,
    end_ns: AtomicU64,
}

impl Publisher {
    /// Connects, and follows the plan's first room; says nothing before [`Publisher::begin`].
    ///
    /// # Errors
    /// The server does not let it in.
    pub fn connect(
        plan: &ClientsPlan,
        more: ByName,
        core: Option<usize>,
        script: Script,
    ) -> Result<Publisher> {
        let (plan, orders, (ready, came)) = (plan.clone(), Arc::new(Orders::default()), mpsc::channel());
        let theirs = orders.clone();
        let connect = move || -> Result<LeanClients> {
            core.map_or(Ok(()), pin_here)?;
            let mut clients = LeanClients::new(plan, more)?;
            clients.add(Role::Publisher, [0]);
            clients.come(0..1, 1, ANSWERS_MAX)?;
            Ok(clients)
        };
        let thread = std::thread::spawn(move || {
            let mut clients = match connect() {
                Ok(clients) => clients,
                Err(error) => {
                    let fault = Some(format!("{error:#}"));
                    // The caller waits for it.
                    let _ = ready.send(Err(error));
                    return Said { fault, ..Said::default() };
                }
            };
            // The caller may have given up.
            let _ = ready.send(Ok(clients.context().heads[0]));
            let mut said = Said::default();
            let fault = speak(&mut clients, &script, &theirs, &mut said).err();
            said.fault = fault.map(|error| format!("{error:#}"));
            said
        });
        let first_offset = came.recv().context("the publisher failed")?.context("the publisher")?;
        Ok(Publisher { orders, thread: Some(thread), first_offset })
    }

    /// Publishes from this time on.
    pub fn begin(&self, at_ns: u64) {
        self.orders.begin_ns.store(at_ns, Ordering::Release);
    }

    /// Publishes no message that is due after this moment, and waits for the answers.
    #[must_use]
    pub fn stop(mut self) -> Said {
        self.end(monotonic_ns());
        self.thread.take().expect("taken once").join().expect("publishers do not panic")
    }

    fn end(&self, at_ns: u64) {
        self.orders.end_ns.store(at_ns, Ordering::Release);
        self.orders.begin_ns.fetch_max(1, Ordering::AcqRel);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end(1);
    }
}

fn speak(clients: &mut LeanClients, script: &Script, orders: &Orders, said: &mut Said) -> Result<()> {
    let begin_ns = loop {
        match orders.begin_ns.load(Ordering::Acquire) {
            0 => clients.turn(Duration::from_micros(200))?,
            begin_ns => break begin_ns,
        }
    };
    let (before_ns, mut taken) = (thread_ns(), Instant::now());
    let done = say_all(clients, script, orders, begin_ns, said, &mut taken);
    (said.elapsed_ns, said.cpu_ns) = (monotonic_ns().saturating_sub(begin_ns), thread_ns() - before_ns);
    let deadline = Instant::now() + ANSWERS_MAX;
    while done.is_ok() && clients.unanswered() > 0 && Instant::now() < deadline {
        clients.turn(Duration::from_millis(1))?;
    }
    let counts = clients.read();
    said.unanswered = clients.unanswered() as u64;
    (said.refused, said.first_refusal, said.answers) = (counts.refused, counts.first_refusal, counts.answers);
    said.head = clients.context().heads[0];
    ensure!(counts.ended == 0, "the server ended the connection: {}", counts.first_fault.unwrap_or_default());
    done
}

fn say_all(
    clients: &mut LeanClients,
    script: &Script,
    orders: &Orders,
    begin_ns: u64,
    said: &mut Said,
    taken: &mut Instant,
) -> Result<()> {
    while let Some(after_ns) = script.due_after_ns(said.sent) {
        let (now, end_ns) = (monotonic_ns(), orders.end_ns.load(Ordering::Acquire));
        let sent_ns = begin_ns + script.sent_after_ns(after_ns);
        if end_ns > 0 && end_ns <= now.min(begin_ns + after_ns) {
            break;
        }
        if clients.unsent_bytes(0) == 0 {
            *taken = Instant::now();
        }
        ensure!(taken.elapsed() < STUCK_MAX, "the server has not read for {STUCK_MAX:?}");
        if sent_ns > now {
            clients.turn(Duration::from_nanos((sent_ns - now).min(PAUSE_NS)))?;
            continue;
        }
        said.late_max_us = said.late_max_us.max((now - sent_ns) / 1_000);
        say_due(clients, script, begin_ns, now, said);
        clients.turn(Duration::ZERO)?;
        ensure!(clients.client(0).is_joined, "the server ended the publisher's connection");
    }
    Ok(())
}

/// Says everything that is due by `now`, in one write.
fn say_due(clients: &mut LeanClients, script: &Script, begin_ns: u64, now: u64, said: &mut Said) {
    let mut due = Vec::new();
    while let Some(due_ns) = script.due_after_ns(said.sent).map(|after_ns| begin_ns + after_ns)
        && due_ns <= now
    {
        due.push((due_ns, script.message(said.sent, due_ns)));
        said.sent += 1;
    }
    if let Script::Even { join_ms: 1.., .. } = script {
        let texts: Vec<&str> = due.iter().map(|(_, (.., text))| text.as_str()).collect();
        due = vec![(due[0].0, ("", frame::Role::default(), texts.join("\n")))];
    }
    let mut all = Vec::with_capacity(due.len());
    for (due_ns, (author, role, text)) in &due {
        all.push(Publication { room: 0, text, author, role: *role, due_ns: *due_ns });
    }
    clients.publish(0, &all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_due_evenly_or_as_their_log() {
        let even = Script::even(200.0, 128);
        assert_eq!((even.due_after_ns(0), even.due_after_ns(3)), (Some(0), Some(15_000_000)));
        let line = Message { t_ms: 50, author: "a".into(), text: "b".into(), role: frame::Role::Viewer };
        let log = Script::Log { lines: Arc::new(vec![line]), speed: 10.0 };
        assert_eq!((log.due_after_ns(0), log.due_after_ns(1)), (Some(5_000_000), None));
    }

    #[test]
    fn what_is_joined_is_sent_at_its_end() {
        let sent = |due_ms: u64, join_ms| {
            let script = Script::Even { per_s: 1.0, size: 1, first: 0, join_ms };
            script.sent_after_ns(due_ms * 1_000_000) / 1_000_000
        };
        assert_eq!([sent(0, 0), sent(99, 0)], [0, 99]);
        assert_eq!([sent(0, 100), sent(99, 100), sent(100, 100)], [100, 100, 200]);
    }
}
