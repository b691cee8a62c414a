//! Listings for trials: a generator of synthetic ones, a plain form to edit, and its XMLTV.
//!
//! Why: real listings stay outside of the repository, and a trial edits what it imports. Each entry has a
//! number by which a trial knows it after any edit. Invariant: the same seed gives the same listing.
//! Not here: edits (`edits`), imports.

use std::io::{self, Write};

/// Xorshift64* (Vigna 2016).
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 20) % n.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// A programme of a listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Which one it was before edits; `None`: an edit made it.
    pub(crate) id: Option<usize>,
    pub(crate) channel: String,
    pub(crate) start: i64,
    pub(crate) stop: i64,
    pub(crate) title: String,
    pub(crate) sub_title: String,
    pub(crate) description: String,
    pub(crate) episode: String,
}

const FIRST: [&str; 24] = [
    "Midnight", "Silver", "Garden", "Northern", "Kitchen", "Secret", "Ocean", "Village", "Golden", "Winter",
    "Crown", "Harbour", "Antiques", "Summer", "Railway", "Hidden", "Wild", "Family", "Royal", "Morning",
    "Border", "Island", "Street", "Country",
];
const SECOND: [&str; 24] = [
    "Murders",
    "Detectives",
    "House",
    "Journeys",
    "Challenge",
    "Stories",
    "Hospital",
    "Auction",
    "Rescue",
    "Quest",
    "Live",
    "Masters",
    "Patrol",
    "Diaries",
    "Wars",
    "Hunters",
    "Show",
    "Nights",
    "Line",
    "Files",
    "Club",
    "Kings",
    "Trail",
    "Report",
];
const TEXT: [&str; 20] = [
    "a detective returns to the village",
    "two families meet at an auction",
    "the team faces its hardest week",
    "a storm cuts the island off",
    "guests bring in a painting",
    "an old friend asks for help",
    "the final begins",
    "nobody believes the witness",
    "a couple looks for a home",
    "the kitchen runs out of time",
    "a letter arrives late",
    "the river rises",
    "experts search the attic",
    "a rival makes an offer",
    "the night train stops",
    "a secret comes out",
    "neighbours fall out",
    "the season ends",
    "a stranger knows too much",
    "the crowd waits",
];

/// The listing of one channel: shows of a station, some of them weekly, news with one title all day.
pub(crate) fn channel(number: usize, from: i64, programmes: usize, first_id: usize) -> Vec<Entry> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut start = from;
    (0..programmes)
        .map(|n| {
            let minutes = [30, 30, 30, 45, 60, 60, 90, 120, 25, 35][dice.below(10)];
            let stop = start + minutes * 60;
            let kind = dice.below(10);
            let show = if kind < 2 { 0 } else { dice.below(if kind < 6 { 40 } else { 576 }) };
            let title = match kind {
                0..2 => "News".to_owned(),
                _ => format!("{} {}", FIRST[show % 24], SECOND[(show / 24 + show + number) % 24]),
            };
            let about = dice.pick(&TEXT);
            let of_episode = (2..8).contains(&kind);
            let entry = Entry {
                id: Some(first_id + n),
                channel: format!("channel-{number}.example"),
                start,
                stop,
                sub_title: if of_episode {
                    format!("{} {}", dice.pick(&FIRST), dice.pick(&SECOND))
                } else {
                    String::new()
                },
                description: format!("{about}, and {}.", dice.pick(&TEXT)),
                episode: if of_episode && kind < 5 {
                    format!("{}.{}.", dice.below(9), dice.below(24))
                } else {
                    String::new()
                },
                title,
            };
            start = stop;
            entry
        })
        .collect()
}

/// Write XMLTV: channels, then programmes. `padding` sentences make descriptions longer.
pub(crate) fn write(out: &mut impl Write, channels: &[Vec<Entry>], padding: usize) -> io::Result<()> {
    begin(out, channels.iter().filter_map(|entries| Some(entries.first()?.channel.as_str())))?;
    for entry in channels.iter().flatten() {
        write_entry(out, entry, padding)?;
    }
    writeln!(out, "</tv>")
}

pub(crate) fn begin<'a>(out: &mut impl Write, channels: impl Iterator<Item = &'a str>) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<tv generator-info-name=\"trial\">")?;
    for channel in channels {
        writeln!(out, "  <channel id=\"{}\"><display-name>{0}</display-name></channel>", escape(channel))?;
    }
    Ok(())
}

pub(crate) fn write_entry(out: &mut impl Write, entry: &Entry, padding: usize) -> io::Result<()> {
    let Entry { channel, start, stop, title, sub_title, description, episode, .. } = entry;
    let (start, stop) = (stamp(*start), stamp(*stop));
    writeln!(
        out,
        "  <programme start=\"{start} +0000\" stop=\"{stop} +0000\" channel=\"{}\">",
        escape(channel)
    )?;
    writeln!(out, "    <title lang=\"en\">{}</title>", escape(title))?;
    if !sub_title.is_empty() {
        writeln!(out, "    <sub-title lang=\"en\">{}</sub-title>", escape(sub_title))?;
    }
    if !description.is_empty() {
        let more =
            TEXT.iter().cycle().take(padding).fold(String::new(), |text, more| text + " Then " + more + ".");
        writeln!(out, "    <desc lang=\"en\">{}{more}</desc>", escape(description))?;
    }
    if !episode.is_empty() {
        writeln!(out, "    <episode-num system=\"xmltv_ns\">{}</episode-num>", escape(episode))?;
    }
    writeln!(out, "    <category lang=\"en\">Entertainment</category>\n  </programme>")
}

/// `YYYYMMDDhhmmss` in UTC.
pub(crate) fn stamp(at: i64) -> String {
    grandstand_guide::time::compact(at).replace(['T', 'Z'], "")
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
