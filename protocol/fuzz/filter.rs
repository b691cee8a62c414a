//! What the fuzz target of the word filter does with its input: a list, a NUL, and a text that it judges.
//!
//! Why apart from `bodies.rs`: the protocol does not know the filter. `fuzz_targets` runs this under
//! libFuzzer, `engine/filter` in every test run.
//! Not here: where inputs come from.

use grandstand_filter::{Author, Filter, List, Scratch};

/// Any list and any text: a fault or a judgement, never a panic; spans are borders of characters, in order.
pub(crate) fn filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (list, text) = text.split_once('\0').unwrap_or(("nitwit\n*spam*\n", &text));
    let Ok(list) = List::parse("fuzzed", list) else { return };
    let (filter, mut scratch) = (Filter::of(list), Scratch::new());
    let verdict = filter.judge(filter.select("room"), text, Author::default(), &mut scratch);
    for hit in scratch.hits() {
        assert!(hit.start < hit.end && text.get(hit.start as usize..hit.end as usize).is_some());
    }
    assert!(scratch.spans().is_sorted_by(|a, b| a.1 <= b.0));
    assert!(scratch.masked(text).len() <= text.len());
    assert_eq!(filter.judge(filter.select("room"), text, Author::default(), &mut scratch), verdict);
}
