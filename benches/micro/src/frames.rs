//! A bench of a client's frame: verifying and reading it, and its handling by the audience.
//!
//! Not here: the WebSocket layer below it (`websocket`), the work of the shard (`seal`).

use std::hint::black_box;

use grandstand_protocol::frame::{ClientFrame, Hello, Kind, Publish, React, SetState, Subscribe};

use crate::Bench;
use crate::fixture::{ALIAS, Fixture, ROOM, TEXT, frame};
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] = &[
    ("parse/hello", || parse(&hello())),
    ("parse/subscribe", || parse(&subscribe())),
    ("parse/unsubscribe", || parse(&unsubscribe())),
    ("parse/publish", || parse(&publish(7))),
    ("parse/react", || parse(&react())),
    ("parse/set_state", || parse(&set_state())),
    ("parse/ping", || parse(&ping())),
    ("handle/publish", handle_publish),
    ("handle/react", || handle(&react())),
    ("handle/ping", || handle(&ping())),
];

/// Frames in one operation, so that the cost around the loop vanishes.
const AT_ONCE: u64 = 20;

fn hello() -> ClientFrame<'static> {
    let (name, agent) = ("a_viewer_of_16b", "grandstand-web/0.1.0");
    ClientFrame::Hello(Hello { name, agent, ..Hello::default() })
}

fn subscribe() -> ClientFrame<'static> {
    ClientFrame::Subscribe(Subscribe { request: 3, room: ROOM, resume: Some((77, 1_000_000)), replay: 20 })
}

fn unsubscribe() -> ClientFrame<'static> {
    ClientFrame::Unsubscribe { request: 4, alias: ALIAS.0 }
}

fn publish(nonce: u64) -> ClientFrame<'static> {
    ClientFrame::Publish(Publish { alias: ALIAS.0, nonce, text: TEXT, ..Publish::default() })
}

fn react() -> ClientFrame<'static> {
    ClientFrame::React(React { alias: ALIAS.0, key: "❤", count: 3 })
}

fn set_state() -> ClientFrame<'static> {
    ClientFrame::SetState(SetState { request: 5, alias: ALIAS.0, key: "score", value: Some(b"2:1") })
}

fn ping() -> ClientFrame<'static> {
    ClientFrame::Ping { client_us: 123_456_789 }
}

fn parse(wanted: &ClientFrame<'_>) -> u64 {
    let bytes = frame(wanted);
    assert_eq!(ClientFrame::decode(&bytes).as_ref(), Ok(wanted), "it reads as it was written");
    repeat(|meter| {
        meter.count(AT_ONCE, || {
            for _ in 0..AT_ONCE {
                let decoded = ClientFrame::decode(black_box(&bytes));
                black_box(decoded.is_ok());
                black_box(&decoded);
            }
        });
    })
}

/// From the frame to the input on its way to the shard.
fn handle_publish() -> u64 {
    let mut fixture = Fixture::new();
    let key = fixture.enter(0);
    let mut nonce = 0;
    repeat(|meter| {
        let frames: Vec<_> = (0..AT_ONCE).map(|n| frame(&publish(nonce + n))).collect();
        nonce += AT_ONCE;
        let (audience, now) = (&mut fixture.audience, fixture.now);
        meter.count(AT_ONCE, || frames.iter().for_each(|bytes| audience.handle_frame(now, key, bytes)));
        assert_eq!(fixture.take_inputs().len() as u64, AT_ONCE, "each went to the shard");
    })
}

/// From the frame to what it changes here; what is answered is written after the count.
fn handle(wanted: &ClientFrame<'_>) -> u64 {
    let mut fixture = Fixture::new();
    let key = fixture.enter(0);
    let bytes = frame(wanted);
    let repeated = repeat(|meter| {
        let (audience, now) = (&mut fixture.audience, fixture.now);
        meter.count(AT_ONCE, || (0..AT_ONCE).for_each(|_| audience.handle_frame(now, key, &bytes)));
        fixture.write();
        fixture.pass_tick();
    });
    let counts = fixture.audience.counters();
    let done = if wanted.kind() == Kind::Ping { counts.control_frames_out } else { counts.reactions };
    assert!(done >= repeated, "each did its work");
    repeated
}
