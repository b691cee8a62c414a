//! Entities: `&amp;`, `&eacute;`, `&#233;`, each one character or as it is written.
//!
//! Why by hand: the parser resolves none, and a document's own definitions must never be expanded, so that
//! no document grows in memory. Invariant: an entity becomes at most one character, or stays as it is.
//! Not here: where a text ends (`xmltv`).

use quick_xml::escape::resolve_html5_entity;

use crate::report::{Report, Rule};

/// Characters of the longest entity's name.
const NAME_MAX: usize = 32;

/// Append what the entity of this name stands for; it stays as it is if nobody defines it.
pub(super) fn resolve(name: &str, into: &mut String, line: u64, report: &mut Report) {
    match value(name) {
        Some(value) => into.push_str(&value),
        None => {
            report.note(Rule::EntityUnknown, line, name);
            into.push('&');
            into.push_str(name);
            into.push(';');
        }
    }
}

/// A text with its entities resolved; an ampersand that begins none is itself.
pub(super) fn unescape(text: &str, line: u64, report: &mut Report) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.bytes().take(NAME_MAX).position(|b| b == b';');
        match end
            .filter(|end| *end > 0 && rest[..*end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#'))
        {
            Some(end) => {
                resolve(&rest[..end], &mut out, line, report);
                rest = &rest[end + 1..];
            }
            None => {
                report.note(Rule::AmpersandBare, line, text);
                out.push('&');
            }
        }
    }
    out.push_str(rest);
    out
}

fn value(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        // C1 codes are those of Windows-1252 in every feed that has them.
        let c = match code {
            0x80..=0x9f => encoding_rs::WINDOWS_1252.decode(&[code as u8]).0.chars().next()?,
            code => char::from_u32(code)?,
        };
        return Some(if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }.to_string());
    }
    resolve_html5_entity(name).map(str::to_owned)
}
