//! Printing: the effective configuration with its sources, and the commented sample file.
//!
//! Why: the output is itself a valid file, so an operator can change it and load it again.
//! Invariant: secrets are never printed. Where one is set, a comment says so.
//! Not here: the texts (`table`), help of the flags (the node's `config_command`).

use super::keys::{self, Key};
use super::{Config, Effective};
use serde_json::{Value as Json, json};
use std::io::{self, Write};

/// Width at which comments of the sample wrap: easy to read, and a diff of it still fits a screen.
const WRAP_COLUMNS: usize = 100;

impl Effective {
    /// Writes every value with its source, as a TOML file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "# The effective configuration: value and source of every key.")?;
        let mut section = "";
        for (key, source) in keys::all().iter().zip(&self.sources) {
            if section != key.section {
                section = key.section;
                writeln!(out, "\n[{section}]")?;
            }
            let line = setting(key, &self.config);
            writeln!(out, "{line:<44} # {source}")?;
        }
        Ok(())
    }

    /// Writes one JSON object: for each dotted name its `value` and `source`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        let entry = |(key, source): (&Key, &super::Source)| {
            (key.name.to_owned(), json!({ "value": key.value(&self.config), "source": source.to_string() }))
        };
        let all: serde_json::Map<String, Json> = keys::all().iter().zip(&self.sources).map(entry).collect();
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)
    }
}

/// `field = value`, commented out for a secret that is set.
fn setting(key: &Key, config: &Config) -> String {
    let value = key.value(config);
    if key.is_secret() && value != "" {
        return format!("# {} = (set)", key.field);
    }
    format!("{} = {}", key.field, toml_value(&value))
}

/// The sample file: every key with its default, commented out, and all texts of the table.
pub fn sample() -> String {
    let mut text = String::from(
        "# Grandstand: every key of the configuration with its default.\n\
         #\n\
         # Give this file with --config PATH or GRANDSTAND_CONFIG. Remove the # before a key to set it.\n\
         # A flag takes precedence over the environment, the environment over this file, and this file over the\n\
         # default.\n",
    );
    let defaults = Config::default();
    let mut section = "";
    for key in keys::all() {
        if section != key.section {
            section = key.section;
            text += &format!("\n# {}.\n[{section}]\n", key.title);
        }
        text += "\n";
        let about = format!("{} Allowed: {}.", key.doc, key.allowed());
        let why = format!("Why this default: {}.", key.why);
        let names = format!("Also: --{}, {}", key.flag, key.env);
        [about, why, names].iter().for_each(|paragraph| wrap(paragraph, &mut text));
        text += &format!("#{} = {}\n", key.field, toml_value(&key.value(&defaults)));
    }
    text
}

fn wrap(paragraph: &str, into: &mut String) {
    let mut line = String::from("#");
    for word in paragraph.split_whitespace() {
        if line.len() + 1 + word.len() > WRAP_COLUMNS {
            *into += &line;
            *into += "\n";
            line = String::from("#");
        }
        line += " ";
        line += word;
    }
    *into += &line;
    *into += "\n";
}

/// A value in TOML. JSON's strings, numbers, booleans and arrays are valid TOML, except for one control
/// character.
pub(super) fn toml_value(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}
