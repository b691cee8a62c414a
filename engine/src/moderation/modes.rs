//! Modes of a room: what moderators ask of every publication while a mode is on.
//!
//! Why keys of the state: viewers see them, so that a client can say beforehand what the room takes, and they
//! come back with the state by every path.
//! Invariants: a mode that is off costs nothing. Moderators and bridges are exempt from all. The memory of
//! texts is bounded in number and time.
//! Not here: slow mode (`room::slow_mode`), people who are held (`people`).

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use foldhash::quality::FixedState;
use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;

use crate::link::Publication;

/// State key: `1` if only subscribers, moderators, hosts and programs may speak.
pub(crate) const SUBSCRIBERS_ONLY_KEY: &str = "gs.subscribers_only";
/// State key: `1` if only emotes may be said.
pub(crate) const EMOTES_ONLY_KEY: &str = "gs.emotes_only";
/// State key: `1` if links and attachments are refused.
pub(crate) const LINKS_OFF_KEY: &str = "gs.links_off";
/// State key: `1` if a text that was said in the last half minute is refused.
pub(crate) const NO_REPEATS_KEY: &str = "gs.no_repeats";

/// The keys of all modes.
pub(crate) const KEYS: [&str; 4] = [SUBSCRIBERS_ONLY_KEY, EMOTES_ONLY_KEY, LINKS_OFF_KEY, NO_REPEATS_KEY];

/// How long a text is remembered.
const REPEATS_US: u64 = 30_000_000;

/// How many texts are remembered: what a busy room says in half a minute.
const REPEATS_MAX: usize = 4096;

/// Texts of at most this many bytes may be repeated: greetings, laughter and numbers.
const SHORT_BYTES: usize = 8;

/// Is this a value of a mode's key?
pub(crate) fn is_value(value: &[u8]) -> bool {
    matches!(value, b"0" | b"1")
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    subscribers_only: bool,
    emotes_only: bool,
    links_off: bool,
    no_repeats: bool,
    said: VecDeque<(u64, u64)>,
}

impl Modes {
    /// What the state says; `None`: no mode is on.
    pub(crate) fn of<'a>(state: impl Iterator<Item = (&'a str, &'a Bytes)>) -> Option<Box<Modes>> {
        let mut modes = Modes::default();
        for (key, value) in state {
            let is_on = value.as_ref() == b"1";
            match key {
                SUBSCRIBERS_ONLY_KEY => modes.subscribers_only = is_on,
                EMOTES_ONLY_KEY => modes.emotes_only = is_on,
                LINKS_OFF_KEY => modes.links_off = is_on,
                NO_REPEATS_KEY => modes.no_repeats = is_on,
                _ => {}
            }
        }
        let is_on = modes.subscribers_only || modes.emotes_only || modes.links_off || modes.no_repeats;
        is_on.then(|| Box::new(modes))
    }

    /// Why the room does not take a publication now.
    pub(crate) fn refuse(&mut self, p: &Publication, now_us: u64) -> Option<Refusal> {
        if p.exempt {
            return None;
        }
        if self.subscribers_only && p.role == Role::Viewer {
            return Some(Refusal::SubscribersOnly);
        }
        if self.emotes_only && !(is_of_emotes(&p.text) && p.attachment.is_empty()) {
            return Some(Refusal::EmotesOnly);
        }
        if self.links_off && (!p.attachment.is_empty() || has_link(&p.text)) {
            return Some(Refusal::LinksOff);
        }
        self.repeats(&p.text, now_us).then_some(Refusal::Repeats)
    }

    /// Was this text said a moment ago?
    fn repeats(&self, text: &str, now_us: u64) -> bool {
        let is_counted = self.no_repeats && text.len() > SHORT_BYTES;
        is_counted && {
            let number = number_of(text);
            self.said.iter().rev().any(|&(of, us)| of == number && us + REPEATS_US > now_us)
        }
    }

    /// The publication was accepted.
    pub(crate) fn note(&mut self, p: &Publication, now_us: u64) {
        if !self.no_repeats || p.text.len() <= SHORT_BYTES {
            return;
        }
        while self.said.len() >= REPEATS_MAX
            || self.said.front().is_some_and(|&(_, us)| us + REPEATS_US <= now_us)
        {
            self.said.pop_front();
        }
        self.said.push_back((number_of(&p.text), now_us));
    }
}

/// The same number for texts that differ in case, spaces and marks alone.
fn number_of(text: &str) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    let mut buffer = [0; 4];
    for c in text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase) {
        hasher.write(c.encode_utf8(&mut buffer).as_bytes());
    }
    hasher.finish()
}

/// Does a text hold an address that a client would make a link of?
fn has_link(text: &str) -> bool {
    let is_link = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains("://")
            || word.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("www."))
            || is_host(word)
    };
    text.split_whitespace().any(is_link)
}

/// Is a word a host's name, alone or with a path: labels, a dot, and a last label of letters?
fn is_host(word: &str) -> bool {
    let host = word.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    let Some((labels, last)) = host.rsplit_once('.') else { return false };
    let is_known =
        ["com", "net", "org", "gg", "io", "tv", "co", "me", "ru", "de", "uk", "xyz", "info", "link"];
    let is_last = is_known.iter().any(|known| last.eq_ignore_ascii_case(known))
        || (host.len() < word.len() && last.len() >= 2 && last.chars().all(char::is_alphabetic));
    is_last && labels.split('.').all(is_label)
}

/// Is a text made of emoji and of names between colons?
fn is_of_emotes(text: &str) -> bool {
    let is_name = |word: &str| {
        let name = word.strip_prefix(':').and_then(|word| word.strip_suffix(':'));
        name.is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
        })
    };
    let is_emoji = |c: char| {
        matches!(u32::from(c),
            0x200d | 0xfe0f | 0x20e3 | 0x203c | 0x2049 | 0x2122 | 0x2139 | 0x2190..=0x21ff | 0x2300..=0x23ff
            | 0x24c2 | 0x25a0..=0x27bf | 0x2900..=0x297f | 0x2b00..=0x2bff | 0x3030 | 0x303d | 0x3297 | 0x3299
            | 0x1f000..=0x1faff | 0xe0020..=0xe007f)
    };
    let mut words = text.split_whitespace().peekable();
    words.peek().is_some() && words.all(|word| is_name(word) || word.chars().all(is_emoji))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_sentences_are_not() {
        for link in [
            "see https://a.example/x",
            "HTTP://x",
            "www.site.zz",
            "go to spam.gg now",
            "(evil.com)",
            "a.b.co/x?y",
            "read example.museum/page",
            "WWW.SITE.ZZ",
            "x.ru!",
        ] {
            assert!(has_link(link), "{link}");
        }
        for text in
            ["", "hello.", "wait...what", "3.14", "e.g. this", "no.really", "a/b", "12:30", "v1.2.3", "U.S."]
        {
            assert!(!has_link(text), "{text}");
        }
    }

    #[test]
    fn emotes_are_emoji_and_names() {
        for emotes in ["😀", ":wave:", "👍🏽 :party_parrot: ❤️", "👨‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
        {
            assert!(is_of_emotes(emotes), "{emotes}");
        }
        for text in ["", " ", "hi 😀", ":", "::", ":a b:", "1", "😀!"] {
            assert!(!is_of_emotes(text), "{text:?}");
        }
    }

    #[test]
    fn texts_that_differ_in_case_and_marks_are_the_same() {
        assert_eq!(number_of("Buy NOW!!"), number_of("buy  now"));
        assert_ne!(number_of("buy now"), number_of("buy cow"));
    }
}
