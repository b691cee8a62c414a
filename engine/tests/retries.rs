//! A restart forgets no more than a run, as a property: the same publications are made over two disks, one of
//! which has restarts between them, and then every nonce is tried again, and nonces that nobody used.
//!
//! Not here: single rules of retries (`rules.rs`), which records come back from a real disk
//! (`grandstand-store`).

mod support;

use grandstand_engine::ShardConfig;
use grandstand_engine::link::*;
use grandstand_protocol::refusal::Refusal;
use proptest::prelude::*;
use support::{Disk, Stage, only_answer, publication};

const NONCES_MAX: usize = 6;

/// Longer than a retry may be on its way (10 s), so that there are ages with a verdict of their own.
const WINDOW_MS: u64 = 60_000;

fn config() -> ShardConfig {
    ShardConfig {
        tick_ms: 10,
        nonces_max: NONCES_MAX,
        nonce_window_ms: WINDOW_MS,
        viewers_every_ms: 0,
        ..ShardConfig::for_tests()
    }
}

/// A room on disk.
struct World {
    disk: Disk,
    stage: Stage,
    alias: Alias,
}

/// What a publication comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Repeated { offset: u64 },
    Forgotten,
}

impl World {
    fn new() -> World {
        let disk = Disk::prompt();
        let mut stage = Stage::on(&disk, config());
        let alias = stage.attach(0, "show").unwrap().alias;
        World { disk, stage, alias }
    }

    fn restart(&mut self) {
        self.disk.kill();
        let clock = self.stage.clock.of_next_process();
        self.stage = Stage::at(&self.disk, config(), clock);
        self.alias = self.stage.attach(0, "show").unwrap().alias;
    }

    fn publish(&mut self, nonce: u64, age_ms: u32) -> Verdict {
        let said = Publication { age_ms, ..*publication(self.alias, 0, 1, nonce, "hello") };
        self.stage.input(Input::Publish(Box::new(said)));
        self.stage.pass_ms(20);
        match only_answer(&mut self.stage) {
            AnswerKind::Published { repeated: false, .. } => Verdict::Accepted,
            AnswerKind::Published { offset, .. } => Verdict::Repeated { offset },
            AnswerKind::PublishRefused { reason: Refusal::Forgotten, .. } => Verdict::Forgotten,
            other => panic!("{other:?}"),
        }
    }
}

/// One publication, and the time before it.
#[derive(Clone, Copy, Debug)]
struct Step {
    pause_ms: u64,
    restarts: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = prop_oneof![8 => 20u64..2_000, 1 => 2_000u64..WINDOW_MS];
    (pause_ms, prop::bool::weighted(0.2)).prop_map(|(pause_ms, restarts)| Step { pause_ms, restarts })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_restart_forgets_no_more_than_a_run(
        steps in prop::collection::vec(step(), 1..3 * NONCES_MAX),
        restarts_last: bool,
    ) {
        let (mut run, mut restarted) = (World::new(), World::new());
        // When each publication was first tried, by nonce; every second attempt never reached the node.
        let mut tried = Vec::new();
        for (nonce, step) in (0u64..).zip(&steps) {
            for world in [&mut run, &mut restarted] {
                world.stage.pass_ms(step.pause_ms);
            }
            if step.restarts {
                restarted.restart();
            }
            tried.push((nonce, run.stage.now().unix_ms));
            tried.push((nonce + 1_000, run.stage.now().unix_ms));
            let verdicts = [run.publish(nonce, 0), restarted.publish(nonce, 0)];
            prop_assert_eq!(verdicts, [Verdict::Accepted; 2]);
        }
        if restarts_last {
            restarted.restart();
        }
        for (nonce, at_ms) in tried {
            let now_ms = run.stage.now().unix_ms;
            prop_assert_eq!(now_ms, restarted.stage.now().unix_ms);
            let age_ms = (now_ms - at_ms) as u32;
            let verdicts = [run.publish(nonce, age_ms), restarted.publish(nonce, age_ms)];
            match verdicts {
                // The memory is not longer than its window for those who waited for a process.
                [Verdict::Accepted, Verdict::Forgotten] => {
                    prop_assert!(u64::from(age_ms) + 10_000 >= WINDOW_MS, "{nonce}, {age_ms} ms old");
                    // From here on one log has a message more than the other.
                    return Ok(());
                }
                // What a run has forgotten by its age, a restart may still know.
                [Verdict::Forgotten, Verdict::Repeated { offset }] => prop_assert_eq!(offset, nonce),
                [Verdict::Forgotten, Verdict::Accepted] => {
                    prop_assert!(nonce >= 1_000);
                    return Ok(());
                }
                [a, b] => prop_assert_eq!(a, b, "{}, {} ms old", nonce, age_ms),
            }
            if nonce < 1_000 {
                prop_assert_ne!(verdicts[1], Verdict::Accepted, "{} stands twice", nonce);
            }
        }
    }
}
