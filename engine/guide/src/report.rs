//! The report of an import: what was kept, mended and skipped, by rule, with lines.
//!
//! Why rules by name: an operator asks a provider to mend its feed, and needs a line and a reason.
//! Invariants: counts are of everything; examples are bounded by [`EXAMPLES_MAX`] a rule and
//! [`EXAMPLE_CHARS_MAX`] characters. A listener ([`Report::listen`]) gets every note.
//! Not here: who decides (`input`, `xmltv`, `mend`, `store`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

/// Examples of one rule.
pub const EXAMPLES_MAX: usize = 20;
/// Characters of an example.
pub const EXAMPLE_CHARS_MAX: usize = 80;

macro_rules! rules {
    ($($name:ident $word:literal $verdict:ident $help:literal;)*) => {
        /// Why a line was mended or skipped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $help] $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];
            /// Its name in reports.
            pub fn word(self) -> &'static str {
                match self { $(Rule::$name => $word,)* }
            }
            /// What was done, in words.
            pub fn help(self) -> &'static str {
                match self { $(Rule::$name => $help,)* }
            }
            /// What becomes of the line.
            pub fn verdict(self) -> Verdict {
                match self { $(Rule::$name => Verdict::$verdict,)* }
            }
        }
    };
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is in the guide as it is, with a remark.
    Kept,
    /// It is in the guide, changed.
    Mended,
    /// It is not in the guide.
    Skipped,
}

impl Verdict {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Mended => "mended",
            Verdict::Skipped => "skipped",
        }
    }
}

rules! {
    BytesReplaced "bytes_replaced" Mended "bytes that are not of the declared encoding became U+FFFD";
    EncodingUnknown "encoding_unknown" Mended "the declared encoding is unknown: read as UTF-8";
    EntityUnknown "entity_unknown" Mended "an entity that nobody defines is kept as it is written";
    AmpersandBare "ampersand_bare" Mended "an ampersand that begins no entity is a text";
    TagsCrossed "tags_crossed" Mended "an element that was not closed, or closed twice, ends with the one around it";
    TooDeep "too_deep" Mended "elements within more than 64 others are passed over";
    DocumentCut "document_cut" Mended "the document ends early: what is complete is taken";
    TextCut "text_cut" Mended "a text beyond its bound is cut";
    ListCut "list_cut" Mended "of a list beyond its bound the first entries are taken";
    ChannelWithoutId "channel_without_id" Skipped "a channel without an id";
    ChannelTwice "channel_twice" Mended "a channel id that comes twice: the first stays, names are joined";
    ChannelUndeclared "channel_undeclared" Kept "a programme of a channel that the document does not declare";
    ChannelOfAnother "channel_of_another_source" Skipped "a channel that another source brought in";
    ChannelIdInvalid "channel_id_invalid" Skipped "a programme whose channel id is missing or too long";
    TooManyChannels "too_many_channels" Skipped "a channel beyond the bound of channels";
    TooManyOfChannel "too_many_of_channel" Skipped "a programme beyond 10,000 of one channel";
    StartUnreadable "start_unreadable" Skipped "a programme whose start is missing or no time";
    StopUnreadable "stop_unreadable" Mended "a stop that is no time counts as missing";
    ZoneUnknown "zone_unknown" Mended "an unknown zone counts as missing";
    OffsetMissing "offset_missing" Kept "a time without offset is of the source's zone";
    TimeAmbiguous "time_ambiguous" Kept "a local time that comes twice: the one that keeps the order";
    TimeInGap "time_in_gap" Mended "a local time that a change-over leaves out: moved past it";
    StopMissing "stop_missing" Mended "a missing stop is the next start, at most six hours on";
    StopBeforeStart "stop_before_start" Mended "a stop before its start counts as missing";
    LengthZero "length_zero" Skipped "a programme without length that is no part of a clump";
    TooLong "too_long" Mended "a programme of more than a week: its stop counts as missing";
    Clumped "clumped" Mended "parts of a clump are one airing with several titles";
    Duplicate "duplicate" Skipped "equal channel, start and title as another line";
    OverlapCut "overlap_cut" Mended "an overlap of at most five minutes: the earlier one is cut";
    OverlapKept "overlap_kept" Kept "an overlap of more than five minutes";
    TitleMissing "title_missing" Skipped "a programme without a title";
    RecordUnreadable "record_unreadable" Skipped "a record of JSON that lacks what an airing needs";
    RoomKeepsShow "room_keeps_show" Kept "the guide disagrees with a room that is in use: it keeps its show";
}

/// One line and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Line of the document; 0: none.
    pub line: u64,
    /// What it was about.
    pub text: String,
}

/// The count of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// kept, mended or skipped.
    pub verdict: String,
    /// How many times.
    pub count: u64,
    /// What the rule does.
    pub help: String,
    /// Some of the lines.
    pub examples: Vec<Example>,
}

/// What an import came to.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// Name of the source.
    pub source: String,
    /// When it was made, seconds since 1970.
    pub at: i64,
    /// `applied`, `unchanged`, `refused`, `failed` or `tried`.
    pub result: String,
    /// Why it was refused or failed.
    pub reason: String,
    /// Bytes as they came, and after decompression.
    pub bytes_in: u64,
    /// Bytes of text.
    pub bytes_out: u64,
    /// Programmes in the document.
    pub programmes: u64,
    /// Programmes of which a line says nothing: they are in the guide as they came.
    pub kept: u64,
    /// Programmes that are in the guide with a mend.
    pub mended: u64,
    /// Programmes that are not in the guide.
    pub skipped: u64,
    /// Channels in the document.
    pub channels: u64,
    /// Airings in the guide as before.
    pub unchanged: u64,
    /// Airings that keep their room and have other times or texts.
    pub changed: u64,
    /// Airings that are new.
    pub added: u64,
    /// Airings that the source no longer shows.
    pub cancelled: u64,
    /// Rooms in use with whose show the source disagrees.
    pub disagreeing: u64,
    /// Rows of the guide that were written.
    pub rows_written: u64,
    /// By name of the rule.
    pub rules: BTreeMap<String, Tally>,
    #[serde(skip)]
    listener: Option<Box<dyn Write + Send>>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("result", &self.result)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Report {
    /// A report of this source.
    pub fn new(source: &str, at: i64) -> Report {
        Report { source: source.to_owned(), at, ..Report::default() }
    }

    /// Write every note to `listener` too, a line of JSON each. What it cannot take is lost.
    pub fn listen(&mut self, listener: Box<dyn Write + Send>) {
        self.listener = Some(listener);
    }

    /// Note that `rule` was applied at `line`, to `about`.
    pub fn note(&mut self, rule: Rule, line: u64, about: &str) {
        let tally = self.rules.entry(rule.word().to_owned()).or_default();
        if tally.count == 0 {
            tally.verdict = rule.verdict().word().to_owned();
            rule.help().clone_into(&mut tally.help);
        }
        tally.count += 1;
        if tally.examples.len() < EXAMPLES_MAX {
            let text = about.chars().take(EXAMPLE_CHARS_MAX).map(plain).collect();
            tally.examples.push(Example { line, text });
        }
        self.tell(rule.word(), line, about);
    }

    /// Tell the listener that a line was kept.
    pub(crate) fn kept_line(&mut self, line: u64, about: &str) {
        if self.listener.is_some() {
            self.tell("kept", line, about);
        }
    }

    /// How many times `rule` was applied.
    pub fn count(&self, rule: Rule) -> u64 {
        self.rules.get(rule.word()).map_or(0, |tally| tally.count)
    }

    fn tell(&mut self, rule: &str, line: u64, about: &str) {
        if let Some(listener) = &mut self.listener {
            let text: String = about.chars().take(EXAMPLE_CHARS_MAX).collect();
            let told = serde_json::json!({ "line": line, "rule": rule, "text": text });
            let _ = writeln!(listener, "{told}");
        }
    }
}

/// Control characters do not reach a terminal.
fn plain(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}
