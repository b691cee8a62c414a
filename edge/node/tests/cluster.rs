//! Three nodes of a cluster on three real NATS servers, in one process: orders and rooms at any node, drains,
//! moves, numbers.
//!
//! Why whole nodes: what an operator asks passes through the admin port, the network, a stand and the log.
//! Not here: kills and partitions (`cargo xtask cluster`), where shards belong (`grandstand_cluster`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::config;
use grandstand::{Node, cluster_command};
use grandstand_harness::nats::{PASSWORD, Servers, USER, servers_or_skip};
use grandstand_harness::wait::free_port;
use serde_json::{Value, json};

const NODES: usize = 3;
const SHARDS: u16 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    servers: Servers,
    nodes: Vec<Option<Node>>,
    addresses: Vec<String>,
    folder: PathBuf,
}

impl Cluster {
    fn start(name: &str) -> Option<Cluster> {
        let servers = servers_or_skip(NODES)?;
        let folder = std::env::temp_dir().join(format!("gs-cluster-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("nats.password"), PASSWORD).unwrap();
        std::fs::write(folder.join("tickets.key"), "5a".repeat(32)).unwrap();
        let addresses = (0..NODES).map(|_| free_port().to_string()).collect();
        let nodes = (0..NODES).map(|_| None).collect();
        let mut cluster = Cluster { servers, nodes, addresses, folder };
        cluster_command::make(&cluster.config(0), SHARDS).unwrap();
        (0..NODES).for_each(|node| cluster.start_node(node));
        cluster.until("an owner for each shard", |cluster| {
            (0..NODES).all(|node| cluster.owners(node).iter().all(Option::is_some))
        });
        Some(cluster)
    }

    fn config(&self, node: usize) -> grandstand_edge::config::Config {
        let file = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let mut config = config(&[
            ("node.workers", "1"),
            ("log.dir", &file(&format!("node-{node}"))),
            ("auth.ticket_key_file", &file("tickets.key")),
            ("drain.spread_ms", "200"),
            ("drain.grace_ms", "500"),
            ("ws.listen", &self.addresses[node]),
        ]);
        config.cluster.name = "test".to_owned();
        config.cluster.node = node as u64;
        config.cluster.nodes.clone_from(&self.addresses);
        config.cluster.servers = self.servers.addresses();
        config.cluster.user = USER.to_owned();
        config.cluster.password_file = Some(file("nats.password").into());
        config.cluster.log_mb = 32;
        config
    }

    fn start_node(&mut self, node: usize) {
        self.nodes[node] = Some(Node::start(self.config(node)).expect("the node starts"));
    }

    fn admin(&self, node: usize) -> SocketAddr {
        self.nodes[node].as_ref().unwrap().addresses().admin.expect("an admin port")
    }

    /// Status and body.
    fn ask(&self, node: usize, method: &str, path: &str, body: &str) -> (u16, String) {
        let at = self.admin(node);
        let mut stream = TcpStream::connect(at).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, node: usize, method: &str, path: &str, body: &str) -> Value {
        let (status, text) = self.ask(node, method, path, body);
        assert_eq!(status, 200, "{method} {path} at node {node}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn refused(&self, node: usize, path: &str, body: &str) -> String {
        let (status, text) = self.ask(node, "POST", path, body);
        assert_eq!(status, 409, "{path} at node {node}: {text}");
        let said: Value = serde_json::from_str(&text).unwrap();
        said["error"].as_str().unwrap().to_owned()
    }

    fn view(&self, node: usize) -> Value {
        self.json(node, "GET", "/cluster", "")
    }

    fn owners(&self, seen_by: usize) -> Vec<Option<u64>> {
        let view = self.view(seen_by);
        let shards = view["shards"].as_array().unwrap();
        assert!(shards.len() <= usize::from(SHARDS));
        let mut owners: Vec<_> = shards.iter().map(|shard| shard["owner"].as_u64()).collect();
        owners.resize(usize::from(SHARDS), None);
        owners
    }

    fn count(&self, seen_by: usize, node: u64) -> usize {
        self.owners(seen_by).iter().filter(|owner| **owner == Some(node)).count()
    }

    fn until(&self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}; {}", self.view(0));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().filter_map(Option::take).for_each(Node::stop);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Every call about a room, made at one node, is seen at the others; lists and counts are the cluster's.
fn rooms_are_the_clusters_at_every_node(cluster: &Cluster) {
    for (at, other) in [(0, 1), (1, 2), (2, 0)] {
        let names: Vec<String> = (0..12).map(|number| format!("show-{at}-{number}")).collect();
        for name in &names {
            let body = json!({ "name": name, "durability": "replicated" }).to_string();
            cluster.json(at, "POST", "/rooms", &body);
        }
        let listed = cluster.json(other, "GET", &format!("/rooms?prefix=show-{at}-"), "");
        let listed: BTreeSet<&str> =
            listed["rooms"].as_array().unwrap().iter().map(|room| room["name"].as_str().unwrap()).collect();
        assert_eq!(listed, names.iter().map(String::as_str).collect());
        for name in &names {
            let path = |rest: &str| format!("/rooms/{name}{rest}");
            cluster.json(other, "PUT", &path("/settings"), r#"{"tick_min_ms":70,"tick_max_ms":90}"#);
            cluster.json(at, "PUT", &path("/state/pinned"), "Welcome!");
            let body = r#"{"author":"Ann","role":"host","text":"Hello","nonce":7}"#;
            let said = cluster.json(other, "POST", &path("/messages"), body);
            assert_eq!((&said["durability"], &said["offset"]), (&json!("replicated"), &json!(0)));
            let again = cluster.json(at, "POST", &path("/messages"), body);
            assert_eq!((&again["repeated"], &again["offset"]), (&json!(true), &json!(0)), "{again}");
            cluster.json(at, "POST", &path("/close"), "");
            let seen = cluster.json(other, "GET", &path(""), "");
            assert_eq!(seen["settings"]["tick_max_ms"], 90);
            assert_eq!((&seen["next_offset"], &seen["state_version"]), (&json!(1), &json!(1)), "{seen}");
            assert_ne!(seen["phase"], "open");
            cluster.json(other, "POST", &path("/open"), "");
            assert_eq!(cluster.json(at, "GET", &path(""), "")["phase"], "open");
            cluster.json(at, "DELETE", &path("/state/pinned"), "");
            cluster.json(other, "DELETE", &path(""), "");
            assert_eq!(cluster.ask(at, "GET", &path(""), "").0, 404);
        }
    }
    let on_disk = cluster.ask(1, "POST", "/rooms", r#"{"name":"x","durability":"disk"}"#);
    assert_eq!(on_disk.0, 409, "{}", on_disk.1);
    assert!(on_disk.1.contains("memory or replicated"), "{}", on_disk.1);
}

/// A move is done or refused with the reason, whichever node is asked. Prints how long moves took.
fn moves_are_ordered_at_any_node(cluster: &Cluster) {
    let mut took = Vec::new();
    for round in 0..30 {
        let (asked, shard) = (round % NODES, round % usize::from(SHARDS));
        let owner = cluster.owners(asked)[shard].unwrap();
        let path = format!("/cluster/shards/{shard}/move");
        let itself = cluster.refused(asked, &path, &json!({ "to": owner }).to_string());
        assert_eq!(itself, format!("node {owner} owns the shard already"));
        let to = (owner + 1) % NODES as u64;
        let moved = cluster.json(asked, "POST", &path, &json!({ "to": to }).to_string());
        assert_eq!((&moved["state"], &moved["to"]), (&json!("done"), &json!(to)));
        assert_eq!(cluster.owners(asked)[shard], Some(to), "known where it was asked");
        took.push(moved["took_ms"].as_u64().unwrap());
        cluster.until("all know the owner", |cluster| {
            (0..NODES).all(|node| cluster.owners(node)[shard] == Some(to))
        });
    }
    took.sort_unstable();
    eprintln!("{} moves: p50 {} ms, p90 {} ms, longest {} ms", took.len(), took[15], took[27], took[29]);
    assert!(took[15] <= 200, "{took:?}");
    let none = cluster.refused(1, "/cluster/shards/6/move", r#"{"to":1}"#);
    assert_eq!(none, "there is no shard 6: the cluster has 6, from 0");
    let none = cluster.refused(2, "/cluster/shards/0/move", r#"{"to":3}"#);
    assert_eq!(none, "there is no node 3: the cluster has 3, from 0");
}

/// A drain gives shards and leaders away, is said everywhere, and can be taken back.
fn a_node_drains_and_serves_again(cluster: &Cluster) {
    let own = cluster.servers.name(1);
    cluster.json(0, "POST", "/cluster/nodes/1/drain", "{}");
    cluster.until("no shard is left", |cluster| (0..NODES).all(|node| cluster.count(node, 1) == 0));
    cluster.until("no leader is left", |cluster| {
        let view = cluster.view(0);
        view["shards"].as_array().unwrap().iter().all(|shard| shard["log_leader"] != json!(own))
    });
    assert_eq!(cluster.view(1)["draining"], true);
    let peer = cluster.view(2)["peers"].as_array().unwrap().iter().find(|peer| peer["node"] == 1).cloned();
    assert_eq!(peer.unwrap()["draining"], true);
    cluster.until("it is not ready", |cluster| cluster.ask(1, "GET", "/readyz", "").0 == 503);
    let refused = cluster.refused(2, "/cluster/shards/0/move", r#"{"to":1}"#);
    assert_eq!(refused, "node 1 drains: end that by `grandstand cluster drain 1 --undo`");
    cluster.json(2, "POST", "/cluster/nodes/1/drain", r#"{"undo":true}"#);
    cluster.until("it is ready", |cluster| cluster.ask(1, "GET", "/readyz", "").0 == 200);
    cluster.until("it has shards again", |cluster| cluster.count(0, 1) == 2);
}

/// Every number that OPERATING names is there, and every one that is there is named.
fn numbers_are_those_that_operators_read_of(cluster: &Cluster) {
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let of = |word: &&str| word.starts_with("grandstand_cluster_") && *word != "grandstand_cluster_";
        words.filter(of).map(str::to_owned).collect()
    };
    let named = names(include_str!("../../../docs/OPERATING.md"));
    let found = names(&cluster.ask(0, "GET", "/metrics", "").1);
    assert_eq!(found, named);
    let scrape = cluster.ask(0, "GET", "/metrics", "").1;
    for line in [
        r#"grandstand_cluster_moves_total{cause="ordered",shard="0"}"#,
        r#"grandstand_cluster_void_records_total{cause="damaged",shard="5"} 0"#,
        r#"grandstand_cluster_node_refused{node="2"} 0"#,
        "grandstand_cluster_written_version 1",
        "grandstand_cluster_connected 1",
        "grandstand_cluster_left_out_total 0",
    ] {
        assert!(scrape.lines().any(|found| found.starts_with(line)), "no {line} in\n{scrape}");
    }
}

/// A version is raised when all nodes know it, and not while one is not heard.
fn an_upgrade_is_finished_when_all_nodes_are_there(cluster: &mut Cluster) {
    let raised = cluster.json(1, "POST", "/cluster/finish-upgrade", "");
    assert_eq!(raised["version"], 1);
    cluster.nodes[2].take().into_iter().for_each(Node::stop);
    cluster.until("it is not heard", |cluster| {
        let (status, text) = cluster.ask(0, "POST", "/cluster/finish-upgrade", "");
        status == 409 && text.contains("node 2 is not heard")
    });
}

/// Without a majority of servers nothing is delivered: after 10 s no node asks for sessions.
fn nodes_are_not_ready_while_shards_have_no_owner(cluster: &mut Cluster) {
    (0..2).for_each(|server| cluster.servers.kill(server).unwrap());
    cluster.nodes[1].take().into_iter().for_each(Node::stop);
    let began = Instant::now();
    cluster.until("it is not ready", |cluster| cluster.ask(0, "GET", "/readyz", "").0 == 503);
    let after = began.elapsed();
    assert!(after >= Duration::from_secs(8) && after < Duration::from_secs(20), "{after:?}");
    let (_, text) = cluster.ask(0, "GET", "/readyz", "");
    assert!(text.contains("has no owner that is heard"), "{text}");
}

#[test]
fn load_orders_and_rooms_are_the_same_at_every_node() {
    let Some(mut cluster) = Cluster::start("orders") else { return };
    rooms_are_the_clusters_at_every_node(&cluster);
    moves_are_ordered_at_any_node(&cluster);
    a_node_drains_and_serves_again(&cluster);
    numbers_are_those_that_operators_read_of(&cluster);
    an_upgrade_is_finished_when_all_nodes_are_there(&mut cluster);
    nodes_are_not_ready_while_shards_have_no_owner(&mut cluster);
}
