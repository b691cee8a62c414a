//! Zones in stamps: offsets, names of the IANA database, and the abbreviations of XMLTV's own tools.
//!
//! Why a table: the document type of XMLTV allows names ("BST" is +0100 there), and feeds use them.
//! Invariant: an abbreviation has one meaning, the one that XMLTV's grabbers have; others are unknown.
//! Not here: what becomes of an unknown zone (`time`).

use jiff::tz::TimeZone;

pub(super) enum Named {
    /// Seconds east of Greenwich.
    Offset(i64),
    Zone(TimeZone),
}

/// Abbreviations, with minutes east of Greenwich.
const ABBREVIATIONS: &[(&str, i64)] = &[
    ("Z", 0),
    ("UT", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("MET", 60),
    ("MEZ", 60),
    ("CEST", 120),
    ("MEST", 120),
    ("MESZ", 120),
    ("EET", 120),
    ("SAST", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("TRT", 180),
    ("IST", 330),
    ("SGT", 480),
    ("HKT", 480),
    ("AWST", 480),
    ("JST", 540),
    ("KST", 540),
    ("ACST", 570),
    ("ACDT", 630),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("NST", -210),
    ("NDT", -150),
    ("AST", -240),
    ("ADT", -180),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("BRT", -180),
];

pub(super) fn named(text: &str) -> Option<Named> {
    if let Some(seconds) = offset(text) {
        return Some(Named::Offset(seconds));
    }
    let is_it = |(name, _): &&(&str, i64)| name.eq_ignore_ascii_case(text);
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(is_it) {
        return Some(Named::Offset(minutes * 60));
    }
    // Without a slash it would be one of the database's own abbreviations, which mean something else.
    text.contains('/').then(|| TimeZone::get(text).ok().map(Named::Zone))?
}

/// `+0100`, `+01:00`, `+01`, `-0330`: seconds east of Greenwich.
pub(super) fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = rest.replacen(':', "", 1);
    let is_whole = matches!(digits.len(), 1 | 2 | 4) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = is_whole.then(|| digits.parse().ok())??;
    let (hours, minutes) = if digits.len() == 4 { (number / 100, number % 100) } else { (number, 0) };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}
