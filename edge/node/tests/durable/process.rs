//! The node as a process: started on free ports, asked by its admin port, killed without a word.
//!
//! Why a process: only a process can be killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::PATIENCE;
use crate::machine::Folder;

/// A running node; killed at its end.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    pub(crate) ws: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The binary with a command.
pub(crate) fn grandstand(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grandstand"));
    command.args(args).env_remove("GRANDSTAND_CONFIG");
    command
}

/// Runs to its end: exit code, standard output, standard error.
pub(crate) fn ends(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = grandstand(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Flags of a node that keeps its log there, on free ports unless `more` says which.
fn flags<'a>(log: &'a str, recorder: &'a Folder, more: &[&'a str]) -> Vec<&'a str> {
    let ports = ["--ws-listen", "127.0.0.1:0", "--wss-listen", "off", "--quic-listen", "off"];
    let recorder = if log.is_empty() { "" } else { recorder.path() };
    let rest = ["--admin-listen", "127.0.0.1:0", "--log-dir", log, "--log-recorder-dir", recorder];
    // Speakers here speak faster than people.
    let limits = [
        "--limits-publish-per-s",
        "100000",
        "--limits-publish-burst",
        "100000",
        "--limits-frames-per-s",
        "100000",
    ];
    let all = ports.into_iter().chain(rest).chain(limits).collect::<Vec<_>>();
    let usual = all.chunks(2).filter(|pair| !more.contains(&pair[0])).flatten().copied();
    ["serve"].into_iter().chain(usual).chain(more.iter().copied()).collect()
}

/// Starts a node that keeps its log there; returns when it is ready.
pub(crate) fn serve(log: &str, recorder: &Folder, more: &[&str]) -> Running {
    serve_with(log, recorder, more, |command| command)
}

/// The same, with something set for its process.
pub(crate) fn serve_with(
    log: &str,
    recorder: &Folder,
    more: &[&str],
    set: impl FnOnce(&mut Command) -> &mut Command,
) -> Running {
    let mut command = grandstand(&flags(log, recorder, more));
    let mut child = set(&mut command).stderr(Stdio::piped()).spawn().unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let (heard, stderr) = (said.clone(), child.stderr.take().unwrap());
    // Read to the end, or the node would find a full pipe.
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            heard.lock().unwrap().push_str(&(line + "\n"));
        }
    });
    let none = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut node = Running { child, said, ws: none, admin: none };
    node.wait_for(" ready ");
    (node.ws, node.admin) = (node.address("ws://"), node.address("http://"));
    node
}

/// A start that must fail: what it says.
pub(crate) fn does_not_start(log: &str, recorder: &Folder, more: &[&str]) -> String {
    let Output { status, stderr, .. } = grandstand(&flags(log, recorder, more)).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

impl Running {
    /// Everything that it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            assert!(self.child.try_wait().unwrap().is_none(), "the node ended: {}", self.said());
            assert!(Instant::now() < deadline, "`{words}` was not said: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn address(&self, scheme: &str) -> SocketAddr {
        let said = self.said();
        let url = said.split_whitespace().find_map(|word| word.strip_prefix(scheme)).expect("it says where");
        url.split('/').next().unwrap().parse().unwrap()
    }

    /// Ends it as a power switch would, but for the machine.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits: its exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }

    /// Asks the admin port: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", self.admin, body.len());
        stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The same, of JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("GET", "/metrics", "");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    /// Gives a room its durability; makes it.
    pub(crate) fn room(&self, name: &str, durability: &str) {
        let (status, body) = self.ask("POST", "/rooms", &format!(r#"{{"name":"{name}"}}"#));
        assert_eq!(status, 200, "{body}");
        let settings = format!(r#"{{"durability":"{durability}"}}"#);
        let (status, body) = self.ask("PUT", &format!("/rooms/{name}/settings"), &settings);
        assert_eq!(status, 200, "{body}");
    }

    /// Until health says this status: what it said last.
    pub(crate) fn until_health(&self, status: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.json("/healthz");
            if health["status"] == status {
                return health;
            }
            assert!(Instant::now() < deadline, "health stays {health}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
