//! Starts on a disk that does not take the log: full, read-only, not a folder. The node serves what it can,
//! says so, and opens the log by itself.
//!
//! Why each in turn: a full disk fails at the first write, another one at the first look.

use std::fs;
use std::path::Path;
use std::time::Instant;

use grandstand_protocol::frame::{Durability, Outcome};
use grandstand_protocol::refusal::Refusal;

use crate::common::PATIENCE;
use crate::machine::{Disk, Folder, run};
use crate::people::{Answer, Person};
use crate::process::{Running, serve};

/// Somebody in a room in memory, and somebody in one on disk, on a node whose log is not open.
struct Talk {
    memory: Person,
    disk: Person,
    nonce: u64,
}

impl Talk {
    fn begin(node: &Running) -> Talk {
        let (status, body) = node.ask("GET", "/readyz", "");
        assert_eq!(status, 200, "{body}");
        let (status, body) = node.ask("GET", "/healthz", "");
        assert!(status == 200 && body.contains("degraded") && body.contains("durable log"), "{body}");
        assert_eq!(node.metric("grandstand_store_healthy"), 0.0);
        // Nobody can make a room that is kept, but an operator makes one in memory.
        let (status, body) = node.ask("POST", "/rooms", r#"{"name":"kept"}"#);
        assert_eq!(status, 503, "{body}");
        let (status, body) = node.ask("POST", "/rooms", r#"{"name":"made","durability":"memory"}"#);
        assert!(status == 200 && body.contains(r#""durability":"memory""#), "{body}");
        let Answer::Taken(taken) = Person::come(node.ws, "made").publish(1, "in memory") else {
            panic!("a room in memory takes it")
        };
        assert_eq!(taken.durability, Durability::Memory);
        // Viewers' rooms begin, and may be rooms in memory.
        let (memory, disk) = (Person::come(node.ws, "memory"), Person::come(node.ws, "disk"));
        let (status, body) = node.ask("PUT", "/rooms/memory/settings", r#"{"durability":"memory"}"#);
        assert_eq!(status, 200, "{body}");
        Talk { memory, disk, nonce: 0 }
    }

    /// Rooms in memory work; rooms on disk refuse with a time.
    fn is_degraded(&mut self) {
        self.nonce += 1;
        let Answer::Taken(taken) = self.memory.publish(self.nonce, "in memory") else {
            panic!("a room in memory takes it")
        };
        assert_eq!((taken.durability, taken.offset), (Durability::Memory, self.nonce - 1));
        match self.disk.publish(self.nonce, "on disk") {
            Answer::Refused { reason: Refusal::StorageUnavailable, retry_after_ms: Some(_), .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// The log was opened: both rooms work, and the one in memory is the same.
    fn recovers(mut self, node: &Running) {
        let deadline = Instant::now() + PATIENCE;
        while node.metric("grandstand_store_healthy") == 0.0 {
            assert!(Instant::now() < deadline, "{}", node.said());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        self.nonce += 1;
        let Answer::Taken(taken) = self.memory.publish(self.nonce, "in memory") else { panic!("refused") };
        assert_eq!(taken.offset, self.nonce - 1, "the room in memory went on");
        let mut disk = Person::come(node.ws, "disk");
        loop {
            assert!(Instant::now() < deadline, "{}", node.said());
            match disk.publish(self.nonce, "on disk") {
                Answer::Taken(taken) => break assert_eq!(taken.durability, Durability::Disk),
                Answer::Refused { reason: Refusal::StorageUnavailable, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let again =
            Person::come_back(node.ws, "memory", &self.memory.ticket, Some((self.memory.epoch, self.nonce)));
        assert_eq!(again.outcome, Outcome::Resumed, "its epoch is the same");
    }
}

#[test]
fn a_node_starts_on_a_full_disk_and_takes_the_log_when_there_is_room() {
    let Some(disk) = Disk::small("closed-full", 24) else { return };
    let recorder = Folder::in_memory("closed-full");
    for is_first in [true, false] {
        // A first start has to make the log, a later one finds it.
        let ballast = disk.fill(0);
        let node = serve(disk.path(), &recorder, &[]);
        assert!(node.said().contains("serves without it"), "{}", node.said());
        let mut talk = Talk::begin(&node);
        talk.is_degraded();
        drop(ballast);
        talk.recovers(&node);
        if is_first {
            node.kill();
        } else {
            assert_eq!(node.terminate(), 0);
        }
    }
}

#[test]
fn a_node_starts_on_a_read_only_disk_and_takes_the_log_when_it_can_be_written() {
    let Some(disk) = Disk::small("closed-read-only", 24) else { return };
    let recorder = Folder::in_memory("closed-read-only");
    assert_eq!(serve(disk.path(), &recorder, &[]).terminate(), 0);
    let remount = |how: &str| run("mount", &["-o", &format!("remount,{how}"), disk.path()]);
    if !remount("ro") {
        return;
    }
    let node = serve(disk.path(), &recorder, &[]);
    let mut talk = Talk::begin(&node);
    talk.is_degraded();
    assert!(remount("rw"));
    talk.recovers(&node);
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_node_starts_without_a_folder_that_can_be_made_and_takes_the_log_when_it_can() {
    let (folder, recorder) = (Folder::new("closed-folder"), Folder::in_memory("closed-folder"));
    let in_the_way = Path::new(folder.path()).join("disk");
    fs::write(&in_the_way, "a file, where a folder is to be").unwrap();
    let log = in_the_way.join("log");
    let node = serve(log.to_str().unwrap(), &recorder, &[]);
    let mut talk = Talk::begin(&node);
    talk.is_degraded();
    fs::remove_file(&in_the_way).unwrap();
    fs::create_dir(&in_the_way).unwrap();
    talk.recovers(&node);
    // A drain of a degraded node ends as any other.
    assert_eq!(node.terminate(), 0);
}
