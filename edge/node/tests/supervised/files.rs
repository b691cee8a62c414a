//! The modes of every file that a node and its commands write: readable by their user only, whatever mask the
//! process inherited.
//!
//! Why by walking: a list of files would forget the next one.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use grandstand_harness::http;
use grandstand_harness::wait::{free_port, until};
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame, Subscribe};

use crate::common::ws::Ws;
use crate::common::{frame, hello};
use crate::rig::Folder;

/// The program with the mask that lets everybody read and write.
fn open_to_all(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_grandstand")]).args(args);
    command.env_remove("GRANDSTAND_CONFIG").stdin(Stdio::null());
    command
}

fn runs(args: &[&str]) {
    let out = open_to_all(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Every file and folder below, with its mode.
fn walk(dir: &Path, into: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // SQLite and the node remove some of their files meanwhile.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        into.push((path.clone(), meta.mode() & 0o777));
        if meta.is_dir() {
            walk(&path, into);
        }
    }
}

/// Everything below is closed to others, and these are there.
fn all_is_closed(folder: &Folder, names: &[&str]) {
    let mut found = Vec::new();
    walk(folder.path(), &mut found);
    for (path, mode) in &found {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    for name in names {
        let is_there = found.iter().any(|(path, _)| path.to_string_lossy().contains(name));
        assert!(is_there, "no {name}: the test does not see all files: {found:?}");
    }
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_file_of_a_whole_life_is_open_to_others() {
    let folder = Folder::new();
    let at = |name: &str| folder.file(name).display().to_string();
    let (log, recorder, log_file, backups) = (at("log"), at("recorder"), at("node.log"), at("backups"));
    let (ws, admin) = (free_port(), free_port());
    let (ws_text, admin_text) = (ws.to_string(), admin.to_string());
    let flags = [
        "serve",
        "--ws-listen",
        &ws_text,
        "--wss-listen",
        "off",
        "--quic-listen",
        "off",
        "--admin-listen",
        &admin_text,
        "--log-dir",
        &log,
        "--log-recorder-dir",
        &recorder,
        "--log-file",
        &log_file,
        "--log-backup-dir",
        &backups,
        "--drain-announce-ms",
        "0",
        "--drain-refuse-ms",
        "0",
    ];
    let start = || {
        let node = Running(open_to_all(&flags).spawn().unwrap());
        until("it is ready", || http::request(admin, "GET", "/readyz").is_ok());
        node
    };
    let mut node = start();
    let mut speaker = Ws::open(ws, "/v1");
    speaker.send(&hello());
    speaker.next_frame();
    speaker.send(&frame(&ClientFrame::Subscribe(Subscribe {
        request: 1,
        room: "show",
        ..Subscribe::default()
    })));
    let alias = loop {
        if let ServerFrame::Subscribed(subscribed) = ServerFrame::decode(&speaker.next_frame()).unwrap() {
            break subscribed.alias;
        }
    };
    speaker.send(&frame(&ClientFrame::Publish(Publish {
        alias,
        nonce: 1,
        text: "secret",
        ..Publish::default()
    })));
    while !matches!(ServerFrame::decode(&speaker.next_frame()), Ok(ServerFrame::Published(_))) {}
    http::request(admin, "POST", "/log/backup").unwrap();
    all_is_closed(
        &folder,
        &["grandstand.db", "-wal", "-shm", ".rec", "tickets.key", "handover.sock", "node.log", "asked-"],
    );
    // A crash, and a start after it.
    node.0.kill().unwrap();
    node.0.wait().unwrap();
    node = start();
    all_is_closed(&folder, &["grandstand.db", ".rec"]);
    std::fs::DirBuilder::new().mode(0o700).create(folder.file("hot")).unwrap();
    runs(&["backup", "--dir", &log, "--to", &at("hot/tonight.db")]);
    let pid = rustix::process::Pid::from_child(&node.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(node.0.wait().unwrap().success());
    runs(&["verify", &at("hot/tonight.db")]);
    runs(&["restore", "--from", &at("hot/tonight.db"), "--dir", &log, "--force"]);
    runs(&["restore", "--from", &at("hot/tonight.db"), "--dir", &at("another")]);
    all_is_closed(&folder, &["hot/tonight.db", "replaced-", "another/grandstand.db"]);
    // What an earlier version left open is closed at start, and said.
    for open in ["log", "log/grandstand.db", "node.log", "backups"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = if folder.file(open).is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(folder.file(open), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let _node = start();
    all_is_closed(&folder, &["log/grandstand.db"]);
    let said = std::fs::read_to_string(folder.file("node.log")).unwrap();
    assert_eq!(said.matches("were closed to them").count(), 1, "{said}");
}
