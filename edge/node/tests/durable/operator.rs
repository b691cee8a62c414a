//! What an operator does with the log: backups while it serves, verification, restoring, asking how it does.
//!
//! Why with the binary: exit codes and texts are what scripts and people meet.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::machine::Folder;
use crate::people::{Person, assert_heard_once};
use crate::process::{Running, ends, serve};
use crate::restarts::database;

#[test]
fn a_backup_is_made_while_the_node_serves_and_comes_back_whole() {
    let (log, recorder, out) =
        (Folder::new("backup"), Folder::in_memory("backup"), Folder::new("backup-out"));
    let node = serve(log.path(), &recorder, &[]);
    let mut speaker = Person::come(node.ws, "show");
    let mut acknowledged = BTreeMap::new();
    for nonce in 1..=100 {
        acknowledged.insert(
            speaker.publish(nonce, &format!("text {nonce}")).on_disk().offset,
            format!("text {nonce}"),
        );
    }
    let (epoch, is_over) = (speaker.epoch, AtomicBool::new(false));
    let file = out.0.join("tonight.db");
    let file = file.to_str().unwrap();
    let made = std::thread::scope(|scope| {
        // Somebody goes on speaking meanwhile.
        scope.spawn(|| {
            let mut nonce = 100;
            while !is_over.load(Ordering::Acquire) {
                nonce += 1;
                speaker.publish(nonce, &format!("text {nonce}")).on_disk();
            }
        });
        let made = ends(&["backup", "--dir", log.path(), "--to", file, "--json"]);
        is_over.store(true, Ordering::Release);
        made
    });
    assert_eq!(made.0, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.1).unwrap();
    assert!(made["bytes"].as_u64() >= Some(4096), "{made}");
    let (code, said, _) = ends(&["verify", file, "--json"]);
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert!(
        report["messages"].as_u64() >= Some(100)
            && report["rooms"] == 1
            && report["faults"] == serde_json::json!([]),
        "{report}"
    );
    // The live database can be looked at, too.
    assert_eq!(ends(&["verify", log.path()]).0, 0);

    // A file is not overwritten, a log neither, and one that is in use not even by force.
    assert_eq!(ends(&["backup", "--dir", log.path(), "--to", file]).0, 1);
    let restore = ["restore", "--from", file, "--dir", log.path()];
    assert_eq!(ends(&restore).0, 1);
    let (code, _, said) = ends(&[&restore[..], &["--force"]].concat());
    assert!(code == 1 && said.contains("another process"), "{said}");
    node.kill();
    assert_eq!(ends(&restore).0, 1, "a log is not overwritten without being told to");

    let other = Folder::new("backup-other");
    let at = other.0.join("log");
    let (code, _, said) = ends(&["restore", "--from", file, "--dir", at.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let recorder = Folder::in_memory("backup-other");
    all_there(&serve(at.to_str().unwrap(), &recorder, &[]), epoch, &acknowledged);
    // In place of the log that is there: that one is kept aside.
    let (code, _, said) = ends(&[&restore[..], &["--force"]].concat());
    assert_eq!(code, 0, "{said}");
    let recorder = Folder::in_memory("backup-forced");
    all_there(&serve(log.path(), &recorder, &[]), epoch, &acknowledged);
}

fn all_there(node: &Running, epoch: u64, acknowledged: &BTreeMap<u64, String>) {
    let mut viewer = Person::come_back(node.ws, "show", &[], Some((epoch, 0)));
    viewer.listen_to(acknowledged.len() as u64);
    assert_heard_once(&viewer, acknowledged);
}

#[test]
fn verify_names_what_is_wrong_and_restore_refuses_it() {
    let (log, recorder, out) =
        (Folder::new("rotten"), Folder::in_memory("rotten"), Folder::new("rotten-out"));
    let node = serve(log.path(), &recorder, &[]);
    let mut speaker = Person::come(node.ws, "show");
    for nonce in 1..=50 {
        speaker.publish(nonce, &format!("a text that can be found {nonce}")).on_disk();
    }
    drop(speaker);
    node.terminate();
    let file = out.0.join("backup.db");
    let file = file.to_str().unwrap();
    assert_eq!(ends(&["backup", "--dir", log.path(), "--to", file]).0, 0, "of a stopped node's log as well");
    assert_eq!(ends(&["verify", file]).0, 0);
    let mut bytes = fs::read(file).unwrap();
    // In every copy of it: some lie in pages that are free.
    let text = b"be found 25";
    let copies: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(text)).collect();
    assert!(!copies.is_empty(), "the text stands there");
    copies.iter().for_each(|&at| bytes[at] ^= 1);
    fs::write(file, &bytes).unwrap();
    let (code, said, _) = ends(&["verify", file, "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert!(
        code == 1 && report["faults"][0].as_str().is_some_and(|fault| fault.contains("show")),
        "{report}"
    );
    let elsewhere = out.0.join("elsewhere");
    let (code, _, said) = ends(&["restore", "--from", file, "--dir", elsewhere.to_str().unwrap()]);
    assert!(code == 1 && said.contains("show"), "{said}");
    assert!(!elsewhere.join("grandstand.db").exists(), "and nothing is left there");
    // No database at all.
    fs::write(file, b"not a database").unwrap();
    assert_eq!(ends(&["verify", file]).0, 1);
    let (code, _, said) = ends(&["verify", "/nowhere/at/all"]);
    assert!(code == 1 && said.contains("there is no log"), "{said}");
    assert!(database(&log).ends_with("grandstand.db"));
}

#[test]
fn an_operator_asks_a_running_node() {
    let (log, recorder, out) = (Folder::new("asked"), Folder::in_memory("asked"), Folder::new("asked-out"));
    let node = serve(log.path(), &recorder, &["--log-backup-dir", out.path()]);
    Person::come(node.ws, "show").publish(1, "kept").on_disk();
    assert_eq!(node.json("/healthz"), serde_json::json!({ "status": "ok" }));
    let shown = node.json("/log");
    assert_eq!((&shown["health"], &shown["dir"]), (&"good".into(), &log.path().into()), "{shown}");
    assert!(shown["grandstand_store_commits_total"].as_f64() >= Some(1.0), "{shown}");
    assert!(shown["found"].as_str().is_some_and(|found| found.contains("new")), "{shown}");
    assert!(node.metric("grandstand_store_database_bytes") > 0.0);
    let (status, body) = node.ask("POST", "/log/backup", "");
    assert_eq!(status, 200, "{body}");
    let made: Value = serde_json::from_str(&body).unwrap();
    let file = made["file"].as_str().unwrap();
    assert!(file.starts_with(out.path()), "{made}");
    assert_eq!(ends(&["verify", file]).0, 0);
    assert!(node.metric("grandstand_store_backup_age_seconds") < 60.0);
}

#[test]
fn a_node_without_a_log_says_so() {
    let recorder = Folder::in_memory("without");
    let node = serve("", &recorder, &[]);
    let (status, said) = node.ask("GET", "/log", "");
    assert!(status == 404 && said.contains("log.dir"), "{said}");
    node.ask("POST", "/rooms", r#"{"name":"show"}"#);
    let (status, said) = node.ask("PUT", "/rooms/show/settings", r#"{"durability":"disk"}"#);
    assert!(status == 409 && said.contains("log.dir"), "{status}: {said}");
}
