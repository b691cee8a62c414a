//! Tests of the checker: every kind of wrong is found, and nothing else is.
//!
//! Not here: real clients and nodes (`crowd`, `machines`).

use grandstand_protocol::frame::Outcome;

use super::*;
use crate::crowd::Publication;

const OLD: u64 = 7;
const NEW: u64 = 8;

struct Scene {
    checker: Checker,
    at_us: u64,
}

/// The viewers of room 0 in a scene: one at node 0 and one at node 1.
const A: u32 = 0;
const B: u32 = 6;

impl Scene {
    fn new() -> Scene {
        let mut scene = Scene { checker: Checker::new(12), at_us: 1_000 };
        for viewer in 0..12 {
            scene.told(viewer, Told::Welcome { node: place(viewer as usize).1 });
            scene.told(viewer, Told::Subscribed { outcome: Outcome::Live, epoch: OLD, offset: 0 });
        }
        scene.checker.watch(&Watch { rooms: vec![0], without: vec![0] });
        scene
    }

    fn told(&mut self, viewer: u32, told: Told) {
        self.at_us += 1_000;
        self.checker.take(&[Record { viewer, at_us: self.at_us, told }]);
    }

    fn shown(&mut self, viewer: u32, offset: u64, number: u64) {
        self.told(viewer, Told::Message { offset, number });
    }

    fn both(&mut self, offset: u64, number: u64) {
        self.shown(A, offset, number);
        self.shown(B, offset, number);
    }

    fn wrongs(&mut self, publications: &[Publication]) -> Wrongs {
        self.checker.judge(publications, publications.len())
    }
}

fn acknowledged(offset: u64) -> Publication {
    let fate = Fate::Acknowledged { offset, epoch: OLD, at_us: 0, node: 0 };
    Publication { fate, outcomes: 1, ..Publication::default() }
}

#[test]
fn a_run_in_which_all_is_well_has_no_wrongs() {
    let mut scene = Scene::new();
    (0..3).for_each(|n| scene.both(n, n));
    // The owner changes, and the log goes on.
    scene.told(B, Told::Gap { epoch: NEW, from: 3, to: 3, is_restart: true });
    scene.told(A, Told::Disconnected);
    scene.told(A, Told::Subscribed { outcome: Outcome::Resumed, epoch: NEW, offset: 3 });
    (3..5).for_each(|n| scene.both(n, n));
    let publications: Vec<Publication> = (0..5).map(acknowledged).collect();
    assert!(scene.checker.is_settled(&publications, 5));
    assert_eq!(scene.wrongs(&publications), Wrongs::default());
}

#[test]
fn what_is_acknowledged_and_not_there_is_lost_and_elsewhere_is_a_stale_acknowledgement() {
    let mut scene = Scene::new();
    scene.both(0, 0);
    scene.both(1, 2);
    let publications = [acknowledged(0), acknowledged(1), acknowledged(1)];
    let wrongs = scene.wrongs(&publications);
    assert_eq!((wrongs.stale_acks, wrongs.lost), (1, 1));
    let mut scene = Scene::new();
    scene.both(0, 0);
    let publications = [acknowledged(0), acknowledged(1)];
    assert!(!scene.checker.is_settled(&publications, 2), "nobody has seen the second");
    // Once in the log, and once for each of the viewers of that room.
    assert_eq!(scene.wrongs(&publications).lost, 3);
}

#[test]
fn holes_repetitions_and_differences_are_found() {
    let mut scene = Scene::new();
    scene.both(0, 0);
    scene.shown(A, 2, 2);
    scene.shown(A, 2, 2);
    scene.shown(B, 1, 1);
    scene.shown(B, 2, 9);
    let wrongs = scene.wrongs(&[]);
    assert_eq!((wrongs.unnamed, wrongs.twice, wrongs.out_of_order), (1, 1, 1));
    let mut scene = Scene::new();
    scene.both(0, 0);
    scene.both(1, 0);
    assert_eq!(scene.wrongs(&[acknowledged(0)]).twice, 1, "one message at two offsets");
}

#[test]
fn a_hole_with_a_notice_is_named_and_counted() {
    let mut scene = Scene::new();
    scene.both(0, 0);
    for viewer in [A, B] {
        scene.told(viewer, Told::Gap { epoch: OLD, from: 1, to: 4, is_restart: false });
    }
    scene.both(4, 4);
    let wrongs = scene.wrongs(&[]);
    assert_eq!((wrongs.unnamed, wrongs.named), (0, 6));
}

#[test]
fn what_is_taken_back_is_stale_unless_the_viewers_own_node_had_the_fault() {
    let mut scene = Scene::new();
    (0..3).for_each(|n| scene.both(n, n));
    for viewer in [A, B] {
        scene.told(viewer, Told::Gap { epoch: NEW, from: 2, to: 2, is_restart: true });
    }
    scene.both(2, 5);
    scene.both(3, 2);
    let publications: Vec<Publication> = [0, 1, 3].iter().map(|&offset| acknowledged(offset)).collect();
    let wrongs = scene.wrongs(&publications);
    assert_eq!((wrongs.unsaid, wrongs.stale_frames, wrongs.lost, wrongs.twice), (1, 1, 0, 0));
    assert_eq!(wrongs.out_of_order, 0);
}

#[test]
fn another_log_without_a_word_of_what_was_missed_is_unnamed() {
    let mut scene = Scene::new();
    scene.both(0, 0);
    scene.told(A, Told::Disconnected);
    scene.told(A, Told::Subscribed { outcome: Outcome::Restarted, epoch: NEW, offset: 5 });
    let wrongs = scene.wrongs(&[]);
    assert_eq!((wrongs.begun_anew, wrongs.unnamed), (1, 4));
}

#[test]
fn publications_have_one_outcome_and_what_was_refused_is_not_shown() {
    let mut scene = Scene::new();
    scene.both(0, 1);
    let fate = |fate, outcomes| Publication { fate, outcomes, ..Publication::default() };
    let publications =
        [fate(Fate::Waiting, 0), fate(Fate::Refused, 1), fate(Fate::Uncertain, 1), fate(Fate::Uncertain, 2)];
    assert!(!scene.checker.is_settled(&publications, 4));
    let wrongs = scene.wrongs(&publications);
    assert_eq!((wrongs.outcomes, wrongs.refused_and_shown), (2, 1));
}

#[test]
fn a_pause_is_the_longest_time_between_two_messages_of_a_watched_viewer() {
    let mut scene = Scene::new();
    scene.both(0, 0);
    scene.at_us += 500_000;
    scene.shown(B, 1, 1);
    let pauses = scene.checker.pauses(scene.at_us);
    assert_eq!((pauses.worst_us, pauses.viewers, pauses.reconnects), (501_000, 1, 0));
    assert_eq!(pauses.by_room_us, [501_000]);
    assert_eq!(scene.checker.pauses(scene.at_us + 900_000).worst_us, 900_000, "it still waits");
    scene.told(B, Told::Disconnected);
    assert_eq!(scene.checker.pauses(scene.at_us).reconnects, 1);
    scene.told(B, Told::Closed { was_asked: true });
    assert_eq!(scene.wrongs(&[]).absent, 1);
}
