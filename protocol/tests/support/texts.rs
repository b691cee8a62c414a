//! Vectors of visible text and of names that look alike, and their JSON.
//!
//! Why by hand: what a string should become follows from what each of its characters is for, not from code.

use serde_json::{Value, json};

use super::Fields;

/// A string, and what the rule makes of it.
pub(crate) struct TextVector {
    pub(crate) name: &'static str,
    pub(crate) string: String,
    /// As a text: the same string when it is one, else what mending leaves.
    pub(crate) text: String,
    pub(crate) is_name: bool,
    /// As a display name; `None`: nothing is left.
    pub(crate) display: Option<String>,
}

/// Two names, and whether a reader takes one for the other.
pub(crate) struct AlikeVector {
    pub(crate) name: &'static str,
    pub(crate) kept: &'static str,
    pub(crate) shown: String,
    pub(crate) is_alike: bool,
}

impl TextVector {
    pub(crate) fn to_json(&self) -> Fields {
        vec![
            ("name", json!(self.name)),
            ("string", json!(self.string)),
            ("is_text", json!(self.text == self.string)),
            ("text", json!(self.text)),
            ("is_name", json!(self.is_name)),
            ("display", self.display.as_ref().map_or(Value::Null, |name| json!(name))),
        ]
    }
}

impl AlikeVector {
    pub(crate) fn to_json(&self) -> Fields {
        vec![
            ("name", json!(self.name)),
            ("kept", json!(self.kept)),
            ("shown", json!(self.shown)),
            ("alike", json!(self.is_alike)),
        ]
    }
}

/// What stays, as a text and as a name.
const KEPT: [(&str, &str); 27] = [
    ("latin", "Grüße, José"),
    ("two spaces inside a script", "山田\u{3000}太郎"),
    ("kanji, kana, hangul", "日本語 カナ かな 안녕"),
    ("arabic", "مرحبا بالعالم"),
    ("persian with a non-joiner", "می\u{200c}خواهم"),
    ("arabic with its marks", "بِسْمِ ٱللَّهِ"),
    ("hebrew with points", "שָׁלוֹם"),
    ("hindi", "नमस्ते दुनिया"),
    ("a conjunct that is kept apart", "क्\u{200c}ष"),
    ("a conjunct that is joined", "क्\u{200d}ष"),
    ("malayalam that ends in a joiner", "അവന്\u{200d}"),
    ("sinhala with a joiner", "ශ්\u{200d}රී"),
    ("thai", "ผู้ชมที่น่ารัก"),
    ("tibetan", "བསྒྲུབས"),
    ("khmer", "ភាសាខ្មែរ"),
    ("mongolian with a vowel separator", "ᠠᠷᠠ\u{180e}ᠠ"),
    ("vietnamese", "Nguyễn Thị Ngọc"),
    ("a letter with four accents", "o\u{302}\u{301}\u{323}\u{331}"),
    ("an ideograph's variant", "葛\u{e0100}城"),
    ("a family", "👨\u{200d}👩\u{200d}👧\u{200d}👦"),
    ("a profession with a tone", "👩🏽\u{200d}💻"),
    ("a heart on fire", "❤\u{fe0f}\u{200d}🔥"),
    ("a flag of two letters", "🇯🇵 🇩🇪"),
    ("a flag of tags", "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}"),
    ("a rainbow flag", "🏳\u{fe0f}\u{200d}🌈"),
    ("a keycap", "1\u{fe0f}\u{20e3}#\u{fe0f}\u{20e3}"),
    ("signs of the shell", "~/.config $HOME `ls` <b>&amp;</b>"),
];

/// What goes: a name of the class, and the string that stands between two letters.
const TAKEN_OUT: [(&str, &str); 45] = [
    ("NUL", "\0"),
    ("an escape", "\u{1b}"),
    ("DEL", "\u{7f}"),
    ("a C1 control", "\u{9b}"),
    ("the last C1 control", "\u{9f}"),
    ("a soft hyphen", "\u{ad}"),
    ("a grapheme joiner", "\u{34f}"),
    ("an override to the left", "\u{202e}"),
    ("an override to the right", "\u{202d}"),
    ("an embedding", "\u{202a}"),
    ("the end of an embedding", "\u{202c}"),
    ("an isolate to the left", "\u{2067}"),
    ("an isolate of either direction", "\u{2068}"),
    ("the end of an isolate", "\u{2069}"),
    ("a mark of direction among latin letters", "\u{200f}"),
    ("an arabic mark of direction among latin letters", "\u{61c}"),
    ("a zero-width space", "\u{200b}"),
    ("a non-joiner between latin letters", "\u{200c}"),
    ("a joiner between latin letters", "\u{200d}"),
    ("a word joiner", "\u{2060}"),
    ("an invisible plus", "\u{2064}"),
    ("a deprecated format character", "\u{206a}"),
    ("a byte-order mark", "\u{feff}"),
    ("a hangul filler", "\u{3164}"),
    ("a half-width hangul filler", "\u{ffa0}"),
    ("a jamo filler", "\u{115f}"),
    ("a blank of braille", "\u{2800}"),
    ("a khmer vowel that is not seen", "\u{17b5}"),
    ("a mongolian separator between latin letters", "\u{180e}"),
    ("an interlinear mark", "\u{fff9}"),
    ("an object's place", "\u{fffc}"),
    ("a musical format", "\u{1d173}"),
    ("an empty note head", "\u{1d159}"),
    ("a shorthand format", "\u{1bca0}"),
    ("a tag without a flag", "\u{e0041}"),
    ("a language tag", "\u{e0001}"),
    ("an emoji selector on a letter", "\u{fe0f}"),
    ("an ideograph's selector on a letter", "\u{e0101}"),
    ("a supplementary selector that selects nothing", "\u{e01ef}"),
    ("a code point for private use", "\u{e000}"),
    ("a code point for private use, plane 16", "\u{10fffd}"),
    ("a noncharacter", "\u{fdd0}"),
    ("the last noncharacter", "\u{10ffff}"),
    ("an unassigned code point", "\u{378}"),
    ("an unassigned plane", "\u{50000}"),
];

pub(crate) fn texts() -> Vec<TextVector> {
    let kept = KEPT.iter().map(|&(name, s)| TextVector {
        name,
        string: s.into(),
        text: s.into(),
        is_name: true,
        display: Some(composed(s)),
    });
    let taken_out = TAKEN_OUT.iter().map(|&(name, s)| TextVector {
        name,
        string: format!("a{s}b"),
        text: "ab".into(),
        is_name: false,
        display: Some("ab".into()),
    });
    let of = |name, string: &str, text: &str, is_name, display: Option<&str>| TextVector {
        name,
        string: string.into(),
        text: text.into(),
        is_name,
        display: display.map(str::to_owned),
    };
    let tower = |n: usize| format!("a{}b", "\u{336}".repeat(n));
    kept.chain(taken_out)
        .chain([
            of("a line feed and a tab", "a\nb\tc", "a\nb\tc", false, Some("a b c")),
            of("line ends of other systems", "a\r\nb\rc", "a\nb\nc", false, Some("a b c")),
            of("separators of lines", "a\u{2028}b\u{2029}c\u{85}d", "a\nb\nc\nd", false, Some("a b c d")),
            of("spaces at the ends", " Ann ", " Ann ", false, Some("Ann")),
            of("a wide space at an end", "Ann\u{3000}", "Ann\u{3000}", false, Some("Ann")),
            of("spaces in a row", "Ann \u{2003} B", "Ann \u{2003} B", true, Some("Ann B")),
            of("nothing", "", "", false, None),
            of("white space alone", " \u{a0}", " \u{a0}", false, None),
            of("what is not seen alone", "\u{200b}\u{3164}\u{2800}", "", false, None),
            of("a mark without a letter", "\u{301}a", "\u{301}a", false, Some("a")),
            of("a tower of five marks", &tower(5), &tower(4), false, Some(&tower(4))),
            of("a tower of forty marks", &tower(40), &tower(4), false, Some(&tower(4))),
            of(
                "a tower of thai marks",
                &format!("ส{}", "\u{e47}".repeat(20)),
                &format!("ส{}", "\u{e47}".repeat(4)),
                false,
                Some(&format!("ส{}", "\u{e47}".repeat(4))),
            ),
            of("letters that are composed", "Jose\u{301}", "Jose\u{301}", true, Some("José")),
            of(
                "a mark of direction in a hebrew text",
                "שלום\u{200f}!",
                "שלום\u{200f}!",
                false,
                Some("שלום!"),
            ),
            of("an override in an arabic text", "مر\u{202e}حبا", "مرحبا", false, Some("مرحبا")),
            of("a non-joiner at a persian end", "می\u{200c}", "می", false, Some("می")),
            of("two non-joiners", "می\u{200c}\u{200c}خ", "می\u{200c}خ", false, Some("می\u{200c}خ")),
            of("data in selectors", "😀\u{fe0f}\u{fe0e}\u{fe0f}", "😀\u{fe0f}", false, Some("😀\u{fe0f}")),
            of("data in tags", "🏴\u{e0061}\u{e007f}", "🏴", false, Some("🏴")),
            of("a joiner without a second emoji", "👩\u{200d}a", "👩a", false, Some("👩a")),
            of("an emoji to come", "a\u{1faff}b", "a\u{1faff}b", true, Some("a\u{1faff}b")),
            of("22 kanji, of which 21 fit", &"名".repeat(22), &"名".repeat(22), true, Some(&"名".repeat(21))),
            of(
                "an emoji across the limit goes whole",
                &format!("{}👩🏽\u{200d}💻", "a".repeat(60)),
                &format!("{}👩🏽\u{200d}💻", "a".repeat(60)),
                true,
                Some(&"a".repeat(60)),
            ),
            of(
                "a space at the cut",
                &format!("{} b", "a".repeat(63)),
                &format!("{} b", "a".repeat(63)),
                true,
                Some(&"a".repeat(63)),
            ),
        ])
        .collect()
}

/// The one vector that stays but is not composed yet.
fn composed(s: &str) -> String {
    s.replace("o\u{302}\u{301}\u{323}\u{331}", "\u{1ed9}\u{331}\u{301}")
}

/// How `Host` is imitated, by class.
const IMITATIONS: [(&str, &str); 31] = [
    ("the same", "Host"),
    ("case", "hOST"),
    ("a cyrillic letter", "Нost"),
    ("cyrillic letters", "Ноѕт"),
    ("a greek letter", "Ηοst"),
    ("full width", "Ｈｏｓｔ"),
    ("mathematical letters", "𝐇𝗼𝓼𝚝"),
    ("circled letters", "Ⓗⓞⓢⓣ"),
    ("black squares", "🅷🅾🆂🆃"),
    ("letters of flags", "🇭🇴🇸🇹"),
    ("small capitals", "ʜᴏꜱᴛ"),
    ("digits", "H05t"),
    ("accents", "Hóśt"),
    ("marks", "H\u{336}o\u{336}s\u{336}t\u{336}"),
    ("strokes", "Ħøst"),
    ("spaces between", "H o s t"),
    ("a wide space between", "Ho\u{3000}st"),
    ("signs between", "H.o-s_t"),
    ("signs around", "[Host]"),
    ("a crown", "👑 Host"),
    ("a check mark", "Host ✓"),
    ("an at sign", "@Host"),
    ("a sign for a letter", "Ho$t"),
    ("a sign for a letter and one behind", "Ho$t!"),
    ("a zero-width space", "Ho\u{200b}st"),
    ("an override", "\u{202e}Host"),
    ("a filler", "Host\u{3164}"),
    ("a soft hyphen", "Ho\u{ad}st"),
    ("tags", "Host\u{e0061}"),
    ("selectors", "Host\u{fe0f}"),
    ("cherokee and armenian letters", "Ꮋօst"),
];

pub(crate) fn look_alikes() -> Vec<AlikeVector> {
    let of = |name, kept, shown: &str, is_alike| AlikeVector { name, kept, shown: shown.into(), is_alike };
    let others = [
        of("r and n for m", "admin", "adrnin", true),
        of("l for i", "admin", "admln", true),
        of("I for l", "Lola", "Ioia", true),
        of("1 for i", "admin", "adm1n", true),
        of("an at sign for a", "admin", "@dmin", true),
        of("v and v for w", "crew", "crevv", true),
        of("cyrillic admin", "admin", "аdмin", true),
        of("a script of its own", "Ведущий", "Beдyщий", true),
        of("half-width kana", "ホスト", "ﾎｽﾄ", true),
        of("signs alone", "👑", "👑\u{fe0f}", true),
        of("another name", "Host", "Hosts", false),
        of("a longer name", "Host", "Hostess", false),
        of("a shorter name", "Host", "Hos", false),
        of("a name with a number", "Host", "Host 2", false),
        of("dakuten are letters of their own", "かな", "がな", false),
        of("vowels of hindi are letters of their own", "राम", "रामी", false),
        of("other signs", "👑", "⭐", false),
        of("another kanji", "司会", "司令", false),
    ];
    let imitations = IMITATIONS.iter().map(|(name, shown)| of(name, "Host", shown, true));
    imitations.chain(others).collect()
}
