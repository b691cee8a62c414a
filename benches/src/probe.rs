//! A probe: how soon a node answers somebody new, while it has other things to do.
//!
//! Method: one plain WebSocket at a time, from its own thread: connect and follow a room (join), ping,
//! publish, leave; again after a pause. An answer that does not come within [`ANSWER_MAX`] counts as that
//! long and as a failure.
//! Not here: what the node is busy with (`publisher`, `crowd`).

use crate::clock::now_ns;
use crate::histogram::{Summary, Times};
use crate::publisher::Mouth;
use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Beyond this nobody calls it live.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between two rounds: a probe that asks all the time would be a load.
const PAUSE: Duration = Duration::from_millis(50);

/// What the probe met.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// From connecting until the room was followed.
    pub join: Summary,
    /// From ping to pong.
    pub ping: Summary,
    /// From publish to the acknowledgement, or the refusal.
    pub publish: Summary,
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
    pub fn start(ws: SocketAddr, room: &str) -> Probe {
        let is_over = Arc::new(AtomicBool::new(false));
        let (theirs, room) = (is_over.clone(), room.to_owned());
        let thread = std::thread::spawn(move || ask(ws, &room, &theirs));
        Probe { is_over, thread: Some(thread) }
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

fn ask(ws: SocketAddr, room: &str, is_over: &AtomicBool) -> Probed {
    let (mut times, mut probed) = ([Times::default(), Times::default(), Times::default()], Probed::default());
    while !is_over.load(Ordering::Acquire) {
        if let Err(error) = round(ws, room, &mut times, &mut probed) {
            probed.failures += 1;
            probed.first_failure.get_or_insert_with(|| format!("{error:#}"));
        }
        std::thread::sleep(PAUSE);
    }
    let [join, ping, publish] = times.map(|times| times.summary());
    Probed { join, ping, publish, ..probed }
}

fn round(ws: SocketAddr, room: &str, times: &mut [Times; 3], probed: &mut Probed) -> Result<()> {
    let mut timed = |step: usize, begin_ns: u64| times[step].record((now_ns() - begin_ns) / 1_000);
    let begin_ns = now_ns();
    let joined = Mouth::connect(ws, room, ANSWER_MAX);
    timed(0, begin_ns);
    let (mut mouth, _) = joined?;
    let begin_ns = now_ns();
    let ponged = mouth.ping();
    timed(1, begin_ns);
    ponged?;
    let begin_ns = now_ns();
    let answered = mouth.publish("is anybody there");
    timed(2, begin_ns);
    probed.refused += u64::from(!answered?);
    Ok(())
}
