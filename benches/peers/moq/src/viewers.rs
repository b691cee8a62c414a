//! Viewers and the publisher of one track of a moq-relay, in one thread, with moq's own client crates.
//!
//!     moq-viewers URL VIEWERS MESSAGE_BYTES groups|frames
//!
//! `groups`: every message is a group of its own, as in moq's chat example and in the chat preset of its load
//! generator. `frames`: messages are frames of a group that lasts a second, as in its clock example: one
//! stream per second and viewer.
//!
//! Prints `joined VIEWERS` when everybody has subscribed and has received a first message. Then each line
//! `RATE SECONDS` on standard input is a run, and one line is printed for it:
//! `published delivered lost cut p50_us p99_us`. The program ends with its input.
//! Invariant: a viewer drops no message by itself (`MAX_AGE`), so the relay dropped every lost one.
//! Not here: CPU, memory and bytes, which the bench measures from outside.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use moq_net::{Timestamp, track};
use moq_tokio::Client;
use std::process::ExitCode;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Far beyond the latency at which a rate counts as too high: neither the relay nor a viewer gives up on a
/// group just because a newer one is there.
const MAX_AGE: Duration = Duration::from_secs(10);

/// How long a group of `frames` lasts.
const GROUP_MAX: Duration = Duration::from_secs(1);

/// A handshake is about 1 ms of one core here; a thousand viewers and a busy machine get more.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// What is not there this long after the last message was said counts as lost.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Handshakes under way at once.
const JOINING_MAX: usize = 32;

/// What all viewers saw in this run.
struct Seen {
    delivered: u64,
    /// Viewers whose track or connection ended.
    cut: usize,
    /// Viewers whose subscription was answered, and who have received anything.
    subscribed: usize,
    reached: usize,
    run: u64,
    times_us: Histogram<u64>,
}

type Shared = Rc<RefCell<Seen>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, viewers, bytes, form] = &arguments[..] else {
        let is_asked = matches!(&arguments[..], [flag] if flag == "--help" || flag == "-h");
        println!("Usage: moq-viewers URL VIEWERS MESSAGE_BYTES groups|frames");
        return if is_asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    match start(url, viewers, bytes, form) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(url: &str, viewers: &str, bytes: &str, form: &str) -> Result<()> {
    moq_tokio::crypto::install_default().expect("no crypto provider was installed before");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, go(url, viewers, bytes, form))
}

async fn go(url: &str, viewers: &str, bytes: &str, form: &str) -> Result<()> {
    let (url, viewers) = (url::Url::parse(url)?, viewers.parse::<usize>()?);
    let mut connect = moq_tokio::connect::Config::default();
    // The relay's certificate is made at its start.
    connect.tls.insecure = Some(true);
    connect.once = Some(true);
    let client = connect.init(moq_tokio::quic::Config::default())?;
    let times_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let seen =
        Rc::new(RefCell::new(Seen { delivered: 0, cut: 0, subscribed: 0, reached: 0, run: 0, times_us }));
    let mut publisher = Publisher::new(&client, &url, bytes.parse()?, form == "frames")?;
    join(&client, &url, viewers, &seen, &mut publisher).await?;
    println!("joined {viewers}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (rate, seconds) = line.split_once(' ').context("RATE SECONDS")?;
        run(&mut publisher, rate.parse()?, seconds.parse()?, viewers, &seen).await?;
    }
    Ok(())
}

/// Everybody connects, some at a time. Nothing is said meanwhile, since a new subscriber gets what is not too
/// old.
async fn join(
    client: &Client,
    url: &url::Url,
    viewers: usize,
    seen: &Shared,
    publisher: &mut Publisher,
) -> Result<()> {
    let deadline = Instant::now() + JOIN_MAX;
    let mut started = 0;
    while seen.borrow().subscribed < viewers {
        while started < viewers && started < seen.borrow().subscribed + JOINING_MAX {
            spawn_local(watch(client.clone(), url.clone(), seen.clone()));
            started += 1;
        }
        wait(viewers, deadline, seen).await?;
    }
    publisher.say(0, 0, Duration::ZERO)?;
    while seen.borrow().reached < viewers {
        wait(viewers, deadline, seen).await?;
    }
    Ok(())
}

async fn wait(viewers: usize, deadline: Instant, seen: &Shared) -> Result<()> {
    sleep(Duration::from_millis(5)).await;
    let Seen { subscribed, reached, cut, .. } = &*seen.borrow();
    let is_late = Instant::now() > deadline;
    ensure!(
        *cut == 0 && !is_late,
        "of {viewers} viewers {subscribed} subscribed, {reached} heard, {cut} were cut"
    );
    Ok(())
}

async fn watch(client: Client, url: url::Url, seen: Shared) {
    // Whether it ended well or badly: before the end of the viewers it was cut.
    let ended = follow(client, url, &seen).await;
    seen.borrow_mut().cut += 1;
    if let Err(error) = ended {
        eprintln!("a viewer was cut: {error:#}");
    }
}

async fn follow(client: Client, url: url::Url, seen: &Shared) -> Result<()> {
    let origin = moq_tokio::origin::spawn();
    let connection = client.with_subscriber(origin.clone()).connect(url);
    let room = origin.consume().routed_broadcast("room").await?;
    let mut patient = track::Subscription::default();
    patient.max_age = MAX_AGE;
    let mut track = room.track("chat")?.subscribe(patient).await?;
    seen.borrow_mut().subscribed += 1;
    let mut is_first = true;
    while let Some(mut group) = track.recv_group().await? {
        while let Some(frame) = group.read_frame().await? {
            seen.borrow_mut().count(&frame.payload, &mut is_first);
        }
    }
    drop(connection);
    Ok(())
}

impl Seen {
    fn count(&mut self, message: &[u8], is_first: &mut bool) {
        self.reached += usize::from(std::mem::take(is_first));
        let word = |at: usize| {
            message.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
        };
        let (Some(said_ns), Some(run)) = (word(0), word(8)) else { return };
        // Messages of the joining are run 0.
        if run > 0 && run == self.run {
            self.delivered += 1;
            self.times_us.saturating_record(now_ns().saturating_sub(said_ns) / 1000);
        }
    }
}

/// One run: `rate` messages a second, evenly, then a wait for what is still on its way.
async fn run(
    publisher: &mut Publisher,
    rate: f64,
    seconds: f64,
    viewers: usize,
    seen: &Shared,
) -> Result<()> {
    let run = {
        let mut seen = seen.borrow_mut();
        (seen.delivered, seen.run) = (0, seen.run + 1);
        seen.times_us.reset();
        seen.run
    };
    let published = (rate * seconds).round() as u64;
    let mut due = interval(Duration::from_secs_f64(1.0 / rate));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..published {
        // Timed from when it was due, so that one who falls behind is not forgiven.
        let late = due.tick().await.elapsed();
        publisher.say(run, n, late)?;
    }
    let expected = published * viewers as u64;
    let all = async {
        while seen.borrow().delivered < expected {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(DRAIN_MAX, all).await;
    let seen = seen.borrow();
    let us = |share| seen.times_us.value_at_quantile(share);
    let (lost, p50, p99) = (expected - seen.delivered, us(0.5), us(0.99));
    println!("{published} {} {lost} {} {p50} {p99}", seen.delivered, seen.cut);
    Ok(())
}

/// Who speaks: a connection of its own, with the room's one track.
struct Publisher {
    track: track::Producer,
    group: Option<(moq_net::group::Producer, Instant)>,
    is_in_frames: bool,
    bytes: usize,
    _room: moq_net::broadcast::Producer,
    _connection: moq_tokio::Connection,
}

impl Publisher {
    fn new(client: &Client, url: &url::Url, bytes: usize, is_in_frames: bool) -> Result<Publisher> {
        let origin = moq_tokio::origin::spawn();
        let room = origin.create_broadcast("room")?;
        let track = room.create_track("chat", track::Info::default().with_max_age(MAX_AGE))?;
        room.announce(Default::default())?;
        let connection = client.clone().with_publisher(&origin).connect(url.clone());
        Ok(Publisher { track, group: None, is_in_frames, bytes, _room: room, _connection: connection })
    }

    fn say(&mut self, run: u64, n: u64, late: Duration) -> Result<()> {
        let message = self.message(now_ns() - late.as_nanos() as u64, run, n);
        if !self.is_in_frames {
            return Ok(self.track.write_frame(Timestamp::now(), message)?);
        }
        let is_over = self.group.as_ref().is_none_or(|(_, since)| since.elapsed() > GROUP_MAX);
        if is_over {
            if let Some((old, _)) = self.group.take() {
                old.finish()?;
            }
            self.group = Some((self.track.append_group()?, Instant::now()));
        }
        let (group, _) = self.group.as_mut().expect("there is one now");
        Ok(group.write_frame(Timestamp::now(), message)?)
    }

    fn message(&self, due_ns: u64, run: u64, n: u64) -> Bytes {
        let mut message = BytesMut::with_capacity(self.bytes);
        message.put_u64_le(due_ns);
        message.put_u64_le(run);
        message.put_u64_le(n);
        message.resize(self.bytes.max(24), b'x');
        message.freeze()
    }
}

/// Nanoseconds of the system's monotonic clock.
fn now_ns() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}
