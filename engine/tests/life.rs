//! The life of rooms: how they come into being, close, go and go dormant, and what operators set for them.
//!
//! Not here: what publications and state do in a room (`rules`), rooms on disk (`disk`, `restarts`).

mod support;

use grandstand_engine::link::*;
use grandstand_engine::{SLOW_MODE_KEY, ShardConfig};
use grandstand_model::Disk;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use support::{Stage, batches, fixed, followed, followed_durably, offset, only_answer, refusal, say, stage};

#[test]
fn a_room_has_a_tick_of_its_own_when_an_operator_sets_its_bounds() {
    let (mut stage, alias, _) = followed(fixed());
    let mut configure = |tick_min_ms, tick_max_ms| {
        let settings = RoomSettings { tick_min_ms, tick_max_ms, ..RoomSettings::default() };
        let room = stage.room(AdminRequest::Configure { room: "show".into(), settings });
        assert_eq!(room.settings, settings);
        let begun_us = stage.now().us;
        say(&mut stage, alias, 1, begun_us, "at once");
        stage.pass_ms(0);
        say(&mut stage, alias, 1, begun_us + 1, "at the tick");
        let tick_ms = stage.shard.poll_timeout().map(|us| (us - begun_us) / 1000);
        stage.pass_ms(10_000);
        assert_eq!(tick_ms, Some(room.tick_ms));
        room.tick_ms
    };
    assert_eq!(configure(None, None), 100);
    assert_eq!(configure(Some(250), None), 250);
    assert_eq!(configure(None, Some(20)), 20);
    assert_eq!(configure(Some(300), Some(300)), 300);
    assert_eq!(configure(None, None), 100);
    let settings = RoomSettings::default();
    let request = AdminRequest::Configure { room: "none".into(), settings };
    assert_eq!(stage.admin(request), Err(Refusal::UnknownRoom));
}

#[test]
fn an_operator_sets_slow_mode_by_a_key_that_clients_see() {
    let (mut stage, alias, mut follower) = followed(fixed());
    let set = |value: Option<&str>| AdminRequest::SetState {
        room: "show".into(),
        key: SLOW_MODE_KEY.into(),
        value: value.map(|v| v.into()),
    };
    assert_eq!(stage.admin(set(Some("soon"))), Err(Refusal::BadText));
    stage.admin(set(Some("1000"))).unwrap();
    say(&mut stage, alias, 1, 1, "first");
    say(&mut stage, alias, 1, 2, "second");
    stage.pass_ms(0);
    let outputs = stage.outputs();
    let answers = outputs.iter().filter_map(|(_, o)| if let Output::Answers(a) = o { Some(a) } else { None });
    assert_eq!(answers.flatten().filter(|a| matches!(a.kind, AnswerKind::PublishRefused { .. })).count(), 1);
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.state[SLOW_MODE_KEY], b"1000");
    stage.admin(set(None)).unwrap();
    say(&mut stage, alias, 1, 3, "third");
    stage.pass_ms(100);
    assert_eq!(offset(only_answer(&mut stage)).0, 1);
}

#[test]
fn a_closed_room_keeps_its_viewers_and_takes_nothing() {
    let (mut stage, alias, mut follower) = followed(fixed());
    say(&mut stage, alias, 1, 1, "first");
    stage.pass_ms(0);
    say(&mut stage, alias, 1, 2, "just in time");
    assert_eq!(stage.room(AdminRequest::Close { room: "show".into() }).phase, Phase::Closed);
    let outputs = stage.outputs();
    let phase = outputs.iter().position(|(_, o)| matches!(o, Output::Phase { phase: Phase::Closed, .. }));
    let last_batch = outputs.iter().rposition(|(_, o)| matches!(o, Output::Batch { .. }));
    assert!(last_batch < phase, "what was accepted is sealed before the room closes");
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), 2);
    say(&mut stage, alias, 1, 3, "too late");
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::RoomClosed, None));
    stage.input(Input::React { alias, tallies: vec![("a".into(), 1)] });
    stage.pass_ms(1000);
    assert!(stage.outputs().is_empty());
    assert_eq!(stage.attach(1, "show").unwrap().phase, Phase::Closed);
    stage.admin(AdminRequest::Open { room: "show".into() }).unwrap();
    say(&mut stage, alias, 1, 3, "open again");
    stage.pass_ms(0);
    assert_eq!(offset(only_answer(&mut stage)).0, 2);
}

#[test]
fn a_removed_room_is_sealed_told_and_forgotten() {
    let (mut stage, alias, mut follower) = followed(fixed());
    say(&mut stage, alias, 1, 1, "last words");
    assert!(stage.admin(AdminRequest::Remove { room: "show".into() }).is_ok());
    let outputs = stage.outputs();
    let removed = outputs.iter().position(|(_, o)| matches!(o, Output::Removed { .. })).expect("told");
    assert!(outputs[..removed].iter().any(|(_, o)| matches!(o, Output::Batch { .. })));
    assert!(outputs.iter().any(|(_, o)| matches!(o, Output::Answers(_))));
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), 1);
    assert_eq!(stage.admin(AdminRequest::Remove { room: "show".into() }), Err(Refusal::UnknownRoom));
    let again = stage.attach(0, "show").unwrap();
    assert!(again.alias != alias && again.epoch != follower.at.epoch && again.next_offset == 0);
    assert_eq!((stage.counter("rooms"), stage.counter("history_bytes")), (1, 0));
}

#[test]
fn rooms_come_into_being_where_the_configuration_allows_and_within_its_bound() {
    let config = ShardConfig { on_first_use: vec!["show/*".into()], rooms_max: 2, ..fixed() };
    let mut stage = Stage::new(config);
    assert_eq!(stage.attach(0, "other").unwrap_err(), Refusal::UnknownRoom);
    assert_eq!(stage.attach(0, "a\nb").unwrap_err(), Refusal::BadName);
    assert!(stage.attach(0, "show/1").is_ok());
    assert!(
        stage.admin(AdminRequest::Create { room: "other".into(), settings: RoomSettings::default() }).is_ok()
    );
    assert!(stage.attach(0, "other").is_ok());
    assert_eq!(stage.attach(0, "show/2").unwrap_err(), Refusal::Overloaded);
    assert_eq!(stage.counter("attaches_refused"), 3);
}

#[test]
fn an_idle_room_of_first_use_goes_and_an_operators_stays() {
    let mut stage = Stage::new(ShardConfig { idle_ms: 1000, ..fixed() });
    stage.admin(AdminRequest::Create { room: "made".into(), settings: RoomSettings::default() }).unwrap();
    let made = stage.attach(0, "made").unwrap();
    let used = stage.attach(0, "used").unwrap();
    for alias in [made.alias, used.alias] {
        stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 1 });
        say(&mut stage, alias, 1, 1, "hello");
    }
    stage.pass_ms(5000);
    assert_eq!(stage.counter("rooms"), 2, "watched");
    for alias in [made.alias, used.alias] {
        stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 0 });
        stage.input(Input::Detach { worker: WorkerId(0), alias });
    }
    stage.pass_ms(5000);
    assert_eq!((stage.counter("rooms"), stage.counter("rooms_removed")), (1, 1));
    assert_eq!(stage.attach(0, "made").unwrap().next_offset, 1, "its log is kept");
    assert_ne!(stage.attach(0, "used").unwrap().epoch, used.epoch, "this one begins anew");
}

#[test]
fn an_operators_room_that_was_never_spoken_in_goes_dormant() {
    let mut stage = Stage::new(ShardConfig { idle_ms: 1000, ..fixed() });
    stage.admin(AdminRequest::Create { room: "made".into(), settings: RoomSettings::default() }).unwrap();
    let made = stage.attach(0, "made").unwrap();
    stage.input(Input::Viewers { worker: WorkerId(0), alias: made.alias, count: 3 });
    stage.pass_ms(100);
    stage.input(Input::Detach { worker: WorkerId(0), alias: made.alias });
    assert_eq!(stage.counter("rooms_live"), 1);
    stage.pass_ms(10_000);
    assert_eq!((stage.counter("rooms_live"), stage.counter("rooms")), (0, 1));
    assert_eq!((stage.counter("history_bytes"), stage.shard.poll_timeout()), (0, None));
    let again = stage.attach(0, "made").unwrap();
    assert!(again.epoch != made.epoch && again.next_seq == 0 && again.alias == made.alias);
}

#[test]
fn operators_list_rooms_in_pages() {
    let mut stage = stage();
    for name in ["c", "a/2", "b", "a/1"] {
        stage.admin(AdminRequest::Create { room: name.into(), settings: RoomSettings::default() }).unwrap();
    }
    let mut list = |prefix: &str, after: &str, limit| {
        let request = AdminRequest::List { prefix: prefix.into(), after: after.into(), limit };
        let Ok(AdminAnswer::Rooms(rooms)) = stage.admin(request) else { panic!("no rooms") };
        rooms.into_iter().map(|room| room.name).collect::<Vec<_>>()
    };
    assert_eq!(list("", "", 3), ["a/1", "a/2", "b"]);
    assert_eq!(list("", "b", 3), ["c"]);
    assert_eq!(list("a/", "a/1", 9), ["a/2"]);
}

#[test]
fn a_shutdown_seals_what_waits() {
    let config = ShardConfig { leading_edge: false, tick_ms: 60_000, ..fixed() };
    for (mut stage, alias, mut follower) in [followed(config.clone()), followed_durably(config)] {
        say(&mut stage, alias, 1, 1, "waits for a minute");
        stage.pass_ms(1000);
        let mut outputs = stage.outputs();
        assert!(!outputs.iter().any(|(_, o)| matches!(o, Output::Batch { .. })));
        stage.shard.handle_shutdown(stage.now());
        outputs.extend(stage.outputs());
        let answers = outputs.iter().filter(|(_, o)| matches!(o, Output::Answers(_)));
        assert_eq!(answers.count(), 1);
        batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
        assert_eq!(follower.said.len(), 1);
    }
}

/// Strangers open rooms as fast as they can, leave them or stay, over a log in memory or on disk: somebody
/// else and an operator still open theirs, and rooms in which somebody is or something was said stay.
#[test]
fn strangers_who_open_rooms_keep_nobody_out() {
    let config = ShardConfig { rooms_max: 1_000, viewers_every_ms: 0, ..fixed() };
    for (mut stage, is_on_disk) in
        [(Stage::new(config.clone()), false), (Stage::on(&Disk::prompt(), config.clone()), true)]
    {
        let by = |person| Opener { person: PersonId(person), is_trusted: false };
        let kept = stage.attach_by(0, "kept", by(1)).unwrap().alias;
        say(&mut stage, kept, 1, 1, "something");
        stage.pass_ms(100);
        stage.input(Input::Detach { worker: WorkerId(0), alias: kept });
        stage.attach_by(1, "watched", by(1)).unwrap();
        let open = |stage: &mut Stage, person: u64, n: u64, stays: bool| {
            let attached = stage.attach_by(0, &format!("{person}/{n}"), by(person));
            if let (Ok(attached), false) = (&attached, stays) {
                stage.input(Input::Detach { worker: WorkerId(0), alias: attached.alias });
            }
            attached.map(|_| ())
        };
        // One who leaves what it opened has a share, and then it is refused; 20 such fill their part.
        let opened = (0..500).filter(|&n| open(&mut stage, 2, n, false).is_ok()).count();
        assert_eq!(opened, 90);
        assert_eq!(open(&mut stage, 2, 1_000, false), Err(Refusal::RateLimited));
        for person in 3..20 {
            for n in 0..90 {
                assert_eq!(open(&mut stage, person, n, false), Ok(()), "what holds nothing makes space");
            }
        }
        assert_eq!(stage.counter("rooms"), 900);
        // What holds nothing is gone soon, and the slots rest.
        stage.pass_ms(62_000);
        stage.outputs();
        assert_eq!(stage.counter("rooms"), 2);
        // Those who stay fill their part for good, and not the rest.
        for person in 20..40 {
            for n in 0..90 {
                let _ = open(&mut stage, person, n, true);
            }
        }
        assert_eq!(stage.counter("rooms"), 900);
        assert_eq!(open(&mut stage, 41, 0, true), Err(Refusal::Overloaded));
        for n in 0..100 {
            stage
                .admin(AdminRequest::Create {
                    room: format!("operator/{n}"),
                    settings: RoomSettings::default(),
                })
                .unwrap();
        }
        assert_eq!(
            stage.admin(AdminRequest::Create { room: "x".into(), settings: RoomSettings::default() }),
            Err(Refusal::Overloaded)
        );
        for name in ["kept", "watched"] {
            let attached = stage.attach_by(2, name, by(50)).unwrap();
            assert_eq!(attached.next_offset, u64::from(name == "kept"), "on disk: {is_on_disk}");
        }
    }
}

#[test]
fn a_room_that_holds_nothing_goes_soon_and_one_that_holds_something_in_its_time() {
    let mut stage = stage();
    let by = Opener { person: PersonId(1), is_trusted: false };
    for (room, holds) in [("nothing", false), ("something", true)] {
        let alias = stage.attach_by(0, room, by).unwrap().alias;
        stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 1 });
        if holds {
            say(&mut stage, alias, 1, 1, "hello");
        }
        stage.pass_ms(5_000);
        stage.input(Input::Detach { worker: WorkerId(0), alias });
    }
    let rooms = |stage: &mut Stage, ms| {
        stage.pass_ms(ms);
        stage.outputs();
        stage.counter("rooms")
    };
    assert_eq!(rooms(&mut stage, 20_000), 2, "people who lost their connection find it");
    assert_eq!(rooms(&mut stage, 20_000), 1);
    assert_eq!(rooms(&mut stage, 540_000), 1);
    assert_eq!(rooms(&mut stage, 60_000), 0);
}

#[test]
fn states_are_bounded_each_and_together() {
    let config = ShardConfig { state_bytes_max: 10_000, state_bytes_total_max: 100_000, ..fixed() };
    let mut stage = Stage::new(config);
    let mut rooms = Vec::new();
    for n in 0..12 {
        rooms.push(stage.attach(0, &format!("r{n}")).unwrap().alias);
    }
    let set = |stage: &mut Stage, room: usize, key: &str, bytes: usize| {
        let value = (bytes > 0).then(|| vec![7; bytes].into());
        let from = ReplyTo { worker: WorkerId(0), connection: ConnectionToken(1) };
        let change = StateChange { from, request: 1, alias: rooms[room], key: key.into(), value };
        stage.set(change);
        stage.pass_ms(200);
        match only_answer(stage) {
            AnswerKind::StateSet { .. } => Ok(()),
            AnswerKind::StateRefused { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    };
    for room in 0..9 {
        for key in ["a", "b"] {
            assert_eq!(set(&mut stage, room, key, 4_000), Ok(()));
        }
        assert_eq!(set(&mut stage, room, "c", 4_000), Err(Refusal::TooLarge), "of one room");
        assert_eq!(set(&mut stage, room, "c", 1_990), Ok(()));
    }
    assert_eq!(set(&mut stage, 9, "a", 100), Err(Refusal::Overloaded), "of all rooms");
    let operator = |key: &str, bytes| AdminRequest::SetState {
        room: "r10".into(),
        key: key.into(),
        value: Some(vec![7; bytes]),
    };
    stage.admin(operator("a", 4_000)).unwrap();
    stage.admin(operator("b", 4_000)).unwrap();
    assert_eq!(set(&mut stage, 0, "a", 3_000), Ok(()), "less is always taken");
    assert_eq!(set(&mut stage, 1, "a", 0), Ok(()));
    stage.admin(AdminRequest::Remove { room: "r2".into() }).unwrap();
    stage.outputs();
    assert_eq!(set(&mut stage, 9, "a", 100), Ok(()), "what is removed makes space");
    let left = 6 * 9_993 + 8_993 + 5_992 + 8_002 + 101;
    assert_eq!(stage.counter("state_bytes"), left);
}
