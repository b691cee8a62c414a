//! The command `webhook`: endpoints of webhooks, on the command line of the machine that keeps their outbox.
//!
//! Why over the database: an operator can look at dead letters while no node runs. A running node notices a
//! change within a second.
//! Exit codes: 0 done, 1 not done, 2 a wrong command line.
//! Not here: the same over HTTP (`webhooks::api`), sending (`webhooks::thread`).

use std::io::{self, Write};

use clap::{Arg, ArgMatches, Command, value_parser};
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use serde_json::{Value, json};

use crate::config_command;
use crate::database::Database;
use crate::webhooks::{self, Secret, Store};

const EXAMPLES: &str = "\
Examples:
  grandstand webhook add https://app.example.org/hooks --config /etc/grandstand.toml
  grandstand webhook add https://app.example.org/hooks --events room.opened,room.closed --room-prefix show/
  grandstand webhook list --config /etc/grandstand.toml
  grandstand webhook test 1 --config /etc/grandstand.toml
  grandstand webhook dead 1 --config /etc/grandstand.toml     (what it did not get, and why)
  grandstand webhook replay 1 --config /etc/grandstand.toml   (send that again)";

/// Dead letters that are printed.
const LETTERS: usize = 100;

/// The `webhook` command.
pub fn command() -> Command {
    let id = || Arg::new("id").required(true).value_parser(value_parser!(i64)).help("Number of the endpoint");
    let secret = || {
        Arg::new("secret-file")
            .long("secret-file")
            .value_name("PATH")
            .help("File of its secret (whsec_...); left out: one is made and printed")
    };
    let add = Command::new("add")
        .about("Add an endpoint, and print its secret")
        .arg(Arg::new("url").required(true).help("Its address"))
        .arg(
            Arg::new("events")
                .long("events")
                .value_delimiter(',')
                .help("Events that it gets, such as room.opened,room.closed; left out: all"),
        )
        .arg(
            Arg::new("room-prefix")
                .long("room-prefix")
                .default_value("")
                .help("It gets events of rooms whose names begin so; left out: of all rooms, and the node's"),
        )
        .arg(secret());
    let list = Command::new("list").about("Show the endpoints, and what waits for them");
    let change = Command::new("secret")
        .about("Give an endpoint a new secret; the one before is good beside it until the next change")
        .arg(id())
        .arg(secret());
    let test = Command::new("test").about("Send a test (webhook.test) to an endpoint").arg(id());
    let dead = Command::new("dead").about("Show the messages that an endpoint did not get").arg(id());
    let message = Arg::new("message").long("message").value_name("ID").help("Only the message with this id");
    let replay = Command::new("replay")
        .about("Send messages again that an endpoint did not get; a disabled endpoint is used again")
        .arg(id())
        .arg(message);
    let remove =
        Command::new("remove").about("Remove an endpoint, with the messages that it has not got").arg(id());
    let with_flags = |command: Command| config_command::flags(command);
    Command::new("webhook")
        .about("Endpoints of webhooks: add, test, and send again what they did not get")
        .subcommand_required(true)
        .subcommands([add, list, change, test, dead, replay, remove].map(with_flags))
        .after_help(EXAMPLES)
}

/// Run the command.
///
/// # Errors
/// In a sentence: it was not done.
pub fn run(matches: &ArgMatches, out: &mut impl Write) -> Result<(), String> {
    let Some((name, matches)) = matches.subcommand() else { return Err("no command".to_owned()) };
    let config = config_command::from_matches(matches).map_err(|error| error.to_string())?.config;
    let dir =
        config.log.dir.as_deref().ok_or(
            "log.dir is not set, so the outbox is in the node's memory: use the HTTP API, /v1/webhooks",
        )?;
    let mut store = Store::open(&Database::of(Some(dir)))?;
    let now_ms = Clock::start().unix().as_millis() as u64;
    let id = || matches.get_one::<i64>("id").copied().unwrap_or_default();
    if !["add", "list"].contains(&name) && store.endpoint(id())?.is_none() {
        return Err(format!("there is no endpoint {}: `grandstand webhook list` shows them", id()));
    }
    let answer = match name {
        "add" => add(&store, &config, matches, now_ms)?,
        "list" => list(&store)?,
        "secret" => {
            let secret = secret(matches)?;
            store.change_secret(id(), &secret)?;
            json!({ "id": id().to_string(), "secret": secret.written() })
        }
        "test" => {
            store.put_test(now_ms, id())?;
            json!({ "told": true })
        }
        "dead" => dead(&store, id())?,
        "replay" => {
            let message = matches.get_one::<String>("message");
            json!({ "replayed": store.replay(now_ms, id(), message.map(String::as_str))? })
        }
        "remove" => json!({ "removed": store.remove(id())? }),
        other => return Err(format!("there is no command {other}")),
    };
    print(out, &answer).map_err(|error| error.to_string())
}

fn add(store: &Store, config: &Config, matches: &ArgMatches, now_ms: u64) -> Result<Value, String> {
    let text = |name| matches.get_one::<String>(name).map_or("", String::as_str);
    let kinds: Vec<String> = matches.get_many("events").unwrap_or_default().cloned().collect();
    let (url, room_prefix) = (text("url"), text("room-prefix"));
    if let Some((_, what)) = webhooks::fault(&webhooks::fetcher(config)?, url, &kinds, room_prefix) {
        return Err(what);
    }
    let secret = secret(matches)?;
    let endpoint = store.add(now_ms, url, &kinds, room_prefix, &secret)?;
    let mut answer = endpoint.shown();
    answer["secret"] = secret.written().into();
    if !config.webhooks.enabled {
        answer["hint"] = "webhooks.enabled is false: set it, and restart the node".into();
    }
    Ok(answer)
}

fn list(store: &Store) -> Result<Value, String> {
    let (waiting, dead) = store.counts()?;
    let endpoints: Vec<Value> = store.endpoints()?.iter().map(webhooks::Endpoint::shown).collect();
    Ok(json!({ "endpoints": endpoints, "waiting": waiting, "dead": dead }))
}

fn dead(store: &Store, id: i64) -> Result<Value, String> {
    let shown = |letter: &webhooks::DeadLetter| {
        json!({ "id": letter.id, "type": letter.kind, "room": letter.room, "why": letter.why,
            "dead_ms": letter.dead_ms })
    };
    Ok(json!({ "dead": store.dead(id, LETTERS)?.iter().map(shown).collect::<Vec<_>>() }))
}

fn secret(matches: &ArgMatches) -> Result<Secret, String> {
    let Some(path) = matches.get_one::<String>("secret-file") else { return Secret::random() };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the file of the secret, {path}, cannot be read: {error}"))?;
    Secret::read(text.trim_end())
}

/// JSON, since a secret or an id is copied from it.
fn print(out: &mut impl Write, answer: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    writeln!(out)
}
