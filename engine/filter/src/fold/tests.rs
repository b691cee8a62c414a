//! Tests of folding: the table against Unicode's own data, and what must stay.
//!
//! Why against the data: a table that is wrong in one row misses one word, and nobody notices.

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

fn folded(text: &str) -> String {
    let (mut units, mut turned) = (Vec::new(), Vec::new());
    fold(text, &mut units, &mut turned);
    units.iter().map(|unit| unit.c).collect()
}

#[test]
fn the_table_is_in_order_and_folds_to_letters() {
    assert!(FOLDS.is_sorted_by(|a, b| a.0 < b.0));
    assert!(FOLDS.iter().all(|(c, letter)| *c > 0x7f && letter.is_ascii_lowercase()));
    assert!(FOLDS.len() > 500, "{} look-alikes", FOLDS.len());
}

/// What is not in the table folds to its decomposition in lower case, without the marks of some blocks.
#[test]
fn every_character_folds_as_unicode_decomposes_it() {
    for c in ('\0'..=char::MAX).filter(|&c| look_alike(c).is_none() && !hidden_or_mark(c)) {
        let is_own = matches!(c, '\u{ac00}'..='\u{d7a3}' | '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ffa0}'..='\u{ffdc}')
            || ('\u{3200}'..='\u{32ff}').contains(&c);
        if is_own {
            continue;
        }
        let wanted: String = std::iter::once(c)
            .nfkd()
            .filter(|&c| !hidden_or_mark(c))
            .flat_map(|c| {
                look_alike(c)
                    .map_or_else(|| c.to_lowercase().collect::<String>(), String::from)
                    .chars()
                    .collect::<Vec<_>>()
            })
            .filter(|&c| !hidden_or_mark(c))
            .map(|c| hiragana(look_alike(c).unwrap_or(c)))
            .collect();
        assert_eq!(folded(&c.to_string()), wanted, "U+{:04x}", c as u32);
    }
}

/// But for Greek, whose capitals look like other letters than the small ones: lists have both forms of a
/// word.
#[test]
fn upper_and_lower_case_fold_alike() {
    let is_greek = |c| matches!(c, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}');
    for c in ('\0'..=char::MAX).filter(|&c| !is_greek(c)) {
        let lower: String = c.to_lowercase().collect();
        assert_eq!(folded(&lower), folded(&c.to_string()), "U+{:04x}", c as u32);
    }
}

#[test]
fn ways_of_writing_a_word_fold_to_it() {
    for text in [
        "ＦＵＮ",
        "𝐟𝐮𝐧",
        "ⓕⓤⓝ",
        "🅵🆄🅽",
        "🇫🇺🇳",
        "f\u{200b}u\u{ad}n\u{fe0f}",
        "fün",
        "fμη",
        "f\u{301}u\u{20dd}n",
        "⒡⒰⒩",
    ] {
        assert_eq!(folded(text), "fun", "{text}");
    }
    assert_eq!(folded("ｶﾞｷﾞ カタ"), "か\u{3099}き\u{3099} かた");
    assert_eq!(folded("\u{1112}\u{1161}\u{11ab}ᄀ\u{1161} ㅎㅏ"), "한가 하");
}

/// Marks make other letters in these scripts (SHOW.md 1c, trap 2).
#[test]
fn marks_of_other_scripts_stay() {
    for text in ["が", "ہَ", "ที่", "שָׁ", "कि"] {
        let bare: String = text.nfd().filter(|&c| !is_combining_mark(c)).collect();
        assert_ne!(folded(text), folded(&bare), "{text}");
    }
}

/// The skeleton of UTS #39 takes `m` for `rn` (trap 1): ASCII letters are themselves.
#[test]
fn ascii_is_itself() {
    let all: String = (' '..='~').collect();
    assert_eq!(folded(&all), all.to_lowercase());
}

proptest! {
    #[test]
    fn folding_is_idempotent_and_places_are_borders(text in "\\PC{0,60}") {
        let (mut units, mut turned) = (Vec::new(), Vec::new());
        fold(&text, &mut units, &mut turned);
        for unit in &units {
            prop_assert!(unit.start < unit.end);
            prop_assert!(text.is_char_boundary(unit.start as usize) && text.is_char_boundary(unit.end as usize));
        }
        prop_assert!(units.is_sorted_by_key(|unit| unit.start));
        let once = folded(&text);
        prop_assert_eq!(folded(&once), once);
    }
}
