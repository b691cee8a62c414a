//! Tests of moderation: what holds a person in a room, and what modes refuse.
//!
//! Why over restarts: what a restart or another owner forgets holds nobody.
//! Not here: which messages are removed (`removals`).

mod support;

use grandstand_engine::ShardConfig;
use grandstand_engine::link::*;
use grandstand_model::Clock;
use grandstand_protocol::frame::{ActKind, Category, NoticeKind};
use grandstand_protocol::refusal::Refusal;
use support::*;

/// What one step gave.
#[derive(Default)]
struct Given {
    answers: Vec<AnswerKind>,
    notices: Vec<(WorkerId, RoomNotice)>,
    batches: usize,
    personals: usize,
    texts: String,
}

fn given(stage: &mut Stage) -> Given {
    let mut given = Given::default();
    for (worker, output) in stage.outputs() {
        match output {
            Output::Answers(answers) => given.answers.extend(answers.iter().map(|answer| answer.kind)),
            Output::Notices(notices) => given.notices.extend(notices.into_iter().map(|n| (worker, n))),
            Output::Batch { batch, .. } => {
                given.batches += 1;
                given.texts += &String::from_utf8_lossy(&batch.wire);
            }
            Output::Personals(personals) => given.personals += personals.len(),
            Output::History { page, .. } => {
                for batch in &page.batches {
                    given.texts += &String::from_utf8_lossy(&batch.wire);
                }
            }
            _ => {}
        }
    }
    given
}

fn do_act(stage: &mut Stage, request: ActRequest) -> Given {
    stage.input(Input::Act(Box::new(request)));
    stage.pass_ms(300);
    given(stage)
}

fn outcome(
    stage: &mut Stage,
    user: u64,
    person: u64,
    nonce: u64,
    text: &str,
    alias: Alias,
) -> Result<(), Refusal> {
    let mut p = publication(alias, 0, user, nonce, text);
    p.person = PersonId(person);
    stage.input(Input::Publish(p));
    stage.pass_ms(300);
    match given(stage).answers[..] {
        [AnswerKind::Published { .. }] => Ok(()),
        [AnswerKind::PublishRefused { reason, .. }] => Err(reason),
        ref other => panic!("{other:?}"),
    }
}

/// The next owner of the same rooms, in another process.
fn hand_over(mut stage: Stage, begin: impl Fn(Clock) -> Stage) -> (Stage, Alias) {
    let now = stage.now();
    stage.shard.handle_handing(now);
    stage.outputs();
    let (rooms, clock) = (stage.shard.hand_rooms(now), stage.clock);
    let mut next = begin(clock);
    grandstand_engine::take_rooms(&mut next.shard, clock.now(), 0, rooms);
    let alias = next.attach(0, "show").unwrap().alias;
    (next, alias)
}

#[test]
fn a_timeout_holds_a_person_wherever_they_come_from_and_over_every_restart() {
    for on_disk in [true, false] {
        let disk = Disk::prompt();
        let begin = |clock| {
            let mut stage = if on_disk { Stage::at(&disk, fixed(), clock) } else { Stage::new(fixed()) };
            stage.clock = clock;
            stage
        };
        let mut stage = begin(Clock::start());
        let mut alias = stage.attach(0, "show").unwrap().alias;
        assert_eq!(outcome(&mut stage, 1, 70, 1, "rude", alias), Ok(()));
        let request = ActRequest { seconds: 60, ..act(alias, 1, ActKind::Timeout, Some(0)) };
        let given = do_act(&mut stage, request);
        assert!(matches!(given.answers[..], [AnswerKind::Acted { request: 1, offset: None, count: 1, .. }]));
        assert_eq!(given.batches, 0, "viewers are sent nothing");
        let told: Vec<Recipient> = given.notices.iter().map(|(_, notice)| notice.to).collect();
        assert_eq!(told, [1, 70].map(|number| Recipient::Person(PersonId(number))));
        for restarts in 0..3 {
            assert_eq!(outcome(&mut stage, 1, 70, 2, "again", alias), Err(Refusal::TimedOut), "{restarts}");
            assert_eq!(
                outcome(&mut stage, 9, 70, 2, "anew", alias),
                Err(Refusal::TimedOut),
                "the same place"
            );
            assert_eq!(
                outcome(&mut stage, 1, 71, 2, "moved", alias),
                Err(Refusal::TimedOut),
                "the same user"
            );
            assert_eq!(outcome(&mut stage, 2, 72, 5 + restarts, "nice", alias), Ok(()));
            (stage, alias) = hand_over(stage, begin);
        }
        stage.pass_ms(60_000);
        assert_eq!(outcome(&mut stage, 1, 70, 3, "sorry", alias), Ok(()));
    }
}

#[test]
fn a_ban_is_told_to_every_worker_that_follows_now_or_later_until_it_is_lifted() {
    let (mut stage, alias, _) = followed(fixed());
    assert_eq!(outcome(&mut stage, 1, 70, 1, "spam", alias), Ok(()));
    let given = do_act(&mut stage, act(alias, 1, ActKind::Ban, Some(0)));
    let is_banned =
        |(_, notice): &(WorkerId, RoomNotice)| notice.notice == NoticeKind::Banned && notice.until_ms == 0;
    assert_eq!(given.notices.iter().filter(|told| is_banned(told)).count(), 2);
    assert_eq!(outcome(&mut stage, 2, 70, 1, "spam", alias), Err(Refusal::Banned));
    stage.input(Input::Attach { worker: WorkerId(3), room: "show".into(), opener: Opener::NODE });
    let later = support_given(&mut stage);
    assert_eq!(later.iter().filter(|told| is_banned(told) && told.0 == WorkerId(3)).count(), 2);
    let given = do_act(&mut stage, act(alias, 2, ActKind::Lift, Some(0)));
    assert!(given.notices.iter().all(|(_, notice)| notice.notice == NoticeKind::Lifted));
    assert_eq!(outcome(&mut stage, 1, 70, 2, "back", alias), Ok(()));
}

fn support_given(stage: &mut Stage) -> Vec<(WorkerId, RoomNotice)> {
    given(stage).notices
}

#[test]
fn an_operator_sees_who_is_held_and_lifts_it_when_the_message_is_gone() {
    let (mut stage, alias, _) = followed_durably(fixed());
    assert_eq!(outcome(&mut stage, 1, 1, 1, "spam", alias), Ok(()));
    do_act(&mut stage, act(alias, 1, ActKind::Ban, Some(0)));
    let list = |stage: &mut Stage| match stage.admin(AdminRequest::Moderation { room: "show".into() }) {
        Ok(AdminAnswer::Moderation(list)) => list,
        other => panic!("{other:?}"),
    };
    let held = list(&mut stage).held;
    assert_eq!((held.len(), held[0].person, held[0].ban_ms), (1, PersonId(1), Some(0)));
    stage.room(AdminRequest::Lift { room: "show".into(), person: PersonId(1) });
    assert!(list(&mut stage).held.is_empty());
    assert_eq!(outcome(&mut stage, 1, 1, 2, "back", alias), Ok(()));
}

#[test]
fn a_shadow_has_an_offset_and_is_shown_to_its_author_alone() {
    for pacing_per_s in [0, 5] {
        let disk = Disk::prompt();
        let config = || ShardConfig { pacing_per_s, pacing_above_viewers: 0, ..fixed() };
        let (mut stage, mut alias, _) = follow(Stage::at(&disk, config(), Clock::start()));
        assert_eq!(outcome(&mut stage, 1, 1, 1, "first", alias), Ok(()));
        let given_act = do_act(&mut stage, act(alias, 1, ActKind::Shadow, Some(0)));
        assert!(given_act.notices.is_empty(), "who is shadowed is not told");
        for round in 0..2 {
            stage.input(Input::Publish(publication(alias, 0, 1, 10 + round, "unseen @user 2")));
            stage.input(Input::Publish(publication(alias, 0, 2, 10 + round, "seen")));
            stage.pass_ms(300);
            let given_now = given(&mut stage);
            let offsets: Vec<u64> = given_now.answers.iter().map(|kind| offset(*kind).0).collect();
            assert_eq!(offsets, [1 + 2 * round, 2 + 2 * round]);
            assert_eq!(given_now.personals, 1, "the author's");
            assert!(given_now.texts.contains("seen") && !given_now.texts.contains("unseen"));
            let epoch = stage.attach(0, "show").unwrap().epoch;
            for of in [PageOf::Shown, PageOf::Full { messages_max: 99 }] {
                stage.input(Input::History { worker: WorkerId(0), request: 1, alias, epoch, from: 0, of });
                let page = given(&mut stage).texts;
                assert!(page.contains("first") && !page.contains("unseen"), "{page:?}");
            }
            (stage, alias) = hand_over(stage, |clock| Stage::at(&disk, config(), clock));
        }
    }
}

#[test]
fn who_is_warned_acknowledges_first() {
    let (mut stage, alias, _) = followed(fixed());
    assert_eq!(outcome(&mut stage, 1, 70, 1, "rude", alias), Ok(()));
    let warning = ActRequest { text: "be kind".into(), ..act(alias, 1, ActKind::Warn, Some(0)) };
    let given = do_act(&mut stage, warning);
    let (_, notice) = &given.notices[0];
    assert_eq!((notice.notice, &*notice.text), (NoticeKind::Warned, "be kind"));
    assert_eq!(outcome(&mut stage, 1, 70, 2, "what", alias), Err(Refusal::Unacknowledged));
    let acknowledge = |id: u64, user: u64| {
        let mut request = act(alias, 2, ActKind::Acknowledge, Some(id));
        request.by =
            Actor { user: UserId(user), person: PersonId(70), name: "A".into(), may_moderate: false };
        request
    };
    do_act(&mut stage, acknowledge(notice.id + 1, 1));
    assert_eq!(outcome(&mut stage, 1, 70, 2, "what", alias), Err(Refusal::Unacknowledged));
    do_act(&mut stage, acknowledge(notice.id, 1));
    assert_eq!(outcome(&mut stage, 1, 70, 2, "sorry", alias), Ok(()));
    let empty = do_act(&mut stage, act(alias, 3, ActKind::Warn, Some(0)));
    assert!(matches!(empty.answers[..], [AnswerKind::ActRefused { reason: Refusal::Empty, .. }]));
}

#[test]
fn a_report_counts_once_a_person_and_names_nobody() {
    let (mut stage, alias, _) = followed_durably(fixed());
    assert_eq!(outcome(&mut stage, 1, 1, 1, "spam", alias), Ok(()));
    let report = |request, person, category| ActRequest {
        by: Actor { user: UserId(person), person: PersonId(person), name: "R".into(), may_moderate: false },
        category,
        text: "look".into(),
        ..act(alias, request, ActKind::Report, Some(0))
    };
    let mut counts = Vec::new();
    for (request, person, category) in
        [(1, 5, Category::Spam), (2, 5, Category::Hate), (3, 6, Category::Hate), (4, 7, Category::Other)]
    {
        counts.push(match do_act(&mut stage, report(request, person, category)).answers[..] {
            [AnswerKind::Acted { count, .. }] => Ok(count),
            [AnswerKind::ActRefused { reason, .. }] => Err(reason),
            ref other => panic!("{other:?}"),
        });
    }
    assert_eq!(counts, [Ok(1), Ok(0), Ok(1), Err(Refusal::Empty)]);
    let list = |stage: &mut Stage| match stage.admin(AdminRequest::Moderation { room: "show".into() }) {
        Ok(AdminAnswer::Moderation(list)) => list.reported,
        other => panic!("{other:?}"),
    };
    let reports = vec![(Category::Spam, "look".into()), (Category::Hate, "look".into())];
    assert_eq!(list(&mut stage), [Reported { offset: 0, reports }]);
    do_act(&mut stage, act(alias, 9, ActKind::Remove, Some(0)));
    assert!(list(&mut stage).is_empty(), "what is removed needs no decision");
}

#[test]
fn modes_refuse_what_they_name_and_exempt_moderators() {
    let disk = Disk::prompt();
    let (mut stage, mut alias, _) = follow(Stage::at(&disk, fixed(), Clock::start()));
    let cases = [
        ("gs.subscribers_only", "hello", Refusal::SubscribersOnly),
        ("gs.emotes_only", "hello", Refusal::EmotesOnly),
        ("gs.links_off", "go to evil.com", Refusal::LinksOff),
        ("gs.no_repeats", "the very same words", Refusal::Repeats),
    ];
    let mut nonce = 100;
    for (key, text, reason) in cases {
        let set = |value: Option<&[u8]>| AdminRequest::SetState {
            room: "show".into(),
            key: key.into(),
            value: value.map(<[u8]>::to_vec),
        };
        assert_eq!(stage.admin(set(Some(b"yes"))), Err(Refusal::BadText));
        let mut say = |stage: &mut Stage, alias, user| {
            nonce += 1;
            outcome(stage, user, user, nonce, text, alias)
        };
        stage.room(set(Some(b"1")));
        if reason == Refusal::Repeats {
            assert_eq!(say(&mut stage, alias, 1), Ok(()));
        }
        assert_eq!(say(&mut stage, alias, 2), Err(reason));
        // A mode comes back with the state.
        (stage, alias) = hand_over(stage, |clock| Stage::at(&disk, fixed(), clock));
        if reason == Refusal::Repeats {
            assert_eq!(say(&mut stage, alias, 1), Ok(()));
        }
        assert_eq!(say(&mut stage, alias, 2), Err(reason));
        let mut exempt = publication(alias, 0, 900, u64::from(reason.wire()), text);
        exempt.exempt = true;
        stage.input(Input::Publish(exempt));
        stage.pass_ms(300);
        assert!(matches!(given(&mut stage).answers[..], [AnswerKind::Published { .. }]));
        stage.room(set(None));
        assert_eq!(say(&mut stage, alias, 2), Ok(()));
    }
}
