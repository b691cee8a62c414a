//! Probers: they open new connections during the whole run, one after the other, to each given address.
//!
//! Why: only a client that connects during a restart can show whether the restart refuses a connection.
//! Invariants: one try per address at a time; a failed try is counted and not repeated. The probers end with
//! the run.
//! Not here: viewers, which reconnect by themselves and count failures (`viewer`).

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use grandstand_client::core::{Event, Options, Reason, Session};
use grandstand_client::net::{Connector, Control, Driver, Handler, Url, now_us, seed};
use tokio::task::JoinSet;

use super::tally::Reasons;
use grandstand_harness::histogram::Times;

/// Between two tries over one address: fifty a second, of which a restart of a tenth of a second meets some.
const PAUSE: Duration = Duration::from_millis(20);

/// From the begin of connecting to `Welcome`.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// The results of the probers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    /// Tries.
    pub(crate) tries: u64,
    /// Failed tries, by reason.
    pub(crate) refused: Reasons,
    /// From the begin of connecting to `Welcome`.
    pub(crate) welcome: Times,
}

impl Probes {
    fn handle_outcome(&mut self, outcome: Result<(), String>, took_us: u64) {
        self.tries += 1;
        match outcome {
            Ok(()) => self.welcome.record(took_us),
            Err(why) => self.refused.count(&why, 1),
        }
    }
}

/// The probers of a run, on the current `LocalSet`; gone when dropped.
pub(crate) struct Probers {
    probes: Rc<RefCell<Probes>>,
    _tasks: JoinSet<()>,
}

impl Probers {
    /// One for each address.
    pub(crate) fn start(urls: &[Url], token: &str, connector: &Connector) -> Probers {
        let probes = Rc::new(RefCell::default());
        let mut tasks = JoinSet::new();
        for url in urls {
            tasks.spawn_local(probe_on(url.clone(), token.to_owned(), connector.clone(), Rc::clone(&probes)));
        }
        Probers { probes, _tasks: tasks }
    }

    /// The results so far.
    pub(crate) fn probes(&self) -> Probes {
        self.probes.borrow().clone()
    }
}

async fn probe_on(url: Url, token: String, connector: Connector, probes: Rc<RefCell<Probes>>) {
    loop {
        let (began_us, outcome) = (now_us(), probe(&url, &token, &connector).await);
        let outcome = outcome.map_err(|why| format!("{} {why}", scheme(&url)));
        probes.borrow_mut().handle_outcome(outcome, now_us() - began_us);
        tokio::time::sleep(PAUSE).await;
    }
}

fn scheme(url: &Url) -> String {
    url.to_string().split(':').next().unwrap_or_default().to_owned()
}

/// Joins and leaves.
async fn probe(url: &Url, token: &str, connector: &Connector) -> Result<(), String> {
    let options = Options {
        token: token.to_owned(),
        agent: concat!("gs-prober/", env!("CARGO_PKG_VERSION")),
        seed: seed(),
        retries_max: 0,
        keep_state: false,
        ..Options::default()
    };
    let driver = Driver::new(connector, url, Session::new(options), Probe::default()).run();
    let finished = tokio::time::timeout(ANSWER_WAIT, driver).await.map_err(|_| "no answer".to_owned())?;
    if finished.handler.is_in { Ok(()) } else { Err(finished.handler.why.unwrap_or_default()) }
}

#[derive(Debug, Default)]
struct Probe {
    is_in: bool,
    why: Option<String>,
}

impl Handler for Probe {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        match event {
            Event::Welcome { .. } => self.is_in = true,
            Event::Disconnected { reason } | Event::Closed { reason } if *reason != Reason::Asked => {
                self.why.get_or_insert_with(|| reason.to_string());
            }
            _ => {}
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        if self.is_in {
            control.session.close(control.now_us);
        }
        None
    }
}
