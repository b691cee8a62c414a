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
            "Configuration file (TOML). A flag takes precedence over the environment, the environment over the file, and the \
             file over the default.\n[env: {}] `grandstand config --sample` prints one with every key",
            config::FILE_ENV
        ));
    let defaults = Config::default();
    config::keys().iter().fold(command.arg(file), |command, key| command.arg(flag(key, &defaults)))
}

/// The flags that a first node needs, which `serve -h` shows.
const MOST_IMPORTANT: [&str; 13] = [
    "ws.listen",
    "wss.listen",
    "quic.listen",
    "admin.listen",
    "admin.key_file",
    "tls.cert",
    "tls.key",
    "auth.hs256_secret_file",
    "auth.eddsa_public_key_file",
    "log.dir",
    "log.level",
    "log.format",
    "log.file",
];

const SHORT_HELP: &str = "short-help";

/// The `serve` command: runs a node. `-h` fits a screen, `--help` explains every flag.
pub fn serve() -> Command {
    let command = Command::new("serve")
        .about("Run a node")
        .long_about(
            "Run a node. Without a flag it listens on loopback: WebSocket at 7400, WebSocket over TLS and QUIC at 7443, the \
             admin port at 7480. With --log-dir it keeps messages on disk. SIGTERM or Ctrl-C drains it: clients are told \
             to reconnect elsewhere, then it stops.",
        )
        .disable_help_flag(true)
        .arg(
            Arg::new(SHORT_HELP)
                .short('h')
                .action(ArgAction::SetTrue)
                .help("Print the most important flags"),
        )
        .arg(
            Arg::new("help")
                .long("help")
                .action(ArgAction::HelpLong)
                .help("Print every flag, with its default and the reason for it"),
        );
    flags(command)
}

/// Was `serve -h` given? clap's own short help would list every flag.
pub fn wants_short_help(matches: &ArgMatches) -> bool {
    matches.get_flag(SHORT_HELP)
}

/// What `serve -h` prints: 24 lines of 80 columns at most.
pub fn short_help() -> String {
    let mut text = String::from(
        "Run a node. Without a flag it listens on loopback: WebSocket at 7400, WebSocket\n\
         over TLS and QUIC at 7443, the admin port at 7480. SIGTERM drains and stops it.\n\n\
         Usage: grandstand serve [--config PATH] [--KEY VALUE]...\n\n",
    );
    let line = |flag: String, about: &str| format!("  {flag:<33}  {about}\n");
    text += &line(format!("--{FILE_FLAG} PATH"), "Configuration file (TOML)");
    for name in MOST_IMPORTANT {
        let key = config::key(name).expect("a key of the table");
        let about = first_clause(key.doc);
        text += &line(format!("--{} {}", key.flag, value_name(key.kind)), about);
    }
    text += "\n`grandstand serve --help` explains every flag, with its default and reason.\n\
             `grandstand config --sample` prints a configuration file with every key.\n";
    text
}

/// The `config` command: prints the configuration in effect with its sources, or a sample file.
pub fn command() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).display_order(0)
    };
    let command = Command::new("config")
        .about("Print the effective configuration with the source of each value")
        .long_about(
            "Print the effective configuration with the source of each value, for the file, the environment and the flags of \
             this command. The output is a valid configuration file; secrets are left out.",
        )
        .after_help("Every flag of `grandstand serve` is accepted too: `grandstand config --help` lists them.")
        .arg(switch("sample", "Print a sample file instead: every key, its default, bounds and reason"))
        .arg(switch("json", "Print one JSON object instead").conflicts_with("sample"));
    flags(command)
}

/// Runs the `config` command.
///
/// # Errors
/// The errors of [`load`]. An error of the writer is returned inside. A reader that closes the pipe (`|
/// head`) is not an error.
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
/// The errors of [`load`].
pub fn from_matches(matches: &ArgMatches) -> Result<Effective, ConfigError> {
    let file = matches.get_one::<PathBuf>(FILE_FLAG).map(PathBuf::as_path);
    load(file.map(Path::new), environment(), given(matches))
}

/// Whether log lines would be JSON, as far as a configuration that cannot be used tells: by flag, environment
/// or file.
pub fn wants_json_log(matches: &ArgMatches) -> bool {
    let given = given(matches).into_iter().find(|(name, _)| name == "log.format");
    let in_env = || environment().into_iter().find(|(name, _)| name == "GRANDSTAND_LOG_FORMAT");
    if let Some((_, format)) = given.or_else(in_env) {
        return format == "json";
    }
    let named = matches.get_one::<PathBuf>(FILE_FLAG).cloned();
    let path = named.or_else(|| std::env::var_os(config::FILE_ENV).map(PathBuf::from));
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    // The file may be what is wrong, so it is not parsed as a whole.
    let is_line = |line: &str| line.replace([' ', '"', '\''], "").starts_with("format=json");
    text.is_some_and(|text| text.lines().any(is_line))
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
        .hide_short_help(true)
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

/// The default in the form of a flag's value.
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

/// The first clause of a key's help, without its conditions.
fn first_clause(doc: &str) -> &str {
    let ends = [". ", ", ", "; ", ": ", " ("];
    ends.iter().filter_map(|end| doc.find(end)).min().map_or(doc.trim_end_matches('.'), |end| &doc[..end])
}

fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.')
}
