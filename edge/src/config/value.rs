//! Values: the types that a key can have, with their parsing and printing.
//!
//! Why: the error about a wrong value names the key, the source, the value and the expected values. So a type
//! only says whether it can read a value, and which values it allows.
//! Invariant: `read` accepts what `json` returns (except secrets).
//! Not here: the type of each key (`table`), the source of a value (`source`).

use grandstand_protocol::proxy::Network;
use serde_json::{Value as Json, json};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A value as its source gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// A text of the environment or of a flag.
    Text(String),
    /// A string of the file.
    Str(String),
    /// An integer of the file; TOML has none beyond i128.
    Int(i128),
    /// A boolean of the file.
    Bool(bool),
    /// An array of the file.
    List(Vec<Raw>),
    /// Any other value of the file, by the name of its type: no key accepts it.
    Other(&'static str),
}

/// The table's conditions on a value besides its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Lowest and highest number, or shortest and longest text in bytes.
    pub(super) bounds: Option<(u64, u64)>,
    /// A number of bytes, which may have a suffix: `64KiB`, `1MiB`.
    pub(super) bytes: bool,
}

/// The shape of a value, for flags and help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Switch,
    /// A whole number.
    Number,
    /// Any text.
    Text,
    /// An address with port, or off.
    Address,
    /// A path, or none.
    Path,
    /// A text that is never shown.
    Secret,
    /// One of some words.
    Choice,
    /// Several texts.
    List,
}

/// A type that a key can have.
pub(super) trait Value: Sized {
    const KIND: Kind;
    fn read(raw: &Raw, rule: &Rule) -> Option<Self>;
    fn allowed(rule: &Rule) -> String;
    fn json(&self) -> Json;
}

impl Raw {
    /// The value as a text, if it is one.
    fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) | Raw::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Elements of a list: of an array in the file, or of a text separated by commas.
    fn parts(&self) -> Option<Vec<&str>> {
        match self {
            Raw::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Raw::Text(text) => Some(text.split(',').map(str::trim).collect()),
            Raw::List(list) => list.iter().map(Raw::text).collect(),
            _ => None,
        }
    }
}

/// The form in an error; callers hide secrets.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) if text.parse::<i128>().is_ok() => f.write_str(text),
            Raw::Text(text) => write!(f, "`{}`", text.escape_debug()),
            Raw::Str(text) => write!(f, "the string {text:?}"),
            Raw::Int(number) => write!(f, "{number}"),
            Raw::Bool(on) => write!(f, "{on}"),
            Raw::List(list) => {
                f.write_str("[")?;
                for (i, item) in list.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Raw::Other(kind) => write!(f, "a {kind}"),
        }
    }
}

impl Rule {
    fn allows(&self, number: u64) -> bool {
        self.bounds.is_none_or(|(low, high)| (low..=high).contains(&number))
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Switch;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        match raw {
            Raw::Bool(on) => Some(*on),
            Raw::Text(text) => match text.trim() {
                "true" | "on" | "yes" | "1" => Some(true),
                "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn allowed(_: &Rule) -> String {
        "true or false".to_owned()
    }

    fn json(&self) -> Json {
        json!(self)
    }
}

macro_rules! whole_numbers {
    ($($int:ty),*) => { $(
        impl Value for $int {
            const KIND: Kind = Kind::Number;

            fn read(raw: &Raw, rule: &Rule) -> Option<Self> {
                let number = number(raw, rule.bytes)?;
                <$int>::try_from(number).ok().filter(|_| rule.allows(number))
            }

            fn allowed(rule: &Rule) -> String {
                let (low, high) = rule.bounds.unwrap_or((0, <$int>::MAX as u64));
                let suffix = if rule.bytes { ", such as 65536 or \"64KiB\"" } else { "" };
                format!("an integer from {low} to {high}{suffix}")
            }

            fn json(&self) -> Json {
                json!(self)
            }
        }
    )* };
}
whole_numbers!(u32, u64, usize);

/// Parse `1000`, `1_000`, and for bytes `64KiB`. A string in the file must have a suffix; otherwise it is a
/// wrong type.
fn number(raw: &Raw, bytes: bool) -> Option<u64> {
    match raw {
        Raw::Int(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => digits(text.trim()).or_else(|| sized(text.trim()).filter(|_| bytes)),
        Raw::Str(text) if bytes => sized(text.trim()),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let framed = text.starts_with('_') || text.ends_with('_');
    if plain && !framed { text.replace('_', "").parse().ok() } else { None }
}

fn sized(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (count, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    digits(count.trim_end())?.checked_mul(unit)
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn read(raw: &Raw, rule: &Rule) -> Option<Self> {
        let text = raw.text()?;
        rule.allows(text.len() as u64).then(|| text.to_owned())
    }

    fn allowed(rule: &Rule) -> String {
        match rule.bounds {
            Some((low, high)) => format!("a text of {low} to {high} bytes"),
            None => "a text".to_owned(),
        }
    }

    fn json(&self) -> Json {
        json!(self)
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        let parts = raw.parts()?;
        parts.iter().all(|part| !part.is_empty()).then(|| parts.into_iter().map(str::to_owned).collect())
    }

    fn allowed(_: &Rule) -> String {
        "a list of texts, none empty: [\"a\", \"b\"] in the file, a,b elsewhere".to_owned()
    }

    fn json(&self) -> Json {
        json!(self)
    }
}

impl Value for Vec<Network> {
    const KIND: Kind = Kind::List;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        raw.parts()?.into_iter().map(|part| part.parse().ok()).collect()
    }

    fn allowed(_: &Rule) -> String {
        "a list of addresses and networks such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, without bits behind the \
         prefix, and none that holds every address"
            .to_owned()
    }

    fn json(&self) -> Json {
        json!(self.iter().map(ToString::to_string).collect::<Vec<_>>())
    }
}

/// A listener's address; `off` is `None`.
impl Value for Option<SocketAddr> {
    const KIND: Kind = Kind::Address;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        match raw.text()?.trim() {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        }
    }

    fn allowed(_: &Rule) -> String {
        "an address with port such as 127.0.0.1:7400, 0.0.0.0:7400 or [::]:7400, or off".to_owned()
    }

    fn json(&self) -> Json {
        json!(self.map_or_else(|| "off".to_owned(), |address| address.to_string()))
    }
}

/// A path; an empty text is `None`.
impl Value for Option<PathBuf> {
    const KIND: Kind = Kind::Path;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        let text = raw.text()?;
        Some((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn allowed(_: &Rule) -> String {
        "a path, or empty for none".to_owned()
    }

    fn json(&self) -> Json {
        json!(self.as_ref().map_or_else(String::new, |path| path.display().to_string()))
    }
}

/// A value that is never shown: not in logs, and not by `grandstand config`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Store these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes themselves, for the code that checks them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

/// A secret; an empty text is `None`.
impl Value for Option<Secret> {
    const KIND: Kind = Kind::Secret;

    fn read(raw: &Raw, rule: &Rule) -> Option<Self> {
        let text = raw.text()?;
        match text.len() as u64 {
            0 => Some(None),
            bytes => rule.allows(bytes).then(|| Some(Secret::new(text))),
        }
    }

    fn allowed(rule: &Rule) -> String {
        let (low, high) = rule.bounds.unwrap_or((1, u64::MAX));
        format!("a secret of {low} to {high} bytes, or empty for none")
    }

    fn json(&self) -> Json {
        json!(if self.is_some() { "(set)" } else { "" })
    }
}

/// Declares an enum whose values are words.
macro_rules! choices {
    ($(#[$doc:meta])* $Choice:ident { $( $(#[$vdoc:meta])* $Word:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Choice { $( $(#[$vdoc])* $Word, )* }

        impl $Choice {
            /// Every choice, in order.
            pub const ALL: &'static [$Choice] = &[$( $Choice::$Word, )*];

            /// The word in the configuration.
            pub fn word(self) -> &'static str {
                match self { $( $Choice::$Word => $word, )* }
            }

            /// The choice that this word names.
            pub fn from_word(word: &str) -> Option<$Choice> {
                Self::ALL.iter().copied().find(|choice| choice.word() == word)
            }

            fn words() -> String {
                [$($word),*].join(", ")
            }
        }
    };
}

choices! {
    /// What a session may do besides watching.
    Right {
        /// Send chat messages.
        Publish = "publish",
        /// Send reactions.
        React = "react",
        /// Change a room's state.
        State = "state",
        /// Publish in others' names, at a bridge's rate.
        Bridge = "bridge",
        /// Remove what others said, and decide who may speak.
        Moderate = "moderate",
    }
}

choices! {
    /// Where the log of a room without a setting of its own is kept.
    RoomDurability {
        /// Replicated in a cluster, on disk where the node has a durable log, else in memory.
        Auto = "auto",
        /// In memory: lost with the process.
        Memory = "memory",
        /// On disk: acknowledged when synced.
        Disk = "disk",
        /// On the cluster's servers: acknowledged when a majority has synced it.
        Replicated = "replicated",
    }
}

choices! {
    /// The format of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

choices! {
    /// The lowest importance of logged lines.
    LogLevel {
        /// The node cannot do its work.
        Error = "error",
        /// Something needs attention.
        Warn = "warn",
        /// Start, stop, rooms.
        Info = "info",
        /// Connections.
        Debug = "debug",
        /// Frames.
        Trace = "trace",
    }
}

choices! {
    /// The service of the GIF search.
    GifService {
        /// No search.
        Off = "off",
        /// KLIPY.
        Klipy = "klipy",
        /// GIPHY.
        Giphy = "giphy",
        /// One that answers as Tenor's second version did.
        Tenor = "tenor",
    }
}

macro_rules! choice_values {
    ($($Choice:ident),*) => { $(
        impl Value for $Choice {
            const KIND: Kind = Kind::Choice;

            fn read(raw: &Raw, _: &Rule) -> Option<Self> {
                $Choice::from_word(raw.text()?.trim())
            }

            fn allowed(_: &Rule) -> String {
                format!("one of {}", $Choice::words())
            }

            fn json(&self) -> Json {
                json!(self.word())
            }
        }
    )* };
}
choice_values!(GifService, LogFormat, LogLevel, RoomDurability);

impl Value for Vec<Right> {
    const KIND: Kind = Kind::List;

    fn read(raw: &Raw, _: &Rule) -> Option<Self> {
        raw.parts()?.into_iter().map(Right::from_word).collect()
    }

    fn allowed(_: &Rule) -> String {
        format!("a list of {}; empty for none", Right::words())
    }

    fn json(&self) -> Json {
        json!(self.iter().map(|right| right.word()).collect::<Vec<_>>())
    }
}
