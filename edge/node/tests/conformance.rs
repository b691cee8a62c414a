//! The conversations of protocol/vectors, clause by clause, on every transport.
//!
//! Why from a file: the same conversations are held by third-party clients (`third_party`), so what a clause
//! means is written once. Each names the clause of docs/PROTOCOL.md that it proves.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use common::node;
use common::quic::{End, Quic};
use common::ws::{Got, Ws};
use grandstand::Addresses;
use grandstand_protocol::frame::{Kind, ServerFrame};
use grandstand_protocol::websocket::Opcode;
use serde_json::Value;

/// A client of some transport that can misbehave.
trait Peer {
    fn send(&mut self, frame: &[u8]);
    fn send_text(&mut self, text: &str);
    fn send_raw(&mut self, bytes: &[u8]);
    /// The next frame, or the code with which the connection ended: ours, or one of WebSocket's own.
    fn next(&mut self) -> Result<Vec<u8>, Closed>;
}

#[derive(Debug, PartialEq, Eq)]
enum Closed {
    Ours(u64),
    WebSocket(u64),
    Cut(String),
}

impl Peer for Ws {
    fn send(&mut self, frame: &[u8]) {
        Ws::send(self, frame);
    }

    fn send_text(&mut self, text: &str) {
        self.send_as(Opcode::Text, text.as_bytes());
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        Ws::send_raw(self, bytes);
    }

    fn next(&mut self) -> Result<Vec<u8>, Closed> {
        loop {
            match Ws::next(self) {
                Got::Frame(frame) => return Ok(frame),
                Got::Close(code @ 4000.., _) => return Err(Closed::Ours(u64::from(code) - 4000)),
                Got::Close(code, _) => return Err(Closed::WebSocket(u64::from(code))),
                Got::End => return Err(Closed::Cut("no close frame".into())),
                Got::Text(_) | Got::Pong(_) => {}
            }
        }
    }
}

impl Peer for Quic {
    fn send(&mut self, frame: &[u8]) {
        Quic::send(self, frame);
    }

    fn send_text(&mut self, _: &str) {
        unreachable!("only WebSocket has text messages");
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        Quic::send_raw(self, bytes);
    }

    fn next(&mut self) -> Result<Vec<u8>, Closed> {
        self.try_next_frame().map_err(|end| match end {
            End::Closed(code, _) => Closed::Ours(code),
            End::Other(why) => Closed::Cut(why),
        })
    }
}

struct Vector {
    bytes: Vec<u8>,
    alias_at: Option<usize>,
}

fn read(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/vectors").join(file);
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are checked in")).expect("JSON")
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

fn vectors() -> HashMap<String, Vector> {
    let vector = |v: &Value| {
        let alias_at = v["alias_at"].as_u64().map(|at| at as usize);
        (
            v["name"].as_str().unwrap().to_owned(),
            Vector { bytes: bytes_of(v["hex"].as_str().unwrap()), alias_at },
        )
    };
    read("client.json").iter().map(vector).collect()
}

fn hold(peer: &mut dyn Peer, steps: &[Value], vectors: &HashMap<String, Vector>) -> Result<(), String> {
    let mut alias = 0u32;
    let mut passed = Vec::new();
    for step in steps {
        if let Some(name) = step["send"].as_str() {
            let vector = &vectors[name];
            let mut bytes = vector.bytes.clone();
            if let Some(at) = vector.alias_at {
                bytes[at..at + 4].copy_from_slice(&alias.to_le_bytes());
            }
            peer.send(&bytes);
        } else if let Some(text) = step["send_text"].as_str() {
            peer.send_text(text);
        } else if let Some(n) = step["send_zeros"].as_u64() {
            peer.send(&vec![0; n as usize]);
        } else if let Some(hex) = step["send_raw"].as_str() {
            peer.send_raw(&bytes_of(hex));
        } else if let Some(kind) = step["expect"].as_str() {
            alias = expect(peer, &mut passed, kind, step["reason"].as_u64())?.unwrap_or(alias);
        } else {
            expect_close(peer, step)?;
        }
    }
    Ok(())
}

/// A frame of this kind, from those passed over before or read now; the alias, if it gives one.
fn expect(
    peer: &mut dyn Peer,
    passed: &mut Vec<Vec<u8>>,
    kind: &str,
    reason: Option<u64>,
) -> Result<Option<u32>, String> {
    let is_due = |bytes: &Vec<u8>| Kind::from_wire(bytes[0]).is_some_and(|k| format!("{k:?}") == kind);
    let bytes = match passed.iter().position(is_due) {
        Some(at) => passed.remove(at),
        None => loop {
            let bytes = peer.next().map_err(|closed| format!("{kind} was due, but it closed: {closed:?}"))?;
            if is_due(&bytes) {
                break bytes;
            }
            passed.push(bytes);
        },
    };
    match ServerFrame::decode(&bytes).map_err(|fault| format!("the node sent {fault}"))? {
        ServerFrame::Refused(r) if reason.is_some_and(|n| n != u64::from(r.reason.wire())) => {
            Err(format!("refused with {:?}", r.reason))
        }
        ServerFrame::Subscribed(s) => Ok(Some(s.alias)),
        _ => Ok(None),
    }
}

fn expect_close(peer: &mut dyn Peer, step: &Value) -> Result<(), String> {
    let due = match (step["close"].as_u64(), step["websocket_close"].as_u64()) {
        (Some(code), _) => Closed::Ours(code),
        (None, Some(code)) => Closed::WebSocket(code),
        (None, None) => return Err(format!("an unknown step: {step}")),
    };
    loop {
        match peer.next() {
            Ok(_) => {}
            Err(closed) if closed == due => return Ok(()),
            Err(closed) => return Err(format!("{due:?} was due, but it closed: {closed:?}")),
        }
    }
}

fn hold_all(transport: &str, addresses: Addresses, open: impl Fn(Addresses) -> Box<dyn Peer>) {
    let vectors = vectors();
    let conversations = read("conversations.json");
    let is_for = |c: &&Value| c["transport"] == "any" || c["transport"] == transport;
    let mut failed = Vec::new();
    let mut held = 0;
    for c in conversations.iter().filter(is_for) {
        held += 1;
        // Shown when a step waits in vain.
        println!("{}", c["name"]);
        let mut peer = open(addresses);
        if let Err(why) = hold(&mut *peer, c["steps"].as_array().unwrap(), &vectors) {
            failed.push(format!("{} ({}): {why}", c["name"], c["clause"]));
        }
    }
    assert!(held > 50, "only {held} conversations");
    assert!(failed.is_empty(), "over {transport}:\n{}", failed.join("\n"));
}

fn required(address: Option<SocketAddr>) -> SocketAddr {
    address.expect("the node listens on every transport")
}

#[test]
fn conversations_over_websocket() {
    let node = node(&[("limits.text_bytes_max", "4096")]);
    hold_all("websocket", node.addresses(), |a| Box::new(Ws::open(required(a.ws), "/v1")));
    node.stop();
}

#[test]
fn conversations_over_websocket_and_tls() {
    let node = node(&[("limits.text_bytes_max", "4096")]);
    hold_all("websocket", node.addresses(), |a| Box::new(Ws::open_tls(required(a.wss), "/v1")));
    node.stop();
}

#[test]
fn conversations_over_quic() {
    let node = node(&[("limits.text_bytes_max", "4096")]);
    hold_all("quic", node.addresses(), |a| Box::new(Quic::open(required(a.quic))));
    node.stop();
}
