//! Tests of `Hello`: versions, order, tickets, tokens, and how long a connection may wait without it.
//!
//! Why: strangers send it, before anything is known of them.

use std::sync::Arc;

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Hello, permission};
use grandstand_protocol::refusal::Refusal;

use super::super::{Drain, Settings};
use super::harness::{EPOCH_MS, Harness, Plan, V};
use super::viewer::Seen;
use crate::admission::overload::Overload;
use crate::auth::{Authorize, Denied, Expiry, Grant, RoomScope};

fn ended(harness: &Harness, v: V) -> CloseCode {
    harness.ended[v.0].as_ref().expect("it has ended").code
}

/// It was told why before it was closed.
fn told(harness: &Harness, v: V) -> CloseCode {
    let code = ended(harness, v);
    assert!(harness.ended[v.0].as_ref().unwrap().is_clean);
    let Some(Seen::Error { code: wire, detail, .. }) = harness.viewers[v.0].seen.last() else {
        panic!("no Error")
    };
    assert!(*wire == code.wire() && !detail.is_empty());
    code
}

#[test]
fn a_hello_is_welcomed() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.enter(0);
    harness.send(
        v,
        &ClientFrame::Hello(Hello { name: "ann", min_version: 0, max_version: 9, ..Hello::default() }),
    );
    harness.turn();
    let [Seen::Welcome { session, resumed: false, name, permissions: 7 }] = &harness.viewers[v.0].seen[..]
    else {
        panic!("{:?}", harness.viewers[v.0].seen)
    };
    assert!(*session > 0 && name == "ann");
    let guest = harness.guest(0);
    harness.turn();
    assert!(
        matches!(&harness.viewers[guest.0].seen[..], [Seen::Welcome { name, .. }] if name.starts_with("guest-"))
    );
    assert_eq!(harness.audiences[0].counters().sessions, 2);
}

#[test]
fn what_is_no_hello_is_turned_away() {
    let mut harness = Harness::new(&Plan::default());
    let cases: [(&[u8], CloseCode); 5] = [
        (&[], CloseCode::Malformed),
        (&[0x07, 1, 2, 3], CloseCode::Malformed),
        (&[0x1f], CloseCode::UnknownKind),
        (&[0x3f], CloseCode::UnknownKind),
        (&[0x41], CloseCode::WrongOrder),
    ];
    for (frame, code) in cases {
        let v = harness.enter(0);
        harness.send_bytes(v, frame);
        harness.turn();
        assert_eq!(told(&harness, v), code, "{frame:?}");
    }
    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Ping { client_us: 1 });
    harness.turn();
    assert_eq!(told(&harness, v), CloseCode::WrongOrder);
    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Hello(Hello { min_version: 2, max_version: 9, ..Hello::default() }));
    harness.turn();
    assert_eq!(told(&harness, v), CloseCode::UnsupportedVersion);
    assert_eq!(harness.audiences[0].counters().sessions, 0);
}

#[test]
fn in_a_storm_a_newcomer_is_told_when_to_come_and_who_comes_back_is_welcome() {
    let mut harness = Harness::new(&Plan::default());
    let first = harness.guest(0);
    harness.turn();
    let ticket = harness.viewers[first.0].ticket.clone();
    let come_back = |harness: &mut Harness| {
        let v = harness.enter(0);
        harness.send(v, &ClientFrame::Hello(Hello { ticket: &ticket, ..Hello::default() }));
        harness.turn();
        assert!(matches!(&harness.viewers[v.0].seen[..], [Seen::Welcome { resumed: true, .. }]));
    };
    (0..20).for_each(|_| come_back(&mut harness));
    harness.audiences[0].handle_overload(Some(Overload { wait_us: 4_000_000, step_us: 200 }));
    let v = harness.guest(0);
    harness.turn();
    assert_eq!(told(&harness, v), CloseCode::Overloaded);
    come_back(&mut harness);
    harness.audiences[0].handle_overload(None);
    let v = harness.guest(0);
    harness.turn();
    assert!(harness.is_connected(v));
}

#[test]
fn a_second_hello_ends_it_and_an_ignorable_frame_does_not() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.send_bytes(v, &[0x3f, 1, 2]);
    harness.turn();
    assert!(harness.is_connected(v));
    harness.hello(v);
    // What comes after is not read any more.
    harness.send_bytes(v, &[0x1f]);
    harness.turn();
    assert_eq!(told(&harness, v), CloseCode::WrongOrder);
    let counters = harness.audiences[0].counters();
    assert_eq!((counters.sessions, counters.members, counters.closes.iter().sum::<u64>()), (0, 0, 1));
}

#[test]
fn silence_ends_a_connection_before_and_after_the_hello() {
    let settings = Settings { first_frame_timeout_ms: 3_000, silence_ms: 6_000, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let (stranger, quiet, pinging) = (harness.enter(0), harness.guest(0), harness.guest(0));
    harness.run_ms(2_900);
    assert!(harness.is_connected(stranger));
    harness.run_ms(2_200);
    assert_eq!(told(&harness, stranger), CloseCode::HelloTimeout);
    harness.send(pinging, &ClientFrame::Ping { client_us: 5 });
    harness.run_ms(800);
    assert!(harness.is_connected(quiet));
    harness.run_ms(2_200);
    assert_eq!(told(&harness, quiet), CloseCode::HeartbeatTimeout);
    assert!(harness.is_connected(pinging));
    assert!(harness.viewers[pinging.0].seen.contains(&Seen::Pong { client_us: 5 }));
}

#[test]
fn a_transports_ping_keeps_a_session_and_counts_as_a_frame() {
    let rate = super::super::Rate { per_s: 1, burst: 3 };
    let settings = Settings { silence_ms: 3_000, frames: rate, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let v = harness.guest(0);
    // An empty binary frame stands for the pong: any whole frame of the transport's.
    let ping = |harness: &mut Harness| {
        let (now, key) = (harness.now(), harness.key(v));
        harness.audiences[0].handle_transport_ping(now, key, &[]);
    };
    for _ in 0..5 {
        harness.run_ms(2_000);
        ping(&mut harness);
    }
    assert!(harness.is_connected(v));
    (0..3).for_each(|_| ping(&mut harness));
    harness.turn();
    assert_eq!(told(&harness, v), CloseCode::Flooding);
}

#[test]
fn a_ticket_keeps_the_session_and_its_nonces() {
    let mut harness = Harness::new(&Plan { workers: 2, ..Plan::default() });
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    harness.say_again(v, alias, 77, "once");
    harness.run_ms(200);
    let (session, first) = (harness.viewers[v.0].session, harness.viewers[v.0].published()[0]);
    harness.cut(v);
    harness.connect(v, 1);
    harness.hello(v);
    harness.resume(v, "r");
    harness.run_ms(10);
    assert!(
        matches!(harness.viewers[v.0].seen[0], Seen::Welcome { resumed: true, session: s, .. } if s == session)
    );
    let alias = harness.alias(v, "r");
    harness.say_again(v, alias, 77, "once");
    harness.run_ms(200);
    let again = harness.viewers[v.0].published()[0];
    assert!(again.repeated && !first.repeated && again.offset == first.offset && again.epoch == first.epoch);
    harness.settle();
    assert_eq!(harness.truth.said.len(), 1);

    // A stranger with the same nonce, or a ticket that is not honoured, is somebody else.
    harness.cut(v);
    harness.connect(v, 0);
    harness.viewers[v.0].ticket[20] ^= 1;
    harness.hello(v);
    harness.resume(v, "r");
    harness.run_ms(10);
    assert!(
        matches!(harness.viewers[v.0].seen[0], Seen::Welcome { resumed: false, session: s, .. } if s != session)
    );
    harness.say_again(v, alias, 77, "another");
    harness.run_ms(200);
    assert!(!harness.viewers[v.0].published()[0].repeated);
    assert_eq!(harness.audiences[1].counters().sessions_resumed, 1);
}

/// Takes one token, which ends at a time: reactions in the rooms of a show.
#[derive(Debug)]
struct OneToken {
    ends_unix_ms: u64,
}

impl Authorize for OneToken {
    fn authorize(&self, token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        if token != TOKEN {
            return Err(Denied {
                code: CloseCode::Unauthorized,
                detail: "this is not the token",
                retry_after_ms: 0,
            });
        }
        let rooms = RoomScope::of(&["show/*".to_owned()]).expect("a pattern");
        let grant = Grant::without_token(wished_name, permission::REACT);
        Ok(Grant {
            rooms,
            expiry: Some(Expiry { expires_unix_ms: self.ends_unix_ms, leeway_ms: 0 }),
            ..grant
        })
    }
}

const TOKEN: &str = "the token";

#[test]
fn a_token_opens_its_rooms_for_its_time() {
    let authority = Arc::new(OneToken { ends_unix_ms: EPOCH_MS + 10_000 });
    let mut harness = Harness::new(&Plan { authority, ..Plan::default() });
    let nobody = harness.guest(0);
    harness.turn();
    assert_eq!(told(&harness, nobody), CloseCode::Unauthorized);
    assert_eq!(harness.audiences[0].counters().sessions_denied, 1);

    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Hello(Hello { token: TOKEN, ..Hello::default() }));
    harness.subscribe(v, "other", None, 0);
    harness.subscribe(v, "show/1", None, 0);
    harness.run_ms(100);
    let alias = harness.alias(v, "show/1");
    harness.say(v, alias);
    harness.set_state(v, alias, "k", Some(b"v"));
    harness.react(v, alias, "x", 1);
    harness.run_ms(200);
    let reasons: Vec<_> = harness.viewers[v.0].refusals().iter().map(|r| r.2).collect();
    assert_eq!(reasons, [Refusal::Forbidden; 3]);
    assert_eq!(harness.viewers[v.0].room("show/1").tallies["x"], 1);
    harness.run_ms(8_000);
    assert!(harness.is_connected(v));
    harness.run_ms(2_000);
    assert_eq!(told(&harness, v), CloseCode::TokenExpired);
}

#[test]
fn a_drain_sends_everyone_away_and_turns_hellos_down() {
    let mut harness = Harness::new(&Plan::default());
    let (v, stranger) = (harness.member(0, "r"), harness.enter(0));
    let drain = Drain { where_to: "b:443".into(), grace_ms: 9_000, ..Drain::default() };
    harness.drain(&drain);
    harness.turn();
    let away = Seen::GoAway { where_to: "b:443".into(), after_ms: 0, deadline_ms: 9_000 };
    assert_eq!(harness.viewers[v.0].seen.last(), Some(&away));
    harness.hello(stranger);
    harness.talk(v, "r", 1);
    assert_eq!(told(&harness, stranger), CloseCode::GoingAway);
    assert!(harness.ended[stranger.0].as_ref().unwrap().detail.contains("b:443"));
    assert_eq!(harness.viewers[v.0].room("r").at.offset, 1, "deliveries go on");
}
