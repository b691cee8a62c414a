//! Tests of pages of history that clients ask for.
//!
//! Why: a page is read elsewhere and arrives late, when its reader may be gone.

use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::{ClientFrame, History, Kind};
use grandstand_protocol::refusal::Refusal;

use super::super::{Rate, Settings};
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;

fn ask(harness: &mut Harness, v: V, epoch: u64, from: u64, count_max: u32) -> u32 {
    let alias = harness.alias(v, "r");
    let request = harness.viewers[v.0].next_request();
    harness.send(v, &ClientFrame::History(History { request, alias, epoch, from, count_max }));
    harness.run_ms(50);
    request
}

/// Offset, next, head and the offsets in the page that answered.
fn page(harness: &Harness, v: V, request: u32) -> (u64, u64, u64, Vec<u64>) {
    let answer = harness.viewers[v.0].seen.iter().find_map(|seen| match seen {
        Seen::Page { request: r, offset, next, head, said } if *r == request => {
            Some((*offset, *next, *head, said.iter().map(|(offset, _)| *offset).collect()))
        }
        _ => None,
    });
    answer.expect("a page came")
}

fn last_refusal(harness: &Harness, v: V) -> (u8, u64, Refusal, Option<u32>) {
    *harness.viewers[v.0].refusals().last().expect("a refusal")
}

fn small_history() -> Plan {
    let rooms = ShardConfig { history_batches_max: 10, ..Plan::default().rooms };
    Plan { rooms, ..Plan::default() }
}

#[test]
fn the_past_is_read_page_by_page_and_moves_nobody() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.talk(v, "r", 40);
    let at = harness.viewers[v.0].room("r").at;
    let (mut from, mut heard) = (3, Vec::new());
    while from < at.offset {
        let request = ask(&mut harness, v, at.epoch, from, 15);
        let (offset, next, head, offsets) = page(&harness, v, request);
        assert_eq!((offset, head), (from, 40));
        heard.extend(offsets);
        from = next;
    }
    assert_eq!(heard, (3..40).collect::<Vec<_>>());
    let request = ask(&mut harness, v, at.epoch, 40, 0);
    assert_eq!(page(&harness, v, request), (40, 40, 40, vec![]), "nothing left");
    assert_eq!(harness.viewers[v.0].room("r").at, at);
    harness.talk(v, "r", 2);
    harness.settle();
}

#[test]
fn what_is_no_longer_kept_shows_in_the_pages_offset() {
    let mut harness = Harness::new(&small_history());
    let v = harness.member(0, "r");
    harness.talk(v, "r", 30);
    let epoch = harness.viewers[v.0].room("r").at.epoch;
    let request = ask(&mut harness, v, epoch, 0, 500);
    assert_eq!(page(&harness, v, request), (20, 30, 30, (20..30).collect()));
}

#[test]
fn requests_that_cannot_be_answered_are_refused_once_each() {
    let mut harness = Harness::new(&Plan::default());
    let v = harness.member(0, "r");
    harness.talk(v, "r", 3);
    let epoch = harness.viewers[v.0].room("r").at.epoch;
    let kind = Kind::History as u8;
    let request = ask(&mut harness, v, epoch ^ 1, 0, 10);
    assert_eq!(last_refusal(&harness, v), (kind, request.into(), Refusal::UnknownEpoch, None));
    let request = harness.viewers[v.0].next_request();
    let alias = harness.alias(v, "r") + 1;
    harness.send(v, &ClientFrame::History(History { request, alias, epoch, from: 0, count_max: 1 }));
    harness.run_ms(50);
    assert_eq!(last_refusal(&harness, v), (kind, request.into(), Refusal::NotSubscribed, None));
    harness.set_full(true);
    let request = ask(&mut harness, v, epoch, 0, 10);
    assert_eq!(last_refusal(&harness, v).2, Refusal::Overloaded, "{request}");
    harness.settle();
}

#[test]
fn pages_have_a_rate() {
    let frames = Rate { per_s: 20, burst: 63 };
    let settings = Settings { frames, ..Plan::default().settings };
    let mut harness = Harness::new(&Plan { settings, ..Plan::default() });
    let v = harness.member(0, "r");
    harness.run_ms(3_000);
    let epoch = harness.viewers[v.0].room("r").at.epoch;
    for _ in 0..5 {
        ask(&mut harness, v, epoch, 0, 10);
    }
    let refused = harness.viewers[v.0].refusals();
    assert_eq!(refused.len(), 2, "three pages of twenty frames each: {refused:?}");
    assert!(refused.iter().all(|r| r.2 == Refusal::RateLimited && r.3.is_some_and(|ms| ms > 0)));
    harness.settle();
}

#[test]
fn a_connection_that_takes_nothing_gets_no_page() {
    let mut harness = Harness::new(&Plan::default());
    let (v, talker) = (harness.member(0, "r"), harness.member(0, "r"));
    harness.talk(talker, "r", 2);
    let epoch = harness.viewers[v.0].room("r").at.epoch;
    harness.set_room(v, 0);
    harness.talk(talker, "r", 1);
    ask(&mut harness, v, epoch, 0, 10);
    harness.settle();
    assert_eq!(last_refusal(&harness, v).2, Refusal::Overloaded);
}

#[test]
fn an_answer_that_comes_after_leaving_is_a_refusal() {
    let mut harness = Harness::new(&Plan::default());
    let (v, _stays) = (harness.member(0, "r"), harness.member(0, "r"));
    let alias = harness.alias(v, "r");
    let epoch = harness.viewers[v.0].room("r").at.epoch;
    harness.hold_outputs = true;
    ask(&mut harness, v, epoch, 0, 10);
    harness.unsubscribe(v, alias);
    harness.settle();
    assert_eq!(last_refusal(&harness, v).2, Refusal::NotSubscribed);
}
