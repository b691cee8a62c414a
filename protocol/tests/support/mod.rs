//! What the protocol's tests share with `examples/vectors.rs`: the test vectors, as values and as JSON.
//!
//! Why here and not in the library: no program needs it; only tests and the generator do.
//! Not here: the checks themselves (`tests/vectors.rs`).
#![allow(dead_code, reason = "each test and the generator use a part")]

pub(crate) mod arbitrary;
pub(crate) mod batches;
pub(crate) mod compressed;
pub(crate) mod conversations;
pub(crate) mod frames;
pub(crate) mod invalid;
pub(crate) mod json;
pub(crate) mod raw;
pub(crate) mod server_frames;
pub(crate) mod streams;
pub(crate) mod texts;

use serde_json::Value;

/// The fields of one entry of a file, in order.
pub(crate) type Fields = Vec<(&'static str, Value)>;

/// Every file under `protocol/vectors`, by name, with the text that it should have.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    vec![
        (
            "client.json",
            array(frames::client().iter().chain(&invalid::client()).map(frames::Vector::to_json)),
        ),
        (
            "server.json",
            array(server_frames::all().iter().chain(&invalid::server()).map(frames::Vector::to_json)),
        ),
        ("batch.json", array(batches::all().iter().map(batches::BatchVector::to_json))),
        ("compressed.json", array(compressed::all().iter().map(compressed::CompressedVector::to_json))),
        ("stream.json", array(streams::all().iter().map(streams::StreamVector::to_json))),
        ("text.json", array(texts::texts().iter().map(texts::TextVector::to_json))),
        ("look_alikes.json", array(texts::look_alikes().iter().map(texts::AlikeVector::to_json))),
        ("conversations.json", array(conversations::all().into_iter())),
    ]
}

/// The directory of the vectors.
pub(crate) fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// One entry a line: differences show one entry each.
fn array(entries: impl Iterator<Item = Vec<(&'static str, Value)>>) -> String {
    let lines: Vec<String> = entries
        .map(|fields| {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("  {{{}}}", fields.join(", "))
        })
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hex as bytes.
pub(crate) fn unhex(s: &str) -> Vec<u8> {
    assert!(s.len().is_multiple_of(2), "odd hex");
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).expect("hex")).collect()
}

/// A 64-bit number as JSON: a string, since JSON readers keep 53 bits.
pub(crate) fn long(n: u64) -> Value {
    Value::String(n.to_string())
}

/// Bytes for the fuzz targets to begin with: target, name, bytes.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut out = Vec::new();
    for v in frames::client().into_iter().chain(invalid::client()) {
        let target = if v.bytes.first() == Some(&1) { "hello" } else { "client_frame" };
        out.push((target, v.name.clone(), v.bytes.clone()));
        out.push(("websocket_reader", v.name.clone(), masked(&v.bytes)));
        let mut stream = Vec::new();
        grandstand_protocol::stream::write_header(v.bytes.len(), &mut stream);
        out.push(("stream", v.name, [stream, v.bytes].concat()));
    }
    out.extend(
        server_frames::all().into_iter().chain(invalid::server()).map(|v| ("server_frame", v.name, v.bytes)),
    );
    out.extend(batches::all().into_iter().map(|v| ("batch_reader", v.name.to_owned(), v.body)));
    // Not the largest, which are slow to open.
    let quick = compressed::all().into_iter().filter(|v| !v.name.contains("large"));
    out.extend(quick.map(|v| ("compressed", v.name.to_owned(), v.frame)));
    out.extend(streams::all().into_iter().map(|v| ("stream", v.name.to_owned(), v.bytes)));
    out.extend(proxy_headers().into_iter().enumerate().map(|(n, bytes)| ("proxy", n.to_string(), bytes)));
    out
}

/// Headers of proxies: of both versions of the PROXY protocol, and of requests.
fn proxy_headers() -> Vec<Vec<u8>> {
    use grandstand_protocol::proxy::{write_v1, write_v2};
    let lines = [
        "192.0.2.1, 10.0.0.1",
        "[2001:db8::1]:443",
        "unknown, _hidden",
        "for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\";proto=https;by=_x",
        "for=\"192.0.2.\\43:_p\";host=\"a, b\"\nfor=unknown",
    ];
    let mut out: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    let addresses = [("192.0.2.1:1", "192.0.2.2:443"), ("[2001:db8::1]:1", "[2001:db8::2]:443")];
    for addresses in addresses.map(|(from, to)| Some((from.parse().unwrap(), to.parse().unwrap()))) {
        out.extend([Vec::new(), Vec::new(), Vec::new()]);
        let [.., v1, v2, tlvs] = &mut out[..] else { unreachable!("just added") };
        write_v1(addresses, v1);
        write_v2(addresses, b"", v2);
        write_v2(addresses, &[1, 0, 2, b'h', b'2', 4, 0, 1, 0], tlvs);
    }
    for last in [b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY TCP4 1.2.3.4 1.2.3.4 0 65535\r\nGET".to_vec()] {
        out.push(last);
    }
    for tlvs in [&b""[..], &[0; 300]] {
        let mut local = Vec::new();
        write_v2(None, tlvs, &mut local);
        out.push(local);
    }
    out
}

/// As a WebSocket client sends it.
fn masked(payload: &[u8]) -> Vec<u8> {
    use grandstand_protocol::websocket::{Opcode, write_masked};
    let mut out = Vec::new();
    write_masked(Opcode::Binary, payload, [1, 2, 3, 4], &mut out);
    out
}
