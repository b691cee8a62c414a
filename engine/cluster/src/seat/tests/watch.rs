//! Watching the log: a copy that is behind, a log that forgot, copies that differ.
//!
//! Why by example: each must be told from what happens on good days, when a leader is slow or another node is
//! a moment ahead.

use super::*;
use crate::record::Renewal;

impl Bench {
    fn look(&mut self, first: u64, end: u64, renewed: Option<Renewal>) {
        let ends = (Position(first), Position(end));
        handle_ends(&mut self.seat, self.now, ends, renewed, &self.membership);
    }

    fn trouble(&self) -> Option<Trouble> {
        trouble(&self.seat, self.now, &self.membership)
    }

    /// A peer says that it has valid records up to here.
    fn beat_at(&mut self, node: NodeId, position: u64) {
        let head = self.seat.chain().head();
        let report = ShardReport {
            shard: SHARD,
            term: head.term,
            owns: false,
            claims: false,
            position: Position(position),
            can_own: true,
        };
        let heartbeat = Heartbeat {
            node,
            incarnation: LIFE,
            sent: PeerTime(self.now.0),
            echoes: vec![Echo { node: ME, incarnation: LIFE, sent: PeerTime(self.now.0) }],
            facts: Facts { seed: 1, shards: 1, ticket_key_print: 1 },
            versions: Versions { min: 1, max: 1 },
            reports: vec![report],
            load: 0,
            house: 0,
            about: crate::membership::About::default(),
        };
        self.membership.handle_heartbeat(self.now, &heartbeat).unwrap();
        self.seat.handle_heartbeat(&heartbeat, &self.membership);
    }
}

#[test]
fn a_copy_that_the_log_left_behind_owns_nothing_until_another_took_its_place() {
    let mut bench = Bench::new(&[(ONE, 1)]);
    bench.read();
    bench.look(1, 1, None);
    // What it has not is at the end, and there; or nothing is there, and nothing is missing.
    for (first, end) in [(1, 9), (2, 9), (2, 1)] {
        bench.look(first, end, None);
        assert_eq!(bench.trouble(), None, "{first} to {end}");
    }
    bench.look(5, 9, None);
    let behind = Trouble::Behind { next: Position(2), first: Position(5), renewed: None };
    assert_eq!(bench.trouble(), Some(behind));
    assert!(!bench.seat.report(bench.now).can_own);
    let sum = bench.seat.chain().head().sum;
    // A log that was made anew goes on from another copy.
    let other = Renewal { position: Position(1), sum: sum + 1, first: Position(5) };
    bench.look(5, 9, Some(other));
    assert!(matches!(bench.trouble(), Some(Trouble::Behind { renewed: Some(_), .. })));
    // Or from this one.
    let mine = Renewal { position: Position(1), sum, first: Position(5) };
    bench.look(5, 9, Some(mine));
    assert_eq!((bench.trouble(), bench.seat.chain().next()), (None, Position(5)));
    assert!(bench.seat.report(bench.now).can_own);
    // It was trimmed since: the same head is not enough any more.
    bench.look(20, 29, Some(mine));
    assert!(matches!(bench.trouble(), Some(Trouble::Behind { .. })));
    let head = ChainHead { position: Position(24), sum: 7, ..*bench.seat.chain().head() };
    assert!(resume(&mut bench.seat, bench.now, head));
    assert_eq!((bench.trouble(), bench.seat.chain().next()), (None, Position(25)));
}

#[test]
fn a_log_that_ends_too_early_is_believed_after_a_while_and_nobody_claims_or_promises_meanwhile() {
    let mut bench = Bench::owner();
    let end = bench.seat.chain().head().position.0;
    let from = bench.now;
    while bench.now < from.plus(FORGOTTEN_AFTER_MS) {
        bench.beat_both(1);
        bench.look(1, end - 1, None);
        bench.poll();
        assert_eq!((bench.trouble(), bench.seat.phase()), (None, Phase::Owning), "an old leader answers");
        bench.wait(HEARTBEAT_MS);
    }
    bench.beat_both(1);
    bench.look(1, end - 1, None);
    let forgotten = Trouble::Forgotten { end: Position(end - 1), known: Position(end) };
    assert_eq!(bench.trouble(), Some(forgotten));
    assert_eq!(stops(&bench.outputs()), [(Term(1), StopCause::Forgotten)]);
    assert!(!bench.seat.report(bench.now).can_own);
    bench.wait(SILENCE_MS);
    bench.beat_both(1);
    bench.poll();
    assert_eq!((bench.seat.phase(), bench.ask(TWO, 5)), (Phase::Orphan, AnswerVerdict::NotReady));
    // The servers have it again.
    bench.look(1, end, None);
    assert_eq!(bench.trouble(), None);
    assert!(matches!(bench.ask(TWO, 5), AnswerVerdict::Promised(_)));
}

#[test]
fn what_another_node_has_is_known_too_and_a_claim_waits_for_it() {
    // This node's copy is older, and what the log lost it never had.
    let mut bench = Bench::new(&[(ONE, 1)]);
    bench.beat_at(ONE, 7);
    bench.beat_at(TWO, 3);
    bench.look(1, 1, None);
    bench.read();
    bench.wait(SILENCE_MS);
    for _ in 0..10 {
        bench.beat_at(ONE, 7);
        bench.beat_at(TWO, 3);
        bench.look(1, 1, None);
        bench.read();
        bench.poll();
        if bench.seat.phase() == Phase::Claiming {
            break;
        }
        bench.wait(HEARTBEAT_MS);
    }
    assert_eq!(bench.seat.phase(), Phase::Claiming);
    bench.promise(ONE, 2, Vec::new());
    bench.poll();
    bench.look(1, 1, None);
    bench.read();
    let outputs = bench.poll();
    let appends = |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Append(_)));
    assert!(!appends(&outputs), "a term at the place of lost records: {outputs:?}");
    // A reader of the log is a moment behind the heartbeats, and then the claim goes on.
    bench.beat_at(ONE, 1);
    bench.beat_at(TWO, 1);
    bench.look(1, 1, None);
    bench.wait(HEARTBEAT_MS);
    bench.poll();
    bench.read();
    assert!(appends(&bench.poll()));
}

#[test]
fn copies_that_differ_are_noticed_at_the_node_that_cannot_follow() {
    let mut bench = Bench::new(&[(ONE, 1)]);
    bench.read();
    // A record that does not follow what this node has.
    bench.log.push(Bytes::from_static(b"of another chain"));
    bench.beat_at(ONE, 1);
    bench.read();
    bench.look(1, 2, None);
    assert_eq!(bench.trouble(), None, "void for all");
    bench.beat_at(TWO, 3);
    assert_eq!(bench.trouble(), None, "not read yet");
    bench.beat_at(TWO, 2);
    let differs = Trouble::Differs { node: TWO, position: Position(2) };
    assert_eq!(bench.trouble(), Some(differs));
}
