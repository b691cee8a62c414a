//! Publishers: messages at an even rate, due by the clock whatever the server does (open loop).
//!
//! Why open: a generator that waits for a slow server asks less of it, and the worst times never show. Why
//! bounded all the same: what a server does not read for `BEHIND_MAX_NS` is given up and reported, not queued
//! for ever.
//! A message says when it was due: 20 digits of nanoseconds ([`stamp`]). Texts of real logs do not; their
//! times go to the crowd by their offsets (`Crowd::due`).
//! Invariant: each message is sent at most once, and answered or counted as unanswered.
//! Not here: who listens (`crowd`).

use crate::chatlog::Line;
use crate::clock::{now_ns, sleep_until};
use crate::crowd::viewer::{masked, request, response};
use crate::histogram::{Summary, Times};
use anyhow::{Context, Result, bail};
use grandstand_protocol::frame::{
    ClientFrame, Encoder, Hello, Kind, Publish, React, Role, ServerFrame, Subscribe,
};
use grandstand_protocol::websocket::{Header, Opcode};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Digits of a time in a text.
const DIGITS: usize = 20;

/// A publisher that is this late gives up.
const BEHIND_MAX_NS: u64 = 10_000_000_000;

/// Answers that are waited for at the end.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

/// The longest pause between two looks at the clock, so that messages of one moment go out in one write.
const PAUSE_NS: u64 = 1_000_000;

/// A text of `size` bytes that says when it was due; at least `DIGITS` and a blank.
pub fn stamp(due_ns: u64, number: u64, size: usize, out: &mut String) {
    use std::fmt::Write as _;
    out.clear();
    // Writing to a string cannot fail. The number makes texts differ, as people's do, so that folding finds
    // no equal ones.
    let _ = write!(out, "{due_ns:020} {number:010} ");
    let filler = b"the quick brown fox jumps over the lazy dog and on it goes ";
    out.extend((out.len()..size).map(|n| char::from(filler[n % filler.len()])));
    out.truncate(size.max(DIGITS + 1));
}

/// When a text says that it was due.
#[must_use]
pub fn due_of(text: &str) -> Option<u64> {
    let (digits, rest) = text.as_bytes().split_at_checked(DIGITS)?;
    if rest.first() != Some(&b' ') {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// What is said.
#[derive(Clone, Debug)]
pub enum Script {
    /// So many messages per second of this size, evenly, until stopped.
    Even {
        /// Messages per second.
        per_s: f64,
        /// Bytes of a text.
        size: usize,
    },
    /// A log, so many times faster, from its beginning; ends with it.
    Log {
        /// Its lines.
        lines: Arc<Vec<Line>>,
        /// How many times faster.
        speed: f64,
    },
    /// Reactions per second of these keys in turn, `count` taps in each frame.
    React {
        /// Frames per second.
        per_s: f64,
        /// Taps in each.
        count: u32,
        /// What is tapped.
        keys: Vec<String>,
    },
}

/// A publisher's report; while it runs, so far.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Messages sent.
    pub sent: u64,
    /// Answered with an offset.
    pub acknowledged: u64,
    /// Refused, and the first reason.
    pub refused: u64,
    /// The first refusal.
    pub first_refusal: Option<String>,
    /// Sent and not answered.
    pub unanswered: u64,
    /// The offset behind the last one acknowledged; before any, that at which the publisher came.
    pub head: u64,
    /// From when a message was due until its answer.
    pub answer: Summary,
    /// The latest that a message was sent after it was due: the generator's own fault.
    pub late_max_us: u64,
    /// Why it ended early.
    pub fault: Option<String>,
}

/// A publisher in a thread of its own, over one plain WebSocket connection to a Grandstand node.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
    /// The room's head when it came.
    pub first_offset: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// When to begin and when to stop; 0 while that is not known.
    begin_ns: AtomicU64,
    end_ns: AtomicU64,
    said: Mutex<(Said, Times)>,
}

impl Publisher {
    /// Connects and follows the room; says nothing before [`Publisher::begin`].
    ///
    /// # Errors
    /// The node does not let it in.
    pub fn connect(ws: SocketAddr, room: &str, script: Script) -> Result<Publisher> {
        let (mut mouth, first_offset) = Mouth::connect(ws, room, ANSWERS_MAX)?;
        let shared = Arc::new(Shared::default());
        shared.said.lock().expect("nobody panics with it").0.head = first_offset;
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || {
            let done = mouth.run(&script, &theirs);
            if let Err(error) = &done {
                theirs.said.lock().expect("nobody panics with it").0.fault = Some(format!("{error:#}"));
            }
            done
        });
        Ok(Publisher { shared, thread: Some(thread), first_offset })
    }

    /// Speaks from this time on.
    pub fn begin(&self, at_ns: u64) {
        self.shared.begin_ns.store(at_ns, Ordering::Release);
    }

    /// What was said so far.
    #[must_use]
    pub fn said(&self) -> Said {
        self.shared.report()
    }

    /// Whether everything was said, or it gave up.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Says nothing more, and waits for the answers.
    ///
    /// # Errors
    /// The node closed the connection, or did not read for a long time.
    pub fn stop(mut self) -> Result<Said> {
        self.shared.end_ns.store(now_ns(), Ordering::Release);
        self.shared.begin_ns.fetch_max(1, Ordering::AcqRel);
        let thread = self.thread.take().expect("taken once");
        thread.join().expect("publishers do not panic")?;
        Ok(self.shared.report())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.end_ns.store(1, Ordering::Release);
        self.shared.begin_ns.fetch_max(1, Ordering::AcqRel);
    }
}

impl Shared {
    fn report(&self) -> Said {
        let (said, times) = &*self.said.lock().expect("nobody panics with it");
        let answered = said.acknowledged + said.refused;
        Said { answer: times.summary(), unanswered: said.sent.saturating_sub(answered), ..said.clone() }
    }

    fn is_over(&self, at_ns: u64) -> bool {
        let end_ns = self.end_ns.load(Ordering::Acquire);
        end_ns > 0 && at_ns >= end_ns
    }
}

/// The n-th message of a script, after its beginning; `None` behind its end.
fn due_after_ns(script: &Script, number: u64) -> Option<u64> {
    match script {
        Script::Even { per_s, .. } | Script::React { per_s, .. } => {
            Some((number as f64 * 1e9 / per_s) as u64)
        }
        Script::Log { lines, speed } => {
            lines.get(number as usize).map(|line| (line.t_ms as f64 * 1e6 / speed) as u64)
        }
    }
}

/// When each message of a log is due, after the beginning.
#[must_use]
pub fn log_due_ns(lines: &[Line], speed: f64) -> Vec<u64> {
    lines.iter().map(|line| (line.t_ms as f64 * 1e6 / speed) as u64).collect()
}

/// One connection that speaks.
pub(crate) struct Mouth {
    socket: TcpStream,
    encoder: Encoder,
    frame: Vec<u8>,
    out: Vec<u8>,
    text: String,
    alias: u32,
    /// Bytes that have come and are no whole frame yet; used by whoever asks in turn, not by publishers that
    /// listen.
    heard: Vec<u8>,
}

impl Mouth {
    /// Connects and follows the room: also its head. No answer takes longer than `patience`.
    pub(crate) fn connect(ws: SocketAddr, room: &str, patience: Duration) -> Result<(Mouth, u64)> {
        let mut socket = TcpStream::connect_timeout(&ws, patience).context("the node does not answer")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        let mut out = Vec::new();
        request("/v1", Some("grandstand.v1"), &mut out)?;
        socket.write_all(&out)?;
        let mut bytes = Vec::new();
        let head = loop {
            read_more(&mut socket, &mut bytes)?;
            if let Some(head) = response(&bytes, Some("grandstand.v1"))? {
                break head;
            }
        };
        bytes.drain(..head);
        out.clear();
        let (encoder, frame, text) = (Encoder::new(), Vec::new(), String::new());
        let mut mouth = Mouth { socket, encoder, frame, out, text, alias: 0, heard: bytes };
        mouth.write(&ClientFrame::Hello(Hello {
            name: "publisher",
            agent: "grandstand-bench",
            ..Hello::default()
        }));
        mouth.write(&ClientFrame::Subscribe(Subscribe { request: 1, room, resume: None, replay: 0 }));
        mouth.flush()?;
        let wanted = |frame: &ServerFrame<'_>| match frame {
            ServerFrame::Subscribed(subscribed) => Some((subscribed.alias, subscribed.head)),
            _ => None,
        };
        let (alias, head) = mouth.wait_for(wanted)?;
        mouth.alias = alias;
        Ok((mouth, head))
    }

    /// Asks for a sign of life, and waits for it.
    pub(crate) fn ping(&mut self) -> Result<()> {
        self.write(&ClientFrame::Ping { client_us: 1 });
        self.flush()?;
        self.wait_for(|frame| matches!(frame, ServerFrame::Pong { .. }).then_some(()))
    }

    /// Says something once, and waits for the answer: whether it was accepted.
    pub(crate) fn publish(&mut self, text: &str) -> Result<bool> {
        self.write(&ClientFrame::Publish(Publish {
            alias: self.alias,
            nonce: 1,
            text,
            ..Publish::default()
        }));
        self.flush()?;
        self.wait_for(|frame| match frame {
            ServerFrame::Published(_) => Some(true),
            ServerFrame::Refused(refused) if refused.kind == Kind::Publish as u8 => Some(false),
            _ => None,
        })
    }

    /// Passes over frames until one is wanted. A refusal that nobody wants, and an error, are faults.
    fn wait_for<T>(&mut self, wanted: impl Fn(&ServerFrame<'_>) -> Option<T>) -> Result<T> {
        loop {
            let mut found = None;
            let used = each_frame(&self.heard, |frame| {
                match ServerFrame::decode(frame) {
                    Ok(frame)
                        if found.is_none()
                            && let Some(it) = wanted(&frame) =>
                    {
                        found = Some(it);
                    }
                    Ok(ServerFrame::Refused(refused)) => {
                        bail!("refused: {} {}", refused.reason.text(), refused.detail)
                    }
                    Ok(ServerFrame::Error(error)) => {
                        bail!("closed with code {}: {}", error.code, error.detail)
                    }
                    _ => {}
                }
                Ok(())
            })?;
            self.heard.drain(..used);
            if let Some(found) = found {
                return Ok(found);
            }
            read_more(&mut self.socket, &mut self.heard)?;
        }
    }

    fn run(&mut self, script: &Script, shared: &Arc<Shared>) -> Result<()> {
        let begin_ns = loop {
            match shared.begin_ns.load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_micros(200)),
                begin_ns => break begin_ns,
            }
        };
        let listener = self.listen(script.clone(), begin_ns, shared.clone())?;
        let spoken = self.speak(script, begin_ns, shared);
        let quiet = self.hush(shared);
        // Ends the listener too.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        listener.join().expect("listening does not panic");
        spoken.and(quiet)
    }

    fn speak(&mut self, script: &Script, begin_ns: u64, shared: &Shared) -> Result<()> {
        let (mut number, mut last_alive_ns) = (0, begin_ns);
        while let Some(after_ns) = due_after_ns(script, number) {
            let due_ns = begin_ns + after_ns;
            let now = now_ns();
            if shared.is_over(due_ns.min(now)) {
                break;
            }
            if due_ns > now {
                self.flush()?;
                if now.saturating_sub(last_alive_ns) > 5_000_000_000 {
                    self.write(&ClientFrame::Ping { client_us: now / 1_000 });
                    last_alive_ns = now;
                }
                sleep_until(due_ns.min(now + PAUSE_NS * 20));
                continue;
            }
            if now - due_ns > BEHIND_MAX_NS {
                bail!("the node does not read: {} s behind", BEHIND_MAX_NS / 1_000_000_000);
            }
            self.say(script, number, due_ns);
            number += 1;
            let said = &mut shared.said.lock().expect("nobody panics with it").0;
            said.sent = number;
            if matches!(script, Script::React { .. }) {
                // Nobody answers a reaction that counts (docs/PROTOCOL.md, P-6).
                said.acknowledged = number - said.refused;
            }
            said.late_max_us = said.late_max_us.max((now - due_ns) / 1_000);
        }
        self.flush()
    }

    /// Waits for what was not answered yet.
    fn hush(&mut self, shared: &Shared) -> Result<()> {
        let until_ns = now_ns() + ANSWERS_MAX.as_nanos() as u64;
        let is_open = || {
            let said = shared.report();
            said.unanswered > 0 && said.fault.is_none()
        };
        while is_open() && now_ns() < until_ns {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.flush()
    }

    fn say(&mut self, script: &Script, number: u64, due_ns: u64) {
        let mut text = std::mem::take(&mut self.text);
        let publish = Publish { alias: self.alias, nonce: number, ..Publish::default() };
        match script {
            Script::Even { size, .. } => {
                stamp(due_ns, number, *size, &mut text);
                self.write(&ClientFrame::Publish(Publish { text: &text, ..publish }));
            }
            Script::Log { lines, .. } => {
                let Line { author, text, role, .. } = &lines[number as usize];
                // Only a session that may bridge can speak in others' names; on an open node all may.
                let role: Role = *role;
                self.write(&ClientFrame::Publish(Publish { text, author, role, ..publish }));
            }
            Script::React { count, keys, .. } => {
                let key = &keys[number as usize % keys.len()];
                self.write(&ClientFrame::React(React { alias: self.alias, key, count: *count }));
            }
        }
        self.text = text;
        if self.out.len() > 64 * 1024 {
            // What cannot be written now is found at the next flush.
            let _ = self.flush();
        }
    }

    fn write(&mut self, frame: &ClientFrame<'_>) {
        self.frame.clear();
        self.encoder.client(frame, &mut self.frame);
        masked(Opcode::Binary, &self.frame, &mut self.out);
    }

    fn flush(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.socket.write_all(&self.out).context("the node ended the publisher's connection")?;
            self.out.clear();
        }
        Ok(())
    }

    /// Reads answers in a thread of its own, so that a slow one holds up no message.
    fn listen(&self, script: Script, begin_ns: u64, shared: Arc<Shared>) -> Result<JoinHandle<()>> {
        let mut socket = self.socket.try_clone()?;
        socket.set_read_timeout(None)?;
        Ok(std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while read_more(&mut socket, &mut bytes).is_ok() {
                let heard = each_frame(&bytes, |frame| hear(frame, &script, begin_ns, &shared));
                match heard {
                    Ok(used) => drop(bytes.drain(..used)),
                    Err(error) => {
                        shared.said.lock().expect("nobody panics with it").0.fault =
                            Some(format!("{error:#}"));
                        return;
                    }
                }
            }
        }))
    }
}

fn hear(frame: &[u8], script: &Script, begin_ns: u64, shared: &Shared) -> Result<()> {
    if frame.first() == Some(&(Kind::Batch as u8)) {
        return Ok(());
    }
    let (said, times) = &mut *shared.said.lock().expect("nobody panics with it");
    match ServerFrame::decode(frame) {
        Ok(ServerFrame::Published(published)) => {
            said.acknowledged += 1;
            said.head = said.head.max(published.offset + 1);
            let due_ns = begin_ns + due_after_ns(script, published.nonce).unwrap_or(0);
            times.record(now_ns().saturating_sub(due_ns) / 1_000);
        }
        Ok(ServerFrame::Refused(refused)) => {
            said.refused += 1;
            said.first_refusal.get_or_insert_with(|| format!("{} {}", refused.reason.text(), refused.detail));
        }
        Ok(ServerFrame::Error(error)) => bail!("closed with code {}: {}", error.code, error.detail),
        _ => {}
    }
    Ok(())
}

fn read_more(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    let begin = bytes.len();
    bytes.resize(begin + 64 * 1024, 0);
    let read = socket.read(&mut bytes[begin..])?;
    bytes.truncate(begin + read);
    if read == 0 { bail!("the node ended the publisher's connection") } else { Ok(()) }
}

/// Gives every whole frame; returns how many bytes they take.
fn each_frame(bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
    let mut used = 0;
    while let Some((header, size)) =
        Header::parse(&bytes[used..]).map_err(|fault| anyhow::anyhow!("{fault}"))?
    {
        let end = used + size + header.len as usize;
        let Some(payload) = bytes.get(used + size..end) else { break };
        if header.opcode == Opcode::Binary {
            each(payload)?;
        }
        used = end;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_its_size_and_is_read_back() {
        let mut text = String::new();
        for size in [21, 40, 128] {
            stamp(1_234_567_890_123, 7, size, &mut text);
            assert_eq!((text.len(), due_of(&text)), (size, Some(1_234_567_890_123)));
        }
        assert_eq!(
            (due_of("hello"), due_of(&"9".repeat(21)), due_of(&format!("{} ", "9".repeat(20)))),
            (None, None, None)
        );
    }

    #[test]
    fn scripts_are_due_evenly_or_as_their_log() {
        let even = Script::Even { per_s: 200.0, size: 128 };
        assert_eq!((due_after_ns(&even, 0), due_after_ns(&even, 3)), (Some(0), Some(15_000_000)));
        let line = Line { t_ms: 50, author: "a".into(), text: "b".into(), role: Role::Viewer };
        let log = Script::Log { lines: Arc::new(vec![line]), speed: 10.0 };
        assert_eq!((due_after_ns(&log, 0), due_after_ns(&log, 1)), (Some(5_000_000), None));
    }
}
