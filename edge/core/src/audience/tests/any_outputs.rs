//! Any outputs in any order: an audience takes what a faulty node sends it, and goes on.
//!
//! Why: outputs come from other nodes. One that no owner would send must not end a worker with all its
//! viewers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_protocol::frame::{
    ClientFrame, Durability, Encoder, Hello, History, Phase, Publish, SetState, Subscribe, permission,
};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::version::capability;
use proptest::prelude::*;

use super::super::{Audience, ConnectionKey, FrameSink, LinkKey, Rate, Settings};
use super::model_owner::any_batch;
use crate::key::Key;
use crate::people::{People, PeopleLimits};
use crate::testing::{OpenAuthority, OpenTickets};
use grandstand_model::Inboxes;

const ROOMS: [&str; 3] = ["a", "b", "c"];
const CONNECTIONS: u32 = 4;

/// Takes so many bytes of each connection, and says when it was full.
#[derive(Debug, Default)]
struct Sink {
    space: HashMap<u32, usize>,
    full: Vec<u32>,
}

impl FrameSink for Sink {
    fn send(&mut self, wire: LinkKey, frames: &[&Bytes]) -> usize {
        let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        let space = self.space.entry(wire.0).or_insert(usize::MAX);
        let taken = bytes.min(*space);
        *space -= taken;
        if taken < bytes {
            self.full.push(wire.0);
        }
        taken
    }
}

#[derive(Clone, Debug)]
enum Step {
    Output(Output),
    Frame { connection: u32, what: u8, room: usize, alias: u32, epoch: u64, offset: u64 },
    Space { connection: u32, bytes: usize },
    Cut { connection: u32 },
    Turn { us: u64 },
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..6u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn batch() -> impl Strategy<Value = Arc<Batch>> {
    let framed = Encoder::batch_framed(&[7, 16, 0, 0, 0, b'a', 0, b'x', 0]).to_vec();
    let wire = prop_oneof![
        6 => Just(framed),
        1 => prop::collection::vec(any::<u8>(), 1..12),
        1 => Just(vec![0x82]),
        1 => Just(vec![0x82, 1]),
    ];
    (number(), number(), 0..3u64, any::<bool>(), number(), wire).prop_map(
        |(seq, first, len, follows, other, wire)| {
            let next = if follows { first.saturating_add(len) } else { other };
            any_batch(seq, first, next, wire)
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(Refusal::ALL.to_vec())
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![Phase::Open, Phase::Closing, Phase::Closed])
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let batches = prop_oneof![
        // Those of an honest owner, from any number and offset on.
        (number(), number(), 0..5u64).prop_map(|(seq, offset, n)| {
            let of = |i| {
                any_batch(
                    seq.saturating_add(i),
                    offset.saturating_add(i),
                    offset.saturating_add(i + 1),
                    vec![0x82, 1, 0x47],
                )
            };
            ((0..n).map(of).collect(), seq.saturating_add(n), offset.saturating_add(n))
        }),
        (prop::collection::vec(batch(), 0..4), number(), number()),
    ];
    let previous = prop::collection::vec((0..4u64, number()), 0..4);
    (0..4u32, 0..4u64, batches, phase(), previous, prop::option::of(number())).prop_map(
        |(alias, epoch, (batches, next_seq, next_offset), phase, previous, version)| Attachment {
            alias: Alias(alias),
            epoch,
            next_seq,
            next_offset,
            time_ms: 5,
            batches,
            snapshot: version
                .map(|version| Arc::new(StateImage { version, wire: vec![0x82, 1, 0x48].into() })),
            phase,
            until_ms: 0,
            previous: previous
                .into_iter()
                .map(|(epoch, next_offset)| PreviousEpoch { epoch, next_offset })
                .collect(),
        },
    )
}

/// Tickets and connections as the audience gives them: a number that counts up, and a low slot.
fn token() -> impl Strategy<Value = u64> {
    prop_oneof![8 => (0..12u64, 0..4u64).prop_map(|(high, low)| high << 32 | low), 1 => any::<u64>()]
}

fn output() -> impl Strategy<Value = Output> {
    let room = prop::sample::select(vec!["a", "b", "c", "d"]);
    let kind = prop_oneof![
        (any::<u64>(), refusal()).prop_map(|(nonce, reason)| AnswerKind::PublishRefused {
            nonce,
            reason,
            retry_after_ms: None
        }),
        (any::<u64>(), number()).prop_map(|(nonce, offset)| AnswerKind::Published {
            nonce,
            epoch: 1,
            offset,
            time_ms: 1,
            durability: Durability::Memory,
            repeated: false,
        }),
        any::<u32>().prop_map(|request| AnswerKind::StateSet { request, version: 1 }),
    ];
    prop_oneof![
        6 => (room, prop_oneof![8 => attachment().prop_map(|a| Ok(Box::new(a))), 1 => refusal().prop_map(Err)])
            .prop_map(|(room, result)| Output::Attached { room: room.into(), result }),
        8 => (0..5u32, batch()).prop_map(|(alias, batch)| Output::Batch { alias: Alias(alias), batch }),
        2 => prop::collection::vec((token(), kind), 0..3).prop_map(|answers| {
            let answer = |(token, kind)| Answer { connection: ConnectionToken(token), kind };
            Output::Answers(answers.into_iter().map(answer).collect())
        }),
        1 => (0..5u32, token()).prop_map(|(alias, token)| Output::Personals(vec![Personal {
            alias: Alias(alias),
            connection: ConnectionToken(token),
            wire: vec![0x82, 1, 0x61].into(),
        }])),
        6 => (token(), prop::collection::vec(batch(), 0..4), any::<bool>(), prop::option::of(any::<u32>()))
            .prop_map(|(request, batches, same_epoch, retry_after_ms)| {
                let page = HistoryPage { batches, same_epoch, retry_after_ms };
                Output::History { request, page: Box::new(page) }
            }),
        1 => (0..5u32, phase()).prop_map(|(alias, phase)| Output::Phase { alias: Alias(alias), phase, at_ms: 1 }),
        1 => (0..5u32).prop_map(|alias| Output::Removed { alias: Alias(alias) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => output().prop_map(Step::Output),
        8 => (0..CONNECTIONS, 0..6u8, 0..ROOMS.len(), 0..4u32, 0..4u64, number()).prop_map(
            |(connection, what, room, alias, epoch, offset)| Step::Frame {
                connection, what, room, alias, epoch, offset
            }
        ),
        2 => (0..CONNECTIONS, prop_oneof![0..60usize, Just(usize::MAX)])
            .prop_map(|(connection, bytes)| Step::Space { connection, bytes }),
        1 => (0..CONNECTIONS).prop_map(|connection| Step::Cut { connection }),
        4 => (0..3_000_000u64).prop_map(|us| Step::Turn { us }),
    ]
}

struct House {
    audience: Audience,
    links: Arc<Inboxes>,
    sink: Sink,
    keys: Vec<Option<ConnectionKey>>,
    encoder: Encoder,
    now: Now,
    request: u32,
}

impl House {
    fn new() -> House {
        let links = Arc::new(Inboxes::new(Directory::new(1, 1), 100));
        let rate = Rate { per_s: 100_000, burst: 100_000 };
        let settings = Settings {
            ring_batches_max: 3,
            batches_per_write_max: 2,
            compress_from_members: 1,
            control_queue_bytes_max: 1_000,
            publish: rate,
            frames: rate,
            ..Settings::for_tests()
        };
        let people = Arc::new(People::new(PeopleLimits::for_tests(), Key::from_seed(1)));
        let permissions = permission::PUBLISH | permission::REACT | permission::STATE;
        let authority = Arc::new(OpenAuthority { permissions });
        let tickets = Arc::new(OpenTickets { ttl_ms: 1_000 });
        House {
            audience: Audience::new(settings, authority, tickets, links.clone(), people, Key::from_seed(1)),
            links,
            sink: Sink::default(),
            keys: vec![None; CONNECTIONS as usize],
            encoder: Encoder::new(),
            now: Now { us: 1_000_000, unix_ms: 1_700_000_000_000 },
            request: 0,
        }
    }

    fn send(&mut self, connection: u32, frame: &ClientFrame<'_>) {
        let mut bytes = Vec::new();
        self.encoder.client(frame, &mut bytes);
        if let Some(key) = self.keys[connection as usize] {
            self.audience.handle_frame(self.now, key, &bytes);
        }
    }

    fn connect(&mut self, connection: u32) {
        if self.keys[connection as usize].is_none() {
            self.sink.space.insert(connection, usize::MAX);
            self.keys[connection as usize] =
                Some(self.audience.handle_open(self.now, LinkKey(connection), None));
            let capabilities = capability::DEFLATE_1;
            self.send(connection, &ClientFrame::Hello(Hello { capabilities, ..Hello::default() }));
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Output(output) => self.audience.handle_output(output.clone()),
            Step::Frame { connection, what, room, alias, epoch, offset } => {
                self.connect(*connection);
                self.request += 1;
                let (request, room, alias) = (self.request, ROOMS[*room], *alias);
                let resume = (*what == 1).then_some((*epoch, *offset));
                let frame = match what {
                    0 | 1 => ClientFrame::Subscribe(Subscribe { request, room, resume, replay: 3 }),
                    2 => ClientFrame::Unsubscribe { request, alias },
                    3 => ClientFrame::Publish(Publish {
                        alias,
                        nonce: request.into(),
                        text: "x",
                        ..Publish::default()
                    }),
                    4 => ClientFrame::SetState(SetState { request, alias, key: "k", value: None }),
                    _ => ClientFrame::History(History {
                        request,
                        alias,
                        epoch: *epoch,
                        from: *offset,
                        count_max: 0,
                    }),
                };
                self.send(*connection, &frame);
            }
            Step::Space { connection, bytes } => {
                self.sink.space.insert(*connection, *bytes);
            }
            Step::Cut { connection } => {
                if let Some(key) = self.keys[*connection as usize].take() {
                    self.audience.handle_gone(key);
                }
            }
            Step::Turn { us } => {
                self.now.us += us;
                self.turn();
            }
        }
    }

    fn turn(&mut self) {
        self.audience.handle_timeout(self.now);
        for wire in std::mem::take(&mut self.sink.full) {
            match self.keys[wire as usize] {
                Some(key) if self.sink.space[&wire] > 0 => self.audience.handle_writable(key),
                _ => self.sink.full.push(wire),
            }
        }
        let mut turns = 0;
        while self.audience.poll_writes(&mut self.sink, 100) {
            turns += 1;
            assert!(turns < 200, "writing comes to no end");
        }
        while let Some(close) = self.audience.poll_close() {
            self.keys[close.wire.0 as usize] = None;
            self.audience.handle_gone(close.connection);
        }
        while self.links.pop(0).is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: super::property::cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sequence_of_outputs_ends_a_worker(steps in prop::collection::vec(step(), 1..120)) {
        let mut house = House::new();
        for connection in 0..CONNECTIONS {
            house.connect(connection);
        }
        for step in &steps {
            house.take(step);
        }
        for connection in 0..CONNECTIONS {
            house.sink.space.insert(connection, usize::MAX);
        }
        house.take(&Step::Turn { us: 1_000_000 });
        let members: usize = house.audience.subscriptions.rooms.slab.iter().map(|(_, r)| r.members.len()).sum();
        prop_assert_eq!(house.audience.counters().members, members as u64);
    }
}
