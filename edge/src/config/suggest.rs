//! Suggestions: the known name that is nearest to a mistyped one.
//!
//! Why: an unknown key is nearly always a known one with a typing error, or a field under the wrong section.
//! Invariant: there is always an answer. Among equals it is the earlier line of the table.
//! Not here: which names are known (`keys`).

use super::keys::{self, Key};

/// The key nearest to `given`, which is dotted (`ws.lisen`) or flat (`ws_lisen`, `ws-lisen`). A known field
/// under a wrong section, or without one, is one edit away.
pub(super) fn nearest(given: &str) -> &'static Key {
    let given = given.to_lowercase();
    let field = own_field(&given);
    let (whole, field) = (flat(&given), flat(field));
    let score = |key: &&Key| distance(&whole, &flat(key.name)).min(1 + distance(&field, key.field));
    keys::all().iter().min_by_key(score).expect("the table has keys")
}

/// The section nearest to `given`.
pub(super) fn nearest_section(given: &str) -> &'static str {
    let sections = keys::all().iter().map(|key| key.section);
    sections.min_by_key(|section| distance(&given.to_lowercase(), section)).expect("the table has keys")
}

/// The part after the section, if `given` has one.
fn own_field(given: &str) -> &str {
    if let Some((_, field)) = given.split_once('.') {
        return field;
    }
    let after = |key: &Key| given.strip_prefix(key.section)?.strip_prefix(['_', '-']);
    keys::all().iter().find_map(after).unwrap_or(given)
}

fn flat(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`: optimal string alignment, three rows
/// kept.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut edits = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_each_kind_of_edit_once() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("tick", "tick", 0),
            ("tick", "ticks", 1),
            ("tick", "tik", 1),
            ("tick", "tock", 1),
            ("tick", "tikc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} -> {b}");
            assert_eq!(distance(b, a), edits, "{b} -> {a}");
        }
    }

    #[test]
    fn a_slip_a_wrong_section_and_a_missing_one_are_all_understood() {
        for (given, meant) in [
            ("ws.lisen", "ws.listen"),
            ("ws.workers", "node.workers"),
            ("rooms.hartbeat_ms", "limits.heartbeat_ms"),
            ("limit.publish_per_s", "limits.publish_per_s"),
            ("WORKERS", "node.workers"),
            ("tik_ms", "rooms.tick_ms"),
            ("ws_worker", "node.workers"),
            ("quic-retry-abov", "quic.retry_above"),
            ("", "node.pin"),
        ] {
            assert_eq!(nearest(given).name, meant, "{given}");
        }
    }
}
