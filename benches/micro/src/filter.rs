//! A bench of the word filter: an ordinary text of 30 bytes, and one with digits for letters.
//!
//! Why here: a shard asks it for every publication of a room with lists.
//! Not here: what it finds (`cargo xtask filter`).

use std::hint::black_box;

use grandstand_filter::{Author, Filter, List, Scratch};

use crate::Bench;
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] = &[
    ("filter/30", || judge("what a goal that was tonight !", false)),
    ("filter/30/digits", || judge("th4t was a n1tw1t of a referee", true)),
];

/// Texts a round.
const TEXTS: u64 = 64;

/// A list of 1,000 words.
fn list() -> String {
    let syllables = ["ba", "ke", "lo", "mi", "nu", "pra", "que", "ros", "tiv", "zan"];
    let word =
        |n: usize| (0..3).map(|place| syllables[n / 10_usize.pow(place) % 10]).collect::<String>() + "\n";
    (0..1_000).map(word).chain(["nitwit\n".to_owned()]).collect()
}

fn judge(text: &str, is_caught: bool) -> u64 {
    let filter = Filter::of(List::parse("bench", &list()).expect("words are rules"));
    let (selection, mut scratch) = (filter.select("show"), Scratch::new());
    repeat(|meter| {
        meter.count(TEXTS, || {
            for _ in 0..TEXTS {
                let verdict = filter.judge(selection, black_box(text), Author::default(), &mut scratch);
                assert_eq!(verdict.hit.is_some(), is_caught);
            }
        });
    })
}
