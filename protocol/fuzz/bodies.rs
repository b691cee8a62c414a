//! What the fuzz targets do with their input: each feeds one reader of bytes and checks what must hold of the
//! outcome.
//!
//! Why one file: `fuzz_targets` runs these under libFuzzer, `protocol/tests/fuzz_smoke.rs` in every test run.
//! Not here: where inputs come from.

use std::cell::RefCell;

use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::compress::Decompressor;
use grandstand_protocol::frame::{ClientFrame, Encoder, ServerFrame};
use grandstand_protocol::stream::{HEADER_BYTES_MAX, header_len, read_header, write_header};
use grandstand_protocol::websocket::{Event, Input, Limits, Reader, Role};
use grandstand_protocol::{limits, rules, version};

/// The first frame of a stranger: any table of the first kind.
pub(crate) fn hello(data: &[u8]) {
    let mut frame = data.to_vec();
    match frame.first_mut() {
        Some(kind) => *kind = 1,
        None => return,
    }
    let Ok(ClientFrame::Hello(hello)) = ClientFrame::decode(&frame) else { return };
    assert!(
        grandstand_protocol::text::mend_name(hello.name).is_none_or(|name| rules::is_display_name(&name))
    );
    assert!(hello.token.len() <= limits::TOKEN_BYTES_MAX);
    assert!(hello.ticket.len() <= limits::TICKET_BYTES_MAX && hello.agent.len() <= limits::AGENT_BYTES_MAX);
    if let Some(version) = version::negotiate(hello.min_version, hello.max_version) {
        assert!((hello.min_version..=hello.max_version).contains(&version));
    }
    client_frame(&frame);
}

/// Any frame to a server. What decodes is written again and decodes to the same.
pub(crate) fn client_frame(data: &[u8]) {
    let Ok(frame) = ClientFrame::decode(data) else { return };
    if let ClientFrame::React(react) = frame {
        assert!((1..=limits::REACTION_COUNT_MAX).contains(&react.count) && rules::is_name(react.key));
    }
    let mut again = Vec::new();
    Encoder::new().client(&frame, &mut again);
    assert_eq!(ClientFrame::decode(&again).as_ref(), Ok(&frame));
}

/// Any frame to a client. What decodes is written again and decodes to the same.
pub(crate) fn server_frame(data: &[u8]) {
    let Ok(frame) = ServerFrame::decode(data) else { return };
    if let ServerFrame::Batch(body) = frame {
        assert_eq!(body, &data[1..]);
        batch_reader(body);
    }
    let mut again = Vec::new();
    Encoder::new().server(&frame, &mut again);
    assert_eq!(ServerFrame::decode(&again).as_ref(), Ok(&frame));
}

/// Any body of a batch: it ends after no more items than it has bytes, in place, and moves a position
/// forwards only.
pub(crate) fn batch_reader(body: &[u8]) {
    let Ok(mut reader) = BatchReader::new(body) else { return };
    assert!(reader.count() <= body.len() as u64);
    let mut at = Position { epoch: 1, offset: u64::from(reader.check()), time_ms: 0 };
    at.begin(&reader).expect("the offset was made to fit");
    let (mut items, mut messages, mut last) = (0, 0, at.offset);
    loop {
        match reader.next_item() {
            Ok(Some(Item::Message(m))) => {
                messages += 1;
                assert!(!m.author.contains('\0') && !m.text.contains('\0') && m.role < 6);
                assert!(at.message(&m) >= last);
                last = at.offset;
            }
            Ok(Some(Item::Removed(skip))) => {
                messages += 1;
                last = at.entry(skip);
            }
            Ok(Some(Item::Act(act))) => {
                messages += 1;
                last = at.entry(act.skip);
                let removal = act.removal(last);
                assert!(removal.from().is_none_or(|from| from <= last));
                assert!(!removal.covers(last, last, "ann"), "a removal covers what is before it only");
            }
            Ok(Some(Item::Omitted(count))) => at.omitted(count),
            Ok(Some(_)) => {}
            Ok(None) => break assert_eq!(messages, reader.count()),
            Err(fault) => break assert!(fault.at <= body.len()),
        }
        items += 1;
        assert!(items <= body.len(), "more items than bytes");
        assert!(at.offset >= last);
    }
}

/// Any frame as a compressed one: it opens to the same each time, within the bound, and leaves nothing to the
/// next.
pub(crate) fn compressed(data: &[u8]) {
    thread_local! {
        static DECOMPRESSORS: RefCell<[Decompressor; 2]> = RefCell::default();
    }
    let payload = data.get(1..).unwrap_or_default();
    DECOMPRESSORS.with_borrow_mut(|[one, other]| {
        let outcome = one.open(payload).map(<[u8]>::to_vec);
        assert!(outcome.as_ref().is_ok_and(|b| b.len() < limits::SERVER_FRAME_BYTES_MAX) || outcome.is_err());
        // The other one has not seen what the first has.
        assert_eq!(other.open(payload).map(<[u8]>::to_vec), outcome);
        if let Ok(body) = outcome {
            batch_reader(&body);
        } else {
            std::mem::swap(one, other);
            assert_eq!(one.open(&[3, 0]), Ok(&b""[..]));
        }
    });
}

/// Any bytes on a byte stream: headers take their shortest form, and each frame is what it says.
pub(crate) fn stream(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((header, frame))) = read_header(rest, limits::CLIENT_FRAME_BYTES_MAX) {
        assert!(header <= HEADER_BYTES_MAX && frame <= limits::CLIENT_FRAME_BYTES_MAX);
        assert_eq!(header, header_len(frame));
        let mut again = Vec::new();
        write_header(frame, &mut again);
        assert_eq!(again, rest[..header]);
        for cut in 0..header {
            assert_eq!(read_header(&rest[..cut], limits::CLIENT_FRAME_BYTES_MAX), Ok(None));
        }
        let Some(bytes) = rest.get(header..header + frame) else { break };
        client_frame(bytes);
        rest = &rest[header + frame..];
    }
}

/// What came out of a WebSocket reader.
#[derive(Debug, PartialEq)]
enum Seen {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Fault(u16),
}

/// Headers in which proxies tell addresses: any bytes in front of a connection, and any lines of a request.
pub(crate) fn proxy(data: &[u8]) {
    use grandstand_protocol::proxy::{
        HEADER_BYTES_MAX, client_of_forwarded, client_of_x_forwarded_for, parse_header,
    };
    match parse_header(data) {
        Ok(Some(header)) => {
            assert!(header.len <= data.len().min(HEADER_BYTES_MAX));
            // What is behind it does not count, and what is missing is asked for.
            assert_eq!(parse_header(&data[..header.len]), Ok(Some(header)));
            assert_eq!(parse_header(&data[..header.len - 1]), Ok(None));
        }
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAX),
        Err(_) => {}
    }
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let proxy: std::net::IpAddr = [10, 0, 0, 1].into();
    let client: std::net::IpAddr = [192, 0, 2, 1].into();
    let appended = [&lines[..], &[b"192.0.2.1, 10.0.0.1"]].concat();
    assert_eq!(client_of_x_forwarded_for(appended, |address| address == proxy), Some(client));
    let appended = [&lines[..], &[b"for=192.0.2.1, for=10.0.0.1"]].concat();
    if let Ok(found) = client_of_forwarded(appended, |address| address == proxy) {
        assert_eq!(found, Some(client));
    }
}

/// Any bytes behind a WebSocket handshake, to both sides: however they are cut, the same comes out of them.
pub(crate) fn websocket_reader(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    for role in [Role::Server, Role::Client] {
        let whole = read_in_pieces(role, bytes, bytes.len().max(1));
        let pieces = read_in_pieces(role, bytes, usize::from(cut % 16) + 1);
        assert_eq!(whole, pieces);
    }
}

fn read_in_pieces(role: Role, bytes: &[u8], piece_bytes: usize) -> Vec<Seen> {
    // Control frames are counted per read where they stand in a row, so that limit depends on the cut by
    // design.
    let limits = Limits { message_bytes_max: 1024, fragments_max: 16, control_frames_max: u32::MAX };
    let (mut reader, mut seen) = (Reader::new(role), Vec::new());
    let mut bytes = bytes.to_vec();
    for piece in bytes.chunks_mut(piece_bytes) {
        let mut input = Input::new(piece);
        loop {
            match reader.poll_event(&mut input, &limits) {
                Ok(Some(event)) => seen.push(seen_of(&event)),
                Ok(None) => break,
                Err(fault) => {
                    seen.push(Seen::Fault(fault.close_code()));
                    break;
                }
            }
        }
        assert!(reader.heap_bytes() <= 4096, "a reader holds {} bytes", reader.heap_bytes());
    }
    seen
}

fn seen_of(event: &Event<'_>) -> Seen {
    match *event {
        Event::Message { binary, payload } => {
            assert!(binary || std::str::from_utf8(payload).is_ok());
            Seen::Message(binary, payload.to_vec())
        }
        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
        Event::Close { code, reason } => Seen::Close(code, reason.to_owned()),
    }
}
