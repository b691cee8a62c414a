//! Tests of chat logs: reading, fitting and merging.
//!
//! Not here: generated logs (`tools/src/synth`).

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

const SAMPLE: &str = "{\"t\":5000,\"u\":\"ann\",\"m\":\"hello\"}\n\
    {\"t\":5000,\"u\":\"bob\",\"m\":\"yes\",\"r\":\"+\"}\n\
    {\"t\":6000,\"k\":\"ban\",\"u\":\"bob\",\"d\":600}\n\
    not json\n\
    \n\
    {\"t\":7000,\"u\":\"eve\"}\n\
    {\"t\":7500,\"u\":\" e\\u0007ve \",\"m\":\"a\\u0000b\\tc\",\"r\":\"~\"}";

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn plain_and_gzip_read_alike() {
    let plain = Log::read(SAMPLE.as_bytes()).unwrap();
    let packed = Log::read(&gz(SAMPLE)[..]).unwrap();
    assert_eq!((&plain.lines, &plain.notes), (&packed.lines, &packed.notes));
    let seen: Vec<_> = plain.lines.iter().map(|l| (l.t_ms, &*l.author, l.role)).collect();
    assert_eq!(
        seen,
        [(0, "ann", Role::Viewer), (0, "bob", Role::Subscriber), (2500, " e\u{7}ve ", Role::Host)]
    );
}

#[test]
fn bad_lines_and_bans_are_counted_and_the_first_is_named() {
    let notes = Log::read(SAMPLE.as_bytes()).unwrap().notes;
    assert_eq!((notes.bad, notes.others), (2, 1));
    assert!(notes.first_bad.as_deref().unwrap().starts_with("line 4: "), "{notes:?}");
    assert!(
        notes
            .sentence()
            .unwrap()
            .contains("1 other rows (bans) skipped, 2 unreadable lines skipped (first: line 4")
    );
}

#[test]
fn a_torn_gzip_is_an_error_not_a_short_log() {
    let whole = gz(SAMPLE);
    assert!(Log::read(&whole[..whole.len() - 9]).is_err());
}

#[test]
fn a_line_without_end_is_bounded() {
    let long = format!(
        "{{\"t\":1,\"u\":\"a\",\"m\":\"{}\"}}\n{{\"t\":2,\"u\":\"b\",\"m\":\"x\"}}\n",
        "y".repeat(100_000)
    );
    let log = Log::read(long.as_bytes()).unwrap();
    assert_eq!((log.lines.len(), log.notes.bad), (1, 1));
}

#[test]
fn fitting_makes_texts_that_a_node_takes() {
    let mut log = Log::read(SAMPLE.as_bytes()).unwrap();
    let line = |text: &str| Message {
        t_ms: 9,
        author: "é".repeat(40).into(),
        text: text.into(),
        role: Role::Viewer,
    };
    log.lines.push(line(&"日本".repeat(50)));
    log.lines.push(line("\u{1b}\r"));
    log.fit(100);
    assert_eq!(log.lines.len(), 4);
    for line in &log.lines {
        assert!(rules::is_name(&line.author) && line.author.len() <= NAME_BYTES_MAX, "{line:?}");
        assert!(rules::is_text(&line.text) && line.text.len() <= 100 && !line.text.is_empty(), "{line:?}");
    }
    assert_eq!((&*log.lines[2].author, &*log.lines[2].text), ("eve", "ab\tc"));
    assert_eq!(log.lines[3].text.len(), 99);
    assert_eq!((log.notes.cut, log.notes.empty), (1, 1));
}

#[test]
fn merging_keeps_each_logs_order() {
    let a = Log::read(SAMPLE.as_bytes()).unwrap();
    let merged = Log::merge([a.clone(), a]);
    assert!(merged.lines.is_sorted_by_key(|l| l.t_ms));
    let names: Vec<_> = merged.lines.iter().map(|l| &*l.author).collect();
    assert_eq!(names, ["ann", "bob", "ann", "bob", " e\u{7}ve ", " e\u{7}ve "]);
}

#[test]
fn shared_logs_are_in_order_when_they_are_there() {
    let files = shared();
    if files.is_empty() {
        eprintln!("no chat logs in {SHARED}: nothing to read");
        return;
    }
    let lines = Log::merged(&files[..1], 2_000).unwrap().lines;
    assert!(lines.len() > 100 && lines[0].t_ms == 0 && lines.is_sorted_by_key(|line| line.t_ms));
}
