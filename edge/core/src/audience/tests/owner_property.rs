//! Property tests: whatever the next owner of a room has, numbers and tells, and whatever is lost on the way,
//! each member goes on where it was, or is told.
//!
//! Why: the order of changes and losses that breaks a promise is one that nobody thought of.

use grandstand_protocol::frame::{ClientFrame, Gap, GapReason, History, Outcome, Phase};
use grandstand_protocol::refusal::Refusal;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::Settings;
use super::harness::{Plan, V};
use super::model_owner::Change;
use super::owner_house::House;
use super::viewer::Seen;

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Cut,
    Subscribe { room: usize, replay: u32 },
    Resume { room: usize },
    Unsubscribe { room: usize },
    Page { room: usize, from: u64 },
    Stall { bytes: usize },
    Flow,
    Say { room: usize, messages: usize, has_tally: bool, state: Option<u8> },
    Change { room: usize, change: Change, base_seq: u64, is_told: bool },
    Lose { room: usize, loses: bool },
    LosePages { room: usize, loses: bool },
    HoldPages { holds: bool },
    DropPages,
    Restate { room: usize },
    Refuse { room: usize, reason: Option<Refusal> },
    Phase { room: usize, phase: Phase },
    Remove { room: usize },
    Wait { ms: u64 },
}

const VIEWERS: usize = 5;
const ROOMS: [&str; 2] = ["a", "b"];

fn step() -> impl Strategy<Value = (usize, Step)> {
    let room = || 0..ROOMS.len();
    let change = prop_oneof![
        4 => Just(Change::Clean),
        4 => (0usize..5).prop_map(|lost| Change::Claim { lost }),
        2 => Just(Change::Anew),
        1 => Just(Change::OtherAlias),
    ];
    let phase = prop::sample::select(vec![Phase::Open, Phase::Closing, Phase::Closed]);
    let reason =
        prop::sample::select(vec![None, None, Some(Refusal::Overloaded), Some(Refusal::UnknownRoom)]);
    let step = prop_oneof![
        5 => Just(Step::Connect),
        2 => Just(Step::Cut),
        3 => (room(), 0u32..6).prop_map(|(room, replay)| Step::Subscribe { room, replay }),
        8 => room().prop_map(|room| Step::Resume { room }),
        1 => room().prop_map(|room| Step::Unsubscribe { room }),
        2 => (room(), 0u64..20).prop_map(|(room, from)| Step::Page { room, from }),
        4 => (0usize..300).prop_map(|bytes| Step::Stall { bytes }),
        3 => Just(Step::Flow),
        24 => (room(), 0usize..4, any::<bool>(), prop::option::of(any::<u8>()))
            .prop_map(|(room, messages, has_tally, state)| Step::Say { room, messages, has_tally, state }),
        8 => (room(), change, 0u64..20, prop::bool::weighted(0.7))
            .prop_map(|(room, change, base_seq, is_told)| Step::Change { room, change, base_seq, is_told }),
        2 => (room(), any::<bool>()).prop_map(|(room, loses)| Step::Lose { room, loses }),
        1 => (room(), any::<bool>()).prop_map(|(room, loses)| Step::LosePages { room, loses }),
        2 => any::<bool>().prop_map(|holds| Step::HoldPages { holds }),
        1 => Just(Step::DropPages),
        2 => room().prop_map(|room| Step::Restate { room }),
        1 => (room(), reason).prop_map(|(room, reason)| Step::Refuse { room, reason }),
        1 => (room(), phase).prop_map(|(room, phase)| Step::Phase { room, phase }),
        1 => room().prop_map(|room| Step::Remove { room }),
        6 => (0u64..700).prop_map(|ms| Step::Wait { ms }),
    ];
    (0..VIEWERS, step)
}

fn take(house: &mut House, v: V, step: &Step) {
    let is_connected = house.harness.is_connected(v);
    let alias = |house: &House, room: usize| house.harness.viewers[v.0].alias_of(ROOMS[room]);
    match *step {
        Step::Connect if !is_connected => {
            house.harness.connect(v, 0);
            house.harness.hello(v);
        }
        Step::Say { room, messages, has_tally, state } => {
            let change = state.as_ref().map(|value| ("key", std::slice::from_ref(value)));
            let said = house.owners[room].say(messages, has_tally, change);
            house.deliver(said);
        }
        Step::Change { room, change, base_seq, is_told } => {
            // One other alias, so that the two rooms never have the same.
            let is_possible = change != Change::OtherAlias || house.owners[room].alias < 100;
            house.owners[room].change(if is_possible { change } else { Change::Clean }, base_seq);
            if is_told {
                let told = house.owners[room].attached();
                house.deliver(told);
            }
        }
        Step::Lose { room, loses } => house.owners[room].loses = loses,
        Step::LosePages { room, loses } => house.owners[room].loses_pages = loses,
        Step::HoldPages { holds } => house.holds_pages = holds,
        Step::DropPages => house.late.clear(),
        Step::Restate { room } => {
            let told = house.owners[room].attached();
            house.deliver(told);
        }
        Step::Refuse { room, reason } => house.owners[room].refuses = reason,
        Step::Phase { room, phase } => {
            let told = house.owners[room].set_phase(phase);
            house.deliver(told);
        }
        Step::Remove { room } => {
            let told = house.owners[room].remove();
            house.deliver(told);
        }
        Step::Wait { ms } => house.wait_ms(ms),
        _ if !is_connected => {}
        Step::Connect => {}
        Step::Cut => house.harness.cut(v),
        Step::Subscribe { room, replay } => {
            house.harness.subscribe(v, ROOMS[room], None, replay);
        }
        Step::Resume { room } => {
            house.harness.resume(v, ROOMS[room]);
        }
        Step::Unsubscribe { room } => {
            let alias = alias(house, room).unwrap_or(room as u32);
            house.harness.unsubscribe(v, alias);
        }
        Step::Page { room, from } => {
            if let Some(alias) = alias(house, room) {
                let request = house.harness.viewers[v.0].next_request();
                let epoch = house.harness.viewers[v.0].room(ROOMS[room]).at.epoch;
                let history = History { request, alias, epoch, from, count_max: 3 };
                house.harness.send(v, &ClientFrame::History(history));
            }
        }
        Step::Stall { bytes } => house.harness.set_room(v, bytes),
        Step::Flow => house.harness.set_room(v, usize::MAX),
    }
    house.turn();
}

fn plan() -> impl Strategy<Value = (Plan, usize, usize)> {
    let bounds = (
        prop::sample::select(vec![1usize, 2, 4, 64]),
        prop::sample::select(vec![1usize, 3, 8, 1_000]),
        prop::sample::select(vec![400usize, 65_536]),
        prop::sample::select(vec![1usize, 3, 64]),
        prop::sample::select(vec![1usize, 2, 7, 1_000]),
    );
    (any::<u64>(), bounds).prop_map(|(seed, (ring, kept, control, per_write, writes_max))| {
        let plan = Plan::default();
        let settings = Settings {
            ring_batches_max: ring,
            control_queue_bytes_max: control,
            batches_per_write_max: per_write,
            compress_from_members: 2,
            ..plan.settings
        };
        (Plan { seed, settings, writes_max, ..plan }, ring, kept.max(ring))
    })
}

fn play((plan, ring, kept): &(Plan, usize, usize), steps: &[(usize, Step)]) -> House {
    let mut house = House::new(plan, *ring, *kept);
    for v in 0..VIEWERS {
        house.member(ROOMS[v % ROOMS.len()]);
    }
    for (v, step) in steps {
        take(&mut house, V(*v), step);
    }
    house.rest();
    house
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: super::property::cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_owns_a_room_its_viewers_read_its_log(plan in plan(), steps in prop::collection::vec(step(), 1..120)) {
        play(&plan, &steps);
    }
}

/// Luck that never comes near the hard cases would prove nothing.
#[test]
fn chance_meets_every_kind_of_change() {
    let mut runner = TestRunner::deterministic();
    let mut met = [0u64; 7];
    for _ in 0..100 {
        let plan = plan().new_tree(&mut runner).expect("a plan").current();
        let steps = prop::collection::vec(step(), 120).new_tree(&mut runner).expect("steps").current();
        let house = play(&plan, &steps);
        for viewer in &house.harness.viewers {
            let gaps = viewer.gaps();
            let restarts = |is: &dyn Fn(&Gap) -> bool| {
                gaps.iter().filter(|g| g.reason == GapReason::Restarted && is(g)).count() as u64
            };
            let resumed = |s: &Seen| matches!(s, Seen::Subscribed(s) if s.outcome == Outcome::Resumed);
            let now = [
                restarts(&|g| g.from > 0 && g.from == g.to),
                restarts(&|g| g.to == 0),
                restarts(&|g| g.from < g.to),
                gaps.iter().filter(|g| g.reason == GapReason::Expired).count() as u64,
                gaps.iter().filter(|g| g.reason == GapReason::Slow).count() as u64,
                viewer.seen.iter().filter(|s| resumed(s)).count() as u64,
                viewer.seen.iter().filter(|s| matches!(s, Seen::Page { .. })).count() as u64,
            ];
            met.iter_mut().zip(now).for_each(|(met, now)| *met += now);
        }
    }
    println!("goes on, anew, anew beyond the ring, expired, slow, resumed, pages: {met:?}");
    assert!(met.iter().all(|&n| n >= 5), "{met:?}");
}
