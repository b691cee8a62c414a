//! The WebSocket reader, rule by rule of RFC 6455, and however its bytes are split.
//!
//! Not here: headers, masking and UTF-8 by themselves (unit tests beside them), the handshake
//! (`websocket_handshake`).

use grandstand_protocol::websocket::{
    Event, Fault, Header, Input, Limits, Opcode, Reader, Role, close_payload, unmask, write_frame,
    write_masked,
};
use proptest::prelude::*;
use proptest::sample::Index;

const LIMITS: Limits = Limits { message_bytes_max: 1000, fragments_max: 50, control_frames_max: 20 };
const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0xf4];

/// What a partial message may cost besides its bytes: the bookkeeping, and the smallest buffer.
const PARTIAL_BYTES_MAX: usize = 320;

/// An event that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        match event {
            Event::Message { binary: true, payload } => Seen::Binary(payload.to_vec()),
            Event::Message { binary: false, payload } => {
                Seen::Text(String::from_utf8(payload.to_vec()).unwrap())
            }
            Event::Ping(payload) => Seen::Ping(payload.to_vec()),
            Event::Pong(payload) => Seen::Pong(payload.to_vec()),
            Event::Close { code, reason } => Seen::Close(code, reason.to_owned()),
        }
    }
}

fn read(reader: &mut Reader, bytes: &[u8], limits: &Limits, seen: &mut Vec<Seen>) -> Result<(), Fault> {
    let mut scratch = bytes.to_vec();
    let mut input = Input::new(&mut scratch);
    while let Some(event) = reader.poll_event(&mut input, limits)? {
        seen.push(event.into());
    }
    assert_eq!(input.remaining(), 0);
    Ok(())
}

/// Reads `bytes` as a server, in one piece.
fn serve(bytes: &[u8]) -> (Vec<Seen>, Result<(), Fault>) {
    let mut seen = Vec::new();
    let result = read(&mut Reader::new(Role::Server), bytes, &LIMITS, &mut seen);
    (seen, result)
}

fn fault(bytes: &[u8]) -> Fault {
    serve(bytes).1.unwrap_err()
}

/// A masked frame.
fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { fin, opcode, mask: Some(KEY), len: payload.len() as u64 }.write(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    unmask(&mut bytes[start..], KEY, 0);
    bytes
}

fn whole(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frame(true, opcode, payload)
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

#[test]
fn an_idle_reader_is_small() {
    assert!(size_of::<Reader>() <= 32, "{} bytes", size_of::<Reader>());
    assert_eq!(Reader::new(Role::Server).heap_bytes(), 0);
}

#[test]
fn whole_messages_are_lent_from_the_scratch_buffer() {
    let mut scratch =
        [whole(Opcode::Binary, &[7; 300]), whole(Opcode::Text, b"hi"), whole(Opcode::Ping, b"p")].concat();
    let span = scratch.as_ptr_range();
    let mut reader = Reader::new(Role::Server);
    let mut input = Input::new(&mut scratch);
    let mut count = 0;
    while let Some(event) = reader.poll_event(&mut input, &LIMITS).unwrap() {
        let (Event::Message { payload, .. } | Event::Ping(payload)) = event else { panic!("{event:?}") };
        assert!(span.contains(&payload.as_ptr()));
        count += 1;
        assert_eq!(reader.heap_bytes(), 0);
    }
    assert_eq!(count, 3);
    assert!(!reader.is_mid_message());
}

#[test]
fn a_partial_message_is_freed_when_it_is_done() {
    let bytes = whole(Opcode::Binary, &[7; 300]);
    let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
    read(&mut reader, &bytes[..1], &LIMITS, &mut seen).unwrap();
    assert!(reader.is_mid_message());
    assert_eq!(reader.heap_bytes(), 0, "a header that was cut short is kept inside");
    read(&mut reader, &bytes[1..100], &LIMITS, &mut seen).unwrap();
    assert!(reader.is_mid_message() && reader.heap_bytes() > 0);
    read(&mut reader, &bytes[100..], &LIMITS, &mut seen).unwrap();
    assert_eq!(seen, [Seen::Binary(vec![7; 300])]);
    assert!(!reader.is_mid_message());
    assert_eq!(reader.heap_bytes(), 0);
}

#[test]
fn masking_by_role() {
    // §5.1: a server closes on an unmasked frame, a client on a masked one.
    let (mut masked, mut plain) = (Vec::new(), Vec::new());
    write_masked(Opcode::Text, b"hi", KEY, &mut masked);
    write_frame(Opcode::Text, b"hi", &mut plain);
    for (role, good, bad) in [(Role::Server, &masked, &plain), (Role::Client, &plain, &masked)] {
        let mut seen = Vec::new();
        read(&mut Reader::new(role), good, &LIMITS, &mut seen).unwrap();
        assert_eq!(seen, [text("hi")]);
        let fault = read(&mut Reader::new(role), bad, &LIMITS, &mut seen).unwrap_err();
        assert_eq!(fault.close_code(), 1002);
    }
}

#[test]
fn fragments_are_joined() {
    // §5.4, with control frames between fragments, in their place.
    let bytes = [
        frame(false, Opcode::Text, b"a"),
        whole(Opcode::Ping, b"1"),
        frame(false, Opcode::Continuation, b""),
        frame(false, Opcode::Continuation, b"b"),
        whole(Opcode::Pong, b"2"),
        whole(Opcode::Continuation, b"c"),
        frame(false, Opcode::Binary, b""),
        whole(Opcode::Continuation, b""),
        whole(Opcode::Binary, b""),
    ]
    .concat();
    let expected = [
        Seen::Ping(b"1".to_vec()),
        Seen::Pong(b"2".to_vec()),
        text("abc"),
        Seen::Binary(Vec::new()),
        Seen::Binary(Vec::new()),
    ];
    assert_eq!(serve(&bytes), (expected.to_vec(), Ok(())));
}

#[test]
fn fragments_in_a_wrong_order() {
    // §5.4: fragments of one message are not interleaved with another's.
    let alone = Fault::ProtocolError("continuation without a message");
    assert_eq!(fault(&whole(Opcode::Continuation, b"x")), alone);
    assert_eq!(fault(&frame(false, Opcode::Continuation, b"x")), alone);
    assert_eq!(fault(&[whole(Opcode::Text, b"x"), whole(Opcode::Continuation, b"x")].concat()), alone);
    assert_eq!(
        fault(
            &[
                frame(false, Opcode::Text, b"x"),
                whole(Opcode::Continuation, b"x"),
                whole(Opcode::Continuation, b"x")
            ]
            .concat()
        ),
        alone
    );
    let nested = Fault::ProtocolError("new message before the last one ended");
    for fin in [true, false] {
        for second in [Opcode::Text, Opcode::Binary] {
            assert_eq!(fault(&[frame(false, Opcode::Text, b"x"), frame(fin, second, b"y")].concat()), nested);
        }
    }
    assert_eq!((alone.close_code(), nested.close_code()), (1002, 1002));
}

#[test]
fn malformed_headers_reach_the_caller() {
    // §5.2: reserved bits and opcodes, §5.5: long and fragmented control frames.
    for bytes in [&[0xc1][..], &[0x83], &[0x8b], &[0x09], &[0x89, 0xfe], &[0x82, 0xfe, 0, 125]] {
        assert_eq!(fault(bytes).close_code(), 1002, "{bytes:x?}");
    }
}

#[test]
fn closing() {
    // §5.5.1, §7.1.5, §7.4: code and reason, and nothing after.
    assert_eq!(serve(&whole(Opcode::Close, b"")), (vec![Seen::Close(None, String::new())], Ok(())));
    let bytes =
        [whole(Opcode::Close, &close_payload(4001, "bye ✓")), whole(Opcode::Text, b"late"), vec![0xff; 9]]
            .concat();
    assert_eq!(serve(&bytes), (vec![Seen::Close(Some(4001), "bye ✓".into())], Ok(())));
    assert_eq!(fault(&whole(Opcode::Close, b"\x03")).close_code(), 1002);
    assert_eq!(fault(&whole(Opcode::Close, &1005u16.to_be_bytes())).close_code(), 1002);
    assert_eq!(fault(&whole(Opcode::Close, b"\x03\xe8\xff\xfe")).close_code(), 1007);
}

#[test]
fn closing_in_the_middle_of_a_message() {
    // §5.5.1 allows it; the message is lost and its memory freed.
    let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
    let bytes =
        [frame(false, Opcode::Text, b"half"), whole(Opcode::Close, &close_payload(1001, ""))].concat();
    for byte in bytes {
        read(&mut reader, &[byte], &LIMITS, &mut seen).unwrap();
    }
    assert_eq!(seen, [Seen::Close(Some(1001), String::new())]);
    assert!(reader.is_ended());
    assert_eq!(reader.heap_bytes(), 0);
}

#[test]
fn nothing_comes_after_a_fault() {
    let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
    let bytes = [frame(false, Opcode::Text, b"a"), whole(Opcode::Text, b"b")].concat();
    assert!(read(&mut reader, &bytes, &LIMITS, &mut seen).is_err());
    assert!(reader.is_ended());
    assert_eq!(reader.heap_bytes(), 0);
    assert_eq!(read(&mut reader, &whole(Opcode::Text, b"c"), &LIMITS, &mut seen), Ok(()));
    assert_eq!(read(&mut reader, &[0xff; 30], &LIMITS, &mut seen), Ok(()));
    assert_eq!(seen, []);
}

#[test]
fn a_close_that_is_at_fault_also_ends() {
    for split in [false, true] {
        let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
        let bytes = whole(Opcode::Close, b"\x03");
        let pieces = if split { bytes.chunks(1) } else { bytes.chunks(100) };
        let results: Vec<_> = pieces.map(|piece| read(&mut reader, piece, &LIMITS, &mut seen)).collect();
        assert_eq!(results.last(), Some(&Err(Fault::ProtocolError("close payload of one byte"))));
        read(&mut reader, &whole(Opcode::Text, b"c"), &LIMITS, &mut seen).unwrap();
        assert_eq!((seen, reader.heap_bytes()), (vec![], 0));
    }
}

#[test]
fn a_message_that_announces_too_much_is_refused_before_it_arrives() {
    // §10.4: limits on size; §7.4.1: 1009.
    let mut reader = Reader::new(Role::Server);
    let header = |fin, opcode, len| {
        let mut bytes = Vec::new();
        Header { fin, opcode, mask: Some(KEY), len }.write(&mut bytes);
        bytes
    };
    let too_big = |bytes| Err(Fault::MessageTooBig { bytes, bytes_max: 1000 });
    assert_eq!(
        read(&mut reader, &header(true, Opcode::Binary, 1001), &LIMITS, &mut Vec::new()),
        too_big(1001)
    );
    assert_eq!(serve(&header(false, Opcode::Text, i64::MAX as u64)).1, too_big(i64::MAX as u64));
    let fragments =
        [frame(false, Opcode::Binary, &[0; 600]), header(false, Opcode::Continuation, 401)].concat();
    assert_eq!(serve(&fragments).1, too_big(1001));
    assert_eq!(too_big(1).unwrap_err().close_code(), 1009);

    assert_eq!(serve(&whole(Opcode::Binary, &[1; 1000])).1, Ok(()));
    let fragments =
        [frame(false, Opcode::Binary, &[0; 600]), whole(Opcode::Continuation, &[0; 400])].concat();
    assert_eq!(serve(&fragments).1, Ok(()));
}

#[test]
fn what_is_announced_is_not_reserved() {
    let limits = Limits { message_bytes_max: 1 << 30, ..LIMITS };
    let mut reader = Reader::new(Role::Server);
    let mut header = Vec::new();
    Header { fin: true, opcode: Opcode::Binary, mask: Some(KEY), len: 1 << 30 }.write(&mut header);
    let mut seen = Vec::new();
    read(&mut reader, &header, &limits, &mut seen).unwrap();
    for arrived in (100..100_000).step_by(100) {
        read(&mut reader, &[0; 100], &limits, &mut seen).unwrap();
        assert!(reader.heap_bytes() <= 2 * arrived + PARTIAL_BYTES_MAX);
    }
    assert!(reader.heap_bytes() >= 99_000, "{}", reader.heap_bytes());
}

#[test]
fn fragments_are_counted() {
    let mut bytes = frame(false, Opcode::Binary, b"");
    for _ in 2..LIMITS.fragments_max {
        bytes.extend(frame(false, Opcode::Continuation, b""));
    }
    let last = |fin| [bytes.clone(), frame(fin, Opcode::Continuation, b"")].concat();
    assert_eq!(serve(&last(true)), (vec![Seen::Binary(vec![])], Ok(())));
    assert_eq!(serve(&[last(true), last(true)].concat()).1, Ok(()), "each message counts for itself");
    let one_more = [last(false), whole(Opcode::Continuation, b"")].concat();
    assert_eq!(serve(&one_more), (vec![], Err(Fault::TooManyFragments)));
    assert_eq!(Fault::TooManyFragments.close_code(), 1008);
}

#[test]
fn control_frames_in_a_row_are_counted() {
    let pings = |count| whole(Opcode::Ping, b"").repeat(count);
    assert_eq!(serve(&pings(20)).1, Ok(()));
    assert_eq!(serve(&pings(21)).1, Err(Fault::TooManyControlFrames));
    assert_eq!(serve(&[pings(20), whole(Opcode::Text, b"x"), pings(20)].concat()).1, Ok(()));
    assert_eq!(Fault::TooManyControlFrames.close_code(), 1008);
}

#[test]
fn control_frames_within_a_message_are_counted_over_all_reads() {
    let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
    read(&mut reader, &frame(false, Opcode::Text, b"x"), &LIMITS, &mut seen).unwrap();
    for _ in 0..20 {
        read(&mut reader, &whole(Opcode::Pong, b""), &LIMITS, &mut seen).unwrap();
        read(&mut reader, &frame(false, Opcode::Continuation, b""), &LIMITS, &mut seen).unwrap();
    }
    let one_more = read(&mut reader, &whole(Opcode::Pong, b""), &LIMITS, &mut seen);
    assert_eq!(one_more, Err(Fault::TooManyControlFrames));
}

#[test]
fn a_quiet_viewer_answers_pings_for_ever() {
    let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
    for _ in 0..1000 {
        read(&mut reader, &whole(Opcode::Pong, b"x"), &LIMITS, &mut seen).unwrap();
    }
    assert_eq!(seen.len(), 1000);
}

#[test]
fn text_is_checked_over_fragments() {
    // §8.1, §5.6: a character may be split over fragments, but must be whole in the message.
    let euro = "€".as_bytes();
    let split = [frame(false, Opcode::Text, &euro[..1]), whole(Opcode::Continuation, &euro[1..])].concat();
    assert_eq!(serve(&split), (vec![text("€")], Ok(())));
    let cut = [frame(false, Opcode::Text, &euro[..1]), whole(Opcode::Continuation, b"")].concat();
    assert_eq!(fault(&cut), Fault::InvalidUtf8);
    assert_eq!(fault(&whole(Opcode::Text, &euro[..2])), Fault::InvalidUtf8);
    assert_eq!(fault(&whole(Opcode::Text, b"\xff")), Fault::InvalidUtf8);
    assert_eq!(serve(&whole(Opcode::Binary, b"\xff")).1, Ok(()));
    assert_eq!(Fault::InvalidUtf8.close_code(), 1007);
}

#[test]
fn text_is_refused_at_its_first_wrong_byte() {
    // As Autobahn 6.4 has it, strictly: "κόσμε", then F4 90 80 80 (above U+10FFFF), then "edited"; in
    // fragments, in one frame, and byte by byte.
    let bad = ["κόσμε".as_bytes(), b"\xf4\x90\x80\x80", b"edited"].concat();
    let wrong_at = "κόσμε".len() + 1;
    let fragments: Vec<u8> = (0..bad.len())
        .flat_map(|i| frame(false, if i == 0 { Opcode::Text } else { Opcode::Continuation }, &bad[i..=i]))
        .collect();
    let frame_len = fragments.len() / bad.len();
    for (bytes, expected) in [
        (fragments, wrong_at * frame_len + frame_len - 1),
        (frame(true, Opcode::Text, &bad), 6 + wrong_at),
        (frame(false, Opcode::Text, &bad), 6 + wrong_at),
    ] {
        let (mut reader, mut seen) = (Reader::new(Role::Server), Vec::new());
        let refused = bytes.iter().position(|&byte| read(&mut reader, &[byte], &LIMITS, &mut seen).is_err());
        assert_eq!(refused, Some(expected));
    }
}

/// One thing that a peer sends.
#[derive(Debug, Clone)]
enum Sent {
    Message { seen: Seen, cuts: Vec<Index>, controls: Vec<(Index, Seen)> },
    Control(Seen),
}

fn any_control() -> impl Strategy<Value = Seen> {
    let payload = prop::collection::vec(any::<u8>(), 0..=125);
    (any::<bool>(), payload)
        .prop_map(|(ping, payload)| if ping { Seen::Ping(payload) } else { Seen::Pong(payload) })
}

fn any_message() -> impl Strategy<Value = Seen> {
    prop_oneof![
        "\\PC{0,60}".prop_map(Seen::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Seen::Binary),
        prop::collection::vec(any::<u8>(), 900..=1000).prop_map(Seen::Binary),
    ]
}

fn any_sent() -> impl Strategy<Value = Sent> {
    let cuts = prop::collection::vec(any::<Index>(), 0..4);
    let controls = prop::collection::vec((any::<Index>(), any_control()), 0..3);
    prop_oneof![
        3 => (any_message(), cuts, controls).prop_map(|(seen, cuts, controls)| Sent::Message { seen, cuts, controls }),
        1 => any_control().prop_map(Sent::Control),
    ]
}

fn put(fin: bool, opcode: Opcode, payload: &[u8], role: Role, key: [u8; 4], bytes: &mut Vec<u8>) {
    let mask = (role == Role::Server).then_some(key);
    Header { fin, opcode, mask, len: payload.len() as u64 }.write(bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(key) = mask {
        unmask(&mut bytes[start..], key, 0);
    }
}

fn put_control(seen: &Seen, role: Role, key: [u8; 4], bytes: &mut Vec<u8>) {
    match seen {
        Seen::Ping(payload) => put(true, Opcode::Ping, payload, role, key, bytes),
        Seen::Pong(payload) => put(true, Opcode::Pong, payload, role, key, bytes),
        other => panic!("{other:?} is no ping or pong"),
    }
}

/// Puts `sent` on the wire, and what should be seen of it into `expected`.
fn put_sent(sent: &Sent, role: Role, key: [u8; 4], bytes: &mut Vec<u8>, expected: &mut Vec<Seen>) {
    let (seen, cuts, controls) = match sent {
        Sent::Message { seen, cuts, controls } => (seen, cuts, controls),
        Sent::Control(seen) => {
            put_control(seen, role, key, bytes);
            return expected.push(seen.clone());
        }
    };
    let (opcode, payload) = match seen {
        Seen::Text(text) => (Opcode::Text, text.as_bytes()),
        Seen::Binary(payload) => (Opcode::Binary, &payload[..]),
        other => panic!("{other:?} is no message"),
    };
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(payload.len());
    let mut start = 0;
    for (i, &end) in ends.iter().enumerate() {
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        for (_, control) in controls.iter().filter(|(at, _)| i > 0 && at.index(ends.len()) == i) {
            put_control(control, role, key, bytes);
            expected.push(control.clone());
        }
        put(i + 1 == ends.len(), opcode, &payload[start..end], role, key, bytes);
        start = end;
    }
    expected.push(seen.clone());
}

/// `bytes` in pieces, cut at these places.
fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| &bytes[start..end]).collect()
}

/// Random bytes, now and then in the shape of a frame.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0u8, 1, 2, 9, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a]);
    let framed = (opcode, any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..126))
        .prop_map(|(first, key, body)| [&[first, 0x80 | body.len() as u8][..], &key, &body].concat());
    let piece = prop_oneof![8 => framed, 1 => prop::collection::vec(any::<u8>(), 0..20)];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_sequence_is_seen_as_sent_however_it_is_split(
        sent in prop::collection::vec(any_sent(), 0..6),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        key: [u8; 4],
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for sent in &sent {
            put_sent(sent, role, key, &mut bytes, &mut expected);
        }
        let by_byte = bytes.chunks(1).collect();
        for pieces in [vec![&bytes[..]], split(&bytes, &cuts), by_byte] {
            let (mut reader, mut seen) = (Reader::new(role), Vec::new());
            for piece in pieces {
                read(&mut reader, piece, &LIMITS, &mut seen).unwrap();
                prop_assert!(reader.heap_bytes() <= LIMITS.message_bytes_max + PARTIAL_BYTES_MAX);
            }
            prop_assert_eq!(&seen, &expected);
            prop_assert_eq!(reader.heap_bytes(), 0);
            prop_assert!(!reader.is_mid_message());
        }
    }

    #[test]
    fn noise_neither_panics_nor_costs_memory_nor_depends_on_how_it_is_split(
        bytes in noise(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        // Control frames in a row are counted by read, so that limit is out of the comparison.
        let limits = Limits { control_frames_max: u32::MAX, ..LIMITS };
        let mut outcomes = Vec::new();
        for pieces in [vec![&bytes[..]], split(&bytes, &cuts)] {
            let (mut reader, mut seen, mut result) = (Reader::new(role), Vec::new(), Ok(()));
            for piece in pieces {
                result = result.and(read(&mut reader, piece, &limits, &mut seen));
                prop_assert!(reader.heap_bytes() <= limits.message_bytes_max + PARTIAL_BYTES_MAX);
            }
            outcomes.push((seen, result));
        }
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}
