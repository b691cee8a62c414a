//! Following: what of the log, of links and of promises a node takes from others.
//!
//! Not here: the judgement of records (`record`).

use super::*;

#[test]
fn a_void_message_is_named_and_passed_over() {
    let mut bench = Bench::new(&[(ONE, 1)]);
    bench.log.push(Bytes::from_static(b"noise"));
    bench.write_term(TWO, 2);
    bench.read();
    let outputs = bench.outputs();
    assert_eq!(outputs[1], Output::Void { position: Position(2), cause: VoidCause::Damaged });
    assert!(matches!(&outputs[2], Output::Apply(record, _) if record.place.term == Term(2)));
}

#[test]
fn entries_are_shown_in_order_once_and_of_the_highest_term_only() {
    let mut bench = Bench::new(&[(ONE, 1)]);
    bench.beat(ONE, 1, true);
    bench.read();
    let mut take = |term, index| bench.seat.handle_entry(shown(term, index));
    assert_eq!(take(1, 1), EntryVerdict::Show);
    assert_eq!(take(1, 1), EntryVerdict::Known);
    assert_eq!(take(1, 3), EntryVerdict::Hole);
    assert_eq!(take(1, 2), EntryVerdict::Show);
    assert_eq!(take(2, 1), EntryVerdict::Show);
    assert_eq!(take(1, 3), EntryVerdict::OldTerm);
    // What was promised ends the terms below.
    bench.wait(SILENCE_MS);
    bench.beat(TWO, 1, false);
    assert!(matches!(bench.ask(TWO, 5), AnswerVerdict::Promised(entries) if entries.len() == 3));
    assert_eq!(bench.seat.handle_entry(shown(4, 1)), EntryVerdict::OldTerm);
    assert_eq!(bench.seat.handle_entry(shown(5, 1)), EntryVerdict::Show);
}

#[test]
fn a_node_promises_once_and_never_against_an_owner_that_it_hears() {
    // Too young, or without knowledge of the log.
    let mut bench = Bench::new(&[(ONE, 4)]);
    assert_eq!(bench.ask(TWO, 5), AnswerVerdict::NotReady);
    bench.beat(ONE, 4, true);
    bench.beat(TWO, 4, false);
    bench.read();
    bench.outputs();
    assert_eq!(bench.ask(TWO, 5), AnswerVerdict::Hears(ONE));
    assert_eq!(bench.ask(TWO, 4), AnswerVerdict::OldTerm(Term(4)));
    bench.wait(SILENCE_MS);
    bench.beat(TWO, 4, false);
    assert_eq!(bench.ask(TWO, 5), AnswerVerdict::Promised(vec![]));
    // The same again, since the answer may be lost; nobody else, while the candidate is heard.
    assert_eq!(bench.ask(TWO, 5), AnswerVerdict::Promised(vec![]));
    assert_eq!(bench.ask(ONE, 5), AnswerVerdict::OldTerm(Term(5)));
    assert_eq!(bench.ask(ONE, 6), AnswerVerdict::Hears(TWO));
    // It withdrew: its later heartbeat says that it neither owns nor claims.
    bench.wait(200);
    bench.beat(TWO, 5, false);
    assert_eq!(bench.ask(ONE, 6), AnswerVerdict::Promised(vec![]));
}

#[test]
fn an_owner_promises_nothing_while_a_majority_supports_it() {
    let mut bench = Bench::owner();
    assert_eq!(bench.ask(ONE, 2), AnswerVerdict::Hears(ME));
    bench.wait(1_000);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Frozen);
    assert_eq!(bench.ask(ONE, 2), AnswerVerdict::Promised(vec![]));
}

#[test]
fn a_read_that_is_not_answered_is_asked_again() {
    let mut bench = Bench::new(&[]);
    let read = Output::Read { from: Position(1) };
    assert_eq!(bench.poll(), std::slice::from_ref(&read));
    assert_eq!(bench.poll(), []);
    bench.wait(250);
    assert!(bench.poll().contains(&read));
    bench.read();
    bench.wait(250);
    assert!(!bench.poll().contains(&read));
}
