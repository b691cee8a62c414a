//! The hand-over of rooms in memory as a property: whatever was published, set, closed and slowed before, a
//! next owner in another process has the same rooms, answers retries as before, and lets nobody speak
//! earlier.
//!
//! Not here: the bytes between the processes (`edge/node/src/handover`), rooms on disk (`restarts.rs`).

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use grandstand_engine::link::*;
use grandstand_engine::log::HandedRoom;
use grandstand_engine::{SLOW_MODE_KEY, Shard, ShardConfig, take_rooms};
use proptest::prelude::*;
use support::{Follower, Stage, publication};

const ROOMS: [&str; 3] = ["show/one", "show/two", "lobby"];

#[derive(Clone, Debug)]
enum Step {
    Publish { room: usize, user: u64, nonce: u64 },
    SetState { room: usize, key: u8, value: Option<u8> },
    Slow { room: usize, ms: Option<u16> },
    React { room: usize },
    Phase { room: usize, is_open: bool },
    Configure { room: usize, tick_min_ms: Option<u32> },
    Remove { room: usize },
    Pass { ms: u64 },
    HandOver { pause_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    prop_oneof![
        12 => (room.clone(), 0u64..3, 0u64..30).prop_map(|(room, user, nonce)| Step::Publish { room, user, nonce }),
        2 => (room.clone(), 0u8..3, prop::option::of(any::<u8>()))
            .prop_map(|(room, key, value)| Step::SetState { room, key, value }),
        1 => (room.clone(), prop::option::of(0u16..5_000)).prop_map(|(room, ms)| Step::Slow { room, ms }),
        1 => room.clone().prop_map(|room| Step::React { room }),
        1 => (room.clone(), any::<bool>()).prop_map(|(room, is_open)| Step::Phase { room, is_open }),
        1 => (room.clone(), prop::option::of(1u32..50))
            .prop_map(|(room, tick_min_ms)| Step::Configure { room, tick_min_ms }),
        1 => room.prop_map(|room| Step::Remove { room }),
        6 => (0u64..60).prop_map(|ms| Step::Pass { ms }),
        1 => (1_000u64..20_000).prop_map(|ms| Step::Pass { ms }),
        2 => (0u64..3_000).prop_map(|pause_ms| Step::HandOver { pause_ms }),
    ]
}

fn config() -> ShardConfig {
    ShardConfig {
        tick_ms: 10,
        ring_batches_max: 5,
        history_batches_max: 12,
        nonces_max: 20,
        nonce_window_ms: 30_000,
        viewers_every_ms: 0,
        idle_ms: 0,
        ..ShardConfig::for_tests()
    }
}

/// What was answered: where a publication is.
type Acknowledged = HashMap<(usize, u64, u64), (u64, u64, u64)>;

struct World {
    stage: Stage,
    aliases: [Option<Alias>; 3],
    acknowledged: Acknowledged,
}

impl World {
    fn new() -> World {
        World { stage: Stage::new(config()), aliases: [None; 3], acknowledged: HashMap::new() }
    }

    fn alias(&mut self, room: usize) -> Alias {
        *self.aliases[room].get_or_insert_with(|| self.stage.attach(0, ROOMS[room]).unwrap().alias)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { room, user, nonce } => self.publish(room, user, nonce),
            Step::SetState { room, key, value } => {
                self.alias(room);
                let key = format!("key {key}");
                let value = value.map(|value| vec![value]);
                let _ = self.stage.admin(AdminRequest::SetState { room: ROOMS[room].into(), key, value });
            }
            Step::Slow { room, ms } => {
                self.alias(room);
                let value = ms.map(|ms| ms.to_string().into_bytes());
                let (room, key) = (ROOMS[room].into(), SLOW_MODE_KEY.into());
                let _ = self.stage.admin(AdminRequest::SetState { room, key, value });
            }
            Step::React { room } => {
                let alias = self.alias(room);
                self.stage.input(Input::React { alias, tallies: vec![("clap".into(), 2)] });
            }
            Step::Phase { room, is_open } => {
                let room = ROOMS[room].to_owned();
                let request =
                    if is_open { AdminRequest::Open { room } } else { AdminRequest::Close { room } };
                let _ = self.stage.admin(request);
            }
            Step::Configure { room, tick_min_ms } => {
                let settings = RoomSettings { tick_min_ms, ..RoomSettings::default() };
                let _ = self.stage.admin(AdminRequest::Configure { room: ROOMS[room].into(), settings });
            }
            Step::Remove { room } => {
                let _ = self.stage.admin(AdminRequest::Remove { room: ROOMS[room].into() });
                self.aliases[room] = None;
                self.acknowledged.retain(|(of, ..), _| *of != room);
            }
            Step::Pass { ms } => self.stage.pass_ms(ms),
            Step::HandOver { pause_ms } => self.hand_over(pause_ms),
        }
    }

    fn publish(&mut self, room: usize, user: u64, nonce: u64) {
        let alias = self.alias(room);
        self.stage.outputs();
        let text = format!("{user} {nonce}");
        self.stage.input(Input::Publish(publication(alias, 0, user, nonce, &text)));
        let answers = self.stage.answers();
        for (_, answer) in answers {
            if let AnswerKind::Published { epoch, offset, time_ms, .. } = answer.kind {
                // The time of a publication that waits is that of its acceptance; sealed, that of its batch.
                let known = self.acknowledged.insert((room, user, nonce), (epoch, offset, time_ms));
                let repeats = known.is_none_or(|(e, o, _)| (e, o) == (epoch, offset) || o < offset);
                assert!(repeats, "an answer that moved back: {known:?} {epoch} {offset}");
            }
        }
    }

    /// The rooms as viewers see them who come now.
    fn seen(&mut self) -> Vec<Attachment> {
        let rooms = ROOMS.iter().zip(self.aliases).filter(|(_, alias)| alias.is_some());
        let names: Vec<_> = rooms.map(|(name, _)| *name).collect();
        names.into_iter().map(|name| *self.stage.attach(1, name).unwrap()).collect()
    }

    fn hand_over(&mut self, pause_ms: u64) {
        // Everything that is due is sealed, so that both processes are looked at between two ticks.
        self.stage.pass_ms(50);
        let before = self.seen();
        let infos: Vec<_> = before.iter().map(|a| a.alias).collect();
        let now = self.stage.now();
        self.stage.shard.handle_handing(now);
        let handed = self.stage.shard.hand_rooms(now);
        // The next process: its monotonic clock is another, the wall clock goes on.
        let mut clock = self.stage.clock.of_next_process();
        let began_us = clock.now().us;
        clock.move_to_us(172_800_000_000);
        clock.step_wall_ms(-((172_800_000_000 - began_us) as i64 / 1_000));
        clock.pass_ms(pause_ms);
        let (shard, left) = (Shard::new(config(), ShardId(0), 1, 7), Default::default());
        self.stage = Stage { shard, clock, left };
        let now = self.stage.now();
        take_rooms(&mut self.stage.shard, now, pause_ms * 1_000, handed.clone());

        let after = self.seen();
        assert_eq!(after.iter().map(|a| a.alias).collect::<Vec<_>>(), infos, "aliases stay");
        for (before, after) in before.iter().zip(&after) {
            let facts = |a: &Attachment| (a.epoch, a.next_offset, a.time_ms, a.phase, a.previous.clone());
            assert_eq!(facts(before), facts(after));
            assert_eq!(before.snapshot, after.snapshot);
            // A reader believes the batches, and reads the same texts to the same end.
            let (read, again) = (Follower::attach(before), Follower::attach(after));
            let common = read.said.len().min(again.said.len());
            assert_eq!(read.said[read.said.len() - common..], again.said[again.said.len() - common..]);
            assert!(again.said.len() >= read.said.len(), "the ring holds chat only, and so no less");
        }
        self.is_the_same_when_handed_on(&handed, pause_ms);
        self.answers_as_before();
    }

    /// What is taken is what was handed: handed on at once, it is the same, and older by the pause.
    fn is_the_same_when_handed_on(&self, handed: &[HandedRoom], pause_ms: u64) {
        let mut copy = Shard::new(config(), ShardId(0), 1, 7);
        take_rooms(&mut copy, self.stage.now(), pause_ms * 1_000, handed.to_vec());
        copy.handle_handing(self.stage.now());
        let plain = |rooms: &[HandedRoom], older_us: u64| -> Vec<HandedRoom> {
            let mut rooms = rooms.to_vec();
            for room in &mut rooms {
                for (batch, _) in &mut room.batches {
                    *batch = Arc::new(Batch { seq: 0, ..(**batch).clone() });
                }
                let Some(live) = &mut room.live else { continue };
                live.spoke.iter_mut().for_each(|(_, ago_us)| *ago_us += older_us);
                live.nonces.complete_for_us = live.nonces.complete_for_us.map(|us| us + older_us as i64);
            }
            rooms
        };
        let mut expected = plain(handed, pause_ms * 1_000);
        let found = plain(&copy.hand_rooms(self.stage.now()), 0);
        for (expected, found) in expected.iter_mut().zip(&found) {
            // Those whose wait ended during the pause are forgotten.
            let (Some(expected), Some(found)) = (&mut expected.live, &found.live) else { continue };
            expected.spoke.retain(|spoke| found.spoke.contains(spoke));
        }
        assert_eq!(found, expected);
    }

    /// Retries of what was acknowledged are answered with the same place, or are too old.
    fn answers_as_before(&mut self) {
        let acknowledged: Vec<_> = self.acknowledged.iter().map(|(key, place)| (*key, *place)).collect();
        for ((room, user, nonce), (epoch, offset, _)) in acknowledged {
            let alias = self.alias(room);
            let mut retry = publication(alias, 0, user, nonce, &format!("{user} {nonce}"));
            retry.age_ms = 1_000_000;
            self.stage.outputs();
            self.stage.input(Input::Publish(retry));
            for (_, answer) in self.stage.answers() {
                match answer.kind {
                    AnswerKind::Published { epoch: e, offset: o, repeated, .. } => {
                        assert_eq!(
                            (e, o, repeated),
                            (epoch, offset, true),
                            "nothing acknowledged is lost or doubled"
                        );
                    }
                    AnswerKind::PublishRefused { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn a_next_process_has_the_same_rooms(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.hand_over(7);
    }
}

#[test]
fn slow_mode_and_nonces_go_on_where_they_were() {
    let mut world = World::new();
    world.step(&Step::Slow { room: 0, ms: Some(10_000) });
    world.step(&Step::Pass { ms: 100 });
    world.step(&Step::Publish { room: 0, user: 1, nonce: 5 });
    world.step(&Step::Pass { ms: 3_000 });
    // 50 ms to seal, and a pause of two seconds.
    world.hand_over(2_000);
    let alias = world.alias(0);
    world.stage.outputs();
    world.stage.input(Input::Publish(publication(alias, 0, 1, 6, "too early")));
    let (reason, retry_after_ms) = support::refusal(support::only_answer(&mut world.stage));
    assert_eq!(reason, grandstand_protocol::refusal::Refusal::SlowMode);
    assert_eq!(retry_after_ms, Some(10_000 - 3_000 - 50 - 2_000));
    world.stage.input(Input::Publish(publication(alias, 0, 1, 5, "1 5")));
    assert_eq!(support::offset(support::only_answer(&mut world.stage)), (0, true));
    // Somebody whose first attempt got no answer retries within the memory: it is accepted, once.
    let mut late = publication(alias, 0, 2, 9, "first heard here");
    late.age_ms = 4_000;
    world.stage.input(Input::Publish(late));
    assert_eq!(support::offset(support::only_answer(&mut world.stage)), (1, false));
}
