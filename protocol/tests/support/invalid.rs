//! Frames that decoding refuses or passes over, each with the clause that says so.
//!
//! Why: what a reader must refuse is as much a part of the protocol as what it must accept.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Encoder, Kind, ServerFrame, Subscribe, Welcome};
use grandstand_protocol::limits;

use super::frames::Vector;
use super::raw::{self, Field};

fn encode_client(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().client(frame, &mut out);
    out
}

fn encode_server(frame: &ServerFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().server(frame, &mut out);
    out
}

/// A copy with one byte replaced.
fn with(bytes: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] = byte;
    out
}

fn malformed(name: &str, clause: &'static str, bytes: Vec<u8>) -> Vector {
    Vector::close(name, clause, bytes, CloseCode::Malformed)
}

/// What a server must not take.
pub(crate) fn client() -> Vec<Vector> {
    let subscribe = encode_client(&ClientFrame::Subscribe(Subscribe {
        request: 1,
        room: "vectors/1",
        ..Subscribe::default()
    }));
    let mut out = broken("subscribe", &subscribe);
    out.extend(over_limits());
    out.extend(kinds(Kind::Ping));
    out.push(malformed(
        "room_not_utf8",
        "F-8",
        raw::frame(2, &[(0, Field::Int(1)), (1, Field::Text(b"\xff\xfe"))]),
    ));
    out.push(malformed(
        "text_cut_utf8",
        "F-8",
        raw::frame(4, &[(0, Field::Int(1)), (2, Field::Text(b"a\xe2\x82"))]),
    ));
    out.push(malformed(
        "text_surrogate",
        "F-8",
        raw::frame(4, &[(0, Field::Int(1)), (2, Field::Text(b"\xed\xa0\x80"))]),
    ));
    for &kind in Kind::ALL.iter().filter(|&&kind| kind as u8 >= 0x40) {
        let name = format!("{kind:?}_from_client").to_lowercase();
        let frame = match kind {
            Kind::Batch => encode_server(&ServerFrame::Batch(&[7, 0])),
            _ => raw::frame(kind as u8, &[]),
        };
        out.push(Vector::close(&name, "F-3", frame, CloseCode::WrongOrder));
    }
    out
}

/// What a client must not take.
pub(crate) fn server() -> Vec<Vector> {
    let welcome = encode_server(&ServerFrame::Welcome(Welcome {
        version: 1,
        name: "Viewer 1",
        session: 9,
        ..Welcome::default()
    }));
    let mut out = broken("welcome", &welcome);
    out.extend(kinds(Kind::Pong));
    let many = raw::frame(Kind::Snapshot as u8, &[(3, Field::Tables(limits::VERIFY_TABLES_MAX))]);
    out.push(malformed("snapshot_too_many_tables", "L-1", many));
    for &kind in Kind::ALL.iter().filter(|&&kind| (kind as u8) < 0x40) {
        let name = format!("{kind:?}_from_server").to_lowercase();
        out.push(Vector::close(&name, "F-3", raw::frame(kind as u8, &[]), CloseCode::WrongOrder));
    }
    out
}

/// Tables that are none.
fn broken(of: &str, frame: &[u8]) -> Vec<Vector> {
    let m = |name: &str, bytes| malformed(&format!("{of}_{name}"), "F-2", bytes);
    let root = u32::from_le_bytes(frame[1..5].try_into().expect("a root offset")) as usize;
    let vtable_back = i32::from_le_bytes(frame[1 + root..5 + root].try_into().expect("an offset"));
    let vtable = 1 + (root as i32 - vtable_back) as usize;
    vec![
        m("kind_alone", frame[..1].to_vec()),
        m("cut_in_root", frame[..4].to_vec()),
        m("cut_in_half", frame[..frame.len() / 2].to_vec()),
        m("cut_before_root", frame[..root].to_vec()),
        m("ones", [&frame[..1], &[0xff; 16]].concat()),
        m("root_outside", with(frame, 2, 0xff)),
        m("root_unaligned", with(frame, 1, frame[1].wrapping_add(1))),
        m("vtable_outside", with(frame, 1 + root + 2, 0x7f)),
        m("vtable_odd_length", with(frame, vtable, frame[vtable] + 1)),
        m("vtable_too_long", with(frame, vtable + 1, 0x70)),
        m("field_outside", with(frame, vtable + 5, 0x40)),
    ]
}

/// Fields that are checked on decoding.
fn over_limits() -> Vec<Vector> {
    use Field::*;
    let long = vec![b'a'; 5000];
    let cut = |n: usize| &long[..n + 1];
    let hello = |name: &str, number, field| malformed(name, "L-2", raw::frame(1, &[(number, field)]));
    let react = |name: &str, key| malformed(name, "P-6", raw::frame(5, &[(0, Int(1)), (1, Text(key))]));
    vec![
        hello("hello_token_too_long", 3, Text(cut(limits::TOKEN_BYTES_MAX))),
        malformed("renew_token_too_long", "L-2", raw::frame(9, &[(1, Text(cut(limits::TOKEN_BYTES_MAX)))])),
        hello("hello_ticket_too_long", 5, Bytes(cut(limits::TICKET_BYTES_MAX))),
        hello("hello_agent_too_long", 6, Text(cut(limits::AGENT_BYTES_MAX))),
        react("react_key_too_long", cut(limits::REACTION_KEY_BYTES_MAX)),
        react("react_key_empty", b""),
        react("react_key_with_nul", b"a\0b"),
        react("react_key_with_space_before", b" a"),
        malformed("react_without_key", "P-6", raw::frame(5, &[(0, Int(1))])),
    ]
}

/// Kinds that version 1 does not know, around a table that it does.
fn kinds(like: Kind) -> Vec<Vector> {
    let table = raw::frame(like as u8, &[(0, Field::Long(1))]);
    let of = |kind: u8| with(&table, 0, kind);
    let unknown = |kind: u8| {
        let clause = if kind & 0x80 == 0 { "F-4" } else { "F-5" };
        Vector::close(&format!("unknown_kind_{kind:02x}"), clause, of(kind), CloseCode::UnknownKind)
    };
    vec![
        malformed("empty", "F-2", Vec::new()),
        unknown(0x00),
        unknown(0x1f),
        unknown(0x5f),
        unknown(0x80),
        unknown(0xa0),
        unknown(0x80 | like as u8),
        unknown(0xff),
        Vector::ignored("ignorable_kind_20", of(0x20)),
        Vector::ignored("ignorable_kind_3f", of(0x3f)),
        Vector::ignored("ignorable_kind_60", of(0x60)),
        Vector::ignored("ignorable_kind_7f", of(0x7f)),
        Vector::ignored("ignorable_kind_alone", vec![0x21]),
        Vector::ignored("ignorable_kind_no_table", vec![0x21, 0xff, 0xff]),
    ]
}
