//! Tests of removals: what is removed is in no output after the acknowledgement, and nothing else is gone.
//!
//! Why a reader of all outputs: a removal must hold on every way out of a shard, and so does this test.
//! Not here: workers and clients, which have their own.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use grandstand_engine::ShardConfig;
use grandstand_engine::link::*;
use grandstand_model::Clock;
use grandstand_protocol::frame::ActKind;
use grandstand_protocol::refusal::Refusal;
use proptest::prelude::*;
use support::*;

/// Reads everything that a shard sends, and believes no act that it has not read.
#[derive(Default)]
struct Reader {
    /// Every message that was ever shown: its author and text, by offset.
    known: BTreeMap<u64, (String, String)>,
    /// What acts removed that were acknowledged.
    gone: BTreeSet<u64>,
    /// What acts removed, by the offset of the act.
    unacknowledged: BTreeMap<u64, Vec<u64>>,
    answers: Vec<AnswerKind>,
}

impl Reader {
    fn take(&mut self, outputs: Vec<(WorkerId, Output)>) {
        for (_, output) in outputs {
            match output {
                Output::Batch { batch, .. } => self.batch(&batch, true),
                Output::Attached { result: Ok(attachment), .. } => {
                    attachment.batches.iter().for_each(|batch| self.batch(batch, false));
                    if let Some(image) = &attachment.snapshot {
                        assert!(!is_in(&image.wire, "gs.!"), "hidden state is shown");
                    }
                }
                Output::History { page, .. } => {
                    page.batches.iter().for_each(|batch| self.batch(batch, false));
                }
                Output::Answers(answers) => {
                    for answer in answers {
                        self.answer(answer.kind);
                    }
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, kind: AnswerKind) {
        if let AnswerKind::Acted { offset: Some(at), count, .. } = kind {
            let gone = self.unacknowledged.remove(&at).expect("its batch is there first");
            let new = gone.iter().filter(|offset| self.gone.insert(**offset)).count() as u64;
            assert!(new <= count, "{new} of {count}");
        }
        self.answers.push(kind);
    }

    fn batch(&mut self, batch: &Batch, is_live: bool) {
        assert!(!is_in(&batch.wire, "gs.!"), "hidden state is in a batch");
        for entry in entries(batch, &self.known) {
            match entry {
                Entry::Said { offset, author, text } => {
                    assert!(!self.gone.contains(&offset), "{text:?} of offset {offset} was removed");
                    let before = self.known.insert(offset, (author.clone(), text.clone()));
                    assert!(before.is_none_or(|before| before == (author, text)), "an offset is one message");
                }
                Entry::Act(at, removed) => {
                    assert!(batch.has_acts || !is_live);
                    if is_live {
                        self.unacknowledged.entry(at).or_default().extend(removed);
                    }
                }
                Entry::Removed(_) => {}
            }
        }
    }
}

fn is_in(wire: &[u8], what: &str) -> bool {
    wire.windows(what.len()).any(|window| window == what.as_bytes())
}

fn page(stage: &mut Stage, alias: Alias, epoch: u64, from: u64, of: PageOf) {
    stage.input(Input::History { worker: WorkerId(0), request: 5, alias, epoch, from, of });
}

/// What a room shows to somebody who reads it from the beginning.
fn read_all(stage: &mut Stage, alias: Alias, epoch: u64) -> Vec<String> {
    let (mut from, mut texts) = (0, Vec::new());
    loop {
        page(stage, alias, epoch, from, PageOf::Full { messages_max: 500 });
        let outputs = stage.outputs();
        let pages = outputs.into_iter().filter_map(|(_, output)| match output {
            Output::History { page, .. } => Some(page),
            _ => None,
        });
        let page = pages.last().expect("a page is answered");
        let Some(last) = page.batches.last() else { return texts };
        from = last.next_offset;
        for batch in &page.batches {
            texts.extend(entries(batch, &BTreeMap::new()).into_iter().filter_map(|entry| match entry {
                Entry::Said { text, .. } => Some(text),
                _ => None,
            }));
        }
    }
}

fn epoch_of(stage: &mut Stage) -> u64 {
    stage.attach(3, "show").expect("it is there").epoch
}

fn acted(stage: &mut Stage, request: ActRequest) -> AnswerKind {
    stage.input(Input::Act(Box::new(request)));
    stage.pass_ms(300);
    let answers = stage.answers();
    let is_acted =
        |kind: &AnswerKind| matches!(kind, AnswerKind::Acted { .. } | AnswerKind::ActRefused { .. });
    answers.into_iter().map(|(_, answer)| answer.kind).find(is_acted).expect("an act is answered")
}

fn by(user: u64, author: &str, alias: Alias, nonce: u64, text: &str) -> Input {
    let mut p = publication(alias, 0, user, nonce, text);
    p.author = author.into();
    Input::Publish(p)
}

#[test]
fn a_removed_message_leaves_its_place_and_the_others_stay() {
    for config in [fixed(), ShardConfig { pacing_per_s: 1, pacing_above_viewers: 0, ..fixed() }] {
        let (mut stage, alias, _) = followed_durably(config);
        for n in 0..5 {
            say(&mut stage, alias, n, n, &format!("text {n}"));
        }
        stage.pass_ms(300);
        let outcome = acted(&mut stage, act(alias, 1, ActKind::Remove, Some(2)));
        assert!(
            matches!(outcome, AnswerKind::Acted { request: 1, offset: Some(5), count: 1, .. }),
            "{outcome:?}"
        );
        let again = acted(&mut stage, act(alias, 2, ActKind::Remove, Some(2)));
        assert!(matches!(again, AnswerKind::Acted { request: 2, offset: None, count: 0, .. }), "{again:?}");
        let epoch = epoch_of(&mut stage);
        assert_eq!(read_all(&mut stage, alias, epoch), ["text 0", "text 1", "text 3", "text 4"]);
        say(&mut stage, alias, 9, 9, "after");
        stage.pass_ms(300);
        assert_eq!(stage.counter("removals"), 1);
    }
}

#[test]
fn a_purge_is_one_entry_and_takes_what_this_person_said_under_any_name() {
    let (mut stage, alias, _) = followed(fixed());
    for n in 0..300 {
        let name = if n < 150 { "Troll" } else { "Sheep" };
        stage.input(by(7, name, alias, n, &format!("bad {n}")));
        // Somebody else has the same name, once.
        stage.input(by(8, if n == 100 { "Troll" } else { "Ann" }, alias, n, &format!("good {n}")));
        stage.pass_ms(10);
    }
    stage.pass_ms(300);
    let outcome = acted(&mut stage, act(alias, 1, ActKind::RemoveAuthor, Some(4)));
    assert!(matches!(outcome, AnswerKind::Acted { offset: Some(600), count: 300, .. }), "{outcome:?}");
    let epoch = epoch_of(&mut stage);
    let good: Vec<String> = (0..300).map(|n| format!("good {n}")).collect();
    assert_eq!(read_all(&mut stage, alias, epoch), good);
}

#[test]
fn bridged_authors_are_persons_of_their_own() {
    let (mut stage, alias, _) = followed(fixed());
    for (n, author) in ["Ann", "Bob", "Ann"].into_iter().enumerate() {
        let mut p = publication(alias, 0, 5, n as u64, &format!("{author} {n}"));
        (p.author, p.is_bridged) = (author.into(), true);
        stage.input(Input::Publish(p));
    }
    stage.pass_ms(300);
    acted(&mut stage, act(alias, 1, ActKind::RemoveAuthor, Some(0)));
    let epoch = epoch_of(&mut stage);
    assert_eq!(read_all(&mut stage, alias, epoch), ["Bob 1"]);
}

#[test]
fn acts_are_refused_with_a_reason() {
    let (mut stage, alias, _) = followed(fixed());
    say(&mut stage, alias, 1, 1, "hello");
    stage.pass_ms(300);
    let mut refused = |request: ActRequest| match acted(&mut stage, request) {
        AnswerKind::ActRefused { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let mut stranger = act(alias, 1, ActKind::Remove, Some(0));
    stranger.by.may_moderate = false;
    assert_eq!(refused(stranger), Refusal::Forbidden);
    assert_eq!(refused(act(alias, 2, ActKind::Other, Some(0))), Refusal::Forbidden);
    assert_eq!(refused(act(alias, 3, ActKind::Remove, Some(1))), Refusal::TooOld);
    assert_eq!(refused(act(alias, 4, ActKind::Remove, None)), Refusal::TooOld);
    let other_log = ActRequest { epoch: 3, ..act(alias, 5, ActKind::Remove, Some(0)) };
    assert_eq!(refused(other_log), Refusal::UnknownEpoch);
    assert_eq!(refused(act(Alias(77), 6, ActKind::Remove, Some(0))), Refusal::UnknownRoom);
}

#[test]
fn clearing_by_time_takes_what_was_said_since() {
    let (mut stage, alias, _) = followed(fixed());
    say(&mut stage, alias, 1, 1, "early");
    stage.pass_ms(60_000);
    say(&mut stage, alias, 1, 2, "late");
    stage.pass_ms(1_000);
    let outcome = acted(&mut stage, ActRequest { seconds: 30, ..act(alias, 1, ActKind::Clear, None) });
    assert!(matches!(outcome, AnswerKind::Acted { offset: Some(2), count: 1, .. }), "{outcome:?}");
    let epoch = epoch_of(&mut stage);
    assert_eq!(read_all(&mut stage, alias, epoch), ["early"]);
}

#[derive(Clone, Debug)]
enum Step {
    Say(u64),
    Remove(u64),
    Purge(u64),
    Clear(u32),
    Pass(u64),
    Page(u64, bool),
    Attach,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4_u64).prop_map(Step::Say),
        2 => (0..40_u64).prop_map(Step::Remove),
        1 => (0..40_u64).prop_map(Step::Purge),
        1 => (1..4_u32).prop_map(Step::Clear),
        4 => (1..400_u64).prop_map(Step::Pass),
        2 => (0..40_u64, any::<bool>()).prop_map(|(from, full)| Step::Page(from, full)),
        1 => Just(Step::Attach),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Rooms on disk that restart, and rooms in memory that are handed over.
    #[test]
    fn after_the_acknowledgement_no_output_holds_what_is_removed(
        all in steps(), on_disk in any::<bool>(), is_paced in any::<bool>(),
    ) {
        let config = ShardConfig {
            pacing_per_s: if is_paced { 2 } else { 0 },
            pacing_above_viewers: 0,
            ..fixed()
        };
        let disk = Disk::prompt();
        let begin = |clock: Clock| match on_disk {
            true => Stage::at(&disk, config.clone(), clock),
            false => {
                let mut stage = Stage::new(config.clone());
                stage.clock = clock;
                stage
            }
        };
        let mut stage = begin(Clock::start());
        let mut reader = Reader::default();
        let mut alias = stage.attach(0, "show").unwrap().alias;
        for (n, step) in (0_u64..).zip(all) {
            let request = |kind, target| act(alias, n as u32, kind, target);
            match step {
                Step::Say(user) => stage.input(by(user, ["a", "b", "a", "c"][user as usize], alias, n, &format!("text {n}"))),
                Step::Remove(target) => stage.input(Input::Act(Box::new(request(ActKind::Remove, Some(target))))),
                Step::Purge(target) => {
                    stage.input(Input::Act(Box::new(request(ActKind::RemoveAuthor, Some(target)))));
                }
                Step::Clear(seconds) => {
                    stage.input(Input::Act(Box::new(ActRequest { seconds, ..request(ActKind::Clear, None) })));
                }
                Step::Pass(ms) => stage.pass_ms(ms),
                Step::Page(from, full) => {
                    let of = if full { PageOf::Full { messages_max: 9 } } else { PageOf::Shown };
                    let epoch = epoch_of(&mut stage);
                    page(&mut stage, alias, epoch, from, of);
                }
                Step::Attach => {
                    stage.input(Input::Attach { worker: WorkerId(2), room: "show".into(), opener: Opener::NODE });
                }
                Step::Restart => {
                    let now = stage.now();
                    stage.shard.handle_handing(now);
                    reader.take(stage.outputs());
                    let rooms = stage.shard.hand_rooms(now);
                    let clock = stage.clock;
                    stage = begin(clock);
                    grandstand_engine::take_rooms(&mut stage.shard, clock.now(), 0, rooms);
                    stage.input(Input::Attach { worker: WorkerId(0), room: "show".into(), opener: Opener::NODE });
                    let outputs = stage.outputs();
                    for (_, output) in &outputs {
                        if let Output::Attached { result: Ok(attachment), .. } = output {
                            alias = attachment.alias;
                        }
                    }
                    reader.take(outputs);
                }
            }
            reader.take(stage.outputs());
        }
        stage.pass_ms(2_000);
        reader.take(stage.outputs());
        prop_assert!(reader.unacknowledged.is_empty(), "every act is answered: {:?}", reader.unacknowledged);
        let epoch = epoch_of(&mut stage);
        let shown: BTreeSet<String> = read_all(&mut stage, alias, epoch).into_iter().collect();
        let kept = reader.known.iter().filter(|(offset, _)| !reader.gone.contains(offset));
        for (offset, (_, text)) in kept {
            prop_assert!(shown.contains(text), "{} of offset {} is gone and was not removed", text, offset);
        }
        for offset in &reader.gone {
            prop_assert!(!shown.contains(&reader.known[offset].1));
        }
    }
}
