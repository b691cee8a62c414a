//! docs/PROTOCOL.md and the code say the same: kinds, refusals, close codes, limits, names; and clauses are
//! in order.
//!
//! Why: a normative text that nobody compares with the code is wrong within a month.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Kind, permission};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, version};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const README: &str = include_str!("../vectors/README.md");

/// The cells of the table behind `<!-- table: name`, without head and rule; the first `columns` of each row.
fn table(name: &str, columns: usize) -> Vec<Vec<String>> {
    let start = DOCUMENT.find(&format!("<!-- table: {name} ")).unwrap_or_else(|| panic!("no table {name}"));
    let rows =
        DOCUMENT[start..].lines().map(str::trim_start).skip(3).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        cells[..columns].to_vec()
    })
    .collect()
}

/// F-3.
#[test]
fn kinds_are_as_documented() {
    let code: Vec<Vec<String>> = Kind::ALL
        .iter()
        .map(|kind| {
            let side = if *kind as u8 & 0x40 == 0 { "client" } else { "server" };
            vec![format!("{:#04x}", *kind as u8), format!("{kind:?}"), side.to_owned()]
        })
        .collect();
    assert_eq!(table("kinds", 3), code);
}

/// R-3.
#[test]
fn refusals_are_as_documented() {
    let row = |r: &Refusal| {
        let retry = if r.may_retry() { "may" } else { "no" };
        vec![r.wire().to_string(), format!("{r:?}"), retry.to_owned(), r.text().to_owned()]
    };
    assert_eq!(table("refusals", 4), Refusal::ALL.iter().map(row).collect::<Vec<_>>());
}

/// C-1, C-2, C-5.
#[test]
fn close_codes_are_as_documented() {
    let row = |c: &CloseCode| {
        let retry = format!("{:?}", c.retry());
        vec![c.wire().to_string(), format!("{c:?}"), c.websocket().to_string(), retry, c.text().to_owned()]
    };
    assert_eq!(table("close codes", 5), CloseCode::ALL.iter().map(row).collect::<Vec<_>>());
}

macro_rules! named {
    ($($name:ident)*) => { vec![$((stringify!($name), limits::$name as u64)),*] };
}

/// L-1. The list is compared with the source as well, so that a new limit cannot be forgotten.
#[test]
fn limits_are_as_documented() {
    let code = named!(
        ROOM_NAME_BYTES_MAX NAME_BYTES_MAX TEXT_BYTES_MAX ATTACHMENT_BYTES_MAX ACT_TEXT_BYTES_MAX
        TIMEOUT_SECONDS_MAX REACTION_KEY_BYTES_MAX
        REACTION_COUNT_MAX STATE_KEY_BYTES_MAX STATE_VALUE_BYTES_MAX HISTORY_MESSAGES_MAX TOKEN_BYTES_MAX TICKET_BYTES_MAX
        NODES_BYTES_MAX AGENT_BYTES_MAX
        CLIENT_FRAME_BYTES_MAX SERVER_FRAME_BYTES_MAX VERIFY_DEPTH_MAX VERIFY_TABLES_MAX
    );
    let source: Vec<&str> = include_str!("../src/limits.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    assert_eq!(source, code.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let rows: Vec<Vec<String>> =
        code.iter().map(|(name, value)| vec![(*name).to_owned(), value.to_string()]).collect();
    assert_eq!(table("limits", 2), rows);
}

/// W-2, Q-1, Q-3, H-5.
#[test]
fn names_and_marks_are_as_documented() {
    let alpn = std::str::from_utf8(version::ALPN).expect("text");
    for word in [alpn, version::SUBPROTOCOL, "`/v1`", "`0x82`"] {
        assert!(DOCUMENT.contains(word), "{word}");
    }
    assert_eq!(grandstand_protocol::stream::MARK, 0x82);
    let bits =
        [permission::PUBLISH, permission::REACT, permission::STATE, permission::BRIDGE, permission::MODERATE];
    assert_eq!(bits, [1, 2, 4, 8, 16]);
    let said = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(
        "(bits: 1 publish chat, 2 react, 4 set state, 8 publish in other people's names, 16 moderate)"
    ));
    assert_eq!(
        (version::capability::SUPPORTED, version::capability::DEFLATE_1, version::capability::RENEW),
        (3, 1, 2),
        "V-3 names bits 0 and 1"
    );
    assert!(said.contains("Bit 1: the server takes `Renew`"));
    assert!(said.contains("Bit 0: batches may come compressed") && said.contains("compressed (`0xc7`)"));
    assert_eq!(grandstand_protocol::compress::COMPRESSED_BATCH, 0xc7);
}

/// The layout in the document is the one in the code's own words.
#[test]
fn the_batch_layout_is_quoted_from_the_code() {
    let code = include_str!("../src/batch/mod.rs");
    let block =
        DOCUMENT.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the layout");
    for line in block.lines() {
        let words = |s: &str| s.replace("(passed over)", "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            code.lines().any(|l| words(l.trim_start_matches("//!")) == words(line)),
            "not in the code: {line}"
        );
    }
}

#[test]
fn clauses_are_numbered_without_holes_and_named_once() {
    let mut last = (String::new(), 0);
    let mut count = 0;
    for line in DOCUMENT.lines().filter(|line| line.starts_with("- **")) {
        let clause = line[4..].split("**").next().expect("a clause");
        let (letter, number) = clause.split_once('-').expect("letter and number");
        let number: u32 = number.parse().expect("a number");
        let expected = if last.0 == letter { last.1 + 1 } else { 1 };
        assert_eq!(number, expected, "{clause}");
        last = (letter.to_owned(), number);
        count += 1;
    }
    assert!(count > 60, "only {count} clauses found");
}

/// Clauses that the text refers to exist.
#[test]
fn references_lead_to_clauses() {
    for text in [DOCUMENT, README] {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
            let Some((letter, number)) = word.split_once('-') else { continue };
            if letter.len() == 1 && "TWQFHSBAGOPNRCLV".contains(letter) && number.parse::<u32>().is_ok() {
                assert!(DOCUMENT.contains(&format!("- **{word}** ")), "no clause {word}");
            }
        }
    }
}

/// The frames of the section "A first session", as the codec writes them.
fn first_session() -> String {
    use grandstand_protocol::batch::{BatchWriter, MessageParts};
    use grandstand_protocol::frame::*;
    use grandstand_protocol::version::capability::DEFLATE_1;

    let time_ms = 1_700_000_000_000;
    let hello = Hello { capabilities: DEFLATE_1, name: "Ann", agent: "example/1", ..Hello::default() };
    let welcome = Welcome {
        version: version::VERSION,
        capabilities: 0,
        session: 0x1122_3344_5566_7788,
        ticket: b"ticket",
        ticket_ttl_ms: 300_000,
        heartbeat_ms: 25_000,
        name: "Ann",
        role: Role::Viewer,
        permissions: permission::PUBLISH | permission::REACT,
        server_ms: time_ms,
        frame_bytes_max: limits::CLIENT_FRAME_BYTES_MAX as u32,
        text_bytes_max: 2_000,
        rooms_max: 32,
        node: "node-1",
        resumed: false,
        nodes: "",
    };
    let (alias, epoch, offset, nonce) = (7, 5, 41, 1_001);
    let subscribe = Subscribe { request: 1, room: "show", resume: None, replay: 0 };
    let (outcome, phase) = (Outcome::Live, Phase::Open);
    let subscribed = Subscribed { request: 1, alias, epoch, offset, head: offset, time_ms, outcome, phase };
    let publish = Publish { alias, nonce, text: "hello", ..Publish::default() };
    let (durability, repeated) = (Durability::Memory, false);
    let published = Published { nonce, epoch, offset, time_ms: time_ms + 20, durability, repeated };
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, alias, 1, false, false, 0);
    writer.chat(offset, 23, 0);
    writer.message(&MessageParts { author: "Ann", text: "hello", ..MessageParts::default() });
    writer.finish();

    let mut text = String::new();
    let mut encoder = Encoder::new();
    let mut say = |side: &str, name: &str, bytes: &[u8]| {
        text.push_str(&format!("{side} {name}, {} bytes\n", bytes.len()));
        for line in bytes.chunks(24) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("    {}\n", hex.join(" ")));
        }
    };
    let client = |frame| {
        let mut bytes = Vec::new();
        Encoder::new().client(&frame, &mut bytes);
        bytes
    };
    let mut server = |frame| {
        let mut bytes = Vec::new();
        encoder.server(&frame, &mut bytes);
        bytes
    };
    say("client", "Hello", &client(ClientFrame::Hello(hello)));
    say("server", "Welcome", &server(ServerFrame::Welcome(welcome)));
    say("client", "Subscribe", &client(ClientFrame::Subscribe(subscribe)));
    say("server", "Subscribed", &server(ServerFrame::Subscribed(subscribed)));
    say("client", "Publish", &client(ClientFrame::Publish(publish)));
    say("server", "Published", &server(ServerFrame::Published(published)));
    say("server", "Batch", &server(ServerFrame::Batch(&body)));
    text
}

/// The trace in the document cannot go stale.
#[test]
fn the_first_session_is_as_the_codec_writes_it() {
    let quoted = DOCUMENT.split("```trace\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(quoted.expect("a trace"), first_session());
}

/// C-2.
#[test]
fn retries_are_as_documented() {
    use grandstand_protocol::close::Retry;
    let row = |number: u8| vec![number.to_string(), format!("{:?}", Retry::from_wire(number))];
    assert_eq!(table("retry", 2), [row(0), row(1), row(2)]);
    assert_eq!([Retry::Never as u8, Retry::Backoff as u8, Retry::Reauthenticate as u8], [0, 1, 2]);
    assert_eq!(Retry::from_wire(3), Retry::Backoff);
}
