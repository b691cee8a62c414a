//! Alignment, and properties over any two schedules.
//!
//! Why properties: a rule that holds for edits that somebody thought of says little about those of a
//! provider.

use proptest::prelude::*;

use super::*;
use crate::model::Show;

fn entry(start: i64, minutes: i64, title: &str, sub_title: &str) -> Entry {
    let show = Show { title: title.into(), sub_title: sub_title.into(), ..Show::default() };
    Entry { start, stop: start + 60 * minutes, show: Prepared::new(&show) }
}

/// Titles one after the other, half an hour each.
fn row(from: i64, titles: &[&str]) -> Vec<Entry> {
    titles.iter().enumerate().map(|(n, title)| entry(from + 1_800 * n as i64, 30, title, "")).collect()
}

fn olds(old: &[Entry], new: &[Entry]) -> Vec<Option<usize>> {
    align(old, new).into_iter().map(|pair| pair.map(|pair| pair.old)).collect()
}

#[test]
fn an_overrun_moves_rooms_with_their_shows() {
    let old = row(0, &["News", "Quiz", "Film", "News", "Late"]);
    let mut new = old.clone();
    new[1].stop += 1_800;
    for later in &mut new[2..] {
        (later.start, later.stop) = (later.start + 1_800, later.stop + 1_800);
    }
    assert_eq!(olds(&old, &new), (0..5).map(Some).collect::<Vec<_>>());
}

#[test]
fn an_insertion_has_a_room_of_its_own_and_a_replaced_show_none() {
    let old = row(0, &["News", "Gardeners", "Film", "Sport"]);
    let new = row(0, &["News", "Gardeners", "Budget Special", "Film", "Sport"]);
    assert_eq!(olds(&old, &new), [Some(0), Some(1), None, Some(2), Some(3)]);
    let new = row(0, &["News", "Tribute", "Film", "Sport"]);
    assert_eq!(olds(&old, &new), [Some(0), None, Some(2), Some(3)]);
}

#[test]
fn shows_that_change_places_take_their_rooms_along() {
    let old = row(0, &["News", "Quiz", "Film", "Sport"]);
    let new = row(0, &["News", "Film", "Quiz", "Sport"]);
    assert_eq!(olds(&old, &new), [Some(0), Some(2), Some(1), Some(3)]);
}

#[test]
fn a_renamed_show_keeps_its_slot_s_room() {
    let old = [entry(0, 60, "Football", "Arsenal v Spurs"), entry(3_600, 30, "News", "")];
    let new = [entry(0, 60, "Live Football: Arsenal v Spurs", ""), entry(3_600, 30, "News", "")];
    assert_eq!(olds(&old, &new), [Some(0), Some(1)]);
}

fn schedule() -> impl Strategy<Value = Vec<Entry>> {
    let show = (1_i64..20, 0..6_usize, 0..3_usize, 1_i64..90);
    prop::collection::vec(show, 0..60).prop_map(|shows| {
        let mut start = 0;
        let titles = ["News", "Quiz", "Film: A", "A", "Sport", "Sports"];
        let with = |(gap, title, sub, minutes): (i64, usize, usize, i64)| {
            start += gap * 300;
            entry(start, minutes, titles[title], ["", "x", "y"][sub])
        };
        shows.into_iter().map(with).collect()
    })
}

/// The best sum, without bands or shortcuts.
fn best_sum(old: &[Entry], new: &[Entry]) -> f32 {
    let mut sums = vec![vec![0.0_f32; old.len() + 1]; new.len() + 1];
    for i in 1..=new.len() {
        for j in 1..=old.len() {
            let is_near = (old[j - 1].start - new[i - 1].start).abs() <= BAND;
            let value = if is_near { value(&old[j - 1], &new[i - 1]) } else { 0.0 };
            let pair = if value >= PAIR_MIN { sums[i - 1][j - 1] + value } else { 0.0 };
            sums[i][j] = sums[i - 1][j].max(sums[i][j - 1]).max(pair);
        }
    }
    sums[new.len()][old.len()]
}

proptest! {
    #[test]
    fn nothing_is_used_twice_and_only_equal_content_crosses(old in schedule(), new in schedule()) {
        let pairs = align(&old, &new);
        let found: Vec<(usize, Pair)> = pairs.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).collect();
        let mut used: Vec<usize> = found.iter().map(|(_, pair)| pair.old).collect();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(used.len(), found.len());
        for (n, (i, a)) in found.iter().enumerate() {
            let limit = if a.is_equal { SWAP } else { BAND };
            prop_assert!((old[a.old].start - new[*i].start).abs() <= limit);
            for (j, b) in &found[n + 1..] {
                let is_swap = a.is_equal || b.is_equal;
                prop_assert!(a.old < b.old || is_swap, "{i}->{} and {j}->{} cross", a.old, b.old);
            }
        }
    }

    #[test]
    fn an_unchanged_schedule_is_itself(old in schedule()) {
        prop_assert_eq!(olds(&old, &old), (0..old.len()).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn the_sum_is_the_greatest_there_is(old in schedule(), new in schedule()) {
        let sum: f32 = in_order(&old, &new).iter().flatten().map(|pair| pair.value).sum();
        prop_assert!((sum - best_sum(&old, &new)).abs() < 1e-3, "{sum}");
        // Shortcuts at both ends lose nothing.
        let all: f32 = align(&old, &new).iter().flatten().map(|pair| pair.value).sum();
        prop_assert!(all >= sum - 1e-3, "{all} {sum}");
    }
}
