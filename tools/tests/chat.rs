//! `gs chat` as scripts and people call it: exit codes, outcomes of every line, and the state of the terminal
//! after every way out, for every command that draws.
//!
//! Not here: the meaning of events, keys and drawing (unit tests beside the code).

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use grandstand::Node;
use grandstand_harness::local;
use grandstand_harness::pty::{Pty, Signal, signal};
use grandstand_harness::wait::{free_port, until};

fn url(node: &Node) -> String {
    format!("ws://{}/v1", node.addresses().ws.unwrap())
}

fn gs() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gs"))
}

fn chat(url: &str, options: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = gs()
        .args(["chat", url, "--name", "ann"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The chat may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn every_line_is_in_the_room_in_its_order_and_with_its_spaces() {
    let node = local::node(&[]);
    let (code, out, err) = chat(&url(&node), &[], b"one\n  two  three\n\n\tfour\n");
    assert_eq!((code, out.as_str()), (Some(0), "ann: one\nann:   two  three\nann:  four\n"), "{err}");
}

/// Settings of a node, options, input, what is printed of it, and what is said of the refusal.
type Ending<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [u8], &'a str, &'a str);

/// Every way in which something is refused, told by the code; what was accepted before has its outcome.
#[test]
fn a_chat_ends_after_every_kind_of_refusal_with_a_code() {
    let slow: &[(&str, &str)] = &[("rooms.slow_mode_ms", "60000"), ("auth.open_may", "publish")];
    let endings: [Ending<'_>; 9] = [
        (
            &[("limits.text_bytes_max", "5")],
            &[],
            b"one\ntoo long\nthree\n",
            "ann: one\n",
            "too long: 8 of 5 bytes",
        ),
        (&[], &[], b"one\n/dance\nthree\n", "ann: one\n", "there is no /dance"),
        (&[], &[], b"one\na\xffb\nthree\n", "ann: one\n", "line 2 of the input is not UTF-8"),
        (slow, &[], b"one\ntwo\nthree\n", "ann: one\n", "slow mode"),
        (slow, &[], b"one\n/state k v\nthree\n", "ann: one\n", "state not changed"),
        (&[("auth.open_may", "react")], &[], b"one\ntwo\n", "", "not sent"),
        (
            &[("auth.open_may", "publish")],
            &[],
            "one\n/react ❤\nthree\n".as_bytes(),
            "ann: one\n",
            "reaction refused",
        ),
        (&[("rooms.on_first_use", "other")], &[], b"one\n", "", "cannot follow show: unknown room"),
        (
            &[("limits.text_bytes_max", "5")],
            &["--keep-going"],
            b"too long\nthree\n",
            "ann: three\n",
            "too long",
        ),
    ];
    for (settings, options, input, printed, told) in endings {
        let node = local::node(settings);
        let (code, out, err) = chat(&url(&node), options, input);
        assert_eq!((code, out.as_str()), (Some(1), printed), "{settings:?}: {err}");
        assert!(err.contains(told) && !err.contains("panicked"), "{settings:?}: {err}");
    }
}

#[test]
fn a_node_that_is_not_there_and_a_reader_that_has_gone_end_it_too() {
    let (code, _, err) = chat(&format!("ws://{}/v1", free_port()), &[], b"one\n");
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot connect") && err.contains("the session is over"), "{err}");
    let node = local::node(&[]);
    let command = format!(
        "(printf 'one\\ntwo\\nthree\\n' | {} chat {} --name ann; echo code $? >&2) | head -n 1",
        env!("CARGO_BIN_EXE_gs"),
        url(&node)
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ann: one\n", "{err}");
    assert!(err.contains("code 0") && !err.contains("panicked"), "{err}");
}

/// What a terminal must get to be as it was: main screen, cursor, pastes without marks.
const UNDONE: [(&str, &str); 3] =
    [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?2004h", "\x1b[?2004l"), ("\x1b[?25l", "\x1b[?25h")];

#[track_caller]
fn assert_sane(pty: &Pty, child: &mut Child, how: &str) -> Option<i32> {
    let code = child.wait().unwrap().code();
    assert!(pty.is_sane().unwrap(), "{how}: keys are not echoed: {:?}", pty.output());
    for (done, undone) in UNDONE {
        until("the end of the output", || pty.output().rfind(undone) >= pty.output().rfind(done));
    }
    code
}

/// How a person or the system ends a program on a terminal.
enum End {
    Keys(&'static str),
    Signal(Signal),
}

const ENDS: [(&str, End); 6] = [
    ("Ctrl-C", End::Keys("\x03")),
    ("a second key", End::Keys("q")),
    ("SIGTERM", End::Signal(Signal::TERM)),
    ("SIGINT", End::Signal(Signal::INT)),
    ("SIGHUP", End::Signal(Signal::HUP)),
    ("SIGQUIT", End::Signal(Signal::QUIT)),
];

#[test]
fn every_way_out_of_every_tool_leaves_a_sane_terminal() {
    let node = local::node(&[]);
    let url = url(&node);
    let chat = ["chat", &url, "--name", "ann"];
    let demo = ["demo", "--viewers", "4", "--seconds", "600", "--seed", "3"];
    for (tool, drawn) in [(&chat[..], "/help lists commands"), (&demo[..], "ON AIR")] {
        for (name, end) in ENDS {
            let mut pty = Pty::open(80, 24).unwrap();
            let mut command = gs();
            command.args(tool).env("TERM", "xterm-256color");
            let mut child = pty.spawn(command).unwrap();
            pty.wait_for(drawn);
            assert!(!pty.is_sane().unwrap(), "{tool:?} reads keys");
            match end {
                // In the chat `q` is a text: its way out is /quit.
                End::Keys("q") if tool[0] == "chat" => pty.type_keys("/quit\r").unwrap(),
                End::Keys(keys) => pty.type_keys(keys).unwrap(),
                End::Signal(which) => signal(&child, which).unwrap(),
            }
            let code = assert_sane(&pty, &mut child, &format!("{tool:?} by {name}"));
            assert_eq!(code, Some(0), "{tool:?} by {name}: {}", pty.output());
        }
    }
}

#[test]
fn a_second_signal_ends_the_demo_at_once_and_leaves_a_sane_terminal() {
    let pty = Pty::open(80, 24).unwrap();
    let mut command = gs();
    command.args(["demo", "--viewers", "4", "--seconds", "600"]).env("TERM", "xterm-256color");
    let mut child = pty.spawn(command).unwrap();
    pty.wait_for("ON AIR");
    while child.try_wait().unwrap().is_none() {
        // It may have ended meanwhile.
        let _ = signal(&child, Signal::TERM);
        std::thread::yield_now();
    }
    let code = assert_sane(&pty, &mut child, "two signals");
    assert!(matches!(code, Some(0 | 143)), "{code:?}");
}

/// Is the process stopped (proc(5), the field behind the name)?
fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}

#[test]
fn a_tool_that_is_suspended_gives_the_terminal_back_and_draws_anew() {
    let node = local::node(&[]);
    let url = url(&node);
    let chat = ["chat", &url, "--name", "ann"];
    let demo = ["demo", "--viewers", "4", "--seconds", "600", "--seed", "3"];
    for (tool, drawn) in [(&chat[..], "/help lists commands"), (&demo[..], "ON AIR")] {
        let mut pty = Pty::open(80, 24).unwrap();
        let mut command = gs();
        command.args(tool).env("TERM", "xterm-256color");
        let mut child = pty.spawn(command).unwrap();
        pty.wait_for(drawn);
        for by_key in [true, false] {
            match by_key {
                true => pty.type_keys("\x1a").unwrap(),
                false => signal(&child, Signal::TSTP).unwrap(),
            }
            until("it is stopped", || is_stopped(&child));
            assert!(pty.is_sane().unwrap(), "{tool:?}");
            until("the main screen is back", || pty.output().ends_with("\x1b[?25h"));
            let before = pty.output().len();
            signal(&child, Signal::CONT).unwrap();
            until("it draws again", || {
                pty.output()[before..].contains("\x1b[?1049h") && !pty.is_sane().unwrap()
            });
            // The words of the header, which stayed the same: only a whole drawing has them.
            let header = if tool[0] == "chat" { "connected" } else { "viewers" };
            until("everything is drawn", || pty.output()[before..].contains(header));
        }
        pty.type_keys("\x03").unwrap();
        assert_eq!(assert_sane(&pty, &mut child, "Ctrl-C"), Some(0));
    }
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_lines() {
    let node = local::node(&[]);
    for term in ["dumb", ""] {
        let mut pty = Pty::open(80, 24).unwrap();
        let mut command = gs();
        command
            .args(["chat", &url(&node), "--name", "ann", "--room", &format!("room{term}")])
            .env("TERM", term);
        let mut child = pty.spawn(command).unwrap();
        pty.wait_for("you are in room");
        pty.type_keys("/dance\nhello\n").unwrap();
        pty.wait_for("ann: hello");
        assert!(pty.output().contains("there is no /dance"), "a slip of the fingers does not end it");
        pty.type_keys("/quit\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "something was refused");
        assert!(!pty.output().contains('\x1b'), "{:?}", pty.output());
    }
    let pty = Pty::open(80, 24).unwrap();
    let mut command = gs();
    command.args(["demo", "--viewers", "4", "--seconds", "1"]).env("TERM", "dumb");
    let mut child = pty.spawn(command).unwrap();
    assert!(child.wait().unwrap().success(), "{}", pty.output());
    pty.wait_for("nothing lost, duplicated or reordered");
    assert!(!pty.output().contains('\x1b'), "{:?}", pty.output());
}

#[test]
fn pasted_lines_are_one_message() {
    let node = local::node(&[]);
    let mut pty = Pty::open(80, 24).unwrap();
    let mut command = gs();
    command.args(["chat", &url(&node), "--name", "ann"]).env("TERM", "xterm-256color");
    let mut child = pty.spawn(command).unwrap();
    pty.wait_for("you are in show");
    pty.type_keys("\x1b[200~  if a:\r\treturn  b\r\x1b[201~\r").unwrap();
    let listen = || chat(&url(&node), &[], b"").1;
    until("the message is in the room", || listen().contains("ann: "));
    assert_eq!(listen(), "ann:   if a:  return  b\n");
    pty.type_keys("\x03").unwrap();
    assert_eq!(assert_sane(&pty, &mut child, "Ctrl-C"), Some(0));
}

#[test]
fn the_demos_commands_join_it_and_are_printed_at_both_ends_within_80_columns() {
    let demo = gs().args(["demo", "--viewers", "4", "--seconds", "1", "--seed", "3"]).output().unwrap();
    let err = String::from_utf8(demo.stderr).unwrap();
    let joined = err.replace(" \\\n ", "");
    let commands: Vec<&str> = joined.lines().filter(|line| line.contains(" chat ")).collect();
    assert_eq!(commands.len(), 4, "{err}");
    for scheme in ["ws://127.0.0.1:", "quic://127.0.0.1:"] {
        let of_scheme: Vec<_> = commands.iter().filter(|line| line.contains(scheme)).collect();
        assert_eq!(of_scheme.len(), 2, "{err}");
        assert!(of_scheme.iter().all(|line| line.contains(" --room ")), "{err}");
    }
    let longest = (env!("CARGO_BIN_EXE_gs").len() + " chat \\".len()).max(80);
    let is_invitation = |line: &&str| !line.starts_with("joining") && !line.starts_with("on air");
    assert!(err.lines().filter(is_invitation).take(9).all(|line| line.len() <= longest), "{err}");
}
