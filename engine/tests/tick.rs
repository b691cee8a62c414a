//! The adaptive tick, with a model of the workers in virtual time: the share of fan-out comes to its target
//! and stays there, ticks settle, and who causes it pays for it.
//!
//! The model: a worker writes to the members of rooms that have news, one write after the other, each at a
//! cost. A room that seals again before its round is over begins its round anew, for writes carry all that is
//! new. Messages come at random times (Poisson). Every 100 ms in which it wrote, a worker reports.
//!
//! Not here: real workers (edge), the estimate and the stretch by themselves (`engine/src/room/tick.rs`).

mod support;

use std::collections::VecDeque;

use grandstand_engine::link::*;
use grandstand_engine::{RoomSettings, ShardConfig};
use proptest::prelude::*;
use support::{Stage, publication};

const TARGET: f64 = 0.30;
const STEP_US: u64 = 500;

struct Room {
    alias: Alias,
    members: Vec<u32>,
    per_s: f64,
    // Of the last seconds: when it sealed.
    sealed_us: Vec<u64>,
    // When the messages came that are not sealed, and how long those that are have waited.
    waiting_us: Vec<u64>,
    waits_us: Vec<u64>,
}

#[derive(Default)]
struct Worker {
    // Rooms with news and the writes that are left.
    rounds: VecDeque<(usize, u32)>,
    // Time that it is ahead of the model's, since a write is begun as long as there is any time.
    owed_ns: f64,
    fanout_ns: f64,
    writes: u64,
    reported_us: u64,
    // Since the last look.
    busy_ns: f64,
}

/// A stage with workers, and what their writes cost.
struct Hall {
    stage: Stage,
    rooms: Vec<Room>,
    workers: Vec<Worker>,
    ns_per_write: f64,
    random: u64,
    said: u64,
}

impl Hall {
    fn new(workers: usize, ns_per_write: f64, seed: u64) -> Self {
        let config = ShardConfig {
            viewers_every_ms: 0,
            pending_messages_max: 1 << 20,
            history_bytes_total_max: 1 << 20,
            ..ShardConfig::for_tests()
        };
        Hall {
            stage: Stage::new(config),
            rooms: Vec::new(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            ns_per_write,
            random: seed,
            said: 0,
        }
    }

    /// A room with so many members on each worker in turn, and its messages per second.
    fn room(&mut self, members: &[u32], per_s: f64) -> usize {
        let name = format!("room {}", self.rooms.len());
        let mut alias = Alias(0);
        for (worker, &count) in members.iter().enumerate().filter(|(_, count)| **count > 0) {
            alias = self.stage.attach(worker as u16, &name).expect("made on first use").alias;
            self.stage.input(Input::Viewers { worker: WorkerId(worker as u16), alias, count });
        }
        let (sealed_us, waiting_us, waits_us) = (Vec::new(), Vec::new(), Vec::new());
        self.rooms.push(Room { alias, members: members.to_vec(), per_s, sealed_us, waiting_us, waits_us });
        self.rooms.len() - 1
    }

    /// Uniform below 1, by splitmix64.
    fn dice(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.random;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ (n >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pass_s(&mut self, seconds: f64) {
        for _ in 0..(seconds * 1e6) as u64 / STEP_US {
            self.step();
        }
    }

    fn step(&mut self) {
        for at in 0..self.rooms.len() {
            if self.dice() < self.rooms[at].per_s * STEP_US as f64 / 1e6 {
                self.say(at);
            }
        }
        self.stage.clock.move_to_us(self.stage.now().us + STEP_US);
        self.stage.shard.handle_timeout(self.stage.now());
        self.take_outputs();
        for worker in 0..self.workers.len() {
            self.work(worker);
        }
    }

    fn say(&mut self, at: usize) {
        self.said += 1;
        let p = publication(self.rooms[at].alias, 0, 1, self.said, "x");
        self.rooms[at].waiting_us.push(self.stage.now().us);
        self.stage.input(Input::Publish(p));
    }

    fn take_outputs(&mut self) {
        let now_us = self.stage.now().us;
        for (worker, output) in self.stage.outputs() {
            let Output::Batch { alias, .. } = output else { continue };
            let at = self.rooms.iter().position(|room| room.alias == alias).expect("one of ours");
            let room = &mut self.rooms[at];
            if room.sealed_us.last() != Some(&now_us) {
                room.sealed_us.push(now_us);
                room.waits_us.extend(room.waiting_us.drain(..).map(|us| now_us - us));
            }
            let (rounds, members) =
                (&mut self.workers[usize::from(worker.0)].rounds, room.members[usize::from(worker.0)]);
            match rounds.iter_mut().find(|(room, _)| *room == at) {
                Some((_, left)) => *left = members,
                None => rounds.push_back((at, members)),
            }
        }
    }

    /// A worker's part of a step, and its report when it is due.
    fn work(&mut self, at: usize) {
        let cost_ns = self.ns_per_write;
        let worker = &mut self.workers[at];
        let mut left_ns = STEP_US as f64 * 1000.0 - worker.owed_ns;
        while left_ns > 0.0
            && let Some((_, writes)) = worker.rounds.front_mut()
        {
            let done = ((left_ns / cost_ns).ceil() as u32).min(*writes);
            *writes -= done;
            let spent_ns = f64::from(done) * cost_ns;
            left_ns -= spent_ns;
            worker.fanout_ns += spent_ns;
            worker.busy_ns += spent_ns;
            worker.writes += u64::from(done);
            if *writes == 0 {
                worker.rounds.pop_front();
            }
        }
        worker.owed_ns = (-left_ns).max(0.0);
        let elapsed_us = self.stage.now().us - worker.reported_us;
        if worker.writes > 0 && elapsed_us >= 100_000 {
            let load =
                Load { elapsed_us, fanout_us: (worker.fanout_ns / 1000.0) as u64, writes: worker.writes };
            (worker.fanout_ns, worker.writes, worker.reported_us) = (0.0, 0, self.stage.now().us);
            self.stage.input(Input::Load { worker: WorkerId(at as u16), load });
        }
    }

    /// Forget what was seen so far, let time pass: the largest share of a worker meanwhile.
    fn share_over_s(&mut self, seconds: f64) -> f64 {
        self.workers.iter_mut().for_each(|worker| worker.busy_ns = 0.0);
        self.rooms.iter_mut().for_each(|room| {
            room.sealed_us.clear();
            room.waits_us.clear();
        });
        self.pass_s(seconds);
        self.workers.iter().map(|worker| worker.busy_ns / 1e9 / seconds).fold(0.0, f64::max)
    }

    /// Mean time between batches in what was seen last.
    fn interval_ms(&self, room: usize) -> f64 {
        let sealed_us = &self.rooms[room].sealed_us;
        let between = sealed_us.last().expect("it sealed") - sealed_us[0];
        between as f64 / 1000.0 / (sealed_us.len() - 1) as f64
    }

    /// How long the 99th of 100 messages waited for its batch.
    fn wait_p99_ms(&mut self, room: usize) -> u64 {
        let waits_us = &mut self.rooms[room].waits_us;
        waits_us.sort_unstable();
        waits_us[waits_us.len() * 99 / 100] / 1000
    }

    fn tick_ms(&mut self, room: usize) -> u64 {
        let name = format!("room {room}");
        let Ok(AdminAnswer::Rooms(rooms)) =
            self.stage.admin(AdminRequest::List { prefix: name, after: String::new(), limit: 1 })
        else {
            panic!("no list")
        };
        rooms[0].tick_ms
    }
}

#[test]
fn a_giant_gets_the_tick_that_it_needs_and_a_small_room_beside_it_a_short_one() {
    let mut hall = Hall::new(1, 3000.0, 1);
    let (giant, small) = (hall.room(&[15_000], 200.0), hall.room(&[20], 200.0));
    hall.pass_s(3.0);
    let share = hall.share_over_s(10.0);
    assert!((0.25..0.36).contains(&share), "{share}");
    // 15,000 writes of 3 us in 30 % of the time.
    assert!((145.0..190.0).contains(&hall.interval_ms(giant)), "{}", hall.interval_ms(giant));
    assert!(hall.interval_ms(small) < 16.0, "{}", hall.interval_ms(small));
    assert!(hall.wait_p99_ms(small) <= 15);
}

#[test]
fn several_giants_share_what_there_is() {
    let mut hall = Hall::new(1, 3000.0, 2);
    for _ in 0..4 {
        hall.room(&[15_000], 100.0);
    }
    let small = hall.room(&[20], 200.0);
    hall.pass_s(8.0);
    let share = hall.share_over_s(20.0);
    assert!((0.22..0.39).contains(&share), "{share}");
    let ticks: Vec<_> = (0..4).map(|room| hall.interval_ms(room)).collect();
    assert!(ticks.iter().all(|ms| (400.0..900.0).contains(ms)), "{ticks:?}");
    assert!(hall.interval_ms(small) < 70.0, "stretched in proportion: {}", hall.interval_ms(small));
}

#[test]
fn a_giant_over_every_bound_does_not_take_a_small_room_along() {
    let mut hall = Hall::new(1, 20_000.0, 3);
    let (giant, small) = (hall.room(&[30_000], 100.0), hall.room(&[20], 200.0));
    hall.pass_s(10.0);
    let share = hall.share_over_s(20.0);
    assert!((0.55..0.70).contains(&share), "600 ms of each second, and there is no longer tick: {share}");
    assert!(hall.interval_ms(giant) >= 999.0);
    assert!(hall.interval_ms(small) < 30.0, "{}", hall.interval_ms(small));
}

#[test]
fn many_small_rooms_are_stretched_too() {
    let mut hall = Hall::new(1, 10_000.0, 4);
    for _ in 0..100 {
        hall.room(&[80], 100.0);
    }
    hall.pass_s(10.0);
    let share = hall.share_over_s(5.0);
    assert!((0.22..0.39).contains(&share), "{share}");
}

#[test]
fn only_the_worker_that_is_busy_makes_a_room_wait() {
    let mut hall = Hall::new(2, 5000.0, 5);
    for _ in 0..3 {
        hall.room(&[15_000, 0], 100.0);
    }
    let (near, far) = (hall.room(&[10, 10], 200.0), hall.room(&[0, 10], 200.0));
    hall.pass_s(8.0);
    hall.share_over_s(5.0);
    assert!(hall.interval_ms(near) > 1.5 * hall.interval_ms(far));
    assert!(hall.interval_ms(far) < 16.0);
}

#[test]
fn a_quiet_giant_speaks_at_once() {
    let mut hall = Hall::new(1, 3000.0, 6);
    let giant = hall.room(&[15_000], 0.3);
    hall.pass_s(60.0);
    let waits_us = &hall.rooms[giant].waits_us;
    let at_once = waits_us.iter().filter(|us| **us <= STEP_US).count();
    assert!(waits_us.len() > 8 && at_once * 10 >= waits_us.len() * 8, "{waits_us:?}");
}

#[test]
fn ticks_recover_when_the_load_falls() {
    let mut hall = Hall::new(1, 10_000.0, 7);
    let rooms: Vec<_> = (0..12).map(|_| hall.room(&[10_000], 100.0)).collect();
    let small = hall.room(&[20], 200.0);
    hall.pass_s(15.0);
    let crowded_ms = hall.tick_ms(small);
    assert!(crowded_ms > 25, "{crowded_ms} ms");
    rooms.into_iter().for_each(|room| hall.rooms[room].per_s = 0.0);
    hall.pass_s(15.0);
    assert!(hall.tick_ms(small) <= 11, "{} ms", hall.tick_ms(small));
}

#[test]
fn a_round_that_was_preempted_does_not_move_the_tick_far() {
    let mut hall = Hall::new(1, 3000.0, 8);
    let giant = hall.room(&[15_000], 100.0);
    hall.pass_s(5.0);
    let before_ms = hall.tick_ms(giant);
    hall.ns_per_write = 60_000.0;
    hall.pass_s(0.2);
    hall.ns_per_write = 3000.0;
    hall.pass_s(0.1);
    let after_ms = hall.tick_ms(giant);
    assert!(after_ms > before_ms && after_ms < 3 * before_ms, "{before_ms} ms, then {after_ms} ms");
    hall.pass_s(5.0);
    assert!(hall.tick_ms(giant) < before_ms * 5 / 4, "{before_ms} ms, at last {} ms", hall.tick_ms(giant));
}

#[test]
fn before_anything_is_measured_a_tick_is_sensible() {
    let mut hall = Hall::new(1, 3000.0, 9);
    let (giant, small) = (hall.room(&[15_000], 1.0), hall.room(&[100], 1.0));
    assert!((100..=500).contains(&hall.tick_ms(giant)), "{}", hall.tick_ms(giant));
    assert_eq!(hall.tick_ms(small), 10);
}

#[test]
fn a_rooms_own_bounds_hold_whatever_was_measured() {
    let mut hall = Hall::new(1, 3000.0, 10);
    let giant = hall.room(&[15_000], 200.0);
    let settings = |tick_min_ms, tick_max_ms| AdminRequest::Configure {
        room: "room 0".into(),
        settings: RoomSettings { tick_min_ms, tick_max_ms, ..RoomSettings::default() },
    };
    hall.stage.admin(settings(None, Some(50))).unwrap();
    hall.share_over_s(5.0);
    assert!((48.0..53.0).contains(&hall.interval_ms(giant)), "{}", hall.interval_ms(giant));
    hall.stage.admin(settings(Some(400), None)).unwrap();
    hall.pass_s(2.0);
    hall.share_over_s(5.0);
    assert!((399.0..410.0).contains(&hall.interval_ms(giant)), "{}", hall.interval_ms(giant));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever rooms speak: fan-out keeps to its share, unless rooms are at their longest tick; it uses it,
    /// if there is enough to say; and ticks have settled.
    #[test]
    fn the_share_comes_to_its_target_and_stays(
        rooms in prop::collection::vec((1u32..20_000, 5u32..120), 1..7),
        ns_per_write in 1500.0..20_000.0,
        seed in any::<u64>(),
    ) {
        let mut hall = Hall::new(1, ns_per_write, seed);
        for &(members, per_s) in &rooms {
            hall.room(&[members], f64::from(per_s));
        }
        hall.pass_s(12.0);
        let share = hall.share_over_s(12.0);
        let is_stuck = (0..rooms.len()).any(|room| hall.tick_ms(room) >= 1000);
        prop_assert!(share < 1.3 * TARGET || is_stuck, "share {share}, and no tick is at its longest");
        let before: Vec<_> = (0..rooms.len()).map(|room| hall.interval_ms(room)).collect();
        let share_after = hall.share_over_s(12.0);
        let after: Vec<_> = (0..rooms.len()).map(|room| hall.interval_ms(room)).collect();
        let is_settled = |(a, b): (&f64, &f64)| (0.6..1.67).contains(&(a / b));
        prop_assert!(before.iter().zip(&after).all(is_settled), "{before:?} then {after:?}");
        prop_assert!((0.7..1.43).contains(&(share / share_after)), "{share} then {share_after}");
    }
}
