//! The smoke of the protocol's fuzz targets, with the test vectors as seeds.
//!
//! Why here: the targets' folder is no member of the workspace, and every test run says that none has rotted.

#[path = "../fuzz/bodies.rs"]
mod bodies;
#[path = "../fuzz/smoke.rs"]
mod machine;
mod support;

fn smoke(target: &str, body: fn(&[u8])) {
    let seeds: Vec<Vec<u8>> = support::seeds().into_iter().filter(|s| s.0 == target).map(|s| s.2).collect();
    assert!(seeds.len() >= 15, "{target} has {} seeds", seeds.len());
    machine::smoke(body, &seeds, 150_000);
}

#[test]
fn hello() {
    smoke("hello", bodies::hello);
}

#[test]
fn client_frame() {
    smoke("client_frame", bodies::client_frame);
}

#[test]
fn server_frame() {
    smoke("server_frame", bodies::server_frame);
}

#[test]
fn batch_reader() {
    smoke("batch_reader", bodies::batch_reader);
}

#[test]
fn compressed() {
    smoke("compressed", bodies::compressed);
}

#[test]
fn websocket_reader() {
    smoke("websocket_reader", bodies::websocket_reader);
}

#[test]
fn proxy() {
    smoke("proxy", bodies::proxy);
}

#[test]
fn stream() {
    smoke("stream", bodies::stream);
}
