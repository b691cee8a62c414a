//! The trial of `cargo xtask filter` with words of its own: what is found, what is not, and no allocation.
//!
//! Why here too: the trial with a real list and a dictionary is run by hand, and must not rot.

#[path = "../examples/figures/allocator.rs"]
mod allocator;
#[path = "../examples/figures/evasions.rs"]
mod evasions;
#[path = "../examples/figures/words.rs"]
mod words;

use grandstand_filter::{Author, Filter, List, Scratch, common_words};

fn filter() -> Filter {
    let list = words::LISTED.split_whitespace().collect::<Vec<_>>().join("\n");
    Filter::of(List::parse("house", &list).expect("the words are words"))
}

#[test]
fn every_way_of_writing_is_found_as_often_as_promised() {
    let (filter, mut scratch) = (filter(), Scratch::new());
    let words: Vec<&str> =
        words::LISTED.split_whitespace().filter(|w| w.bytes().all(|b| b.is_ascii_lowercase())).collect();
    for evasion in evasions::EVASIONS {
        let missed: Vec<String> = words
            .iter()
            .map(|word| format!("you {} now", (evasion.write)(word)))
            .filter(|text| {
                filter.judge(filter.select(""), text, Author::default(), &mut scratch).hit.is_none()
            })
            .collect();
        let found = 100.0 * (words.len() - missed.len()) as f64 / words.len() as f64;
        assert!(found >= evasion.percent_min, "{}: {found:.1} %, missed {missed:?}", evasion.name);
    }
}

#[test]
fn no_common_word_and_no_pair_of_them_is_caught() {
    let (filter, mut scratch) = (filter(), Scratch::new());
    let words: Vec<&str> = common_words().collect();
    let mut is_met =
        |text: &str| filter.judge(filter.select(""), text, Author::default(), &mut scratch).hit.is_some();
    let caught: Vec<_> = words.iter().filter(|word| is_met(word)).collect();
    assert!(caught.is_empty(), "{caught:?}");
    let pairs =
        (0..20_000).map(|n| format!("{} {}", words[n * 7 % words.len()], words[n * 131 / 7 % words.len()]));
    let caught: Vec<_> = pairs.filter(|pair| is_met(pair)).collect();
    assert!(caught.is_empty(), "{caught:?}");
}

#[test]
fn an_ordinary_text_allocates_nothing() {
    let (filter, mut scratch) = (filter(), Scratch::new());
    let texts = [
        "what a save, is it 2 to 1?",
        "that is so good lol 😂😂",
        "чё за гол",
        "今日はいい天気ですね",
        "n1tw1t b.u.f.f.o.o.n",
    ];
    let mut judge = || {
        for text in texts {
            filter.judge(filter.select(""), text, Author::default(), &mut scratch);
        }
    };
    judge();
    let before = allocator::ALLOCATIONS.get();
    judge();
    assert_eq!(allocator::ALLOCATIONS.get() - before, 0);
}
