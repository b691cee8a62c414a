//! A write-ahead log that rots under a power cut: what was acknowledged and is gone is said everywhere.
//!
//! Why on the real binary: operators read its log, its health and the exit code of `verify`.

use std::fs;

use grandstand_protocol::frame::Outcome;

use crate::machine::Folder;
use crate::people::Person;
use crate::process::{ends, serve};

const MESSAGES: u64 = 200;

#[test]
fn a_rotten_write_ahead_log_after_a_power_cut_is_said_to_operators_and_viewers() {
    let (log, recorder) = (Folder::new("rot"), Folder::in_memory("rot"));
    let node = serve(log.path(), &recorder, &[]);
    let mut speaker = Person::come(node.ws, "show");
    let mut viewer = Person::come(node.ws, "show");
    for nonce in 1..=MESSAGES {
        speaker.publish(nonce, &format!("text {nonce}")).on_disk();
    }
    viewer.listen_to(MESSAGES);
    let epoch = viewer.epoch;
    node.kill();
    // The power is cut: memory is gone, and one bit of the live log with it.
    let after = Folder::in_memory("rot-after");
    let wal = log.0.join("grandstand.db-wal");
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&wal, &bytes).unwrap();
    assert_eq!(ends(&["verify", log.path()]).0, 1, "verify says it before the start");
    fs::write(&wal, &bytes).unwrap();

    let node = serve(log.path(), &after, &[]);
    let said = node.said();
    assert!(said.contains("acknowledged commits are missing") && said.contains("room show"), "{said}");
    assert!(!said.contains("everything acknowledged is there"), "{said}");
    let health = node.until_health("degraded");
    assert!(health["faults"][0].as_str().unwrap().contains("lost"), "{health}");
    assert!(node.metric("grandstand_store_lost_commits") > 0.0);
    let lost = node.metric("grandstand_store_lost_messages");
    assert!(lost > 0.0 && lost < MESSAGES as f64, "{lost}");
    let again = Person::come_back(node.ws, "show", &[], Some((epoch, MESSAGES)));
    assert_ne!((again.outcome, again.epoch), (Outcome::Resumed, epoch), "the viewer is told");
    drop(again);
    assert_eq!(node.terminate(), 0);
    let (code, said, _) = ends(&["verify", log.path()]);
    assert!(code == 1 && said.contains("acknowledged commits were missing"), "{said}");
    for entry in fs::read_dir(&log.0).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("lost-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(ends(&["verify", log.path()]).0, 0, "an operator has taken note");
}
