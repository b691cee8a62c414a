//! Copies of a cluster's nodes, on real NATS servers: behind a trimmed log, and when the servers lost it.
//!
//! Why processes: a node that is away is a process that does not run, and a copy is what its disk has.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grandstand_harness::http;
use grandstand_harness::nats::{PASSWORD, Servers, USER, servers_or_skip};
use grandstand_harness::wait;
use serde_json::{Value, json};

const NODES: usize = 3;
/// Longer than a log must be short before it is believed, and than leaders take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three servers and the nodes beside them, one shard.
struct Cluster {
    servers: Servers,
    folder: PathBuf,
    admin: Vec<SocketAddr>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    fn start(name: &str) -> Option<Cluster> {
        let mut cluster = Cluster::make(name)?;
        (0..NODES).for_each(|number| cluster.begin(number));
        cluster.until("an owner", |cluster| cluster.owner().is_some());
        Some(cluster)
    }

    /// Made, and not started.
    fn make(name: &str) -> Option<Cluster> {
        let servers = servers_or_skip(NODES)?;
        let folder = std::env::temp_dir().join(format!("grandstand-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nats.password"), PASSWORD).unwrap();
        fs::write(folder.join("tickets.key"), "0123456789abcdef".repeat(4)).unwrap();
        let ws: Vec<SocketAddr> = (0..NODES).map(|_| wait::free_port()).collect();
        let admin: Vec<SocketAddr> = (0..NODES).map(|_| wait::free_port()).collect();
        let quoted = |all: &[String]| all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
        let nodes: Vec<String> = ws.iter().map(ToString::to_string).collect();
        for number in 0..NODES {
            let text = format!(
                "[node]\nworkers = 1\n[ws]\nlisten = {:?}\n[wss]\nlisten = \"off\"\n[quic]\nlisten = \"off\"\n\
                 [admin]\nlisten = {:?}\n[log]\ndir = {:?}\n[auth]\nticket_key_file = {:?}\n\
                 [cluster]\nname = \"t\"\nnode = {number}\nnodes = [{}]\nservers = [{}]\nuser = {USER:?}\n\
                 password_file = {:?}\nlog_mb = 16\n",
                nodes[number],
                admin[number].to_string(),
                folder.join(format!("node-{number}")),
                folder.join("tickets.key"),
                quoted(&nodes),
                quoted(&servers.addresses()),
                folder.join("nats.password"),
            );
            fs::write(folder.join(format!("{number}.toml")), text).unwrap();
        }
        let cluster = Cluster { servers, folder, admin, nodes: (0..NODES).map(|_| None).collect() };
        let (code, said) = cluster.command(0, &["cluster", "init", "--shards", "1"]);
        assert_eq!(code, 0, "{said}");
        Some(cluster)
    }

    fn file(&self, number: usize) -> String {
        self.folder.join(format!("{number}.toml")).display().to_string()
    }

    /// Exit code, and everything that it said.
    fn command(&self, number: usize, words: &[&str]) -> (i32, String) {
        let file = self.file(number);
        let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
        let ended = command.args(words).args(["--config", &file]).output().unwrap();
        let text = [ended.stdout, ended.stderr].concat();
        (ended.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    fn begin(&mut self, number: usize) {
        let log = fs::File::create(self.folder.join(format!("{number}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
        command.args(["serve", "--config", &self.file(number)]).env_remove("GRANDSTAND_CONFIG");
        self.nodes[number] = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What a node says of the shard.
    fn shard(&self, number: usize) -> Value {
        let said = http::request(self.admin[number], "GET", "/cluster").unwrap_or_default();
        serde_json::from_str::<Value>(&said).map_or(Value::Null, |view| view["shards"][0].clone())
    }

    fn living(&self) -> impl Iterator<Item = usize> {
        (0..NODES).filter(|number| self.nodes[*number].is_some())
    }

    fn owner(&self) -> Option<usize> {
        self.living().find(|number| self.shard(*number)["phase"] == "owning")
    }

    fn until(&self, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            if began.elapsed() >= PATIENCE {
                let logs = (0..NODES).map(|number| {
                    let log = fs::read_to_string(self.folder.join(format!("{number}.log")));
                    format!("node {number}: {}\n{}\n", self.shard(number), log.unwrap_or_default())
                });
                panic!("not in time: {what}\n{}", logs.collect::<String>());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A publication by any node; it is repeated under its nonce until it is acknowledged as replicated.
    fn say(&self, nonce: u64) -> u64 {
        let text = format!("message {nonce} {}", "x".repeat(300));
        let body = json!({ "author": "Ann", "role": "host", "text": text, "nonce": nonce }).to_string();
        let began = Instant::now();
        loop {
            let at = self.admin[self.living().next().expect("a node lives")];
            match http::request_with(at, "POST", "/rooms/show/messages", &body) {
                Ok(said) => {
                    let said: Value = serde_json::from_str(&said).unwrap();
                    assert_eq!(said["durability"], "replicated", "{said}");
                    return said["offset"].as_u64().unwrap();
                }
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A question to JetStream, on a connection of its own.
    fn ask(&self, subject: &str, body: &str) -> Value {
        let address = self.servers.addresses()[0].clone();
        let mut stream = TcpStream::connect(address.trim_start_matches("nats://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let connect = json!({ "user": USER, "pass": PASSWORD, "verbose": false, "pedantic": false });
        let head = format!("CONNECT {connect}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n", body.len());
        write!(stream, "{head}{body}\r\nPING\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended the connection");
            if let Some(message) = line.strip_prefix("MSG ") {
                let bytes = message.trim().rsplit(' ').next().unwrap().parse().unwrap();
                let mut payload = vec![0; bytes];
                lines.read_exact(&mut payload).unwrap();
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// What the nodes' copies have, when all of them have the same.
    fn until_equal(&self) {
        self.until("equal copies", |cluster| {
            let all: Vec<Value> = cluster.living().map(|number| cluster.shard(number)).collect();
            let is_well = |shard: &Value| shard["trouble"].is_null() && shard["position"].is_u64();
            all.iter().all(is_well) && all.windows(2).all(|pair| pair[0]["position"] == pair[1]["position"])
        });
    }

    /// The messages of the room in a node's copy, by `verify` of the stopped node's folder.
    fn messages(&self, number: usize) -> u64 {
        let folder = self.folder.join(format!("node-{number}")).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
        let ended = command.args(["verify", &folder, "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(report["fault_count"], 0, "{report}");
        report["messages"].as_u64().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..NODES).for_each(|number| self.kill(number));
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

#[test]
fn load_a_node_that_was_away_for_longer_than_the_log_takes_a_snapshot() {
    let Some(mut cluster) = Cluster::start("behind") else { return };
    let made = http::request_with(cluster.admin[0], "POST", "/rooms", r#"{"name":"show"}"#);
    made.expect("the room is made");
    assert_eq!(cluster.say(0), 0);
    cluster.until_equal();
    let away = (cluster.owner().unwrap() + 1) % NODES;
    cluster.kill(away);
    // Somebody made the stream small: it keeps some tens of records.
    let info = cluster.ask("$JS.API.STREAM.INFO.GS_t_0", "");
    let mut config = info["config"].clone();
    config["max_bytes"] = json!(16 << 10);
    let updated = cluster.ask("$JS.API.STREAM.UPDATE.GS_t_0", &config.to_string());
    assert!(updated["error"].is_null(), "{updated}");
    let last = 120;
    for nonce in 1..=last {
        assert_eq!(cluster.say(nonce), nonce);
    }
    let first = cluster.ask("$JS.API.STREAM.INFO.GS_t_0", "")["state"]["first_seq"].as_u64().unwrap();
    assert!(first > 20, "the log is trimmed, and begins at {first}");
    cluster.begin(away);
    cluster.until("the snapshot", |cluster| {
        let taken = http::metric(cluster.admin[away], "grandstand_cluster_snapshots_taken_total");
        taken.is_ok_and(|taken| taken == Some(1.0))
    });
    cluster.until_equal();
    assert_eq!(cluster.say(last + 1), last + 1, "and everything goes on");
    cluster.until_equal();
    // A disk that was replaced: nothing is there, and the log does not reach back.
    cluster.kill(away);
    fs::remove_dir_all(cluster.folder.join(format!("node-{away}"))).unwrap();
    cluster.begin(away);
    cluster.until("an answer", |cluster| cluster.shard(away)["position"].is_u64());
    cluster.until_equal();
    // It owns the shard when the others are gone, one after the other, with all that was acknowledged.
    let owner = cluster.owner().unwrap();
    if owner != away {
        let moved = "/cluster/shards/0/move";
        let to = json!({ "to": away }).to_string();
        // It may own the shard once the owner has heard that it is there.
        cluster
            .until("a move", |cluster| http::request_with(cluster.admin[owner], "POST", moved, &to).is_ok());
    }
    cluster.until("the owner with the snapshot", |cluster| cluster.owner() == Some(away));
    assert_eq!(cluster.say(last + 1), last + 1, "a repeated publication is known by its nonce");
    assert_eq!(cluster.say(last + 2), last + 2);
    cluster.until_equal();
    (0..NODES).for_each(|number| cluster.kill(number));
    for number in 0..NODES {
        assert_eq!(cluster.messages(number), last + 3, "node {number}");
    }
}

#[test]
fn load_a_log_that_the_servers_lost_is_said_aloud_and_repaired_from_the_copies() {
    let Some(mut cluster) = Cluster::start("lost") else { return };
    let made = http::request_with(cluster.admin[0], "POST", "/rooms", r#"{"name":"show"}"#);
    made.expect("the room is made");
    for nonce in 0..20 {
        assert_eq!(cluster.say(nonce), nonce);
    }
    cluster.until_equal();
    let (code, said) = cluster.command(0, &["cluster", "repair", "0", "--yes"]);
    assert!(code == 1 && said.contains("nothing to repair"), "{said}");
    let deleted = cluster.ask("$JS.API.STREAM.DELETE.GS_t_0", "");
    assert!(deleted["error"].is_null(), "{deleted}");
    cluster.until("every node says it", |cluster| {
        cluster.living().all(|number| {
            let trouble = cluster.shard(number)["trouble"].as_str().unwrap_or_default().to_owned();
            trouble.contains("lost") && trouble.contains("cluster repair")
        })
    });
    for number in 0..NODES {
        assert!(http::request(cluster.admin[number], "GET", "/readyz").is_err());
        let health = http::request(cluster.admin[number], "GET", "/healthz").unwrap();
        assert!(health.contains("cluster repair"), "{health}");
        let trouble = http::metric(cluster.admin[number], "grandstand_cluster_trouble").unwrap();
        assert_eq!(trouble, Some(2.0));
        let (_, status) = cluster.command(number, &["cluster", "status"]);
        assert!(status.contains("cluster repair"), "{status}");
    }
    let body = json!({ "author": "Ann", "role": "host", "text": "now", "nonce": 99 }).to_string();
    let refused = http::request_with(cluster.admin[0], "POST", "/rooms/show/messages", &body);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    // A node that is away may have more than the others.
    cluster.kill(2);
    let (code, said) = cluster.command(0, &["cluster", "repair", "0", "--yes"]);
    assert!(code == 1 && said.contains("node 2 does not answer"), "{said}");
    cluster.begin(2);
    cluster.until("all of them", |cluster| cluster.shard(2)["trouble"].is_string());
    let (code, said) = cluster.command(0, &["cluster", "repair", "0"]);
    assert!(code == 0 && said.contains("nothing was changed"), "{said}");
    assert!(cluster.ask("$JS.API.STREAM.INFO.GS_t_0", "")["error"].is_object(), "it only showed");
    let (code, said) = cluster.command(0, &["cluster", "repair", "0", "--yes"]);
    assert!(code == 0 && said.contains("done"), "{said}");
    cluster.until("an owner", |cluster| cluster.owner().is_some());
    assert_eq!(cluster.say(19), 19, "what was acknowledged is known");
    assert_eq!(cluster.say(20), 20);
    cluster.until_equal();
    for number in 0..NODES {
        assert!(http::request(cluster.admin[number], "GET", "/readyz").is_ok());
    }
    (0..NODES).for_each(|number| cluster.kill(number));
    for number in 0..NODES {
        assert_eq!(cluster.messages(number), 21, "node {number}");
    }
}

/// A node that stands alone, with a log; it says some messages, and stops.
fn alone(folder: &std::path::Path, first: u64, last: u64) -> Value {
    let admin = wait::free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
    let ports = ["--ws-listen", "127.0.0.1:0", "--wss-listen", "off", "--quic-listen", "off"];
    let log = folder.display().to_string();
    let rest = ["--admin-listen", &admin.to_string(), "--log-dir", &log].map(str::to_owned);
    let mut child = command.arg("serve").args(ports).args(rest).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while http::request(admin, "GET", "/readyz").is_err() {
        assert!(began.elapsed() < PATIENCE, "the node that stands alone does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may be there from before.
    let _ = http::request_with(admin, "POST", "/rooms", r#"{"name":"show"}"#);
    http::request_with(admin, "PUT", "/rooms/show/state/pinned", r#"{"value":"hello"}"#).unwrap();
    let mut said = Value::Null;
    for nonce in first..=last {
        let body = json!({ "author": "Ann", "role": "host", "text": "old", "nonce": nonce }).to_string();
        let answer = http::request_with(admin, "POST", "/rooms/show/messages", &body).unwrap();
        said = serde_json::from_str(&answer).unwrap();
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    said
}

#[test]
fn load_a_single_nodes_log_and_a_backup_of_a_node_become_rooms_of_a_cluster() {
    let Some(mut cluster) = Cluster::make("import") else { return };
    let old = cluster.folder.join("old");
    let last = alone(&old, 0, 9);
    assert_eq!(last["durability"], "disk", "{last}");
    let before: Vec<Vec<u8>> =
        ["grandstand.db", "log.id"].map(|name| fs::read(old.join(name)).unwrap()).into();
    let from = old.display().to_string();
    let (code, said) = cluster.command(0, &["cluster", "import", "--from", &from]);
    assert!(code == 0 && said.contains("1 rooms imported"), "{said}");
    let after: Vec<Vec<u8>> =
        ["grandstand.db", "log.id"].map(|name| fs::read(old.join(name)).unwrap()).into();
    assert!(before == after, "the old folder is as it was");
    // Again, as after a power cut: it goes on from there.
    let (code, said) = cluster.command(0, &["cluster", "import", "--from", &from]);
    assert!(code == 0 && said.contains("1 were there"), "{said}");
    (0..NODES).for_each(|number| cluster.begin(number));
    cluster.until("an owner", |cluster| cluster.owner().is_some());
    cluster.until_equal();
    assert_eq!(cluster.say(9), 9, "a repeated publication is known by its nonce");
    assert_eq!(cluster.say(10), 10);
    let (code, said) = cluster.command(0, &["cluster", "import", "--from", &from]);
    assert!(code == 1 && said.contains("runs"), "{said}");
    cluster.until_equal();
    let backup = cluster.folder.join("backup.db").display().to_string();
    let folder = cluster.folder.join("node-1").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
    let made = command.args(["backup", "--dir", &folder, "--to", &backup]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    (0..NODES).for_each(|number| cluster.kill(number));
    for number in 0..NODES {
        assert_eq!(cluster.messages(number), 11, "node {number}");
    }
    // A room of that name is there, and is another one.
    alone(&old, 20, 21);
    let (code, said) = cluster.command(0, &["cluster", "import", "--from", &from]);
    assert!(code == 1 && said.contains("is there already"), "{said}");
    // The drill: a new cluster from the backup of one node.
    let Some(mut second) = Cluster::make("drill") else { return };
    let (code, said) = second.command(2, &["cluster", "import", "--from", &backup]);
    assert!(code == 0 && said.contains("1 rooms imported"), "{said}");
    (0..NODES).for_each(|number| second.begin(number));
    second.until("an owner", |cluster| cluster.owner().is_some());
    second.until_equal();
    assert_eq!(second.say(10), 10, "known by its nonce");
    assert_eq!(second.say(11), 11);
    second.until_equal();
    (0..NODES).for_each(|number| second.kill(number));
    for number in 0..NODES {
        assert_eq!(second.messages(number), 12, "node {number}");
    }
}
