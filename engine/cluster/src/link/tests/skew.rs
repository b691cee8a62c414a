//! Tests of neighbouring releases: what a later one adds is passed over, and what it forbids is refused.
//!
//! Why by hand: the later release does not exist yet. Its messages are written here as the rules of the
//! schema allow them.

use grandstand_engine::link::{Alias, Answer, AnswerKind, ConnectionToken, Input, Output, WorkerId};
use grandstand_protocol::refusal::Refusal;

use crate::generated as fb;
use crate::link::pack::{Packer, kind};
use crate::link::table::{self, Kind};
use crate::link::*;

fn frame(kind: Kind, version: u16, needs: u16, items: &[u8]) -> Vec<u8> {
    let message = table::encode(kind, |fbb| {
        let items = Some(fbb.create_vector(items));
        let args = fb::FrameArgs { version, needs, node: 1, seq: 1, items, ..Default::default() };
        fb::Frame::create(fbb, &args)
    });
    message.unwrap().to_vec()
}

fn detach(p: &mut Packer) {
    p.number(1_u16);
    p.number(2_u32);
}

#[test]
fn items_of_a_later_release_are_passed_over_and_counted() {
    let mut p = Packer::default();
    detach(&mut p);
    p.finish(kind::up::DETACH);
    p.text("a kind that this release does not know");
    p.finish(200);
    // A known kind with a field more.
    detach(&mut p);
    p.text("a new field");
    p.finish(kind::up::DETACH);
    // A known kind whose contents are of an unknown one.
    p.number(1_u16);
    p.number(5_u32);
    p.byte(99);
    p.finish(kind::up::ADMIN);
    let decoded = UpFrame::decode(&frame(Kind::Up, 2, 1, p.bytes())).unwrap();
    let expected = UpItem::Input(Input::Detach { worker: WorkerId(1), alias: Alias(2) });
    assert_eq!((decoded.items, decoded.passed_over), (vec![expected.clone(), expected], 2));
}

#[test]
fn an_answer_of_a_later_release_does_not_hide_the_others() {
    let mut p = Packer::default();
    p.list(&[7_u16], |p, worker| p.number(*worker));
    p.number(3_u32);
    let known = |p: &mut Packer, request: u32| {
        p.byte(3);
        p.number(9_u32);
        p.number(request);
        p.number(4_u32);
    };
    p.framed(|p| known(p, 1));
    p.framed(|p| {
        p.byte(77);
        p.number(9_u32);
        p.text(&"of a kind that this release does not know, and long ".repeat(4));
    });
    p.framed(|p| {
        known(p, 2);
        p.text("a new field");
    });
    p.finish(kind::down::ANSWERS);
    let decoded = DownFrame::decode(&frame(Kind::Down, 2, 1, p.bytes())).unwrap();
    let answer = |request| Answer {
        connection: ConnectionToken(9),
        kind: AnswerKind::StateSet { request, version: 4 },
    };
    let output = Output::Answers(vec![answer(1), answer(2)]);
    assert_eq!(decoded.items, [DownItem::Output { workers: [WorkerId(7)].into(), output }]);
}

#[test]
fn a_reason_or_a_counter_of_a_later_release_is_no_fault() {
    let mut p = Packer::default();
    p.list(&[7_u16], |p, worker| p.number(*worker));
    p.text("room");
    p.flag(false);
    p.number(60_000_u32);
    p.finish(kind::down::ATTACHED);
    p.list(&[7_u16], |p, worker| p.number(*worker));
    p.number(1_u32);
    p.flag(true);
    p.byte(3);
    p.list(&["rooms", "a_new_counter"], |p, name| {
        p.text(name);
        p.number(5_u32);
    });
    p.finish(kind::down::ADMIN);
    let decoded = DownFrame::decode(&frame(Kind::Down, 2, 1, p.bytes())).unwrap();
    let [attached, admin] = &decoded.items[..] else { panic!("two items") };
    let DownItem::Output { output: Output::Attached { result, .. }, .. } = attached else { panic!() };
    assert_eq!(result, &Err(Refusal::Other));
    let DownItem::Output { output: Output::Admin(reply), .. } = admin else { panic!() };
    assert_eq!(reply.answer, Ok(grandstand_engine::link::AdminAnswer::Counters(vec![("rooms", 5)])));
}

#[test]
fn a_version_that_this_release_cannot_read_is_refused_with_a_remedy() {
    let too_new = UpFrame::decode(&frame(Kind::Up, 3, 2, &[])).unwrap_err();
    assert_eq!(too_new, Malformed::TooNew(2));
    assert_eq!(too_new.to_string(), "a message for version 2, this node reads 1 to 1: upgrade this node");
    let too_old = UpFrame::decode(&frame(Kind::Up, 0, 0, &[])).unwrap_err();
    assert_eq!(too_old, Malformed::TooOld(0));
    assert!(too_old.to_string().ends_with("upgrade its sender"));
    assert!(UpFrame::decode(&frame(Kind::Up, 9, 1, &[])).is_ok(), "later, and readable");
}

#[test]
fn a_message_of_another_kind_is_not_taken_for_one() {
    let up = frame(Kind::Up, 1, 1, &[]);
    assert!(UpFrame::decode(&up).is_ok());
    assert_eq!(DownFrame::decode(&up), Err(Malformed::Kind(Some(6))));
    assert_eq!(Pong::decode(&up), Err(Malformed::Kind(Some(6))));
    assert_eq!(UpFrame::decode(&[]), Err(Malformed::Kind(None)));
    assert_eq!(UpFrame::decode(&vec![6; MESSAGE_BYTES_MAX + 1]), Err(Malformed::Long(MESSAGE_BYTES_MAX + 1)));
}

/// An entry that a promise has and this release cannot read must not be lost from the log.
#[test]
fn a_promise_with_an_unknown_entry_is_refused() {
    let mut p = Packer::default();
    p.text("an entry of a later kind");
    p.finish(99);
    let message = table::encode(Kind::Answer, |fbb| {
        let entries = Some(fbb.create_vector(p.bytes()));
        let verdict = fb::Verdict::Promised;
        let args = fb::AnswerArgs { version: 2, needs: 1, verdict, entries, parts: 1, ..Default::default() };
        fb::Answer::create(fbb, &args)
    });
    let message = message.unwrap();
    assert_eq!(AnswerParts::default().decode(&message), Err(Malformed::Field("entries of a known kind")));
}
