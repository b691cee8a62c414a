//! Tests of limits: over every limit of a person and every way around one, what is accepted is what one
//! person may do.
//!
//! Why every limit: a bucket that stands in a session or a connection is a limit of nobody who reconnects.
//! Why by the whole audience: a person's requests come over several workers, and each is judged at its own
//! place in the code.
//! Not here: slow mode (`people`), rooms that one person opens (the engine), connections (`admission`).

use std::sync::Arc;

use grandstand_engine::link::UserId;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{
    ClientFrame, History, Publish, React, Renew, SetState, Subscribe, permission,
};
use proptest::prelude::*;

use super::super::{Rate, Settings};
use super::harness::{Harness, Plan, V};
use crate::admission::limits::Address;
use crate::auth::{Authorize, Denied, Grant};
use crate::people::PeopleLimits;

const FRAMES: Rate = Rate { per_s: 50, burst: 100 };
const PUBLISH: Rate = Rate { per_s: 5, burst: 10 };
const REACTIONS: Rate = Rate { per_s: 4, burst: 12 };
const BRIDGE: Rate = Rate { per_s: 30, burst: 60 };

/// What a limit is for, each with a place of its own in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Subscribe,
    Publish,
    React,
    SetState,
    Page,
    Renew,
    /// A publication of a bridge.
    Bridge,
    /// A state change of a bridge: its frames.
    BridgeFrame,
}

const EVERY: [What; 8] = [
    What::Subscribe,
    What::Publish,
    What::React,
    What::SetState,
    What::Page,
    What::Renew,
    What::Bridge,
    What::BridgeFrame,
];

impl What {
    /// The rate, and what one costs.
    fn limit(self) -> (Rate, u64) {
        match self {
            What::Subscribe | What::SetState => (FRAMES, 1),
            What::Publish | What::Renew => (PUBLISH, 1),
            What::React => (REACTIONS, 1),
            What::Page => (FRAMES, 20),
            What::Bridge | What::BridgeFrame => (BRIDGE, 1),
        }
    }

    fn is_bridges(self) -> bool {
        matches!(self, What::Bridge | What::BridgeFrame)
    }
}

/// How somebody may try to have more than one person's.
#[derive(Clone, Copy, Debug)]
enum Around {
    Reconnect,
    ReconnectWithTicket,
    /// One more connection, beside those that are there.
    Connections,
    /// The same, with the ticket of the first.
    ConnectionsWithTicket,
}

const AROUND: [Around; 4] =
    [Around::Reconnect, Around::ReconnectWithTicket, Around::Connections, Around::ConnectionsWithTicket];

/// Everybody is this user, or anonymous.
#[derive(Debug)]
struct Everybody {
    user: Option<UserId>,
    permissions: u32,
}

impl Authorize for Everybody {
    fn authorize(&self, token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        let more = if token == "bridge" { permission::BRIDGE } else { 0 };
        Ok(Grant { user: self.user, ..Grant::without_token(wished_name, self.permissions | more) })
    }
}

/// One person, and what was taken of it.
struct Trial {
    harness: Harness,
    what: What,
    open: Vec<V>,
    ticket: Vec<u8>,
    epoch: u64,
    number: u32,
    /// When each was taken.
    taken_us: Vec<u64>,
    /// When each frame of any kind was.
    frames_us: Vec<u64>,
    /// Sessions at once, so far.
    at_once: usize,
}

impl Trial {
    fn new(what: What, is_named: bool, places: u32) -> Trial {
        let rights = permission::PUBLISH | permission::REACT | permission::STATE;
        let permissions = rights | if what.is_bridges() { permission::BRIDGE } else { 0 };
        let authority = Arc::new(Everybody { user: is_named.then_some(UserId(9)), permissions });
        let settings = Settings {
            frames: FRAMES,
            publish: PUBLISH,
            reactions: REACTIONS,
            bridge_publish: BRIDGE,
            rooms_per_session_max: 10_000,
            ..Plan::default().settings
        };
        let people = PeopleLimits { places_per_address: places, ..PeopleLimits::for_tests() };
        let mut harness = Harness::new(&Plan { workers: 2, settings, authority, people, ..Plan::default() });
        // Somebody else keeps the room.
        harness.address = Some(Address::of([192, 0, 2, 99].into()));
        let other = harness.member(0, "r");
        let epoch = harness.viewers[other.0].room("r").at.epoch;
        harness.run_ms(10_000);
        harness.address = Some(Address::of([192, 0, 2, 1].into()));
        let (open, ticket, taken_us, frames_us) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Trial { harness, what, open, ticket, epoch, number: 0, taken_us, frames_us, at_once: 0 }
    }

    fn connect(&mut self, worker: usize, with_ticket: bool) {
        let v = self.harness.enter(worker);
        if with_ticket {
            self.harness.viewers[v.0].ticket = self.ticket.clone();
        }
        self.harness.hello(v);
        self.open.push(v);
        self.at_once = self.at_once.max(self.open.len());
        let subscribe = Subscribe { request: 1_000_000, room: "r", ..Subscribe::default() };
        self.send(v, &ClientFrame::Subscribe(subscribe));
        self.harness.run_ms(5);
        if self.ticket.is_empty() {
            self.ticket = self.harness.viewers[v.0].ticket.clone();
        }
    }

    fn leave(&mut self, at: usize) {
        let v = self.open.swap_remove(at);
        self.harness.cut(v);
    }

    fn counts(&mut self) -> (u64, u64) {
        let counters = self.harness.audiences.iter_mut().map(|audience| audience.counters());
        counters.fold((0, 0), |(refusals, closes), counters| {
            (refusals + counters.refusals.iter().sum::<u64>(), closes + counters.closes.iter().sum::<u64>())
        })
    }

    /// Send a frame; whether it was taken, which is known at once.
    fn send(&mut self, v: V, frame: &ClientFrame<'_>) -> bool {
        if !self.harness.is_connected(v) {
            return false;
        }
        let before = self.counts();
        self.harness.send(v, frame);
        let after = self.counts();
        if after.1 > before.1 {
            self.harness.turn();
            let ended = self.harness.ended[v.0].as_ref().expect("closed");
            assert_eq!(ended.code, CloseCode::Flooding);
            self.open.retain(|open| *open != v);
        }
        let is_taken = after == before;
        if is_taken {
            self.frames_us.push(self.harness.us);
        }
        is_taken
    }

    /// Try so many at once over a connection.
    fn attempt(&mut self, v: V, count: usize) {
        for _ in 0..count {
            self.number += 1;
            let Some(alias) = self.harness.viewers[v.0].alias_of("r") else { return };
            let (request, nonce) = (self.number, self.number.into());
            let room = format!("room {request}");
            let frame = match self.what {
                What::Subscribe => {
                    ClientFrame::Subscribe(Subscribe { request, room: &room, ..Subscribe::default() })
                }
                What::Publish | What::Bridge => {
                    ClientFrame::Publish(Publish { alias, nonce, text: &room, ..Publish::default() })
                }
                What::React => ClientFrame::React(React { alias, key: "x", count: 1 }),
                What::SetState | What::BridgeFrame => {
                    ClientFrame::SetState(SetState { request, alias, key: "k", value: Some(b"v") })
                }
                What::Page => {
                    ClientFrame::History(History { request, alias, epoch: self.epoch, from: 0, count_max: 1 })
                }
                What::Renew => ClientFrame::Renew(Renew { request, token: "t" }),
            };
            if self.send(v, &frame) {
                self.taken_us.push(self.harness.us);
            }
            if self.what == What::Page {
                // Few are under way for one client: this one comes, and no time passes.
                self.harness.turn();
                self.harness.turn();
            }
        }
    }

    /// Within any time, no more was taken than so many persons may take.
    fn check(&self, persons: u64) {
        let (rate, cost) = self.what.limit();
        check_rate(&self.taken_us, rate, cost, persons);
        let frames = if self.what.is_bridges() { BRIDGE } else { FRAMES };
        check_rate(&self.frames_us, frames, 1, persons);
    }
}

fn check_rate(taken_us: &[u64], rate: Rate, cost: u64, persons: u64) {
    for (first, from_us) in taken_us.iter().enumerate() {
        for (last, to_us) in taken_us.iter().enumerate().skip(first) {
            let taken = (last - first + 1) as u64 * cost * 1_000;
            // A bucket counts in milliseconds.
            let passed_ms = to_us / 1_000 - from_us / 1_000;
            let allowed = persons * (u64::from(rate.burst) * 1_000 + u64::from(rate.per_s) * passed_ms);
            assert!(taken <= allowed, "{} in {passed_ms} ms at {rate:?}", last - first + 1);
        }
    }
}

#[test]
fn no_limit_of_a_person_is_passed_by_reconnects_more_connections_or_new_tickets() {
    for what in EVERY {
        for (around, is_named) in AROUND.into_iter().flat_map(|around| [(around, true), (around, false)]) {
            let mut trial = Trial::new(what, is_named, 1);
            for n in 0..8 {
                let with_ticket =
                    matches!(around, Around::ReconnectWithTicket | Around::ConnectionsWithTicket);
                trial.connect(n % 2, with_ticket);
                let Some(&v) = trial.open.last() else { continue };
                trial.attempt(v, 130);
                if matches!(around, Around::Reconnect | Around::ReconnectWithTicket) && !trial.open.is_empty()
                {
                    trial.leave(0);
                }
            }
            trial.check(1);
            let (rate, cost) = what.limit();
            let least = u64::from(rate.burst) / cost - 2;
            let taken = trial.taken_us.len() as u64;
            assert!(taken >= least, "{taken} of {least}: {what:?} {around:?}, named: {is_named}");
        }
    }
}

/// Who shares a person's allowance with somebody who floods is refused and not closed, and stays there by its
/// heartbeats.
#[test]
fn nobody_is_closed_for_the_frames_of_another_connection() {
    for is_named in [true, false] {
        let mut trial = Trial::new(What::SetState, is_named, 1);
        trial.connect(0, false);
        trial.connect(1, false);
        let [calm, flood] = trial.open[..] else { panic!("both are there") };
        trial.attempt(flood, 200);
        assert!(!trial.harness.is_connected(flood));
        trial.attempt(calm, 5);
        trial.harness.run_ms(10);
        assert_eq!(trial.harness.viewers[calm.0].refusals().len(), 5);
        for client_us in 0..20 {
            trial.harness.send(calm, &ClientFrame::Ping { client_us });
        }
        trial.harness.run_ms(2_000);
        assert!(trial.harness.is_connected(calm));
        let before = trial.taken_us.len();
        trial.attempt(calm, 5);
        assert_eq!(trial.taken_us.len() - before, 5, "named: {is_named}");
    }
}

#[test]
fn heartbeats_are_the_connections_alone_up_to_a_bound() {
    let mut trial = Trial::new(What::SetState, true, 1);
    let mut answered = 0;
    for n in 0..20 {
        trial.connect(n % 2, false);
        let Some(&v) = trial.open.last() else { continue };
        for client_us in 0..90 {
            answered += usize::from(trial.send(v, &ClientFrame::Ping { client_us }));
        }
        if !trial.open.is_empty() {
            trial.leave(0);
        }
    }
    // Some 32 of each connection, and what a person may send.
    assert!((100..20 * 56 + 200).contains(&answered), "{answered}");
}

/// A renewal makes a bridge of a session, and another ends that: what a bridge may send is another allowance,
/// and the person's own is as it was.
#[test]
fn bridges_have_allowances_of_their_own() {
    let mut trial = Trial::new(What::Publish, true, 1);
    trial.connect(0, false);
    let v = trial.open[0];
    let taken = |trial: &mut Trial, count| {
        let before = trial.taken_us.len();
        trial.attempt(v, count);
        trial.taken_us.len() - before
    };
    assert_eq!(taken(&mut trial, 20), 10);
    assert!(trial.send(v, &ClientFrame::Renew(Renew { request: 1, token: "bridge" })));
    assert_eq!(taken(&mut trial, 30), 30);
    assert!(trial.send(v, &ClientFrame::Renew(Renew { request: 2, token: "none" })));
    assert_eq!(taken(&mut trial, 20), 0);
}

/// What one person does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect { worker: usize, with_ticket: bool },
    Leave(usize),
    Attempt(usize, u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..2, any::<bool>()).prop_map(|(worker, with_ticket)| Step::Connect { worker, with_ticket }),
        2 => (0usize..20).prop_map(Step::Leave),
        5 => (0usize..20, 1u8..70).prop_map(|(which, count)| Step::Attempt(which, count)),
        2 => (1u16..3_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_person_does_it_has_one_persons_limits(
        what in prop::sample::select(EVERY.to_vec()),
        is_named: bool,
        places in 1u32..4,
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut trial = Trial::new(what, is_named, places);
        for step in steps {
            let open = trial.open.len();
            match step {
                Step::Connect { worker, with_ticket } if open < 12 => trial.connect(worker, with_ticket),
                Step::Leave(which) if open > 0 => trial.leave(which % open),
                Step::Attempt(which, count) if open > 0 => {
                    let v = trial.open[which % open];
                    trial.attempt(v, count.into());
                }
                Step::Wait(ms) => trial.harness.run_ms(ms.into()),
                Step::Connect { .. } | Step::Leave(_) | Step::Attempt(..) => {}
            }
        }
        trial.check(if is_named { 1 } else { trial.at_once.min(places as usize).max(1) as u64 });
    }
}
