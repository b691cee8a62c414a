//! The loop of the chat on a terminal: keys and events in, the screen out.
//!
//! Invariant: a flood of messages is drawn at most [`FRAMES_PER_S`] times a second; a key is drawn at once.
//! Not here: the shown state (`model`), drawing (`screen`), taking and giving back the terminal
//! (`crate::terminal`).

use std::time::Duration;

use anyhow::Context;
use crossterm::event::{Event, EventStream, KeyCode, KeyModifiers};
use futures_util::{FutureExt, StreamExt};
use grandstand_client::net::Client;
use tokio::time::{Instant, sleep_until};

use super::model::{Link, Model};
use super::{Clock, perform, screen};
use crate::terminal::{Screen, Stop, suspend, suspend_on_signal};

/// Most drawings per second: people do not follow faster text.
const FRAMES_PER_S: u64 = 30;
const FRAME: Duration = Duration::from_millis(1000 / FRAMES_PER_S);
/// Most events that are handled before the next key is read.
const EVENTS_MAX: usize = 500;
/// Longest time between two drawings: tallies fade and waits count down.
const TICK: Duration = Duration::from_millis(250);

/// Chat until the person leaves.
pub(super) async fn run(client: &Client, model: &mut Model, clock: Clock) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut terminal = Screen::enter()?;
    suspend_on_signal()?;
    let mut keys = EventStream::new();
    let mut draw_at = Instant::now();
    loop {
        let due = draw_at <= Instant::now();
        if due {
            model.handle_time(clock.ms());
            terminal.draw(|frame| screen::draw(frame, model))?;
            draw_at = Instant::now() + TICK;
        }
        let over = matches!(model.link, Link::Over { .. });
        tokio::select! {
            biased;
            _ = stop.wait() => return Ok(()),
            key = keys.next() => {
                let key = key.context("the terminal is gone")?.context("cannot read keys")?;
                if is_suspend(&key) {
                    suspend()?;
                } else if handle_input(client, model, key) {
                    return Ok(());
                }
                draw_at = Instant::now();
            }
            () = sleep_until(draw_at) => {}
            event = client.next_event(), if !over => {
                let mut event = event;
                for _ in 0..EVENTS_MAX {
                    let Some(happened) = event else { break };
                    model.handle_event(clock.ms(), &happened);
                    event = client.next_event().now_or_never().flatten();
                }
                draw_at = draw_at.min(Instant::now() + FRAME);
            }
        }
    }
}

/// Ctrl-Z: in raw mode the terminal sends no signal for it.
fn is_suspend(event: &Event) -> bool {
    matches!(event, Event::Key(key) if key.code == KeyCode::Char('z') && key.modifiers == KeyModifiers::CONTROL)
}

/// Handle a key or a paste. Returns whether the person wants to leave.
fn handle_input(client: &Client, model: &mut Model, event: Event) -> bool {
    match event {
        Event::Key(key) => match model.handle_key(key) {
            Some(action) => perform(client, model, action),
            None => false,
        },
        Event::Paste(text) => {
            model.handle_paste(&text);
            false
        }
        _ => false,
    }
}
