//! A whole node over real sockets: the path of a message, on every transport.
//!
//! Invariant: what one transport publishes, all the others deliver.

mod common;

use common::quic::Quic;
use common::ws::Ws;
use common::{frame, node, subscribe};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame, Subscribed};

fn subscribed(bytes: &[u8]) -> Subscribed {
    match ServerFrame::decode(bytes).unwrap() {
        ServerFrame::Subscribed(s) => s,
        other => panic!("Subscribed was due, but {other:?} came"),
    }
}

fn publish(alias: u32, nonce: u64, text: &str) -> Vec<u8> {
    frame(&ClientFrame::Publish(Publish { alias, nonce, text, ..Publish::default() }))
}

/// The next chat message among frames: (offset, text).
fn next_message(at: &mut Position, mut next: impl FnMut() -> Vec<u8>) -> (u64, String) {
    loop {
        let bytes = next();
        let ServerFrame::Batch(body) = ServerFrame::decode(&bytes).unwrap() else { continue };
        let mut reader = BatchReader::new(body).unwrap();
        at.begin(&reader).unwrap();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Message(m) = item {
                return (at.message(&m), m.text.to_owned());
            }
        }
    }
}

#[test]
fn a_message_reaches_every_transport() {
    let node = node(&[]);
    let addresses = node.addresses();
    let mut writer = Ws::welcomed(addresses.ws.unwrap());
    let mut quic = Quic::welcomed(addresses.quic.unwrap());
    let mut tls = Ws::welcomed_tls(addresses.wss.unwrap());
    writer.send(&subscribe(1, "show"));
    quic.send(&subscribe(1, "show"));
    tls.send(&subscribe(1, "show"));
    let t = subscribed(&tls.next_frame());
    let s = subscribed(&writer.next_frame());
    let q = subscribed(&quic.next_frame());
    assert_eq!((s.alias, s.epoch, q.offset), (q.alias, q.epoch, 0));
    writer.send(&publish(s.alias, 77, "hello there"));
    let mut at = Position { epoch: q.epoch, offset: q.offset, time_ms: q.time_ms };
    assert_eq!(next_message(&mut at, || quic.next_frame()), (0, "hello there".to_owned()));
    let mut at = Position { epoch: t.epoch, offset: t.offset, time_ms: t.time_ms };
    assert_eq!(next_message(&mut at, || tls.next_frame()), (0, "hello there".to_owned()));
    let mut is_acknowledged = false;
    let mut is_delivered = false;
    while !(is_acknowledged && is_delivered) {
        match ServerFrame::decode(&writer.next_frame()).unwrap() {
            ServerFrame::Published(p) => {
                assert_eq!((p.nonce, p.offset, p.epoch), (77, 0, q.epoch));
                is_acknowledged = true;
            }
            ServerFrame::Batch(_) => is_delivered = true,
            _ => {}
        }
    }
    node.stop();
}

/// What reads frames, over whatever transport.
type Frames<'a> = Box<dyn FnMut() -> Vec<u8> + 'a>;

/// Read until `count` messages are received or named by a gap: how many of each.
fn account(at: &mut Position, count: u64, mut next: Frames<'_>) -> (u64, u64) {
    let (mut received, mut missed) = (0, 0);
    while received + missed < count {
        let bytes = next();
        match ServerFrame::decode(&bytes).unwrap() {
            ServerFrame::Gap(gap) => {
                assert_eq!((gap.from, gap.count), (at.offset, gap.to - gap.from));
                *at = Position { epoch: gap.epoch, offset: gap.to, time_ms: gap.time_ms };
                missed += gap.count;
            }
            ServerFrame::Batch(body) => {
                let mut reader = BatchReader::new(body).unwrap();
                at.begin(&reader).unwrap();
                while let Some(item) = reader.next_item().unwrap() {
                    if let Item::Message(m) = item {
                        assert_eq!(at.message(&m), received + missed);
                        received += 1;
                    }
                }
            }
            _ => {}
        }
    }
    (received, missed)
}

/// Viewers that do not read while far more is said than windows, buffers and, when `ring` is small, the ring
/// can hold.
fn stall(ring: &str) -> [(u64, u64); 2] {
    const MESSAGES: u64 = 3000;
    let node = node(&[
        ("auth.open_may", "publish,react,state,bridge"),
        ("rooms.ring_bytes_max", ring),
        ("socket.send_buffer_bytes", "16384"),
        ("rooms.tick_ms", "5"),
        ("node.workers", "1"),
    ]);
    let addresses = node.addresses();
    let mut quic = Quic::welcomed(addresses.quic.unwrap());
    let mut slow = Ws::welcomed(addresses.ws.unwrap());
    let mut writer = Ws::welcomed(addresses.ws.unwrap());
    quic.send(&subscribe(1, "show"));
    slow.send(&subscribe(1, "show"));
    writer.send(&subscribe(1, "show"));
    let (q, s) = (subscribed(&quic.next_frame()), subscribed(&slow.next_frame()));
    let alias = subscribed(&writer.next_frame()).alias;
    let text = "x".repeat(1900);
    let mut acknowledged = 0;
    // In waves, so that the writer's own socket does not fill.
    for wave in 0..MESSAGES / 100 {
        (0..100).for_each(|n| writer.send(&publish(alias, wave * 100 + n, &text)));
        while acknowledged < (wave + 1) * 100 {
            let bytes = writer.next_frame();
            match ServerFrame::decode(&bytes).unwrap() {
                ServerFrame::Published(_) => acknowledged += 1,
                ServerFrame::Refused(r) => panic!("{r:?}"),
                _ => {}
            }
        }
        // Its driver runs, and acknowledges packets; the stream is not read.
        quic.runtime.block_on(tokio::task::yield_now());
    }
    let position = |s: Subscribed| Position { epoch: s.epoch, offset: s.offset, time_ms: s.time_ms };
    let by_quic = account(&mut position(q), MESSAGES, Box::new(|| quic.next_frame()));
    let by_ws = account(&mut position(s), MESSAGES, Box::new(|| slow.next_frame()));
    node.stop();
    [by_quic, by_ws]
}

#[test]
fn stalled_readers_go_on_where_they_stopped() {
    for (received, missed) in stall("64MiB") {
        assert_eq!((received, missed), (3000, 0));
    }
}

#[test]
fn stalled_readers_that_fell_off_the_ring_are_told_exactly_what_they_missed() {
    for (received, missed) in stall("64KiB") {
        assert!(missed > 0, "{received} received, {missed} missed");
    }
}
