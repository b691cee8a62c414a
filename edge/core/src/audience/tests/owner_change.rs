//! Rooms whose shards change owners: each kind of change, and each thing that is lost on the way.
//!
//! Why: in a cluster this happens at each kill, drain and cut of a link, to all viewers of the shard at once.

use grandstand_protocol::frame::{ClientFrame, GapReason, History, Kind, Phase};
use grandstand_protocol::refusal::Refusal;

use super::harness::{Plan, V};
use super::model_owner::Change;
use super::owner_house::House;
use super::viewer::Seen;

fn house() -> House {
    House::new(&Plan::default(), 4, 100)
}

#[test]
fn a_clean_change_is_seen_by_nobody_wherever_the_next_owner_begins_to_count() {
    for base_seq in [0, 2, 3, 5, 7, 1_000] {
        let mut house = house();
        let (v, slow) = (house.member("a"), house.member("a"));
        (0..3).for_each(|_| house.say(0, 2));
        house.harness.set_room(slow, 5);
        (0..2).for_each(|_| house.say(0, 2));
        assert!(house.harness.viewers[slow.0].is_mid_frame());
        house.change(0, Change::Clean, base_seq);
        house.say(0, 2);
        house.rest();
        for v in [v, slow] {
            assert!(house.harness.viewers[v.0].gaps().is_empty(), "{base_seq}");
            let epoch = house.owners[0].epoch;
            assert_eq!(house.harness.viewers[v.0].heard("a", epoch), (0..12).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn what_was_lost_on_the_way_comes_from_the_ring_or_from_history() {
    for lost in [1, 3, 20] {
        let mut house = house();
        let v = house.member("a");
        house.say(0, 2);
        house.owners[0].loses = true;
        (0..lost).for_each(|_| house.say(0, 2));
        let lost_state = house.owners[0].say(0, true, Some(("score", b"0:1")));
        assert!(lost_state.is_empty());
        house.owners[0].loses = false;
        // The next batch shows the hole. Nobody else says that anything was lost.
        house.say(0, 2);
        (0..10).for_each(|_| house.wait_ms(10));
        let at = house.harness.viewers[v.0].room("a").at.offset;
        assert_eq!(at, house.owners[0].next_offset);
        house.rest();
        let (viewer, owner) = (&house.harness.viewers[v.0], &house.owners[0]);
        assert!(viewer.gaps().is_empty());
        assert_eq!(viewer.heard("a", owner.epoch), (0..owner.next_offset).collect::<Vec<u64>>());
        assert_eq!(viewer.room("a").state["score"], b"0:1");
    }
}

#[test]
fn what_is_no_longer_kept_is_named() {
    let mut house = House::new(&Plan::default(), 2, 3);
    let v = house.member("a");
    house.say(0, 2);
    house.owners[0].loses = true;
    (0..9).for_each(|_| house.say(0, 2));
    house.owners[0].loses = false;
    house.say(0, 2);
    house.rest();
    let gaps: Vec<_> = house.harness.viewers[v.0].gaps().iter().map(|g| (g.from, g.to, g.reason)).collect();
    assert_eq!(gaps, [(2, 16, GapReason::Expired)]);
}

#[test]
fn an_attachment_that_says_nothing_new_costs_nobody_a_frame() {
    let mut house = house();
    let v = house.member("a");
    let said = house.owners[0].say(1, false, Some(("score", b"0:1")));
    house.deliver(said);
    (0..9).for_each(|_| house.say(0, 2));
    let seen = house.harness.viewers[v.0].seen.len();
    let told = house.owners[0].attached();
    house.deliver(told);
    house.turn();
    assert_eq!(house.harness.viewers[v.0].seen.len(), seen);
    house.rest();
}

#[test]
fn a_log_that_goes_on_keeps_its_members_who_are_told_of_its_epoch_and_state() {
    let mut house = house();
    let (v, slow) = (house.member("a"), house.member("a"));
    let said = house.owners[0].say(1, false, Some(("score", b"0:1")));
    house.deliver(said);
    house.turn();
    house.harness.set_room(slow, 0);
    (0..2).for_each(|_| house.say(0, 2));
    house.change(0, Change::Claim { lost: 0 }, 1);
    house.say(0, 2);
    house.rest();
    assert_eq!((house.restarts(v), house.restarts(slow)), (vec![(5, 5, 0)], vec![(1, 1, 0)]));
    for v in [v, slow] {
        let viewer = &house.harness.viewers[v.0];
        assert_eq!(viewer.heard("a", house.owners[0].epoch), (0..7).collect::<Vec<u64>>());
        assert_eq!(viewer.room("a").state["score"], b"0:1");
    }
}

#[test]
fn who_saw_what_did_not_survive_is_told_up_to_where_the_log_holds() {
    let mut house = house();
    let (v, slow) = (house.member("a"), house.member("a"));
    (0..3).for_each(|_| house.say(0, 2));
    house.harness.set_room(slow, 0);
    (0..3).for_each(|_| house.say(0, 2));
    house.change(0, Change::Claim { lost: 2 }, 0);
    house.say(0, 3);
    house.rest();
    assert_eq!((house.restarts(v), house.restarts(slow)), (vec![(8, 8, 0)], vec![(6, 6, 0)]));
    let epoch = house.owners[0].epoch;
    for v in [v, slow] {
        assert_eq!(house.harness.viewers[v.0].heard("a", epoch), (0..11).collect::<Vec<u64>>());
    }
}

#[test]
fn several_changes_while_a_viewer_takes_nothing_are_told_as_one() {
    let mut house = house();
    let v = house.member("a");
    (0..3).for_each(|_| house.say(0, 2));
    house.harness.set_room(v, 0);
    house.change(0, Change::Claim { lost: 1 }, 0);
    house.say(0, 1);
    house.change(0, Change::Claim { lost: 2 }, 7);
    house.say(0, 1);
    house.change(0, Change::Clean, 3);
    house.say(0, 1);
    house.rest();
    let restarts = house.restarts(v);
    assert_eq!(restarts.last(), Some(&(2, 2, 0)), "{restarts:?}");
    assert_eq!(house.harness.viewers[v.0].heard("a", house.owners[0].epoch), [0, 1, 2, 3]);
}

#[test]
fn a_room_that_begins_anew_keeps_its_members() {
    let mut house = house();
    let (v, slow) = (house.member("b"), house.member("b"));
    (0..3).for_each(|_| house.say(1, 2));
    house.harness.set_room(slow, 3);
    house.say(1, 2);
    house.change(1, Change::Anew, 0);
    house.say(1, 3);
    house.rest();
    for v in [v, slow] {
        assert_eq!(house.restarts(v), [(0, 0, 0)]);
        assert_eq!(house.harness.viewers[v.0].heard("b", house.owners[1].epoch), [0, 1, 2]);
    }
    assert_eq!(house.harness.audiences[0].counters().members, 2);
}

#[test]
fn of_a_log_begun_anew_what_the_ring_has_no_longer_is_counted() {
    let mut house = house();
    let v = house.member("b");
    house.say(1, 2);
    house.owners[1].loses = true;
    house.owners[1].change(Change::Anew, 0);
    (0..7).for_each(|_| house.say(1, 2));
    house.owners[1].loses = false;
    let told = house.owners[1].attached();
    house.deliver(told);
    house.rest();
    assert_eq!(house.restarts(v), [(0, 6, 6)]);
    assert_eq!(house.harness.viewers[v.0].heard("b", house.owners[1].epoch), (6..14).collect::<Vec<u64>>());
}

#[test]
fn a_refusal_that_may_pass_keeps_the_members_and_a_final_one_does_not() {
    let mut house = house();
    let v = house.member("a");
    house.say(0, 2);
    house.owners[0].refuses = Some(Refusal::Overloaded);
    house.change(0, Change::Clean, 0);
    house.wait_ms(1_000);
    assert_eq!(house.harness.audiences[0].counters().members, 1);
    house.owners[0].refuses = None;
    (0..2).for_each(|_| house.wait_ms(1_000));
    house.say(0, 2);
    assert_eq!(house.harness.viewers[v.0].room("a").at.offset, 4);
    house.rest();
    house.owners[0].refuses = Some(Refusal::UnknownRoom);
    house.change(0, Change::Clean, 0);
    let last = house.harness.viewers[v.0].seen.last();
    let reason = Refusal::UnknownRoom;
    assert!(matches!(last, Some(Seen::Unsubscribed { request: 0, reason: r, .. }) if *r == reason));
}

#[test]
fn another_alias_ends_the_subscription_and_the_room_can_be_followed_again() {
    let mut house = house();
    let v = house.member("a");
    house.say(0, 2);
    house.change(0, Change::OtherAlias, 0);
    assert!(matches!(house.harness.viewers[v.0].seen.last(), Some(Seen::Unsubscribed { request: 0, .. })));
    house.harness.resume(v, "a");
    house.turn();
    house.say(0, 1);
    house.rest();
    assert_eq!(house.harness.viewers[v.0].heard("a", house.owners[0].epoch), [0, 1, 2]);
}

#[test]
fn a_phase_that_was_lost_is_told_with_the_next_attachment() {
    let mut house = house();
    let v = house.member("a");
    house.owners[0].loses = true;
    assert!(house.owners[0].set_phase(Phase::Closed).is_empty());
    house.owners[0].loses = false;
    house.change(0, Change::Clean, 0);
    let alias = house.owners[0].alias;
    let told = house.harness.viewers[v.0].seen.contains(&Seen::RoomEvent { alias, phase: Phase::Closed });
    assert!(told);
    house.rest();
}

/// Somebody who resumes far back in two rooms, and whose page is on its way.
fn with_a_page_on_its_way() -> (House, V) {
    let mut house = house();
    let v = house.member("a");
    house.harness.subscribe(v, "b", None, 0);
    house.turn();
    house.harness.cut(v);
    (0..20).for_each(|_| house.say(0, 1));
    (0..20).for_each(|_| house.say(1, 1));
    house.harness.connect(v, 0);
    house.harness.hello(v);
    house.holds_pages = true;
    ["a", "b"].iter().for_each(|room| {
        house.harness.resume(v, room);
    });
    house.turn();
    (house, v)
}

#[test]
fn a_page_that_was_lost_with_its_owner_stops_no_catch_up() {
    for change in [Change::Clean, Change::Claim { lost: 1 }, Change::Anew] {
        let (mut house, v) = with_a_page_on_its_way();
        assert!(!house.late.is_empty());
        house.late.clear();
        house.holds_pages = false;
        house.change(0, change, 0);
        house.change(1, change, 0);
        (0..10).for_each(|_| house.wait_ms(10));
        for at in [0, 1] {
            let (room, head) = (house.owners[at].name.to_string(), house.owners[at].next_offset);
            let f = house.harness.viewers[v.0].room(&room);
            assert_eq!(f.at.offset, head, "{change:?}: the page of {room} is asked for again");
        }
        house.rest();
    }
}

#[test]
fn a_page_that_nobody_knows_to_be_lost_is_asked_for_again_in_time() {
    let (mut house, v) = with_a_page_on_its_way();
    house.late.clear();
    house.holds_pages = false;
    (0..20).for_each(|_| house.wait_ms(1_000));
    assert_eq!(house.harness.viewers[v.0].room("a").at.offset, 20);
    assert_eq!(house.harness.viewers[v.0].room("b").at.offset, 20);
    assert!(house.harness.viewers[v.0].gaps().is_empty());
    house.rest();
}

#[test]
fn what_a_page_holds_of_a_log_that_did_not_survive_is_shown_to_nobody() {
    let (mut house, v) = with_a_page_on_its_way();
    house.harness.set_room(v, 0);
    house.holds_pages = false;
    house.turn();
    // The page is there, and not taken.
    house.change(0, Change::Claim { lost: 19 }, 0);
    (0..3).for_each(|_| house.say(0, 1));
    house.rest();
    assert_eq!(house.restarts(v), [(0, 0, 0)]);
    assert_eq!(house.harness.viewers[v.0].heard("a", house.owners[0].epoch), [0, 1, 2, 3]);
}

#[test]
fn a_late_page_of_an_owner_before_is_taken_for_no_other() {
    let (mut house, v) = with_a_page_on_its_way();
    let late = std::mem::take(&mut house.late);
    house.change(0, Change::Claim { lost: 15 }, 0);
    house.change(1, Change::Claim { lost: 15 }, 0);
    (0..20).for_each(|_| house.say(0, 1));
    (0..20).for_each(|_| house.say(1, 1));
    house.deliver(late);
    house.holds_pages = false;
    house.rest();
    let epoch = house.owners[0].epoch;
    assert_eq!(house.harness.viewers[v.0].room("a").at.offset, 25);
    assert!(house.harness.viewers[v.0].heard("a", epoch).len() >= 20);
}

#[test]
fn a_clients_page_is_asked_for_again_where_the_log_goes_on_and_refused_where_it_does_not() {
    for (change, goes_on) in [(Change::Clean, true), (Change::Claim { lost: 1 }, true), (Change::Anew, false)]
    {
        let mut house = house();
        let v = house.member("a");
        (0..9).for_each(|_| house.say(0, 2));
        house.holds_pages = true;
        let request = house.harness.viewers[v.0].next_request();
        let (alias, epoch) = (house.owners[0].alias, house.owners[0].epoch);
        let history = History { request, alias, epoch, from: 2, count_max: 0 };
        house.harness.send(v, &ClientFrame::History(history));
        house.turn();
        assert_eq!(std::mem::take(&mut house.late).len(), 1, "it was asked for, and is lost");
        house.holds_pages = false;
        house.change(0, change, 0);
        let viewer = &house.harness.viewers[v.0];
        let is_page =
            |seen: &&Seen| matches!(seen, Seen::Page { request: r, offset: 2, .. } if *r == request);
        assert_eq!(viewer.seen.iter().filter(is_page).count(), usize::from(goes_on));
        let refused = (Kind::History as u8, request.into(), Refusal::UnknownEpoch, None);
        assert_eq!(viewer.refusals().contains(&refused), !goes_on);
        house.rest();
    }
}

#[test]
fn an_alias_that_names_another_room_ends_the_one_that_had_it() {
    let mut house = house();
    let (a, b) = (house.member("a"), house.member("b"));
    house.owners[0].loses = true;
    assert!(house.owners[0].remove().is_empty(), "the notice of its end is lost");
    house.owners[1].alias = house.owners[0].alias;
    house.owners[0].alias = 77;
    house.change(1, Change::Clean, 0);
    for v in [a, b] {
        assert!(matches!(
            house.harness.viewers[v.0].seen.last(),
            Some(Seen::Unsubscribed { request: 0, .. })
        ));
    }
    assert_eq!(house.harness.audiences[0].counters().rooms, 0);
}
