//! Malformed documents: a generator for each kind, what must come of it, and a trial that imports them all.
//!
//! Why generated: the kinds are what counts, and they are a few bytes each as code.
//! Invariant: each ends with a report that names a rule or a reason; none panics, none is unbounded.
//! Not here: edits that are well-formed (`edits`).

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use grandstand_guide::store::Guide;
use grandstand_guide::{Import, Options, Report, Unused};

/// A kind: its name, its bytes, and what its report must name: a rule, or a part of the reason.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) told: &'static str,
}

fn programme(attributes: &str, inside: &str) -> String {
    format!("<programme {attributes} channel=\"c\">{inside}</programme>")
}

fn good(hour: u32) -> String {
    programme(
        &format!("start=\"202603010{hour}0000 +0000\" stop=\"202603010{hour}3000 +0000\""),
        "<title>Good</title>",
    )
}

fn document(inside: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?>\n<tv><channel id=\"c\"><display-name>C</display-name></channel>\n{inside}\n{}\n</tv>", good(9))
        .into_bytes()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// All kinds.
pub(crate) fn kinds() -> Vec<Kind> {
    let titled = "<title>T</title>";
    let times = "start=\"20260301060000\" stop=\"20260301070000\"";
    let mut kinds = Vec::new();
    let mut add = |name, bytes, told| kinds.push(Kind { name, bytes, told });
    add("empty", Vec::new(), "empty");
    add("only white space", b" \n\t ".to_vec(), "empty");
    add("no listing", b"HTTP/1.1 502 Bad Gateway".to_vec(), "neither XML nor JSON");
    add("a page of HTML", b"<!doctype html><html><body><p>Log in<br></body></html>".to_vec(), "no programme");
    add("a document without programmes", b"<?xml version=\"1.0\"?><tv></tv>".to_vec(), "no programme");
    add("a zip file", b"PK\x03\x04aaaaaaaaaaaaaaaaaa".to_vec(), "zip");
    add("gzip that is cut", gzip(&document(&good(1).repeat(200)))[..60].to_vec(), "cannot be used");
    add(
        "gzip with a wrong byte",
        {
            let mut packed = gzip(&document(&good(1)));
            let at = packed.len() / 2;
            packed[at] ^= 0x55;
            packed
        },
        "cannot be used",
    );
    add("xz that is cut", b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F".to_vec(), "cannot be used");
    add("a bomb", gzip(&[&document("")[..60], &b"<a/>".repeat(10 << 20)[..]].concat()), "compressed byte");
    add(
        "an attribute of 3 MB",
        document(&programme(&format!("{times} x=\"{}\"", "y".repeat(3 << 20)), titled)),
        "without the end of a tag",
    );
    add(
        "a text of 3 MB",
        document(&programme(times, &format!("<title>{}</title>", "y".repeat(3 << 20)))),
        "without the end of a tag",
    );
    add("50,000 tags within each other", document(&"<a>".repeat(50_000)), "");
    add(
        "300 tags in a programme",
        document(&programme(times, &format!("{titled}{}", "<a>".repeat(300)))),
        "too_deep",
    );
    add("a title that is not closed", document(&programme(times, "<title>T")), "tags_crossed");
    add("crossed tags", document(&programme(times, "<title>T<desc>x</title></desc>")), "tags_crossed");
    add(
        "a programme that is not closed",
        document(&format!("<programme {times} channel=\"c\">{titled}{}", good(2))),
        "tags_crossed",
    );
    add("the end is missing", document("")[..120].to_vec(), "document_cut");
    add("bare ampersands in attributes", document("<channel id=\"a&b\"/>"), "ampersand_bare");
    add(
        "an entity that nobody defines",
        document(&programme(times, "<title>A &foo; B</title>")),
        "entity_unknown",
    );
    add(
        "a billion laughs",
        format!(
            "<?xml version=\"1.0\"?><!DOCTYPE tv [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\"><!ENTITY x SYSTEM \"file:///etc/passwd\">]>\
             <tv>{}</tv>",
            programme(times, "<title>&b;&x;</title>")
        )
        .into_bytes(),
        "entity_unknown",
    );
    add(
        "bytes that are not UTF-8",
        {
            let mut bytes = document(&programme(times, "<title>Caf# noir</title>"));
            let at = bytes.iter().position(|b| *b == b'#').unwrap();
            bytes[at] = 0xe9;
            bytes
        },
        "bytes_replaced",
    );
    add(
        "an unknown encoding",
        b"<?xml version=\"1.0\" encoding=\"martian\"?><tv></tv>".to_vec(),
        "encoding_unknown",
    );
    add("no start", document(&programme("stop=\"20260301070000\"", titled)), "start_unreadable");
    add(
        "a start that is no time",
        document(&programme("start=\"20261399250000\"", titled)),
        "start_unreadable",
    );
    add(
        "an endless start",
        document(&programme(&format!("start=\"{}\"", "9".repeat(5_000)), titled)),
        "start_unreadable",
    );
    add(
        "a start of the year 9999",
        document(&programme("start=\"99991231235959 +0000\"", titled)),
        "start_unreadable",
    );
    add(
        "a stop that is no time",
        document(&programme("start=\"20260301060000\" stop=\"later\"", titled)),
        "stop_unreadable",
    );
    add(
        "a stop before its start",
        document(&programme("start=\"20260301060000\" stop=\"20260301050000\"", titled)),
        "stop_before_start",
    );
    add(
        "a programme of a month",
        document(&programme("start=\"20260301060000\" stop=\"20260401060000\"", titled)),
        "too_long",
    );
    add(
        "an unknown zone",
        document(&programme("start=\"20260301060000 MARS\" stop=\"20260301063000 +9900\"", titled)),
        "zone_unknown",
    );
    add("no title", document(&programme(times, "<title> </title><desc>x</desc>")), "title_missing");
    add(
        "no channel",
        document("<programme start=\"20260301060000\"><title>T</title></programme>"),
        "channel_id_invalid",
    );
    add(
        "a channel of 10,000 letters",
        document(&format!("<channel id=\"{}\"/>", "c".repeat(10_000))),
        "channel_without_id",
    );
    add(
        "an undeclared channel",
        document("<programme start=\"20260301060000\" channel=\"d\"><title>T</title></programme>"),
        "channel_undeclared",
    );
    add(
        "a channel twice",
        document("<channel id=\"c\"><display-name>D</display-name></channel>"),
        "channel_twice",
    );
    add(
        "no length",
        document(&programme("start=\"20260301060000\" stop=\"20260301060000\"", titled)),
        "length_zero",
    );
    add("a line twice", document(&good(1).repeat(2)), "duplicate");
    add("control characters", document(&programme(times, "<title>A&#27;[2J&#0;B</title>")), "");
    add(
        "11,000 programmes at one time",
        document(
            &(0..11_000)
                .fold(String::new(), |all, n| all + &programme(times, &format!("<title>T{n}</title>"))),
        ),
        "too_many_of_channel",
    );
    add("JSON that is cut", b"[{\"stationId\":\"1\",\"airings\":[{".to_vec(), "no listing");
    add("JSON 5,000 deep", "[".repeat(5_000).into_bytes(), "no listing");
    add("JSON of something else", b"{\"error\":{\"code\":4003}}".to_vec(), "no programme");
    kinds
}

/// Import a document into an empty guide. The report, and whether it has what `told` names.
pub(crate) fn import(bytes: &[u8], told: &str) -> (Report, bool) {
    let mut guide = Guide::temporary().unwrap();
    let mut report = Report::new("trial", 0);
    let options = Options { source: "trial".into(), ..Options::default() };
    let _ = Import { guide: &mut guide, rooms: &Unused, now: 0, progress: None }.run(
        bytes,
        &options,
        &mut report,
    );
    let is_told = report.rules.contains_key(told) || report.reason.contains(told);
    let is_ended = ["applied", "unchanged", "refused", "failed"].contains(&report.result.as_str());
    (report, is_told && is_ended)
}
