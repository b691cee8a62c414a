//! What an owner change costs rooms in memory, and rooms that the log has not kept yet.
//!
//! Not here: every kind of change (`rooms`).

use grandstand_engine::link::{AdminRequest, AnswerKind, Input};
use grandstand_engine::{SLOW_MODE_KEY, link::RoomSettings};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use super::hall::NODES;
use super::rooms::{Case, Change, ROOMS, worker};
use crate::record::{Body, decode};

/// The room that is made on first use, in a cluster whose rooms are in memory.
const ROOM: &str = ROOMS[2];

/// Every node follows the room.
fn followed() -> Case {
    let mut case = Case::new(Durability::Memory);
    (0..NODES).for_each(|node| case.attach(node, ROOM));
    case.run(200);
    case
}

fn offset(answer: AnswerKind) -> (u64, u64) {
    match answer {
        AnswerKind::Published { epoch, offset, durability: Durability::Memory, .. } => (epoch, offset),
        other => panic!("{other:?}"),
    }
}

/// How many entries the log has.
fn entries(case: &Case) -> u64 {
    let of = |bytes: &bytes::Bytes| match decode(bytes).unwrap().body {
        Body::Entries(entries) => entries.count(),
        Body::Term(body) => body.adopted.count(),
        Body::Unknown { .. } => 0,
    };
    case.hall.stream.iter().map(of).sum()
}

#[test]
fn a_hand_over_takes_chat_epoch_alias_and_nonces_along() {
    let mut case = followed();
    let said: Vec<_> = (0..20).map(|at| offset(case.publish(at % NODES, ROOM, Change::None))).collect();
    case.run(100);
    let before = case.seen[&(0, ROOM)].clone();
    for _ in 0..3 {
        case.change(0, Change::HandOver);
        case.run(300);
        for node in 0..NODES {
            let seen = &case.seen[&(node, ROOM)];
            assert_eq!((seen.alias, seen.epoch), (before.alias, before.epoch));
            assert_eq!((seen.texts.len() as u64, seen.next_offset), (20, 20));
        }
        // A new subscription reads all of it.
        case.attach(1, ROOM);
        case.run(100);
        assert_eq!(case.seen[&(1, ROOM)].texts, before.texts);
    }
    assert_eq!(offset(case.publish(0, ROOM, Change::None)), (before.epoch, said.len() as u64));
}

#[test]
fn messages_on_their_way_during_a_hand_over_are_in_the_room_once() {
    for round in 0..12 {
        let mut case = followed();
        case.run(round);
        let mut offsets: Vec<u64> =
            (0..6).map(|at| offset(case.publish(at % NODES, ROOM, Change::HandOver)).1).collect();
        offsets.dedup();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
        case.run(300);
        assert!((0..NODES).all(|node| case.seen[&(node, ROOM)].texts.len() == 6));
    }
}

#[test]
fn after_a_claim_members_stay_and_chat_goes_on_in_another_epoch() {
    for handed_before in [false, true] {
        let mut case = followed();
        (0..9).for_each(|at| {
            offset(case.publish(at % NODES, ROOM, Change::None));
        });
        if handed_before {
            case.change(0, Change::HandOver);
            case.run(300);
        }
        let owner = case.hall.owner().unwrap();
        let node = (owner + 1) % NODES;
        let before = case.seen[&(node, ROOM)].clone();
        case.change(node, Change::Claim);
        case.run(300);
        let after = &case.seen[&(node, ROOM)];
        assert_eq!((after.alias, after.is_removed), (before.alias, false));
        assert_ne!(after.epoch, before.epoch);
        let epoch = after.epoch;
        assert_eq!(offset(case.publish(node, ROOM, Change::None)).0, epoch);
    }
}

#[test]
fn rooms_that_people_only_look_into_are_not_in_the_log_and_keep_their_alias() {
    let mut case = followed();
    let before = (entries(&case), case.seen[&(0, ROOM)].clone());
    for change in [Change::HandOver, Change::Claim, Change::HandOver] {
        let owner = case.hall.owner().unwrap();
        case.change((owner + 1) % NODES, change);
        case.run(300);
        for node in 0..NODES {
            assert_eq!(case.seen[&(node, ROOM)].alias, before.1.alias);
        }
    }
    assert_eq!(entries(&case), before.0);
    // The first message puts the room into the log, and further ones nothing.
    for _ in 0..5 {
        offset(case.publish(0, ROOM, Change::None));
    }
    case.run(200);
    assert_eq!(entries(&case), before.0 + 1);
}

#[test]
fn rooms_that_nobody_uses_any_more_leave_the_log() {
    let mut case = Case::new(Durability::Memory);
    case.hall.rooms.idle_ms = 2_000;
    let owner = case.hall.owner().unwrap();
    let node = (owner + 1) % NODES;
    // The owners to come remove rooms after two seconds.
    for other in (0..NODES).filter(|other| *other != owner) {
        case.hall.kill(other);
        case.hall.start(other);
        case.run(2_500);
    }
    (0..NODES).for_each(|node| case.attach(node, ROOM));
    case.run(200);
    offset(case.publish(node, ROOM, Change::None));
    case.run(100);
    let before = entries(&case);
    // The owner dies, and nobody comes back to the room.
    case.hall.kill(owner);
    for node in (0..NODES).filter(|node| *node != owner) {
        let alias = case.seen[&(node, ROOM)].alias.unwrap();
        case.hall.input(node, Input::Detach { worker: worker(node), alias });
        case.seen.remove(&(node, ROOM));
    }
    case.run(5_000);
    assert_eq!(entries(&case), before + 1, "it was removed");
    case.attach(node, ROOM);
    case.run(200);
    assert_eq!(case.seen[&(node, ROOM)].next_offset, 0);
}

#[test]
fn slow_mode_holds_over_a_hand_over_in_rooms_of_both_kinds() {
    for durability in [Durability::Memory, Durability::Replicated] {
        let mut case = Case::new(durability);
        let settings = RoomSettings::default();
        assert!(case.admin(0, AdminRequest::Create { room: ROOM.into(), settings }, Change::None));
        let (room, key, value) = (ROOM.into(), SLOW_MODE_KEY.into(), Some(b"60000".to_vec()));
        assert!(case.admin(0, AdminRequest::SetState { room, key, value }, Change::None));
        (0..NODES).for_each(|node| case.attach(node, ROOM));
        case.run(200);
        let spoke = case.publish(0, ROOM, Change::None);
        let AnswerKind::Published { nonce: person, .. } = spoke else { panic!("{spoke:?}") };
        for _ in 0..2 {
            case.change(0, Change::HandOver);
            case.run(300);
            let refused = case.publish_as(person, 0, ROOM);
            let reason = Refusal::SlowMode;
            let AnswerKind::PublishRefused { reason: of, retry_after_ms: Some(ms), .. } = refused else {
                panic!("{durability:?}: {refused:?}")
            };
            assert!(of == reason && (50_000..60_000).contains(&ms), "{ms}");
        }
    }
}

#[test]
fn a_frozen_owner_shows_nothing_of_rooms_in_memory() {
    let mut case = followed();
    let owner = case.hall.owner().unwrap();
    for other in (0..NODES).filter(|other| *other != owner) {
        case.hall.cut.extend([(owner, other), (other, owner)]);
    }
    case.run(1_200);
    let before = case.seen[&(owner, ROOM)].texts.len();
    case.say(owner, ROOM);
    case.run(2_000);
    assert_eq!(case.seen[&(owner, ROOM)].texts.len(), before);
    let node = (owner + 1) % NODES;
    offset(case.publish(node, ROOM, Change::None));
    case.hall.cut.clear();
    case.run(3_000);
    let texts: Vec<_> = (0..NODES).map(|node| case.seen[&(node, ROOM)].texts.clone()).collect();
    assert!(texts.iter().all(|of| *of == texts[0] && of.len() == 2), "{texts:?}");
}

#[test]
fn what_was_shown_while_the_log_kept_nothing_is_there_after_two_deaths() {
    let mut case = Case::new(Durability::Replicated);
    (0..NODES).for_each(|node| case.attach(node, ROOM));
    case.run(300);
    case.text_bytes = 1_500;
    let owner = case.hall.owner().unwrap();
    let others: Vec<usize> = (0..NODES).filter(|node| *node != owner).collect();
    case.hall.no_leader_until = case.hall.ms + 5_000;
    let mut said = 0;
    for round in 0..48 {
        for node in &others {
            (0..20).for_each(|_| {
                case.say(*node, ROOM);
            });
            said += 20;
        }
        case.run(100);
        if round == 46 {
            case.hall.kill(owner);
            case.seen.retain(|(at, _), _| *at != owner);
        }
    }
    case.run(3_000);
    let accepted = |case: &Case| {
        let is_accepted = |kind: &&AnswerKind| matches!(kind, AnswerKind::Published { .. });
        case.answers.iter().filter(is_accepted).count()
    };
    assert_eq!((accepted(&case), case.answers.len()), (said, said));
    let longest = case.hall.stream.iter().map(bytes::Bytes::len).sum::<usize>();
    assert!(longest > 5 * crate::record::BODY_BYTES_MAX, "more than one record takes: {longest}");
    assert!(others.iter().all(|node| case.seen[&(*node, ROOM)].texts.len() == said));
    for _ in 0..2 {
        let owner = case.hall.owner().unwrap();
        let node = others[usize::from(others[0] == owner)];
        assert_eq!(case.look(node, ROOM).next_offset as usize, said, "every copy has all of it");
        // The next owner is one that was not there, or only followed.
        case.hall.start((0..NODES).find(|at| case.hall.nodes[*at].is_none()).unwrap_or(owner));
        case.run(3_000);
        case.change(node, Change::Claim);
        case.run(1_000);
    }
}
