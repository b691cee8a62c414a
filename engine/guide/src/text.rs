//! Texts of shows: normalised titles, and how similar two shows are.
//!
//! Why by hand: a provider renames ("Film: X", "X (HD)"), merges title and sub-title, mends typing errors;
//! and 9 of 100 neighbours in a real listing have the same title.
//! Invariants: similarity is symmetric, between 0 and 1, and 1 for equal shows. Not here: times (`align`).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::model::Show;

/// Characters of a text that are compared: beyond, they change nothing.
const CHARS_MAX: usize = 120;

/// Bytes from which a description is one show's own.
const DESCRIPTION_TELLS: usize = 30;

/// Words that providers put before a title, with a colon or a dash.
const BEFORE: [&str; 8] = ["new", "live", "film", "movie", "premiere", "repeat", "neu", "nouveau"];

/// A title without what providers add to it: case, marks, punctuation, `New:`, `(HD)`, `(2019)`.
pub fn normalise(title: &str) -> String {
    let folded: String = title
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .take(4 * CHARS_MAX)
        .collect();
    let folded = folded.replace('ß', "ss").replace('ς', "σ");
    let mut rest = folded.trim();
    while let Some(shorter) = BEFORE.iter().find_map(|word| {
        let after = rest.strip_prefix(word)?.trim_start();
        after.strip_prefix([':', '-', '–']).map(str::trim_start).filter(|after| !after.is_empty())
    }) {
        rest = shorter;
    }
    let mut out = String::with_capacity(rest.len());
    let mut chars = rest;
    while let Some(c) = chars.chars().next() {
        if matches!(c, '(' | '[')
            && let Some((inside, after)) = chars[1..].split_once([')', ']'])
            && is_addition(inside.trim())
            && !(out.trim().is_empty() && after.trim().is_empty())
        {
            chars = after;
            continue;
        }
        chars = &chars[c.len_utf8()..];
        match c {
            '&' => out.push_str(" and "),
            '\'' | '’' | '`' | '´' => {}
            c if c.is_alphanumeric() => out.push(c),
            _ => out.push(' '),
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}

/// What stands in brackets after a title and is no part of it.
fn is_addition(inside: &str) -> bool {
    let is_year = inside.len() == 4 && inside.bytes().all(|b| b.is_ascii_digit());
    is_year
        || matches!(
            inside,
            "hd" | "uhd" | "4k" | "r" | "s" | "ad" | "sl" | "new" | "live" | "repeat" | "hdtv" | "cc"
        )
}

/// A show, prepared for comparison.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    title: String,
    others: Vec<String>,
    sub_title: String,
    whole: String,
    episode: String,
    provider: String,
    description: String,
}

impl Prepared {
    /// Prepare a show.
    pub fn new(show: &Show) -> Prepared {
        let (title, sub_title) = (normalise(&show.title), normalise(&show.sub_title));
        let whole = format!("{title} {sub_title}").trim().to_owned();
        let description: Vec<&str> = show.description.split_whitespace().collect();
        Prepared {
            others: show.other_titles.iter().map(|title| normalise(title)).collect(),
            whole,
            title,
            sub_title,
            episode: show.episode.clone(),
            provider: if names_an_episode(&show.provider) { show.provider.clone() } else { String::new() },
            description: description.join(" ").chars().take(CHARS_MAX).collect(),
        }
    }

    /// Whether nothing tells the two apart.
    pub fn is_equal(&self, other: &Prepared) -> bool {
        self.whole == other.whole
            && self.episode == other.episode
            && (self.provider.is_empty() || other.provider.is_empty() || self.provider == other.provider)
            && (self.description.is_empty()
                || other.description.is_empty()
                || self.description == other.description)
    }

    /// Whether both have one title, as far as providers write it the same.
    pub fn is_called_like(&self, other: &Prepared) -> bool {
        self.whole == other.whole || self.has_title_of(other)
    }

    /// Whether both have one description, which is long enough to tell.
    pub fn is_described_like(&self, other: &Prepared) -> bool {
        self.description.len() >= DESCRIPTION_TELLS && self.description == other.description
    }

    /// Whether both have descriptions, of different things.
    fn is_described_otherwise(&self, other: &Prepared) -> bool {
        let tells = self.description.len().min(other.description.len()) >= DESCRIPTION_TELLS;
        tells && ratio(&self.description, &other.description) < 0.5
    }

    /// Whether titles or sub-titles share a word of some length.
    pub fn shares_a_word(&self, other: &Prepared) -> bool {
        let is_long = |word: &&str| word.chars().count() >= 4;
        self.whole.split(' ').filter(is_long).any(|word| other.whole.split(' ').any(|other| other == word))
    }

    fn has_title_of(&self, other: &Prepared) -> bool {
        self.title == other.title || self.others.contains(&other.title) || other.others.contains(&self.title)
    }
}

/// `SH...` names a series, and so does `EP....0000`.
pub(crate) fn names_an_episode(provider: &str) -> bool {
    let names_a_series =
        provider.starts_with("SH") || provider.starts_with("EP") && provider.ends_with("0000");
    !(provider.is_empty() || names_a_series)
}

/// How similar two shows are, from 0 to 1.
pub fn similarity(a: &Prepared, b: &Prepared) -> f32 {
    if !a.provider.is_empty() && a.provider == b.provider {
        return 1.0;
    }
    let episodes = compare_episodes(&a.episode, &b.episode);
    if episodes == Some(false) {
        return 0.0;
    }
    let is_one_episode = episodes == Some(true) && a.has_title_of(b);
    if is_one_episode || a.whole == b.whole {
        // Two of one name are told apart by what happens in them.
        return if is_one_episode || !a.is_described_otherwise(b) { 1.0 } else { 0.9 };
    }
    if a.has_title_of(b) {
        if a.sub_title.is_empty() || b.sub_title.is_empty() {
            return if a.is_described_otherwise(b) { 0.8 } else { 0.9 };
        }
        return 0.3 + 0.6 * ratio(&a.sub_title, &b.sub_title);
    }
    let similar = 0.8 * ratio(&a.whole, &b.whole);
    if similar > 0.3 && a.is_described_otherwise(b) { 0.8 * similar } else { similar }
}

/// Whether two numbers are of one episode; `None` when that is not known. A part that is missing in one of
/// them says nothing.
fn compare_episodes(a: &str, b: &str) -> Option<bool> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let mut is_told = false;
    for (n, (a, b)) in a.split('.').zip(b.split('.')).enumerate() {
        if a.is_empty() || b.is_empty() {
            continue;
        }
        if a != b {
            return Some(false);
        }
        is_told |= n == 1;
    }
    is_told.then_some(true)
}

/// The share of two texts that is common to both in one order: twice the length of the longest common
/// substring, and of those to its left and right, over the sum of lengths (Ratcliff and Obershelp 1988).
pub fn ratio(a: &str, b: &str) -> f32 {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(CHARS_MAX).collect(), b.chars().take(CHARS_MAX).collect());
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    // Ties are cut the same way whichever comes first.
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    let mut common = 0;
    let mut row = vec![0_u8; b.len() + 1];
    let mut parts = vec![(0, a.len(), 0, b.len())];
    while let Some((a0, a1, b0, b1)) = parts.pop() {
        let (mut best, mut at) = (0, (0, 0));
        row[b0..=b1].fill(0);
        for (i, left) in a.iter().enumerate().take(a1).skip(a0) {
            let mut diagonal = 0;
            for (j, right) in b.iter().enumerate().take(b1).skip(b0) {
                let length = if left == right { diagonal + 1 } else { 0 };
                diagonal = std::mem::replace(&mut row[j + 1], length);
                if length > best {
                    best = length;
                    at = (i + 1 - length as usize, j + 1 - length as usize);
                }
            }
        }
        if best > 0 {
            let length = best as usize;
            common += length;
            parts.push((a0, at.0, b0, at.1));
            parts.push((at.0 + length, a1, at.1 + length, b1));
        }
    }
    2.0 * common as f32 / (a.len() + b.len()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_providers_add_to_a_title_changes_nothing() {
        for written in [
            "The Chase",
            "New: The Chase",
            "THE CHASE (HD)",
            "Live: New: The Chase (2019) [AD]",
            "The Chäse!",
        ] {
            assert_eq!(normalise(written), "the chase", "{written}");
        }
        assert_eq!(normalise("Tom & Jerry"), normalise("Tom and Jerry"));
        assert_eq!(normalise("Rick Stein's Cornwall"), normalise("Rick Stein’s Cornwall"));
        assert_eq!(normalise("(2019)"), "2019", "a title stays something");
        assert_eq!(normalise("News: "), "news");
    }

    fn show(title: &str, sub_title: &str, episode: &str) -> Prepared {
        let (title, sub_title, episode) = (title.into(), sub_title.into(), episode.into());
        Prepared::new(&Show { title, sub_title, episode, ..Show::default() })
    }

    #[test]
    fn episodes_of_one_series_are_apart_and_one_episode_is_itself() {
        assert_eq!(similarity(&show("A", "x", "1.2."), &show("A", "x", "1.3.")), 0.0);
        assert_eq!(similarity(&show("A", "x", ""), &show("A", "x", "1.3.")), 1.0);
        assert!((similarity(&show("A", "x", ""), &show("A", "", "")) - 0.9).abs() < 1e-6);
        assert!(similarity(&show("Holby City", "", ""), &show("Gardeners' World", "", "")) < 0.45);
        assert!(
            similarity(
                &show("Midsomer Murders", "The Killings", ""),
                &show("Midsomer Murders: The Killings", "", "")
            ) >= 1.0
        );
    }

    #[test]
    fn a_series_id_names_no_episode() {
        assert!(names_an_episode("EP01234567.0005") && names_an_episode("MV001"));
        assert!(
            !names_an_episode("SH01234567.0000")
                && !names_an_episode("EP012345670000")
                && !names_an_episode("")
        );
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_and_within_bounds(a in "[a-c ]{0,12}", b in "[a-c ]{0,12}", s in "[xy]{0,3}", t in "[xy]{0,3}") {
            let (one, two) = (show(&a, &s, ""), show(&b, &t, ""));
            let there = similarity(&one, &two);
            prop_assert!((0.0..=1.0).contains(&there));
            prop_assert_eq!(there, similarity(&two, &one));
            prop_assert_eq!(similarity(&one, &one), 1.0);
        }
    }
}
