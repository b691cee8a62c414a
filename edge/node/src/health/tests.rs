//! Tests of the verdict, with times that the test chooses.
//!
//! Why chosen times: a hang takes seconds, and a suspend an hour.

use super::*;

const HUNG_AFTER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

fn health(pulses: &Pulses) -> (Health, Instant) {
    let clock = Clock::start();
    (Health::new(pulses.clone(), clock, HUNG_AFTER), clock.instant())
}

#[test]
fn a_thread_that_stands_still_hangs_after_its_time_and_goes_on() {
    let pulses = Pulses::default();
    let (health, begun) = health(&pulses);
    let (still, turning) = (pulses.register("still"), pulses.register("turning"));
    let mut first = None;
    for look in 0..20 {
        turning.turn();
        let verdict = health.verdict_at(begun + look * LOOK);
        if !verdict.is_live() {
            first = first.or(Some(look));
            let names: Vec<_> = verdict.dead().map(|thread| thread.name.as_str()).collect();
            assert_eq!(names, ["still"]);
        }
    }
    assert_eq!(first, Some(10), "five seconds");
    still.turn();
    assert!(health.verdict_at(begun + 21 * LOOK).is_live());
    still.end();
    turning.end();
}

#[test]
fn time_in_which_nobody_looked_counts_little() {
    let pulses = Pulses::default();
    let (health, begun) = health(&pulses);
    let pulse = pulses.register("suspended");
    assert!(health.verdict_at(begun).is_live());
    let awake = begun + Duration::from_secs(3600);
    assert!(health.verdict_at(awake).is_live(), "an hour of sleep is not a hang");
    for probe in 1..=4 {
        let verdict = health.verdict_at(awake + probe * Duration::from_secs(10));
        assert_eq!(verdict.is_live(), probe < 4, "probes alone see a hang too: {probe}");
    }
    pulse.end();
}

#[test]
fn a_wait_for_the_disk_degrades_and_a_death_fails() {
    let pulses = Pulses::default();
    let (health, begun) = health(&pulses);
    let (disk, worker) = (pulses.register("log"), pulses.register("worker-0"));
    let wait = disk.wait_outside();
    let mut verdict = Verdict::default();
    for look in 0..=10 {
        worker.turn();
        verdict = health.verdict_at(begun + look * LOOK);
    }
    assert!(verdict.is_live());
    assert_eq!(verdict.waiting().map(|thread| thread.name.as_str()).collect::<Vec<_>>(), ["log"]);
    drop(wait);
    assert!(!health.verdict_at(begun + 11 * LOOK).is_live(), "out of the wait it has to turn");
    disk.turn();
    drop(worker);
    let verdict = health.verdict_at(begun + 12 * LOOK);
    let said: Vec<_> = verdict.dead().map(ToString::to_string).collect();
    assert_eq!(said, ["thread worker-0 has ended with an error: see the log"]);
    disk.end();
}
