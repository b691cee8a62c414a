//! Sources: the file, the environment and the flags, read into one list of given values.
//!
//! Why: precedence is then only the order of the list, and every value keeps its source until it is shown.
//! Invariant: a name that is not in the table is always reported, and each fault is reported with its source.
//! Not here: whether a value is allowed (`value`), which source takes precedence (`mod`).

use super::keys::{self, ENV_PREFIX, Key};
use super::suggest;
use super::value::Raw;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The environment name of the file's path.
pub const FILE_ENV: &str = "GRANDSTAND_CONFIG";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No source set it.
    Default,
    /// A line, counted from 1, of the file.
    File(PathBuf, usize),
    /// An environment variable.
    Env(&'static str),
    /// A flag, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path, line) => write!(f, "file {}:{line}", path.display()),
            Source::Env(name) => write!(f, "env {name}"),
            Source::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// One value, its key and its source.
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// The values so far, and the faults of all others.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) given: Vec<Given>,
    pub(super) faults: Vec<String>,
}

impl Gathered {
    /// Read a TOML file; `named_by` is the source of its path.
    pub(super) fn file(&mut self, path: &Path, named_by: &str) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.faults.push(unreadable(path, named_by, &error)),
        };
        match DeTable::parse(&text) {
            Ok(table) => File { path, text: &text, into: self }.sections(table.get_ref()),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_at(&text, span.start));
                let what = error.message().trim().replace('\n', ", ");
                self.faults.push(format!("{}:{line}: not valid TOML: {what}", path.display()));
            }
        }
    }

    /// Take every `GRANDSTAND_...` variable of the environment.
    pub(super) fn env(&mut self, env: &[(String, String)]) {
        let ours = |(name, _): &&(String, String)| name.starts_with(ENV_PREFIX) && name != FILE_ENV;
        for (name, value) in env.iter().filter(ours) {
            match keys::all().iter().find(|key| key.env == name) {
                Some(key) => self.take(key, Raw::Text(value.clone()), Source::Env(key.env)),
                None if is_service_link(name, value) => {}
                None => {
                    let near = suggest::nearest(&name[ENV_PREFIX.len()..]).env;
                    self.faults
                        .push(format!("unknown environment variable {name}; the nearest key is {near}"));
                }
            }
        }
    }

    /// Take flags, by flag name or dotted name.
    pub(super) fn flags(&mut self, flags: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in flags {
            match keys::all().iter().find(|key| key.flag == name || key.name == name) {
                Some(key) => self.take(key, Raw::Text(value), Source::Flag(key.flag)),
                None => {
                    let near = suggest::nearest(&name).flag;
                    self.faults.push(format!("unknown flag --{name}; the nearest key is --{near}"));
                }
            }
        }
    }

    fn take(&mut self, key: &'static Key, raw: Raw, source: Source) {
        self.given.push(Given { key, raw, source });
    }
}

/// Kubernetes sets these for a Service named `grandstand` or `grandstand-...` in every pod beside it.
fn is_service_link(name: &str, value: &str) -> bool {
    let address = value.starts_with("tcp://") || value.starts_with("udp://");
    let port =
        name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || port
        || (name.ends_with("_PORT") && address)
}

fn unreadable(path: &Path, named_by: &str, error: &std::io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::NotFound => {
            "write one with `grandstand config --sample`, or leave it out to run on the defaults"
        }
        ErrorKind::PermissionDenied => "let the user that runs the node read it",
        ErrorKind::InvalidData => "it must be UTF-8 text in TOML; `grandstand config --sample` shows one",
        _ => "it must be a readable TOML file; `grandstand config --sample` shows one",
    };
    format!("cannot read the configuration file {} (from {named_by}): {error}; {advice}", path.display())
}

/// A file that is being read into the list.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    into: &'a mut Gathered,
}

impl File<'_> {
    fn sections(&mut self, file: &DeTable<'_>) {
        for (name, value) in in_file_order(file) {
            let line = line_at(self.text, name.span().start);
            match value.get_ref() {
                DeValue::Table(fields) => self.fields(name.get_ref(), fields, line),
                _ if keys::all().iter().any(|key| key.section == name.get_ref()) => self.fault(
                    line,
                    &format!(
                        "`{0}` is a section, not a value: write [{0}] and its keys below",
                        name.get_ref()
                    ),
                ),
                _ => self.unknown(name.get_ref(), line),
            }
        }
    }

    fn fields(&mut self, section: &str, fields: &DeTable<'_>, line: usize) {
        if fields.is_empty() && !keys::all().iter().any(|key| key.section == section) {
            let near = suggest::nearest_section(section);
            self.fault(line, &format!("unknown section [{section}]; the nearest is [{near}]"));
        }
        for (field, value) in in_file_order(fields) {
            let line = line_at(self.text, field.span().start);
            let name = format!("{section}.{}", field.get_ref());
            match keys::named(&name) {
                Some(key) => {
                    self.into.take(key, raw(value.get_ref()), Source::File(self.path.to_owned(), line));
                }
                None => self.unknown(&name, line),
            }
        }
    }

    fn unknown(&mut self, name: &str, line: usize) {
        let near = suggest::nearest(name).name;
        self.fault(line, &format!("unknown key {name}; the nearest key is {near}"));
    }

    fn fault(&mut self, line: usize, what: &str) {
        self.into.faults.push(format!("{}:{line}: {what}", self.path.display()));
    }
}

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The parser sorts by name; faults are reported from the top of the file down.
fn in_file_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Str(text.to_string()),
        DeValue::Boolean(on) => Raw::Bool(*on),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other("integer"), Raw::Int)
        }
        DeValue::Array(list) => Raw::List(list.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(_) => Raw::Other("number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Table(_) => Raw::Other("table"),
    }
}

/// The line, counted from 1, that holds this byte.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().filter(|&&b| b == b'\n').count()
}
