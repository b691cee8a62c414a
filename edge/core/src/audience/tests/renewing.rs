//! Tests of tokens in running sessions: renewed, told of, and run out.
//!
//! Not here: what a token contains (`grandstand_edge::auth`).

use std::sync::Arc;

use grandstand_engine::link::{Now, UserId};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Hello, Kind, Renew, Role, permission};
use grandstand_protocol::refusal::Refusal;

use super::super::Settings;
use super::harness::{EPOCH_MS, Harness, Plan, V};
use super::viewer::Seen;
use crate::auth::{Authorize, Denied, Expiry, Grant, RoomScope};

/// Takes tokens of the form `user|name|role|rooms|expiry in seconds`; an empty part is a missing claim.
#[derive(Debug)]
struct BySpelling {
    leeway_ms: u64,
}

impl Authorize for BySpelling {
    fn authorize(&self, token: &str, wished_name: &str, now_unix_ms: u64) -> Result<Grant, Denied> {
        if token.is_empty() {
            return Ok(Grant::without_token(wished_name, permission::REACT));
        }
        let [user, name, role, rooms, expiry] = token.split('|').collect::<Vec<_>>()[..] else {
            return Err(Denied {
                code: CloseCode::Unauthorized,
                detail: "the token has no five parts",
                retry_after_ms: 0,
            });
        };
        let expiry = expiry
            .parse()
            .ok()
            .map(|s: u64| Expiry { expires_unix_ms: EPOCH_MS + s * 1_000, leeway_ms: self.leeway_ms });
        if expiry.is_some_and(|e| now_unix_ms >= e.expires_unix_ms + self.leeway_ms) {
            return Err(Denied {
                code: CloseCode::TokenExpired,
                detail: "it has run out",
                retry_after_ms: 0,
            });
        }
        let patterns: Vec<String> = rooms.split(',').map(str::to_owned).collect();
        Ok(Grant {
            user: (!user.is_empty()).then_some(UserId(user.len() as u64)),
            name: if name.is_empty() { wished_name } else { name }.into(),
            role: if role == "host" { Role::Host } else { Role::Viewer },
            permissions: permission::PUBLISH | if role == "host" { permission::STATE } else { 0 },
            expiry,
            rooms: if rooms.is_empty() {
                RoomScope::All
            } else {
                RoomScope::of(&patterns).expect("patterns")
            },
            token: 0,
        })
    }
}

fn house(leeway_s: u64, notice_s: u64) -> Harness {
    let settings = Settings { expiring_notice_ms: notice_s * 1_000, ..Plan::default().settings };
    let authority = Arc::new(BySpelling { leeway_ms: leeway_s * 1_000 });
    Harness::new(&Plan { settings, authority, ..Plan::default() })
}

fn enter(harness: &mut Harness, token: &str) -> V {
    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Hello(Hello { token, name: "wish", ..Hello::default() }));
    harness.turn();
    v
}

fn renew(harness: &mut Harness, v: V, request: u32, token: &str) -> Seen {
    harness.send(v, &ClientFrame::Renew(Renew { request, token }));
    harness.turn();
    let answer = |seen: &&Seen| match seen {
        Seen::Renewed { request: of, .. } => *of == request,
        Seen::Refused { kind, id, .. } => *kind == Kind::Renew as u8 && *id == u64::from(request),
        _ => false,
    };
    harness.viewers[v.0].seen.iter().find(answer).expect("one answer").clone()
}

fn ended(harness: &Harness, v: V) -> Option<CloseCode> {
    harness.ended[v.0].as_ref().map(|close| close.code)
}

/// Clauses H-9 and H-10.
#[test]
fn a_renewal_extends_a_session_and_changes_what_it_may_do() {
    let mut harness = house(0, 0);
    let v = enter(&mut harness, "u|Ada|viewer||10");
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(100);
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
    harness.set_state(v, alias, "k", Some(b"v"));
    harness.run_ms(100);
    assert_eq!(harness.viewers[v.0].refusals().iter().map(|r| r.2).collect::<Vec<_>>(), [Refusal::Forbidden]);

    let renewed = renew(&mut harness, v, 5, "u|Countess|host||30");
    let Seen::Renewed { name, role: Role::Host, permissions, expires_in_ms, .. } = renewed else {
        panic!("{renewed:?}")
    };
    assert_eq!((&*name, permissions), ("Countess", permission::PUBLISH | permission::STATE));
    assert!((28_000..30_000).contains(&expires_in_ms), "{expires_in_ms}");
    harness.set_state(v, alias, "k", Some(b"v"));
    harness.say(v, alias);
    harness.run_ms(100);
    assert_eq!(harness.viewers[v.0].refusals().len(), 1);
    assert_eq!(harness.viewers[v.0].authors, ["Ada", "Countess"], "what was said keeps its name");

    // A loss takes effect as well, and a shorter time.
    renew(&mut harness, v, 6, "u||viewer||20");
    harness.set_state(v, alias, "k", None);
    harness.run_ms(11_000);
    assert_eq!(harness.viewers[v.0].refusals().len(), 2);
    assert_eq!(ended(&harness, v), None, "the first token's end is not this one's");
    harness.run_ms(9_000);
    assert_eq!(ended(&harness, v), Some(CloseCode::TokenExpired));
}

/// Clause H-10.
#[test]
fn subscriptions_that_the_new_token_does_not_allow_end_with_the_reason() {
    let mut harness = house(0, 0);
    let v = enter(&mut harness, "u||||100");
    for room in ["a/1", "a/2", "b"] {
        harness.subscribe(v, room, None, 0);
    }
    harness.run_ms(100);
    let (kept, lost) = (harness.alias(v, "b"), [harness.alias(v, "a/1"), harness.alias(v, "a/2")]);
    harness.subscribe(v, "a/3", None, 0);
    renew(&mut harness, v, 5, "u|||b|100");
    harness.run_ms(100);
    let ended: Vec<_> = harness.viewers[v.0]
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Unsubscribed { request: 0, alias, reason } => Some((*alias, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(ended, lost.map(|alias| (alias, Refusal::Forbidden)));
    let refused = harness.viewers[v.0].refusals();
    assert_eq!(
        refused.iter().map(|r| (r.0, r.2)).collect::<Vec<_>>(),
        [(Kind::Subscribe as u8, Refusal::Forbidden)]
    );
    // Nothing of those rooms comes any more, and they cannot be followed again.
    let other = enter(&mut harness, "vv||||100");
    harness.subscribe(other, "a/1", None, 0);
    harness.run_ms(50);
    harness.talk(other, "a/1", 3);
    harness.subscribe(v, "a/1", None, 0);
    harness.run_ms(200);
    assert_eq!(harness.viewers[v.0].refusals().len(), 2);
    harness.say(v, kept);
    harness.run_ms(100);
    assert_eq!(harness.viewers[v.0].authors, ["wish"]);
    assert_eq!(harness.audiences[0].counters().members, 2);
}

/// Clause H-9.
#[test]
fn what_is_refused_changes_nothing() {
    let mut harness = house(0, 0);
    let (v, guest) = (enter(&mut harness, "u|Ada|||10"), enter(&mut harness, ""));
    for (request, token) in
        [(1, ""), (2, "rubbish"), (3, "vv|Eve|host||99"), (4, "|Eve|host||99"), (5, "u||host||0")]
    {
        let answer = renew(&mut harness, v, request, token);
        assert!(matches!(answer, Seen::Refused { reason: Refusal::Forbidden, .. }), "{token:?}: {answer:?}");
    }
    // Who has no user gets none in a session.
    assert!(matches!(
        renew(&mut harness, guest, 1, "u||host||99"),
        Seen::Refused { reason: Refusal::Forbidden, .. }
    ));
    assert!(matches!(renew(&mut harness, guest, 2, "|Bob|||99"), Seen::Renewed { .. }));
    harness.subscribe(v, "r", None, 0);
    harness.run_ms(100);
    let alias = harness.alias(v, "r");
    harness.say(v, alias);
    harness.set_state(v, alias, "k", None);
    harness.run_ms(100);
    assert_eq!(harness.viewers[v.0].authors, ["Ada"]);
    assert_eq!(harness.viewers[v.0].refusals().len(), 6);
    harness.run_ms(10_000);
    assert_eq!((ended(&harness, v), ended(&harness, guest)), (Some(CloseCode::TokenExpired), None));
}

#[test]
fn renewals_are_limited_as_publications_are() {
    let rate = super::super::Rate { per_s: 1, burst: 2 };
    let settings = Settings { publish: rate, ..Plan::default().settings };
    let authority = Arc::new(BySpelling { leeway_ms: 0 });
    let mut harness = Harness::new(&Plan { settings, authority, ..Plan::default() });
    let v = enter(&mut harness, "u||||10");
    for request in 1..=2 {
        assert!(matches!(renew(&mut harness, v, request, "u||||20"), Seen::Renewed { .. }));
    }
    let third = renew(&mut harness, v, 3, "u||||20");
    assert!(matches!(third, Seen::Refused { reason: Refusal::RateLimited, retry_after_ms: Some(_), .. }));
    assert_eq!(harness.audiences[0].counters().renewals, 2, "those that took effect are counted");
}

/// Clauses H-11 and H-12: nobody's moment is another's, and nobody stays beyond the leeway.
#[test]
fn a_hundred_sessions_of_one_expiry_are_told_and_closed_apart() {
    for (leeway_s, earliest_s, latest_s) in [(30, 100, 130), (0, 95, 100)] {
        let mut harness = house(leeway_s, 60);
        let viewers: Vec<V> = (0..100).map(|_| enter(&mut harness, "u||||100")).collect();
        let (mut told, mut closed) = (Vec::new(), Vec::new());
        let is_told = |seen: &Seen| matches!(seen, Seen::Expiring { .. });
        while closed.len() < 100 && harness.now().unix_ms < EPOCH_MS + 140_000 {
            let before = (told.len(), closed.len());
            harness.run_ms(200);
            let at_ms = harness.now().unix_ms - EPOCH_MS;
            for v in &viewers {
                if at_ms % 20_000 < 200 && harness.is_connected(*v) {
                    harness.send(*v, &ClientFrame::Ping { client_us: 0 });
                }
            }
            let told_now = viewers.iter().filter(|v| harness.viewers[v.0].seen.iter().any(is_told)).count();
            let closed_now = viewers.iter().filter(|v| ended(&harness, **v).is_some()).count();
            told.extend(std::iter::repeat_n(at_ms, told_now - before.0));
            closed.extend(std::iter::repeat_n(at_ms, closed_now - before.1));
        }
        assert!(viewers.iter().all(|v| ended(&harness, *v) == Some(CloseCode::TokenExpired)));
        assert!(told[0] >= 49_000 && told[99] <= 76_000, "told from {} to {}", told[0], told[99]);
        assert!(closed[0] >= earliest_s * 1_000 && closed[99] <= latest_s * 1_000 + 200, "{closed:?}");
        for (what, times) in [("told", told), ("closed", closed)] {
            let span_ms = times[99] - times[0];
            let most_at_once = times.iter().map(|at| times.iter().filter(|other| *other == at).count()).max();
            assert!(span_ms >= 3_000 && most_at_once <= Some(20), "{what} within {span_ms} ms: {times:?}");
        }
    }
}

/// Clause H-12.
#[test]
fn a_clock_that_jumps_ends_no_session() {
    let mut harness = house(30, 60);
    let v = enter(&mut harness, "u||||1000");
    let at = |s: u64, jump_s: u64| Now { us: s * 1_000_000, unix_ms: EPOCH_MS + (s + jump_s) * 1_000 };
    let start_s = harness.now().us / 1_000_000;
    harness.audiences[0].handle_timeout(at(start_s + 1, 9 * 86_400));
    harness.turn();
    assert_eq!(ended(&harness, v), None);
    assert!(!harness.viewers[v.0].seen.iter().any(|seen| matches!(seen, Seen::Expiring { .. })));
}

/// Clause H-13.
#[test]
fn a_ticket_outlives_a_token_and_opens_nothing_by_itself() {
    let mut harness = house(0, 0);
    let v = enter(&mut harness, "u|Ada|host||10");
    let (ticket, session) = (harness.viewers[v.0].ticket.clone(), harness.viewers[v.0].session);
    harness.run_ms(11_000);
    assert_eq!(ended(&harness, v), Some(CloseCode::TokenExpired));
    let mut come = |token: &str| {
        let next = harness.enter(0);
        harness.send(next, &ClientFrame::Hello(Hello { token, ticket: &ticket, ..Hello::default() }));
        harness.turn();
        harness.viewers[next.0].seen[0].clone()
    };
    assert!(
        matches!(come("u|Ada|host||99"), Seen::Welcome { resumed: true, session: s, .. } if s == session)
    );
    for token in ["", "|Ada|host||99", "vv|Ada|host||99"] {
        assert!(
            matches!(come(token), Seen::Welcome { resumed: false, session: s, .. } if s != session),
            "{token}"
        );
    }
    assert!(
        matches!(come("u|Ada|host||10"), Seen::Error { code, .. } if code == CloseCode::TokenExpired.wire())
    );
}
