//! Rooms of shows: they open before the show, go with its times, and are gone after it.
//!
//! Why: a room's phase is a function of its show's times, so a show that is moved, extended or ended takes
//! its room along, and one that nobody watches costs nothing.

#![expect(clippy::disallowed_types, reason = "the guide of a node belongs to another thread")]

mod support;

use std::sync::{Arc, Mutex};

use grandstand_engine::link::*;
use grandstand_engine::{Calendar, Schedule, ShardConfig, ShowTimes};
use grandstand_model::Disk;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use support::{Stage, fixed, offset, only_answer, refusal, say};

const MINUTE_MS: u64 = 60_000;

/// One show, whose times a test changes.
struct Guide(Mutex<Option<ShowTimes>>);

impl Schedule for Guide {
    fn times(&self, room: &str) -> Option<ShowTimes> {
        self.0.lock().unwrap().filter(|_| room == "show")
    }
}

/// A stage whose show begins an hour after the test does, and is an hour long.
fn hour_show(first_use: &[&str]) -> (Stage, Arc<Guide>, u64) {
    let guide = Arc::new(Guide(Mutex::new(None)));
    let on_first_use = first_use.iter().map(|s| (*s).to_owned()).collect();
    let calendar = Calendar::new(guide.clone());
    let stage =
        Stage::new(ShardConfig { on_first_use, calendar, viewers_every_ms: 0, idle_ms: 0, ..fixed() });
    let begins_ms = stage.now().unix_ms + 60 * MINUTE_MS;
    *guide.0.lock().unwrap() = Some(times(begins_ms, begins_ms + 60 * MINUTE_MS));
    (stage, guide, begins_ms)
}

fn times(begins_ms: u64, ends_ms: u64) -> ShowTimes {
    let closes_ms = ends_ms + 15 * MINUTE_MS;
    let opens_ms = begins_ms - 15 * MINUTE_MS;
    ShowTimes { opens_ms, begins_ms, ends_ms, closes_ms, gone_ms: closes_ms + 60 * MINUTE_MS }
}

/// The phases that were told, with the times until which they last.
fn told(stage: &mut Stage) -> Vec<(Phase, u64)> {
    let outputs = stage.outputs().into_iter();
    let phases = outputs.filter_map(|(_, output)| match output {
        Output::Phase { phase, at_ms, .. } => Some((phase, at_ms)),
        _ => None,
    });
    phases.collect()
}

#[test]
fn a_room_goes_with_its_show_and_says_so_ahead_of_time() {
    let (mut stage, _, begins_ms) = hour_show(&[]);
    assert_eq!(stage.attach(0, "show"), Err(Refusal::UnknownRoom), "not yet announced");
    assert_eq!(stage.attach(0, "another"), Err(Refusal::UnknownRoom));
    stage.pass_ms(45 * MINUTE_MS);
    let attached = stage.attach(0, "show").expect("a quarter of an hour before");
    assert_eq!((attached.phase, attached.until_ms), (Phase::PreShow, begins_ms));
    say(&mut stage, attached.alias, 1, 1, "hello");
    assert_eq!(offset(only_answer(&mut stage)).0, 0, "people talk before the show");
    let ends_ms = begins_ms + 60 * MINUTE_MS;
    stage.pass_ms(16 * MINUTE_MS);
    assert_eq!(told(&mut stage), [(Phase::Open, ends_ms)]);
    stage.pass_ms(60 * MINUTE_MS);
    let closes_ms = ends_ms + 15 * MINUTE_MS;
    assert_eq!(told(&mut stage), [(Phase::Closing, closes_ms)]);
    say(&mut stage, attached.alias, 1, 2, "that was good");
    assert_eq!(offset(only_answer(&mut stage)).0, 1, "people talk after the show");
    stage.pass_ms(15 * MINUTE_MS);
    assert_eq!(told(&mut stage), [(Phase::Closed, closes_ms + 60 * MINUTE_MS)]);
    say(&mut stage, attached.alias, 1, 3, "too late");
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::RoomClosed, None));
    stage.pass_ms(60 * MINUTE_MS);
    let is_gone = |(_, output): (WorkerId, Output)| matches!(output, Output::Removed { .. });
    assert!(stage.outputs().into_iter().any(is_gone));
    assert_eq!(stage.attach(0, "show"), Err(Refusal::UnknownRoom), "it does not come back");
}

#[test]
fn an_extended_show_is_told_at_once_and_one_whose_room_nobody_looked_at_within_a_minute() {
    for is_said in [true, false] {
        let (mut stage, guide, begins_ms) = hour_show(&[]);
        stage.pass_ms(61 * MINUTE_MS);
        stage.attach(0, "show").expect("it is on");
        let ends_ms = begins_ms + 90 * MINUTE_MS;
        *guide.0.lock().unwrap() = Some(times(begins_ms, ends_ms));
        if is_said {
            stage.room(AdminRequest::FollowShow { room: "show".into() });
        } else {
            stage.pass_ms(MINUTE_MS);
        }
        assert_eq!(told(&mut stage), [(Phase::Open, ends_ms)]);
        stage.pass_ms(60 * MINUTE_MS);
        assert_eq!(told(&mut stage), [], "it goes on");
    }
}

#[test]
fn a_show_that_is_moved_to_later_keeps_its_people_and_one_that_leaves_the_guide_its_room() {
    let (mut stage, guide, begins_ms) = hour_show(&[]);
    stage.pass_ms(50 * MINUTE_MS);
    let before = stage.attach(0, "show").expect("it opens").epoch;
    let later_ms = begins_ms + 120 * MINUTE_MS;
    *guide.0.lock().unwrap() = Some(times(later_ms, later_ms + 60 * MINUTE_MS));
    let room = stage.room(AdminRequest::FollowShow { room: "show".into() });
    assert_eq!((room.phase, room.epoch), (Phase::PreShow, before));
    assert_eq!(told(&mut stage), [(Phase::PreShow, later_ms)]);
    *guide.0.lock().unwrap() = None;
    stage.pass_ms(600 * MINUTE_MS);
    assert_eq!(told(&mut stage), [], "nobody is sent away by a guide that forgets");
}

#[test]
fn what_an_operator_says_of_a_phase_holds_until_the_show_changes_it() {
    let (mut stage, _, begins_ms) = hour_show(&[]);
    stage.pass_ms(61 * MINUTE_MS);
    stage.attach(0, "show").expect("it is on");
    stage.room(AdminRequest::Close { room: "show".into() });
    assert_eq!(told(&mut stage), [(Phase::Closed, 0)]);
    stage.pass_ms(30 * MINUTE_MS);
    assert_eq!(told(&mut stage), []);
    stage.pass_ms(30 * MINUTE_MS);
    assert_eq!(told(&mut stage), [(Phase::Closing, begins_ms + 75 * MINUTE_MS)]);
}

#[test]
fn a_phase_outlives_the_owner_and_a_room_that_is_past_goes_when_somebody_comes() {
    let (disk, (plain, guide, begins_ms)) = (Disk::prompt(), hour_show(&[]));
    let config = || ShardConfig { calendar: Calendar::new(guide.clone()), on_first_use: vec![], ..fixed() };
    let mut stage = Stage::at(&disk, config(), plain.clock);
    stage.pass_ms(61 * MINUTE_MS);
    let alias = stage.attach(0, "show").expect("it is on").alias;
    say(&mut stage, alias, 1, 1, "kept");
    stage.pass_ms(60 * MINUTE_MS);
    let mut next = Stage::at(&disk, config(), stage.clock);
    let attached = next.attach(0, "show").expect("it is in the log");
    assert_eq!((attached.phase, attached.next_offset), (Phase::Closing, 1));
    assert_eq!(attached.until_ms, begins_ms + 75 * MINUTE_MS);
    next.pass_ms(120 * MINUTE_MS);
    let mut last = Stage::at(&disk, config(), next.clock);
    assert_eq!(last.attach(0, "show"), Err(Refusal::UnknownRoom));
}
