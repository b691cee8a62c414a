//! Tests of the front: what it remembers, restates and refuses.
//!
//! Why without a stand: each rule shows in what it relays and puts out.

use super::*;
use grandstand_engine::link::{
    Attachment, ConnectionToken, Lineage, PageOf, PersonId, Publication, StateChange, UserId,
};
use grandstand_protocol::frame::{Durability, Phase, Role};

const GIVE_UP_MS: u64 = 10_000;
const WORKER: WorkerId = WorkerId::new(1, 0);

fn from() -> ReplyTo {
    ReplyTo { worker: WORKER, connection: ConnectionToken(7) }
}

fn publication(nonce: u64) -> Input {
    Input::Publish(Box::new(Publication {
        from: from(),
        alias: Alias(1),
        user: UserId(1),
        person: PersonId(1),
        nonce,
        age_ms: 5,
        author: "a".into(),
        role: Role::default(),
        text: "b".into(),
        attachment: "".into(),
        reply_to: None,
        exempt: false,
        is_bridged: false,
    }))
}

/// One of each kind of request.
fn requests() -> [Input; 4] {
    let change = StateChange { from: from(), request: 3, alias: Alias(1), key: "k".into(), value: None };
    let (worker, request, alias) = (WORKER, 4, Alias(1));
    [
        publication(2),
        Input::SetState(Box::new(change)),
        Input::History { worker, request, alias, epoch: 1, from: 0, of: PageOf::Shown },
        Input::Admin { from: from(), request: Box::new(AdminRequest::Counters) },
    ]
}

fn relayed(front: &mut Front) -> Vec<Input> {
    std::iter::from_fn(|| front.next_relay(0)).collect()
}

fn nonce_of(input: &Input) -> Option<u64> {
    match input {
        Input::Publish(publication) => Some(publication.nonce),
        _ => None,
    }
}

/// Of the room with alias 1.
fn attachment() -> Attachment {
    Attachment {
        alias: Alias(1),
        epoch: 2,
        next_seq: 5,
        next_offset: 5,
        time_ms: 2,
        batches: Vec::new(),
        snapshot: None,
        phase: Phase::Open,
        until_ms: 0,
        previous: Lineage::default(),
    }
}

fn outputs(front: &mut Front) -> Vec<Output> {
    std::iter::from_fn(|| front.next_output()).map(|(_, output)| output).collect()
}

#[test]
fn a_request_that_no_owner_answers_is_refused_once_and_says_when_to_retry() {
    for request in requests() {
        let mut front = Front::new(GIVE_UP_MS);
        front.handle_input(100, request);
        front.handle_timeout(100 + GIVE_UP_MS - 1);
        assert_eq!(outputs(&mut front), [], "it still waits");
        assert_eq!(front.due_ms(), Some(100 + GIVE_UP_MS));
        front.handle_timeout(100 + GIVE_UP_MS);
        let told = outputs(&mut front);
        assert!(front.is_idle() && told.len() == 1, "{told:?}");
        let refusal = |output: &Output| match output {
            Output::Answers(answers) => match answers[0].kind {
                AnswerKind::PublishRefused { reason, retry_after_ms, .. }
                | AnswerKind::StateRefused { reason, retry_after_ms, .. } => {
                    assert_eq!(retry_after_ms, Some(RETRY_MS));
                    reason
                }
                other => panic!("{other:?}"),
            },
            Output::History { page, .. } => {
                assert_eq!(page.retry_after_ms, Some(RETRY_MS));
                Refusal::StorageUnavailable
            }
            Output::Admin(reply) => *reply.answer.as_ref().unwrap_err(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refusal(&told[0]), Refusal::StorageUnavailable);
        front.handle_timeout(u64::MAX);
        assert_eq!(outputs(&mut front), [], "once");
    }
}

#[test]
fn what_waits_is_bounded_and_the_next_publication_is_refused_at_once() {
    let mut front = Front::new(GIVE_UP_MS);
    (0..WAITING_MAX as u64).for_each(|nonce| front.handle_input(0, publication(nonce)));
    assert_eq!(outputs(&mut front), []);
    front.handle_input(0, publication(WAITING_MAX as u64));
    let told = outputs(&mut front);
    let [Output::Answers(answers)] = &told[..] else { panic!("{told:?}") };
    let kind = AnswerKind::PublishRefused {
        nonce: WAITING_MAX as u64,
        reason: Refusal::Overloaded,
        retry_after_ms: Some(RETRY_MS),
    };
    assert_eq!(answers[..], [Answer { connection: ConnectionToken(7), kind }]);
    // One that waits already may be repeated.
    front.handle_input(0, publication(0));
    assert_eq!(outputs(&mut front), []);
    assert_eq!(front.waiting.len(), WAITING_MAX);
}

#[test]
fn the_text_that_waits_is_bounded() {
    let mut front = Front::new(GIVE_UP_MS);
    let long = "b".repeat(1 << 20);
    for nonce in 0..17 {
        let mut input = publication(nonce);
        if let Input::Publish(publication) = &mut input {
            publication.text = long.as_str().into();
        }
        front.handle_input(0, input);
    }
    assert_eq!((front.waiting.len(), outputs(&mut front).len()), (15, 2), "15 MB and their authors");
    front.give_up();
    assert_eq!((front.waiting_bytes, front.is_idle()), (0, true));
}

#[test]
fn what_waits_for_an_owner_that_takes_nothing_is_bounded_and_restated() {
    let mut front = Front::new(GIVE_UP_MS);
    let room: Arc<str> = "a".into();
    let attach = |room| Input::Attach { worker: WORKER, room, opener: Opener::NODE };
    front.handle_input(0, attach(room.clone()));
    for _ in 0..=RELAY_MAX {
        front.handle_input(0, Input::Detach { worker: WORKER, alias: Alias(9) });
        front.handle_input(0, attach(room.clone()));
    }
    assert!(front.relay.len() <= RELAY_MAX);
    front.handle_input(0, publication(1));
    let said = relayed(&mut front);
    assert!(matches!(&said[..], [Input::Attach { .. }, Input::Publish(_)]), "{said:?}");
}

#[test]
fn requests_of_a_room_wait_for_its_attachment_and_keep_their_order() {
    let mut front = Front::new(GIVE_UP_MS);
    let room: Arc<str> = "a".into();
    let attached = || Output::Attached { room: room.clone(), result: Ok(Box::new(attachment())) };
    front.handle_input(0, Input::Attach { worker: WORKER, room: room.clone(), opener: Opener::NODE });
    front.handle_output(0, WORKER, attached());
    for nonce in 0..3 {
        front.handle_input(0, publication(nonce));
    }
    front.restate(10);
    let said = relayed(&mut front);
    assert!(matches!(&said[..], [Input::Reattach { alias: Alias(1), .. }]), "{said:?}");
    front.handle_input(11, publication(3));
    assert_eq!(relayed(&mut front), []);
    front.handle_output(12, WORKER, attached());
    let nonces: Vec<u64> = relayed(&mut front).iter().filter_map(nonce_of).collect();
    assert_eq!(nonces, [0, 1, 2, 3]);
    front.handle_output(13, WORKER, attached());
    assert_eq!(relayed(&mut front), [], "once");
}

#[test]
fn a_restated_publication_says_how_long_ago_its_first_attempt_was() {
    let mut front = Front::new(GIVE_UP_MS);
    front.handle_input(100, publication(1));
    relayed(&mut front);
    front.restate(350);
    let again = relayed(&mut front);
    let [Input::Publish(publication)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((publication.nonce, publication.age_ms), (1, 5 + 250));
}

#[test]
fn readers_of_one_page_ask_the_owner_once_and_all_are_answered() {
    let mut front = Front::new(GIVE_UP_MS);
    let page = |worker: u16, request: u64, from: u64| Input::History {
        worker: WorkerId(WORKER.0 + worker),
        request,
        alias: Alias(9),
        epoch: 3,
        from,
        of: PageOf::Shown,
    };
    let readers = [(0, 1), (0, 2), (1, 1), (2, 7)];
    readers.iter().for_each(|(worker, request)| front.handle_input(0, page(*worker, *request, 5)));
    front.handle_input(0, page(0, 8, 6));
    assert_eq!(relayed(&mut front), [page(0, 1, 5), page(0, 8, 6)]);
    // Another owner is asked again, and once.
    front.restate(10);
    assert_eq!(relayed(&mut front), [page(0, 1, 5), page(0, 8, 6)]);
    let told = HistoryPage { same_epoch: true, ..HistoryPage::default() };
    let output = |request| Output::History { request, page: Box::new(told.clone()) };
    front.handle_output(20, WORKER, output(1));
    let mut answered: Vec<_> = std::iter::from_fn(|| front.next_output()).collect();
    answered.sort_by_key(|(worker, output)| (worker.0, format!("{output:?}")));
    let expected = readers.map(|(worker, request)| (WorkerId(WORKER.0 + worker), output(request)));
    assert_eq!(answered, expected);
    // Once, and a reader that comes now asks anew.
    front.handle_output(20, WORKER, output(1));
    assert_eq!(outputs(&mut front), []);
    front.handle_input(30, page(0, 9, 5));
    assert_eq!(relayed(&mut front), [page(0, 9, 5)]);
    // Without the first reader nobody waits for its answer.
    front.handle_timeout(GIVE_UP_MS + 10);
    front.handle_input(GIVE_UP_MS + 10, page(1, 3, 6));
    assert_eq!(relayed(&mut front), [page(1, 3, 6)]);
}

#[test]
fn each_request_is_answered_once_however_often_it_was_said_and_answered() {
    let accepted = |nonce| Answer {
        connection: ConnectionToken(7),
        kind: AnswerKind::Published {
            nonce,
            epoch: 1,
            offset: 9,
            time_ms: 3,
            durability: Durability::Replicated,
            repeated: false,
        },
    };
    let told = |front: &mut Front| -> Vec<Answer> {
        let answers = outputs(front).into_iter().map(|output| match output {
            Output::Answers(answers) => answers,
            other => panic!("{other:?}"),
        });
        answers.flatten().collect()
    };
    for (asked, answered) in [(1, 1), (1, 3), (2, 1), (2, 2), (3, 5)] {
        let mut front = Front::new(GIVE_UP_MS);
        (0..asked).for_each(|_| front.handle_input(0, publication(2)));
        front.restate(10);
        // Several owners, or one that was told it several times.
        (0..answered).for_each(|_| front.handle_output(20, WORKER, Output::Answers(vec![accepted(2)])));
        assert_eq!(told(&mut front), vec![accepted(2); asked], "asked {asked}, answered {answered}");
        assert!(front.is_idle());
        front.handle_timeout(u64::MAX);
        assert_eq!(told(&mut front), []);
    }
    // Refused in time, and answered after all.
    let mut front = Front::new(GIVE_UP_MS);
    (0..2).for_each(|_| front.handle_input(0, publication(2)));
    front.handle_timeout(GIVE_UP_MS);
    front.handle_output(GIVE_UP_MS + 1, WORKER, Output::Answers(vec![accepted(2)]));
    let refused = told(&mut front);
    assert!(refused.len() == 2 && refused.iter().all(|answer| *answer != accepted(2)), "{refused:?}");
    // Another text under the nonce that waits is not answered by the answer to the first.
    let Input::Publish(mut other) = publication(2) else { unreachable!() };
    other.text = "another".into();
    front.handle_input(0, publication(2));
    front.handle_input(0, Input::Publish(other));
    let reason = Refusal::NonceReused;
    let kind = AnswerKind::PublishRefused { nonce: 2, reason, retry_after_ms: None };
    assert_eq!(told(&mut front), [Answer { connection: ConnectionToken(7), kind }]);
}

#[test]
fn where_the_first_reader_of_a_page_waits_no_more_the_next_one_asks() {
    let mut front = Front::new(GIVE_UP_MS);
    let page = |request: u64| Input::History {
        worker: WORKER,
        request,
        alias: Alias(9),
        epoch: 3,
        from: 5,
        of: PageOf::Shown,
    };
    (1..4).for_each(|request| front.handle_input(request, page(request)));
    assert_eq!(relayed(&mut front), [page(1)]);
    for request in 1..3 {
        front.handle_timeout(GIVE_UP_MS + request);
        assert_eq!((outputs(&mut front).len(), relayed(&mut front)), (1, vec![page(request + 1)]));
    }
    let told = Output::History { request: 3, page: Box::new(HistoryPage::default()) };
    front.handle_output(GIVE_UP_MS + 2, WORKER, told.clone());
    assert_eq!(outputs(&mut front), [told]);
}
