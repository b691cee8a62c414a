//! A viewer: a session in one room, which reports everything that it is told.
//!
//! Not here: what it should have been told (`checker`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::time::Duration;

use grandstand_client::core::{Event, Options, Reason, Session, SubscribeOptions};
use grandstand_client::net::{Control, Driver, Handler, now_us, seed};
use grandstand_protocol::frame::GapReason;

use super::{Shared, Told, connector, place, urls};

/// How often a viewer looks for orders.
const LOOK_EVERY_US: u64 = 500_000;

/// Before a new session begins in the place of one that ended.
const PAUSE: Duration = Duration::from_millis(50);

/// Joins in a second at the begin; more would be a storm, which is not what is tried here.
const JOINS_PER_S: u64 = 500;

struct Viewer {
    shared: Arc<Shared>,
    number: usize,
    node: Option<usize>,
    is_inside: bool,
    homecoming: u64,
}

/// A viewer until the run is over.
pub(super) async fn live(shared: Arc<Shared>, number: usize) {
    let (room, home) = place(number);
    tokio::time::sleep(Duration::from_micros(number as u64 * 1_000_000 / JOINS_PER_S)).await;
    while !shared.is_over.load(Relaxed) {
        let options = Options {
            agent: "grandstand-faults/viewer",
            seed: seed(),
            backoff_ms: 200,
            backoff_max_ms: 2_000,
            keep_state: false,
            ..Options::default()
        };
        let mut session = Session::new(options);
        let _ = session
            .subscribe(&shared.room_names[room], SubscribeOptions::default())
            .expect("rooms of this run have valid names");
        let homecoming = shared.homecoming.load(Relaxed);
        let viewer = Viewer { shared: shared.clone(), number, node: None, is_inside: false, homecoming };
        let mut finished = Box::pin(Driver::new(&connector(), urls(home), session, viewer).run()).await;
        finished.handler.set_inside(false);
        let was_asked = finished.reason == Reason::Asked;
        shared.record(number, now_us(), Told::Closed { was_asked });
        tokio::time::sleep(PAUSE).await;
    }
}

impl Viewer {
    fn set_inside(&mut self, is_inside: bool) {
        match (std::mem::replace(&mut self.is_inside, is_inside), is_inside) {
            (false, true) => drop(self.shared.inside.fetch_add(1, Relaxed)),
            (true, false) => drop(self.shared.inside.fetch_sub(1, Relaxed)),
            _ => {}
        }
    }
}

impl Handler for Viewer {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let told = match event {
            Event::Welcome { node, .. } => {
                let node = node.trim_start_matches('n').parse().unwrap_or(usize::MAX);
                self.node = Some(node);
                Told::Welcome { node }
            }
            Event::Subscribed { outcome, epoch, offset, .. } => {
                self.set_inside(true);
                Told::Subscribed { outcome: *outcome, epoch: *epoch, offset: *offset }
            }
            Event::Message { offset, text, .. } => {
                Told::Message { offset: *offset, number: self.shared.number_of(text) }
            }
            Event::Omitted { from, to, .. } => Told::Omitted { from: *from, to: *to },
            Event::Gap { epoch, from, to, reason, .. } => {
                let is_restart = *reason == GapReason::Restarted;
                Told::Gap { epoch: *epoch, from: *from, to: *to, is_restart }
            }
            Event::Fault { .. } => Told::Fault,
            Event::Unsubscribed { .. } => {
                self.set_inside(false);
                Told::Unsubscribed
            }
            Event::Disconnected { .. } => {
                self.set_inside(false);
                Told::Disconnected
            }
            _ => return,
        };
        self.shared.record(self.number, now_us, told);
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let homecoming = self.shared.homecoming.load(Relaxed);
        let is_called = std::mem::replace(&mut self.homecoming, homecoming) != homecoming;
        let is_away = self.node != Some(place(self.number).1);
        if self.shared.is_over.load(Relaxed) || (is_called && is_away) {
            control.session.close(control.now_us);
        }
        Some(control.now_us + LOOK_EVERY_US)
    }
}
