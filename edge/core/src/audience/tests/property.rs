//! Property tests: whoever publishes, stalls, leaves, resumes or is cut off, in any order, and however slow
//! or full the links are, the promises that `viewer` checks on every frame hold, and at rest all are at one
//! head.
//!
//! Why: the order of events that breaks a promise is one that nobody thought of.

use std::sync::Arc;

use grandstand_engine::link::AdminRequest;
use grandstand_engine::{RoomSettings, ShardConfig};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ActKind, ClientFrame, GapReason, History, permission};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use crate::testing::OpenAuthority;

const VIEWERS: usize = 7;
const ROOMS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Connect { worker: usize },
    Cut,
    Subscribe { room: usize, replay: u32 },
    Resume { room: usize },
    Unsubscribe { room: usize },
    Say { room: usize, times: usize },
    Repeat,
    React { room: usize },
    SetState { room: usize, key: u8, value: Option<u8> },
    Act { room: usize, act: ActKind, back: u64 },
    Page { room: usize, back: u64 },
    Ping,
    Fault,
    Stall { bytes: usize },
    Flow,
    Full { full: bool },
    Hold { hold: bool },
    Administer { room: usize, what: u8 },
    WriteRun { ms: u64 },
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let room = || 0..ROOMS.len();
    let step = prop_oneof![
        6 => (0usize..3).prop_map(|worker| Step::Connect { worker }),
        2 => Just(Step::Cut),
        4 => (room(), 0u32..20).prop_map(|(room, replay)| Step::Subscribe { room, replay }),
        6 => room().prop_map(|room| Step::Resume { room }),
        2 => room().prop_map(|room| Step::Unsubscribe { room }),
        12 => (room(), 1usize..5).prop_map(|(room, times)| Step::Say { room, times }),
        2 => Just(Step::Repeat),
        1 => room().prop_map(|room| Step::React { room }),
        3 => (room(), 0u8..3, prop::option::of(any::<u8>()))
            .prop_map(|(room, key, value)| Step::SetState { room, key, value }),
        4 => (room(), act(), 1u64..12).prop_map(|(room, act, back)| Step::Act { room, act, back }),
        2 => (room(), 0u64..30).prop_map(|(room, back)| Step::Page { room, back }),
        2 => Just(Step::Ping),
        1 => Just(Step::Fault),
        5 => (0usize..400).prop_map(|bytes| Step::Stall { bytes }),
        2 => Just(Step::Flow),
        1 => any::<bool>().prop_map(|full| Step::Full { full }),
        1 => any::<bool>().prop_map(|hold| Step::Hold { hold }),
        1 => (room(), 0u8..6).prop_map(|(room, what)| Step::Administer { room, what }),
        10 => (0u64..150).prop_map(|ms| Step::WriteRun { ms }),
    ];
    (0..VIEWERS, step)
}

/// What anybody here may do, since all of them moderate.
fn act() -> impl Strategy<Value = ActKind> {
    let removals = [ActKind::Remove, ActKind::Remove, ActKind::RemoveAuthor, ActKind::Clear];
    prop::sample::select(removals.to_vec())
}

fn plan() -> impl Strategy<Value = Plan> {
    let links = (any::<u64>(), 1u16..4, 1u16..4, 0u64..30_000, prop::sample::select(vec![2, 10, 100_000]));
    let bounds = (
        prop::sample::select(vec![1usize, 2, 4, 64]),
        prop::sample::select(vec![1usize, 8, 1_000]),
        prop::sample::select(vec![100usize, 1_000, 65_536]),
        prop::sample::select(vec![1usize, 3, 64]),
        prop::sample::select(vec![1usize, 2, 7, 1_000]),
        prop::sample::select(vec![1usize, 2, 3, 1_000]),
    );
    (links, bounds).prop_map(|((seed, workers, shards, delay_us_max, inbox_max), bounds)| {
        let (
            ring,
            history,
            control_queue_bytes_max,
            batches_per_write_max,
            writes_max,
            compress_from_members,
        ) = bounds;
        let all = permission::PUBLISH | permission::REACT | permission::STATE | permission::MODERATE;
        // In every second world nobody may moderate, so that versions of the state can be compared.
        let permissions = if seed % 2 == 0 { all } else { all & !permission::MODERATE };
        let plan = Plan { authority: Arc::new(OpenAuthority { permissions }), ..Plan::default() };
        let settings = Settings {
            ring_batches_max: ring,
            control_queue_bytes_max,
            batches_per_write_max,
            compress_from_members,
            // So that the probe of `settle` has room.
            rooms_per_session_max: ROOMS.len() as u32,
            ..plan.settings
        };
        let rooms =
            ShardConfig { ring_batches_max: ring, history_batches_max: history, tick_ms: 20, ..plan.rooms };
        Plan { seed, workers, shards, delay_us_max, inbox_max, settings, rooms, writes_max, ..plan }
    })
}

fn take(harness: &mut Harness, v: V, step: &Step, last: &mut [Option<(usize, u64)>]) {
    let known = |harness: &Harness, room: usize| harness.viewers[v.0].alias_of(ROOMS[room]);
    let is_connected = harness.is_connected(v);
    match *step {
        Step::Connect { worker } if !is_connected => {
            harness.connect(v, worker % harness.audiences.len());
            harness.hello(v);
        }
        Step::Full { full } => harness.set_full(full),
        Step::Hold { hold } => harness.hold_outputs = hold,
        Step::WriteRun { ms } => harness.run_ms(ms),
        Step::Administer { room, what } => {
            let room = ROOMS[room].to_owned();
            harness.administer(
                &room,
                AdminRequest::Create { room: room.clone(), settings: RoomSettings::default() },
            );
            match what {
                0 => harness.administer(&room.clone(), AdminRequest::Close { room }),
                1 => harness.administer(&room.clone(), AdminRequest::Remove { room }),
                _ => harness.administer(&room.clone(), AdminRequest::Open { room }),
            }
        }
        _ if !is_connected => {}
        Step::Connect { .. } | Step::Ping => harness.send(v, &ClientFrame::Ping { client_us: 1 }),
        Step::Cut => harness.cut(v),
        Step::Subscribe { room, replay } => {
            harness.subscribe(v, ROOMS[room], None, replay);
        }
        Step::Resume { room } => {
            harness.resume(v, ROOMS[room]);
        }
        Step::Unsubscribe { room } => {
            // Sometimes of a room that it does not follow.
            let alias = known(harness, room).unwrap_or(room as u32);
            harness.unsubscribe(v, alias);
        }
        Step::Say { room, times } => {
            if let Some(alias) = known(harness, room) {
                for _ in 0..times {
                    last[v.0] = Some((room, harness.say(v, alias)));
                }
            }
        }
        Step::Repeat => {
            if let Some((room, nonce)) = last[v.0]
                && let Some(alias) = known(harness, room)
            {
                let text = harness.viewers[v.0].texts[&nonce].clone();
                harness.say_again(v, alias, nonce, &text);
            }
        }
        Step::React { room } => {
            if let Some(alias) = known(harness, room) {
                harness.react(v, alias, "x", 1);
            }
        }
        Step::SetState { room, key, value } => {
            if let Some(alias) = known(harness, room) {
                let value = value.map(|b| vec![b; 1 + usize::from(b)]);
                harness.set_state(v, alias, &format!("key {key}"), value.as_deref());
            }
        }
        Step::Act { room, act, back } => {
            if let Some(alias) = known(harness, room) {
                let target = harness.viewers[v.0].room(ROOMS[room]).at.offset.checked_sub(back);
                harness.act(v, alias, act, target.or(Some(0)), u32::from(act == ActKind::Clear));
            }
        }
        Step::Page { room, back } => {
            if let Some(alias) = known(harness, room) {
                let at = harness.viewers[v.0].room(ROOMS[room]).at;
                let request = harness.viewers[v.0].next_request();
                let (epoch, from) = (at.epoch, at.offset.saturating_sub(back));
                let history = History { request, alias, epoch, from, count_max: 0 };
                harness.send(v, &ClientFrame::History(history));
            }
        }
        Step::Fault => harness.send_bytes(v, &[0x1f]),
        Step::Stall { bytes } => harness.set_room(v, bytes),
        Step::Flow => harness.set_room(v, usize::MAX),
    }
}

/// How many cases: enough for every change; more when a variable asks for it.
pub(super) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

/// A house of seven in which the steps happen, brought to rest.
fn play(plan: &Plan, steps: &[(usize, Step)]) -> Harness {
    let mut harness = Harness::new(plan);
    for v in 0..VIEWERS {
        let v = harness.guest(v % usize::from(plan.workers));
        harness.subscribe(v, ROOMS[v.0 % ROOMS.len()], None, 0);
    }
    let mut last = vec![None; VIEWERS];
    for (v, step) in steps {
        take(&mut harness, V(*v), step, &mut last);
        harness.check_inside();
    }
    harness.settle();
    harness
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(plan in plan(), steps in prop::collection::vec(step(), 1..150)) {
        play(&plan, &steps);
    }
}

/// Luck that never comes near the hard cases would prove nothing.
#[test]
fn chance_meets_what_it_is_to_meet() {
    let mut runner = TestRunner::deterministic();
    let mut met = [0u64; 13];
    for _ in 0..100 {
        let plan = plan().new_tree(&mut runner).expect("a plan").current();
        let steps = prop::collection::vec(step(), 150).new_tree(&mut runner).expect("steps").current();
        let mut harness = play(&plan, &steps);
        for audience in &mut harness.audiences {
            let c = audience.counters();
            let is = |code| CloseCode::ALL.iter().position(|&c| c == code).expect("every code is listed");
            let now = [
                c.gaps[GapReason::Slow as usize],
                c.gaps[GapReason::Expired as usize],
                c.resumes,
                c.sessions_resumed,
                c.writes_blocked,
                c.submits_full,
                c.refusals.iter().sum(),
                c.closes[is(CloseCode::ControlQueueFull)],
                c.closes[is(CloseCode::UnknownKind)],
                c.publications_accepted,
                c.batches_compressed,
                c.batches_redacted,
                0,
            ];
            met.iter_mut().zip(now).for_each(|(met, now)| *met += now);
        }
        met[12] += harness.truth.removed.acts_met as u64;
    }
    println!(
        "slow, expired, resumes, sessions resumed, blocked, full, refused, control full, faults, accepted, compressed, redacted, acts: {met:?}"
    );
    assert!(met.iter().all(|&n| n >= 5), "{met:?}");
}
