//! A clock that jumps by an hour or nine days, either way, while a node serves and across a restart.
//!
//! Why: times in the log come from the system's clock, and a clock that is wrong for a moment must not date
//! or delete anything.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use grandstand_protocol::frame::Outcome;

use crate::machine::Folder;
use crate::people::{Answer, Person, assert_heard_once};
use crate::process::{Running, serve_with};
use crate::shim::Shim;

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_jumps_an_hour_loses_nothing_and_times_never_go_back() {
    let (log, recorder) = (Folder::new("clock"), Folder::in_memory("clock"));
    let Some(shim) = Shim::under("clock-shim", log.path()) else { return };
    // A day is kept: an hour must not make anything too old.
    let flags = ["--log-keep-hours", "24"];
    let mut node = serve_with(log.path(), &recorder, &flags, |command| shim.set(command));
    let mut speaker = Person::come(node.ws, "show");
    let mut viewer = Person::come(node.ws, "show");
    let (mut acknowledged, mut nonce, mut time_ms) = (BTreeMap::new(), 0, 0);
    for (jump, restarts) in [(1, false), (-1, false), (0, false), (1, true), (-1, true), (0, true)] {
        shim.clock_ms(jump * HOUR_MS);
        if restarts {
            node.kill();
            node = serve_with(log.path(), &recorder, &flags, |command| shim.set(command));
            // A ticket of an hour ago has run out, as it says; the position holds.
            let position = Some((viewer.epoch, viewer.next));
            let mut again = Person::come_back(node.ws, "show", &[], position);
            assert_eq!((again.outcome, again.epoch), (Outcome::Resumed, viewer.epoch));
            again.heard.append(&mut viewer.heard);
            viewer = again;
            speaker = Person::come(node.ws, "show");
        }
        if jump != 0 {
            node.until_health("degraded");
            assert!(node.metric("process_clock_steps_total") >= 1.0, "a jump is counted");
        }
        for _ in 0..5 {
            nonce += 1;
            let text = format!("text {nonce}");
            let published = speaker.publish(nonce, &text).on_disk();
            assert!(published.time_ms >= time_ms, "times of a room never go back");
            time_ms = published.time_ms;
            acknowledged.insert(published.offset, text);
            viewer.listen_to(published.offset + 1);
        }
        // Retried at once, whatever the clock says now.
        let again = speaker.publish(nonce, &format!("text {nonce}"));
        assert!(matches!(again, Answer::Taken(published) if published.repeated), "{again:?}");
    }
    assert_eq!(acknowledged.len(), 30);
    let real_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((time_ms as i64 - real_ms).abs() < HOUR_MS / 2, "a jump dates nothing");
    assert_heard_once(&viewer, &acknowledged);
    let mut all = Person::come_back(node.ws, "show", &[], Some((viewer.epoch, 0)));
    all.listen_to(30);
    assert_heard_once(&all, &acknowledged);
}

#[test]
fn a_clock_that_jumps_nine_days_deletes_nothing_until_an_operator_believes_it() {
    let (log, recorder) = (Folder::new("clock-days"), Folder::in_memory("clock-days"));
    let Some(shim) = Shim::under("clock-days-shim", log.path()) else { return };
    let flags = ["--log-keep-hours", "24"];
    let start = || serve_with(log.path(), &recorder, &flags, |command| shim.set(command));
    let node = start();
    let mut speaker = Person::come(node.ws, "show");
    let mut acknowledged = BTreeMap::new();
    for nonce in 1..=20 {
        let text = format!("text {nonce}");
        acknowledged.insert(speaker.publish(nonce, &text).on_disk().offset, text);
    }
    let epoch = speaker.epoch;
    // With nobody there a drain does not wait.
    drop(speaker);
    // All of it is in segments then, which retention removes.
    assert_eq!(node.terminate(), 0);
    let removed = |node: &Running| node.metric("grandstand_store_retention_removed_total");
    for days in [9, -9] {
        // At the start, and back; then while it runs, and back.
        shim.clock_ms(days * 24 * HOUR_MS);
        let node = start();
        for jump in [days, 0, days] {
            shim.clock_ms(jump * 24 * HOUR_MS);
            let health = node.until_health(if jump == 0 { "ok" } else { "degraded" });
            let is_said = health.to_string().contains("the wall clock is off by");
            assert_eq!(is_said, jump != 0, "{health}");
            // Retention looks once a second.
            let looked = std::time::Instant::now() + std::time::Duration::from_millis(2_200);
            while std::time::Instant::now() < looked {
                assert_eq!(removed(&node), 0.0);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        assert!(node.said().contains("the wall clock stepped"), "{}", node.said());
        let mut all = Person::come_back(node.ws, "show", &[], Some((epoch, 0)));
        all.listen_to(20);
        assert_heard_once(&all, &acknowledged);
        drop(all);
        assert_eq!(node.terminate(), 0);
    }
    // An operator knows better.
    shim.clock_ms(9 * 24 * HOUR_MS);
    let node = start();
    node.until_health("degraded");
    assert_eq!(node.ask("POST", "/clock/accept", "").0, 200);
    node.until_health("ok");
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while removed(&node) == 0.0 {
        assert!(std::time::Instant::now() < deadline, "what is too old is removed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
