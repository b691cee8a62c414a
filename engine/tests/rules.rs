//! The rules of rooms, one by one: what is refused, remembered, paced, paged, closed and forgotten.
//!
//! Not here: order in general (`order.rs`), single structures (beside their code).

mod support;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_engine::{ShardConfig, VIEWERS_KEY};
use grandstand_protocol::refusal::Refusal;
use support::{
    Follower, Stage, batches, fixed, followed, followed_durably, offset, only_answer, publication, refusal,
    say, stage,
};

#[test]
fn a_publication_is_answered_when_it_is_accepted_where_the_log_is_in_memory() {
    let (mut stage, alias, mut follower) = followed(fixed());
    for nonce in 0..3 {
        say(&mut stage, alias, 1, nonce, "at once");
        assert_eq!(offset(only_answer(&mut stage)), (nonce, false), "before any batch");
    }
    say(&mut stage, alias, 1, 2, "at once");
    assert_eq!(offset(only_answer(&mut stage)), (2, true));
    stage.pass_ms(0);
    let outputs = stage.outputs();
    assert_eq!(outputs.len(), 1, "the batch, and no second answer");
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), 3);
}

#[test]
fn the_time_of_an_answer_is_not_after_that_of_the_batch() {
    let (mut stage, alias, mut follower) = followed(fixed());
    let mut told = Vec::new();
    for nonce in 0..6 {
        stage.clock.step_wall_ms(8000);
        say(&mut stage, alias, 1, nonce, "when");
        let AnswerKind::Published { time_ms, .. } = only_answer(&mut stage) else { panic!("not published") };
        told.push(time_ms);
        // The wall clock steps back while it waits.
        stage.clock.step_wall_ms(-5000);
        stage.pass_ms(60);
        batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    }
    stage.pass_ms(100);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), told.len());
    assert!(follower.said.iter().zip(&told).all(|(said, told)| said.time_ms >= *told));
    assert!(told.windows(2).all(|pair| pair[0] <= pair[1]), "{told:?}");
}

#[test]
fn a_quiet_room_answers_at_once_and_a_busy_one_in_one_batch_per_tick() {
    let (mut stage, alias, mut follower) = followed_durably(fixed());
    say(&mut stage, alias, 1, 1, "first");
    assert_eq!(stage.shard.poll_timeout(), Some(stage.now().us));
    stage.pass_ms(0);
    let outputs = stage.outputs();
    assert!(matches!(outputs[0].1, Output::Batch { .. }), "the batch before the answer");
    assert!(matches!(outputs[1].1, Output::Answers(_)));
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    for nonce in 2..5 {
        say(&mut stage, alias, 1, nonce, "more");
        stage.pass_ms(10);
    }
    assert!(stage.outputs().is_empty());
    stage.pass_ms(100);
    let outputs = stage.outputs();
    assert_eq!(outputs.len(), 2, "one batch, one list of answers");
    batches(outputs, 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), 4);
}

#[test]
fn a_batch_goes_once_to_each_worker_that_follows_and_to_no_other() {
    let mut stage = stage();
    let alias = stage.attach(0, "show").unwrap().alias;
    stage.attach(1, "show").unwrap();
    stage.attach(1, "show").unwrap();
    stage.attach(2, "show").unwrap();
    stage.input(Input::Detach { worker: WorkerId(2), alias });
    say(&mut stage, alias, 1, 1, "hello");
    stage.pass_ms(0);
    let outputs = stage.outputs();
    let to: Vec<_> =
        outputs.iter().filter(|(_, o)| matches!(o, Output::Batch { .. })).map(|(w, _)| w.0).collect();
    assert_eq!(to, [0, 1]);
}

#[test]
fn a_repetition_is_answered_with_the_place_of_the_first() {
    repeat_publications(followed(fixed()));
    repeat_publications(followed_durably(fixed()));
}

fn repeat_publications((mut stage, alias, _): (Stage, Alias, Follower)) {
    say(&mut stage, alias, 1, 1, "zero");
    say(&mut stage, alias, 1, 7, "one");
    say(&mut stage, alias, 1, 7, "one");
    stage.pass_ms(0);
    let answers: Vec<_> = stage.answers().into_iter().map(|(_, a)| offset(a.kind)).collect();
    assert_eq!(answers, [(0, false), (1, false), (1, true)]);
    say(&mut stage, alias, 1, 7, "one");
    assert_eq!(offset(only_answer(&mut stage)), (1, true), "at once, without a batch");
    stage.admin(AdminRequest::Close { room: "show".into() }).unwrap();
    say(&mut stage, alias, 1, 7, "one");
    stage.pass_ms(0);
    assert_eq!(offset(only_answer(&mut stage)), (1, true), "what was accepted is never refused");
    assert_eq!(stage.counter("publications_accepted"), 2);
    assert_eq!(stage.counter("publications_repeated"), 3);
}

#[test]
fn a_nonce_stands_for_its_content_over_every_state_of_the_first() {
    for (mut stage, alias, _) in [followed(fixed()), followed_durably(fixed())] {
        let first =
            Publication { attachment: "a".into(), reply_to: Some(0), ..*publication(alias, 0, 1, 7, "one") };
        let same = |stage: &mut Stage| stage.input(Input::Publish(Box::new(first.clone())));
        let others = [
            Publication { text: "two".into(), ..first.clone() },
            Publication { attachment: "b".into(), ..first.clone() },
            Publication { text: "onea".into(), attachment: "".into(), ..first.clone() },
            Publication { reply_to: None, ..first.clone() },
            Publication { reply_to: Some(1), ..first.clone() },
            Publication { is_bridged: true, ..first.clone() },
        ];
        let refuse_others = |stage: &mut Stage| {
            for other in &others {
                stage.input(Input::Publish(Box::new(other.clone())));
                assert_eq!(refusal(only_answer(stage)), (Refusal::NonceReused, None), "{other:?}");
            }
        };
        same(&mut stage);
        stage.answers();
        // It waits for the tick, it is sealed, the room is closed.
        refuse_others(&mut stage);
        stage.pass_ms(1000);
        stage.answers();
        refuse_others(&mut stage);
        stage.admin(AdminRequest::Close { room: "show".into() }).unwrap();
        refuse_others(&mut stage);
        // A name that changed between two attempts changes nothing.
        let renamed = Publication { author: "new name".into(), ..first.clone() };
        stage.input(Input::Publish(Box::new(renamed)));
        stage.pass_ms(1000);
        assert_eq!(offset(only_answer(&mut stage)), (0, true));
        assert_eq!(stage.counter("publications_refused_nonce_reused"), 18);
        assert_eq!(stage.counter("publications_accepted"), 1);
    }
}

#[test]
fn nonces_are_forgotten_beyond_the_window() {
    let (mut stage, alias, _) = followed(ShardConfig { nonces_max: 2, ..fixed() });
    for nonce in 0..3 {
        say(&mut stage, alias, 1, nonce, "text");
    }
    stage.pass_ms(1000);
    assert_eq!(stage.answers().len(), 3);
    say(&mut stage, alias, 1, 1, "text");
    assert_eq!(offset(only_answer(&mut stage)), (1, true));
    say(&mut stage, alias, 1, 0, "forgotten");
    stage.pass_ms(0);
    assert_eq!(offset(only_answer(&mut stage)), (3, false));
    stage.pass_ms(300_001);
    say(&mut stage, alias, 1, 2, "too old");
    stage.pass_ms(0);
    assert_eq!(offset(only_answer(&mut stage)), (4, false));
}

#[test]
fn what_is_said_again_and_may_be_forgotten_is_refused_and_not_said_twice() {
    let (mut stage, alias, _) = followed(ShardConfig { nonces_max: 2, ..fixed() });
    let again = |stage: &mut Stage, nonce, age_ms| {
        let said = publication(alias, 0, 1, nonce, "text");
        stage.input(Input::Publish(Box::new(Publication { age_ms, ..*said })));
        stage.pass_ms(0);
        only_answer(stage)
    };
    // Nothing was ever forgotten: however long ago it was sent, it did not arrive.
    assert_eq!(offset(again(&mut stage, 7, u32::MAX)), (0, false));
    stage.pass_ms(100_000);
    for nonce in 0..3 {
        say(&mut stage, alias, 1, nonce, "text");
        stage.pass_ms(1000);
    }
    stage.answers();
    assert_eq!(offset(again(&mut stage, 1, 5_000)), (2, true), "remembered, it is answered as before");
    assert_eq!(refusal(again(&mut stage, 0, 5_000)), (Refusal::Forgotten, None));
    stage.pass_ms(60_000);
    assert_eq!(
        refusal(again(&mut stage, 8, 60_000)),
        (Refusal::Forgotten, None),
        "it may have been among those"
    );
    assert_eq!(offset(again(&mut stage, 8, 20_000)), (4, false), "it can't have been");
    assert_eq!(stage.counter("publications_refused_forgotten"), 2);
}

#[test]
fn what_may_not_be_said_is_refused_with_its_reason() {
    let (mut stage, alias, _) = followed(ShardConfig { text_bytes_max: 5, ..fixed() });
    for (text, reason) in [("", Refusal::Empty), ("hello!", Refusal::TooLarge), ("a\0b", Refusal::BadText)] {
        say(&mut stage, alias, 1, 1, text);
        assert_eq!(refusal(only_answer(&mut stage)), (reason, None));
    }
    let mut p = publication(alias, 0, 1, 1, "hello");
    p.author = "a\nb".into();
    stage.input(Input::Publish(p));
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::BadText, None));
    say(&mut stage, Alias(999), 1, 1, "hello");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::UnknownRoom);
    say(&mut stage, Alias(u32::MAX), 1, 1, "hello");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::UnknownRoom);
    assert_eq!(stage.counter("publications_refused_unknown_room"), 2);
}

#[test]
fn a_room_that_waits_for_too_much_refuses_more_until_its_tick() {
    let (mut stage, alias, _) = followed(ShardConfig { pending_messages_max: 2, ..fixed() });
    for nonce in 1..3 {
        say(&mut stage, alias, 1, nonce, "text");
    }
    assert_eq!(stage.answers().len(), 2);
    say(&mut stage, alias, 1, 3, "one too many");
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::Overloaded, Some(100)));
    say(&mut stage, alias, 1, 1, "text");
    assert_eq!(offset(only_answer(&mut stage)), (0, true));
    stage.pass_ms(0);
    say(&mut stage, alias, 1, 3, "now");
    assert_eq!(offset(only_answer(&mut stage)), (2, false));
}

#[test]
fn over_a_durable_log_repetitions_wait_too_and_are_bounded() {
    let (mut stage, alias, _) = followed_durably(ShardConfig { pending_messages_max: 2, ..fixed() });
    for nonce in 1..3 {
        say(&mut stage, alias, 1, nonce, "text");
    }
    say(&mut stage, alias, 1, 3, "one too many");
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::Overloaded, Some(100)));
    say(&mut stage, alias, 1, 1, "text");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::Overloaded);
    stage.pass_ms(0);
    assert_eq!(stage.answers().len(), 2);
    say(&mut stage, alias, 1, 3, "now");
    stage.pass_ms(100);
    assert_eq!(offset(only_answer(&mut stage)), (2, false));
}

#[test]
fn slow_mode_lets_each_user_speak_once_per_interval() {
    let (mut stage, alias, _) = followed(ShardConfig { slow_mode_ms: 5000, ..fixed() });
    say(&mut stage, alias, 1, 1, "first");
    stage.pass_ms(2000);
    assert_eq!(offset(only_answer(&mut stage)).0, 0);
    say(&mut stage, alias, 1, 2, "too soon");
    assert_eq!(refusal(only_answer(&mut stage)), (Refusal::SlowMode, Some(3000)));
    say(&mut stage, alias, 1, 1, "first");
    assert_eq!(offset(only_answer(&mut stage)), (0, true));
    say(&mut stage, alias, 2, 1, "someone else");
    let mut bridge = publication(alias, 0, 1, 3, "exempt");
    bridge.exempt = true;
    stage.input(Input::Publish(bridge));
    stage.pass_ms(100);
    assert_eq!(stage.answers().len(), 2);
    stage.pass_ms(5000);
    say(&mut stage, alias, 1, 2, "in time");
    stage.pass_ms(100);
    assert_eq!(offset(only_answer(&mut stage)).0, 3);
}

#[test]
fn state_changes_coalesce_in_a_batch_and_are_answered_when_they_stand() {
    let (mut stage, alias, mut follower) = followed(ShardConfig { state_keys_max: 2, ..fixed() });
    let set = |request, key: &str, value: Option<&'static str>| StateChange {
        from: ReplyTo { worker: WorkerId(0), connection: ConnectionToken(u64::from(request)) },
        request,
        alias,
        key: key.into(),
        value: value.map(Bytes::from),
    };
    stage.set(set(1, "score", Some("0:0")));
    stage.set(set(2, "score", Some("1:0")));
    stage.set(set(3, "poll", Some("?")));
    stage.set(set(4, "third", Some("x")));
    stage.set(set(5, "gs.viewers", Some("9")));
    let refused: Vec<_> = stage.answers().into_iter().map(|(_, a)| a.kind).collect();
    let refuse = |request, reason| AnswerKind::StateRefused { request, reason, retry_after_ms: None };
    assert_eq!(refused, [refuse(4, Refusal::TooManyKeys), refuse(5, Refusal::Forbidden)]);
    stage.pass_ms(0);
    let outputs = stage.outputs();
    let Some((_, Output::Answers(answers))) = outputs.last() else { panic!("no answers") };
    let stands: Vec<_> = answers.iter().map(|a| a.kind).collect();
    let set_at = |request, version| AnswerKind::StateSet { request, version };
    assert_eq!(stands, [set_at(1, 1), set_at(2, 2), set_at(3, 3)]);
    let batches = batches(outputs, 0);
    assert_eq!((batches.len(), batches[0].has_chat()), (1, false));
    assert_eq!(batches[0].snapshot.as_ref().map(|image| image.version), Some(3));
    follower.take(&batches[0]);
    assert_eq!(follower.state["score"], b"1:0");
    stage.set(set(6, "never there", None));
    assert_eq!(only_answer(&mut stage), set_at(6, 3), "nothing changed, so nothing is sealed");
    let late = Follower::attach(&stage.attach(1, "show").unwrap());
    assert_eq!((late.state, late.version), (follower.state, 3));
}

#[test]
fn an_attachment_shows_the_state_of_the_last_batch_and_the_next_brings_the_rest() {
    let (mut stage, alias, _) = followed(fixed());
    let set = |value: &'static str| StateChange {
        from: ReplyTo { worker: WorkerId(0), connection: ConnectionToken(1) },
        request: 1,
        alias,
        key: "score".into(),
        value: Some(Bytes::from(value)),
    };
    stage.set(set("0:0"));
    stage.pass_ms(0);
    stage.set(set("1:0"));
    let mut late = Follower::attach(&stage.attach(1, "show").unwrap());
    assert_eq!(late.state["score"], b"0:0");
    stage.pass_ms(100);
    batches(stage.outputs(), 1).iter().for_each(|batch| late.take(batch));
    assert_eq!(late.state["score"], b"1:0");
}

#[test]
fn viewer_counts_are_summed_over_workers_and_paced() {
    let (mut stage, alias, mut follower) = followed(ShardConfig { viewers_every_ms: 2000, ..fixed() });
    stage.attach(1, "show").unwrap();
    let count = |worker, count| Input::Viewers { worker: WorkerId(worker), alias, count };
    let mut told = Vec::new();
    for i in 1..=1234 {
        stage.input(count(0, i));
        stage.input(count(1, 2 * i + 7));
        stage.pass_ms(5);
        for batch in batches(stage.outputs(), 0) {
            follower.take(&batch);
            told.push(String::from_utf8(follower.state[VIEWERS_KEY].clone()).unwrap());
        }
    }
    assert_eq!(told, ["10", "1210", "2410", "3610"], "at most every 2 s, and rounded above 1,000");
    assert_eq!(
        stage.room(AdminRequest::Create { room: "show".into(), settings: RoomSettings::default() }).viewers,
        3709,
        "exact for operators"
    );
    stage.shard.handle_worker_gone(stage.now(), WorkerId(1));
    stage.pass_ms(2000);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.state[VIEWERS_KEY], b"1230");
}

#[test]
fn reactions_are_told_by_key_and_none_is_lost() {
    let (mut stage, alias, mut follower) =
        followed(ShardConfig { tally_keys_max: 3, tally_top: 2, ..fixed() });
    let react = |tallies: &[(&str, u64)]| Input::React {
        alias,
        tallies: tallies.iter().map(|&(key, count)| (key.into(), count)).collect(),
    };
    stage.input(react(&[("a", 10), ("b", 20)]));
    stage.input(react(&[("a", 15), ("c", 3), ("d", 2), ("bad\nkey", 99)]));
    stage.pass_ms(0);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    let told: Vec<_> = follower.tallies.iter().map(|(key, count)| (key.as_str(), *count)).collect();
    assert_eq!(told, [("", 5), ("a", 25), ("b", 20)]);
    assert_eq!((stage.counter("reactions"), stage.counter("reactions_refused")), (50, 99));
    let late = stage.attach(1, "show").unwrap();
    assert_eq!(late.next_seq, 1);
}

#[test]
fn a_large_tick_is_sealed_in_batches_of_bounded_size() {
    let (mut stage, alias, mut follower) = followed(ShardConfig { batch_bytes_max: 10_000, ..fixed() });
    for nonce in 0..50 {
        say(&mut stage, alias, 1, nonce, &"x".repeat(1000));
    }
    stage.pass_ms(0);
    let outputs = stage.outputs();
    let answers = outputs.iter().filter(|(_, o)| matches!(o, Output::Answers(a) if a.len() == 50));
    assert_eq!(answers.count(), 1);
    let batches = batches(outputs, 0);
    assert_eq!(batches.len(), 6);
    assert!(batches.iter().all(|batch| batch.wire.len() < 10_100));
    batches.iter().for_each(|batch| follower.take(batch));
    assert_eq!(follower.said.len(), 50);
}

#[test]
fn history_comes_in_pages_that_are_bounded() {
    let (mut stage, alias, follower) = followed(ShardConfig { tick_ms: 1, ..fixed() });
    for nonce in 0..200 {
        say(&mut stage, alias, 1, nonce, &"x".repeat(if nonce < 100 { 10 } else { 4096 }));
        stage.pass_ms(1);
    }
    stage.outputs();
    let epoch = follower.at.epoch;
    let mut page = |epoch, from| {
        stage.input(Input::History {
            worker: WorkerId(0),
            request: 5,
            alias,
            epoch,
            from,
            of: PageOf::Shown,
        });
        match stage.outputs().pop() {
            Some((WorkerId(0), Output::History { request: 5, page })) => page,
            other => panic!("not a page: {other:?}"),
        }
    };
    let first = page(epoch, 0);
    assert_eq!((first.batches.len(), first.batches[0].first_offset, first.same_epoch), (64, 0, true));
    let large = page(epoch, 110);
    let bytes: usize = large.batches.iter().map(|batch| batch.wire.len()).sum();
    assert!((60_000..=64 << 10).contains(&bytes) && large.batches.len() < 64);
    assert_eq!(large.batches[0].first_offset, 110);
    assert!(page(epoch, 200).batches.is_empty() && page(epoch, 200).same_epoch);
    let other = page(epoch + 1, 0);
    assert!(other.batches.is_empty() && !other.same_epoch);
}

#[test]
fn a_wall_clock_that_steps_back_does_not_take_the_log_along() {
    let (mut stage, alias, mut follower) = followed(fixed());
    for nonce in 0..5 {
        say(&mut stage, alias, 1, nonce, "tick");
        stage.pass_ms(200);
        stage.clock.step_wall_ms(-1000);
    }
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    assert!(follower.said.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms));
    assert_eq!(follower.said.len(), 5);
}
