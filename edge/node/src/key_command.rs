//! The command `key`: makes, lists and revokes keys of the HTTP API on the command line.
//!
//! Why beside the API's own operations: the first key cannot be made by a key, and the file that the nodes of
//! a cluster share is an operator's. A running node knows a key from the next request on. Exit codes: 0
//! done, 1 not done, 2 a wrong command line.
//! Invariant: a key itself is printed once, when it is made, and stored nowhere.
//! Not here: what a key is (`api_keys`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use grandstand_edge::clock::Clock;
use grandstand_edge::config;
use grandstand_protocol::limits::ROOM_NAME_BYTES_MAX;
use serde_json::{Value, json};

use crate::api_keys::{ApiKey, ApiKeys, CreateError, LIVE_PER_NAME, NAME_CHARS_MAX, NewKey, Scopes, is_env};
use crate::database::Database;

/// The longest life of a key that has an end.
const DAYS_MAX: u64 = 3_650;

/// The command.
pub fn command() -> Command {
    let create = Command::new("create")
        .about("Make a key of the HTTP API, and print it once")
        .arg(Arg::new("name").long("name").value_name("NAME").required(true).help("Whose it is; a name has at most two live keys"))
        .arg(
            Arg::new("scopes")
                .long("scopes")
                .value_name("LIST")
                .required(true)
                .value_delimiter(',')
                .help("What it may do, separated by commas: publish, rooms:read, rooms:write, mod, guide:read, guide:write, uploads, admin, drain, backups, webhooks"),
        )
        .arg(Arg::new("env").long("env").value_name("NAME").default_value("live").help("The environment in its text: small letters and digits"))
        .arg(Arg::new("room-prefix").long("room-prefix").value_name("TEXT").default_value("").help("What the names of its rooms must begin with"))
        .arg(
            Arg::new("days")
                .long("days")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=DAYS_MAX))
                .help("After how many days it ends by itself; left out: it does not"),
        );
    let list = Command::new("list").about("List all keys of the HTTP API, without the keys themselves");
    let revoke =
        Command::new("revoke").about("Revoke a key of the HTTP API: its next request is refused").arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .help("What it is called by: key_ and 16 letters and digits"),
        );
    let with_place = |command: Command| {
        command
            .arg(path("dir", "DIR", "Folder of node.db; the configuration's log.dir when left out"))
            .arg(path("file", "FILE", "The file of api.keys_file, in place of node.db"))
            .arg(path("config", "FILE", "The configuration"))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one object of JSON"))
    };
    Command::new("key")
        .about("Make, list and revoke keys of the HTTP API")
        .after_long_help(
            "Examples:\n  grandstand key create --name app --scopes publish,rooms:read\n  \
             grandstand key create --name app --scopes publish --file /etc/grandstand/api-keys.jsonl\n  \
             grandstand key list\n  grandstand key revoke key_0123456789abcdef",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([with_place(create), with_place(list), with_place(revoke)])
}

fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
}

/// Carry the command out. Whether it was done.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(matches: &ArgMatches, out: &mut dyn Write) -> io::Result<bool> {
    let (name, matches) = matches.subcommand().expect("clap asks for one");
    let is_json = matches.get_flag("json");
    let done = match name {
        "create" => create(matches),
        "list" => list(matches),
        _ => revoke(matches),
    };
    match done {
        Ok((_, said)) if is_json => writeln!(out, "{said}")?,
        Ok((text, _)) => writeln!(out, "{text}")?,
        Err(fault) => {
            if is_json {
                writeln!(out, "{}", json!({ "error": fault }))?;
            } else {
                // If standard error is closed, the exit code still tells.
                let _ = writeln!(io::stderr().lock(), "error: {fault}");
            }
            return Ok(false);
        }
    }
    Ok(true)
}

type Done = Result<(String, Value), String>;

fn create(matches: &ArgMatches) -> Done {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let words = matches.get_many::<String>("scopes").into_iter().flatten().map(String::as_str);
    let keys = ApiKeys::new(Clock::start());
    let days = matches.get_one::<u64>("days");
    let new = NewKey {
        name: text("name"),
        env: text("env"),
        scopes: Scopes::from_words(words)?,
        room_prefix: text("room-prefix"),
        expires_ms: days.map(|days| keys.now_ms() + days * 24 * 3_600_000),
    };
    check(&new)?;
    let made = match matches.get_one::<PathBuf>("file") {
        Some(file) => keys.create_in_file(file, &new).map(|(secret, key)| (secret, key.id)),
        None => {
            open(&keys, matches)?;
            keys.create(&new).map(|(secret, key)| (secret, key.id.clone()))
        }
    };
    let (secret, id) = made.map_err(|error| match error {
        CreateError::TooMany => {
            format!("{} has {LIVE_PER_NAME} live keys: revoke one first (`grandstand key list`)", new.name)
        }
        CreateError::Failed(fault) => fault,
    })?;
    let said = json!({ "id": id, "secret": secret.expose() });
    Ok((format!("{}\n{id}: keep it now, it is not shown again", secret.expose()), said))
}

fn check(new: &NewKey) -> Result<(), String> {
    let chars = new.name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || new.name.chars().any(char::is_control) {
        return Err(format!(
            "got the name {:?}, expected 1 to {NAME_CHARS_MAX} characters, none a control character",
            new.name
        ));
    }
    if !is_env(&new.env) {
        return Err(format!("got the environment {:?}, expected 1 to 16 small letters and digits", new.env));
    }
    if new.room_prefix.len() > ROOM_NAME_BYTES_MAX {
        return Err(format!("a prefix of rooms has at most {ROOM_NAME_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn list(matches: &ArgMatches) -> Done {
    let keys = ApiKeys::new(Clock::start());
    match matches.get_one::<PathBuf>("file") {
        Some(file) => keys.read_file(Some(file))?,
        None => open(&keys, matches)?,
    }
    let (all, now_ms) = (keys.all(), keys.now_ms());
    let line = |key: &ApiKey| {
        let state = if key.is_live(now_ms) { "live" } else { "ended" };
        let rooms =
            if key.room_prefix.is_empty() { String::new() } else { format!(" rooms {}*", key.room_prefix) };
        format!("{} {state:5} {} {:?}{rooms}", key.id, key.name.escape_debug(), key.scopes)
    };
    let shown = |key: &ApiKey| {
        json!({
            "id": key.id, "name": key.name, "scopes": key.scopes.words(), "room_prefix": key.room_prefix,
            "live": key.is_live(now_ms), "created_ms": key.created_ms, "expires_ms": key.expires_ms,
            "revoked_ms": key.revoked_ms, "used_ms": key.used_ms(),
        })
    };
    let lines: Vec<String> = all.iter().map(|key| line(key)).collect();
    let text = if lines.is_empty() { "no keys".to_owned() } else { lines.join("\n") };
    Ok((text, json!({ "keys": all.iter().map(|key| shown(key)).collect::<Vec<_>>() })))
}

fn revoke(matches: &ArgMatches) -> Done {
    let id = matches.get_one::<String>("id").expect("clap asks for it");
    if let Some(file) = matches.get_one::<PathBuf>("file") {
        return Err(format!("remove the line of {id} from {}: the nodes read it again", file.display()));
    }
    let keys = ApiKeys::new(Clock::start());
    open(&keys, matches)?;
    match keys.revoke(id)? {
        true => Ok((format!("{id} is revoked"), json!({ "id": id, "revoked": true }))),
        false => Err(format!("no key {id} is in force (`grandstand key list`)")),
    }
}

/// Open the database of the folder that the command line or the configuration names.
fn open(keys: &ApiKeys, matches: &ArgMatches) -> Result<(), String> {
    let dir = match matches.get_one::<PathBuf>("dir") {
        Some(dir) => dir.clone(),
        None => {
            let file = matches.get_one::<PathBuf>("config").map(PathBuf::as_path);
            let loaded = config::load(file, config::environment(), []).map_err(|error| error.to_string())?;
            let none = "no folder: name it by --dir, or set log.dir; without one a node keeps its keys only until it stops";
            loaded.config.log.dir.clone().ok_or(none)?
        }
    };
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    keys.open(&Database::of(Some(Path::new(&dir))))
}
