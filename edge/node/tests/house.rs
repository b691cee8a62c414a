//! Bans and revocations over three real nodes on three NATS servers, with times; and of one node alone.
//!
//! Why real: what counts is that nobody is left anywhere, also while the cluster's own data has no leader.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use common::quic::{End, Quic};
use common::ws::{Got, Ws};
use common::{config, frame};
use grandstand::Node;
use grandstand_harness::http;
use grandstand_harness::nats::{PASSWORD, USER, servers_or_skip};
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Hello, ServerFrame};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least thirty-two bytes";
/// What an order may take until it is in force everywhere.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let three = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        (0..=chunk.len())
            .map(|at| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]))
            .collect::<String>()
    };
    bytes.chunks(3).map(three).collect()
}

fn token(user: &str, id: &str) -> String {
    let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let head = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = json!({ "sub": user, "jti": id, "exp": unix_s + 3_600 }).to_string();
    let signed = format!("{head}.{}", base64url(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", base64url(hmac::sign(&key, signed.as_bytes()).as_ref()))
}

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            Folder(std::env::temp_dir().join(format!("grandstand-house-{name}-{}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn text(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hello(node: &Node, token: &str, ticket: &[u8]) -> (Ws, Got) {
    let mut ws = Ws::open(node.addresses().ws.unwrap(), "/v1");
    ws.send(&frame(&ClientFrame::Hello(Hello { token, ticket, ..Hello::default() })));
    let first = ws.next();
    (ws, first)
}

/// A session: its connection, number and ticket.
fn enter(node: &Node, token: &str) -> (Ws, u64, Vec<u8>) {
    let (ws, first) = hello(node, token, b"");
    let Got::Frame(bytes) = &first else { panic!("{first:?}") };
    let Ok(ServerFrame::Welcome(welcome)) = ServerFrame::decode(bytes) else { panic!("no welcome") };
    (ws, welcome.session, welcome.ticket.to_vec())
}

/// How a hello is refused.
fn refusal(node: &Node, token: &str) -> u16 {
    let (mut ws, first) = hello(node, token, b"");
    match if matches!(first, Got::Frame(_)) { ws.until_close() } else { first } {
        Got::Close(code, _) => code,
        other => panic!("{other:?}"),
    }
}

fn ask(node: &Node, method: &str, path: &str, body: &str) -> Value {
    let answer = http::request_with(node.addresses().admin.unwrap(), method, path, body).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn assert_closed(ws: &mut Ws, code: u16, says: &str) {
    match ws.until_close() {
        Got::Close(found, reason) => assert!(found == code && reason.contains(says), "{found} {reason}"),
        other => panic!("{other:?}"),
    }
}

fn is_alive(ws: &mut Ws) -> bool {
    ws.send(&frame(&ClientFrame::Ping { client_us: 7 }));
    matches!(ws.next(), Got::Frame(bytes) if matches!(ServerFrame::decode(&bytes), Ok(ServerFrame::Pong { .. })))
}

fn start(n: usize, servers: &[String], folder: &Folder) -> Node {
    let (number, servers) = (n.to_string(), servers.join(","));
    let keys = [
        ("cluster.name", "house"),
        ("cluster.node", &number),
        ("cluster.nodes", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"),
        ("cluster.servers", &servers),
        ("cluster.user", USER),
        ("cluster.password_file", &folder.text("nats.password")),
        ("cluster.log_mb", "16"),
        ("auth.ticket_key_file", &folder.text("tickets.key")),
        ("auth.hs256_secret", SECRET),
        ("log.dir", &folder.text(&format!("node-{n}"))),
        ("node.workers", "2"),
    ];
    let config = config(&keys);
    if n == 0 && !Path::new(&folder.text("made")).exists() {
        grandstand::cluster_command::make(&config, 2).unwrap();
        fs::write(folder.text("made"), "").unwrap();
    }
    Node::start(config).unwrap()
}

/// Until every node hears both others.
fn await_peers(nodes: &[&Node]) {
    let until = Instant::now() + PATIENCE;
    let hears = |node: &Node| {
        let view = ask(node, "GET", "/cluster", "");
        let peers = view["peers"].as_array().unwrap().clone();
        peers.iter().filter(|peer| peer["heard_ms"].as_u64().is_some_and(|ms| ms < 450)).count()
    };
    while nodes.iter().any(|node| hears(node) + 1 < nodes.len()) {
        assert!(Instant::now() < until, "the nodes do not hear each other");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn load_a_ban_is_in_force_at_every_node_within_two_seconds_also_without_a_leader() {
    let Some(mut servers) = servers_or_skip(3) else { return };
    let folder = Folder::new("three");
    fs::write(folder.text("nats.password"), PASSWORD).unwrap();
    fs::write(folder.text("tickets.key"), "5a".repeat(32)).unwrap();
    let addresses = servers.addresses();
    let mut nodes: Vec<Node> = (0..3).map(|n| start(n, &addresses, &folder)).collect();
    await_peers(&nodes.iter().collect::<Vec<_>>());

    // A user, at every node and worker.
    let (mallory, ann) = (token("mallory", "m1"), token("ann", "a1"));
    let mut inside: Vec<Ws> = nodes.iter().flat_map(|node| (0..4).map(|_| enter(node, &mallory).0)).collect();
    let mut others: Vec<_> = nodes.iter().map(|node| enter(node, &ann)).collect();
    let began = Instant::now();
    let answer = ask(&nodes[0], "PUT", "/bans/mallory", r#"{"seconds":600,"reason":"spam"}"#);
    let answered = began.elapsed();
    inside.iter_mut().for_each(|ws| assert_closed(ws, 4208, "spam"));
    let everywhere = began.elapsed();
    println!("a ban: answered after {answered:?}, everybody closed after {everywhere:?}");
    assert!(everywhere < EVERYWHERE_WITHIN, "{everywhere:?}");
    assert_eq!(
        (&answer["nodes"]["confirmed"], &answer["kept"]),
        (&json!([0, 1, 2]), &json!(true)),
        "{answer}"
    );
    assert!(
        nodes
            .iter()
            .all(|node| refusal(node, &mallory) == 4208 && refusal(node, &token("mallory", "m2")) == 4208)
    );
    assert!(others.iter_mut().all(|(ws, ..)| is_alive(ws)));

    // A session, with its ticket, and a token.
    let (_, number, ticket) = &others[2];
    let (number, ticket) = (*number, ticket.clone());
    let began = Instant::now();
    ask(&nodes[1], "POST", "/revocations", &json!({ "session": number.to_string() }).to_string());
    assert_closed(&mut others[2].0, 4109, "revoked");
    assert!(began.elapsed() < EVERYWHERE_WITHIN);
    for node in &nodes {
        let (_, first) = hello(node, &ann, &ticket);
        let Got::Frame(bytes) = &first else { panic!("{first:?}") };
        let Ok(ServerFrame::Welcome(welcome)) = ServerFrame::decode(bytes) else { panic!("no welcome") };
        assert!(!welcome.resumed && welcome.session != number);
    }
    let mut stolen: Vec<Ws> = nodes.iter().map(|node| enter(node, &token("ann", "a2")).0).collect();
    ask(&nodes[2], "POST", "/revocations", r#"{"token_id":"a2"}"#);
    stolen.iter_mut().for_each(|ws| assert_closed(ws, 4151, "revoked"));
    assert!(nodes.iter().all(|node| refusal(node, &token("ann", "a2")) == 4151));
    assert!(others[..2].iter_mut().all(|(ws, ..)| is_alive(ws)), "her other token is good");

    // Nothing of JetStream has a leader: two of three servers are dead.
    servers.kill(0).unwrap();
    servers.kill(1).unwrap();
    await_peers(&nodes.iter().collect::<Vec<_>>());
    let eve = token("eve", "e1");
    let mut inside: Vec<Ws> = nodes.iter().map(|node| enter(node, &eve).0).collect();
    let began = Instant::now();
    let (answer, everywhere) = std::thread::scope(|scope| {
        let answer = scope.spawn(|| ask(&nodes[1], "PUT", "/bans/eve", ""));
        inside.iter_mut().for_each(|ws| assert_closed(ws, 4208, "banned"));
        let everywhere = began.elapsed();
        (answer.join().unwrap(), everywhere)
    });
    let answered = began.elapsed();
    println!("a ban without a leader: everybody closed after {everywhere:?}, answered after {answered:?}");
    assert!(answered < EVERYWHERE_WITHIN, "{answered:?}");
    assert!(everywhere < EVERYWHERE_WITHIN, "{everywhere:?}");
    assert_eq!(
        (&answer["nodes"]["confirmed"], &answer["kept"]),
        (&json!([1, 0, 2]), &json!(false)),
        "{answer}"
    );
    servers.restart(0).unwrap();
    servers.restart(1).unwrap();

    // A node that was away, and whose file is lost, knows before it serves.
    nodes.pop().unwrap().stop();
    until("node 2 to be missed", || {
        let answer = ask(&nodes[0], "PUT", "/bans/late", "");
        answer["nodes"]["away"] == json!([2])
    });
    fs::remove_file(folder.text("node-2/bans.jsonl")).unwrap();
    nodes.push(start(2, &addresses, &folder));
    for user in ["mallory", "eve", "late"] {
        assert_eq!(refusal(&nodes[2], &token(user, "x")), 4208, "{user}");
    }
    // What was lifted is lifted everywhere, and stays so over a restart.
    let answer = ask(&nodes[2], "DELETE", "/bans/mallory", "");
    assert_eq!(answer["lifted"], json!(true));
    nodes.remove(0).stop();
    nodes.insert(0, start(0, &addresses, &folder));
    for node in &nodes {
        enter(node, &mallory);
        assert_eq!(refusal(node, &token("late", "x")), 4208);
    }
    nodes.into_iter().for_each(Node::stop);
}

#[test]
fn a_node_alone_bans_and_remembers_over_a_restart() {
    let folder = Folder::new("alone");
    let keys = |dir: &str| config(&[("auth.hs256_secret", SECRET), ("log.dir", dir)]);
    let dir = folder.text("log");
    let node = Node::start(keys(&dir)).unwrap();
    let (mut ann, mut bob) = (enter(&node, &token("ann", "1")).0, enter(&node, &token("bob", "2")).0);
    let answer = ask(&node, "PUT", "/bans/ann", r#"{"reason":"spam"}"#);
    assert_eq!((&answer["nodes"]["confirmed"], &answer["kept"]), (&json!([0]), &json!(true)), "{answer}");
    assert_closed(&mut ann, 4208, "the user is banned: spam");
    assert!(is_alive(&mut bob));
    for (path, body) in
        [("/bans/x", r#"{"reason":7}"#), ("/revocations", "{}"), ("/revocations", r#"{"session":"x"}"#)]
    {
        let method = if path == "/revocations" { "POST" } else { "PUT" };
        let fault = http::request_with(node.addresses().admin.unwrap(), method, path, body).unwrap_err();
        assert!(fault.to_string().contains("400") && fault.to_string().contains("hint"), "{fault}");
    }
    let fault = http::request(node.addresses().admin.unwrap(), "DELETE", "/bans/bob").unwrap_err();
    assert!(fault.to_string().contains("404"), "{fault}");
    node.stop();

    let node = Node::start(keys(&dir)).unwrap();
    assert_eq!(refusal(&node, &token("ann", "3")), 4208);
    assert_eq!(ask(&node, "GET", "/bans", "")["bans"][0]["user"], json!("ann"));
    ask(&node, "DELETE", "/bans/ann", "");
    enter(&node, &token("ann", "4"));
    // A ban for a time ends by itself.
    ask(&node, "PUT", "/bans/ann", r#"{"seconds":1}"#);
    assert_eq!(refusal(&node, &token("ann", "5")), 4208);
    let until = Instant::now() + PATIENCE;
    while matches!(hello(&node, &token("ann", "6"), b"").1, Got::Close(..))
        || ask(&node, "GET", "/bans", "")["bans"] != json!([])
    {
        assert!(Instant::now() < until, "it does not end");
    }
    node.stop();

    fs::write(format!("{dir}/bans.jsonl"), "not a ban\n").unwrap();
    let fault = Node::start(keys(&dir)).unwrap_err().to_string();
    assert!(fault.contains("damaged line 1"), "{fault}");
}

/// The kind: whatever is ended, over every transport, on open connections and after a restart, within 2 s.
#[test]
fn a_revocation_ends_sessions_over_every_transport_and_holds_after_a_restart() {
    let folder = Folder::new("transports");
    let dir = folder.text("log");
    let keys = || config(&[("auth.hs256_secret", SECRET), ("log.dir", &dir), ("node.workers", "2")]);
    let over_quic = |node: &Node, token: &str, ticket: &[u8]| {
        let mut quic = Quic::open(node.addresses().quic.unwrap());
        quic.send(&frame(&ClientFrame::Hello(Hello { token, ticket, ..Hello::default() })));
        let first = quic.try_next_frame();
        (quic, first)
    };
    let welcomed = |bytes: &[u8]| match ServerFrame::decode(bytes) {
        Ok(ServerFrame::Welcome(welcome)) => {
            Some((welcome.session, welcome.ticket.to_vec(), welcome.resumed))
        }
        _ => None,
    };
    let node = Node::start(keys()).unwrap();
    // (token, what ends it, code): of a user, of a token, of a session.
    let tokens = ["ann", "bob", "cat"].map(|user| token(user, &format!("{user}-1")));
    let mut inside: Vec<_> = tokens
        .iter()
        .map(|token| {
            let (ws, number, ticket) = enter(&node, token);
            let (quic, first) = over_quic(&node, token, b"");
            let (of_quic, quic_ticket, _) = welcomed(&first.unwrap()).unwrap();
            (ws, quic, [(number, ticket), (of_quic, quic_ticket)])
        })
        .collect();
    let sessions =
        [inside[2].2[0].0, inside[2].2[1].0].map(|number| json!({ "session": number.to_string() }));
    let orders = [
        vec![("PUT", "/bans/ann", String::new())],
        vec![("POST", "/revocations", r#"{"token_id":"bob-1"}"#.to_owned())],
        sessions.iter().map(|session| ("POST", "/revocations", session.to_string())).collect(),
    ];
    let codes = [208, 151, 109];
    for (at, orders) in orders.iter().enumerate() {
        let began = Instant::now();
        for (method, path, body) in orders {
            assert_eq!(ask(&node, method, path, body)["kept"], json!(true));
        }
        let (ws, quic, _) = &mut inside[at];
        assert_closed(ws, 4000 + codes[at], "");
        let end = quic.until_close();
        assert!(matches!(&end, End::Closed(code, _) if *code == u64::from(codes[at])), "{end:?}");
        let took = began.elapsed();
        println!("code {}: closed over WebSocket and QUIC after {took:?}", codes[at]);
        assert!(took < EVERYWHERE_WITHIN, "{took:?}");
    }
    node.stop();
    let node = Node::start(keys()).unwrap();
    for at in 0..2 {
        assert_eq!(refusal(&node, &tokens[at]), 4000 + codes[at]);
        let (mut quic, first) = over_quic(&node, &tokens[at], b"");
        let is_in = first.is_ok_and(|bytes| welcomed(&bytes).is_some());
        assert!(!is_in && matches!(quic.until_close(), End::Closed(code, _) if code == u64::from(codes[at])));
    }
    // A revoked session is not continued; its user begins another one.
    let [(_, of_ws), (_, of_quic)] = &inside[2].2;
    let (_, first) = hello(&node, &tokens[2], of_ws);
    let Got::Frame(bytes) = &first else { panic!("{first:?}") };
    assert!(!welcomed(bytes).unwrap().2, "over WebSocket");
    let (_, first) = over_quic(&node, &tokens[2], of_quic);
    assert!(!welcomed(&first.unwrap()).unwrap().2, "over QUIC");
    node.stop();
}
