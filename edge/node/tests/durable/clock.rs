//! A clock that jumps an hour either way, while a node serves and across a restart.
//!
//! Why: times in the log come from the system's clock, and operators set clocks.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use grandstand_protocol::frame::Outcome;

use crate::machine::Folder;
use crate::people::{Answer, Person, assert_heard_once};
use crate::process::serve_with;
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
    assert!(time_ms as i64 > real_ms + HOUR_MS / 2, "the clock did jump");
    assert_heard_once(&viewer, &acknowledged);
    let mut all = Person::come_back(node.ws, "show", &[], Some((viewer.epoch, 0)));
    all.listen_to(30);
    assert_heard_once(&all, &acknowledged);
}
