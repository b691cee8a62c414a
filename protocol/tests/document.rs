//! docs/PROTOCOL.md and the code say the same: kinds, refusals, close codes, limits, names; and clauses are
//! in order.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Kind, permission};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, version};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const README: &str = include_str!("../vectors/README.md");

/// The cells of the table behind `<!-- table: name`, without head and rule; the first `columns` of each row.
fn table(name: &str, columns: usize) -> Vec<Vec<String>> {
    let start = DOCUMENT.find(&format!("<!-- table: {name} ")).unwrap_or_else(|| panic!("no table {name}"));
    let rows = DOCUMENT[start..].lines().skip(3).take_while(|line| line.starts_with('|'));
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
        ROOM_NAME_BYTES_MAX NAME_BYTES_MAX TEXT_BYTES_MAX ATTACHMENT_BYTES_MAX REACTION_KEY_BYTES_MAX
        REACTION_COUNT_MAX STATE_KEY_BYTES_MAX STATE_VALUE_BYTES_MAX HISTORY_MESSAGES_MAX TOKEN_BYTES_MAX TICKET_BYTES_MAX AGENT_BYTES_MAX
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
    let bits = [permission::PUBLISH, permission::REACT, permission::STATE, permission::BRIDGE];
    assert_eq!(bits, [1, 2, 4, 8]);
    let said = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("(bits: 1 publish chat, 2 react, 4 set state, 8 publish in other people's names)"));
    assert_eq!(
        (version::capability::SUPPORTED, version::capability::DEFLATE_1),
        (1, 1),
        "V-3 names bit 0 only"
    );
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
