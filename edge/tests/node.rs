//! A whole node over real sockets: the path of a message, on every transport.

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
