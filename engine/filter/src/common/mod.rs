//! Common words: English words that everybody knows, in lower case.
//!
//! Why: two words in a row are a term that was cut in two only if a reader knows them not both: "pen is" is
//! none. And a list that catches one of these words catches everybody.
//! Invariant: sorted, no word twice (a test holds it).
//! Not here: words of other languages: lists for them name their own exceptions.

/// The words, looked up by their letters.
pub(crate) struct Common(Box<[&'static str]>);

const WORDS: &str = include_str!("words.txt");

/// All of them.
pub fn common_words() -> impl Iterator<Item = &'static str> {
    WORDS.split_whitespace()
}

impl Common {
    pub(crate) fn new() -> Common {
        Common(common_words().collect())
    }

    /// Is this a common word?
    pub(crate) fn has(&self, letters: &(impl Iterator<Item = char> + Clone)) -> bool {
        self.0.binary_search_by(|word| word.chars().cmp(letters.clone())).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_and_found() {
        let words: Vec<_> = common_words().collect();
        assert!(words.is_sorted_by(|a, b| a < b), "sort them");
        let common = Common::new();
        assert!(words.iter().all(|word| common.has(&word.chars())));
        assert!(!common.has(&"grandstand".chars()) && !common.has(&"".chars()));
    }
}
