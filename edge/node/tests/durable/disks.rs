//! Disks that are full, read-only, broken or stuck: publishers to `disk` rooms are told, everything else goes
//! on.
//!
//! Why real faults: what a disk refuses is decided by the kernel, by calls that a model would guess.

use std::collections::BTreeMap;
use std::time::Instant;

use grandstand_protocol::frame::{Durability, Outcome};
use grandstand_protocol::refusal::Refusal;
use rustix::io::Errno;

use crate::common::PATIENCE;
use crate::machine::{Disk, Folder};
use crate::people::{Answer, Person, assert_heard_once};
use crate::process::{Running, serve, serve_with};
use crate::shim::Shim;

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::small("full", 24) else { return };
    let recorder = Folder::in_memory("full");
    let node = serve(disk.path(), &recorder, &["--log-answer-within-ms", "500"]);
    let mut talk = Talk::begin(&node);
    let ballast = disk.fill(256);
    talk.until_refused(&node);
    talk.others_go_on(&node);
    drop(ballast);
    talk.goes_on(&node);
    talk.ends_with_a_kill_and_everything_there(node, disk.path(), &recorder);
}

#[test]
fn writes_that_fail_refuse_and_the_node_recovers_by_itself() {
    // Read-only, broken, full: in turn, on one node.
    let (log, recorder) = (Folder::new("fails"), Folder::in_memory("fails"));
    let Some(shim) = Shim::under("fails-shim", log.path()) else { return };
    let node =
        serve_with(log.path(), &recorder, &["--log-answer-within-ms", "500"], |command| shim.set(command));
    let mut talk = Talk::begin(&node);
    for error in [Errno::ROFS, Errno::IO, Errno::NOSPC] {
        shim.writes_fail(Some(error));
        talk.until_refused(&node);
        talk.others_go_on(&node);
        shim.writes_fail(None);
        talk.goes_on(&node);
    }
    talk.ends_with_a_kill_and_everything_there(node, log.path(), &recorder);
}

#[test]
fn a_disk_that_turns_read_only_for_good_loses_nothing_acknowledged() {
    let Some(disk) = Disk::ext4("aborted", 48) else { return };
    let recorder = Folder::in_memory("aborted");
    let node = serve(disk.path(), &recorder, &["--log-answer-within-ms", "500"]);
    let mut talk = Talk::begin(&node);
    if !disk.abort() {
        eprintln!("skipped: this kernel does not abort an ext4 by remounting");
        return;
    }
    talk.until_refused(&node);
    talk.others_go_on(&node);
    node.kill();
    disk.mount_again();
    let node = serve(disk.path(), &recorder, &[]);
    talk.come_back(&node);
    talk.goes_on(&node);
    talk.ends_with_a_kill_and_everything_there(node, disk.path(), &recorder);
}

#[test]
fn a_stuck_disk_holds_nobody_up_but_those_who_wait_for_it() {
    let Some(disk) = Disk::ext4("stuck", 48) else { return };
    let recorder = Folder::in_memory("stuck");
    let node = serve(disk.path(), &recorder, &["--log-answer-within-ms", "300"]);
    let mut talk = Talk::begin(&node);
    let Some(frozen) = disk.freeze() else { return };
    let began = Instant::now();
    // Shown at once, since the recorder has it; answered in time, since the disk has not.
    talk.speaker.say(1000, "said to a stuck disk");
    let seen = talk.viewer.next + 1;
    talk.viewer.listen_to(seen);
    let Answer::Refused { nonce, reason, retry_after_ms } = talk.speaker.answer() else {
        panic!("nothing is acknowledged that is not synced")
    };
    assert_eq!((nonce, reason), (1000, Refusal::StorageUnavailable));
    assert!(retry_after_ms.is_some() && began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    talk.others_go_on(&node);
    drop(frozen);
    // A retry is acknowledged at the offset that it has already.
    let published = talk.speaker.insist(1000, "said to a stuck disk");
    assert!(published.repeated && published.durability == Durability::Disk, "{published:?}");
    talk.acknowledged.insert(published.offset, "said to a stuck disk".into());
    talk.goes_on(&node);
    talk.ends_with_a_kill_and_everything_there(node, disk.path(), &recorder);
}

/// Somebody speaks in a `disk` room and is heard, while others talk in a `memory` room.
struct Talk {
    speaker: Person,
    viewer: Person,
    others: Person,
    acknowledged: BTreeMap<u64, String>,
    nonce: u64,
}

impl Talk {
    fn begin(node: &Running) -> Talk {
        node.room("light", "memory");
        let mut talk = Talk {
            speaker: Person::come(node.ws, "show"),
            viewer: Person::come(node.ws, "show"),
            others: Person::come(node.ws, "light"),
            acknowledged: BTreeMap::new(),
            nonce: 0,
        };
        talk.goes_on(node);
        talk
    }

    /// After a restart.
    fn come_back(&mut self, node: &Running) {
        node.room("light", "memory");
        let position = Some((self.viewer.epoch, self.viewer.next));
        let mut viewer = Person::come_back(node.ws, "show", &self.viewer.ticket, position);
        assert_eq!(viewer.outcome, Outcome::Resumed);
        viewer.heard.append(&mut self.viewer.heard);
        self.viewer = viewer;
        self.speaker = Person::come_back(node.ws, "show", &self.speaker.ticket, None);
        self.others = Person::come(node.ws, "light");
    }

    fn next_text(&mut self) -> String {
        self.nonce += 1;
        // Large enough to fill a small disk soon; different every time.
        format!("text {} {}", self.nonce, "x".repeat(1_000))
    }

    /// Publishes until the disk refuses: what is acknowledged meanwhile counts.
    fn until_refused(&mut self, node: &Running) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing is refused: {}", node.said());
            let text = self.next_text();
            match self.speaker.publish(self.nonce, &text) {
                Answer::Taken(published) => {
                    assert_eq!(published.durability, Durability::Disk);
                    self.acknowledged.insert(published.offset, text);
                }
                Answer::Refused { nonce, reason, retry_after_ms } => {
                    assert_eq!((nonce, reason), (self.nonce, Refusal::StorageUnavailable));
                    assert!(retry_after_ms.is_some(), "it says when to try again");
                    break;
                }
            }
        }
    }

    /// What does not need the disk does not notice; operators are told.
    fn others_go_on(&mut self, node: &Running) {
        self.nonce += 1;
        let published = self.others.publish(self.nonce, &format!("light {}", self.nonce));
        let Answer::Taken(published) = published else { panic!("rooms in memory go on: {published:?}") };
        assert_eq!(published.durability, Durability::Memory);
        assert_eq!(node.ask("GET", "/readyz", "").0, 200, "it goes on serving");
        let health = node.until_health("degraded");
        assert!(!health["faults"][0].as_str().unwrap().is_empty(), "{health}");
        assert_eq!(node.metric("grandstand_store_healthy"), 0.0);
    }

    /// The disk is well again: what was refused is retried, accepted and delivered.
    fn goes_on(&mut self, node: &Running) {
        for _ in 0..3 {
            let text = self.next_text();
            let published = self.speaker.insist(self.nonce, &text);
            assert_eq!(published.durability, Durability::Disk);
            self.acknowledged.insert(published.offset, text);
            self.viewer.listen_to(published.offset + 1);
        }
        node.until_health("ok");
        assert_eq!(node.metric("grandstand_store_healthy"), 1.0);
    }

    fn ends_with_a_kill_and_everything_there(mut self, node: Running, log: &str, recorder: &Folder) {
        assert_heard_once(&self.viewer, &self.acknowledged);
        node.kill();
        let node = serve(log, recorder, &[]);
        self.come_back(&node);
        let last = self.viewer.next;
        let mut all = Person::come_back(node.ws, "show", &[], Some((self.viewer.epoch, 0)));
        all.listen_to(last);
        assert_heard_once(&all, &self.acknowledged);
        assert_eq!(all.heard, self.viewer.heard, "what was seen is what is kept");
    }
}
