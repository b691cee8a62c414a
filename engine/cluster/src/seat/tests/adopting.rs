//! Adoption: what living nodes saw of the last term becomes part of the log, however much it is.
//!
//! Why by property: an owner that lives still appends what a claim adopts, and either record may come first.
//! Not here: what a copy makes of it (`stand`).

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::record::{BODY_BYTES_MAX, RECORD_BYTES_MAX, Verdict};

fn sized(index: usize, bytes: usize) -> Bytes {
    let content = [&(index as u32).to_le_bytes()[..], &vec![7; bytes]].concat();
    [&(content.len() as u32).to_le_bytes()[..], &content].concat().into()
}

/// Each entry of the valid records, with its term, and the terms that began, in the order of the log.
fn read(log: &[Bytes]) -> (Vec<(Term, Bytes)>, Vec<Term>) {
    let (mut chain, mut entries, mut terms) = (Chain::new(SHARD), Vec::new(), Vec::new());
    for (ix, bytes) in log.iter().enumerate() {
        assert!(bytes.len() <= RECORD_BYTES_MAX);
        let verdict = chain.judge(Position(ix as u64 + 1), bytes).unwrap();
        let Verdict::Valid(record) = verdict else { continue };
        let before = terms.last().copied().unwrap_or(Term(0));
        match record.body {
            Body::Entries(of) => entries.extend(of.iter().map(|entry| (record.place.term, entry))),
            Body::Term(body) => {
                entries.extend(body.adopted.iter().map(|entry| (before, entry)));
                terms.push(record.place.term);
            }
            Body::Unknown { .. } => panic!("nobody writes that"),
        }
    }
    (entries, terms)
}

/// An owner whose machine was cut off, and its node in another life, which claims the shard and has seen all.
fn old_and_new(entries: &[Bytes]) -> (Bench, Bench) {
    let mut old = Bench::owner();
    let mut new = Bench::in_life(Incarnation(2), &[]);
    new.log = old.log.clone();
    new.seat.handle_restated(Term(1), 1);
    for bytes in entries {
        let (term, index) = old.seat.push_accepted(old.now, bytes.clone()).unwrap();
        let shown = ShownEntry { term, index, bytes: bytes.clone() };
        assert_eq!(new.seat.handle_entry(shown), EntryVerdict::Show);
    }
    new.beat_both(1);
    new.poll();
    new.read();
    for ms in [SILENCE_MS, 20] {
        new.wait(ms);
        new.beat_both(1);
        new.poll();
    }
    new.promise(ONE, 2, Vec::new());
    new.poll();
    new.read();
    (old, new)
}

/// The old owner looks, and its next record may be the first.
fn let_old_append(old: &mut Bench, new: &mut Bench) {
    old.wait(40);
    for output in old.poll() {
        if let Output::Append(append) = output
            && append.expected_last.0 == old.log.len() as u64
        {
            old.acknowledge(&append);
            new.log = old.log.clone();
        }
    }
}

/// The candidate's turn. Returns how many records of it came first.
fn let_new_append(new: &mut Bench) -> usize {
    let mut records = 0;
    new.wait(250);
    new.beat_both(1);
    for output in new.poll() {
        match output {
            Output::Append(append) if append.expected_last.0 == new.log.len() as u64 => {
                new.acknowledge(&append);
                records += 1;
            }
            Output::Append(append) => {
                new.seat.handle_reply(new.now, append.attempt, Reply::WrongLast, &new.membership);
            }
            Output::Read { .. } => new.read(),
            _ => {}
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn all_that_was_shown_is_in_the_log_once_before_the_next_term(
        sizes in vec(prop_oneof![1..200_usize, 20_000..120_000_usize, Just(BODY_BYTES_MAX - 8)], 1..60),
        old_first in vec(any::<bool>(), 40),
        old_reads in any::<bool>(),
        ends in proptest::option::of(0..5_usize),
    ) {
        let entries: Vec<Bytes> = sizes.iter().enumerate().map(|(at, bytes)| sized(at, *bytes)).collect();
        let (mut old, mut new) = old_and_new(&entries);
        let (mut turns, mut records) = (old_first.iter(), 0);
        while new.seat.phase() == Phase::Claiming && ends != Some(records) {
            old.log = new.log.clone();
            if old_reads { old.read(); }
            if *turns.next().unwrap_or(&false) { let_old_append(&mut old, &mut new); }
            records += let_new_append(&mut new);
        }
        let (found, terms) = read(&new.log);
        let of_first: Vec<Bytes> =
            found.iter().filter(|(term, _)| *term == Term(1)).map(|(_, bytes)| bytes.clone()).collect();
        // Also after a claim that ended in between there is no gap, and nothing is there twice.
        prop_assert!(entries.starts_with(&of_first));
        prop_assert_eq!(found.len(), of_first.len());
        if terms.last() == Some(&Term(2)) {
            prop_assert_eq!(new.seat.phase(), Phase::Owning);
            prop_assert_eq!(of_first, entries);
            // The owner that is replaced finds out, and appends nothing more.
            old.log = new.log.clone();
            old.seat.handle_announce(Position(old.log.len() as u64));
            old.read();
            prop_assert!(!matches!(old.seat.phase(), Phase::Owning | Phase::Frozen));
        } else {
            prop_assert!(ends.is_some());
        }
    }
}

#[test]
fn an_owner_that_finds_entries_of_its_term_that_it_has_not_appended_stops() {
    let mut bench = Bench::owner();
    bench.seat.push(bench.now, entry(1)).unwrap();
    bench.seat.push(bench.now, entry(2)).unwrap();
    let append = bench.appended();
    // A candidate adopts both, in one record with a third.
    let mut adopted = EntriesBuilder::default();
    for content in 1..=3 {
        adopted.push(&entry(content), 100).unwrap();
    }
    bench.write(Term(1), &Body::Entries(adopted.finish()));
    bench.seat.handle_reply(bench.now, append.attempt, Reply::WrongLast, &bench.membership);
    assert_eq!(bench.poll(), [Output::Read { from: Position(2) }]);
    bench.read();
    assert_eq!(stops(&bench.outputs()), [(Term(1), StopCause::Replaced)]);
    bench.beat_both(1);
    let outputs = bench.poll();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Append(_))), "{outputs:?}");
}
