//! Tests of the rules for every word and saying.
//!
//! Not here: the bytes of the dictionary (`dictionary`).

use super::*;

#[test]
fn every_word_and_saying_is_a_text_and_is_in_its_list_once() {
    for &language in Language::value_variants() {
        let lexicon = lexicon(language);
        assert!(lexicon.sayings.len() >= 20, "{language:?}");
        let words = [&lexicon.shorts, &lexicon.subjects, &lexicon.predicates, &lexicon.tails];
        for list in words.into_iter().chain([&lexicon.sayings]) {
            assert!(list.len() >= 8, "{language:?}");
            for (at, word) in list.iter().enumerate() {
                assert!(grandstand_protocol::rules::is_name(word), "{language:?}: {word:?}");
                assert!(!list[..at].contains(word), "{language:?}: {word:?} twice");
            }
        }
    }
}
