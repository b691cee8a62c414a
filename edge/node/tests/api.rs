//! The HTTP API of a running node, over sockets: keys, problems, limits and TLS.
//!
//! Why over sockets: what an application sees is decided by the port, the framework and the operation.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::node;
use grandstand_harness::wait::PATIENCE;
use serde_json::Value;

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
