//! A bench of reading a batch: the packed body by itself, and a client's session around it.
//!
//! Not here: the cost of writing it (`walk`).

use std::hint::black_box;

use grandstand_client::core::{Event, Options, Session, SubscribeOptions};
use grandstand_protocol::batch::BatchReader;
use grandstand_protocol::frame::ServerFrame;
use grandstand_protocol::stream;

use crate::Bench;
use crate::fixture::{Fixture, ROOM};
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] = &[
    ("read/1", || read(1)),
    ("read/10", || read(10)),
    ("read/100", || read(100)),
    ("session/1", || session(1)),
    ("session/100", || session(100)),
];

/// The frames among bytes of a stream.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some((header, len)) = stream::read_header(rest, 1 << 24).expect("a good header") {
        frames.push(&rest[header..header + len]);
        rest = &rest[header + len..];
    }
    frames
}

/// Reads every item of one batch.
fn read(count: usize) -> u64 {
    let mut fixture = Fixture::with_members(1);
    fixture.keep(0);
    fixture.bring_batch(count);
    fixture.write();
    let kept = std::mem::take(&mut fixture.taker.kept);
    let frames = frames(&kept);
    let Some(Ok(ServerFrame::Batch(body))) = frames.last().map(|frame| ServerFrame::decode(frame)) else {
        panic!("a batch came")
    };
    repeat(|meter| {
        let mut items = 0;
        meter.count(1, || {
            let mut reader = BatchReader::new(black_box(body)).expect("it reads");
            while let Some(item) = reader.next_item().expect("it reads") {
                black_box(&item);
                items += 1;
            }
        });
        assert_eq!(items, count);
    })
}

/// Takes one batch through a client's session, from the frame to the events.
fn session(count: usize) -> u64 {
    let mut fixture = Fixture::new();
    let mut session = Session::new(Options { name: "a_viewer_of_16b".into(), ..Options::default() });
    session.subscribe(ROOM, SubscribeOptions::default()).expect("a valid name");
    connect(&mut fixture, &mut session);
    repeat(|meter| {
        fixture.taker.kept.clear();
        fixture.bring_batch(count);
        fixture.write();
        let kept = std::mem::take(&mut fixture.taker.kept);
        let frames = frames(&kept);
        assert_eq!(frames.len(), 1, "nothing but the batch");
        let (mut messages, now_us) = (0, fixture.now.us);
        meter.count(1, || {
            session.handle_frame(now_us, frames[0], &mut |event| {
                messages += usize::from(matches!(event, Event::Message { .. }));
                black_box(&event);
            });
        });
        assert_eq!(messages, count);
    })
}

/// Bring a session up, and into its room.
fn connect(fixture: &mut Fixture, session: &mut Session) {
    let key = fixture.open(0);
    fixture.keep(0);
    session.handle_connected(fixture.now.us);
    loop {
        let mut frame = Vec::new();
        while session.poll_transmit(fixture.now.us, &mut frame) {
            fixture.audience.handle_frame(fixture.now, key, &frame);
            frame.clear();
        }
        fixture.settle();
        let kept = std::mem::take(&mut fixture.taker.kept);
        if kept.is_empty() {
            return;
        }
        frames(&kept).iter().for_each(|frame| session.handle_frame(fixture.now.us, frame, &mut |_| {}));
    }
}
