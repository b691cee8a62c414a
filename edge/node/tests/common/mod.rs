//! A node under test, and raw clients that say exactly what a test wants, right or wrong.
//!
//! Why raw: conformance tests mean to break the protocol, which the real client will not do.
//! Every wait ends after [`PATIENCE`], so that a missing answer is a failure and not a hang.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part")]

pub mod quic;
pub mod ws;

pub use grandstand_harness::local::{config, node};
pub use grandstand_harness::wait::PATIENCE;
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Subscribe};

/// The words of `serve` for a node that listens for WebSocket at this address alone.
pub fn serve_ws_at(at: &str) -> [&str; 9] {
    let off = "off";
    ["serve", "--ws-listen", at, "--wss-listen", off, "--quic-listen", off, "--admin-listen", off]
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
