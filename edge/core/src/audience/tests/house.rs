//! Tests of what concerns the whole house: sessions that an operator ends, and sessions that count elsewhere.
//!
//! Why by the whole audience: an end leaves rooms, counts and tables as every other end does.

use std::sync::Arc;

use grandstand_engine::ShardConfig;
use grandstand_engine::link::UserId;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Hello, permission};

use super::harness::{Harness, Plan, V};
use super::viewer::Seen;
use crate::auth::{Authorize, Denied, Ended, Grant, Subject};
use crate::people::PeopleLimits;

/// The token says who it is: `user.token`, each a number, 0 for none.
#[derive(Debug)]
struct ByName;

impl Authorize for ByName {
    fn authorize(&self, token: &str, name: &str, _: u64) -> Result<Grant, Denied> {
        let (user, id) = token.split_once('.').unwrap_or(("0", "0"));
        let (user, token) = (user.parse().unwrap(), id.parse().unwrap());
        let user = (user > 0).then_some(UserId(user));
        Ok(Grant { user, token, ..Grant::without_token(name, permission::PUBLISH) })
    }
}

fn greet(harness: &mut Harness, v: V, token: &str, ticket: &[u8]) {
    harness.send(v, &ClientFrame::Hello(Hello { token, ticket, ..Hello::default() }));
}

fn enter(harness: &mut Harness, worker: usize, token: &str) -> V {
    let v = harness.enter(worker);
    greet(harness, v, token, &[]);
    harness.subscribe(v, "r", None, 0);
    harness.turn();
    v
}

fn end(harness: &mut Harness, subjects: &[Subject]) -> usize {
    let now = harness.now();
    let mut ended: Vec<Ended> = subjects
        .iter()
        .map(|&subject| Ended { subject, code: CloseCode::Banned, detail: "for spam".into() })
        .collect();
    ended.sort_unstable_by_key(|ended| ended.subject);
    let closed = harness.audiences.iter_mut().map(|audience| audience.handle_ended(now, &ended)).sum();
    harness.turn();
    closed
}

#[test]
fn whoever_is_ended_is_closed_on_every_worker_and_nobody_else() {
    let mut harness = Harness::new(&Plan { workers: 2, authority: Arc::new(ByName), ..Plan::default() });
    let tokens = ["7.0", "7.1", "8.1", "8.2", "0.0", "0.0", "9.0"];
    let crowd: Vec<V> = (0..28).map(|n| enter(&mut harness, n % 2, tokens[n % 7])).collect();
    let session = |harness: &Harness, n: usize| harness.viewers[crowd[n].0].session;
    let chosen = session(&harness, 4);
    let many: Vec<Subject> = (100..5_000).map(Subject::User).collect();
    assert_eq!(end(&mut harness, &many), 0);
    let number_of_anonymous = Subject::User(session(&harness, 5));
    assert_eq!(end(&mut harness, &[number_of_anonymous]), 0, "a session is no user");
    let closed = end(&mut harness, &[Subject::User(7), Subject::Token(2), Subject::Session(chosen)]);
    assert_eq!(closed, 4 + 4 + 4 + 1);
    for (n, v) in crowd.iter().enumerate() {
        let is_ended = ["7.0", "7.1", "8.2"].contains(&tokens[n % 7]) || n == 4;
        let ended = harness.ended[v.0].as_ref().map(|ended| (ended.code, &*ended.detail));
        assert_eq!(ended, is_ended.then_some((CloseCode::Banned, "for spam")), "{n}");
    }
    harness.check_inside();
    assert_eq!(end(&mut harness, &[Subject::User(7)]), 0, "once");
}

/// Over workers, with reconnects: a user beyond its sessions is told so with a time, and one that ends frees
/// a place; nobody else is held by it.
#[test]
fn a_user_with_too_many_sessions_is_told_when_to_return() {
    let people = PeopleLimits { sessions_per_user: 3, ..PeopleLimits::for_tests() };
    let mut harness =
        Harness::new(&Plan { workers: 2, people, authority: Arc::new(ByName), ..Plan::default() });
    let inside: Vec<V> = (0..3).map(|n| enter(&mut harness, n % 2, "7.0")).collect();
    let beyond = enter(&mut harness, 1, "7.1");
    let code = |harness: &Harness, v: V| harness.ended[v.0].as_ref().map(|ended| ended.code);
    assert_eq!(code(&harness, beyond), Some(CloseCode::TooManySessions));
    let told = harness.viewers[beyond.0].seen.iter().find_map(|seen| match seen {
        Seen::Error { retry_after_ms, .. } => Some(*retry_after_ms),
        _ => None,
    });
    assert!(told.is_some_and(|ms| (15_000..20_000).contains(&ms)), "{told:?}");
    let others = [enter(&mut harness, 0, "8.0"), enter(&mut harness, 1, "0.0")];
    assert!(others.iter().all(|v| code(&harness, *v).is_none()));
    // Its ticket brings a session back while its old connection is half open.
    let ticket = harness.viewers[inside[0].0].ticket.clone();
    let back = harness.enter(1);
    greet(&mut harness, back, "7.0", &ticket);
    harness.turn();
    assert_eq!(harness.viewers[back.0].session, harness.viewers[inside[0].0].session);
    harness.cut(inside[0]);
    let still = enter(&mut harness, 0, "7.0");
    assert_eq!(code(&harness, still), Some(CloseCode::TooManySessions), "it is here by its other connection");
    harness.cut(back);
    let next = enter(&mut harness, 0, "7.0");
    assert_eq!(code(&harness, next), None);
    harness.check_inside();
}

#[test]
fn a_session_that_came_to_another_node_counts_there_and_nowhere_twice() {
    let rooms = ShardConfig { viewers_every_ms: 1, ..Plan::default().rooms };
    let mut harness =
        Harness::new(&Plan { workers: 2, rooms, authority: Arc::new(ByName), ..Plan::default() });
    let watcher = enter(&mut harness, 0, "1.0");
    let count = |harness: &mut Harness| {
        harness.run_ms(2_500);
        harness.check_inside();
        String::from_utf8(harness.viewers[watcher.0].room("r").state["gs.viewers"].clone()).unwrap()
    };
    let phone = enter(&mut harness, 1, "2.0");
    let number = harness.viewers[phone.0].session;
    let elsewhere = |harness: &mut Harness, sessions: &[u64]| -> usize {
        let now = harness.now();
        harness.audiences.iter_mut().map(|audience| audience.handle_elsewhere(now, sessions)).sum()
    };
    assert_eq!(elsewhere(&mut harness, &[number]), 0, "it has just come: the news is older");
    assert_eq!(count(&mut harness), "2");
    assert_eq!(elsewhere(&mut harness, &[number ^ 1]), 0);
    assert_eq!(elsewhere(&mut harness, &[number]), 1);
    assert_eq!(count(&mut harness), "1");
    assert_eq!(elsewhere(&mut harness, &[number]), 0, "once");
    // It comes back, while the old connection is still half open here.
    let ticket = harness.viewers[phone.0].ticket.clone();
    let back = harness.enter(0);
    greet(&mut harness, back, "2.0", &ticket);
    harness.subscribe(back, "r", None, 0);
    harness.turn();
    assert_eq!(harness.viewers[back.0].session, number);
    assert_eq!(count(&mut harness), "2");
    harness.cut(phone);
    assert_eq!(count(&mut harness), "2", "the old one takes nothing with it");
    harness.cut(back);
    assert_eq!(count(&mut harness), "1");
}
