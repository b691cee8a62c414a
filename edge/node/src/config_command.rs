//! The command line: a flag per key, and the `config` command.
//!
//! Why: `--help` is made from the table, so it cannot miss a key or contradict its default.
//! Invariant: a flag's id is the key's dotted name.
//! Not here: the binary's other commands (`main`), keys and what a value may be (`grandstand_edge::config`).

use clap::{Arg, ArgAction, ArgMatches, Command};
use grandstand_edge::config::{self, Config, ConfigError, Effective, Key, Kind, environment, load};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE_FLAG: &str = "config";

/// Adds `--config` and a flag for every key, grouped by section.
pub fn flags(command: Command) -> Command {
    let file = Arg::new(FILE_FLAG)
        .long(FILE_FLAG)
        .value_name("PATH")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("Configuration file (TOML) [env: {}]", config::FILE_ENV))
        .long_help(format!(
            "Configuration file (TOML). A flag counts before the environment, that before the file, and the file before \
             the default.\n[env: {}] `grandstand config --sample` writes one with every key",
            config::FILE_ENV
        ));
    let defaults = Config::default();
    config::keys().iter().fold(command.arg(file), |command, key| command.arg(flag(key, &defaults)))
}

/// The `config` command: prints what counts and where it came from, or a sample file.
pub fn command() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).display_order(0)
    };
    let command = Command::new("config")
        .about("Print the effective configuration with the source of each value")
        .long_about(
            "Print the effective configuration with the source of each value, for the file, environment and flags given \
             here. What it prints is a valid configuration file; secrets are left out.",
        )
        .arg(switch("sample", "Print a sample file instead: every key, its default, bounds and reason"))
        .arg(switch("json", "Print one JSON object instead").conflicts_with("sample"));
    flags(command)
}

/// Runs the `config` command.
///
/// # Errors
/// Those of [`load`]; an error of the writer is returned inside. A reader that has seen enough (`| head`) is
/// none.
pub fn run(matches: &ArgMatches, out: &mut impl Write) -> Result<io::Result<()>, ConfigError> {
    let written = if matches.get_flag("sample") {
        out.write_all(config::sample().as_bytes())
    } else if matches.get_flag("json") {
        from_matches(matches)?.print_json(out)
    } else {
        from_matches(matches)?.print(out)
    };
    Ok(written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }))
}

/// [`load`] with the process's environment and a command line that [`flags`] made.
///
/// # Errors
/// Those of [`load`].
pub fn from_matches(matches: &ArgMatches) -> Result<Effective, ConfigError> {
    let file = matches.get_one::<PathBuf>(FILE_FLAG).map(PathBuf::as_path);
    load(file.map(Path::new), environment(), given(matches))
}

/// The flags that were given, by dotted name.
pub fn given(matches: &ArgMatches) -> Vec<(String, String)> {
    let text = |key: &'static Key| {
        let values = matches.get_many::<String>(key.name)?;
        Some((key.name.to_owned(), values.map(String::as_str).collect::<Vec<_>>().join(",")))
    };
    config::keys().iter().filter_map(text).collect()
}

fn flag(key: &'static Key, defaults: &Config) -> Arg {
    let default = shown(key, defaults);
    let arg = Arg::new(key.name)
        .long(key.flag)
        .value_name(value_name(key.kind))
        .help_heading(key.title)
        .help(format!("{} [default: {default}]", first_sentence(key.doc)))
        .long_help(format!(
            "{}\n[default: {default}] Why: {}\n[allowed: {}]\n[env: {}] [file: {}]",
            key.doc,
            key.why,
            key.allowed(),
            key.env,
            key.name,
        ))
        .allow_hyphen_values(key.kind == Kind::Secret)
        .allow_negative_numbers(key.kind != Kind::Secret);
    match key.kind {
        Kind::Switch => arg.num_args(0..=1).default_missing_value("true"),
        Kind::List => arg.action(ArgAction::Append),
        _ => arg,
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "true|false",
        Kind::Number => "N",
        Kind::Text => "TEXT",
        Kind::Address => "ADDRESS|off",
        Kind::Path => "PATH",
        Kind::Secret => "SECRET",
        Kind::Choice => "WORD",
        Kind::List => "A,B",
    }
}

/// The default as a flag would take it.
fn shown(key: &Key, defaults: &Config) -> String {
    match key.value(defaults) {
        serde_json::Value::String(text) if text.is_empty() => "none".to_owned(),
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(items) => {
            items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.')
}
