//! Hellos: versions, order, tickets, tokens and how long a stranger may wait.

use std::sync::Arc;

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Hello, permission};
use grandstand_protocol::refusal::Refusal;

use super::super::{Drain, Pressure, Settings};
use super::hall::{EPOCH_MS, Hall, Plan, V};
use super::viewer::Seen;
use crate::auth::{Authorize, Denied, Grant, RoomScope};

fn ended(hall: &Hall, v: V) -> CloseCode {
    hall.ended[v.0].as_ref().expect("it has ended").code
}

/// It was told why before it was closed.
fn told(hall: &Hall, v: V) -> CloseCode {
    let code = ended(hall, v);
    assert!(hall.ended[v.0].as_ref().unwrap().is_clean);
    let Some(Seen::Error { code: wire, detail }) = hall.viewers[v.0].seen.last() else { panic!("no Error") };
    assert!(*wire == code.wire() && !detail.is_empty());
    code
}

#[test]
fn a_hello_is_welcomed() {
    let mut hall = Hall::new(&Plan::default());
    let v = hall.enter(0);
    hall.send(
        v,
        &ClientFrame::Hello(Hello { name: "ann", min_version: 0, max_version: 9, ..Hello::default() }),
    );
    hall.turn();
    let [Seen::Welcome { session, resumed: false, name, permissions: 7 }] = &hall.viewers[v.0].seen[..]
    else {
        panic!("{:?}", hall.viewers[v.0].seen)
    };
    assert!(*session > 0 && name == "ann");
    let guest = hall.guest(0);
    hall.turn();
    assert!(
        matches!(&hall.viewers[guest.0].seen[..], [Seen::Welcome { name, .. }] if name.starts_with("guest-"))
    );
    assert_eq!(hall.audiences[0].counts().sessions, 2);
}

#[test]
fn what_is_no_hello_is_turned_away() {
    let mut hall = Hall::new(&Plan::default());
    let cases: [(&[u8], CloseCode); 5] = [
        (&[], CloseCode::Malformed),
        (&[0x07, 1, 2, 3], CloseCode::Malformed),
        (&[0x1f], CloseCode::UnknownKind),
        (&[0x3f], CloseCode::UnknownKind),
        (&[0x41], CloseCode::WrongOrder),
    ];
    for (frame, code) in cases {
        let v = hall.enter(0);
        hall.send_bytes(v, frame);
        hall.turn();
        assert_eq!(told(&hall, v), code, "{frame:?}");
    }
    let v = hall.enter(0);
    hall.send(v, &ClientFrame::Ping { client_us: 1 });
    hall.turn();
    assert_eq!(told(&hall, v), CloseCode::WrongOrder);
    let v = hall.enter(0);
    hall.send(v, &ClientFrame::Hello(Hello { min_version: 2, max_version: 9, ..Hello::default() }));
    hall.turn();
    assert_eq!(told(&hall, v), CloseCode::UnsupportedVersion);
    assert_eq!(hall.audiences[0].counts().sessions, 0);
}

#[test]
fn in_a_storm_a_newcomer_is_told_when_to_come_and_who_comes_back_is_welcome() {
    let mut hall = Hall::new(&Plan::default());
    let first = hall.guest(0);
    hall.turn();
    let ticket = hall.viewers[first.0].ticket.clone();
    let come_back = |hall: &mut Hall| {
        let v = hall.enter(0);
        hall.send(v, &ClientFrame::Hello(Hello { ticket: &ticket, ..Hello::default() }));
        hall.turn();
        assert!(matches!(&hall.viewers[v.0].seen[..], [Seen::Welcome { resumed: true, .. }]));
    };
    (0..20).for_each(|_| come_back(&mut hall));
    hall.audiences[0].handle_pressure(Some(Pressure { wait_us: 4_000_000, step_us: 200 }));
    let v = hall.guest(0);
    hall.turn();
    assert_eq!(told(&hall, v), CloseCode::Overloaded);
    come_back(&mut hall);
    hall.audiences[0].handle_pressure(None);
    let v = hall.guest(0);
    hall.turn();
    assert!(hall.is_connected(v));
}

#[test]
fn a_second_hello_ends_it_and_an_ignorable_frame_does_not() {
    let mut hall = Hall::new(&Plan::default());
    let v = hall.member(0, "r");
    hall.send_bytes(v, &[0x3f, 1, 2]);
    hall.turn();
    assert!(hall.is_connected(v));
    hall.hello(v);
    // What comes after is not read any more.
    hall.send_bytes(v, &[0x1f]);
    hall.turn();
    assert_eq!(told(&hall, v), CloseCode::WrongOrder);
    let counts = hall.audiences[0].counts();
    assert_eq!((counts.sessions, counts.members, counts.closes.iter().sum::<u64>()), (0, 0, 1));
}

#[test]
fn silence_ends_a_connection_before_and_after_the_hello() {
    let settings = Settings { first_frame_timeout_ms: 3_000, silence_ms: 6_000, ..Plan::default().settings };
    let mut hall = Hall::new(&Plan { settings, ..Plan::default() });
    let (stranger, quiet, pinging) = (hall.enter(0), hall.guest(0), hall.guest(0));
    hall.run_ms(2_900);
    assert!(hall.is_connected(stranger));
    hall.run_ms(2_200);
    assert_eq!(told(&hall, stranger), CloseCode::HelloTimeout);
    hall.send(pinging, &ClientFrame::Ping { client_us: 5 });
    hall.run_ms(800);
    assert!(hall.is_connected(quiet));
    hall.run_ms(2_200);
    assert_eq!(told(&hall, quiet), CloseCode::HeartbeatTimeout);
    assert!(hall.is_connected(pinging));
    assert!(hall.viewers[pinging.0].seen.contains(&Seen::Pong { client_us: 5 }));
}

#[test]
fn a_transports_ping_keeps_a_session_and_counts_as_a_frame() {
    let rate = super::super::Rate { per_s: 1, burst: 3 };
    let settings = Settings { silence_ms: 3_000, frames: rate, ..Plan::default().settings };
    let mut hall = Hall::new(&Plan { settings, ..Plan::default() });
    let v = hall.guest(0);
    // An empty binary frame stands for the pong: any whole frame of the transport's.
    let ping = |hall: &mut Hall| {
        let (now, key) = (hall.now(), hall.key(v));
        hall.audiences[0].handle_transport_ping(now, key, &[]);
    };
    for _ in 0..5 {
        hall.run_ms(2_000);
        ping(&mut hall);
    }
    assert!(hall.is_connected(v));
    (0..3).for_each(|_| ping(&mut hall));
    hall.turn();
    assert_eq!(told(&hall, v), CloseCode::Flooding);
}

#[test]
fn a_ticket_keeps_the_session_and_its_nonces() {
    let mut hall = Hall::new(&Plan { workers: 2, ..Plan::default() });
    let v = hall.member(0, "r");
    let alias = hall.alias(v, "r");
    hall.say_again(v, alias, 77, "once");
    hall.run_ms(200);
    let (session, first) = (hall.viewers[v.0].session, hall.viewers[v.0].published()[0]);
    hall.cut(v);
    hall.connect(v, 1);
    hall.hello(v);
    hall.resume(v, "r");
    hall.run_ms(10);
    assert!(
        matches!(hall.viewers[v.0].seen[0], Seen::Welcome { resumed: true, session: s, .. } if s == session)
    );
    let alias = hall.alias(v, "r");
    hall.say_again(v, alias, 77, "once");
    hall.run_ms(200);
    let again = hall.viewers[v.0].published()[0];
    assert!(again.repeated && !first.repeated && again.offset == first.offset && again.epoch == first.epoch);
    hall.settle();
    assert_eq!(hall.truth.said.len(), 1);

    // A stranger with the same nonce, or a ticket that is not honoured, is somebody else.
    hall.cut(v);
    hall.connect(v, 0);
    hall.viewers[v.0].ticket[20] ^= 1;
    hall.hello(v);
    hall.resume(v, "r");
    hall.run_ms(10);
    assert!(
        matches!(hall.viewers[v.0].seen[0], Seen::Welcome { resumed: false, session: s, .. } if s != session)
    );
    hall.say_again(v, alias, 77, "another");
    hall.run_ms(200);
    assert!(!hall.viewers[v.0].published()[0].repeated);
    assert_eq!(hall.audiences[1].counts().sessions_resumed, 1);
}

/// Takes one token, which ends at a time: reactions in the rooms of a show.
#[derive(Debug)]
struct OneToken {
    ends_unix_ms: u64,
}

impl Authorize for OneToken {
    fn authorize(&self, token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        if token != TOKEN {
            return Err(Denied { code: CloseCode::Unauthorized, detail: "this is not the token" });
        }
        let rooms = RoomScope::of(&["show/*".to_owned()]).expect("a pattern");
        let grant = Grant::without_token(wished_name, permission::REACT);
        Ok(Grant { rooms, expires_unix_ms: Some(self.ends_unix_ms), ..grant })
    }
}

const TOKEN: &str = "the token";

#[test]
fn a_token_opens_its_rooms_for_its_time() {
    let authority = Arc::new(OneToken { ends_unix_ms: EPOCH_MS + 10_000 });
    let mut hall = Hall::new(&Plan { authority, ..Plan::default() });
    let nobody = hall.guest(0);
    hall.turn();
    assert_eq!(told(&hall, nobody), CloseCode::Unauthorized);
    assert_eq!(hall.audiences[0].counts().sessions_denied, 1);

    let v = hall.enter(0);
    hall.send(v, &ClientFrame::Hello(Hello { token: TOKEN, ..Hello::default() }));
    hall.subscribe(v, "other", None, 0);
    hall.subscribe(v, "show/1", None, 0);
    hall.run_ms(100);
    let alias = hall.alias(v, "show/1");
    hall.say(v, alias);
    hall.set_state(v, alias, "k", Some(b"v"));
    hall.react(v, alias, "x", 1);
    hall.run_ms(200);
    let reasons: Vec<_> = hall.viewers[v.0].refusals().iter().map(|r| r.2).collect();
    assert_eq!(reasons, [Refusal::Forbidden; 3]);
    assert_eq!(hall.viewers[v.0].room("show/1").tallies["x"], 1);
    hall.run_ms(8_000);
    assert!(hall.is_connected(v));
    hall.run_ms(2_000);
    assert_eq!(told(&hall, v), CloseCode::TokenExpired);
}

#[test]
fn a_drain_sends_everyone_away_and_turns_hellos_down() {
    let mut hall = Hall::new(&Plan::default());
    let (v, stranger) = (hall.member(0, "r"), hall.enter(0));
    let drain = Drain { where_to: "b:443".into(), spread_ms: 0, grace_ms: 9_000, is_handed_over: false };
    hall.drain(&drain);
    hall.turn();
    let away = Seen::GoAway { where_to: "b:443".into(), after_ms: 0, deadline_ms: 9_000 };
    assert_eq!(hall.viewers[v.0].seen.last(), Some(&away));
    hall.hello(stranger);
    hall.talk(v, "r", 1);
    assert_eq!(told(&hall, stranger), CloseCode::GoingAway);
    assert!(hall.ended[stranger.0].as_ref().unwrap().detail.contains("b:443"));
    assert_eq!(hall.viewers[v.0].room("r").at.offset, 1, "deliveries go on");
}
