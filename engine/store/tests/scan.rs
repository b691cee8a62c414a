//! A scan of one room: the same messages as a page, from the journal and from segments, beside a running
//! store and after it.
//!
//! Why: `gs mod try` judges what people said, all of it and each message once.

mod support;

use grandstand_engine::log::Entry;
use grandstand_store::scan;
use support::*;

fn scanned(dir: &Dir, name: &str, since_ms: u64) -> (bool, Vec<(u64, String)>) {
    let mut said = Vec::new();
    let is_there = scan::messages(&dir.data(), name, since_ms, |m| said.push((m.offset, m.text.to_owned())));
    (is_there.unwrap(), said)
}

#[test]
fn a_scan_has_every_message_once_beside_a_store_and_after_it() {
    let dir = Dir::new("scan");
    let mut rig = Rig::open(dir.config());
    rig.log.push(room("a", 5));
    let mut last = rig.log.push(batch_of("a", 5, 0, 3, None));
    for offset in 3..40 {
        rig.log.push(batch("b", 6, offset - 3));
        last = rig.log.push(batch("a", 5, offset));
    }
    rig.wait_durable(last);
    assert_eq!(scanned(&dir, "a", 0), (true, expected("a", 0..40)), "from the journal");
    assert_eq!(scanned(&dir, "a", 1_000_000 + 10 * 21), (true, expected("a", 20..40)), "by the batch's time");
    assert!(rig.close());
    assert_eq!(scanned(&dir, "a", 0), (true, expected("a", 0..40)), "from segments");
    assert_eq!(scanned(&dir, "c", 0), (false, vec![]));

    let mut rig = Rig::open(dir.config());
    rig.log.push(Entry::Removed { room: "a".into(), epoch: 5 });
    rig.log.push(room("a", 7));
    let last = rig.log.push(batch("a", 7, 0));
    rig.wait_durable(last);
    assert_eq!(scanned(&dir, "a", 0), (true, expected("a", 0..1)), "a room that begins anew");
    let last = rig.log.push(Entry::Removed { room: "a".into(), epoch: 7 });
    rig.wait_durable(last);
    assert_eq!(scanned(&dir, "a", 0), (false, vec![]));
    assert!(rig.close());
}
