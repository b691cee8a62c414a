//! Tests of records and the chain: codecs by property, validity against a second, naive reader.
//!
//! Why a second reader: the chain's rules are few, so they can be written twice and compared on logs that
//! hold every kind of wrong record.

use bytes::Bytes;
use grandstand_engine::link::ShardId;
use proptest::prelude::*;

use super::*;
use crate::id::{Incarnation, NodeId};
use crate::planted;

fn entry(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn entries_of(all: &[Vec<u8>]) -> Entries {
    Entries::check(all.iter().flat_map(|bytes| entry(bytes)).collect::<Vec<u8>>().into()).unwrap()
}

fn any_entries(min: usize) -> impl Strategy<Value = Entries> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), min..6)
        .prop_map(|all| entries_of(&all))
}

fn any_body() -> impl Strategy<Value = Body> {
    let cause = prop_oneof![Just(Cause::First), Just(Cause::Clean), Just(Cause::Claim)];
    let term = (any::<u16>(), any::<u8>(), any::<u64>(), cause, any::<u64>(), any_entries(0)).prop_map(
        |(version, owner, incarnation, cause, previous, adopted)| {
            Body::Term(TermBody {
                version,
                owner: NodeId(owner),
                incarnation: Incarnation(incarnation),
                cause,
                previous: Term(previous),
                adopted,
            })
        },
    );
    let unknown = (3..=u8::MAX, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, bytes)| Body::Unknown { kind, bytes: bytes.into() });
    prop_oneof![any_entries(1).prop_map(Body::Entries), term, unknown]
}

fn any_place() -> impl Strategy<Value = Place> {
    (any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(shard, term, position, base)| Place {
        shard: ShardId(shard),
        term: Term(term),
        position: Position(position),
        base,
    })
}

proptest! {
    #[test]
    fn a_record_is_decoded_as_it_was_encoded(place in any_place(), body in any_body()) {
        let encoded = encode(place, &body).unwrap();
        let record = decode(&encoded.bytes).unwrap();
        prop_assert_eq!(encoded.sum, record.sum);
        prop_assert_eq!((record.place, record.body), (place, body));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes.clone().into());
        // And behind a head that is right, so that the body is reached.
        let place = Place { shard: ShardId(1), term: Term(1), position: Position(1), base: 7 };
        for kind in 1..=2 {
            let raw = encode(place, &Body::Unknown { kind, bytes: bytes.clone().into() }).unwrap();
            if let Ok(record) = decode(&raw.bytes) {
                prop_assert_eq!(encode(record.place, &record.body).unwrap(), raw);
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found(place in any_place(), body in any_body(), at in any::<prop::sample::Index>()) {
        let bytes = encode(place, &body).unwrap().bytes;
        let mut flipped = bytes.to_vec();
        let bit = at.index(bytes.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&flipped.into()).is_err());
        prop_assert!(decode(&bytes.slice(..at.index(bytes.len()))).is_err());
    }

    #[test]
    fn entries_are_whole_and_counted(all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), cut in any::<prop::sample::Index>()) {
        let entries = entries_of(&all);
        prop_assert_eq!(entries.count(), all.len() as u64);
        prop_assert_eq!(entries.iter().collect::<Vec<_>>(), all.iter().map(|e| Bytes::from(entry(e))).collect::<Vec<_>>());
        let mut builder = EntriesBuilder::default();
        for one in entries.iter() {
            prop_assert!(builder.push(&one, usize::MAX).unwrap());
        }
        prop_assert_eq!(&builder.finish(), &entries);
        let cut = entries.bytes().slice(..cut.index(entries.bytes().len() + 1));
        let ends: Vec<usize> = all.iter().scan(0, |end, e| { *end += e.len() + 4; Some(*end) }).collect();
        prop_assert_eq!(Entries::check(cut.clone()).is_ok(), cut.is_empty() || ends.contains(&cut.len()));
    }
}

#[test]
fn a_record_is_at_most_its_bound() {
    let place = Place { shard: ShardId(0), term: Term(1), position: Position(1), base: 0 };
    let of = |bytes: usize| Body::Entries(entries_of(&[vec![7; bytes - 4]]));
    let encoded = encode(place, &of(BODY_BYTES_MAX)).unwrap();
    assert_eq!(encoded.bytes.len(), RECORD_BYTES_MAX);
    assert!(decode(&encoded.bytes).is_ok());
    assert_eq!(encode(place, &of(BODY_BYTES_MAX + 1)), Err(TooLong { bytes: RECORD_BYTES_MAX + 1 }));
    let long = [&encoded.bytes[..], b"x"].concat();
    assert_eq!(decode(&long.into()), Err(RecordFault::Long));
    let adopted = entries_of(&[vec![7; TermBody::ADOPTED_BYTES_MAX - 4]]);
    let body = term_body(1, adopted);
    assert_eq!(encode(place, &body).unwrap().bytes.len(), RECORD_BYTES_MAX);
}

fn term_body(owner: u8, adopted: Entries) -> Body {
    Body::Term(TermBody {
        version: 1,
        owner: NodeId(owner),
        incarnation: Incarnation(0x0102_0304_0506_0708),
        cause: Cause::Claim,
        previous: Term(4),
        adopted,
    })
}

/// Bytes that never change: another release reads them.
#[test]
fn records_are_the_bytes_that_the_vectors_say() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let place =
        |position, base| Place { shard: ShardId(3), term: Term(5), position: Position(position), base };
    let first = encode(place(8, 0), &term_body(2, entries_of(&[b"adopted".to_vec()]))).unwrap();
    let second =
        encode(place(9, first.sum), &Body::Entries(entries_of(&[b"one".to_vec(), b"two".to_vec()]))).unwrap();
    let found = format!("term {}\nentries {}\n", hex(&first.bytes), hex(&second.bytes));
    let vectors = include_str!("vectors.txt");
    let expected: String =
        vectors.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    assert_eq!(found, expected);
    assert!(second.message_id().starts_with("3.5.9."), "{}", second.message_id());
}

#[test]
fn two_claims_of_one_term_at_one_position_have_two_identities() {
    let place = Place { shard: ShardId(0), term: Term(2), position: Position(9), base: 4 };
    let ids =
        || [1, 2].map(|owner| encode(place, &term_body(owner, Entries::default())).unwrap().message_id());
    let [one, two] = ids();
    assert_ne!(one, two);
    planted::plant(Some(planted::Fault::IdWithoutSum));
    let [one, two] = ids();
    planted::plant(None);
    assert_eq!(one, two);
}

/// What somebody appends: a record that is right, or wrong in one way.
#[derive(Clone, Debug)]
enum Append {
    Entries,
    Term { ahead: u64 },
    OldTerm,
    FutureEntries,
    Base(u64),
    Position,
    Shard,
    Flip(usize),
    Again,
}

fn any_append() -> impl Strategy<Value = Append> {
    prop_oneof![
        4 => Just(Append::Entries),
        2 => (0..3_u64).prop_map(|ahead| Append::Term { ahead }),
        1 => Just(Append::OldTerm),
        1 => Just(Append::FutureEntries),
        1 => (1..u64::MAX).prop_map(Append::Base),
        1 => Just(Append::Position),
        1 => Just(Append::Shard),
        1 => (0..400_usize).prop_map(Append::Flip),
        1 => Just(Append::Again),
    ]
}

proptest! {
    #[test]
    fn only_what_continues_the_log_is_valid(appends in proptest::collection::vec(any_append(), 1..60)) {
        let shard = ShardId(3);
        let mut chain = Chain::new(shard);
        // The second reader: the term, the sum, the last bytes.
        let (mut term, mut sum, mut last) = (0_u64, 0_u64, Bytes::new());
        let (mut valid, mut void) = (0, 0);
        for (ix, append) in appends.iter().enumerate() {
            let sequence = Position(ix as u64 + 1);
            let mut place = Place { shard, term: Term(term), position: sequence, base: sum };
            let entries = Body::Entries(entries_of(&[vec![ix as u8; 3]]));
            let mut body = entries.clone();
            let mut is_valid = term > 0;
            match append {
                Append::Entries | Append::Again => {}
                Append::Term { ahead } => {
                    place.term = Term(term + ahead);
                    body = term_body(ix as u8, Entries::default());
                    is_valid = *ahead > 0;
                }
                Append::OldTerm => { place.term = Term(term.saturating_sub(1)); is_valid = false; }
                Append::FutureEntries => { place.term = Term(term + 1); is_valid = false; }
                Append::Base(by) => { place.base ^= by; is_valid = false; }
                Append::Position => { place.position = Position(sequence.0 + 1000); is_valid = false; }
                Append::Shard => { place.shard = ShardId(4); is_valid = false; }
                Append::Flip(_) => is_valid = false,
            }
            // Entries before the first term are of term 0, which never began.
            if term == 0 && matches!(body, Body::Entries(_)) { is_valid = false; }
            let encoded = encode(place, &body).unwrap();
            let mut bytes = encoded.bytes.clone();
            if let Append::Flip(bit) = append {
                let mut flipped = bytes.to_vec();
                let bit = bit % (flipped.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
                bytes = flipped.into();
            }
            if matches!(append, Append::Again) && !last.is_empty() { bytes = last.clone(); is_valid = false; }
            let before = *chain.head();
            prop_assert_eq!(chain.judge(sequence.next(), &bytes), Err(Hole { expected: sequence }));
            let verdict = chain.judge(sequence, &bytes).unwrap();
            prop_assert_eq!(chain.judge(sequence, &bytes), Ok(Verdict::Known));
            if let Verdict::Valid(record) = &verdict {
                prop_assert!(is_valid, "{:?} is valid as {:?}", append, record);
                (term, sum) = (place.term.0, encoded.sum);
                valid += 1;
                prop_assert!(chain.head().term >= before.term);
            } else {
                prop_assert!(!is_valid, "{:?}: {:?}", append, verdict);
                prop_assert_eq!(chain.head(), &before);
                void += 1;
            }
            prop_assert_eq!(chain.head().sum, sum);
            last = bytes;
        }
        prop_assert_eq!(chain.voids().total(), void);
        prop_assert_eq!(valid + void, appends.len() as u64);
    }
}

#[test]
fn an_unknown_kind_stops_the_chain_only_where_it_would_be_valid() {
    let shard = ShardId(0);
    let mut chain = Chain::new(shard);
    let unknown = Body::Unknown { kind: 9, bytes: Bytes::from_static(b"later") };
    let at = |position, base| Place { shard, term: Term(1), position: Position(position), base };
    let begun = encode(at(1, 0), &term_body(0, Entries::default())).unwrap();
    assert!(matches!(chain.judge(Position(1), &begun.bytes), Ok(Verdict::Valid(_))));
    let loose = encode(at(2, 5), &unknown).unwrap();
    assert_eq!(chain.judge(Position(2), &loose.bytes), Ok(Verdict::Void(VoidCause::Base)));
    let fits = encode(at(3, begun.sum), &unknown).unwrap();
    let stop = Ok(Verdict::NotUnderstood { position: Position(3) });
    assert_eq!(chain.judge(Position(3), &fits.bytes), stop);
    assert_eq!(chain.judge(Position(4), &begun.bytes), stop);
    assert_eq!(chain.stopped(), Some(Position(3)));
    assert_eq!(chain.next(), Position(3));
}
