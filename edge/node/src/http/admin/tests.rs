//! Tests of the whole admin port: real HTTP on loopback, with real shards.
//!
//! Why real ones: a handler's answers depend on the framework's rejections and the shards' refusals.

use super::index::ENDPOINTS;
use super::*;
use axum::response::IntoResponse;
use grandstand_edge::clock::Clock;
use grandstand_edge::config::{Config, Secret};
use grandstand_engine::link::AdminRequest;
use grandstand_engine::link::{Alias, Backbone, Input, ShardId};
use grandstand_engine::runtime::Desk;
use grandstand_engine::{Engine, EngineConfig};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

/// As the configuration has it by default.
pub(super) const HEADER_BYTES_MAX: usize = 32_768;

/// A running port; stopped and joined when dropped.
pub(super) struct Node {
    pub(super) at: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _engine: Option<Engine>,
}

impl Node {
    pub(super) fn with_shards(shards: u16, key: Option<&str>) -> Node {
        let config = EngineConfig { shards, ..EngineConfig::for_tests() };
        let (engine, _ports) = Engine::start(config, Vec::new()).unwrap();
        Node::over(engine.desk(), key, Some(engine))
    }

    fn over(desk: Arc<Desk>, key: Option<&str>, engine: Option<Engine>) -> Node {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, ready) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
        let (stop, stopped) = watch::channel(false);
        let stats = vec![Arc::new(Stats::default())];
        stats[0].deliveries.add(41);
        let state = AdminState {
            desk,
            stats,
            metrics: Metrics::new("test", Clock::start()),
            clock: Clock::start(),
            store: None,
            house: House::open(&Config::default(), Clock::start()).unwrap(),
            events: Events::default(),
            cluster: None,
            ready: ready.clone(),
            key: SharedKey::new(key.map(Secret::new).as_ref()),
            hosts: vec!["admin.example.org".to_owned()],
            header_bytes_max: HEADER_BYTES_MAX,
            drain: Arc::new(Draining::default()),
            health: Arc::new(Health::new(Default::default(), Clock::start(), Duration::from_secs(5))),
            reload: Arc::new(NothingToReload),
            stop: stopped,
        };
        let thread = Some(start(listener, state).unwrap());
        Node { at, ready, stop, thread, _engine: engine }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        self.ask_with(method, path, body, "")
    }

    fn ask_with(&self, method: &str, path: &str, body: &[u8], headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, body) = self.ask(method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
    }

    fn make(&self, name: &str) -> (u16, Value) {
        self.json("POST", "/rooms", json!({ "name": name }).to_string().as_bytes())
    }
}

/// A node whose certificate is bad.
struct NothingToReload;

impl ReloadControl for NothingToReload {
    fn reload(&self) -> Reloaded {
        let faults = vec!["the file of tls.cert is broken".to_owned()];
        Reloaded { read: vec!["admin key".to_owned()], faults, needs_restart: Vec::new() }
    }
}

#[test]
fn a_reload_says_what_could_not_be_read() {
    let node = Node::with_shards(1, None);
    let (status, body) = node.json("POST", "/reload", b"");
    assert_eq!(
        (status, &body["read"][0], body["faults"].as_array().unwrap().len()),
        (422, &json!("admin key"), 1)
    );
    assert!(body["error"].as_str().unwrap().contains("tls.cert") && body["hint"].is_string(), "{body}");
}

/// A node that only records the requests.
#[derive(Default)]
struct Draining(std::sync::Mutex<DrainStatus>);

impl DrainControl for Draining {
    fn drain(&self, request: &DrainRequest) -> DrainStatus {
        let mut state = self.0.lock().unwrap();
        if state.state != "draining" {
            let (spread_ms, deadline_ms) =
                (request.spread_ms.unwrap_or(1).into(), request.deadline_ms.unwrap_or(2).into());
            let where_to = request.where_to.clone().unwrap_or_default();
            *state =
                DrainStatus { state: "draining", where_to, spread_ms, deadline_ms, ..DrainStatus::default() };
        }
        state.clone()
    }

    fn status(&self) -> DrainStatus {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn a_drain_is_asked_for_once_and_shown() {
    let node = Node::with_shards(1, None);
    assert_eq!(node.json("GET", "/drain", b"").0, 200);
    for bad in [&b"{\"spread\":1}"[..], b"{\"spread_ms\":-1}", b"{\"deadline_ms\":3600001}", b"7"] {
        assert_eq!(node.json("POST", "/drain", bad).0, 400, "{}", String::from_utf8_lossy(bad));
    }
    let (status, begun) =
        node.json("POST", "/drain", b"{\"where_to\":\"b:1\",\"spread_ms\":5,\"deadline_ms\":9}");
    assert_eq!((status, &begun["where_to"], &begun["deadline_ms"]), (200, &json!("b:1"), &json!(9)));
    assert_eq!(node.json("POST", "/drain", b"").1, begun, "the first holds");
    assert_eq!(node.json("GET", "/drain", b"").1, begun);
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_room_lives_its_life() {
    let node = Node::with_shards(3, None);
    let (status, room) = node.make("show-1");
    assert_eq!((status, &room["name"], &room["phase"]), (200, &json!("show-1"), &json!("open")));
    assert_eq!(node.json("GET", "/rooms/show-1", b""), (200, room));
    assert_eq!(node.json("POST", "/rooms/show-1/close", b"").1["phase"], "closed");
    assert_eq!(node.json("POST", "/rooms/show-1/open", b"").1["phase"], "open");
    assert_eq!(node.ask("PUT", "/rooms/show-1/state/pinned", b"Welcome!").0, 200);
    assert_eq!(node.ask("DELETE", "/rooms/show-1/state/pinned", b"").0, 200);
    assert_eq!(node.ask("DELETE", "/rooms/show-1", b"").0, 200);
    let (status, gone) = node.json("GET", "/rooms/show-1", b"");
    assert_eq!((status, &gone["error"]), (404, &json!("unknown room")));
}

#[test]
fn a_rooms_settings_are_replaced_as_a_whole_and_shown() {
    let node = Node::with_shards(3, None);
    let (_, made) = node.make("show-1");
    assert_eq!(made["settings"]["tick_min_ms"], Value::Null);
    let put = |body: &str| node.json("PUT", "/rooms/show-1/settings", body.as_bytes());
    let (status, room) = put(r#"{"tick_min_ms":70,"pacing_per_s":5}"#);
    assert_eq!((status, &room["settings"]["tick_min_ms"]), (200, &json!(70)));
    assert_eq!(room["settings"]["pacing_per_s"], 5);
    assert_eq!(node.json("GET", "/rooms/show-1", b"").1, room);
    let (_, room) = put(r#"{"tick_max_ms":80}"#);
    let settings =
        json!({ "tick_min_ms": null, "tick_max_ms": 80, "pacing_per_s": null, "durability": null });
    assert_eq!(room["settings"], settings);
    assert_eq!(put("{}").1, made, "as it was");
}

#[test]
fn names_are_any_utf_8() {
    let node = Node::with_shards(3, None);
    for (name, path) in
        [("show/1 a?b#c%", "show%2F1%20a%3Fb%23c%25"), ("日本", "%E6%97%A5%E6%9C%AC"), ("..", "%2E%2E")]
    {
        assert_eq!(node.make(name).0, 200, "{name}");
        let (status, room) = node.json("GET", &format!("/rooms/{path}"), b"");
        assert_eq!((status, &room["name"]), (200, &json!(name)));
        assert_eq!(node.ask("PUT", &format!("/rooms/{path}/state/{path}"), b"x").0, 200, "{name}");
    }
}

/// A room whose name is a prefix of another room's name must not be confused with it.
#[test]
fn a_room_is_found_by_its_whole_name() {
    let node = Node::with_shards(3, None);
    // Enough rooms that some belong to the same shard.
    (0..20).for_each(|n| assert_eq!(node.make(&format!("show-1{n}")).0, 200));
    assert_eq!(node.ask("GET", "/rooms/show-1", b"").0, 404);
}

#[test]
fn lists_go_page_by_page_over_all_shards() {
    [1, 3].into_iter().for_each(list_page_by_page);
}

fn list_page_by_page(shards: u16) {
    let node = Node::with_shards(shards, None);
    (0..25).for_each(|n| assert_eq!(node.make(&format!("show-{n:02}")).0, 200));
    node.make("other");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = node.json("GET", &format!("/rooms?prefix=show-&limit=10&after={after}"), b"");
        assert_eq!(status, 200);
        let names: Vec<_> = page["rooms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap().to_owned())
            .collect();
        seen.extend(names);
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|n| format!("show-{n:02}")).collect::<Vec<_>>());
    assert_eq!(
        node.json("GET", "/rooms?limit=26", b"").1["next"],
        Value::Null,
        "a full last page has no next"
    );
}

#[test]
fn what_is_wrong_is_told_in_json_with_its_status() {
    let node = Node::with_shards(3, None);
    node.make("show-1");
    let long = format!("/rooms/show-1/state/{}", "k".repeat(65));
    let huge = vec![b'x'; BODY_BYTES_MAX + 1];
    let cases: [(&str, &str, &[u8], u16); 18] = [
        ("POST", "/rooms", b"", 400),
        ("POST", "/rooms", b"{\"name\":1}", 400),
        ("POST", "/rooms", b"{\"name\":\"a\",\"nme\":\"b\"}", 400),
        ("POST", "/rooms", b"{\"name\":\"\"}", 400),
        ("POST", "/rooms", b"{\"name\":\"a\\u0000\"}", 400),
        ("GET", "/rooms?limit=many", b"", 400),
        ("GET", "/rooms?prefx=a", b"", 400),
        ("GET", "/rooms/%FF", b"", 400),
        ("PUT", "/rooms/show-1/settings", b"", 400),
        ("PUT", "/rooms/show-1/settings", b"{\"tick\":5}", 400),
        ("PUT", "/rooms/show-1/settings", b"{\"tick_min_ms\":0}", 400),
        ("PUT", "/rooms/show-1/settings", b"{\"tick_min_ms\":60,\"tick_max_ms\":50}", 400),
        ("PUT", "/rooms/none/settings", b"{}", 404),
        ("POST", "/rooms/none/open", b"", 404),
        ("GET", "/nothing", b"", 404),
        ("PATCH", "/rooms", b"", 405),
        ("PUT", &long, b"x", 413),
        ("PUT", "/rooms/show-1/state/k", &huge, 413),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = node.json(method, path, body);
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let told = |field: &str| answer[field].as_str().is_some_and(|text| text.len() > 3);
        assert!(told("error") && told("hint"), "{method} {path}: {answer}");
    }
}

#[test]
fn health_and_readiness_differ() {
    let node = Node::with_shards(3, None);
    assert_eq!([node.ask("GET", "/healthz", b"").0, node.ask("GET", "/readyz", b"").0], [200, 200]);
    node.ready.store(false, Ordering::Relaxed);
    assert_eq!([node.ask("GET", "/healthz", b"").0, node.ask("GET", "/readyz", b"").0], [200, 503]);
}

/// A request as it is, and the status and the head of the answer.
pub(super) fn raw(at: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), answer)
}

#[test]
fn probes_of_balancers_are_answered_and_nothing_else_without_a_host() {
    for node in [Node::with_shards(1, None), Node::with_shards(1, Some("0123456789abcdef"))] {
        let probes = [
            ("OPTIONS / HTTP/1.0\r\n\r\n", true),
            ("OPTIONS * HTTP/1.0\r\n\r\n", true),
            ("OPTIONS /readyz HTTP/1.1\r\nHost: 10.0.0.7:7480\r\n\r\n", true),
            ("GET /readyz HTTP/1.0\r\n\r\n", true),
            ("GET /readyz HTTP/1.1\r\nHost: 10.0.0.7\r\nUser-Agent: kube-probe/1.30\r\n\r\n", true),
            ("HEAD /readyz HTTP/1.0\r\n\r\n", true),
            ("GET /healthz HTTP/1.0\r\n\r\n", false),
            ("GET /healthz HTTP/1.1\r\nHost: x\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n", false),
            ("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ];
        for (is_ready, due) in [(true, 200), (false, 503)] {
            node.ready.store(is_ready, Ordering::Relaxed);
            for (request, asks_ready) in probes {
                let (status, answer) = raw(node.at, request);
                assert_eq!(status, if asks_ready { due } else { 200 }, "{request:?}: {answer}");
                assert_eq!(answer.ends_with("\r\n\r\n"), request.starts_with("HEAD"), "{answer:?}");
                assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
            }
        }
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET /metrics HTTP/1.0\r\n\r\n",
            "OPTIONS /rooms HTTP/1.0\r\n\r\n",
            "POST /healthz HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
            "GET /rooms HTTP/1.1\r\nHost: 10.0.0.7:7480\r\n\r\n",
            "GET http://evil.example/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ] {
            assert_eq!(raw(node.at, request).0, 421, "{request:?}");
        }
    }
}

#[test]
fn heads_of_browsers_fit_and_longer_ones_are_refused() {
    let node = Node::with_shards(1, None);
    let get =
        |headers: &str| raw(node.at, &format!("GET /rooms HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).0;
    let many: String = (0..98).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!([get(&many), get(&format!("Cookie: {}\r\n", "c".repeat(8_192)))], [200; 2]);
    let more: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!([get(&more), get(&format!("Cookie: {}\r\n", "c".repeat(100_000)))], [431; 2]);
    let own = "GET /rooms HTTP/1.1\r\nHost: admin.example.org\r\nOrigin: https://admin.example.org\r\n\r\n";
    assert_eq!(raw(node.at, own).0, 200);
}

#[test]
fn the_index_lists_what_there_is() {
    let node = Node::with_shards(3, None);
    let (status, index) = node.json("GET", "/", b"");
    assert_eq!(status, 200);
    assert_eq!(index["endpoints"].as_array().unwrap().len(), ENDPOINTS.len());
    // Every listed endpoint exists: a path without its room gets the handler's 404, not the router's.
    for (method, path, ..) in ENDPOINTS {
        let path = path.split('?').next().unwrap().replace("{name}", "none").replace("{key}", "k");
        let (status, answer) = node.ask(method, &path, b"");
        assert!(status != 405 && !answer.contains("there is nothing at"), "{method} {path}: {answer}");
    }
}

#[test]
fn the_key_is_asked_for_and_foreign_pages_are_turned_away() {
    let node = Node::with_shards(3, Some("0123456789abcdef"));
    assert_eq!(node.ask("GET", "/rooms", b"").0, 401);
    assert_eq!(node.ask("GET", "/metrics", b"").0, 401);
    assert_eq!(node.ask("GET", "/healthz", b"").0, 200);
    assert_eq!(node.ask_with("GET", "/rooms", b"", "Authorization: Bearer 0123456789abcdef\r\n").0, 200);
    let open = Node::with_shards(3, None);
    let forged = open.ask_with("POST", "/rooms", b"{\"name\":\"a\"}", "Origin: https://evil.example\r\n");
    assert_eq!(forged.0, 403);
    assert_eq!(open.ask("GET", "/rooms/a", b"").0, 404, "nothing was done");
}

#[test]
fn the_scrape_shows_workers_and_shards() {
    let node = Node::with_shards(3, None);
    node.make("show-1");
    let (status, text) = node.ask("GET", "/metrics", b"");
    assert_eq!(status, 200);
    for line in [
        "grandstand_deliveries_total{worker=\"0\"} 41",
        "grandstand_engine_rooms 1",
        "grandstand_engine_rooms_created_total 1",
        "grandstand_engine_shards_silent 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}

/// Shards that are full, gone, or accept everything and never answer.
enum Broken {
    Full,
    Gone,
    Silent(std::sync::Mutex<Vec<Input>>),
}

impl Backbone for Broken {
    fn shards(&self) -> u16 {
        2
    }

    fn shard_of(&self, _: &str) -> ShardId {
        ShardId(0)
    }

    fn shard_of_alias(&self, _: Alias) -> ShardId {
        ShardId(0)
    }

    fn submit(&self, _: ShardId, input: Input) -> Result<(), Input> {
        match self {
            Broken::Full => return Err(input),
            Broken::Gone => drop(input),
            Broken::Silent(kept) => kept.lock().unwrap().push(input),
        }
        Ok(())
    }
}

#[test]
fn full_and_stopped_shards_are_told_and_health_goes_on() {
    for broken in [Broken::Full, Broken::Gone] {
        let is_gone = matches!(broken, Broken::Gone);
        let desk = Arc::new(Desk::new(0, Arc::new(broken)));
        if is_gone {
            desk.handle_end(ShardId(0));
            desk.handle_end(ShardId(1));
        }
        let node = Node::over(desk, None, None);
        assert_eq!(node.make("a").0, 503);
        assert_eq!(node.ask("GET", "/healthz", b"").0, 200);
        let (status, text) = node.ask("GET", "/metrics", b"");
        assert_eq!(status, 200);
        assert!(text.contains("grandstand_engine_shards_silent 2"));
    }
}

/// In virtual time: a silent shard costs a request five seconds in all, however many shards there are.
#[tokio::test(start_paused = true)]
async fn a_silent_shard_is_waited_for_so_long_and_no_longer() {
    let shards = Shards::new(Arc::new(Desk::new(0, Arc::new(Broken::Silent(std::sync::Mutex::default())))));
    let begun = tokio::time::Instant::now();
    let failure = shards.all(&AdminRequest::Counters).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(Failure::from(failure).into_response().status(), StatusCode::GATEWAY_TIMEOUT);
    let begun = tokio::time::Instant::now();
    assert!(shards.ask("a", AdminRequest::Counters).await.is_err());
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}
