//! A probe: a new viewer at one node, who wants the newest messages of a room.
//!
//! Not here: viewers who stay (`viewer`).

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use grandstand_client::core::{Event, Options, Session, SubscribeOptions};
use grandstand_client::net::{Control, Driver, Handler, seed};
use tokio::task::LocalSet;

use super::{connector, url};

struct Probe(Rc<Cell<bool>>);

impl Handler for Probe {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        if matches!(event, Event::Message { .. }) {
            self.0.set(true);
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        if self.0.get() {
            control.session.close(control.now_us);
        }
        None
    }
}

/// Does a new viewer get messages of this room at this node in time?
pub(super) fn can_read(room: &str, node: usize, within: Duration) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    let has_read = Rc::new(Cell::new(false));
    let mut session = Session::new(Options { seed: seed(), keep_state: false, ..Options::default() });
    let _ = session.subscribe(room, SubscribeOptions { replay: 10, resume: None });
    let driver = Driver::new(&connector(), url(node), session, Probe(has_read.clone()));
    // What matters is what it read.
    let _ = runtime
        .block_on(LocalSet::new().run_until(async { tokio::time::timeout(within, driver.run()).await }));
    has_read.get()
}
