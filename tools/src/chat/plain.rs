//! The chat without a terminal. It prints each message as a line on standard output and notices on standard
//! error, and publishes each line of standard input.
//!
//! Why: scripts, tests, `gs chat | grep`, `echo hello | gs chat`.
//! Invariants: standard output has only messages. The end of input ends the chat once every publication is
//! acknowledged and all earlier messages are printed. A refusal, a loss or an unrequested end is an error.
//! Not here: the meaning of events (`events`).

use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use grandstand_client::net::Client;
use tokio::sync::mpsc;

use super::entry::Entry;
use super::model::{Link, Model};
use super::{Clock, Stop, perform};

/// Lines read ahead: the session answers faster than anybody reads.
const LINES_MAX: usize = 64;

/// Chat until the input ends, or on and on if it is to `stay`.
pub(super) async fn run(client: &Client, model: &mut Model, clock: Clock, stay: bool) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut lines = stdin_lines();
    let mut input_open = true;
    let mut printed = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => {
                input_open = false;
                client.close();
            }
            event = client.next_event() => {
                let Some(event) = event else { break };
                model.handle_event(clock.ms(), &event);
            }
            // One line after the other, each with its answer: the order of a script is the order in the room.
            line = lines.recv(), if input_open && model.is_inside() && model.is_answered() => match line {
                Some(line) => input_open = handle_line(client, model, &line?),
                None => input_open = false,
            }
        }
        print(model, &mut printed)?;
        if !input_open && !stay && model.is_caught_up() {
            client.close();
        }
    }
    result(model)
}

/// Whether there may be another.
fn handle_line(client: &Client, model: &mut Model, line: &str) -> bool {
    match model.handle_line(line) {
        Ok(None) => {}
        Ok(Some(action)) => {
            if perform(client, model, action) {
                client.close();
                return false;
            }
        }
        Err(why) => {
            model.failures += 1;
            eprintln!("* {why}");
        }
    }
    true
}

fn print(model: &Model, printed: &mut u64) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for entry in model.entries_since(*printed) {
        match entry {
            Entry::Message(_) => {
                writeln!(out, "{}", entry.plain()).context("cannot write to standard output")?;
            }
            Entry::Notice(..) => eprintln!("{}", entry.plain()),
        }
    }
    *printed = model.pushed;
    out.flush().context("cannot write to standard output")
}

fn result(model: &Model) -> anyhow::Result<()> {
    match &model.link {
        Link::Over { asked: false, why } => bail!("the session is over: {why}"),
        _ if model.failures > 0 => bail!("{} not accepted, see above", model.failures),
        _ => Ok(()),
    }
}

/// A thread of its own: standard input may be a file, a pipe or a keyboard, and only waiting works on all of
/// them. It ends with the process.
fn stdin_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
