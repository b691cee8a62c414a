//! The command `cluster`: makes a cluster, shows it, and gives orders to its nodes, on the command line.
//!
//! Why in the node's own program: it takes the node's configuration, so it cannot speak of another cluster.
//! Exit codes: 0 done and well, 1 not done or not well, 2 a wrong command line.
//! Not here: what a stream must be (`grandstand_nats`), what a move does (`grandstand_cluster`).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use grandstand_cluster::link::VERSIONS;
use grandstand_cluster::membership::Facts;
use grandstand_edge::auth::Tickets;
use grandstand_edge::config::Config;
use grandstand_nats::admin::{self, Agreed, Progress};
use serde_json::{Value, json};

use crate::cluster;
use crate::config_command;
use crate::{cluster_import, cluster_repair};

/// How long a node may take to answer at its admin port.
const WITHIN: Duration = Duration::from_secs(12);
/// How long a move or a drain is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  grandstand cluster init --config /etc/grandstand.toml      (once, from any node)
  grandstand cluster status --config /etc/grandstand.toml
  grandstand cluster move 3 1 --config /etc/grandstand.toml  (shard 3 to node 1)
  grandstand cluster drain 1 --config /etc/grandstand.toml   (node 1 gives all away)
  grandstand cluster drain 1 --undo --config /etc/grandstand.toml
  grandstand cluster check --config /etc/grandstand.toml     (streams, servers and facts)
  grandstand cluster import --from /var/lib/old --config /etc/grandstand.toml
  grandstand cluster repair 3 --config /etc/grandstand.toml  (shows; --yes makes the log of shard 3 anew)";

/// The `cluster` command.
pub fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).required(true).value_parser(value_parser!(u16)).help(help)
    };
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object instead");
    let init = Command::new("init")
        .about("Make the streams and write the facts of a cluster; run again, it only looks")
        .arg(json())
        .arg(
            Arg::new("shards-of-cluster")
                .long("shards")
                .value_name("N")
                .default_value("6")
                .value_parser(value_parser!(u16).range(1..=64))
                .help("Number of shards; it cannot change later"),
        );
    let status = Command::new("status")
        .about("Show each shard, its owner and its log, as this node sees it")
        .arg(json());
    let moved = Command::new("move")
        .about("Hand a shard over to a node; run it at any node")
        .arg(json())
        .arg(number("shard", "The shard"))
        .arg(number("node", "The node that gets it: its place in cluster.nodes"));
    let drain = Command::new("drain")
        .about("Take a node out of service without ending it, or back; run it at any node")
        .arg(json())
        .arg(number("node", "The node: its place in cluster.nodes"))
        .arg(Arg::new("undo").long("undo").action(ArgAction::SetTrue).help("The node serves again"));
    let finish = Command::new("finish-upgrade")
        .about("Write by the newest version from now on, when all nodes know it; there is no way back")
        .arg(json());
    let grow = Command::new("grow")
        .about("Make five nodes of three, while all are stopped: the configuration lists five")
        .arg(json());
    let check = Command::new("check").about("Check streams, servers and facts of the cluster").arg(json());
    Command::new("cluster")
        .about("Make a cluster of nodes, show it, give orders to its nodes")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(
            [
                init,
                status,
                moved,
                drain,
                finish,
                grow,
                check,
                cluster_repair::command(),
                cluster_import::command(),
            ]
            .map(config_command::flags),
        )
}

struct Failed(String, String);

/// Run the command; `Ok(false)` when it could not be done, or something is wrong.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(matches: &ArgMatches, out: &mut impl Write) -> io::Result<bool> {
    let (name, matches) = matches.subcommand().expect("clap asks for one");
    let done = config_of(matches).and_then(|config| match name {
        "init" => init(&config, matches),
        "status" => status(&config),
        "move" => move_shard(&config, matches),
        "repair" => repair(&config, matches),
        "import" => import(&config, matches),
        "drain" => drain(&config, matches),
        "finish-upgrade" => finish_upgrade(&config),
        "grow" => grow(&config),
        _ => check(&config),
    });
    match done {
        Ok((value, _)) if matches.get_flag("json") => writeln!(out, "{value}").map(|()| true),
        Ok((_, text)) => writeln!(out, "{text}").map(|()| true),
        Err(Failed(what, hint)) => {
            if matches.get_flag("json") {
                writeln!(out, "{}", json!({ "error": what, "hint": hint }))?;
            }
            // If standard error is closed, the exit code still reports the error.
            let _ = writeln!(io::stderr().lock(), "error: {what}\nhelp: {hint}");
            Ok(false)
        }
    }
}

fn config_of(matches: &ArgMatches) -> Result<Config, Failed> {
    let effective = config_command::from_matches(matches).map_err(|error| {
        Failed(error.to_string(), "`grandstand config --sample` prints every key".to_owned())
    })?;
    if !effective.config.is_clustered() {
        let hint = "set cluster.name and the other keys of that section";
        return Err(Failed("the configuration is of a node that stands alone".to_owned(), hint.to_owned()));
    }
    Ok(effective.config)
}

fn network(config: &Config) -> Result<grandstand_nats::Config, Failed> {
    let clock = grandstand_engine::runtime::clock::Clock::start();
    cluster::network(config, clock).map_err(|error| Failed(error.to_string(), error.hint().to_owned()))
}

fn print_of(config: &Config) -> Result<u64, Failed> {
    let tickets =
        Tickets::from_config(config).map_err(|error| Failed(error, "see auth.ticket_key_file".to_owned()))?;
    // The cluster is made with the key that is there longest: newer ones stand before it.
    Ok(*tickets.prints().last().expect("there is a key"))
}

/// Make a cluster of this configuration, or find it. Returns its facts. It waits for the servers: not for a
/// thread with a runtime.
///
/// # Errors
/// What is wrong, and what to do.
pub fn make(config: &Config, shards: u16) -> Result<Facts, String> {
    make_and_say(config, shards)
        .map(|(facts, _)| facts)
        .map_err(|Failed(what, hint)| format!("{what}; {hint}"))
}

fn init(config: &Config, matches: &ArgMatches) -> Result<(Value, String), Failed> {
    let shards = *matches.get_one::<u16>("shards-of-cluster").expect("it has a default");
    let (facts, mut lines) = make_and_say(config, shards)?;
    lines.push(format!("the cluster {} has {} shards: start its nodes", config.cluster.name, facts.shards));
    Ok((json!({ "cluster": config.cluster.name, "shards": facts.shards }), lines.join("\n")))
}

fn make_and_say(config: &Config, shards: u16) -> Result<(Facts, Vec<String>), Failed> {
    let network = network(config)?;
    let of = |fault: admin::AdminFault| Failed(fault.to_string(), "see cluster.servers".to_owned());
    let found = admin::facts(&network).map_err(of)?;
    let is_new = found.is_none();
    let facts = match found {
        // The seed is the cluster's for ever.
        Some(facts) => facts,
        None => {
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).expect("the kernel gives random bytes");
            Facts { seed: u64::from_le_bytes(seed), shards, ticket_key_print: print_of(config)? }
        }
    };
    let mut lines = Vec::new();
    admin::init(&network, &facts, &mut |progress| {
        lines.push(match progress {
            Progress::Made(name) => format!("made {name}"),
            Progress::Found(name) => format!("{name} is there"),
            Progress::FactsWritten => "facts written".to_owned(),
            Progress::FactsFound => "facts are there".to_owned(),
        });
    })
    .map_err(of)?;
    // A new cluster writes as this release does; what there was is not raised in passing.
    let (version, nodes) = (if is_new { VERSIONS.max } else { 0 }, config.cluster.nodes.len() as u8);
    let agreed = admin::agreed(&network).map_err(of)?;
    if is_new || agreed.nodes == 0 {
        admin::raise(&network, Agreed { version, nodes }).map_err(of)?;
    }
    Ok((facts, lines))
}

fn grow(config: &Config) -> Result<(Value, String), Failed> {
    let network = network(config)?;
    let of = |fault: admin::AdminFault| Failed(fault.to_string(), "see cluster.servers".to_owned());
    let (agreed, listed) = (admin::agreed(&network).map_err(of)?, config.cluster.nodes.len() as u8);
    if agreed.nodes >= listed {
        let what = format!("the cluster has {} nodes, and cluster.nodes lists {listed}", agreed.nodes);
        return Err(Failed(what, "list five in cluster.nodes, the first three as before".to_owned()));
    }
    let heard = admin::nodes_heard(&network).map_err(of)?;
    if !heard.is_empty() {
        let names: Vec<String> = heard.iter().map(ToString::to_string).collect();
        let what = format!("{} still run: they count another majority", names.join(", "));
        return Err(Failed(
            what,
            "stop all nodes, run this again, and start them with the new list".to_owned(),
        ));
    }
    admin::raise(&network, Agreed { version: 0, nodes: listed }).map_err(of)?;
    let text = format!("the cluster has {listed} nodes: start all of them with this list");
    Ok((json!({ "nodes": listed }), text))
}

fn check(config: &Config) -> Result<(Value, String), Failed> {
    let network = network(config)?;
    let of = |fault: admin::AdminFault| Failed(fault.to_string(), "see cluster.servers".to_owned());
    let facts = admin::facts(&network).map_err(of)?.ok_or_else(|| {
        Failed("the cluster was not made yet".to_owned(), "run `grandstand cluster init` once".to_owned())
    })?;
    admin::check(&network, &facts).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failed(faults.join("; "), "each fault names what to change".to_owned())
    })?;
    cluster::check_room(config, facts.shards)
        .map_err(|error| Failed(error.to_string(), error.hint().to_owned()))?;
    Ok((json!({ "ok": true }), "streams, servers and facts are as they must be".to_owned()))
}

fn repair(config: &Config, matches: &ArgMatches) -> Result<(Value, String), Failed> {
    let nodes = config.cluster.nodes.len();
    cluster_repair::run(&network(config)?, nodes, matches).map_err(|(what, hint)| Failed(what, hint))
}

fn import(config: &Config, matches: &ArgMatches) -> Result<(Value, String), Failed> {
    cluster_import::run(config, &network(config)?, matches).map_err(|(what, hint)| Failed(what, hint))
}

fn status(config: &Config) -> Result<(Value, String), Failed> {
    let view = ask(config, "GET", "/cluster", "")?;
    let text = table(&view);
    Ok((view, text))
}

fn move_shard(config: &Config, matches: &ArgMatches) -> Result<(Value, String), Failed> {
    let number = |name: &str| *matches.get_one::<u16>(name).expect("clap asks for it");
    let (shard, node) = (number("shard"), number("node"));
    let body = json!({ "to": node }).to_string();
    let mut answer = ask(config, "POST", &format!("/cluster/shards/{shard}/move"), &body)?;
    if answer["state"] == "handing" {
        let is_done = |view: &Value| view["shards"][usize::from(shard)]["owner"] == node;
        let left = |_: &Value| format!("shard {shard} waits for its log, to go to node {node}");
        watch(config, is_done, left)?;
        answer["state"] = json!("done");
    }
    let took = answer["took_ms"].as_u64().map_or("later than 6 s".to_owned(), |ms| format!("in {ms} ms"));
    Ok((answer, format!("shard {shard} is with node {node}: done {took}")))
}

fn drain(config: &Config, matches: &ArgMatches) -> Result<(Value, String), Failed> {
    let node = *matches.get_one::<u16>("node").expect("clap asks for it");
    let undo = matches.get_flag("undo");
    let body = json!({ "undo": undo }).to_string();
    let answer = ask(config, "POST", &format!("/cluster/nodes/{node}/drain"), &body)?;
    if undo {
        return Ok((answer, format!("node {node} serves again: it gets shards in half a minute")));
    }
    let shards = move |view: &Value| {
        let owned = |shard: &&Value| shard["owner"] == node;
        view["shards"].as_array().map_or(0, |all| all.iter().filter(owned).count())
    };
    watch(config, move |view| shards(view) == 0, move |view| format!("{} shards are left", shards(view)))?;
    Ok((answer, format!("node {node} owns no shard, and sends its clients to the others")))
}

fn finish_upgrade(config: &Config) -> Result<(Value, String), Failed> {
    let answer = ask(config, "POST", "/cluster/finish-upgrade", "")?;
    let text = format!("the cluster writes version {}", answer["version"]);
    Ok((answer, text))
}

/// Look at the node's view until something holds, and say what is left when that changes.
fn watch(
    config: &Config,
    is_done: impl Fn(&Value) -> bool,
    left: impl Fn(&Value) -> String,
) -> Result<(), Failed> {
    let mut said = String::new();
    for _ in 0..WATCHED.as_millis() / LOOK_EVERY.as_millis() {
        let view = ask(config, "GET", "/cluster", "")?;
        if is_done(&view) {
            return Ok(());
        }
        let now = left(&view);
        if now != said {
            // Progress is for people: nothing depends on it.
            let _ = writeln!(io::stderr().lock(), "{now}");
            said = now;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(Failed(
        format!("not done in {} s: {said}", WATCHED.as_secs()),
        "see `grandstand cluster status`".to_owned(),
    ))
}

/// The view of a node as a table that fits 80 columns.
fn table(view: &Value) -> String {
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), |n| n.to_string());
    let mut lines = vec![
        format!(
            "cluster {} as node {} sees it, connected to {}",
            view["cluster"].as_str().unwrap_or("?"),
            number(&view["node"]),
            view["server"].as_str().unwrap_or("no server")
        ),
        format!(
            "{:>5} {:<10} {:>5} {:>6} {:>10} {:>9} {:>9}  log",
            "shard", "phase", "owner", "term", "position", "heard ms", "unkept"
        ),
    ];
    if view["draining"] == true {
        lines.push("this node drains: it gets no shards and no sessions".to_owned());
    }
    for peer in view["peers"].as_array().into_iter().flatten().filter(|peer| peer["draining"] == true) {
        lines.push(format!("node {} drains: it gets no shards and no sessions", peer["node"]));
    }
    for shard in view["shards"].as_array().into_iter().flatten() {
        lines.push(format!(
            "{:>5} {:<10} {:>5} {:>6} {:>10} {:>9} {:>9}  {}",
            number(&shard["shard"]),
            shard["phase"].as_str().unwrap_or("?"),
            number(&shard["owner"]),
            number(&shard["term"]),
            number(&shard["position"]),
            number(&shard["owner_heard_ms"]),
            number(&shard["unkept_bytes"]),
            shard["log_leader"].as_str().unwrap_or("-"),
        ));
    }
    for fault in view["faults"].as_array().into_iter().flatten().chain([&view["fault"], &view["problem"]]) {
        lines.extend(fault.as_str().map(|fault| format!("fault: {fault}")));
    }
    lines.join("\n")
}

/// Ask the node of this configuration at its admin port.
fn ask(config: &Config, method: &str, path: &str, body: &str) -> Result<Value, Failed> {
    let hint = || "start the node, or see admin.listen and admin.key_file".to_owned();
    let failed = |what: String| Failed(what, hint());
    let at: SocketAddr = config.admin.listen.ok_or_else(|| failed("admin.listen is off".to_owned()))?;
    let key = config.admin_key().map_err(|error| failed(error.to_string()))?;
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&at, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let bearer = key
            .as_ref()
            .map(|key| format!("Authorization: Bearer {}\r\n", String::from_utf8_lossy(key.expose())));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n",
            body.len(),
            bearer.unwrap_or_default()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    let answer = exchange().map_err(|error| failed(format!("the node at {at} does not answer: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    if head.starts_with("HTTP/1.1 200") {
        return Ok(value);
    }
    let said = |name: &str| value[name].as_str().map(str::to_owned);
    Err(Failed(
        said("error").unwrap_or_else(|| head.lines().next().unwrap_or("no answer").to_owned()),
        said("hint").unwrap_or_else(hint),
    ))
}
