//! Keys that a node fetches, over real sockets: an address that is down at the start, and after it.
//!
//! Why real: a worker must answer a client at once, whatever the address does.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use common::ws::{Got, Ws};
use common::{config, frame};
use grandstand::Node;
use grandstand_harness::http;
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Hello, ServerFrame};
use serde_json::json;

/// What the address answers; `None`: it hangs up.
type Answer = Arc<Mutex<Option<String>>>;

/// An address of keys on loopback, for as long as the process runs.
fn serve(answer: Answer, asked: Arc<AtomicU64>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.lock().unwrap().clone();
            asked.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4_096]);
            if let Some(body) = answer {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        }
    });
    address
}

fn token(pair: &Ed25519KeyPair, kid: &str) -> String {
    let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let head = BASE64URL.encode(json!({ "alg": "EdDSA", "kid": kid }).to_string());
    let claims = BASE64URL.encode(json!({ "iss": "id", "sub": "ann", "exp": unix_s + 600 }).to_string());
    let signed = format!("{head}.{claims}");
    format!("{signed}.{}", BASE64URL.encode(pair.sign(signed.as_bytes()).as_ref()))
}

/// How a hello is answered, and after how long: `None` for a session, else the close code and the time told.
fn greet(node: &Node, token: &str) -> (Option<(u16, u32)>, Duration) {
    let mut ws = Ws::open(node.addresses().ws.unwrap(), "/v1");
    let began = Instant::now();
    ws.send(&frame(&ClientFrame::Hello(Hello { token, ..Hello::default() })));
    let Got::Frame(bytes) = ws.next() else { panic!("no frame") };
    let took = began.elapsed();
    match ServerFrame::decode(&bytes) {
        Ok(ServerFrame::Welcome(_)) => (None, took),
        Ok(ServerFrame::Error(error)) => {
            let (code, after_ms) = (error.code, error.retry_after_ms);
            assert!(matches!(ws.until_close(), Got::Close(4110, _)));
            (Some((code, after_ms)), took)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_serves_while_its_issuer_s_keys_are_away_and_takes_them_when_they_come() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = BASE64URL.encode(pair.public_key().as_ref());
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] }).to_string();
    let (answer, asked) = (Answer::default(), Arc::new(AtomicU64::new(0)));
    let address = serve(answer.clone(), asked.clone());
    let folder = std::env::temp_dir().join(format!("grandstand-issuers-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let list = folder.join("issuers.toml");
    fs::write(&list, format!("[[issuer]]\niss = \"id\"\njwks_url = \"http://{address}/keys\"\n")).unwrap();
    let (list, dir) = (list.to_str().unwrap().to_owned(), folder.to_str().unwrap().to_owned());
    let keys = || config(&[("auth.issuers_file", &*list), ("log.dir", &*dir)]);
    let node = Node::start(keys()).unwrap();

    let ann = token(&pair, "k");
    let (refused, took) = greet(&node, &ann);
    let (code, after_ms) = refused.expect("its key is not there");
    assert_eq!(code, 110);
    assert!((1_000..33_000).contains(&after_ms), "{after_ms}");
    assert!(took < Duration::from_secs(1), "a worker waits for no address: {took:?}");
    assert!(greet(&node, "").0.is_none(), "who has no token waits for no key");

    until("a fetch that fails", || asked.load(Ordering::Relaxed) >= 1);
    *answer.lock().unwrap() = Some(set);
    until("the keys", || greet(&node, &ann).0.is_none());
    let admin = node.addresses().admin.unwrap();
    let metrics = http::request(admin, "GET", "/metrics").unwrap();
    let number = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(number("grandstand_key_fetches_total"), 1.0);
    assert!(number("grandstand_key_fetch_failures_total") >= 1.0);
    assert_eq!(number("grandstand_issuers_without_keys"), 0.0);
    assert!(number("grandstand_keys_fetched_timestamp_seconds") > 1.7e9);

    // The address is down again: who has the key is let in, and an unknown one waits, at no cost.
    *answer.lock().unwrap() = None;
    let before = asked.load(Ordering::Relaxed);
    for n in 0..20 {
        assert_eq!(greet(&node, &token(&pair, &n.to_string())).0.map(|(code, _)| code), Some(110));
    }
    assert!(greet(&node, &ann).0.is_none());
    assert!(asked.load(Ordering::Relaxed) <= before + 1, "at most one fetch for twenty names");
    node.stop();

    // A node that is started while the address is down has the keys of the process before.
    let node = Node::start(keys()).unwrap();
    until("the kept keys", || greet(&node, &ann).0.is_none());
    assert!(http::request(node.addresses().admin.unwrap(), "GET", "/metrics").is_ok());
    node.stop();
    fs::remove_dir_all(folder).unwrap();
}
