//! The trial of identity: a listing is imported, edited as providers do, and imported again.
//!
//! Why end to end: what counts is which room an airing has afterwards, whatever decided it.
//! Two sets of edits: those for which the rules were written, and others (typing errors, parts, early
//! starts, a lost hour, twins that go). Figures: right, wrongly lost, and hijacked: people of one show find
//! themselves in another. Not here: listings (`listing`).

use std::collections::{HashMap, HashSet};

use grandstand_guide::store::{GridQuery, Guide};
use grandstand_guide::{Import, Options, Report, RoomUse};

use crate::listing::{Dice, Entry, write};

/// What came of all decisions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) decisions: u64,
    pub(crate) right: u64,
    pub(crate) lost: u64,
    pub(crate) hijacked: u64,
    /// Of rooms in use.
    pub(crate) hijacked_in_use: u64,
    pub(crate) in_use: u64,
}

impl Score {
    pub(crate) fn add(&mut self, other: Score) {
        self.decisions += other.decisions;
        self.right += other.right;
        self.lost += other.lost;
        self.hijacked += other.hijacked;
        self.hijacked_in_use += other.hijacked_in_use;
        self.in_use += other.in_use;
    }
}

/// Rooms in use.
struct Used(HashSet<String>);

impl RoomUse for Used {
    fn is_used(&self, room: &str) -> bool {
        self.0.contains(room)
    }
}

/// Import `channels`, edit them by this seed, import again; one room in `used_of` is in use.
pub(crate) fn run(channels: &[Vec<Entry>], seed: u64, is_foreseen: bool, used_of: usize) -> Score {
    let mut guide = Guide::temporary().unwrap();
    let from = channels.iter().flatten().map(|e| e.start).min().unwrap_or(0);
    import(&mut guide, channels, &Used(HashSet::new()), from);
    let before = rooms(&guide, from);
    let room_of = |entry: &Entry| before.get(&(entry.channel.clone(), entry.start, entry.title.clone()));
    let ids: HashMap<usize, &String> =
        channels.iter().flatten().filter_map(|e| Some((e.id?, room_of(e)?))).collect();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let all = channels.iter().flatten().filter_map(|entry| ids.get(&entry.id?));
    let used = Used(all.filter(|_| dice.below(used_of) == 0).map(|room| (*room).clone()).collect());
    let edited: Vec<Vec<Entry>> =
        channels.iter().map(|entries| edit(entries, &mut dice, is_foreseen)).collect();
    import(&mut guide, &edited, &used, from);
    let after = rooms(&guide, from);
    let owner: HashMap<&String, usize> = ids.iter().map(|(id, room)| (*room, *id)).collect();
    let mut score = Score { in_use: used.0.len() as u64, ..Score::default() };
    for entry in edited.iter().flatten() {
        let Some(room) = after.get(&(entry.channel.clone(), entry.start, entry.title.clone())) else {
            continue;
        };
        score.decisions += 1;
        let had = owner.get(room).copied();
        if had == entry.id {
            score.right += 1;
        } else if had.is_none() {
            score.lost += 1;
        } else {
            score.hijacked += 1;
            if std::env::var_os("GUIDE_TRIAL_SHOW").is_some() {
                let was = channels.iter().flatten().find(|e| e.id == had);
                eprintln!("HIJACK used={} was {was:?}\n  is {entry:?}", used.0.contains(room));
            }
            score.hijacked_in_use += u64::from(used.0.contains(room));
        }
    }
    score
}

fn import(guide: &mut Guide, channels: &[Vec<Entry>], rooms: &Used, now: i64) {
    let mut document = Vec::new();
    write(&mut document, channels, 0).unwrap();
    let options = Options { source: "trial".into(), force: true, ..Options::default() };
    let mut report = Report::new("trial", now);
    Import { guide, rooms, now, progress: None }.run(&document[..], &options, &mut report).unwrap();
}

/// Rooms by channel, start and title.
fn rooms(guide: &Guide, from: i64) -> HashMap<(String, i64, String), String> {
    let queries = guide.queries().unwrap();
    let mut found = HashMap::new();
    let mut after = None;
    loop {
        let zone = grandstand_guide::time::zone("utc").unwrap();
        let (from, to) = (from - 86_400, from + 400 * 86_400);
        let mut day = from;
        let mut next = None;
        while day < to {
            let query = GridQuery {
                from: day,
                to: day + 86_400,
                channels: Vec::new(),
                limit: 200,
                after: after.clone(),
                full: false,
                zone: zone.clone(),
            };
            let page = queries.grid(&query).unwrap();
            let is_empty = day > from + 40 * 86_400 && page.rows.iter().all(|row| row.airings.is_empty());
            for airing in page.rows.into_iter().flat_map(|row| row.airings) {
                if airing.facts.contains(&"disagrees") {
                    continue;
                }
                found.insert((airing.channel, airing.start_s, airing.title), airing.room);
            }
            next = page.next;
            if is_empty {
                break;
            }
            day += 86_400;
        }
        after = next;
        if after.is_none() {
            return found;
        }
    }
}

fn shift(entries: &mut [Entry], from: usize, seconds: i64, followers: usize) {
    let end = (from + followers).min(entries.len());
    for entry in &mut entries[from..end] {
        entry.start += seconds;
        entry.stop += seconds;
    }
    if let Some(absorbs) = entries.get_mut(end) {
        absorbs.start += seconds;
    }
}

/// A listing as the provider sends it next time.
fn edit(entries: &[Entry], dice: &mut Dice, is_foreseen: bool) -> Vec<Entry> {
    let mut out = entries.to_vec();
    let mut k = 3;
    while k + 12 < out.len() {
        let chance = dice.chance();
        k += if is_foreseen {
            foreseen(&mut out, k, chance, dice)
        } else {
            unforeseen(&mut out, k, chance, dice)
        };
    }
    out.retain(|entry| entry.stop > entry.start);
    out
}

/// The edits of the probe by which the rules were found. How many entries are done with.
fn foreseen(out: &mut Vec<Entry>, k: usize, chance: f64, dice: &mut Dice) -> usize {
    if chance < 0.04 {
        let late = [5, 10, 15, 20, 30, 45, 60, 90][dice.below(8)] * 60;
        out[k].stop += late;
        shift(out, k + 1, late, 1 + dice.below(8));
        return 10;
    }
    if chance < 0.055 {
        let title =
            dice.pick(&["Breaking News", "Special Report", "Tribute", "Film: The Long Voyage"]).to_owned();
        out[k] = Entry {
            id: None,
            title,
            sub_title: String::new(),
            episode: String::new(),
            description: String::new(),
            ..out[k].clone()
        };
        return 2;
    }
    if chance < 0.07 && out[k].title != out[k + 1].title {
        swap(out, k);
        return 3;
    }
    if chance < 0.10 {
        let title = out[k].title.clone();
        out[k].title = match dice.below(5) {
            0 => format!("New: {title}"),
            1 => format!("{title} (HD)"),
            2 => title.to_uppercase(),
            3 => title.replace(" and ", " & "),
            _ => title.replace('\'', "’"),
        };
        return 1;
    }
    if chance < 0.115 && !out[k].sub_title.is_empty() {
        out[k].title = format!("{}: {}", out[k].title, out[k].sub_title);
        out[k].sub_title.clear();
        return 1;
    }
    if chance < 0.13 {
        let by = [-10, -5, 5, 10, 20][dice.below(5)] * 60;
        out[k].start += by;
        out[k - 1].stop += by;
        return 1;
    }
    if chance < 0.135 {
        let start = out[k].start;
        let extra = Entry {
            id: None,
            channel: out[k].channel.clone(),
            start,
            stop: start + 1_800,
            title: "Snooker: Late Extra".into(),
            ..Entry::default()
        };
        shift(out, k, 1_800, 4);
        out.insert(k, extra);
        return 6;
    }
    1
}

fn swap(out: &mut [Entry], k: usize) {
    let (first, second) = (out[k].stop - out[k].start, out[k + 1].stop - out[k + 1].start);
    let start = out[k].start;
    (out[k + 1].start, out[k + 1].stop) = (start, start + second);
    (out[k].start, out[k].stop) = (start + second, start + second + first);
    out.swap(k, k + 1);
}

/// Edits that the rules do not know.
fn unforeseen(out: &mut Vec<Entry>, k: usize, chance: f64, dice: &mut Dice) -> usize {
    if chance < 0.015 {
        // A typing error is mended.
        let mut letters: Vec<char> = out[k].title.chars().collect();
        if letters.len() > 4 {
            let at = 1 + dice.below(letters.len() - 2);
            letters.swap(at, at + 1);
        }
        out[k].title = letters.into_iter().collect();
        return 1;
    }
    if chance < 0.03 {
        out[k].sub_title =
            if out[k].sub_title.is_empty() { "Part of the Season".into() } else { String::new() };
        return 1;
    }
    if chance < 0.04 {
        out[k].episode =
            if out[k].episode.is_empty() { format!("3.{}.", dice.below(20)) } else { String::new() };
        return 1;
    }
    if chance < 0.05 {
        // In two parts around the news.
        let (start, stop) = (out[k].start, out[k].stop);
        let third = (stop - start) / 3 / 60 * 60;
        if third >= 600 {
            let title = out[k].title.clone();
            let second = Entry {
                id: None,
                start: start + 2 * third,
                stop,
                title: format!("{title} (Part 2)"),
                ..out[k].clone()
            };
            let news = Entry {
                id: None,
                channel: out[k].channel.clone(),
                start: start + third,
                stop: start + 2 * third,
                title: "Headlines at the Interval".into(),
                ..Entry::default()
            };
            out[k].title = format!("{title} (Part 1)");
            out[k].stop = start + third;
            out.insert(k + 1, news);
            out.insert(k + 2, second);
            return 4;
        }
    }
    if chance < 0.06 {
        // It goes, and the one before lasts longer.
        out[k - 1].stop = out[k].stop;
        out.remove(k);
        return 2;
    }
    if chance < 0.07 {
        out[k].description = "No information is available for this programme at this time.".into();
        return 1;
    }
    if chance < 0.08 {
        // An hour too late for an evening, and back.
        let hour = 3_600;
        out[k].start += hour;
        out[k].stop += hour;
        out[k - 1].stop += hour;
        shift(out, k + 1, hour, 6);
        return 10;
    }
    if chance < 0.09 {
        // An early finish: the followers come early.
        let early = -[5, 10, 15][dice.below(3)] * 60;
        if out[k].stop + early - out[k].start > 600 {
            out[k].stop += early;
            shift(out, k + 1, early, 1 + dice.below(5));
        }
        return 8;
    }
    if chance < 0.10 {
        out[k].title = format!("{} - {}", ["Drama", "Factual", "Comedy Night"][dice.below(3)], out[k].title);
        return 1;
    }
    if chance < 0.11 && k + 3 < out.len() && out[k].title != out[k + 2].title {
        // Two that are not neighbours change places.
        let (a, b) = (out[k].clone(), out[k + 2].clone());
        out[k] = Entry { start: a.start, stop: a.stop, ..b };
        out[k + 2] = Entry { start: out[k + 2].start, stop: out[k + 2].stop, ..a };
        return 4;
    }
    if chance < 0.12 {
        let by = [-2, -1, 1, 2][dice.below(4)] * 60;
        out[k].start += by;
        out[k - 1].stop += by;
        return 1;
    }
    1
}
