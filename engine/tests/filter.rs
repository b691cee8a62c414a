//! Tests of a shard with word lists: what viewers see, what authors are told, and what a reload changes.
//!
//! Why at the shard: the filter alone knows no nonce, no role and no name.

mod support;

use std::sync::Arc;

use grandstand_engine::ShardConfig;
use grandstand_engine::filter::SharedFilter;
use grandstand_engine::link::*;
use grandstand_filter::{Filter, List, Rooms};
use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;
use support::{
    Follower, Stage, batches, fixed, follow, followed, offset, only_answer, publication, refusal, say,
};

fn filter(text: &str) -> Filter {
    Filter::of(List::parse("house", text).unwrap())
}

fn with_lists(text: &str) -> (Stage, Alias, Follower, SharedFilter) {
    let shared = SharedFilter::of(filter(text));
    let (stage, alias, follower) = followed(ShardConfig { filter: shared.clone(), ..fixed() });
    (stage, alias, follower, shared)
}

fn seen(stage: &mut Stage, follower: &mut Follower) -> Vec<String> {
    stage.pass_ms(200);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    follower.said.drain(..).map(|said| said.text).collect()
}

#[test]
fn what_a_list_masks_nobody_sees_and_a_retry_is_the_same_message() {
    let (mut stage, alias, mut follower, _) = with_lists("@ mask\nnitwit\n");
    say(&mut stage, alias, 1, 1, "you n1tw1t!");
    assert_eq!(offset(only_answer(&mut stage)), (0, false));
    say(&mut stage, alias, 1, 1, "you n1tw1t!");
    assert_eq!(offset(only_answer(&mut stage)), (0, true), "the text as it was written is the content");
    assert_eq!(seen(&mut stage, &mut follower), ["you ******!"]);
    say(&mut stage, alias, 1, 1, "you ******!");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::NonceReused);
    assert_eq!(stage.counter("publications_masked"), 1);
}

#[test]
fn a_caught_text_is_refused_with_a_reason_and_takes_no_offset_and_no_slow_mode() {
    for action in ["refuse", "hold", "shadow", "timeout=60"] {
        let shared = SharedFilter::of(filter(&format!("nitwit | {action}\n")));
        let config = ShardConfig { filter: shared, slow_mode_ms: 5_000, ..fixed() };
        let (mut stage, alias, mut follower) = followed(config);
        say(&mut stage, alias, 1, 1, "a n.i.t.w.i.t");
        assert_eq!(refusal(only_answer(&mut stage)), (Refusal::Filtered, None), "{action}");
        say(&mut stage, alias, 1, 2, "sorry");
        assert_eq!(offset(only_answer(&mut stage)), (0, false), "slow mode counts what was said");
        say(&mut stage, alias, 1, 3, "a nitwit");
        assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::SlowMode, "slow mode is asked first");
        assert_eq!(seen(&mut stage, &mut follower), ["sorry"]);
        assert_eq!(stage.counter("publications_refused_filtered"), 1);
    }
}

#[test]
fn a_reload_judges_the_next_text_and_no_retry_of_an_accepted_one() {
    let (mut stage, alias, mut follower, shared) = with_lists("nitwit\n");
    say(&mut stage, alias, 1, 1, "a dolt");
    assert_eq!(offset(only_answer(&mut stage)), (0, false));
    shared.replace(Some(Arc::new(filter("dolt\n"))));
    say(&mut stage, alias, 1, 1, "a dolt");
    assert_eq!(offset(only_answer(&mut stage)), (0, true), "what was accepted is never refused");
    say(&mut stage, alias, 1, 2, "a dolt");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::Filtered);
    say(&mut stage, alias, 1, 3, "a nitwit");
    assert_eq!(offset(only_answer(&mut stage)), (1, false));
    shared.replace(None);
    say(&mut stage, alias, 1, 4, "a dolt");
    assert_eq!(offset(only_answer(&mut stage)), (2, false));
    assert_eq!(seen(&mut stage, &mut follower), ["a dolt", "a nitwit", "a dolt"]);
}

#[test]
fn lists_concern_their_rooms_and_not_moderators() {
    let list = Arc::new(List::parse("kids", "dolt\nninny | refuse moderators=judged\n").unwrap());
    let shared = SharedFilter::of(Filter::new([(Rooms::parse("kids/*"), list)]));
    let (mut stage, alias, _) = follow(Stage::new(ShardConfig { filter: shared, ..fixed() }));
    say(&mut stage, alias, 1, 1, "dolt");
    assert_eq!(offset(only_answer(&mut stage)), (0, false), "another room");
    let kids = stage.attach(0, "kids/a").unwrap().alias;
    stage.outputs();
    say(&mut stage, kids, 1, 2, "dolt");
    assert_eq!(refusal(only_answer(&mut stage)).0, Refusal::Filtered);
    let mut by_moderator = |nonce, text: &str| {
        let said = Publication { role: Role::Moderator, ..*publication(kids, 0, 2, nonce, text) };
        stage.input(Input::Publish(Box::new(said)));
        only_answer(&mut stage)
    };
    assert_eq!(offset(by_moderator(1, "dolt")), (0, false));
    assert_eq!(refusal(by_moderator(2, "ninny")).0, Refusal::Filtered);
}

#[test]
fn a_caught_name_is_shown_as_a_guest() {
    let (mut stage, alias, mut follower, _) = with_lists("@ mask\nnitwit\n");
    stage.input(Input::Publish(Box::new(Publication {
        author: "xX_N1tw1t_Xx".into(),
        ..*publication(alias, 0, 7, 1, "hello")
    })));
    assert_eq!(offset(only_answer(&mut stage)), (0, false));
    stage.pass_ms(200);
    batches(stage.outputs(), 0).iter().for_each(|batch| follower.take(batch));
    let said = &follower.said[0];
    assert!(said.text == "hello" && !said.author.to_lowercase().contains("tw1t"), "{said:?}");
}
