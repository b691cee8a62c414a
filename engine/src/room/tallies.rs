//! Tallies: reactions counted per key within one tick.
//!
//! Why: reactions arrive far faster than a screen can show them.
//! Invariants: a key appears at most once in a sealed batch, and the counts of a batch add up to the
//! reactions that came in. Reactions without a key in the batch are counted under the empty key, which no
//! reaction can have.
//!
//! The number of keys is bounded. A key beyond the bound moves the key with the lowest count, the newest
//! among equals, to the rest. So popular keys stay exact, and a client that invents keys only adds to the
//! rest.
//! Not here: rates (edge), which keys a show offers (the application).

/// The empty key: all reactions that are not counted under their own key.
pub(crate) const REST: &str = "";

/// One tick's reactions in one room.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    // Each key once; at most `keys_max`.
    counts: Vec<(Box<str>, u64)>,
    rest: u64,
}

impl Tallies {
    /// Add a count to a key.
    pub(crate) fn add(&mut self, key: Box<str>, count: u64, keys_max: usize) {
        if let Some((_, sum)) = self.counts.iter_mut().find(|(k, _)| *k == key) {
            *sum = sum.saturating_add(count);
            return;
        }
        self.counts.push((key, count));
        if self.counts.len() > keys_max {
            self.merge_least();
        }
    }

    /// Is nothing counted?
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.rest == 0
    }

    /// Take the tick's counts and clear them: the `top` highest, highest first, then the rest, if any.
    pub(crate) fn take(&mut self, top: usize) -> Vec<(Box<str>, u64)> {
        let mut counts = std::mem::take(&mut self.counts);
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let below: u64 = counts.drain(top.min(counts.len())..).fold(0, |sum, (_, n)| sum.saturating_add(n));
        let rest = std::mem::take(&mut self.rest).saturating_add(below);
        if rest > 0 {
            counts.push((REST.into(), rest));
        }
        counts
    }

    fn merge_least(&mut self) {
        let least = self.counts.iter().enumerate().rev().min_by_key(|(_, (_, n))| *n).map(|(i, _)| i);
        if let Some(i) = least {
            self.rest = self.rest.saturating_add(self.counts.swap_remove(i).1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(t: &mut Tallies, top: usize) -> Vec<(String, u64)> {
        t.take(top).into_iter().map(|(k, n)| (k.into(), n)).collect()
    }

    #[test]
    fn the_most_counted_come_first_and_the_rest_is_summed() {
        let mut t = Tallies::default();
        for (key, n) in [("a", 1), ("b", 5), ("c", 3), ("a", 1)] {
            t.add(key.into(), n, 64);
        }
        assert_eq!(taken(&mut t, 2), [("b".into(), 5), ("c".into(), 3), (String::new(), 2)]);
        assert!(t.is_empty() && taken(&mut t, 2).is_empty());
    }

    #[test]
    fn the_least_counted_is_merged_away() {
        let mut t = Tallies::default();
        for (key, n) in [("a", 2), ("b", 9), ("new", 1), ("c", 3)] {
            t.add(key.into(), n, 2);
        }
        assert_eq!(taken(&mut t, 9), [("b".into(), 9), ("c".into(), 3), (String::new(), 3)]);
    }

    proptest! {
        #[test]
        fn counts_are_conserved(adds in prop::collection::vec((0u8..30, 1u64..100), 0..200), keys_max in 1usize..10, top in 0usize..12) {
            let mut t = Tallies::default();
            for (key, n) in &adds {
                t.add(format!("k{key}").into(), *n, keys_max);
            }
            let told = t.take(top);
            prop_assert!(told.len() <= top.min(keys_max) + 1);
            let mut keys: Vec<_> = told.iter().map(|(k, _)| k).collect();
            keys.dedup();
            prop_assert_eq!(keys.len(), told.len());
            prop_assert_eq!(told.iter().map(|(_, n)| n).sum::<u64>(), adds.iter().map(|(_, n)| n).sum::<u64>());
        }
    }
}
