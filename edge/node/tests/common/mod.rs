//! A node under test, and raw clients that say exactly what a test wants, right or wrong.
//!
//! Why raw: conformance tests mean to break the protocol, which the real client will not do.
//! Every wait ends after [`PATIENCE`], so that a missing answer is a failure and not a hang.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod quic;
pub mod trust;
pub mod ws;

use std::time::Duration;

use grandstand::Node;
use grandstand_edge::config::{Config, load};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Subscribe};

/// How long a test waits for something that must come: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A node on loopback and free ports; `flags` are configuration keys and values.
pub fn node(flags: &[(&str, &str)]) -> Node {
    Node::start(config(flags)).expect("the node starts")
}

/// The configuration of [`node`].
pub fn config(flags: &[(&str, &str)]) -> Config {
    let ports = ["ws.listen", "wss.listen", "quic.listen", "admin.listen"].map(|key| (key, "127.0.0.1:0"));
    let is_given = |key: &str| flags.iter().any(|(k, _)| *k == key);
    let flags = ports.iter().filter(|(key, _)| !is_given(key)).chain(flags);
    let flags = flags.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    load(None, std::iter::empty(), flags).expect("a good configuration").config
}

/// One client frame, without header.
pub fn frame(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().client(frame, &mut out);
    out
}

/// A plain hello.
pub fn hello() -> Vec<u8> {
    frame(&ClientFrame::Hello(Hello::default()))
}

/// A subscription from the head.
pub fn subscribe(request: u32, room: &str) -> Vec<u8> {
    frame(&ClientFrame::Subscribe(Subscribe { request, room, ..Subscribe::default() }))
}
