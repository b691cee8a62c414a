//! Copies of a cluster's logs: applied, read, restored, and there again after a restart.
//!
//! Why: a node takes a shard over from its copy alone.

mod support;

use grandstand_engine::link::{PreviousEpoch, epoch_after};
use grandstand_engine::log::*;
use grandstand_store::{Found, LogKind, Store, StoreError, backup, decode_entry, encode_entry, verify};
use support::copies::*;
use support::*;

fn removed(room: &str, epoch: u64) -> Entry {
    Entry::Removed { room: room.into(), epoch }
}

fn names(rooms: &[StoredRoom]) -> Vec<&str> {
    rooms.iter().map(|room| &*room.room.room).collect()
}

#[test]
fn an_entry_is_decoded_as_it_was_encoded_and_nothing_else_is() {
    let all =
        [room("a", 5), batch_of("a", 5, 0, 2, Some(state(1, "pinned", Some("hello")))), removed("a", 5)];
    for entry in all {
        let bytes = encode_entry(&entry);
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(length + 4, bytes.len());
        assert_eq!(decode_entry(&bytes), Ok(entry));
        for at in 0..bytes.len() {
            assert!(decode_entry(&bytes.slice(..at)).is_err());
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert!(decode_entry(&flipped.into()).is_err(), "byte {at}");
        }
        assert!(decode_entry(&[&bytes[..], &[0]].concat().into()).is_err());
    }
}

#[test]
fn what_was_applied_is_there_at_once_and_after_a_restart() {
    let mut node = Node::open(2);
    assert_eq!(node.store.opening().found, Found::New);
    assert!(node.copies.iter().all(|copy| copy.head().is_none() && copy.is_sound()));
    let a = [
        LogRecord::of(&[room("a", 5), batch_of("a", 5, 0, 2, Some(state(1, "pinned", Some("hello"))))]),
        LogRecord::of(&[batch_of("a", 5, 2, 0, Some(state(2, "score", Some("1:0"))))]),
        LogRecord::of(&[batch_of("a", 5, 2, 3, Some(state(3, "pinned", None)))]),
    ];
    let b = [LogRecord::of(&[room("b", 6), batch("b", 6, 0)])];
    apply(&mut node.copies[0], &a, 3);
    apply(&mut node.copies[1], &b, 1);
    for round in 0..3 {
        assert_eq!((position(&node.copies[0]), position(&node.copies[1])), (3, 1));
        let [stored] = &rooms(&mut node.copies[0])[..] else { panic!("one room") };
        assert_eq!((stored.room.epoch, stored.next_offset, stored.state_version), (5, 5, 3));
        assert_eq!((stored.oldest_offset, stored.time_ms, stored.nonces.len()), (0, 1_000_030, 5));
        assert_eq!(stored.state, vec![("score".into(), "1:0".into())]);
        assert_eq!(stored.newest.len(), 2);
        assert_eq!(names(&rooms(&mut node.copies[1])), ["b"]);
        assert_eq!(node.page(0, "a", 3), expected("a", 2..5));
        assert_eq!(node.page(1, "b", 0), expected("b", 0..1));
        node.wait_committed();
        node = if round == 0 { node.crash() } else { node.reopen() };
        let found = if round == 0 { Found::Crashed { recovered: 0 } } else { Found::Clean };
        assert_eq!((node.store.opening().found, &node.store.opening().rotten), (found, &vec![]));
    }
    let report = verify::run(&node.dir.data()).unwrap();
    assert_eq!((report.faults, report.rooms, report.messages), (vec![], 2, 6));
    assert_eq!(report.copies, Some(vec![Some(3), Some(1)]));
}

#[test]
fn a_record_at_or_below_the_head_changes_nothing() {
    let mut node = Node::open(1);
    let log = [
        LogRecord::of(&[room("a", 5), batch_of("a", 5, 0, 1, Some(state(1, "pinned", Some("one"))))]),
        LogRecord::of(&[batch_of("a", 5, 1, 0, Some(state(2, "pinned", None))), room("b", 1)]),
        LogRecord::of(&[removed("b", 1)]),
        LogRecord::term(2, false, &[]),
    ];
    apply(&mut node.copies[0], &log, 4);
    let there = rooms(&mut node.copies[0]);
    for (at, record) in log.iter().enumerate() {
        let is_new = match record {
            LogRecord::Entries(entries) => node.copies[0].apply(head(at as u64 + 1), entries),
            LogRecord::Term { term, adopted, .. } => {
                node.copies[0].begin_term(head(at as u64 + 1), *term, false, adopted)
            }
        };
        assert!(!is_new);
        assert_eq!((rooms(&mut node.copies[0]), position(&node.copies[0])), (there.clone(), 4));
    }
}

#[test]
fn after_a_term_without_a_clean_hand_over_every_room_has_the_epoch_that_follows() {
    let mut node = Node::open(1);
    let copy = &mut node.copies[0];
    let log = [
        LogRecord::of(&[room("a", 5), batch("a", 5, 0), room("b", 6), batch("b", 6, 0)]),
        // Adopted entries are of the epochs before, also those of a room that they begin or remove.
        LogRecord::term(2, false, &[batch("a", 5, 1), room("c", 7), batch("c", 7, 0), removed("b", 6)]),
        LogRecord::of(&[
            // Of the epoch before: left out.
            batch("a", 5, 2),
            room("a", 5),
            removed("a", 5),
            batch_of("a", epoch_after(5, 2), 2, 2, None),
            // Not there any more, or never: left out.
            batch("b", epoch_after(6, 2), 1),
            batch("d", 1, 0),
            // A name begins anew under an epoch of its own.
            room("b", 9),
        ]),
        LogRecord::term(3, true, &[]),
        LogRecord::of(&[batch("b", 9, 0)]),
    ];
    apply(copy, &log, 2);
    let there = rooms(copy);
    assert_eq!(names(&there), ["a", "c"]);
    for (stored, (epoch, next_offset)) in there.iter().zip([(5, 2), (7, 1)]) {
        assert_eq!((stored.room.epoch, stored.next_offset), (epoch_after(epoch, 2), next_offset));
        assert_eq!(stored.previous.epochs(), [PreviousEpoch { epoch, next_offset }]);
    }
    apply(copy, &log, 5);
    for _ in 0..2 {
        let there = rooms(&mut node.copies[0]);
        assert_eq!(names(&there), ["a", "b", "c"]);
        assert_eq!((there[0].next_offset, there[1].next_offset, there[2].next_offset), (4, 1, 1));
        assert_eq!((there[1].room.epoch, there[1].previous.epochs().len()), (9, 0));
        assert_eq!(node.page(0, "a", 0), expected("a", 0..4));
        node.wait_committed();
        assert!(node.copies[0].is_sound(), "what is left out is left out everywhere");
        node = node.reopen();
    }
    assert_eq!(verify::run(&node.dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn the_log_of_a_single_node_and_copies_are_never_taken_for_each_other() {
    let node = Node::open(2);
    let dir = node.dir;
    drop(node.copies);
    assert!(node.store.close());
    let kind = |result: Result<_, StoreError>| match result {
        Err(StoreError::OtherKind { found, expected, .. }) => (found, expected),
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(kind(Store::open(dir.config()).map(|_| ())), (LogKind::Copies(2), LogKind::Own));
    let three = Store::open_copies(dir.config(), 3).map(|_| ());
    assert_eq!(kind(three), (LogKind::Copies(2), LogKind::Copies(3)));
    let (store, copies) = Store::open_copies(dir.config(), 2).unwrap();
    assert!(copies.iter().all(|copy| copy.is_sound()));
    drop((copies, store));
    let dir = Dir::new("own");
    assert!(Store::open(dir.config()).unwrap().close());
    let own = Store::open_copies(dir.config(), 1).map(|_| ());
    assert_eq!(kind(own), (LogKind::Own, LogKind::Copies(1)));
}

#[test]
fn a_room_is_in_one_copy() {
    let mut node = Node::open(2);
    apply(&mut node.copies[0], &[LogRecord::of(&[room("a", 5), batch("a", 5, 0)])], 1);
    apply(&mut node.copies[1], &[LogRecord::of(&[room("a", 6), batch("a", 6, 0), room("b", 1)])], 1);
    node.wait_committed();
    let mut node = node.reopen();
    assert_eq!(names(&rooms(&mut node.copies[0])), ["a"]);
    assert_eq!(names(&rooms(&mut node.copies[1])), ["b"]);
}

#[test]
fn an_entry_that_is_not_understood_makes_a_copy_unsound_for_good() {
    let mut node = Node::open(2);
    let mut unknown = encode_entry(&room("a", 5)).to_vec();
    unknown[20] = 99;
    assert!(node.copies[0].apply(head(1), &[unknown.into(), encode_entry(&room("b", 5))]));
    for _ in 0..3 {
        assert_eq!(node.copies.iter().map(|copy| copy.is_sound()).collect::<Vec<_>>(), [false, true]);
        assert_eq!((position(&node.copies[0]), names(&rooms(&mut node.copies[0]))), (1, vec!["b"]));
        node.wait_committed();
        node = node.reopen();
    }
}

#[test]
fn a_backup_of_copies_goes_on_from_its_heads_with_the_epochs_that_it_has() {
    let mut node = Node::open(2);
    let log = [LogRecord::of(&[room("a", 5), batch("a", 5, 0)]), LogRecord::of(&[batch("a", 5, 1)])];
    apply(&mut node.copies[0], &log, 1);
    node.wait_committed();
    let to = node.dir.path().join("backup.db");
    assert_eq!(backup::run(&node.dir.data(), &to).unwrap().messages, 1);
    apply(&mut node.copies[0], &log, 2);
    let there = rooms(&mut node.copies[0]);
    let dir = Dir::new("restored");
    backup::restore(&to, &dir.data(), false).unwrap();
    let config = dir.config();
    let mut node = Node::of(dir, config, 2);
    assert_eq!(node.store.opening().found, Found::Restored);
    assert_eq!(node.copies.iter().map(position).collect::<Vec<_>>(), [1, 0]);
    apply(&mut node.copies[0], &log, 2);
    assert_eq!(rooms(&mut node.copies[0]), there);
}
