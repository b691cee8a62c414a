//! `grandstand check` as an operator calls it: exit codes and findings for each kind of fault, beside a node
//! that runs and without one.
//!
//! Not here: each fault of a certificate (unit tests beside the code).

mod common;

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};

use grandstand_harness::local;
use grandstand_harness::wait::free_port;
use serde_json::Value;

fn check(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
    let Output { status, stdout, stderr } =
        command.arg("check").args(arguments).env_remove("GRANDSTAND_CONFIG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Every port is chosen by the system, if the arguments do not name it.
fn checked(arguments: &[&str]) -> (i32, Value) {
    let ports = ["--ws-listen", "--wss-listen", "--quic-listen", "--admin-listen"];
    let mut all = vec!["--json"];
    for port in ports.into_iter().filter(|port| !arguments.contains(port)) {
        all.extend([port, "127.0.0.1:0"]);
    }
    all.extend(arguments);
    let (code, out, err) = check(&all);
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

fn finding(report: &Value, key: &str, words: &str) -> String {
    let findings = report["findings"].as_array().unwrap();
    let is_it = |f: &&Value| f["key"] == key && f["text"].as_str().unwrap().contains(words);
    let found = findings.iter().find(is_it).unwrap_or_else(|| panic!("no {key}: {words} in {report:#}"));
    found["level"].as_str().unwrap().to_owned()
}

/// A folder of this test's own, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("grandstand-checked-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.at(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_defaults_are_fine_and_strict_counts_warnings() {
    let (code, report) = checked(&[]);
    assert_eq!((code, &report["ok"], &report["errors"]), (0, &true.into(), &0.into()), "{report:#}");
    assert!(report["warnings"].as_u64().unwrap() > 0, "a development certificate: {report:#}");
    assert_eq!(checked(&["--strict"]).0, 1);
    let (code, out, _) =
        check(&["--ws-listen", "127.0.0.1:0", "--wss-listen", "off", "--quic-listen", "off"]);
    assert!(out.ends_with("a node with this configuration starts\n"), "{code}: {out}");
}

#[test]
fn every_kind_of_fault_is_an_error_of_its_key() {
    let folder = Folder::new("faults");
    let bad = folder.write("bad.toml", "[rooms]\ntick_sm = 1\n[limits]\npublish_per_s = 0\n");
    let contradicting =
        folder.write("contradicting.toml", "[quic]\nkeep_alive_ms = 9000\nidle_timeout_ms = 5000\n");
    let torn = folder.write("torn.toml", "[rooms\n");
    let file = folder.write("file", "not a folder");
    let short = folder.write("short", "short");
    let (inside_file, missing) = (format!("{file}/log"), folder.at("missing"));
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let tcp_at = tcp.local_addr().unwrap().to_string();
    let udp_at = udp.local_addr().unwrap().to_string();
    for (arguments, key, words) in [
        (
            &["--config", &bad][..],
            "configuration",
            "unknown key rooms.tick_sm; the nearest key is rooms.tick_ms",
        ),
        (&["--config", &bad], "configuration", "limits.publish_per_s"),
        (&["--config", &contradicting], "configuration", "quic.keep_alive_ms"),
        (&["--config", &torn], "configuration", "torn.toml"),
        (&["--config", &missing], "configuration", "missing"),
        (&["--admin-listen", "0.0.0.0:0"], "configuration", "reachable from elsewhere"),
        (&["--tls-cert", &missing, "--tls-key", &missing], "tls.cert", "cannot be read"),
        (&["--tls-cert", &file, "--tls-key", &file], "tls.cert", "holds no certificate"),
        (&["--auth-hs256-secret-file", &missing], "auth.hs256_secret_file", "cannot be read"),
        (&["--auth-hs256-secret-file", &short], "auth", "5 bytes"),
        (&["--auth-eddsa-public-key-file", &file], "auth", "file"),
        (&["--admin-key-file", &short], "admin.key", "5 bytes"),
        (&["--log-dir", &file], "log.dir", "is not a folder"),
        (&["--log-dir", &inside_file], "log.dir", "cannot be made"),
        (&["--log-file", &inside_file], "log.file", "is no folder"),
        (&["--ws-listen", &tcp_at], "ws.listen", "is held by"),
        (&["--wss-listen", &tcp_at], "wss.listen", "is held by"),
        (&["--admin-listen", &tcp_at], "admin.listen", "is held by"),
        (&["--quic-listen", &udp_at], "quic.listen", "is held by"),
        (&["--ws-listen", "192.0.2.1:7400"], "ws.listen", "cannot listen on"),
    ] {
        let (code, report) = checked(arguments);
        assert_eq!(finding(&report, key, words), "error", "{arguments:?}");
        assert_eq!(code, 2, "{arguments:?}");
    }
    assert!(!std::path::Path::new(&missing).exists(), "nothing is made");
}

#[test]
fn beside_the_running_node_its_ports_and_its_lock_are_fine() {
    let folder = Folder::new("running");
    let (log_dir, ws) = (folder.at("log"), free_port().to_string());
    let mut node = Command::new(env!("CARGO_BIN_EXE_grandstand"))
        .args(common::serve_ws_at(&ws))
        .args(["--log-dir", &log_dir, "--log-file", &folder.at("node.log")])
        .spawn()
        .unwrap();
    grandstand_harness::wait::until("the node serves", || std::net::TcpStream::connect(&ws).is_ok());
    grandstand_harness::wait::until("the node is ready", || {
        std::fs::read_to_string(folder.at("node.log")).is_ok_and(|log| log.contains("ready"))
    });
    let (code, report) = checked(&["--ws-listen", &ws, "--log-dir", &log_dir]);
    let with = finding(&report, "ws.listen", "hands it over");
    let lock = finding(&report, "log.dir", "takes over from it");
    let (other, without) = checked(&["--ws-listen", &ws]);
    assert!(node.try_wait().unwrap().is_none(), "the node runs on");
    node.kill().unwrap();
    node.wait().unwrap();
    assert_eq!((code, with.as_str(), lock.as_str()), (0, "ok", "ok"), "{report:#}");
    assert_eq!((other, finding(&without, "ws.listen", "does not hand it over").as_str()), (0, "warning"));
    let (code, report) = checked(&["--ws-listen", &ws, "--log-dir", &log_dir]);
    assert_eq!((code, finding(&report, "ws.listen", "is free").as_str()), (0, "ok"));
}

#[test]
fn warnings_of_exposure_and_limits_are_told() {
    let files = ["--limits-connections-max", "9999999"];
    let (code, report) = checked(&[&["--ws-listen", "0.0.0.0:0"][..], &files].concat());
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(finding(&report, "ws.listen", "is not encrypted"), "warning");
    assert_eq!(finding(&report, "auth", "no key of tokens: everybody who reaches ws.listen"), "warning");
    assert_eq!(finding(&report, "limits.connections_max", "open files"), "warning");
    let folder = Folder::new("space");
    let (_, report) = checked(&["--log-dir", &folder.at("log"), "--log-node-mb", "134217728"]);
    assert_eq!(finding(&report, "log.dir", "are free"), "warning");
    assert!(!folder.0.join("log").exists(), "nothing is made");
}

#[test]
fn its_help_teaches() {
    let (code, out, _) = check(&["--help"]);
    assert_eq!(code, 0);
    for word in ["Exit codes: 0", "--strict", "--json", "ExecStartPre", "as the node's user"] {
        assert!(out.contains(word), "{word}");
    }
    let local = local::config(&[]);
    assert!(local.ws.listen.is_some());
}
