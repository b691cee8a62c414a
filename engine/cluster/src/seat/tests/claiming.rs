//! Claims: from a missed owner to a term of this node, and what ends a claim.
//!
//! Not here: which of two claims succeeds when both are right (the simulation).

use super::*;

#[test]
fn the_first_owner_asks_reads_writes_its_term_and_then_owns() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.seat.phase(), Phase::Following);
    // Nothing is claimed before the log was read to its end.
    bench.beat_both(0);
    assert_eq!(bench.poll(), [Output::Read { from: Position(1) }]);
    assert_eq!(bench.seat.phase(), Phase::Orphan);
    bench.read();
    let asks = bench.poll();
    let ask = Ask { candidate: ME, incarnation: LIFE, term: Term(1), sent: PeerTime(2_000) };
    assert_eq!((asks, bench.seat.phase()), (vec![Output::AskAll(ask)], Phase::Claiming));
    // It asks again until a majority answered, and then reads the end.
    bench.wait(50);
    assert_eq!(bench.poll(), [Output::AskAll(Ask { sent: PeerTime(2_050), ..ask })]);
    bench.promise(TWO, 1, Vec::new());
    assert_eq!(bench.poll(), [Output::Read { from: Position(1) }]);
    bench.read();
    let append = bench.appended();
    assert_eq!(append.expected_last, Position(0));
    assert!(bench.seat.report(bench.now).claims && !bench.seat.report(bench.now).owns);
    bench.acknowledge(&append);
    let record = decode(&append.bytes).unwrap();
    let Body::Term(body) = &record.body else { panic!("a term") };
    assert_eq!((body.owner, body.cause, record.place.term), (ME, Cause::First, Term(1)));
    let head = *bench.seat.chain().head();
    assert_eq!(
        bench.outputs(),
        [
            Output::Apply(record, head),
            Output::Announce { term: Term(1), position: Position(1) },
            Output::Own { term: Term(1) },
        ]
    );
    assert_eq!(bench.seat.acts_under(bench.now), Some(Term(1)));
}

#[test]
fn an_owner_that_is_heard_is_followed_and_one_that_is_gone_is_replaced() {
    let mut bench = Bench::new(&[(ONE, 4)]);
    bench.beat(ONE, 4, true);
    bench.read();
    bench.wait(SILENCE_MS - 1);
    bench.beat(TWO, 4, false);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Following);
    assert_eq!(bench.seat.due(bench.now, &bench.membership), bench.now.plus(1));
    bench.wait(1);
    bench.poll();
    // Node 2 lives too, and is behind this one in rank, or before it.
    bench.wait(200);
    bench.beat(TWO, 4, false);
    let asks = bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Claiming, "{asks:?}");
    // The owner was only slow: it says that it does not know better, and the claim goes on to the log.
    bench.promise(TWO, 5, Vec::new());
    bench.poll();
    bench.read();
    let append = bench.appended();
    bench.acknowledge(&append);
    assert_eq!(bench.seat.acts_under(bench.now), Some(Term(5)));
}

#[test]
fn an_owner_whose_process_ended_is_replaced_without_waiting_for_silence() {
    let mut bench = Bench::new(&[(ONE, 4)]);
    bench.beat(ONE, 4, true);
    bench.beat(TWO, 4, false);
    bench.read();
    bench.membership.handle_no_responders(bench.now, ONE);
    bench.wait(250);
    bench.beat(TWO, 4, false);
    bench.membership.handle_no_responders(bench.now, ONE);
    bench.poll();
    bench.wait(200);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Claiming);
}

#[test]
fn a_claim_without_a_majority_is_given_up_and_begun_again() {
    let mut bench = Bench::new(&[]);
    bench.beat_both(0);
    bench.read();
    bench.poll();
    for _ in 0..9 {
        bench.wait(50);
        bench.beat_both(0);
        assert!(matches!(bench.poll()[..], [Output::AskAll(_)]));
    }
    bench.wait(50);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Orphan);
    bench.wait(200);
    bench.beat_both(0);
    bench.poll();
    assert_eq!((bench.seat.phase(), bench.seat.report(bench.now).term), (Phase::Claiming, Term(2)));
}

#[test]
fn a_claim_that_somebody_knows_better_is_given_up_for_a_higher_term() {
    let mut bench = Bench::new(&[]);
    bench.beat_both(0);
    bench.read();
    bench.poll();
    let answer = |verdict| Answer { from: ONE, term: Term(1), asked: PeerTime(2_000), verdict };
    // That another is heard, or that a node is too young, is no promise and no end.
    bench.seat.handle_answer(answer(AnswerVerdict::Hears(TWO)));
    bench.seat.handle_answer(answer(AnswerVerdict::NotReady));
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Claiming);
    bench.seat.handle_answer(answer(AnswerVerdict::OldTerm(Term(7))));
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Orphan);
    bench.wait(20);
    bench.poll();
    assert_eq!(bench.seat.report(bench.now).term, Term(8));
}

#[test]
fn a_node_whose_claims_came_to_nothing_follows_the_owner_that_others_support() {
    let mut bench = Bench::new(&[(ONE, 4)]);
    bench.beat(TWO, 4, false);
    bench.read();
    bench.wait(SILENCE_MS);
    // Cut off from the owner alone, it claims again and again, and the other node hears the owner.
    for _ in 0..60 {
        bench.wait(50);
        bench.beat(TWO, 4, false);
        bench.poll();
    }
    assert!(bench.seat.promises.term() > Term(6), "it promised itself several terms");
    bench.beat(ONE, 4, true);
    bench.wait(1_000);
    bench.beat(TWO, 4, false);
    bench.beat(ONE, 4, true);
    bench.poll();
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Following);
    assert_eq!(bench.seat.report(bench.now).term, Term(4), "it supports the owner again");
    bench.seat.handle_restated(Term(4), 1);
    assert_eq!(bench.seat.handle_entry(shown(4, 1)), EntryVerdict::Show);
    // Its next claim asks for a term that nobody was asked for before.
    let before = bench.seat.promises.term();
    bench.wait(SILENCE_MS);
    for _ in 0..8 {
        bench.wait(50);
        bench.beat(TWO, 4, false);
        bench.poll();
    }
    assert_eq!((bench.seat.phase(), bench.seat.promises.term()), (Phase::Claiming, before.next()));
    assert_eq!(bench.seat.handle_entry(shown(4, 2)), EntryVerdict::OldTerm, "while it claims");
}

#[test]
fn a_promise_to_a_node_that_withdrew_binds_nobody() {
    let mut bench = Bench::new(&[(ONE, 4)]);
    bench.beat(TWO, 4, false);
    bench.read();
    bench.wait(SILENCE_MS);
    bench.beat(TWO, 4, false);
    let ask = Ask { candidate: TWO, incarnation: LIFE, term: Term(5), sent: PeerTime(bench.now.0) };
    bench.seat.handle_ask(bench.now, &ask, &bench.membership);
    bench.poll();
    assert_eq!(bench.seat.floor(), Term(5));
    bench.seat.handle_restated(Term(4), 1);
    assert_eq!(bench.seat.handle_entry(shown(4, 1)), EntryVerdict::OldTerm);
    bench.wait(1);
    bench.beat(TWO, 4, false);
    bench.beat(ONE, 4, true);
    bench.poll();
    assert_eq!(bench.seat.floor(), Term(4));
    bench.seat.handle_restated(Term(4), 1);
    assert_eq!(bench.seat.handle_entry(shown(4, 1)), EntryVerdict::Show);
    // Asked for the same term once more, it promises once more.
    bench.wait(SILENCE_MS);
    let again = Ask { sent: PeerTime(bench.now.0), ..ask };
    bench.seat.handle_ask(bench.now, &again, &bench.membership);
    assert_eq!(bench.seat.floor(), Term(5));
}

#[test]
fn a_claim_that_the_log_does_not_take_is_left_to_others() {
    let mut bench = Bench::new(&[]);
    bench.beat_both(0);
    bench.read();
    bench.poll();
    bench.promise(ONE, 1, Vec::new());
    bench.poll();
    bench.read();
    bench.appended();
    bench.wait(12_000);
    bench.beat_both(1);
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Orphan);
    // For five seconds it is no candidate.
    for (ms, can_own) in [(0, false), (4_999, false), (1, true)] {
        bench.wait(ms);
        assert_eq!(bench.seat.report(bench.now).can_own, can_own);
    }
}

#[test]
fn a_claim_that_came_second_follows_the_one_that_came_first() {
    let mut bench = Bench::new(&[]);
    bench.beat_both(0);
    bench.read();
    bench.poll();
    bench.promise(ONE, 1, Vec::new());
    bench.poll();
    bench.read();
    let append = bench.appended();
    bench.write_term(TWO, 1);
    bench.seat.handle_reply(bench.now, append.attempt, Reply::WrongLast, &bench.membership);
    assert_eq!(bench.poll(), [Output::Read { from: Position(1) }]);
    bench.beat(TWO, 1, true);
    bench.read();
    bench.poll();
    assert_eq!(bench.seat.phase(), Phase::Following);
    assert_eq!(bench.seat.chain().head().owner, Some((TWO, LIFE)));
}

#[test]
fn a_node_that_drains_or_has_no_sound_copy_claims_nothing() {
    for change in [|seat: &mut Seat| seat.set_able(false), |seat: &mut Seat| seat.set_draining(true)] {
        let mut bench = Bench::new(&[]);
        change(&mut bench.seat);
        bench.beat_both(0);
        bench.read();
        for _ in 0..20 {
            bench.wait(100);
            bench.beat_both(0);
            bench.poll();
        }
        assert_eq!((bench.seat.phase(), bench.seat.report(bench.now).can_own), (Phase::Orphan, false));
        bench.seat.set_able(true);
        bench.seat.set_draining(false);
        bench.wait(100);
        bench.beat_both(0);
        bench.poll();
        assert_eq!(bench.seat.phase(), Phase::Claiming);
    }
}

#[test]
fn the_adopted_entries_of_a_claim_continue_the_log_without_a_gap() {
    let mut bench = Bench::new(&[(ONE, 1)]);
    let mut kept = EntriesBuilder::default();
    kept.push(&entry(1), 100).unwrap();
    bench.write(Term(1), &Body::Entries(kept.finish()));
    bench.beat(TWO, 1, false);
    bench.read();
    // It saw the second; node 2 saw the third, and a fifth without the fourth.
    bench.seat.handle_restated(Term(1), 2);
    assert_eq!(bench.seat.handle_entry(shown(1, 2)), EntryVerdict::Show);
    bench.wait(SILENCE_MS);
    for _ in 0..2 {
        bench.wait(200);
        bench.beat(TWO, 1, false);
        bench.poll();
    }
    bench.promise(TWO, 2, vec![shown(1, 3), shown(1, 5)]);
    bench.poll();
    bench.read();
    let record = decode(&bench.appended().bytes).unwrap();
    let Body::Term(body) = record.body else { panic!("a term") };
    assert_eq!((body.previous, body.cause), (Term(1), Cause::Claim));
    assert_eq!(body.adopted.iter().collect::<Vec<_>>(), [entry(2), entry(3)]);
}

#[test]
fn a_promise_does_not_bind_to_an_owner_of_a_lower_term() {
    let mut bench = promised_six();
    bench.wait(1);
    bench.beat(TWO, 5, true);
    bench.beat(ONE, 4, true);
    bench.poll();
    follows_term_four(&mut bench);
}

#[test]
fn a_promise_to_a_life_that_is_over_binds_until_the_log_goes_on_or_nothing_of_it_can_come() {
    let next_life = Incarnation(LIFE.0 + 1);
    for owns in [false, true] {
        let mut bench = promised_six();
        let heard = |bench: &mut Bench| {
            bench.beat_of_life(TWO, next_life, 5, owns);
            bench.beat(ONE, 4, true);
            bench.poll();
        };
        for _ in 0..14 {
            bench.wait(1_000);
            heard(&mut bench);
            assert_eq!(bench.seat.floor(), Term(6), "its term record may still come");
        }
        bench.wait(2_000);
        heard(&mut bench);
        follows_term_four(&mut bench);

        let mut bench = promised_six();
        bench.wait(1);
        heard(&mut bench);
        assert_eq!(bench.seat.floor(), Term(6));
        let mut kept = EntriesBuilder::default();
        kept.push(&entry(1), 100).unwrap();
        bench.write(Term(4), &Body::Entries(kept.finish()));
        bench.read();
        heard(&mut bench);
        follows_term_four(&mut bench);
    }
}

/// A node that promised the sixth term of a shard that ONE owns under the fourth.
fn promised_six() -> Bench {
    let mut bench = Bench::new(&[(ONE, 4)]);
    bench.beat(TWO, 4, false);
    bench.read();
    bench.wait(SILENCE_MS);
    bench.beat(TWO, 4, false);
    let ask = Ask { candidate: TWO, incarnation: LIFE, term: Term(6), sent: PeerTime(bench.now.0) };
    bench.seat.handle_ask(bench.now, &ask, &bench.membership);
    bench.poll();
    assert_eq!(bench.seat.floor(), Term(6));
    bench
}

fn follows_term_four(bench: &mut Bench) {
    assert_eq!(bench.seat.floor(), Term(4));
    bench.seat.handle_restated(Term(4), 1);
    assert_eq!(bench.seat.handle_entry(shown(4, 1)), EntryVerdict::Show);
}
