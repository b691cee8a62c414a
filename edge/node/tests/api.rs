//! The HTTP API of a running node, over sockets: keys, problems, limits and TLS.
//!
//! Why over sockets: what an application sees is decided by the port, the framework and the operation.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use common::node;
use grandstand::Node;
use grandstand::api_keys::{ApiKeys, NewKey, Scope, Scopes};
use grandstand_edge::clock::Clock;
use grandstand_harness::wait::{PATIENCE, until};
use serde_json::{Value, json};

/// An answer: its status, its head in small letters, and its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One request on a connection of its own; `head` are more lines of the head.
fn ask(at: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// A node with an API, and keys for it.
struct Served {
    node: Option<Node>,
    at: SocketAddr,
    folder: PathBuf,
    /// Lines of a request's head, by the key's name.
    all: String,
    none: String,
    some_rooms: String,
}

fn served(name: &str, more: &[(&str, &str)]) -> Served {
    let folder = std::env::temp_dir().join(format!("grandstand-api-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.jsonl");
    let keys = ApiKeys::new(Clock::start());
    let make = |name: &str, scopes: Scopes, room_prefix: &str| {
        let (env, room_prefix) = ("test".to_owned(), room_prefix.to_owned());
        let new = NewKey { name: name.to_owned(), env, scopes, room_prefix, expires_ms: None };
        let (secret, _) = keys.create_in_file(&file, &new).unwrap();
        format!("authorization: Bearer {}\r\n", secret.expose())
    };
    let everything: Scopes = Scope::ALL.iter().copied().collect();
    let all = make("all", everything, "");
    let none = make("none", Scopes::default(), "");
    let some_rooms = make("some", everything, "a/");
    let file = file.display().to_string();
    let given = [("api.listen", "127.0.0.1:0"), ("api.keys_file", file.as_str())];
    let node = node(&given.into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
    Served { at: node.addresses().api.unwrap(), node: Some(node), folder, all, none, some_rooms }
}

impl Served {
    /// As the key with every scope; a body is JSON.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as(&self.all, method, path, body)
    }

    fn ask_as(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let (head, body) = match body {
            Value::Null => (String::new(), String::new()),
            body => ("content-type: application/json\r\n".to_owned(), body.to_string()),
        };
        ask(self.at, method, path, &format!("{key}{head}"), &body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.node.take().unwrap().stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Every operation of the description: its method and its path, with names that exist nowhere.
fn operations(description: &Value) -> Vec<(String, String)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let of_path = |(path, methods): (&String, &Value)| {
        let path = path
            .replace("{room}", "none")
            .replace("{key}", "k")
            .replace("{user}", "u")
            .replace("{id}", "x")
            .replace("{session}", "7");
        assert!(!path.contains('{'), "{path} has a name that this test does not know");
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(|method| (method.to_uppercase(), path.clone()))
            .collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

#[test]
fn the_description_is_the_committed_one_and_every_operation_needs_a_scope() {
    let served = served("scopes", &[]);
    let description = ask(served.at, "GET", "/openapi.json", "", "");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let text = format!("{}\n", description.body);
    if std::env::var_os("GRANDSTAND_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json differs: run this test with GRANDSTAND_WRITE_OPENAPI=1");
    let operations = operations(&description.json());
    assert!(operations.len() > 15, "{operations:?}");
    for (method, path) in operations {
        for body in [Value::Null, json!({}), json!([1])] {
            assert_eq!(served.ask_as("", &method, &path, &body).status, 401, "{method} {path}");
            let answer = served.ask_as(&served.none, &method, &path, &body);
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (403, &json!("Forbidden")),
                "{method} {path}: {problem}"
            );
        }
    }
}

#[test]
fn a_room_is_made_filled_closed_and_removed() {
    let served = served("rooms", &[]);
    let room = served.ask("POST", "/v1/rooms", &json!({ "name": "a/1" })).json();
    assert_eq!(
        (&room["name"], &room["phase"], &room["next_offset"]),
        (&json!("a/1"), &json!("open"), &json!(0))
    );
    let message = json!({ "author": "Ann", "role": "host", "text": "Welcome!" });
    let said = served.ask("POST", "/v1/rooms/a%2F1/messages", &message);
    assert_eq!((said.status, &said.json()["offset"]), (200, &json!(0)));
    let key = format!("{}idempotency-key: 8e03978e\r\n", served.all);
    let once = || served.ask_as(&key, "POST", "/v1/rooms/a%2F1/messages", &message).json();
    let (first, again) = (once(), once());
    assert_eq!((&first["offset"], &first["repeated"]), (&json!(1), &json!(false)));
    assert_eq!((&again["offset"], &again["repeated"]), (&json!(1), &json!(true)));
    let other = json!({ "author": "Ann", "role": "host", "text": "Something else" });
    let reused = served.ask_as(&key, "POST", "/v1/rooms/a%2F1/messages", &other);
    assert_eq!((reused.status, &reused.json()["code"]), (422, &json!("IdempotencyKeyReused")));
    let state = ask(served.at, "PUT", "/v1/rooms/a%2F1/state/pinned", &served.all, "Hello");
    assert_eq!(state.status, 200, "{}", state.body);
    assert_eq!(served.ask("DELETE", "/v1/rooms/a%2F1/state/pinned", &Value::Null).status, 204);
    let tick = json!({ "tick_min_ms": 50, "tick_max_ms": 50.0 });
    assert_eq!(served.ask("PUT", "/v1/rooms/a%2F1/settings", &tick).json()["settings"]["tick_max_ms"], 50);
    assert_eq!(served.ask("POST", "/v1/rooms/a%2F1/close", &Value::Null).json()["phase"], "closed");
    let closed = served.ask("POST", "/v1/rooms/a%2F1/messages", &message);
    assert_eq!((closed.status, &closed.json()["code"]), (409, &json!("RoomClosed")));
    assert_eq!(served.ask("POST", "/v1/rooms/a%2F1/open", &Value::Null).json()["phase"], "open");
    assert_eq!(served.ask("DELETE", "/v1/rooms/a%2F1", &Value::Null).status, 204);
    let gone = served.ask("GET", "/v1/rooms/a%2F1", &Value::Null);
    assert_eq!((gone.status, &gone.json()["code"]), (404, &json!("UnknownRoom")));
}

#[test]
fn pages_follow_each_other_until_the_last_and_a_key_sees_its_own_rooms_only() {
    let served = served("pages", &[]);
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        assert_eq!(served.ask("POST", "/v1/rooms", &json!({ "name": name })).status, 200);
    }
    let names = |key: &str, first: &str| {
        let (mut all, mut path) = (Vec::new(), first.to_owned());
        loop {
            let answer = served.ask_as(key, "GET", &path, &Value::Null);
            let page = answer.json();
            all.extend(
                page["rooms"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|room| room["name"].as_str().unwrap().to_owned()),
            );
            let link =
                answer.head.lines().any(|line| line.starts_with("link: ") && line.ends_with("rel=\"next\""));
            assert_eq!(link, page["next"].is_string());
            let Some(next) = page["next"].as_str() else { return all };
            path = format!("{first}&cursor={next}");
        }
    };
    assert_eq!(names(&served.all, "/v1/rooms?limit=1"), ["a/1", "a/2", "a/3", "b/1"]);
    assert_eq!(names(&served.all, "/v1/rooms?limit=2&prefix=a%2F"), ["a/1", "a/2", "a/3"]);
    assert_eq!(names(&served.some_rooms, "/v1/rooms?limit=2"), ["a/1", "a/2", "a/3"]);
    let not_its_own = [
        ("GET", "/v1/rooms?prefix=b", Value::Null),
        ("GET", "/v1/rooms/b%2F1", Value::Null),
        ("DELETE", "/v1/rooms/b%2F1", Value::Null),
        ("POST", "/v1/rooms/b%2F1/close", Value::Null),
        ("POST", "/v1/rooms", json!({ "name": "b/2" })),
        ("POST", "/v1/rooms/b%2F1/messages", json!({ "author": "Ann", "text": "Hi" })),
        ("GET", "/v1/keys", Value::Null),
        ("GET", "/v1/bans", Value::Null),
        ("PUT", "/v1/bans/ann", Value::Null),
        ("POST", "/v1/keys", json!({ "name": "x", "env": "live", "scopes": ["publish"] })),
    ];
    for (method, path, body) in not_its_own {
        assert_eq!(served.ask_as(&served.some_rooms, method, path, &body).status, 403, "{method} {path}");
    }
    assert_eq!(served.ask_as(&served.some_rooms, "GET", "/v1/rooms/a%2F1", &Value::Null).status, 200);
}

#[test]
fn what_was_said_is_read_in_pages_and_state_by_key() {
    let served = served("history", &[]);
    served.ask("POST", "/v1/rooms", &json!({ "name": "a" }));
    for n in 0..25 {
        let message = json!({ "author": "Ann", "role": "bot", "text": n.to_string() });
        assert_eq!(served.ask("POST", "/v1/rooms/a/messages", &message).status, 200);
    }
    grandstand_harness::wait::until("all is sealed", || {
        served.ask("GET", "/v1/rooms/a/messages", &Value::Null).json()["messages"].as_array().unwrap().len()
            == 25
    });
    for limit in [1, 7, 25, 1_000] {
        let (mut all, mut path) = (Vec::new(), format!("/v1/rooms/a/messages?limit={limit}"));
        loop {
            let page = served.ask("GET", &path, &Value::Null).json();
            let messages = page["messages"].as_array().unwrap();
            assert!(messages.len() <= limit, "{page}");
            all.extend(
                messages
                    .iter()
                    .map(|m| (m["offset"].as_u64().unwrap(), m["text"].as_str().unwrap().to_owned())),
            );
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/rooms/a/messages?limit={limit}&cursor={next}");
        }
        assert_eq!(all, (0..25).map(|n| (n, n.to_string())).collect::<Vec<_>>(), "{limit}");
    }
    let page = served.ask("GET", "/v1/rooms/a/messages?from=24", &Value::Null).json();
    assert_eq!((&page["messages"][0]["text"], &page["messages"][0]["role"]), (&json!("24"), &json!("bot")));
    assert_eq!(served.ask("GET", "/v1/rooms/a/messages?from=25", &Value::Null).json()["messages"], json!([]));
    // A cursor of another log.
    let other = served.ask("GET", "/v1/rooms/a/messages?cursor=MTox", &Value::Null);
    assert_eq!((other.status, &other.json()["code"]), (409, &json!("UnknownEpoch")));
    for (key, value, text, base64) in
        [("text", "Hi", json!("Hi"), Value::Null), ("more", "5", json!("5"), Value::Null)]
    {
        let set = ask(served.at, "PUT", &format!("/v1/rooms/a/state/{key}"), &served.all, value);
        assert_eq!(set.status, 200, "{}", set.body);
        grandstand_harness::wait::until("it is sealed", || {
            served.ask("GET", &format!("/v1/rooms/a/state/{key}"), &Value::Null).status == 200
        });
        let got = served.ask("GET", &format!("/v1/rooms/a/state/{key}"), &Value::Null).json();
        assert_eq!((&got["text"], &got["base64"]), (&text, &base64));
    }
    let state = served.ask("GET", "/v1/rooms/a/state", &Value::Null).json();
    assert_eq!((&state["entries"][0]["key"], &state["entries"][1]["key"]), (&json!("more"), &json!("text")));
    assert_eq!(served.ask("GET", "/v1/rooms/a/state/none", &Value::Null).json()["code"], "NotFound");
}

#[test]
fn a_session_is_listed_in_its_rooms_and_ended_at_once() {
    let served = served("sessions", &[]);
    let ws = served.node.as_ref().unwrap().addresses().ws.unwrap();
    let mut client = common::ws::Ws::welcomed(ws);
    client.send(&common::subscribe(1, "a/1"));
    let listed =
        |path: &str| served.ask("GET", path, &Value::Null).json()["sessions"].as_array().unwrap().clone();
    grandstand_harness::wait::until("it is in its room", || !listed("/v1/sessions?room=a%2F1").is_empty());
    let session = listed("/v1/sessions")[0].clone();
    assert_eq!(session["rooms"], json!(["a/1"]));
    assert!(listed("/v1/sessions?room=b").is_empty() && listed("/v1/sessions?user=ann").is_empty());
    let viewers = served.ask_as(&served.some_rooms, "GET", "/v1/rooms/a%2F1/viewers", &Value::Null).json();
    assert_eq!(
        (&viewers["sessions"][0]["session"], &viewers["complete"]),
        (&session["session"], &json!(true))
    );
    let path = format!("/v1/sessions/{}", session["session"].as_str().unwrap());
    assert_eq!(served.ask("GET", &path, &Value::Null).json()["name"], session["name"]);
    let clock = Clock::start();
    assert_eq!(served.ask("DELETE", &path, &Value::Null).status, 200);
    grandstand_harness::wait::until("it is gone", || served.ask("GET", &path, &Value::Null).status == 404);
    assert!(clock.uptime() < std::time::Duration::from_secs(2));
    assert!(listed("/v1/sessions").is_empty());
}

#[test]
fn each_line_of_a_bulk_has_its_answer_and_a_repetition_says_the_same_once() {
    let served = served("bulk", &[]);
    served.ask("POST", "/v1/rooms", &json!({ "name": "a" }));
    let mut lines: Vec<String> = (0..200)
        .map(|n| json!({ "room": "a", "author": "Ann", "role": "bot", "text": n.to_string() }).to_string())
        .collect();
    lines[3] = json!({ "room": "none", "author": "Ann", "text": "Hi" }).to_string();
    lines[5] = "no JSON".to_owned();
    lines[7] = json!({ "room": "a", "author": "Ann", "text": "x".repeat(5_000) }).to_string();
    let head = format!("{}content-type: application/x-ndjson\r\nidempotency-key: bulk-1\r\n", served.all);
    let say = || -> Vec<Value> {
        let answer = ask(served.at, "POST", "/v1/messages", &head, &lines.join("\n"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (first, again) = (say(), say());
    let expected = |line: usize| match line {
        3 => 404,
        5 => 400,
        7 => 422,
        _ => 200,
    };
    let mut offset = 0;
    for (n, (first, again)) in first.iter().zip(&again).enumerate() {
        assert_eq!((&first["line"], &first["status"]), (&json!(n + 1), &json!(expected(n))), "{first}");
        assert_eq!(again["status"], first["status"]);
        if expected(n) == 200 {
            assert_eq!(first["message"]["offset"], offset, "a room's lines are in their order");
            assert_eq!(
                (&again["message"]["offset"], &again["message"]["repeated"]),
                (&json!(offset), &json!(true))
            );
            offset += 1;
        } else {
            assert!(first["problem"]["detail"].is_string());
        }
    }
    assert_eq!(first.len(), 200);
    // A room in memory answers before it seals, and tells what it sealed.
    let sealed = || served.ask("GET", "/v1/rooms/a", &Value::Null).json()["next_offset"] == 197;
    until("all lines are sealed", sealed);
    for body in ["", "\n\n", &"{}\n".repeat(1_001)] {
        assert_eq!(ask(served.at, "POST", "/v1/messages", &head, body).status, 422);
    }
}

#[test]
fn whatever_is_wrong_with_a_request_is_a_problem() {
    let served = served("problems", &[]);
    let json = "content-type: application/json\r\n";
    let cases: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("GET", "/v1/nothing", "", "", 404, "NotFound"),
        ("GET", "/", "", "", 404, "NotFound"),
        ("PATCH", "/v1/rooms", "", "", 405, "MethodNotAllowed"),
        ("TRACE", "/v1/rooms/a", "", "", 405, "MethodNotAllowed"),
        ("POST", "/v1/rooms", "", "{}", 415, "UnsupportedMediaType"),
        ("POST", "/v1/rooms", "content-type: text/plain\r\n", "{}", 415, "UnsupportedMediaType"),
        ("POST", "/v1/rooms", json, "{", 400, "BadRequest"),
        ("POST", "/v1/rooms", json, "", 400, "BadRequest"),
        ("POST", "/v1/rooms", json, "[]", 422, "InvalidBody"),
        ("POST", "/v1/rooms", json, "{}", 422, "InvalidBody"),
        ("POST", "/v1/rooms", json, r#"{"name":""}"#, 422, "InvalidBody"),
        ("POST", "/v1/rooms", json, r#"{"name":"a\u0000"}"#, 422, "InvalidBody"),
        ("POST", "/v1/rooms", json, r#"{"name":"a","other":1}"#, 422, "InvalidBody"),
        ("POST", "/v1/rooms", json, r#"{"name":"a","durability":"disk"}"#, 409, "DurabilityUnavailable"),
        ("GET", "/v1/rooms?limit=0", "", "", 400, "BadRequest"),
        ("GET", "/v1/rooms?limit=x", "", "", 400, "BadRequest"),
        ("GET", "/v1/rooms?limits=1", "", "", 400, "BadRequest"),
        ("GET", "/v1/rooms?cursor=%21", "", "", 400, "BadRequest"),
        ("GET", "/v1/rooms/%FF", "", "", 400, "BadRequest"),
        ("GET", "/v1/rooms/%00", "", "", 400, "BadRequest"),
        ("PUT", "/v1/rooms/a/state/gs.viewers", "", "1", 403, "Forbidden"),
        ("POST", "/v1/backups", "", "", 409, "NoLog"),
        ("DELETE", "/v1/bans/nobody", "", "", 404, "NotFound"),
        ("DELETE", "/v1/keys/none", "", "", 404, "NotFound"),
        ("POST", "/v1/revocations", json, "{}", 422, "InvalidBody"),
        ("POST", "/v1/keys", json, r#"{"name":"a","env":"live","scopes":[]}"#, 422, "InvalidBody"),
    ];
    for &(method, path, head, body, status, code) in cases {
        let answer = ask(served.at, method, path, &format!("{}{head}", served.all), body);
        let problem = answer.json();
        assert_eq!(
            (answer.status, problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {body}: {problem}"
        );
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert!(
            problem["instance"].is_string() && problem["detail"].as_str().unwrap().len() > 5,
            "{problem}"
        );
        assert_eq!(status == 405, answer.head.contains("\r\nallow: "), "{}", answer.head);
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(20_000));
    let answer = ask(served.at, "POST", "/v1/rooms", &format!("{}{json}", served.all), &large);
    assert_eq!((answer.status, &answer.json()["code"]), (413, &"TooLarge".into()));
}

#[test]
fn a_key_that_asks_too_often_is_told_when_to_return() {
    let served = served("rate", &[("api.requests_per_s", "1"), ("api.requests_burst", "3")]);
    let answers: Vec<Answer> = (0..5).map(|_| served.ask("GET", "/v1/rooms", &Value::Null)).collect();
    assert!(answers[0].head.contains("ratelimit-policy: \"burst\";q=3;w=3"), "{}", answers[0].head);
    assert!(answers[0].head.contains("ratelimit: \"burst\";r=2;t=1"), "{}", answers[0].head);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("the burst is over");
    assert!(
        refused.head.contains("\r\nretry-after: 1")
            && refused.json()["retry_after_ms"].as_u64() <= Some(1_000)
    );
    assert_eq!(
        served.ask_as(&served.some_rooms, "GET", "/v1/rooms", &Value::Null).status,
        200,
        "others have their own"
    );
}

#[test]
fn a_key_is_made_used_and_revoked_by_requests() {
    let served = served("keys", &[]);
    let wanted = json!({ "name": "app", "env": "live", "scopes": ["rooms:read"], "room_prefix": "a", "expires_s": 60 });
    let made = served.ask("POST", "/v1/keys", &wanted);
    assert_eq!(made.status, 201, "{}", made.body);
    let made = made.json();
    let key = format!("authorization: Bearer {}\r\n", made["secret"].as_str().unwrap());
    assert_eq!(served.ask_as(&key, "GET", "/v1/rooms", &Value::Null).status, 200);
    assert_eq!(served.ask_as(&key, "POST", "/v1/rooms", &json!({ "name": "a" })).status, 403);
    let id = made["key"]["id"].as_str().unwrap();
    let list = served.ask("GET", "/v1/keys", &Value::Null).json();
    assert!(list["keys"].as_array().unwrap().iter().any(|key| key["id"] == id && key["live"] == true));
    assert!(!list.to_string().contains(made["secret"].as_str().unwrap()));
    assert_eq!(served.ask("POST", "/v1/keys", &wanted).status, 201, "the next key");
    assert_eq!(served.ask("POST", "/v1/keys", &wanted).json()["code"], "TooManyKeysOfName");
    assert_eq!(served.ask("DELETE", &format!("/v1/keys/{id}"), &Value::Null).status, 204);
    assert_eq!(served.ask_as(&key, "GET", "/v1/rooms", &Value::Null).status, 401);
    let of_file = list["keys"].as_array().unwrap().iter().find(|key| key["source"] == "file").unwrap();
    let path = format!("/v1/keys/{}", of_file["id"].as_str().unwrap());
    assert_eq!(served.ask("DELETE", &path, &Value::Null).json()["code"], "KeyOfFile");
}

#[test]
fn a_key_of_the_command_line_is_known_to_a_running_node_at_once() {
    let dir = std::env::temp_dir().join(format!("grandstand-api-command-{}", std::process::id()));
    let dir = dir.join("log").display().to_string();
    let served = served("command", &[("log.dir", &dir)]);
    let run = |words: &[&str]| -> (bool, Value) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_grandstand"));
        let out = command.arg("key").args(words).args(["--dir", &dir, "--json"]).output().unwrap();
        (out.status.success(), serde_json::from_slice(&out.stdout).unwrap())
    };
    let (_, made) = run(&["create", "--name", "app", "--scopes", "rooms:read,admin"]);
    let key = format!("authorization: Bearer {}\r\n", made["secret"].as_str().unwrap());
    assert_eq!(served.ask_as(&key, "GET", "/v1/rooms", &Value::Null).status, 200);
    let listed = run(&["list"]).1.to_string();
    assert!(listed.contains("app") && !listed.contains(made["secret"].as_str().unwrap()), "{listed}");
    assert!(run(&["revoke", made["id"].as_str().unwrap()]).0);
    let refused = served.ask_as(&key, "GET", "/v1/rooms", &Value::Null);
    assert!(refused.status == 401 && refused.body.contains("revoked"), "{}", refused.body);
    assert!(
        run(&["create", "--name", "x", "--scopes", "everything"]).1["error"]
            .as_str()
            .unwrap()
            .contains("publish")
    );
}

#[test]
fn requests_follow_each_other_on_one_connection_and_a_stop_ends_it() {
    let mut served = served("alive", &[]);
    let mut stream = TcpStream::connect(served.at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /v1/node HTTP/1.1\r\nHost: a\r\n{}\r\n", served.all);
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut some = [0; 4_096];
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    served.node.take().unwrap().stop();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    served.node = Some(node(&[]));
}

#[test]
fn without_a_valid_key_nothing_but_the_description_is_answered() {
    let node = node(&[("api.listen", "127.0.0.1:0")]);
    let at = node.addresses().api.unwrap();
    assert_eq!(ask(at, "GET", "/openapi.json", "", "").json()["openapi"], "3.1.0");
    let other = "authorization: Bearer gsk_test_0000000000000000000000_000000\r\n";
    for head in ["", "authorization: Basic eDp5\r\n", "authorization: Bearer x\r\n", other] {
        for path in ["/v1/node", "/v1/nothing", "/", "/v1/rooms/a%2Fb"] {
            let answer = ask(at, "GET", path, head, "");
            assert_eq!(answer.status, 401, "{path} {head}");
            let problem = answer.json();
            assert_eq!((&problem["code"], &problem["status"]), (&"Unauthorized".into(), &401.into()));
            assert!(answer.head.contains("\r\nwww-authenticate: bearer"), "{}", answer.head);
            let id = answer.head.split("\r\nx-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
            assert_eq!(problem["instance"], format!("urn:grandstand:request:{id}"));
        }
    }
}
