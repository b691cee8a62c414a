//! Killed, restarted, cut off from power: what was acknowledged is there, and everybody goes on where they
//! stood.
//!
//! Invariant: what was acknowledged before is in the log after, once and at its offset.

use std::collections::BTreeMap;
use std::fs;

use grandstand_protocol::frame::{Durability, Outcome};

use crate::machine::Folder;
use crate::people::{Answer, Person, assert_heard_once};
use crate::process::{does_not_start, serve};

#[test]
fn a_killed_node_comes_back_where_everybody_stood() {
    let (log, recorder) = (Folder::new("killed"), Folder::in_memory("killed"));
    let node = serve(log.path(), &recorder, &[]);
    assert!(node.said().contains("new"), "it says that the log is new: {}", node.said());
    let (mut speaker, mut viewer) = (Person::come(node.ws, "show"), Person::come(node.ws, "show"));
    let mut acknowledged = BTreeMap::new();
    for nonce in 1..=200 {
        let published = speaker.publish(nonce, &format!("text {nonce}")).on_disk();
        acknowledged.insert(published.offset, format!("text {nonce}"));
    }
    // The viewer has seen these; some more are on their way when the node is killed.
    viewer.listen_to(200);
    for nonce in 201..=260 {
        speaker.say(nonce, &format!("text {nonce}"));
    }
    let Answer::Taken(last) = speaker.answer() else { panic!("taken") };
    acknowledged.insert(last.offset, format!("text {}", last.nonce));
    node.kill();

    let node = serve(log.path(), &recorder, &[]);
    assert!(!node.said().contains("power"), "a killed process is no power cut: {}", node.said());
    let mut again = Person::come_back(node.ws, "show", &viewer.ticket, Some((viewer.epoch, viewer.next)));
    assert_eq!((again.outcome, again.epoch), (Outcome::Resumed, viewer.epoch), "resumed exactly");
    // Who was not answered says it again, with the same nonces: each is answered and stands once.
    let mut speaker = Person::come_back(node.ws, "show", &speaker.ticket, None);
    for nonce in 201..=260 {
        let published = speaker.publish(nonce, &format!("text {nonce}")).on_disk();
        acknowledged.insert(published.offset, format!("text {nonce}"));
    }
    // What was answered before the restart is still known, too.
    let Answer::Taken(old) = speaker.publish(200, "text 200") else { panic!("taken") };
    assert!(old.repeated && acknowledged[&old.offset] == "text 200", "{old:?}");
    assert_eq!(acknowledged.len(), 260);
    again.listen_to(260);
    again.heard.append(&mut viewer.heard);
    assert_heard_once(&again, &acknowledged);
    let mut all = Person::come_back(node.ws, "show", &[], Some((viewer.epoch, 0)));
    all.listen_to(260);
    assert_heard_once(&all, &acknowledged);
}

#[test]
fn a_node_that_stopped_well_starts_clean_and_keeps_rooms_and_state() {
    let (log, recorder) = (Folder::new("clean"), Folder::in_memory("clean"));
    let node = serve(log.path(), &recorder, &[]);
    node.room("kept", "disk");
    node.room("lost", "memory");
    let mut speaker = Person::come(node.ws, "kept");
    speaker.publish(1, "stays").on_disk();
    let mut other = Person::come(node.ws, "lost");
    let Answer::Taken(light) = other.publish(1, "goes") else { panic!("taken") };
    assert_eq!(light.durability, Durability::Memory, "each acknowledgement names the level that it reached");
    assert_eq!(node.ask("PUT", "/rooms/kept/state/pinned", "Welcome!").0, 200);
    speaker.publish(2, "and so does the state").on_disk();
    let epoch = speaker.epoch;
    // With nobody there a drain does not wait.
    drop((speaker, other));
    assert_eq!(node.terminate(), 0);

    let node = serve(log.path(), &recorder, &[]);
    assert!(node.said().contains("clean"), "{}", node.said());
    let room = node.json("/rooms/kept");
    assert_eq!((&room["next_offset"], &room["epoch"]), (&2.into(), &epoch.to_string().into()), "{room}");
    let mut viewer = Person::come_back(node.ws, "kept", &[], Some((epoch, 0)));
    viewer.listen_to(2);
    assert_eq!(viewer.heard[&0], "stays");
}

#[test]
fn after_a_power_cut_the_epoch_is_new_and_what_was_acknowledged_is_there() {
    let (log, recorder) = (Folder::new("power"), Folder::in_memory("power"));
    let node = serve(log.path(), &recorder, &[]);
    let mut speaker = Person::come(node.ws, "show");
    let mut acknowledged = BTreeMap::new();
    for nonce in 1..=50 {
        let published = speaker.publish(nonce, &format!("text {nonce}")).on_disk();
        acknowledged.insert(published.offset, format!("text {nonce}"));
    }
    let epoch = speaker.epoch;
    node.kill();
    // With the power goes what was in memory.
    fs::remove_dir_all(&recorder.0).unwrap();
    fs::create_dir(&recorder.0).unwrap();

    let node = serve(log.path(), &recorder, &[]);
    assert!(node.said().contains("power"), "it says so: {}", node.said());
    let mut viewer = Person::come_back(node.ws, "show", &[], Some((epoch, 0)));
    assert_ne!(viewer.epoch, epoch, "what viewers saw last may be gone: another log");
    assert_eq!(viewer.outcome, Outcome::Resumed, "before the cut nothing is missing");
    viewer.listen_to(50);
    assert_heard_once(&viewer, &acknowledged);
}

/// With the power goes what was in memory.
fn lose_memory(recorder: &Folder) {
    fs::remove_dir_all(&recorder.0).unwrap();
    fs::create_dir(&recorder.0).unwrap();
}

#[test]
fn a_viewer_that_was_away_over_several_power_cuts_resumes_where_nothing_of_its_log_was_lost() {
    let (log, recorder) = (Folder::new("lineage"), Folder::in_memory("lineage"));
    let mut acknowledged = BTreeMap::new();
    // Positions of viewers that leave before each cut, and what they had heard.
    let mut away: Vec<(u64, u64)> = Vec::new();
    let mut nonce = 0;
    for cut in 0..5 {
        let node = serve(log.path(), &recorder, &[]);
        let mut speaker = Person::come(node.ws, "show");
        for _ in 0..10 {
            nonce += 1;
            let published = speaker.publish(nonce, &format!("text {nonce}")).on_disk();
            acknowledged.insert(published.offset, format!("text {nonce}"));
        }
        // In the middle of this epoch, and at its end.
        away.extend([(speaker.epoch, nonce - 5), (speaker.epoch, nonce)]);
        for (n, &(epoch, next)) in away.iter().enumerate() {
            let mut viewer = Person::come_back(node.ws, "show", &[], Some((epoch, next)));
            assert_eq!(viewer.outcome, Outcome::Resumed, "after {cut} cuts, viewer {n}");
            viewer.listen_to(nonce);
            let due = acknowledged.range(next..).map(|(&offset, text)| (offset, text.clone())).collect();
            assert_heard_once(&viewer, &due);
        }
        node.kill();
        lose_memory(&recorder);
    }
}

#[test]
fn a_broken_database_is_never_taken_for_an_empty_one() {
    let (log, recorder) = (Folder::new("broken"), Folder::in_memory("broken"));
    let node = serve(log.path(), &recorder, &[]);
    Person::come(node.ws, "show").publish(1, "still here").on_disk();
    node.terminate();
    let database = database(&log);
    let whole = fs::read(&database).unwrap();
    fs::write(&database, vec![0xa5; whole.len()]).unwrap();
    let said = does_not_start(log.path(), &recorder, &["--log-lock-wait-ms", "0"]);
    assert!(said.contains("restore") || said.contains("backup"), "it says what to do: {said}");
    assert_eq!(fs::read(&database).unwrap(), vec![0xa5; whole.len()], "and touches nothing");
    // Put back, it goes on.
    fs::write(&database, whole).unwrap();
    let node = serve(log.path(), &recorder, &[]);
    assert_eq!(node.json("/rooms/show")["next_offset"], 1);
}

#[test]
fn a_second_node_on_the_same_log_says_who_has_it() {
    let (log, recorder) = (Folder::new("second"), Folder::in_memory("second"));
    let first = serve(log.path(), &recorder, &[]);
    // It looks for the one before it at another socket, or it would take over.
    let elsewhere = recorder.0.join("other.sock");
    let flags = ["--log-lock-wait-ms", "100", "--node-handover", elsewhere.to_str().unwrap()];
    let said = does_not_start(log.path(), &recorder, &flags);
    assert!(said.contains(log.path()), "{said}");
    Person::come(first.ws, "show").publish(1, "undisturbed").on_disk();
}

/// The one database of a log's folder.
pub(crate) fn database(log: &Folder) -> std::path::PathBuf {
    let files = fs::read_dir(&log.0).unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        files.filter(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")));
    found.next().expect("a database")
}
