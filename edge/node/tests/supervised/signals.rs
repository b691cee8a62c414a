//! Every conventional signal on the real binary: none ends it without a drain.
//!
//! Why all numbers in turn: the default of a signal that a list forgets is to kill.

use grandstand_harness::wait::until;
use rustix::process::Signal;

use crate::rig::{ALL, Client, Folder, code, plan, says, send};
use grandstand_harness::node::Node;

/// Signals after which the node drains.
const DRAIN: [Signal; 5] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::POWER, Signal::XCPU];

/// Signals of a fault of the program, and those that no program can catch.
const NOT_OURS: [i32; 10] = [
    4,  // ILL
    5,  // TRAP
    6,  // ABRT
    7,  // BUS
    8,  // FPE
    9,  // KILL
    11, // SEGV
    19, // STOP
    31, // SYS
    0,
];

fn send_number(node: &Node, number: i32) {
    let status = std::process::Command::new("kill")
        .args(["-s", &number.to_string(), &node.pid().to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "signal {number}");
}

#[test]
fn no_signal_ends_a_node_without_a_drain() {
    let node = Node::start(&plan()).unwrap();
    let mut clients = ALL.map(|transport| Client::welcomed(&node, transport));
    let drains = DRAIN.map(Signal::as_raw);
    // 32 and 33 belong to the C library.
    let numbers = (1..=31).chain(34..=64);
    for number in numbers.filter(|number| !NOT_OURS.contains(number) && !drains.contains(number)) {
        for _ in 0..3 {
            send_number(&node, number);
        }
        clients.iter_mut().for_each(Client::is_served);
    }
    let mut node = node;
    assert!(node.has_ended().unwrap().is_none());
    says(&node, "reload: done", 1);
    for signal in DRAIN {
        let mut node = Node::start(&plan()).unwrap();
        let mut clients = ALL.map(|transport| Client::welcomed(&node, transport));
        send(&node, signal);
        clients.iter_mut().for_each(Client::is_sent_away);
        drop(clients);
        assert_eq!(code(&mut node), Some(0), "{signal:?}: {}", node.log().unwrap());
    }
}

#[test]
fn a_second_request_to_stop_ends_a_drain_and_other_signals_do_not() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::TERM, Signal::INT),
        (Signal::INT, Signal::TERM),
        (Signal::XCPU, Signal::QUIT),
    ] {
        let plan = plan().key("drain.announce_ms", 600_000).key("drain.spread_ms", 600_000);
        let mut node = Node::start(&plan).unwrap();
        let mut viewer = Client::welcomed(&node, ALL[0]);
        send(&node, first);
        says(&node, "draining", 1);
        for harmless in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::XCPU, Signal::POWER] {
            send(&node, harmless);
        }
        says(&node, "reload: done", 1);
        viewer.is_served();
        send(&node, second);
        assert_eq!(code(&mut node), Some(0), "{}", node.log().unwrap());
    }
}

#[test]
fn a_log_that_was_renamed_is_opened_again_on_usr1_and_on_hup() {
    let folder = Folder::new();
    let (file, rotated) = (folder.file("node.log"), folder.file("node.log.1"));
    let plan = plan().variable("GRANDSTAND_LOG_FILE", file.display().to_string().as_str());
    let node = Node::spawn(&plan).unwrap();
    let has = |path: &std::path::Path, words: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains(words))
    };
    until("it is ready", || has(&file, " ready "));
    for signal in [Signal::USR1, Signal::HUP] {
        std::fs::rename(&file, &rotated).unwrap();
        send(&node, signal);
        until("a new file", || {
            has(&file, if signal == Signal::USR1 { "opened again" } else { "reload: done" })
        });
        let before = std::fs::read(&rotated).unwrap();
        send(&node, Signal::HUP);
        until("the next line", || has(&file, "reload: done"));
        assert_eq!(std::fs::read(&rotated).unwrap(), before, "nothing more comes to the old file");
    }
    // A folder that is gone: lines go on to the file that is open, and the node lives.
    std::fs::rename(folder.path(), folder.path().with_extension("gone")).unwrap();
    send(&node, Signal::USR1);
    let moved = folder.path().with_extension("gone").join("node.log");
    until("lines go on", || std::fs::read_to_string(&moved).is_ok_and(|text| text.contains("opened again")));
    std::fs::rename(folder.path().with_extension("gone"), folder.path()).unwrap();
}
