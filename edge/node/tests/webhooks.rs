//! Webhooks of a running node: what happens there reaches an application's server, and what it misses while
//! it is down reaches it after a restart of the node.
//!
//! Why by the command too: an operator adds an endpoint while the node runs.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::config;
use grandstand::{Node, webhook_command};
use grandstand_harness::http;
use grandstand_harness::wait::until;
use serde_json::Value;

fn run(args: &[&str]) -> Result<Value, String> {
    let matches = webhook_command::command().try_get_matches_from(args).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    webhook_command::run(&matches, &mut out)?;
    Ok(serde_json::from_slice(&out).unwrap())
}

#[test]
fn what_happens_at_a_node_reaches_an_endpoint_that_a_command_added() {
    let folder = std::env::temp_dir().join(format!("grandstand-webhooks-node-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (got, is_up) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::new(AtomicBool::new(true)));
    let (seen, up) = (got.clone(), is_up.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = String::new();
            let mut chunk = [0; 4_096];
            while !text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}')) {
                match stream.read(&mut chunk) {
                    Ok(count) if count > 0 => text.push_str(&String::from_utf8_lossy(&chunk[..count])),
                    _ => break,
                }
            }
            let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
            let Ok(body) = serde_json::from_str(body) else { continue };
            if up.load(Ordering::Relaxed) {
                seen.lock().unwrap().push(body);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    let dir = folder.to_str().unwrap();
    let keys =
        || config(&[("webhooks.enabled", "true"), ("webhooks.private_hosts", &address), ("log.dir", dir)]);
    let node = Node::start(keys()).unwrap();
    let url = format!("http://{address}/hook");
    let flags = ["--log-dir", dir, "--webhooks-private-hosts", &address, "--webhooks-enabled=true"];
    let added = run(&[&["webhook", "add", &url][..], &flags[..]].concat()).unwrap();
    assert!(added["secret"].as_str().unwrap().starts_with("whsec_"));
    run(&[&["webhook", "test", "1"][..], &flags[..]].concat()).unwrap();
    until("the test, which the node noticed", || !got.lock().unwrap().is_empty());
    let admin = node.addresses().admin.unwrap();
    let ask = |method, path: &str, body| drop(http::request_with(admin, method, path, body).unwrap());
    ask("POST", "/rooms", r#"{"name":"show/1"}"#);
    ask("POST", "/rooms/show%2F1/close", "");
    ask("PUT", "/bans/mallory", r#"{"reason":"spam"}"#);
    let types = || -> Vec<String> {
        got.lock().unwrap().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
    };
    until("three events", || types().len() == 4);
    let all = types();
    let place =
        |kind: &str| all.iter().position(|one| one == kind).unwrap_or_else(|| panic!("{kind}: {all:?}"));
    assert!(place("room.opened") < place("room.closed"));
    let act = got.lock().unwrap()[place("moderation.acted")].clone();
    assert_eq!((&act["data"]["user"], &act["data"]["act"]), (&"mallory".into(), &"ban".into()));
    // The application is down, and the node is started anew.
    is_up.store(false, Ordering::Relaxed);
    ask("DELETE", "/bans/mallory", "");
    node.stop();
    is_up.store(true, Ordering::Relaxed);
    let listed = run(&[&["webhook", "list"][..], &flags[..]].concat()).unwrap();
    assert_eq!(listed["waiting"], 1, "{listed}");
    let node = Node::start(keys()).unwrap();
    until("what it missed", || types().len() == 5);
    assert_eq!(got.lock().unwrap()[4]["data"]["act"], "lift");
    let metrics = http::request(node.addresses().admin.unwrap(), "GET", "/metrics").unwrap();
    assert!(metrics.contains("grandstand_webhook_delivered_total"));
    node.drain();
    until("the drain", || types().last().is_some_and(|kind| kind == "node.draining"));
    assert!(
        run(&[&["webhook", "test", "7"][..], &flags[..]].concat()).unwrap_err().contains("no endpoint 7")
    );
    assert!(run(&[&["webhook", "remove", "1"][..], &flags[..]].concat()).is_ok());
    assert!(run(&["webhook", "list"]).unwrap_err().contains("log.dir"));
    node.stop();
    fs::remove_dir_all(folder).unwrap();
}
