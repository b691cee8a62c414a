//! Owning: entries, freezes, hand-overs, and every way in which an owner stops.
//!
//! Not here: how entries are gathered (`appender`).

use super::*;

#[test]
fn entries_of_an_owner_are_kept_in_one_record_after_the_other() {
    let mut bench = Bench::owner();
    assert_eq!(bench.seat.may_push(bench.now), Ok(()));
    assert_eq!(bench.seat.push(bench.now, entry(1)), Ok((Term(1), 1)));
    let first = bench.appended();
    assert_eq!(bench.seat.push(bench.now, entry(2)), Ok((Term(1), 2)));
    assert_eq!(bench.seat.unkept(), [shown(1, 1), shown(1, 2)]);
    assert_eq!(bench.seat.appender().unwrap().unkept_bytes(), 10);
    bench.acknowledge(&first);
    let outputs = bench.outputs();
    let position = Position(2);
    assert_eq!(outputs[0], Output::Kept { term: Term(1), through: 1, position });
    assert!(matches!(&outputs[1..], [Output::Apply(record, _)] if record.place.position == position));
    assert_eq!(bench.seat.unkept(), [shown(1, 2)]);
}

#[test]
fn publishers_of_what_is_not_kept_in_time_are_refused() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    bench.poll();
    let from = bench.now;
    while bench.now < from.plus(10_000) {
        bench.wait(HEARTBEAT_MS);
        bench.beat_both(1);
        let is_over = bench.now >= from.plus(10_000);
        let overdue = Output::Overdue { term: Term(1), through: 1 };
        assert_eq!(bench.poll().contains(&overdue), is_over);
    }
    let stalled = Refused::Log(PushRefusal::Stalled { retry_after_ms: 2_000 });
    assert_eq!(bench.seat.push(bench.now, entry(2)), Err(stalled));
    assert_eq!(bench.seat.may_push(bench.now), Err(stalled));
    assert_eq!(bench.seat.push_accepted(bench.now, entry(2)), Ok((Term(1), 2)));
}

#[test]
fn an_owner_that_nobody_hears_freezes_thaws_and_stops() {
    let mut bench = Bench::owner();
    let end = bench.seat.lease.until().unwrap();
    assert!(bench.seat.due(bench.now, &bench.membership) <= end);
    bench.now = OwnTime(end.0 - 1);
    assert_eq!((bench.poll(), bench.seat.acts_under(bench.now)), (vec![], Some(Term(1))));
    bench.now = end;
    // Even before it looked.
    let frozen = Refused::Frozen { retry_after_ms: 1_000 };
    assert_eq!(bench.seat.push(bench.now, entry(1)), Err(frozen));
    assert_eq!(bench.seat.push_accepted(bench.now, entry(1)), Err(frozen));
    assert_eq!((bench.poll(), bench.seat.phase()), (vec![Output::Freeze], Phase::Frozen));
    // One other node is a majority with this one.
    bench.beat(TWO, 1, false);
    assert_eq!((bench.poll(), bench.seat.phase()), (vec![Output::Thaw], Phase::Owning));
    // Nodes that promised a higher term do not support this one.
    bench.wait(1_000);
    bench.beat_both(2);
    assert_eq!(bench.poll()[0], Output::Freeze);
    bench.wait(SILENCE_MS - 1);
    bench.beat_both(2);
    assert_eq!(stops(&bench.poll()), []);
    bench.wait(1);
    assert_eq!(stops(&bench.poll()), [(Term(1), StopCause::Unsupported)]);
    assert_ne!(bench.seat.phase(), Phase::Frozen);
    assert_eq!(bench.seat.may_push(bench.now), Err(Refused::NotOwner));
}

#[test]
fn a_frozen_owner_whose_copy_is_unsound_leaves_the_shard_to_others() {
    let mut bench = Bench::owner();
    bench.seat.set_able(false);
    bench.wait(1_000);
    bench.poll();
    bench.wait(SILENCE_MS);
    bench.beat_both(2);
    assert_eq!(stops(&bench.poll()), [(Term(1), StopCause::Unsupported)]);
    bench.wait(1_000);
    bench.beat_both(2);
    bench.poll();
    let report = bench.seat.report(bench.now);
    assert_eq!((bench.seat.phase(), report.owns, report.can_own), (Phase::Orphan, false, false));
}

#[test]
fn a_hand_over_keeps_everything_and_then_names_the_next_owner() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    assert!(!bench.seat.hand_over(bench.now, ME, &bench.membership), "to itself");
    assert!(bench.seat.hand_over(bench.now, TWO, &bench.membership));
    assert!(!bench.seat.hand_over(bench.now, ONE, &bench.membership), "one at a time");
    assert_eq!((bench.seat.phase(), bench.seat.handing_to()), (Phase::Handing, Some(TWO)));
    assert_eq!(bench.seat.push(bench.now, entry(2)), Err(Refused::Handing));
    assert_eq!(bench.seat.push_accepted(bench.now, entry(2)), Err(Refused::Handing));
    assert_eq!(bench.seat.may_push(bench.now), Err(Refused::Handing));
    let entries = bench.appended();
    assert!(matches!(decode(&entries.bytes).unwrap().body, Body::Entries(_)));
    bench.acknowledge(&entries);
    bench.outputs();
    let term = bench.appended();
    let record = decode(&term.bytes).unwrap();
    let Body::Term(body) = &record.body else { panic!("a term") };
    assert_eq!((body.owner, body.cause, record.place.term), (TWO, Cause::Clean, Term(2)));
    bench.acknowledge(&term);
    let head = *bench.seat.chain().head();
    assert_eq!(
        bench.outputs(),
        [
            Output::Apply(record, head),
            Output::Stop { term: Term(1), cause: StopCause::HandedOver },
            Output::Announce { term: Term(2), position: Position(3) },
        ]
    );
    assert_eq!(bench.seat.phase(), Phase::Following);
}

#[test]
fn a_hand_over_to_a_node_that_dies_is_given_up() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    assert!(bench.seat.hand_over(bench.now, TWO, &bench.membership));
    bench.poll();
    for _ in 0..8 {
        bench.wait(HEARTBEAT_MS);
        bench.beat(ONE, 1, false);
        bench.poll();
    }
    assert_eq!((bench.seat.phase(), bench.seat.handing_to()), (Phase::Owning, None));
    assert_eq!(bench.seat.may_push(bench.now), Ok(()));
}

#[test]
fn an_owner_that_was_replaced_stops_and_offers_what_it_had_shown() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    let append = bench.appended();
    bench.write_term(ONE, 2);
    bench.seat.handle_reply(bench.now, append.attempt, Reply::WrongLast, &bench.membership);
    bench.poll();
    bench.beat(ONE, 2, true);
    bench.read();
    assert_eq!(stops(&bench.outputs()), [(Term(1), StopCause::Replaced)]);
    assert_eq!(bench.seat.phase(), Phase::Following);
    // The new term is of a node that did not adopt it: the log has decided, and nothing of it is offered.
    bench.wait(SILENCE_MS);
    bench.beat(TWO, 2, false);
    assert_eq!(bench.ask(TWO, 3), AnswerVerdict::Promised(vec![]));
}

#[test]
fn a_record_of_a_later_release_ends_an_owner_and_keeps_the_node_from_owning() {
    let mut bench = Bench::owner();
    bench.write(Term(1), &Body::Unknown { kind: 9, bytes: Bytes::from_static(b"new") });
    bench.seat.handle_announce(Position(2));
    assert_eq!(bench.poll(), [Output::Read { from: Position(2) }]);
    bench.read();
    assert_eq!(
        bench.outputs(),
        [
            Output::NotUnderstood { position: Position(2) },
            Output::Stop { term: Term(1), cause: StopCause::NotUnderstood },
        ]
    );
    bench.wait(1_000);
    bench.beat_both(1);
    bench.poll();
    assert_eq!((bench.seat.phase(), bench.seat.report(bench.now).can_own), (Phase::Orphan, false));
}

#[test]
fn an_owner_that_abdicates_leaves_the_shard_to_others_for_a_while() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    bench.seat.abdicate(bench.now);
    assert_eq!(stops(&bench.outputs()), [(Term(1), StopCause::Abdicated)]);
    assert_eq!(bench.seat.push(bench.now, entry(2)), Err(Refused::NotOwner));
    bench.beat_both(1);
    assert_eq!(bench.ask(ONE, 2), AnswerVerdict::Promised(vec![shown(1, 1)]));
    bench.wait(4_999);
    bench.beat_both(1);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Orphan);
}

#[test]
fn each_refusal_says_what_to_do() {
    let says = |refused: Refused| refused.to_string();
    assert_eq!(says(Refused::NotOwner), "another node owns the shard: retry there");
    let frozen = Refused::Frozen { retry_after_ms: 1_000 };
    assert_eq!(says(frozen), "no majority of nodes is heard: retry in 1000 ms");
    assert_eq!(says(Refused::Handing), "the shard moves to another node: retry at once");
    let full = PushRefusal::Full { retry_after_ms: 80 };
    assert_eq!(says(Refused::Log(full)), "too much waits for the log: retry in 80 ms");
    let malformed = Refused::Log(PushRefusal::Malformed);
    assert_eq!(says(malformed), "not one entry of at most 524249 bytes: split it, a retry does not help");
}
