//! Tests of the appender: what is gathered, what is refused, and the order of entries in the log.
//!
//! Why a log of its own: it does what a test tells it, one answer at a time.

use proptest::prelude::*;

use super::*;
use crate::flight::Append;
use crate::id::{Incarnation, NodeId};
use crate::record::{Cause, Entries, TermBody, Verdict, decode};

const SHARD: ShardId = ShardId(1);
const TERM: Term = Term(1);

/// A log that does what it is told, and the owner's judgement of it.
struct Log {
    chain: Chain,
    messages: Vec<Bytes>,
    attempts: Attempts,
}

impl Log {
    fn new() -> Self {
        let mut log =
            Log { chain: Chain::new(SHARD), messages: Vec::new(), attempts: Attempts::new(Incarnation(1)) };
        let body = TermBody {
            version: 1,
            owner: NodeId(0),
            incarnation: Incarnation(1),
            cause: Cause::First,
            previous: Term(0),
            adopted: Entries::default(),
        };
        let place = Place { shard: SHARD, term: TERM, position: Position(1), base: 0 };
        log.append(encode(place, &Body::Term(body)).unwrap().bytes);
        log
    }

    fn append(&mut self, bytes: Bytes) -> Position {
        let position = Position(self.messages.len() as u64 + 1);
        self.chain.judge(position, &bytes).unwrap();
        self.messages.push(bytes);
        position
    }

    /// The contents of all valid entries.
    fn contents(&self) -> Vec<u64> {
        let mut chain = Chain::new(SHARD);
        let mut contents = Vec::new();
        for (ix, bytes) in self.messages.iter().enumerate() {
            let verdict = chain.judge(Position(ix as u64 + 1), bytes).unwrap();
            if let Verdict::Valid(record) = verdict
                && let Body::Entries(entries) = record.body
            {
                contents.extend(entries.iter().map(|e| u64::from_le_bytes(e[4..12].try_into().unwrap())));
            }
        }
        contents
    }
}

fn entry(content: u64, bytes: usize) -> Bytes {
    let length = (bytes.max(12) - 4) as u32;
    let mut entry = [&length.to_le_bytes()[..], &content.to_le_bytes()].concat();
    entry.resize(4 + length as usize, 0);
    entry.into()
}

fn appender() -> Appender {
    Appender::new(AppenderConfig::default(), SHARD, TERM)
}

fn sent(appender: &mut Appender, log: &mut Log, now: u64, hurry: bool) -> Option<Append> {
    match appender.poll(OwnTime(now), Some(&log.chain), hurry, &mut log.attempts) {
        None => None,
        Some(FlightAction::Append(append)) => Some(append),
        Some(FlightAction::Read(position)) => panic!("a read of {position}"),
    }
}

fn count(append: &Append) -> u64 {
    let Body::Entries(entries) = decode(&append.bytes).unwrap().body else { panic!("entries") };
    entries.count()
}

#[test]
fn the_first_entry_of_a_quiet_shard_goes_at_once_and_a_busy_one_gathers() {
    let (mut appender, mut log) = (appender(), Log::new());
    assert_eq!(appender.due(false), None);
    assert_eq!(appender.push(OwnTime(1_000), entry(1, 20)), Ok(1));
    assert!(appender.due(false).unwrap() <= OwnTime(1_000));
    let first = sent(&mut appender, &mut log, 1_000, false).unwrap();
    assert_eq!((count(&first), first.expected_last), (1, Position(1)));
    // More comes while it is on its way: nothing goes beside it, however long it takes.
    for content in 2..5 {
        appender.push(OwnTime(1_000), entry(content, 20)).unwrap();
    }
    assert_eq!(sent(&mut appender, &mut log, 1_200, true), None);
    assert_eq!(appender.in_flight_ms(OwnTime(1_200)), Some(200));
    let position = log.append(first.bytes.clone());
    let kept = appender.handle_reply(OwnTime(1_010), first.attempt, Reply::Acknowledged(position));
    assert_eq!(kept, Some(Progress::Kept { position, bytes: first.bytes, through: 1 }));
    assert_eq!(appender.due(false), Some(OwnTime(1_040)));
    assert_eq!(sent(&mut appender, &mut log, 1_039, false), None);
    let second = sent(&mut appender, &mut log, 1_040, false).unwrap();
    assert_eq!((count(&second), second.expected_last), (3, Position(2)));
}

#[test]
fn a_full_record_and_a_hand_over_do_not_wait_for_company() {
    for (bytes, hurry) in [(BODY_BYTES_MAX, false), (20, true)] {
        let (mut appender, mut log) = (appender(), Log::new());
        appender.push(OwnTime(0), entry(1, 20)).unwrap();
        let first = sent(&mut appender, &mut log, 0, false).unwrap();
        let position = log.append(first.bytes);
        appender.handle_reply(OwnTime(1), first.attempt, Reply::Acknowledged(position)).unwrap();
        appender.push(OwnTime(1), entry(2, bytes)).unwrap();
        assert_eq!(appender.due(hurry), Some(OwnTime(0)));
        assert_eq!(count(&sent(&mut appender, &mut log, 1, hurry).unwrap()), 1);
    }
}

#[test]
fn without_a_judgement_of_the_log_no_record_is_begun() {
    let (mut appender, mut log) = (appender(), Log::new());
    appender.push(OwnTime(0), entry(1, 20)).unwrap();
    assert_eq!(appender.poll(OwnTime(0), None, true, &mut log.attempts), None);
    assert!(sent(&mut appender, &mut log, 0, false).is_some());
}

#[test]
fn what_waits_is_bounded_and_refusals_say_when_to_retry() {
    let config = AppenderConfig { unkept_bytes_max: 100, ..AppenderConfig::default() };
    let mut appender = Appender::new(config, SHARD, TERM);
    // Alone, an entry may be longer than the bound.
    appender.push(OwnTime(0), entry(1, 150)).unwrap();
    let full = PushRefusal::Full { retry_after_ms: 80 };
    assert_eq!(appender.push(OwnTime(10), entry(2, 20)), Err(full));
    assert_eq!(appender.may_push(OwnTime(10)), Err(full));
    // A log that keeps nothing for a second elects.
    assert_eq!(appender.may_push(OwnTime(1_000)), Err(PushRefusal::Full { retry_after_ms: 2_000 }));
    let stalled = PushRefusal::Stalled { retry_after_ms: 2_000 };
    assert_eq!(appender.push(OwnTime(10_000), entry(2, 20)), Err(stalled));
    assert_eq!(appender.may_push(OwnTime(10_000)), Err(stalled));
    // What the shard accepted before is taken in each of these cases.
    assert_eq!(appender.push_accepted(OwnTime(10), entry(2, 20)), Ok(2));
    assert_eq!(appender.push_accepted(OwnTime(10_000), entry(3, 20)), Ok(3));
    assert_eq!(appender.unkept_bytes(), 190);
    let two = [entry(1, 20), entry(2, 20)].concat();
    for wrong in [vec![], vec![0; 4], vec![9, 0, 0, 0, 1], two, entry(1, BODY_BYTES_MAX + 1).to_vec()] {
        let wrong = Bytes::from(wrong);
        assert_eq!(appender.push(OwnTime(0), wrong.clone()), Err(PushRefusal::Malformed));
        assert_eq!(appender.push_accepted(OwnTime(0), wrong), Err(PushRefusal::Malformed));
    }
    assert_eq!(full.to_string(), "too much waits for the log: retry in 80 ms");
    assert_eq!(stalled.to_string(), "the log keeps nothing: retry in 2000 ms");
}

#[test]
fn overdue_entries_are_named_once_and_kept_all_the_same() {
    let (mut appender, mut log) = (appender(), Log::new());
    appender.push(OwnTime(0), entry(1, 20)).unwrap();
    appender.push(OwnTime(500), entry(2, 20)).unwrap();
    let append = sent(&mut appender, &mut log, 500, false).unwrap();
    assert_eq!(appender.overdue_at(), Some(OwnTime(10_000)));
    assert_eq!(appender.take_overdue(OwnTime(9_999)), None);
    assert_eq!(appender.take_overdue(OwnTime(10_000)), Some(1));
    assert_eq!(appender.overdue_at(), Some(OwnTime(10_500)));
    assert_eq!(appender.take_overdue(OwnTime(10_000)), None);
    let position = log.append(append.bytes.clone());
    let kept = appender.handle_reply(OwnTime(10_100), append.attempt, Reply::Acknowledged(position));
    assert_eq!(kept, Some(Progress::Kept { position, bytes: append.bytes, through: 2 }));
    assert_eq!((appender.take_overdue(OwnTime(20_000)), appender.overdue_at()), (None, None));
}

#[test]
fn a_record_whose_place_was_taken_goes_behind_what_took_it() {
    let (mut appender, mut log) = (appender(), Log::new());
    appender.push(OwnTime(0), entry(1, 20)).unwrap();
    let first = sent(&mut appender, &mut log, 0, false).unwrap();
    let position = log.append(Bytes::from_static(b"void"));
    let found = log.messages[1].clone();
    assert_eq!(appender.handle_read(OwnTime(1), Position(9), Some(&found)), None);
    let taken = appender.handle_read(OwnTime(1), position, Some(&found));
    assert_eq!(taken, Some(Progress::Taken { position }));
    assert_eq!((appender.kept(), appender.unkept().count()), (0, 1));
    let second = sent(&mut appender, &mut log, 40, false).unwrap();
    assert_eq!((count(&second), second.expected_last), (1, position));
    assert_ne!(second.message_id, first.message_id);
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        bytes: usize,
        accepted: bool,
    },
    Turn {
        ms: u64,
        hurry: bool,
    },
    /// The log takes what is in flight, and says so or not.
    Take {
        says: bool,
    },
    /// Something void takes the next place.
    Void,
    Read,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (12..4_000_usize, any::<bool>()).prop_map(|(bytes, accepted)| Step::Push { bytes, accepted }),
        1 => (BODY_BYTES_MAX / 3..=BODY_BYTES_MAX).prop_map(|bytes| Step::Push { bytes, accepted: false }),
        6 => (0..400_u64, any::<bool>()).prop_map(|(ms, hurry)| Step::Turn { ms, hurry }),
        5 => any::<bool>().prop_map(|says| Step::Take { says }),
        1 => Just(Step::Void),
        2 => Just(Step::Read),
    ]
}

proptest! {
    /// Whatever the log does, entries are in it in their order, once, and what is reported as kept is there.
    #[test]
    fn entries_reach_the_log_once_and_in_order(steps in proptest::collection::vec(any_step(), 1..80)) {
        let config = AppenderConfig { unkept_bytes_max: 1 << 20, ..AppenderConfig::default() };
        let mut appender = Appender::new(config, SHARD, TERM);
        let mut log = Log::new();
        let (mut now, mut pushed, mut kept) = (OwnTime(0), 0_u64, 0_u64);
        let mut on_its_way: Option<Append> = None;
        for step in steps {
            let mut progress = None;
            match step {
                Step::Push { bytes, accepted } => {
                    let may = appender.may_push(now);
                    let entry = entry(pushed + 1, bytes);
                    let index = if accepted {
                        appender.push_accepted(now, entry)
                    } else {
                        appender.push(now, entry)
                    };
                    prop_assert!(may.is_ok() || accepted || index.is_err(), "{:?} and then {:?}", may, index);
                    prop_assert!(!accepted || index.is_ok());
                    if let Ok(index) = index {
                        pushed += 1;
                        prop_assert_eq!(index, pushed);
                    }
                }
                Step::Turn { ms, hurry } => {
                    now = now.plus(ms);
                    let due = appender.due(hurry);
                    let action = appender.poll(now, Some(&log.chain), hurry, &mut log.attempts);
                    prop_assert_eq!(action.is_some(), due.is_some_and(|due| due <= now));
                    if let Some(FlightAction::Append(append)) = action {
                        on_its_way = Some(append);
                    }
                }
                Step::Take { says } => {
                    let Some(append) = on_its_way.clone() else { continue };
                    let is_next = append.expected_last.0 == log.messages.len() as u64;
                    if is_next {
                        log.append(append.bytes);
                    } else if !log.messages.contains(&append.bytes) {
                        progress = appender.handle_reply(now, append.attempt, Reply::WrongLast);
                        prop_assert_eq!(&progress, &None);
                        continue;
                    }
                    if says {
                        let at = Position(append.expected_last.0 + 1);
                        progress = appender.handle_reply(now, append.attempt, Reply::Acknowledged(at));
                    }
                }
                Step::Void => {
                    log.append(Bytes::from_static(b"void"));
                }
                Step::Read => {
                    let Some(position) = appender.in_flight_position() else { continue };
                    let found = log.messages.get(position.0 as usize - 1).cloned();
                    progress = appender.handle_read(now, position, found.as_ref());
                }
            }
            if let Some(progress) = progress {
                on_its_way = None;
                if let Progress::Kept { position, bytes, through } = progress {
                    prop_assert_eq!(&log.messages[position.0 as usize - 1], &bytes);
                    prop_assert!(through > kept);
                    kept = through;
                }
            }
            let contents = log.contents();
            prop_assert_eq!(&contents, &(1..=contents.len() as u64).collect::<Vec<_>>());
            prop_assert!(contents.len() as u64 >= kept, "{} kept, and the log has {}", kept, contents.len());
            prop_assert_eq!(appender.unkept().map(|(index, _)| index).collect::<Vec<_>>(), (kept + 1..=pushed).collect::<Vec<_>>());
            prop_assert_eq!(appender.unkept_bytes(), appender.unkept().map(|(_, entry)| entry.len()).sum::<usize>());
        }
    }
}
