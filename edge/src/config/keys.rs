//! Keys: the description of each line of the table, and the macro that reads the table.
//!
//! Why: sources, flags, printing and the sample file all walk one list, so none of them can forget a key.
//! Invariant: `all()` has each dotted name once, in the order of the table, with each section in one run.
//! Not here: the lines themselves (`table`), values (`value`).

use super::table::{self, Config};
use super::value::{Kind, Raw, Rule};
use std::sync::LazyLock;

/// Prefix of all environment names.
pub(super) const ENV_PREFIX: &str = "GRANDSTAND_";

/// One configurable value: its names in every source and its texts.
pub struct Key {
    /// Section of the file: `ws`.
    pub section: &'static str,
    /// Name within the section: `listen`.
    pub field: &'static str,
    /// Title of the section.
    pub title: &'static str,
    /// Dotted name: `ws.listen`.
    pub name: &'static str,
    /// Environment variable: `GRANDSTAND_WS_LISTEN`.
    pub env: &'static str,
    /// Flag without dashes: `ws-listen`.
    pub flag: &'static str,
    /// Its effect, and what happens at its bound.
    pub doc: &'static str,
    /// The reason for the default.
    pub why: &'static str,
    /// The shape of its value.
    pub kind: Kind,
    pub(super) rule: Rule,
    pub(super) access: Access,
}

/// Functions that read and set the typed field of a key.
pub(super) struct Access {
    pub(super) set: fn(&mut Config, &Raw, &Rule) -> bool,
    pub(super) json: fn(&Config) -> serde_json::Value,
    pub(super) allowed: fn(&Rule) -> String,
}

/// The texts of one line of the table.
pub(super) struct Line {
    pub(super) section: &'static str,
    pub(super) field: &'static str,
    pub(super) title: &'static str,
    pub(super) doc: &'static str,
    pub(super) why: &'static str,
    pub(super) bounds: &'static [u64],
}

/// Every key, in the order of the table.
pub fn all() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(table::keys);
    &KEYS
}

/// The key with this dotted name.
pub fn named(name: &str) -> Option<&'static Key> {
    all().iter().find(|key| key.name == name)
}

impl Key {
    pub(super) fn new(line: &Line, kind: Kind, access: Access) -> Key {
        let name = format!("{}.{}", line.section, line.field);
        let env = format!("{}{}", ENV_PREFIX, name.replace('.', "_").to_uppercase());
        let flag = name.replace(['.', '_'], "-");
        let bounds = match line.bounds {
            [] => None,
            [low, high] => Some((*low, *high)),
            other => panic!("{name}: bounds are [lowest, highest] or [], not {other:?}"),
        };
        Key {
            section: line.section,
            field: line.field,
            title: line.title,
            // Leaked once per key and process, since clap keeps ids as 'static.
            name: name.leak(),
            env: env.leak(),
            flag: flag.leak(),
            doc: line.doc,
            why: line.why,
            kind,
            rule: Rule { bounds, bytes: line.field.contains("_bytes") },
            access,
        }
    }

    /// The allowed values in words: `an integer from 5 to 1000`.
    pub fn allowed(&self) -> String {
        (self.access.allowed)(&self.rule)
    }

    /// The bounds, if there are any: lowest and highest number, or shortest and longest text in bytes.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        self.rule.bounds
    }

    /// Whether the value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }

    /// The value in this configuration; a secret is `(set)` or empty.
    pub fn value(&self, config: &Config) -> serde_json::Value {
        (self.access.json)(config)
    }

    /// Set the value; false when `raw` is not allowed.
    pub(super) fn set(&self, config: &mut Config, raw: &Raw) -> bool {
        (self.access.set)(config, raw, &self.rule)
    }
}

/// Turns lines of the table into sections of [`Config`](super::Config), and into their keys.
macro_rules! config_sections {
    ($( $section:ident: $Section:ident = $title:literal {
        $( $field:ident: $ty:ty = $default:expr, [$($bound:expr),*], $doc:literal, $why:literal; )*
    } )*) => {
        $(
            #[doc = concat!($title, ".")]
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {
                $(
                    #[doc = $doc]
                    #[doc = ""]
                    #[doc = concat!("Why this default: ", $why, ".")]
                    pub $field: $ty,
                )*
            }
            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $field: $default, )* }
                }
            }
        )*
        pub(super) fn keys() -> Vec<$crate::config::Key> {
            use $crate::config::keys::{Access, Key, Line};
            use $crate::config::value::Value;
            vec![$( $(
                Key::new(
                    &Line {
                        section: stringify!($section),
                        field: stringify!($field),
                        title: $title,
                        doc: $doc,
                        why: $why,
                        bounds: &[$($bound),*],
                    },
                    <$ty as Value>::KIND,
                    Access {
                        set: |config, raw, rule| <$ty as Value>::read(raw, rule)
                            .map(|value| config.$section.$field = value)
                            .is_some(),
                        json: |config| Value::json(&config.$section.$field),
                        allowed: <$ty as Value>::allowed,
                    },
                ),
            )* )*]
        }
    };
}
pub(super) use config_sections;
