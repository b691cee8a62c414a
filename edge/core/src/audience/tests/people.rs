//! Tests of people: a limit is the person's over connections, tickets and workers, a room counts sessions,
//! and nobody at a shared address is held for another.
//!
//! Why by the whole audience: a person's requests come over several workers, and its shard judges slow mode.

use std::sync::Arc;

use grandstand_engine::ShardConfig;
use grandstand_engine::link::UserId;
use grandstand_protocol::frame::permission;
use grandstand_protocol::refusal::Refusal;

use super::super::subscriptions::Subscriptions;
use super::super::{Rate, Settings};
use super::harness::{Harness, Plan, V};
use crate::admission::limits::Address;
use crate::auth::{Authorize, Denied, Grant};
use crate::people::PeopleLimits;

/// Everybody is the same user.
#[derive(Debug)]
struct OneUser;

impl Authorize for OneUser {
    fn authorize(&self, _token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        let may = permission::PUBLISH | permission::REACT | permission::STATE;
        Ok(Grant { user: Some(UserId(9)), ..Grant::without_token(wished_name, may) })
    }
}

fn plan() -> Plan {
    let rate = Rate { per_s: 5, burst: 10 };
    let settings = Settings {
        publish: rate,
        reactions: rate,
        frames: Rate { per_s: 1_000, burst: 1_000 },
        ..Plan::default().settings
    };
    Plan { workers: 2, settings, ..Plan::default() }
}

fn address(last: u8) -> Option<Address> {
    Some(Address::of([192, 0, 2, last].into()))
}

/// A new connection from this address, with this ticket.
fn enter(harness: &mut Harness, worker: usize, from: Option<Address>, ticket: Vec<u8>) -> V {
    harness.address = from;
    let v = harness.enter(worker);
    harness.viewers[v.0].ticket = ticket;
    // Nonces of a session are its own over connections.
    harness.viewers[v.0].nonce = 1_000 * v.0 as u64;
    harness.hello(v);
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(20);
    v
}

/// Rooms know how many of their members count.
fn check_viewers(harness: &mut Harness) {
    harness.check_inside();
    for audience in &harness.audiences {
        let Subscriptions { connections, rooms, .. } = &audience.subscriptions;
        let sessions = connections.slab.iter().filter_map(|(_, c)| c.session.as_deref());
        let places = sessions.flat_map(|s| s.memberships.iter().filter_map(|m| m.place));
        let counted = places.filter(|place| place.is_counted).count();
        assert_eq!(counted, rooms.slab.iter().map(|(_, r)| r.viewers as usize).sum::<usize>());
    }
}

/// Publications of so many that are accepted.
fn publish(harness: &mut Harness, v: V, count: usize) -> usize {
    let alias = harness.alias(v, "r");
    let before = harness.viewers[v.0].published().len();
    (0..count).for_each(|_| {
        harness.say(v, alias);
    });
    harness.turn();
    harness.turn();
    harness.viewers[v.0].published().len() - before
}

/// By sessions at once on two workers, by reconnects with a ticket and without, by a mixture: what is
/// accepted is a burst and the rate times the time.
#[test]
fn a_persons_limit_holds_over_connections_tickets_and_workers() {
    for (is_named, uses_ticket, stays) in [
        (true, false, true),
        (true, true, false),
        (true, false, false),
        (false, true, false),
        (false, false, false),
        (false, true, true),
    ] {
        let authority: Arc<dyn Authorize> = if is_named { Arc::new(OneUser) } else { plan().authority };
        let mut harness = Harness::new(&Plan { authority, ..plan() });
        let began_us = harness.us;
        let (mut accepted, mut ticket) = (0, Vec::new());
        for n in 0..20 {
            let v =
                enter(&mut harness, n % 2, address(1), if uses_ticket { ticket.clone() } else { Vec::new() });
            accepted += publish(&mut harness, v, 15);
            if ticket.is_empty() {
                ticket = harness.viewers[v.0].ticket.clone();
            }
            if !stays {
                harness.cut(v);
            }
        }
        let allowed = 10.0 + 5.0 * (harness.us - began_us) as f64 / 1e6;
        let case = (is_named, uses_ticket, stays);
        assert!((accepted as f64) <= allowed && accepted >= 10, "{accepted} of {allowed}: {case:?}");
    }
}

#[test]
fn slow_mode_holds_who_reconnects_and_nobody_else_at_the_address() {
    let rooms = ShardConfig { slow_mode_ms: 60_000, ..plan().rooms };
    let mut harness = Harness::new(&Plan { rooms, ..plan() });
    let v = enter(&mut harness, 0, address(1), Vec::new());
    assert_eq!(publish(&mut harness, v, 1), 1);
    let ticket = harness.viewers[v.0].ticket.clone();
    harness.cut(v);
    for (worker, ticket, from) in [
        (0, Vec::new(), address(1)),
        (1, Vec::new(), address(1)),
        (1, ticket.clone(), address(1)),
        (0, ticket, address(2)),
    ] {
        let again = enter(&mut harness, worker, from, ticket);
        assert_eq!(publish(&mut harness, again, 1), 0);
        let refused = harness.viewers[again.0].refusals();
        assert!(matches!(refused[..], [(_, _, Refusal::SlowMode, Some(_))]), "{refused:?}");
        harness.cut(again);
    }
    // Somebody who is there at the same time is another person, as is one elsewhere.
    let held = enter(&mut harness, 0, address(1), Vec::new());
    let neighbour = enter(&mut harness, 0, address(1), Vec::new());
    let elsewhere = enter(&mut harness, 0, address(3), Vec::new());
    let said = [held, neighbour, elsewhere].map(|v| publish(&mut harness, v, 1));
    assert_eq!(said, [0, 1, 1]);
}

#[test]
fn many_at_one_address_have_so_many_times_a_persons_limit() {
    let people = PeopleLimits { places_per_address: 3, ..PeopleLimits::for_tests() };
    let mut harness = Harness::new(&Plan { people, ..plan() });
    let crowd: Vec<V> = (0..9).map(|n| enter(&mut harness, n % 2, address(1), Vec::new())).collect();
    let began: Vec<usize> = crowd.iter().map(|v| publish(&mut harness, *v, 10)).collect();
    assert_eq!(began.iter().sum::<usize>(), 30, "{began:?}");
    assert!(began[..3].iter().all(|n| *n == 10), "the first of each place: {began:?}");
}

/// A phone changes from one connection to another while the first is half open; on one worker or on two.
#[test]
fn a_session_on_two_connections_is_one_viewer() {
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let rooms = ShardConfig { viewers_every_ms: 1, ..plan().rooms };
        let mut harness = Harness::new(&Plan { rooms, ..plan() });
        let watcher = enter(&mut harness, 0, address(9), Vec::new());
        let count = |harness: &mut Harness, ms| {
            harness.run_ms(ms);
            check_viewers(harness);
            String::from_utf8(harness.viewers[watcher.0].room("r").state["gs.viewers"].clone()).unwrap()
        };
        let phone = enter(&mut harness, first, address(1), Vec::new());
        assert_eq!(count(&mut harness, 1_000), "2");
        let ticket = harness.viewers[phone.0].ticket.clone();
        let moved = enter(&mut harness, second, address(2), ticket.clone());
        assert_eq!(harness.viewers[moved.0].session, harness.viewers[phone.0].session);
        for _ in 0..20 {
            assert_eq!(count(&mut harness, 100), "2", "at once, and it stays");
        }
        harness.cut(phone);
        assert_eq!(count(&mut harness, 3_000), "2", "the second counts in its place");
        let third = enter(&mut harness, first, address(1), ticket);
        let alias = harness.alias(moved, "r");
        harness.unsubscribe(moved, alias);
        assert_eq!(count(&mut harness, 3_000), "2", "it follows by the third");
        harness.cut(moved);
        harness.cut(third);
        assert_eq!(count(&mut harness, 3_000), "1");
        assert!(harness.audiences.iter().all(|a| a.subscriptions.uncounted.is_empty()));
    }
}

#[test]
fn a_session_that_comes_and_goes_uncounted_leaves_nothing_behind() {
    let mut harness = Harness::new(&plan());
    let v = enter(&mut harness, 0, address(1), Vec::new());
    let ticket = harness.viewers[v.0].ticket.clone();
    let other = enter(&mut harness, 0, address(1), ticket);
    for _ in 0..30 {
        let alias = harness.alias(other, "r");
        harness.unsubscribe(other, alias);
        harness.run_ms(200);
        harness.subscribe(other, "r", None, 0);
        harness.run_ms(200);
    }
    assert_eq!(harness.audiences[0].subscriptions.uncounted.len(), 1);
}
