//! One input, one verdict: a client before it sends, an edge and a shard judge texts, names and keys alike.
//!
//! Why here: this is the only place that can drive all three without sockets.
//! Not here: whether the verdict is right (`protocol/tests/rules.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use grandstand_client::core::Publication as Wish;
use grandstand_engine::link::*;
use grandstand_engine::{Shard, ShardConfig};
use grandstand_protocol::frame::{ClientFrame, Kind, Publish, Role, permission};
use grandstand_protocol::limits::*;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::harness::{Harness, Plan};
use crate::testing::OpenAuthority;

/// A lower limit than the protocol's, so that an edge or a shard that took the wrong one is found out.
const TEXT_MAX: usize = 300;

/// Where the shard answers: the only one that is asked.
const NOBODY: ReplyTo = ReplyTo { worker: WorkerId(0), connection: ConnectionToken(0) };

type Verdict = Result<(), Refusal>;

fn string() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        6 => proptest::char::range('a', 'z'),
        2 => proptest::sample::select(vec!['\n', '\t', ' ', '\u{3000}', '字']),
        1 => proptest::sample::select(vec!['\0', '\r', '\u{7f}', '\u{9b}', '\u{202e}', '\u{200b}', '\u{3164}', '\u{301}']),
    ];
    let short = proptest::collection::vec(char, 0..8).prop_map(String::from_iter);
    let limits = vec![NAME_BYTES_MAX, ROOM_NAME_BYTES_MAX, TEXT_MAX, ATTACHMENT_BYTES_MAX];
    let long =
        (proptest::sample::select(limits), 0..3usize).prop_map(|(max, over)| "x".repeat(max - 1 + over));
    prop_oneof![4 => short, 1 => long, 2 => Just(String::new())]
}

/// A shard with one room, as the edge's is configured.
struct Judge {
    shard: Shard,
    alias: Alias,
    us: u64,
}

impl Judge {
    fn new() -> Judge {
        let config = ShardConfig { text_bytes_max: TEXT_MAX, ..Plan::default().rooms };
        let mut judge = Judge { shard: Shard::new(config, ShardId(0), 1, 1), alias: Alias(0), us: 1_000 };
        judge.alias = judge.attach("r").expect("a room");
        judge
    }

    fn now(&mut self) -> Now {
        self.us += 1_000_000;
        Now { us: self.us, unix_ms: self.us / 1_000 }
    }

    fn attach(&mut self, room: &str) -> Result<Alias, Refusal> {
        let now = self.now();
        self.shard.handle_input(
            now,
            Input::Attach { worker: WorkerId(0), room: Arc::from(room), opener: Opener::NODE },
        );
        while let Some((_, output)) = self.shard.poll_output() {
            if let Output::Attached { result, .. } = output {
                return result.map(|attachment| attachment.alias);
            }
        }
        panic!("no answer")
    }

    fn answer(&mut self, input: Input) -> Verdict {
        let now = self.now();
        self.shard.handle_input(now, input);
        let mut verdict = None;
        loop {
            while let Some((_, output)) = self.shard.poll_output() {
                let Output::Answers(answers) = output else { continue };
                for answer in answers {
                    verdict = Some(match answer.kind {
                        AnswerKind::Published { .. }
                        | AnswerKind::StateSet { .. }
                        | AnswerKind::Acted { .. } => Ok(()),
                        AnswerKind::PublishRefused { reason, .. }
                        | AnswerKind::StateRefused { reason, .. }
                        | AnswerKind::ActRefused { reason, .. } => Err(reason),
                    });
                }
            }
            match (verdict, self.shard.poll_timeout()) {
                (Some(verdict), _) => return verdict,
                (None, Some(us)) => {
                    self.us = self.us.max(us);
                    let now = Now { us: self.us, unix_ms: self.us / 1_000 };
                    self.shard.handle_timeout(now);
                }
                (None, None) => panic!("no answer"),
            }
        }
    }

    fn publish(&mut self, nonce: u64, text: &str, attachment: &str, author: &str) -> Verdict {
        self.answer(Input::Publish(Box::new(Publication {
            from: NOBODY,
            alias: self.alias,
            user: UserId(1),
            person: PersonId::of_user(UserId(1)),
            nonce,
            age_ms: 0,
            author: author.into(),
            role: Role::Viewer,
            text: text.into(),
            attachment: attachment.into(),
            reply_to: None,
            exempt: true,
            is_bridged: false,
        })))
    }

    fn set_state(&mut self, request: u32, key: &str, value: &[u8]) -> Verdict {
        let (alias, key, value) = (self.alias, key.into(), Some(value.to_vec().into()));
        self.answer(Input::SetState(Box::new(StateChange { from: NOBODY, request, alias, key, value })))
    }
}

/// Clauses P-8, S-9, L-3.
#[test]
fn client_edge_and_shard_give_the_same_verdicts() {
    let plan = Plan::default();
    let settings = super::super::Settings { text_bytes_max: TEXT_MAX as u32, ..plan.settings };
    let permissions = permission::PUBLISH | permission::STATE | permission::BRIDGE;
    let authority = Arc::new(OpenAuthority { permissions });
    let mut harness = Harness::new(&Plan { settings, authority, ..Plan::default() });
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    let mut judge = Judge::new();
    let mut runner = TestRunner::deterministic();
    let strings = (string(), string(), string());
    let refusals = |harness: &Harness| harness.viewers[v.0].refusals();
    let (mut seen, mut said) = (Vec::new(), HashSet::new());
    for nonce in 1..=400u32 {
        let tree = strings.new_tree(&mut runner).expect("strings");
        let (text, attachment, author) = proptest::strategy::ValueTree::current(&tree);

        let wish = Wish { text: &text, attachment: &attachment, author: &author, ..Wish::default() };
        let by_client = wish.check(TEXT_MAX);
        // The viewer takes two messages of one text for one that is in the log twice.
        if by_client.is_ok() && !said.insert(text.clone()) {
            continue;
        }
        let by_shard = judge.publish(nonce.into(), &text, &attachment, &author);
        let before = refusals(&harness).len();
        let (text, attachment, author) = (&*text, &*attachment, &*author);
        let publish = Publish { alias, nonce: nonce.into(), text, attachment, author, ..Publish::default() };
        harness.send(v, &ClientFrame::Publish(publish));
        harness.run_ms(20);
        let by_edge = refusals(&harness).get(before).map_or(Ok(()), |r| {
            assert_eq!((r.0, r.1), (Kind::Publish as u8, u64::from(nonce)));
            Err(r.2)
        });
        assert_eq!((by_edge, by_shard), (by_client, by_client), "{text:?} {attachment:?} {author:?}");
        seen.push(by_client);

        // Keys and names: the edge asks the shard only for what it would not refuse itself.
        let by_rules = rules::check_state(text, Some(attachment.as_bytes()), STATE_VALUE_BYTES_MAX);
        if let Err(reason) = by_rules {
            assert_eq!(judge.set_state(nonce, text, attachment.as_bytes()), by_rules, "{text:?}");
            let before = refusals(&harness).len();
            harness.set_state(v, alias, text, Some(attachment.as_bytes()));
            harness.run_ms(1);
            assert_eq!(refusals(&harness)[before].2, reason, "{text:?}");
        }
        let by_rules = rules::check_room_name(author, ROOM_NAME_BYTES_MAX);
        if by_rules.is_err() {
            assert_eq!(judge.attach(author).map(drop), by_rules, "{author:?}");
            let before = refusals(&harness).len();
            harness.subscribe(v, author, None, 0);
            harness.run_ms(1);
            assert_eq!(refusals(&harness)[before].2, Refusal::BadName, "{author:?}");
        }
    }
    for verdict in [Ok(()), Err(Refusal::TooLarge), Err(Refusal::Empty), Err(Refusal::BadText)] {
        let times = seen.iter().filter(|v| **v == verdict).count();
        assert!(times >= 20, "{verdict:?} came up {times} times");
    }
}
