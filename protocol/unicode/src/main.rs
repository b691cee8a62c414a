//! Generator: writes `runs.rs` and `look_alikes.rs` of `protocol/src/text`, the classes of characters and the
//! look-alikes of ASCII letters, and `table.rs` of `engine/filter/src/fold`, from Unicode's data.
//!
//! Why apart: the data weighs megabytes, the tables a few kilobytes. Only who moves to a new version of
//! Unicode runs this: `cargo run --manifest-path protocol/unicode/Cargo.toml` in the root of the repository.
//! Sources: properties of the Unicode Character Database by icu_properties, the confusables of UTS #39 by
//! unicode-security. Their versions are pinned in Cargo.toml.
//! With `--check` it changes nothing, and fails when a file is not what the data makes.
//! Not here: what a class means for a text (`protocol/src/text`), how a text is folded (`engine/filter`).

mod folds;

use icu_properties::props::{
    DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic, GeneralCategory, WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Scripts in which several marks stand on one letter, by block: Hebrew, Arabic and its neighbours, the
/// scripts of India and of what learnt from them, Tibetan, Myanmar, Khmer, Mongolian.
const DEEP: &[(u32, u32)] = &[
    (0x0590, 0x0dff),
    (0x0f00, 0x109f),
    (0x1780, 0x18af),
    (0x1a20, 0x1aaf),
    (0x1b00, 0x1c4f),
    (0x1cd0, 0x1cff),
    (0xa800, 0xabff),
    (0x10a00, 0x10a3f),
    (0x11000, 0x11fff),
];

/// Of those, scripts that need no joiners: Hebrew and Thaana.
const UNJOINED: &[(u32, u32)] = &[(0x0590, 0x05ff), (0x0780, 0x07bf)];

/// Blank characters and such that stand for nothing, which Unicode counts as letters or symbols.
const BLANK: &[u32] = &[0x1d159, 0x2800, 0x2d7f, 0x13441, 0x13442, 0x16fe4, 0xfffc];

/// Format characters that are seen: signs before or under numbers, and an abbreviation's line.
const SEEN_FORMATS: &[u32] =
    &[0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6dd, 0x70f, 0x890, 0x891, 0x8e2, 0x110bd, 0x110cd];

fn within(ranges: &[(u32, u32)], at: u32) -> bool {
    ranges.iter().any(|&(from, to)| (from..=to).contains(&at))
}

fn class(c: char) -> &'static str {
    let at = c as u32;
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_deep = within(DEEP, at);
    match at {
        0x200c | 0x200d => return "Joiner",
        0x200e | 0x200f | 0x061c => return "DirectionMark",
        0xfe0e | 0xfe0f => return "EmojiSelector",
        0xfe00..=0xfe02 | 0xe0100..=0xe01ef => return "HanSelector",
        0x180b..=0x180f => return "MongolianSelector",
        0xe0020..=0xe007f => return "Tag",
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3fffd
            if category != GeneralCategory::Unassigned =>
        {
            return "Han";
        }
        _ if SEEN_FORMATS.contains(&at) => return "Visible",
        _ if BLANK.contains(&at) => return "Hidden",
        _ => {}
    }
    let is_pictograph = CodePointSetData::new::<ExtendedPictographic>().contains(c)
        || CodePointSetData::new::<EmojiModifier>().contains(c);
    match category {
        _ if CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) => "Hidden",
        // Those that Unicode keeps for emoji to come are taken: phones have them before this table does.
        _ if is_pictograph => "Pictograph",
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::PrivateUse
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => "Hidden",
        _ if CodePointSetData::new::<WhiteSpace>().contains(c) => "Space",
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark if is_deep => "DeepMark",
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark => "Mark",
        _ if is_deep && !within(UNJOINED, at) => "Joining",
        _ => "Visible",
    }
}

/// The one ASCII letter or digit that a reader takes a string for, if any.
fn one_ascii(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    (first.is_ascii_alphanumeric() && chars.next().is_none()).then(|| first.to_ascii_lowercase())
}

fn bare(s: &str) -> impl Iterator<Item = char> {
    unicode_security::skeleton(s)
        .nfkd()
        .filter(|&c| !is_combining_mark(c))
        .collect::<Vec<_>>()
        .into_iter()
}

/// What a character is taken for, where decomposition and lower case alone do not say so.
fn look_alike(c: char) -> Option<char> {
    let plain = c.to_string();
    let folded = plain.nfkd().filter(|&c| !is_combining_mark(c)).flat_map(char::to_lowercase);
    let is_decomposed = plain.nfkd().ne(plain.chars());
    if c.is_ascii() || is_decomposed || one_ascii(folded).is_some() {
        return None;
    }
    let at = c as u32;
    let small_capital = SMALL_CAPITALS.chars().zip('a'..='z').find(|(small, _)| *small == c);
    let letter_of = |first: u32| char::from_u32(at - first + u32::from('a'));
    let own = match at {
        0x1f150..=0x1f169 => letter_of(0x1f150),
        0x1f170..=0x1f189 => letter_of(0x1f170),
        0x1f1e6..=0x1f1ff => letter_of(0x1f1e6),
        _ => small_capital.map(|(_, letter)| letter).or_else(|| one_ascii(bare(&plain))),
    };
    // A small letter is taken for what its capital is taken for, where nothing is said of itself.
    own.or_else(|| {
        let upper: String = c.to_uppercase().collect();
        (upper != plain).then(|| one_ascii(bare(&upper))).flatten()
    })
}

/// Small capitals, in the order of the alphabet; `X` has none.
const SMALL_CAPITALS: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ";

fn main() -> std::io::Result<()> {
    let mut runs = Table::default();
    let mut last = "";
    for at in 0..=0x10_ffff {
        let class = char::from_u32(at).map_or("Hidden", class);
        if class != last {
            runs.push(&format!("({at:#x}, {class}), "));
            last = class;
        }
    }
    let head = "//! Table of the classes of characters: written by `protocol/unicode`, not by hand.\n\
        //!\n\
        //! Source: the Unicode Character Database, as of icu_properties 2.4.0.\n\
        //! Not here: what a class means for a text (`super`).\n\n\
        use super::class::Class::{self, *};\n\n\
        /// Where runs of characters of one class begin, in order; the first run begins with U+0000.\n\
        #[rustfmt::skip]\n\
        pub(super) const RUNS: &[(u32, Class)] = &[\n";
    put("protocol/src/text/runs.rs", &runs.after(head))?;
    let mut look_alikes = Table::default();
    for c in '\u{80}'..=char::MAX {
        if !["Hidden", "Mark", "DeepMark"].contains(&class(c))
            && let Some(letter) = look_alike(c)
        {
            look_alikes.push(&format!("('\\u{{{:x}}}', b'{letter}'), ", c as u32));
        }
    }
    let (major, minor, _) = unicode_security::UNICODE_VERSION;
    let head = format!(
        "//! Table of look-alikes: written by `protocol/unicode`, not by hand.\n\
         //!\n\
         //! Source: the confusables of UTS #39, version {major}.{minor}, as of unicode-security 0.1.3.\n\
         //! Not here: what decomposition and lower case already say (`super::likeness`).\n\n\
         /// Characters that a reader takes for one ASCII letter or digit, with it, in order.\n\
         #[rustfmt::skip]\n\
         pub(super) const LOOK_ALIKES: &[(char, u8)] = &[\n"
    );
    put("protocol/src/text/look_alikes.rs", &look_alikes.after(&head))?;
    put("engine/filter/src/fold/table.rs", &folds::table())
}

/// Write a file, or with `--check` compare it.
fn put(path: &str, text: &str) -> std::io::Result<()> {
    if !std::env::args().any(|argument| argument == "--check") {
        return std::fs::write(path, text);
    }
    if std::fs::read_to_string(path)? == text {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{path} is not what Unicode's data makes: run the generator")))
}

/// Items of a table, in lines of at most 110 columns.
#[derive(Default)]
struct Table {
    lines: String,
    line: String,
}

impl Table {
    fn push(&mut self, item: &str) {
        if self.line.len() + item.len() > 106 {
            self.end_line();
        }
        self.line.push_str(item);
    }

    fn end_line(&mut self) {
        self.lines.push_str(&format!("    {}\n", self.line.trim_end()));
        self.line.clear();
    }

    fn after(mut self, head: &str) -> String {
        self.end_line();
        format!("{head}{}];\n", self.lines)
    }
}
