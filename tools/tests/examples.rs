//! The examples of the Rust client against a whole node: each does what its head says.
//!
//! Why here: the client cannot depend on a node, and an example that nobody starts goes stale.
//! Not here: whether they build with fewer features (`cargo xtask ci`, client features).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use grandstand_harness::local;
use grandstand_harness::wait::until;

const GS: &str = env!("CARGO_BIN_EXE_gs");

/// A running example, which ends with the value.
struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Example {
        let program = Path::new(GS).with_file_name("examples").join(name);
        assert!(program.exists(), "build it first: cargo build -p grandstand-client --examples");
        let mut command = Command::new(program);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (heard, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));
        Example { child, lines }
    }

    /// Its next lines up to one with this text.
    fn says(&self, text: &str) -> Vec<String> {
        let mut said = Vec::new();
        until(text, || {
            said.extend(self.lines.try_recv());
            said.last().is_some_and(|line| line.contains(text))
        });
        said
    }
}

fn publish(url: &str, text: &str) {
    let mut gs = Command::new(GS);
    let gs = gs.args(["chat", url, "--room", "show", "--name", "ann"]).stdin(Stdio::piped());
    let mut gs = gs.stdout(Stdio::null()).spawn().unwrap();
    gs.stdin.take().unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    assert!(gs.wait().unwrap().success());
}

#[test]
fn viewer_bot_and_phone_do_what_their_heads_say() {
    let node = local::node(&[("limits.people_per_address", "65535")]);
    let url = format!("ws://{}/v1", node.addresses().ws.unwrap());
    let position = std::env::temp_dir().join(format!("gs-examples-{}", std::process::id()));
    let phone = || Example::start("phone", &[position.to_str().unwrap(), &url]);
    let viewer = Example::start("viewer", &[&url, "show"]);

    // A viewer gets what was said before it came, and so does a phone that has no position.
    publish(&url, "one");
    viewer.says("ann: one");
    let first = phone();
    first.says("ann: one");
    until("the phone's position", || std::fs::read_to_string(&position).is_ok_and(|at| at.ends_with(" 1")));
    drop(first);

    // A bot answers what is said after it came: it is asked until it does.
    let bot = Example::start("bot", &[&url, "show"]);
    until("the bot's answer", || {
        publish(&url, "time?");
        bot.lines.try_recv().is_ok_and(|line| line.starts_with("answered at offset"))
    });
    viewer.says("seconds since 1970");

    // The phone goes on where it was: what it showed it does not show again.
    let missed = phone().says("seconds since 1970");
    assert_eq!(missed[0], "ann: time?", "{missed:?}");
    let _ = std::fs::remove_file(position);
}
