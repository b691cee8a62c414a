//! Mending: the programmes of one channel become its schedule.
//!
//! Why one place: missing stops, clumps, duplicates and overlaps are decided by neighbours, so by a whole
//! channel in the order of time.
//! Rules, in this order: duplicates and clumps become one; what has no length goes; a missing stop is the
//! next start within six hours; an overlap of five minutes or less is cut.
//! Invariants: slots are sorted by start and end after they begin. Mending is idempotent. Not here: times as
//! text (`time`).

use foldhash::{HashMap, HashMapExt};

use crate::model::{Programme, Slot, flags};
use crate::report::{Report, Rule};
use crate::text::normalise;

/// Longest time to a next start that stands for a missing stop.
const STOP_MAX: i64 = 6 * 3_600;
/// Longest overlap that is cut.
const OVERLAP_CUT: i64 = 5 * 60;
/// Longest programme.
const LENGTH_MAX: i64 = 7 * 24 * 3_600;

/// The schedule of a channel.
pub(crate) fn schedule(channel: &str, mut programmes: Vec<Programme>, report: &mut Report) -> Vec<Slot> {
    programmes.sort_by_key(|programme| (programme.start, programme.line));
    let programmes = merge_equal_starts(channel, programmes, report);
    let starts: Vec<i64> = programmes.iter().map(|programme| programme.start).collect();
    let mut slots: Vec<Slot> = Vec::with_capacity(programmes.len());
    for programme in programmes {
        let Programme { start, mut stop, clump, is_live, is_new, show, line } = programme;
        let about = || format!("{channel} {}", show.title);
        let mut is_mended = clump.is_some();
        if stop == Some(start) {
            if clump.is_none() {
                report.note(Rule::LengthZero, line, &about());
                report.skipped += 1;
                continue;
            }
            stop = None;
        }
        let fault = match stop {
            Some(stop) if stop < start => Some(Rule::StopBeforeStart),
            Some(stop) if stop - start > LENGTH_MAX => Some(Rule::TooLong),
            Some(_) => None,
            None if clump.is_some() => None,
            None => Some(Rule::StopMissing),
        };
        if let Some(rule) = fault {
            report.note(rule, line, &about());
            stop = None;
            is_mended = true;
        }
        let mut bits = if stop.is_none() { flags::STOP_GUESSED } else { 0 };
        for (is_so, bit) in [(clump.is_some(), flags::CLUMP), (is_live, flags::LIVE), (is_new, flags::NEW)] {
            bits |= if is_so { bit } else { 0 };
        }
        let stop = stop.unwrap_or_else(|| {
            let next = starts[starts.partition_point(|other| *other <= start)..].first();
            next.map_or(start + STOP_MAX, |next| (*next).min(start + STOP_MAX))
        });
        let is_cut = cut_overlap(channel, &mut slots, start, report);
        if slots.last().is_some_and(|last| last.stop > start) {
            report.note(Rule::OverlapKept, line, &about());
            bits |= flags::OVERLAPS;
        }
        report.mended += u64::from(is_mended);
        report.kept += u64::from(!is_mended);
        if !is_mended && !is_cut {
            report.kept_line(line, &show.title);
        }
        slots.push(Slot { start, stop, flags: bits, show, line });
    }
    slots
}

/// Duplicates and parts of a clump become one.
fn merge_equal_starts(channel: &str, programmes: Vec<Programme>, report: &mut Report) -> Vec<Programme> {
    let mut out: Vec<Programme> = Vec::with_capacity(programmes.len());
    // Where each title of one start is in `out`.
    let mut titles: HashMap<String, usize> = HashMap::new();
    let mut first = 0;
    for programme in programmes {
        if out.last().is_some_and(|last| last.start != programme.start) {
            first = out.len();
            titles.clear();
        }
        let title = format!("{}\n{}", normalise(&programme.show.title), programme.show.sub_title);
        if let Some(twin) = titles.get(&title) {
            let twin = &mut out[*twin];
            report.note(Rule::Duplicate, programme.line, &format!("{channel} {}", programme.show.title));
            report.skipped += 1;
            // The one that knows its end.
            if twin.stop.is_none_or(|stop| stop <= twin.start) {
                twin.stop = programme.stop.or(twin.stop);
            }
            continue;
        }
        titles.insert(title, out.len());
        let parts = programme.clump.map(|clump| clump.1);
        let is_part = |other: &&mut Programme| parts.is_some() && other.clump.map(|clump| clump.1) == parts;
        if let Some(whole) = out[first..].iter_mut().find(is_part) {
            report.note(Rule::Clumped, programme.line, &format!("{channel} {}", programme.show.title));
            report.mended += 1;
            if whole.show.other_titles.len() < 8 {
                whole.show.other_titles.push(programme.show.title);
            }
            whole.stop = whole.stop.max(programme.stop);
            continue;
        }
        out.push(programme);
    }
    out
}

/// Cut the end of earlier slots that reach a little beyond `start`.
fn cut_overlap(channel: &str, slots: &mut [Slot], start: i64, report: &mut Report) -> bool {
    let Some(last) = slots.last_mut() else { return false };
    let over = last.stop - start;
    if over > 0 && over <= OVERLAP_CUT && last.start < start {
        report.note(Rule::OverlapCut, last.line, &format!("{channel} {}", last.show.title));
        last.stop = start;
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Show;

    fn programme(start: i64, stop: Option<i64>, title: &str) -> Programme {
        let show = Show { title: title.into(), ..Show::default() };
        Programme {
            start: start * 60,
            stop: stop.map(|stop| stop * 60),
            show,
            line: start as u64,
            ..Programme::default()
        }
    }

    fn mended(programmes: Vec<Programme>) -> (Vec<(i64, i64, String, u32)>, Report) {
        let mut report = Report::new("s", 0);
        let slots = schedule("c", programmes, &mut report);
        let shown = slots.into_iter().map(|s| (s.start / 60, s.stop / 60, s.show.title, s.flags)).collect();
        (shown, report)
    }

    #[test]
    fn a_missing_stop_is_the_next_start_or_six_hours() {
        let (slots, report) =
            mended(vec![programme(0, None, "a"), programme(30, None, "b"), programme(600, Some(630), "c")]);
        let guessed = flags::STOP_GUESSED;
        assert_eq!(slots[0], (0, 30, "a".into(), guessed));
        assert_eq!(slots[1], (30, 390, "b".into(), guessed));
        assert_eq!(slots[2], (600, 630, "c".into(), 0));
        assert_eq!(report.count(Rule::StopMissing), 2);
    }

    #[test]
    fn small_overlaps_are_cut_and_large_ones_kept() {
        let (slots, report) = mended(vec![
            programme(0, Some(35), "a"),
            programme(30, Some(90), "b"),
            programme(60, Some(120), "c"),
        ]);
        assert_eq!((slots[0].1, slots[1].1), (30, 90));
        assert_eq!(slots[2].3, flags::OVERLAPS);
        assert_eq!((report.count(Rule::OverlapCut), report.count(Rule::OverlapKept)), (1, 1));
    }

    #[test]
    fn clumps_are_one_airing_and_other_programmes_without_length_go() {
        let part = |n, title| Programme { clump: Some((n, 2)), ..programme(0, Some(0), title) };
        let (slots, report) = mended(vec![
            part(0, "News"),
            part(1, "Weather"),
            programme(30, Some(30), "x"),
            programme(40, Some(50), "y"),
        ]);
        assert_eq!(slots[0], (0, 30, "News".into(), flags::CLUMP | flags::STOP_GUESSED));
        assert_eq!(slots.len(), 2);
        assert_eq!((report.count(Rule::Clumped), report.count(Rule::LengthZero)), (1, 1));
    }

    #[test]
    fn duplicates_are_one_and_a_stop_before_its_start_is_missing() {
        let (slots, report) = mended(vec![
            programme(0, None, "New: A"),
            programme(0, Some(20), "A"),
            programme(60, Some(30), "b"),
            programme(90, Some(100), "c"),
        ]);
        assert_eq!(slots[0].1, 20);
        assert_eq!(slots[1], (60, 90, "b".into(), flags::STOP_GUESSED));
        assert_eq!((report.count(Rule::Duplicate), report.count(Rule::StopBeforeStart)), (1, 1));
    }
}
