//! Tests of a flight: what proves that a record is kept, and when it is sent again.
//!
//! Why by property: the answers of a log come in any order, late, and from an earlier life.

use grandstand_engine::link::ShardId;
use proptest::prelude::*;

use super::*;
use crate::id::Term;
use crate::record::{Body, Entries, Place, encode};

const LIFE: Incarnation = Incarnation(7);
const AT: Position = Position(9);

fn record(content: u8) -> Encoded {
    let entries = Entries::check(Bytes::from(vec![1, 0, 0, 0, content])).unwrap();
    let place = Place { shard: ShardId(0), term: Term(2), position: AT, base: 3 };
    encode(place, &Body::Entries(entries)).unwrap()
}

fn begun() -> (Flight, Attempts, Append) {
    let mut attempts = Attempts::new(LIFE);
    let mut flight = Flight::begin(OwnTime(100), record(1));
    let Some(FlightAction::Append(append)) = flight.poll(OwnTime(100), &mut attempts) else {
        panic!("it is sent at once")
    };
    (flight, attempts, append)
}

#[test]
fn a_record_is_sent_at_once_and_again_after_each_answer_in_its_time() {
    for (reply, again) in [
        (None, 250),
        (Some(Reply::NoResponders), 20),
        (Some(Reply::InProcess), 50),
        (Some(Reply::Failed), 250),
    ] {
        let (mut flight, mut attempts, first) = begun();
        assert_eq!((first.expected_last, first.bytes.clone()), (AT.before(), record(1).bytes));
        if let Some(reply) = reply {
            assert_eq!(flight.handle_reply(OwnTime(100), first.attempt, reply), None);
        }
        assert_eq!(flight.due(), OwnTime(100 + again), "{reply:?}");
        assert_eq!(flight.poll(OwnTime(99 + again), &mut attempts), None);
        let Some(FlightAction::Append(second)) = flight.poll(OwnTime(100 + again), &mut attempts) else {
            panic!("it is sent again after {reply:?}")
        };
        // Another attempt of the same message: repetitions are dropped by what is equal.
        assert_ne!(second.attempt, first.attempt);
        assert_eq!(Append { attempt: first.attempt, ..second }, first);
    }
}

#[test]
fn a_refusal_is_read_back_before_anything_is_believed() {
    for reply in [Reply::WrongLast, Reply::Acknowledged(Position(8)), Reply::Acknowledged(Position(10))] {
        let (mut flight, mut attempts, first) = begun();
        assert_eq!(flight.handle_reply(OwnTime(101), first.attempt, reply), None, "{reply:?}");
        assert!(flight.due() <= OwnTime(101));
        assert_eq!(flight.poll(OwnTime(101), &mut attempts), Some(FlightAction::Read(AT)));
        // Nothing there yet: it may still be on its way, so it is sent again, soon.
        assert_eq!(flight.handle_read(OwnTime(102), None), None);
        assert_eq!(flight.poll(OwnTime(151), &mut attempts), None);
        assert!(matches!(flight.poll(OwnTime(152), &mut attempts), Some(FlightAction::Append(_))));
    }
}

#[test]
fn only_its_own_bytes_at_its_place_are_the_record() {
    let (mut flight, ..) = begun();
    assert_eq!(flight.handle_read(OwnTime(101), Some(&record(1).bytes)), Some(Outcome::Kept));
    assert_eq!(flight.handle_read(OwnTime(101), Some(&record(2).bytes)), Some(Outcome::Taken));
}

#[test]
fn an_answer_before_the_first_attempt_is_for_another_record() {
    let mut flight = Flight::begin(OwnTime(100), record(1));
    let attempt = Attempt { life: LIFE, number: 1 };
    assert_eq!(flight.handle_reply(OwnTime(100), attempt, Reply::Acknowledged(AT)), None);
}

#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Reply { life: u64, back: u64, reply: Reply },
    Read(Option<u8>),
}

fn any_event() -> impl Strategy<Value = Event> {
    let reply = prop_oneof![
        (8..11_u64).prop_map(|at| Reply::Acknowledged(Position(at))),
        Just(Reply::WrongLast),
        Just(Reply::InProcess),
        Just(Reply::NoResponders),
        Just(Reply::Failed),
    ];
    prop_oneof![
        4 => (0..400_u64).prop_map(Event::Wait),
        4 => (6..9_u64, 0..6_u64, reply).prop_map(|(life, back, reply)| Event::Reply { life, back, reply }),
        1 => proptest::option::of(1..3_u8).prop_map(Event::Read),
    ]
}

proptest! {
    /// A record is kept by an acknowledgement of its position to an attempt of its own, or by its bytes at
    /// its position; taken by other bytes there; by nothing else. And it is due exactly when it says so.
    #[test]
    fn nothing_else_ends_a_flight(events in proptest::collection::vec(any_event(), 1..40), earlier in 0..5_u64) {
        let mut attempts = Attempts::new(LIFE);
        for _ in 0..earlier {
            attempts.next();
        }
        let mut flight = Flight::begin(OwnTime(0), record(1));
        let (mut now, mut sent, mut last) = (OwnTime(0), 0_u64, earlier);
        for event in events {
            let (outcome, expected) = match event {
                Event::Wait(ms) => {
                    now = now.plus(ms);
                    let due = flight.due();
                    let action = flight.poll(now, &mut attempts);
                    prop_assert_eq!(action.is_some(), due <= now);
                    if let Some(FlightAction::Append(append)) = action {
                        (sent, last) = (sent + 1, last + 1);
                        prop_assert_eq!(append.attempt, Attempt { life: LIFE, number: last });
                        prop_assert_eq!(append.message_id, record(1).message_id());
                    }
                    prop_assert!(flight.due() > now);
                    (None, None)
                }
                Event::Reply { life, back, reply } => {
                    let number = (last + 1).saturating_sub(back);
                    let attempt = Attempt { life: Incarnation(life), number };
                    let is_own = sent > 0 && life == LIFE.0 && number > earlier;
                    let proves = is_own && reply == Reply::Acknowledged(AT);
                    (flight.handle_reply(now, attempt, reply), proves.then_some(Outcome::Kept))
                }
                Event::Read(found) => {
                    let bytes = found.map(|content| record(content).bytes);
                    let expected = found.map(|content| if content == 1 { Outcome::Kept } else { Outcome::Taken });
                    (flight.handle_read(now, bytes.as_ref()), expected)
                }
            };
            prop_assert_eq!(outcome, expected);
            if outcome.is_some() {
                break;
            }
        }
    }
}
