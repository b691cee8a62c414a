//! Ways in which people write a word so that a filter may miss it.
//!
//! Why each is a function of a word: any list can be tried with them.
//! Not here: what share of them must be found (`main`).

/// The share of words, in percent, that must be found.
pub(crate) struct Evasion {
    pub(crate) name: &'static str,
    pub(crate) write: fn(&str) -> String,
    pub(crate) percent_min: f64,
}

const fn way(name: &'static str, write: fn(&str) -> String) -> Evasion {
    Evasion { name, write, percent_min: 99.0 }
}

/// All of them; the words are of `a` to `z`.
pub(crate) const EVASIONS: &[Evasion] = &[
    way("plain", |w| w.to_owned()),
    way("upper case", |w| w.to_uppercase()),
    way("signs around", |w| format!("!!{w}?!")),
    way("repeated letter", |w| repeated(w, 4)),
    way("every letter twice", |w| each(w, |c| format!("{c}{c}"))),
    way("zero width", |w| each(w, |c| format!("{c}\u{200b}"))),
    way("soft hyphen and selector", |w| each(w, |c| format!("{c}\u{ad}\u{fe0f}"))),
    way("tag characters", |w| each(w, |c| format!("{c}\u{e0061}"))),
    way("fullwidth", |w| shifted(w, 0xff41)),
    way("mathematical bold", |w| shifted(w, 0x1d41a)),
    way("circled", |w| shifted(w, 0x24d0)),
    way("negative squared", |w| shifted(w, 0x1f170)),
    way("regional indicators", |w| each(&shifted(w, 0x1f1e6), |c| format!("{c}\u{200b}"))),
    way("Cyrillic letters", |w| written(w, "aeocpxisyk", "аеосрхіѕук")),
    way("accents", |w| written(w, "aeiouncs", "áëïôüñçš")),
    way("towers of marks", |w| each(w, |c| format!("{c}\u{335}\u{301}\u{20dd}"))),
    way("digits for letters", |w| written(w, "aeiost", "4310$7")),
    way("digits, 1 for l", |w| written(w, "lsg", "159")),
    way("digits, 1 for i and l", |w| written(w, "ilao", "1140")),
    way("digits with spaces", |w| joined(&written(w, "ie", "13"), " ")),
    way("spaces", |w| joined(w, " ")),
    way("dots", |w| joined(w, ".")),
    way("hyphens, and more text", |w| format!("{}-x-y", joined(w, "-"))),
    way("one dot", |w| cut(w, ".")),
    Evasion { name: "one space", write: |w| cut(w, " "), percent_min: 90.0 },
    way("a star for a vowel", starred),
    way("reversed by an override", |w| format!("\u{202e}{}\u{202c}", w.chars().rev().collect::<String>())),
];

fn each(word: &str, write: impl Fn(char) -> String) -> String {
    word.chars().map(write).collect()
}

fn shifted(word: &str, a: u32) -> String {
    each(word, |c| char::from_u32(u32::from(c) - u32::from('a') + a).unwrap_or(c).to_string())
}

fn written(word: &str, from: &str, to: &str) -> String {
    each(word, |c| from.chars().zip(to.chars()).find(|(f, _)| *f == c).map_or(c, |(_, to)| to).to_string())
}

fn joined(word: &str, between: &str) -> String {
    word.chars().map(String::from).collect::<Vec<_>>().join(between)
}

fn cut(word: &str, between: &str) -> String {
    let (left, right) = word.split_at(word.len() / 2);
    format!("{left}{between}{right}")
}

fn repeated(word: &str, times: usize) -> String {
    let at = word.len() / 2;
    format!("{}{}{}", &word[..at], word[at..=at].repeat(times), &word[at + 1..])
}

fn starred(word: &str) -> String {
    match word[1..word.len() - 1].find(['a', 'e', 'i', 'o', 'u']) {
        Some(at) => format!("{}*{}", &word[..=at], &word[at + 2..]),
        None => word.to_owned(),
    }
}
