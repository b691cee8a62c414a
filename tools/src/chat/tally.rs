//! Counts of the last seconds' reactions, for the live bar.
//!
//! Invariant: it keeps nothing older than [`WINDOW_S`], and at most [`KEYS_MAX`] keys, because strangers
//! choose them.
//! Not here: drawing (`screen`).

use super::clean::clean;

/// Seconds of reactions that are shown.
pub(super) const WINDOW_S: usize = 8;
/// Most reactions that are counted; fewer fit on a line.
const KEYS_MAX: usize = 64;

/// One reaction: its counts, oldest second first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reaction {
    pub(super) key: Box<str>,
    pub(super) seconds: [u64; WINDOW_S],
}

impl Reaction {
    pub(super) fn total(&self) -> u64 {
        self.seconds.iter().sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    now_s: u64,
    reactions: Vec<Reaction>,
}

impl Tally {
    pub(super) fn add(&mut self, now_ms: u64, key: &str, count: u64) {
        self.handle_time(now_ms);
        let key = clean(key);
        let at = match self.reactions.iter().position(|r| *r.key == key) {
            Some(at) => at,
            None if self.reactions.len() < KEYS_MAX => {
                self.reactions.push(Reaction { key: key.into(), seconds: [0; WINDOW_S] });
                self.reactions.len() - 1
            }
            None => return,
        };
        self.reactions[at].seconds[WINDOW_S - 1] += count;
    }

    /// Advance the time.
    pub(super) fn handle_time(&mut self, now_ms: u64) {
        let steps = (now_ms / 1000).saturating_sub(self.now_s).min(WINDOW_S as u64) as usize;
        self.now_s = self.now_s.max(now_ms / 1000);
        for reaction in &mut self.reactions {
            reaction.seconds.rotate_left(steps);
            reaction.seconds[WINDOW_S - steps..].fill(0);
        }
        if steps > 0 {
            self.reactions.retain(|reaction| reaction.total() > 0);
        }
    }

    /// The reactions, the most frequent first.
    pub(super) fn top(&self) -> Vec<&Reaction> {
        let mut top: Vec<&Reaction> = self.reactions.iter().collect();
        top.sort_by_key(|reaction| std::cmp::Reverse(reaction.total()));
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactions_add_up_move_on_and_are_forgotten() {
        let mut tally = Tally::default();
        tally.add(1000, "❤", 3);
        tally.add(1500, "❤", 2);
        tally.add(2100, "👏", 9);
        tally.add(2200, "❤", 1);
        let shown: Vec<_> = tally.top().iter().map(|r| (&*r.key, r.total())).collect();
        assert_eq!(shown, [("👏", 9), ("❤", 6)]);
        assert_eq!(tally.top()[1].seconds[WINDOW_S - 2..], [5, 1]);
        tally.handle_time(9100);
        let shown: Vec<_> = tally.top().iter().map(|r| (&*r.key, r.total())).collect();
        assert_eq!(shown, [("👏", 9), ("❤", 1)]);
        tally.handle_time(3_000_000);
        assert!(tally.top().is_empty());
    }

    #[test]
    fn strangers_cannot_fill_the_bar_without_bound() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.add(0, &format!("\u{1b}[{n}m"), 1);
        }
        assert_eq!(tally.top().len(), KEYS_MAX);
        assert!(tally.top().iter().all(|r| !r.key.contains('\u{1b}')));
    }
}
