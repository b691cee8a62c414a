//! A message over HTTP: published by an operator, answered as a client's would be, seen by viewers.
//!
//! Why over a whole node: handler, desk, shard, durable log and viewers meet only here.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::node;
use common::ws::Ws;
use grandstand::Node;
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{Role, ServerFrame};
use serde_json::{Value, json};

/// Status, `Retry-After` and body.
fn ask(node: &Node, method: &str, path: &str, body: &Value) -> (u16, Option<u32>, Value) {
    let mut stream = TcpStream::connect(node.addresses().admin.unwrap()).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let retry = head.lines().find_map(|l| l.strip_prefix("retry-after: ")).map(|s| s.parse().unwrap());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), retry, serde_json::from_str(body).expect("JSON"))
}

fn say(node: &Node, message: &Value) -> (u16, Option<u32>, Value) {
    ask(node, "POST", "/rooms/show/messages", message)
}

fn with_room(flags: &[(&str, &str)]) -> Node {
    let node = node(flags);
    assert_eq!(ask(&node, "POST", "/rooms", &json!({ "name": "show" })).0, 200);
    node
}

#[test]
fn an_operators_line_is_answered_and_reaches_viewers() {
    let node = with_room(&[]);
    let mut viewer = Ws::welcomed(node.addresses().ws.unwrap());
    viewer.send(&common::subscribe(1, "show"));
    let ServerFrame::Subscribed(s) = ServerFrame::decode(&viewer.next_frame()).unwrap() else {
        panic!("Subscribed was due")
    };
    let line = json!({ "author": "Ann", "role": "host", "text": "Welcome!", "nonce": 7 });
    let (status, _, answer) = say(&node, &line);
    assert_eq!(
        (status, &answer["offset"], &answer["durability"]),
        (200, &json!(0), &json!("memory")),
        "{answer}"
    );
    assert_eq!((&answer["repeated"], &answer["nonce"]), (&json!(false), &json!(7)));
    assert_eq!(answer["epoch"], s.epoch.to_string());
    let mut at = Position { epoch: s.epoch, offset: s.offset, time_ms: s.time_ms };
    let seen = loop {
        let bytes = viewer.next_frame();
        let ServerFrame::Batch(body) = ServerFrame::decode(&bytes).unwrap() else { continue };
        let mut reader = BatchReader::new(body).unwrap();
        at.begin(&reader).unwrap();
        if let Some(Item::Message(m)) = reader.next_item().unwrap() {
            break (at.message(&m), m.author.to_owned(), Role::from_wire(m.role), m.text.to_owned());
        }
    };
    assert_eq!(seen, (0, "Ann".to_owned(), Role::Host, "Welcome!".to_owned()));
    // A retry is the same message; another author's nonce of that number is another one.
    let (status, _, again) = say(&node, &line);
    assert_eq!((status, &again["offset"], &again["repeated"]), (200, &json!(0), &json!(true)));
    let other = json!({ "author": "Ben", "text": "hello", "nonce": 7 });
    assert_eq!(say(&node, &other).2["offset"], 1);
    let unnumbered = json!({ "author": "Ben", "text": "hello" });
    assert_eq!(
        (&say(&node, &unnumbered).2["offset"], &say(&node, &unnumbered).2["offset"]),
        (&json!(2), &json!(3))
    );
    node.stop();
}

#[test]
fn on_disk_it_is_answered_when_it_is_synced_and_outlives_the_node() {
    let dir = std::env::temp_dir().join(format!("grandstand-messages-{}", std::process::id()));
    let folder = dir.to_str().unwrap();
    let flags = [("log.dir", folder), ("log.recorder_dir", folder)];
    let node = with_room(&flags);
    let line = json!({ "author": "Ann", "text": "kept", "nonce": 9 });
    let (status, _, answer) = say(&node, &line);
    assert_eq!(
        (status, &answer["durability"], &answer["offset"]),
        (200, &json!("disk"), &json!(0)),
        "{answer}"
    );
    node.stop();
    let node = common::node(&flags);
    assert_eq!(ask(&node, "GET", "/rooms/show", &Value::Null).2["next_offset"], 1);
    let mut late = line.clone();
    late["age_ms"] = json!(60_000);
    let (status, _, again) = say(&node, &late);
    assert_eq!((status, &again["offset"], &again["repeated"]), (200, &json!(0), &json!(true)), "{again}");
    node.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn refusals_are_those_of_everybody_in_json() {
    let node = with_room(&[("rooms.slow_mode_ms", "60000")]);
    let by = |author: &str, text: &str| json!({ "author": author, "text": text });
    let long = "x".repeat(2_001);
    for (message, expected, error) in [
        (by("", "hello"), 400, "author"),
        (by("a\u{7}", "hello"), 400, "author"),
        (by("Ann", " \n"), 400, "empty"),
        (by("Ann", "a\u{0}b"), 400, "text"),
        (by("Ann", &long), 413, "large"),
        (json!({ "author": "Ann", "txt": "hello" }), 400, "not as expected"),
        (json!({ "author": "Ann", "role": "king", "text": "hello" }), 400, "not as expected"),
        (json!({ "author": "Ann", "text": "hello", "nonce": -1 }), 400, "not as expected"),
    ] {
        let (status, _, answer) = say(&node, &message);
        assert_eq!(status, expected, "{message}: {answer}");
        let told = |field: &str| answer[field].as_str().unwrap_or_default().to_lowercase();
        assert!(told("error").contains(error) && told("hint").len() > 3, "{message}: {answer}");
    }
    assert_eq!(ask(&node, "POST", "/rooms/none/messages", &by("Ann", "hello")).0, 404);
    // Slow mode holds for viewers, with a time to retry after, and not for those who keep order.
    assert_eq!(say(&node, &by("Ann", "one")).0, 200);
    let (status, retry, answer) = say(&node, &by("Ann", "two"));
    let retry_ms = answer["retry_after_ms"].as_u64().unwrap_or_default();
    assert_eq!(status, 429, "{answer}");
    assert!(
        (1..=60_000).contains(&retry_ms) && u64::from(retry.unwrap()) == retry_ms.div_ceil(1_000),
        "{answer}"
    );
    for text in ["one", "two"] {
        assert_eq!(say(&node, &json!({ "author": "Mo", "role": "moderator", "text": text })).0, 200);
    }
    assert_eq!(ask(&node, "POST", "/rooms/show/close", &Value::Null).0, 200);
    assert_eq!(say(&node, &by("Ben", "late")).0, 409);
    node.stop();
}

#[test]
fn a_full_room_says_when_to_come_again() {
    let flags =
        [("rooms.pending_messages_max", "1"), ("rooms.tick_ms", "10000"), ("rooms.leading_edge", "false")];
    let node = with_room(&flags);
    let by = |author: &str| json!({ "author": author, "text": "hello" });
    assert_eq!(say(&node, &by("Ann")).0, 200);
    let (status, retry, answer) = say(&node, &by("Ben"));
    assert_eq!(status, 503, "{answer}");
    assert!(answer["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0) && retry.is_some(), "{answer}");
    node.stop();
}
