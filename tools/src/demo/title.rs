//! The generator of the show's title and room name, from a seed.
//!
//! Invariant: a room name is easy to type: lower-case letters, digits and hyphens.

use grandstand_harness::random::Random;

/// Two lines of words: what comes first in a title, and what second.
const WORDS: &str = include_str!("title.txt");

/// A show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Title {
    /// For people: `The Midnight Kitchen, Season 2, Episode 7`.
    pub(super) text: String,
    /// For typing: `midnight-kitchen-s02e07`.
    pub(super) room: String,
}

/// The show of this seed.
pub(super) fn title(seed: u64) -> Title {
    let mut random = Random::new(seed);
    let mut word = |line: usize| {
        let words: Vec<&str> = WORDS.lines().nth(line).expect("two lines").split(' ').collect();
        words[random.below(words.len())]
    };
    let (first, second) = (word(0), word(1));
    let (season, episode) = (random.below(6) + 1, random.below(12) + 1);
    Title {
        text: format!("The {first} {second}, Season {season}, Episode {episode}"),
        room: format!("{}-{}-s{season:02}e{episode:02}", first.to_lowercase(), second.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_rooms_that_can_be_typed_and_differ_by_seed() {
        let titles: std::collections::HashSet<String> = (0..100).map(|seed| title(seed).room).collect();
        assert!(titles.len() > 80);
        assert!(
            titles
                .iter()
                .all(|room| room.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
        assert_eq!(title(3), title(3));
    }
}
