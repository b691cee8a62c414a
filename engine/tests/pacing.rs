//! Pacing as a property of whole rooms: whatever is said and whenever, each offset is shown, folded or
//! counted; the log keeps all of it; and what is left out reaches the person whom it means, once.
//!
//! Not here: the selection by itself (`src/pacing`), sockets (edge).

mod support;

use std::collections::{BTreeMap, BTreeSet};

use grandstand_engine::link::*;
use grandstand_engine::{RoomSettings, ShardConfig};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{Role, ServerFrame};
use grandstand_protocol::{limits, stream};
use proptest::prelude::*;
use support::{Stage, batches, publication};

const PER_S: u32 = 5;

#[derive(Clone, Debug)]
struct Saying {
    user: u64,
    role: u8,
    text: u8,
    mention: Option<u64>,
    reply_to: Option<u64>,
}

fn ticks() -> impl Strategy<Value = Vec<(u64, Vec<Saying>)>> {
    let saying =
        (0u64..6, 0u8..10, 0u8..12, prop::option::weighted(0.3, 0u64..7), prop::option::of(0u64..12));
    let saying = saying.prop_map(|(user, role, text, mention, reply_to)| Saying {
        user,
        role,
        text,
        mention,
        reply_to,
    });
    prop::collection::vec((100u64..1500, prop::collection::vec(saying, 0..20)), 1..25)
}

fn frame(wire: &[u8]) -> ServerFrame<'_> {
    let (header, _) =
        stream::read_header(wire, limits::SERVER_FRAME_BYTES_MAX).unwrap().expect("a whole header");
    ServerFrame::decode(&wire[header..]).expect("a frame")
}

/// A message as a batch shows it: offset, author, text, folded.
type Shown = (u64, String, String, u64);

fn read(batch: &Batch, at: &mut Position) -> Vec<Shown> {
    let ServerFrame::Batch(body) = frame(&batch.wire) else { panic!("not a batch") };
    let mut reader = BatchReader::new(body).expect("a batch");
    assert_eq!((at.offset, reader.count()), (batch.first_offset, u64::from(batch.messages)));
    at.begin(&reader).expect("it continues");
    let mut shown = Vec::new();
    while let Some(item) = reader.next_item().expect("a whole batch") {
        match item {
            Item::Message(m) => shown.push((at.message(&m), m.author.into(), m.text.into(), m.folded)),
            Item::Omitted(n) => at.omitted(n),
            _ => {}
        }
    }
    assert_eq!(at.offset, batch.next_offset);
    shown
}

struct World {
    stage: Stage,
    alias: Alias,
    at: Position,
    said: Vec<Publication>,
    // By offset: who may be answered there, for somebody was shown it.
    answerable: BTreeMap<u64, u64>,
    spoke: BTreeSet<u64>,
    shown: u64,
    folded: u64,
    personals: u64,
}

impl World {
    fn new(config: ShardConfig) -> World {
        let mut stage = Stage::new(config);
        let attachment = stage.attach(0, "show").expect("made on first use");
        let (alias, at) =
            (attachment.alias, Position { epoch: attachment.epoch, offset: 0, time_ms: attachment.time_ms });
        stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 10 });
        stage.pass_ms(10_000);
        stage.outputs();
        let (said, answerable, spoke) = Default::default();
        World { stage, alias, at, said, answerable, spoke, shown: 0, folded: 0, personals: 0 }
    }

    fn say(&mut self, saying: &Saying) {
        let user = saying.user;
        let text = match saying.mention {
            Some(named) => format!("@USER {named}, {}", saying.text),
            None => saying.text.to_string(),
        };
        let nonce = self.said.len() as u64;
        let mut p = publication(self.alias, (user % 3) as u16, user, nonce, &text);
        p.from.connection = ConnectionToken(100 + user);
        p.role = if saying.role == 0 { Role::Host } else { Role::Viewer };
        p.reply_to = saying.reply_to.and_then(|back| nonce.checked_sub(back + 1));
        self.said.push((*p).clone());
        self.stage.input(Input::Publish(p));
    }

    /// One tick: what was sent, against what should have been.
    fn tick(&mut self, ms: u64) {
        let first = self.at.offset;
        self.stage.pass_ms(ms);
        let outputs = self.stage.outputs();
        let mut personals: Vec<(u64, u64)> = Vec::new();
        for (worker, output) in &outputs {
            let Output::Personals(list) = output else { continue };
            for personal in list {
                let user = personal.connection.0 - 100;
                assert_eq!((*worker, personal.alias), (WorkerId((user % 3) as u16), self.alias));
                personals.push((self.check_personal(&personal.wire), user));
            }
        }
        let mut shown = Vec::new();
        for batch in batches(outputs, 0) {
            shown.extend(read(&batch, &mut self.at));
        }
        self.check_tick(first, &shown, personals);
    }

    fn check_personal(&self, wire: &[u8]) -> u64 {
        let ServerFrame::Personal(p) = frame(wire) else { panic!("not a personal frame") };
        let said = &self.said[p.offset as usize];
        assert_eq!(
            (p.author, p.text, p.role, p.reply_to),
            (&*said.author, &*said.text, said.role, said.reply_to)
        );
        assert_eq!((p.alias, p.epoch), (self.alias.0, self.at.epoch));
        p.offset
    }

    fn check_tick(&mut self, first: u64, shown: &[Shown], mut personals: Vec<(u64, u64)>) {
        let is_shown = |offset: u64| shown.iter().any(|s| s.0 == offset);
        let sealed = first..self.at.offset;
        for (offset, author, text, _) in shown {
            let p = &self.said[*offset as usize];
            assert_eq!((author.as_str(), text.as_str()), (&*p.author, &*p.text));
        }
        assert!(shown.windows(2).all(|w| w[0].0 < w[1].0), "in the order of the log");
        self.spoke.extend(sealed.clone().map(|offset| self.said[offset as usize].user.0));
        let mut expected = Vec::new();
        let mut folded = 0;
        for offset in sealed {
            let p = self.said[offset as usize].clone();
            let stands_for_it = |s: &&Shown| {
                let q = &self.said[s.0 as usize];
                q.role != Role::Host && (&q.text, q.reply_to) == (&p.text, p.reply_to)
            };
            if is_shown(offset) {
                self.answerable.insert(offset, p.user.0);
            } else if shown.iter().any(|s| stands_for_it(&s)) {
                folded += 1;
            } else {
                assert_ne!(p.role, Role::Host, "hosts are always shown");
                let meant = self.meant(&p);
                if !meant.is_empty() {
                    self.answerable.insert(offset, p.user.0);
                }
                expected.extend(meant.into_iter().map(|user| (offset, user)));
            }
        }
        assert_eq!(shown.iter().map(|s| s.3).sum::<u64>(), folded);
        personals.sort_unstable();
        expected.sort_unstable();
        assert_eq!(personals, expected, "each of those who are meant, once, and nobody else");
        self.personals += expected.len() as u64;
        self.shown += shown.len() as u64;
        self.folded += folded;
        assert_eq!(self.shown + self.folded + self.stage.counter("messages_omitted"), self.at.offset);
    }

    /// Who is meant, looked up without any index.
    fn meant(&self, p: &Publication) -> BTreeSet<u64> {
        let named =
            (0..7).filter(|user| p.text.contains(&format!("@USER {user},")) && self.spoke.contains(user));
        let answered = p.reply_to.and_then(|offset| self.answerable.get(&offset)).copied();
        named.chain(answered).filter(|user| *user != p.user.0).collect()
    }

    /// The log has everything, by pages of any size.
    fn check_log(&mut self, messages_max: u32) {
        let (mut from, mut at) = (0, Position { epoch: self.at.epoch, ..Position::default() });
        while from < self.at.offset {
            let of = PageOf::Full { messages_max };
            let (alias, epoch) = (self.alias, at.epoch);
            self.stage.input(Input::History { worker: WorkerId(0), request: 1, alias, epoch, from, of });
            let Some((_, Output::History { page, .. })) = self.stage.outputs().pop() else {
                panic!("no page")
            };
            for batch in &page.batches {
                for (offset, _, text, folded) in read(batch, &mut at) {
                    assert_eq!((offset, &*text, folded), (from, &*self.said[from as usize].text, 0));
                    from += 1;
                }
            }
        }
        assert_eq!(from, self.said.len() as u64);
    }
}

fn config() -> ShardConfig {
    ShardConfig {
        tick_ms: 100,
        pacing_per_s: PER_S,
        pacing_above_viewers: 9,
        viewers_every_ms: 0,
        // Some ticks take more than one batch.
        batch_bytes_max: 600,
        ..ShardConfig::for_tests()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_offset_is_shown_folded_or_counted_and_kept(ticks in ticks(), page in 1u32..60) {
        let mut world = World::new(config());
        for (ms, sayings) in &ticks {
            sayings.iter().for_each(|saying| world.say(saying));
            world.tick(*ms);
        }
        world.tick(2_000);
        prop_assert_eq!(world.at.offset, world.said.len() as u64);
        prop_assert_eq!(world.personals, world.stage.counter("personals"));
        prop_assert_eq!((world.shown, world.folded), (world.stage.counter("messages_shown"), world.stage.counter("messages_folded")));
        world.check_log(page);
    }
}

fn flood(world: &mut World, messages: u64) {
    for n in 0..messages {
        world.say(&Saying { user: n % 6, role: 1, text: n as u8, mention: None, reply_to: None });
    }
    world.tick(1_000);
}

#[test]
fn small_audiences_are_not_paced_and_pay_nothing() {
    let mut world = World::new(ShardConfig { pacing_above_viewers: 10, ..config() });
    flood(&mut world, 100);
    assert_eq!((world.shown, world.folded), (100, 0));
    let alias = world.alias;
    world.stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 11 });
    flood(&mut world, 100);
    assert!(world.shown < 110, "{}", world.shown);
    world.check_log(500);
}

#[test]
fn a_rooms_own_rate_goes_first_whatever_its_audience() {
    let mut world = World::new(ShardConfig { pacing_above_viewers: 10, ..config() });
    let settings = |pacing_per_s| AdminRequest::Configure {
        room: "show".into(),
        settings: RoomSettings { pacing_per_s, ..RoomSettings::default() },
    };
    world.stage.admin(settings(Some(7))).expect("set");
    flood(&mut world, 100);
    assert_eq!(world.shown, 7, "a second's worth");
    world.stage.admin(settings(Some(0))).expect("set");
    flood(&mut world, 100);
    assert_eq!(world.shown, 107);
    world.stage.admin(settings(None)).expect("set");
    let alias = world.alias;
    world.stage.input(Input::Viewers { worker: WorkerId(0), alias, count: 11 });
    flood(&mut world, 100);
    assert_eq!(world.shown, 107 + u64::from(PER_S), "the node's");
}

#[test]
fn a_flood_costs_as_many_batches_as_what_it_shows() {
    let mut world = World::new(ShardConfig { tick_ms: 10, batch_bytes_max: 1 << 16, ..config() });
    flood(&mut world, 100);
    let before = world.stage.counter("batches_sealed");
    for _ in 0..200 {
        for n in 0..10 {
            world.say(&Saying { user: n % 6, role: 1, text: n as u8, mention: None, reply_to: None });
        }
        world.tick(10);
    }
    let sealed = world.stage.counter("batches_sealed") - before;
    assert!(sealed <= 2 * u64::from(PER_S) + 1, "{sealed} batches in two seconds");
}
