//! The rule of visible text: its vectors, and properties over every kind of character.
//!
//! Clauses: L-3, L-4, L-5, P-8. Not here: that client, edge and shard give the same verdicts (the edge's
//! tests: `verdicts`).

mod support;

use grandstand_protocol::limits::NAME_BYTES_MAX;
use grandstand_protocol::text::{Likeness, is_name, is_text, mend_name, mend_text};
use proptest::prelude::*;
use support::texts;
use unicode_normalization::UnicodeNormalization;

#[test]
fn texts_and_names_are_judged_and_mended_as_their_vectors_say() {
    for v in texts::texts() {
        let (name, s) = (v.name, &*v.string);
        assert_eq!(mend_text(s), v.text, "{name}, as a text");
        assert_eq!(is_text(s), v.text == s, "{name}, as a text");
        assert_eq!(is_name(s), v.is_name, "{name}, as a name");
        assert_eq!(mend_name(s).as_deref(), v.display.as_deref(), "{name}, as a name");
    }
}

fn is_alike(kept: &str, shown: &str) -> bool {
    let kept: Vec<Likeness> = Likeness::all_of(kept).collect();
    Likeness::is_among(shown, &kept)
}

#[test]
fn names_look_alike_as_their_vectors_say() {
    for v in texts::look_alikes() {
        assert_eq!(is_alike(v.kept, &v.shown), v.is_alike, "{}: {:?}", v.name, v.shown);
        // What is shown is what is left when the name was mended.
        if let Some(shown) = mend_name(&v.shown) {
            assert_eq!(is_alike(v.kept, &shown), v.is_alike, "{}, mended: {shown:?}", v.name);
        }
    }
}

/// Characters of every kind, the ones that depend on their neighbours above all.
fn characters() -> impl Strategy<Value = char> {
    let special = "\u{200c}\u{200d}\u{200e}\u{200f}\u{61c}\u{fe0e}\u{fe0f}\u{fe00}\u{e0100}\u{180b}\u{180e}\
        \u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e007f}\u{1f3f4}\u{301}\u{336}\u{5b0}\u{94d}\u{93e}\u{e47}\u{20e3}\
        \u{1f469}\u{1f3fd}\u{2764}\u{1f525}\u{1f1e6}\u{1f1e7}میخक葛ᠠ1a \u{3000}\n\t\r\u{85}\u{2028}\u{202e}\u{3164}\u{1100}\
        \u{1161}\u{11a8}é";
    let special: Vec<char> = special.chars().collect();
    prop_oneof![6 => proptest::sample::select(special), 1 => any::<char>(), 1 => proptest::char::range(' ', '~')]
}

fn string() -> impl Strategy<Value = String> {
    proptest::collection::vec(characters(), 0..60).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_mended_passes_and_is_not_mended_again(s in string()) {
        let text = mend_text(&s);
        prop_assert!(is_text(&text), "{text:?}");
        prop_assert_eq!(mend_text(&text), text.clone());
        prop_assert!(!is_text(&s) || text == s);
        if let Some(name) = mend_name(&s) {
            prop_assert!(is_name(&name) && name.len() <= NAME_BYTES_MAX, "{name:?}");
            prop_assert!(name.nfc().eq(name.chars()), "{name:?}");
            prop_assert!(mend_name(&name).is_some_and(|again| again == name), "{name:?}");
        }
        prop_assert!(!is_name(&s) || is_text(&s), "a name is a text");
    }

    /// Nothing that is not visible passes by being beside something else.
    #[test]
    fn what_has_no_place_never_passes(before in string(), after in string(), bad in proptest::sample::select(NOWHERE.to_vec())) {
        let s = format!("{before}{bad}{after}");
        prop_assert!(!is_text(&s) && !is_name(&s));
        prop_assert!(!mend_text(&s).contains(bad), "{:?}", s);
        prop_assert!(mend_name(&s).is_none_or(|name| !name.contains(bad)));
    }

    /// Visible letters are never lost.
    #[test]
    fn letters_stay(s in string()) {
        let letters = |s: &str| s.chars().filter(|c| c.is_ascii_alphanumeric() || "میخक葛".contains(*c)).count();
        prop_assert_eq!(letters(&mend_text(&s)), letters(&s));
    }

    #[test]
    fn a_name_is_like_itself_in_any_case_and_with_what_is_not_seen(s in string(), at in 0..60usize, unseen in proptest::sample::select(NOWHERE.to_vec())) {
        prop_assume!(s.chars().any(char::is_alphanumeric));
        prop_assert!(is_alike(&s, &s));
        let mut chars: Vec<char> = s.chars().collect();
        chars.insert(at.min(chars.len()), unseen);
        prop_assert!(is_alike(&s, &String::from_iter(chars)));
        if s.is_ascii() {
            prop_assert!(is_alike(&s, &s.to_ascii_uppercase()));
        }
    }
}

/// Characters that have no place in any text.
const NOWHERE: [char; 28] = [
    '\0',
    '\u{8}',
    '\r',
    '\u{1b}',
    '\u{7f}',
    '\u{80}',
    '\u{85}',
    '\u{9f}',
    '\u{ad}',
    '\u{34f}',
    '\u{115f}',
    '\u{200b}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2069}',
    '\u{2800}',
    '\u{3164}',
    '\u{e000}',
    '\u{fdd0}',
    '\u{feff}',
    '\u{fffe}',
    '\u{1d173}',
    '\u{e0001}',
    '\u{10ffff}',
];
