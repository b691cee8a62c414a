//! The chat without a screen. It prints each message as a line on standard output and notices on standard
//! error, and publishes each line of standard input.
//!
//! Why: scripts, tests, `gs chat | grep`, `echo hello | gs chat`, terminals that cannot place their cursor.
//! Invariants: standard output has only messages. A line is read when the one before it is answered, and the
//! chat ends when every line that was accepted has its outcome: at the end of the input, at the first
//! refusal, when the room lets nobody in. A refusal, a loss or an unrequested end is told by the exit code.
//! Not here: the meaning of events (`events`).

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use grandstand_client::net::Client;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::entry::Entry;
use super::model::{Action, Link, Model};
use super::{Clock, perform};
use crate::say;
use crate::terminal::Stop;

/// Lines read ahead: the session answers faster than anybody reads.
const LINES_MAX: usize = 64;

/// Bytes of a line that are read: far more than any text has.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Longest wait, after the last answer, for messages of the room that are on their way.
const SHOWN_WAIT: Duration = Duration::from_secs(5);

/// The behaviour at the end of the input, and after a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Whether it keeps listening after the end of the input.
    pub(super) stays: bool,
    /// Whether it continues with the next line after a refused one.
    pub(super) keeps_going: bool,
}

/// Chat until the input ends; `Ok(false)` when something was refused or may be lost.
///
/// # Errors
/// The session ends by itself, or standard output cannot be written.
pub(super) async fn run(
    client: &Client,
    model: &mut Model,
    clock: Clock,
    habits: Habits,
) -> anyhow::Result<bool> {
    let mut stop = Stop::new()?;
    let mut lines = stdin_lines();
    let mut chat =
        Plain { client, model, habits, input_open: true, is_read: true, reacted: false, printed: 0 };
    let mut marker: Option<LocalBoxFuture<'_, ()>> = None;
    let mut shown_until: Option<Instant> = None;
    loop {
        let reads = chat.input_open && marker.is_none() && chat.model.is_inside() && chat.model.is_answered();
        tokio::select! {
            biased;
            _ = stop.wait() => chat.leave(),
            event = client.next_event() => {
                let Some(event) = event else { break };
                chat.model.handle_event(clock.ms(), &event);
                // On a screen a refused reaction is a hint; here a line was refused.
                if let Some(hint) = chat.model.hint.take() {
                    chat.refuse(&hint);
                }
            }
            () = async { marker.as_mut().expect("there is one").await }, if marker.is_some() => marker = None,
            // One line after the other, each with its answer: the order of a script is the order in the room.
            line = lines.recv(), if reads => chat.handle_input(line),
            () = sleep_until(shown_until.unwrap_or_else(Instant::now)), if shown_until.is_some() => {
                chat.leave();
                shown_until = None;
            }
        }
        chat.print()?;
        if std::mem::take(&mut chat.reacted) {
            marker = Some(answered(client, chat.model.room.clone(), chat.model.head).boxed_local());
        }
        if marker.is_none() && chat.is_through() && shown_until.is_none() {
            shown_until =
                Some(Instant::now() + if chat.model.is_caught_up() { Duration::ZERO } else { SHOWN_WAIT });
        } else if shown_until.is_some() && chat.model.is_caught_up() {
            shown_until = Some(Instant::now());
        }
    }
    result(chat.model)
}

/// A reaction has no answer, but for a refusal. The node answers in order: a request that was sent behind it
/// is answered after the refusal.
async fn answered(client: &Client, room: String, head: u64) {
    // Whatever the answer is, it is one.
    let _ = tokio::time::timeout(SHOWN_WAIT, client.history(&room, head, 1)).await;
}

/// A chat without a screen.
struct Plain<'a> {
    client: &'a Client,
    model: &'a mut Model,
    habits: Habits,
    /// May another line come?
    input_open: bool,
    /// Does anybody read what is printed?
    is_read: bool,
    /// Was a reaction sent, of which it is not known yet whether it was refused?
    reacted: bool,
    /// Entries that were printed.
    printed: u64,
}

impl Plain<'_> {
    fn handle_input(&mut self, line: Option<Result<String, String>>) {
        match line {
            None => self.input_open = false,
            Some(Ok(line)) => self.handle_line(&line),
            Some(Err(why)) => {
                self.refuse(&why);
                self.input_open = false;
            }
        }
    }

    fn handle_line(&mut self, line: &str) {
        match self.model.handle_line(line) {
            Ok(None) => {}
            Ok(Some(action)) => {
                self.reacted |= matches!(action, Action::React { .. });
                if perform(self.client, self.model, action) {
                    self.leave();
                }
            }
            Err(why) => self.refuse(&why),
        }
    }

    fn refuse(&mut self, why: &str) {
        self.model.failures += 1;
        say::notice(&format!("* not sent, {why}"));
    }

    /// The session answers what it can, and ends.
    fn leave(&mut self) {
        self.input_open = false;
        self.client.close();
    }

    /// Is everything answered, and does nothing more come in?
    fn is_through(&mut self) -> bool {
        let is_barred = self.model.barred.is_some();
        let is_refused = self.model.failures > 0 && !self.habits.keeps_going;
        if (is_refused || is_barred) && self.input_open {
            self.input_open = false;
            say::notice("* the rest of the input is not sent");
        }
        let stays = self.habits.stays && self.is_read && !is_refused;
        is_barred || !self.input_open && !stays && self.model.is_inside() && self.model.is_answered()
    }

    fn print(&mut self) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let mut written = Ok(());
        for entry in self.model.entries_since(self.printed) {
            match entry {
                Entry::Message(_) if self.is_read && written.is_ok() => {
                    written = writeln!(out, "{}", entry.plain());
                }
                Entry::Message(_) => {}
                // What was printed stays printed: the notice of the act tells of it.
                Entry::Notice(..) | Entry::Removed(_) => say::notice(&entry.plain()),
            }
        }
        self.printed = self.model.pushed;
        match written.and_then(|()| out.flush()) {
            // The reader (`| head`) has closed the pipe. Sent lines still get their outcome.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                (self.is_read, self.input_open) = (false, false);
                Ok(())
            }
            written => written.context("cannot write to standard output"),
        }
    }
}

fn result(model: &Model) -> anyhow::Result<bool> {
    match &model.link {
        Link::Over { asked: false, why } => bail!("the session is over: {why}"),
        _ if model.failures > 0 => {
            say::notice(&format!("error: {} not accepted, see above", model.failures));
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// A thread of its own: standard input may be a file, a pipe or a keyboard, and only waiting works on all of
/// them. It ends with the process.
fn stdin_lines() -> mpsc::Receiver<Result<String, String>> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        for number in 1_u64.. {
            match next_line(&mut input, number) {
                Ok(None) => break,
                line => {
                    let is_last = line.is_err();
                    // When nobody listens any more, nobody needs to know.
                    if line.transpose().is_none_or(|line| sender.blocking_send(line).is_err()) || is_last {
                        break;
                    }
                }
            }
        }
    });
    lines
}

/// The next line, without its end; `None` at the end of the input.
fn next_line(input: &mut impl BufRead, number: u64) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = input.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes);
    match read.map_err(|error| format!("line {number} of the input cannot be read: {error}"))? {
        0 => return Ok(None),
        LINE_BYTES_MAX if bytes.last() != Some(&b'\n') => {
            return Err(format!("line {number} of the input is longer than {LINE_BYTES_MAX} bytes"));
        }
        _ => {}
    }
    let line = String::from_utf8(bytes).map_err(|_| format!("line {number} of the input is not UTF-8"))?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_named_when_they_are_no_text() {
        let all = |mut input: &[u8]| -> Result<Vec<String>, String> {
            (1..).map(|n| next_line(&mut input, n).transpose()).map_while(|line| line).collect()
        };
        assert_eq!(all(b"  a\r\n\nb"), Ok(vec!["  a".into(), String::new(), "b".into()]));
        assert_eq!(all(b""), Ok(Vec::new()));
        assert_eq!(all(b"a\n\xff\n"), Err("line 2 of the input is not UTF-8".into()));
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(all(&long), Err("line 1 of the input is longer than 65536 bytes".into()));
    }
}
