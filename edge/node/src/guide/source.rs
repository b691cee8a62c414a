//! Sources: the entries of `guide.sources`, such as
//! `uk https://listings.example.org/uk.xml.gz every=6h offset_missing=Europe/London`.
//!
//! Why one text: a source is one thing in every place that configures a node, flag and environment included.
//! Invariant: an entry that is not understood is refused with what was expected. Not here: when a source is
//! due (`thread`).

use std::path::PathBuf;
use std::time::Duration;

use grandstand_guide::Options;
use grandstand_guide::time::Zones;

/// Time between two imports of a source that names none.
const EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Where documents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Url(String),
    File(PathBuf),
}

/// A source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) every: Duration,
    pub(super) options: Options,
}

/// All entries; their names differ.
pub(super) fn parse_all(entries: &[String]) -> Result<Vec<Source>, String> {
    let sources: Vec<Source> = entries.iter().map(|entry| parse(entry)).collect::<Result<_, _>>()?;
    for (n, source) in sources.iter().enumerate() {
        if sources[..n].iter().any(|other| other.name == source.name) {
            return Err(format!("two sources are called {:?}", source.name));
        }
    }
    Ok(sources)
}

fn parse(entry: &str) -> Result<Source, String> {
    let expected = "expected `NAME FILE-OR-URL`, and of every=, offset_missing=, correct_by= and language= those that it needs";
    let mut words = entry.split_whitespace();
    let (Some(name), Some(place)) = (words.next(), words.next()) else {
        return Err(format!("got {entry:?}, {expected}"));
    };
    if !is_name(name) {
        return Err(format!("got the name {name:?}, expected up to 64 letters, digits, `-`, `_` and `.`"));
    }
    let (mut every, mut missing, mut correct_by, mut language) = (EVERY, "", "", "");
    for word in words {
        match word.split_once('=') {
            Some(("every", text)) => every = time(text)?,
            Some(("offset_missing", text)) => missing = text,
            Some(("correct_by", text)) => correct_by = text,
            Some(("language", text)) => language = text,
            _ => return Err(format!("got {word:?} in {entry:?}, {expected}")),
        }
    }
    let zones = Zones::parse(missing, correct_by).map_err(|fault| format!("source {name}: {fault}"))?;
    let place = match place {
        url if url.contains("://") => Place::Url(url.to_owned()),
        path => Place::File(path.into()),
    };
    let options =
        Options { source: name.to_owned(), zones, language: language.to_owned(), ..Options::default() };
    Ok(Source { name: name.to_owned(), place, every, options })
}

/// Whether a source may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// `30m`, `6h`, `2d`: from a minute to 30 days.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.char_indices().last().and_then(|(at, unit)| {
        let number: u64 = text[..at].parse().ok()?;
        number.checked_mul(match unit {
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        })
    });
    let within = seconds.filter(|seconds| (60..=30 * 86_400).contains(seconds));
    within
        .map(Duration::from_secs)
        .ok_or_else(|| format!("got every={text}, expected a time from 1m to 30d, such as 6h"))
}
