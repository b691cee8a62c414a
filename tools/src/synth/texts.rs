//! The texts of a generated chat: sentences of a given length, emotes, and repeats of recent texts.
//!
//! Invariant: a text that is meant to be fresh was not used within [`ECHO_MS`], so that the share of repeats
//! follows from [`ECHO`] and not from the size of the word lists.
//! Not here: the words (`words`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::arrivals::Draws;
use super::words::{EMOTES, Language, Lexicon, lexicon};
use grandstand_harness::random::Random;

/// Repeats are counted against this much of the past, as they were measured.
pub(super) const ECHO_MS: u64 = 30_000;
/// Part of the messages that say again what was just said, in calm and at the height of a burst (measured: 10
/// to 38 %).
const ECHO: f64 = 0.22;
const ECHO_HOT: f64 = 0.45;

/// Part of the fresh messages that are emotes and nothing else. Measured: 0 to 25 % of all.
const EMOTES_ONLY: f64 = 0.09;

/// Part of the other fresh messages that are whole sayings.
const SAYINGS: f64 = 0.3;

/// Deviation of the logarithm of lengths: p95 is five times the median.
const LENGTH_DEVIATION: f64 = 0.95;
/// The longest text that was measured.
const BYTES_MAX: f64 = 1500.0;

/// How many other texts are tried when one was used just before; then it is made longer until it is new.
const TRIES: usize = 4;

#[derive(Debug)]
pub(super) struct Texts {
    random: Random,
    recent: VecDeque<(u64, Arc<str>)>,
    counts: HashMap<Arc<str>, u32>,
}

impl Texts {
    pub(super) fn new(seed: u64) -> Texts {
        Texts { random: Random::new(seed), recent: VecDeque::new(), counts: HashMap::new() }
    }

    /// The next text at this time, at this heat of the room.
    pub(super) fn next_text(&mut self, now_ms: u64, language: Language, heat: f64) -> Arc<str> {
        self.forget(now_ms);
        let hot = ((heat - 1.0) / 4.0).clamp(0.0, 1.0);
        let text = if !self.recent.is_empty() && self.random.unit() < ECHO + (ECHO_HOT - ECHO) * hot {
            self.echo()
        } else {
            self.fresh(language)
        };
        *self.counts.entry(text.clone()).or_default() += 1;
        self.recent.push_back((now_ms, text.clone()));
        text
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((_, text)) = self.recent.pop_front_if(|(said_ms, _)| *said_ms + ECHO_MS < now_ms) {
            if let Some(count) = self.counts.get_mut(&text) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&text);
                }
            }
        }
    }

    /// Drawn from messages, not from texts: what many wrote is repeated by more. The shortest of three:
    /// people copy words before sentences.
    fn echo(&mut self) -> Arc<str> {
        let said = [0; 3].map(|_| &self.recent[self.random.below(self.recent.len())].1);
        said.into_iter().min_by_key(|text| text.len()).expect("three of them").clone()
    }

    fn fresh(&mut self, language: Language) -> Arc<str> {
        let lexicon = lexicon(language);
        let mut text = String::new();
        for _ in 0..TRIES {
            text = self.compose(lexicon);
            if !self.counts.contains_key(text.as_str()) {
                return text.into();
            }
        }
        while self.counts.contains_key(text.as_str()) {
            text.push_str(lexicon.space);
            text.push_str(if self.random.unit() < 0.5 {
                self.random.pick(&lexicon.tails)
            } else {
                self.random.pick(&EMOTES)
            });
        }
        text.into()
    }

    fn compose(&mut self, lexicon: &Lexicon) -> String {
        if self.random.unit() < EMOTES_ONLY {
            return self.emotes();
        }
        let wanted = lexicon.median_bytes * (LENGTH_DEVIATION * self.random.normal()).exp();
        let wanted = wanted.min(BYTES_MAX) as usize;
        if self.random.unit() < SAYINGS {
            return self.saying(lexicon, wanted);
        }
        let shortest = lexicon.subjects[0].len() + lexicon.predicates[0].len();
        if wanted < shortest * 2 / 3 { self.short(lexicon, wanted) } else { self.sentence(lexicon, wanted) }
    }

    /// Of four, the one whose length is nearest.
    fn saying(&mut self, lexicon: &Lexicon, wanted: usize) -> String {
        let drawn = [0; 4].map(|_| self.random.pick(&lexicon.sayings));
        drawn.into_iter().min_by_key(|saying| saying.len().abs_diff(wanted)).expect("four").to_owned()
    }

    fn emotes(&mut self) -> String {
        let emote = self.random.pick(&EMOTES);
        let mut text = emote.to_owned();
        while self.random.unit() < 0.45 && text.len() < 60 {
            text.push(' ');
            text.push_str(if self.random.unit() < 0.7 { emote } else { self.random.pick(&EMOTES) });
        }
        text
    }

    /// One word, as far as it fits, stretched and shouted as people do.
    fn short(&mut self, lexicon: &Lexicon, wanted: usize) -> String {
        let [a, b] = [0; 2].map(|_| self.random.pick(&lexicon.shorts));
        let mut text = if a.len().abs_diff(wanted) < b.len().abs_diff(wanted) { a } else { b }.to_owned();
        if let Some(last) = text.chars().last().filter(char::is_ascii_lowercase) {
            let more = (wanted.saturating_sub(text.len())).min(self.random.below(5));
            text.extend(std::iter::repeat_n(last, more));
        }
        match self.random.below(10) {
            0 => text = text.to_uppercase(),
            1..=3 => text.extend(std::iter::repeat_n('!', 1 + self.random.below(3))),
            4 => text.push('?'),
            _ => {}
        }
        text
    }

    /// Clauses until the wanted length is nearer than with one more.
    fn sentence(&mut self, lexicon: &Lexicon, wanted: usize) -> String {
        let mut text = self.clause(lexicon);
        loop {
            let (before, more) = match self.random.below(3) {
                0 => (lexicon.comma, self.clause(lexicon)),
                1 => (lexicon.comma, self.random.pick(&lexicon.tails).to_owned()),
                _ => (
                    if lexicon.space.is_empty() { lexicon.comma } else { lexicon.space },
                    self.random.pick(&lexicon.tails).to_owned(),
                ),
            };
            if text.len() + (before.len() + more.len()) / 2 > wanted {
                break;
            }
            if !text.ends_with(&more) {
                text.push_str(before);
                text.push_str(&more);
            }
        }
        if self.random.unit() < 0.2 {
            text.push_str(self.random.pick(&["!", "!!", "?", " 😂", " ❤", " 🎶", "..."]));
        }
        text
    }

    fn clause(&mut self, lexicon: &Lexicon) -> String {
        let (subject, predicate) =
            (self.random.pick(&lexicon.subjects), self.random.pick(&lexicon.predicates));
        format!("{subject}{}{predicate}", lexicon.space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_text_passes_the_protocols_rules() {
        for &language in Language::value_variants() {
            let mut texts = Texts::new(4);
            for n in 0..5000 {
                let text = texts.next_text(n * 100, language, 1.0 + (n % 10) as f64);
                assert!(grandstand_protocol::rules::is_text(&text), "{text:?}");
                assert!(
                    !text.trim().is_empty() && text.len() <= grandstand_protocol::limits::TEXT_BYTES_MAX,
                    "{text:?}"
                );
            }
            assert!(
                texts.counts.len() <= texts.recent.len() && texts.recent.len() <= 301,
                "the past is forgotten"
            );
        }
    }
}
