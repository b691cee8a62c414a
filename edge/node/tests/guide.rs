//! A node with a guide: a source on a schedule, a document that is pushed, and queries over HTTP.
//!
//! Why over sockets: an application sees the port, the key and the thread that imports as one.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{PATIENCE, node};
use grandstand::api_keys::{ApiKeys, NewKey, Scopes};
use grandstand_edge::clock::Clock;
use grandstand_harness::wait;
use serde_json::Value;

fn ask(at: SocketAddr, key: &str, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn listing(channel: &str, titles: &[&str]) -> String {
    let mut document =
        format!("<tv><channel id='{channel}'><display-name>{channel}</display-name></channel>");
    for (n, title) in titles.iter().enumerate() {
        document += &format!(
            "<programme channel='{channel}' start='202603011{n}00 +0000' stop='202603011{}00 +0000'><title>{title}</title></programme>",
            n + 1
        );
    }
    document + "</tv>"
}

#[test]
fn a_source_and_a_pushed_document_are_found_by_time_and_by_words() {
    let dir = std::env::temp_dir().join(format!("grandstand-guide-node-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    let (source, keys) = (dir.join("one.xml"), dir.join("keys"));
    std::fs::write(&source, listing("one", &["News", "Film", "Quiz", "Sport", "Talk"])).unwrap();
    let key = |name: &str, scopes: &[&str]| {
        let scopes = Scopes::from_words(scopes.iter().copied()).unwrap();
        let new = NewKey { name: name.into(), env: "test".into(), scopes, ..NewKey::default() };
        ApiKeys::new(Clock::start()).create_in_file(&keys, &new).unwrap().0.expose().to_owned()
    };
    let (writer, reader) = (key("w", &["guide:write", "guide:read"]), key("r", &["guide:read"]));
    let node = node(&[
        ("api.listen", "127.0.0.1:0"),
        ("api.requests_burst", "100000"),
        ("api.keys_file", keys.to_str().unwrap()),
        ("guide.sources", &format!("one {}", source.display())),
        ("guide.push", "true"),
    ]);
    let at = node.addresses().api.unwrap();
    wait::until("the source is imported", || {
        let (status, reports) = ask(at, &reader, "GET", "/v1/guide/reports", b"");
        assert_eq!(status, 200, "{reports}");
        reports[0]["result"] == "applied"
    });
    let push = |key: &str, query: &str, body: &str| {
        ask(at, key, "POST", &format!("/v1/guide/documents?{query}"), body.as_bytes())
    };
    let two = listing("two", &["Arsenal v Spurs", "Late", "Later", "Latest"]);
    assert_eq!(push(&reader, "source=two", &two).0, 403);
    let (status, report) = push(&writer, "source=two", &two);
    assert_eq!((status, &report["added"]), (200, &4.into()), "{report}");
    let (status, report) = push(&writer, "source=two", &two);
    assert_eq!((status, &report["rows_written"]), (200, &0.into()), "{report}");
    let (status, problem) = push(&writer, "source=two", "<tv></tv>");
    assert_eq!((status, &problem["code"]), (409, &"GuideRefused".into()), "{problem}");
    let (status, problem) = push(&writer, "source=two", "not a listing");
    assert_eq!((status, &problem["code"]), (422, &"DocumentUnusable".into()), "{problem}");
    assert_eq!(push(&writer, "source=a/b", &two).0, 400);
    assert_eq!(push(&writer, "source=two&offset_missing=Atlantis", &two).0, 400);

    let get = |path: &str| ask(at, &reader, "GET", &format!("/v1/guide/{path}"), b"");
    let (status, grid) = get("grid?from=2026-03-01T10:30Z&to=2026-03-01T12:00Z&zone=Europe%2FParis");
    let titles: Vec<&str> = grid["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["airings"][0]["title"].as_str().unwrap())
        .collect();
    assert_eq!((status, titles), (200, vec!["News", "Arsenal v Spurs"]));
    assert_eq!(grid["rows"][0]["airings"][0]["start"], "2026-03-01T11:00:00+01:00");
    let (_, now) = get("now?from=2026-03-01T11:10Z&channels=one");
    assert_eq!(
        (&now["rows"][0]["now"]["title"], &now["rows"][0]["next"]["title"]),
        (&"Film".into(), &"Quiz".into())
    );
    let (_, found) = get("search?q=arsen&from=2026-02-20");
    let room = found["rows"][0]["airings"][0]["room"].as_str().unwrap().to_owned();
    let (status, airing) = get(&format!("airings/{}", room.replace('/', "%2F")));
    assert_eq!((status, &airing["title"]), (200, &"Arsenal v Spurs".into()));
    assert_eq!(
        (get("airings/show").0, get("grid?to=1990").0, get("grid?zone=x").0, get("grid?x=1").0),
        (404, 400, 400, 400)
    );
    drop(node);
    let _ = std::fs::remove_dir_all(&dir);
}
