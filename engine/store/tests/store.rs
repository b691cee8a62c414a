//! A store from open to close: what is pushed is synced, read, and there again.
//!
//! Why: the other tests take these few steps for granted.

mod support;

use grandstand_engine::link::{Alias, PageOf, ShardId, UserId};
use grandstand_engine::log::*;
use grandstand_protocol::batch::BatchReader;
use grandstand_store::{Found, Store, StoreError, verify};
use support::*;

#[test]
fn what_was_pushed_is_durable_readable_and_there_after_a_clean_restart() {
    let dir = Dir::new("clean");
    let mut rig = Rig::open(dir.config());
    assert_eq!(rig.store.opening().found, Found::New);
    rig.log.push(room("a", 5));
    rig.log.push(batch_of("a", 5, 0, 2, Some(state(1, "pinned", Some("hello")))));
    rig.log.push(batch_of("a", 5, 2, 0, Some(state(2, "score", Some("1:0")))));
    let last = rig.log.push(batch_of("a", 5, 2, 3, Some(state(3, "pinned", None))));
    // Before any commit as well as after it.
    assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..5));
    rig.wait_durable(last);
    let page = rig.page("a", 3, PageOf::Shown);
    assert_eq!(said(&page), expected("a", 2..5));
    let header = 3;
    assert_eq!(BatchReader::new(&page[0].wire[header..]).unwrap().alias(), 9);
    assert!(rig.close());

    let mut rig = Rig::open(dir.config());
    assert_eq!(rig.store.opening().found, Found::Clean);
    let stored = rig.rooms[0].clone();
    assert_eq!((stored.room.epoch, stored.previous.epochs().len(), stored.next_offset), (5, 0, 5));
    assert_eq!((stored.oldest_offset, stored.time_ms), (0, 1_000_030));
    assert!(stored.room.is_operators && stored.room.settings.tick_min_ms == Some(20));
    assert_eq!(stored.state, vec![("score".into(), "1:0".into())]);
    assert_eq!(stored.state_version, 3);
    let nonces: Vec<_> = stored.nonces.iter().map(|nonce| (nonce.user, nonce.nonce)).collect();
    assert_eq!(nonces, (0..5).map(|n| (UserId(n % 3), n)).collect::<Vec<_>>());
    assert_eq!(stored.newest.len(), 2);
    assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..5));
    let last = rig.log.push(batch("a", 5, 5));
    rig.wait_durable(last);
    assert_eq!(said(&rig.page("a", 4, PageOf::Shown)), expected("a", 2..6));
    assert!(rig.close());
    let report = verify::run(&dir.data()).unwrap();
    assert_eq!((report.faults, report.rooms, report.messages), (vec![], 1, 6));
}

#[test]
fn a_removed_room_is_gone_and_its_name_begins_anew() {
    let dir = Dir::new("removed");
    let mut rig = Rig::open(dir.config());
    for offset in 0..10 {
        rig.log.push(batch("a", 5, offset));
        rig.log.push(batch("b", 6, offset));
    }
    assert!(rig.close());
    let mut rig = Rig::open(dir.config());
    rig.log.push(Entry::Removed { room: "a".into(), epoch: 5 });
    rig.log.push(Entry::Removed { room: "b".into(), epoch: 6 });
    rig.log.push(room("b", 7));
    let last = rig.log.push(batch("b", 7, 0));
    rig.wait_durable(last);
    assert_eq!(rig.page("a", 0, PageOf::Shown).len(), 0);
    assert_eq!(said(&rig.page("b", 0, PageOf::Shown)), expected("b", 0..1));
    assert!(rig.close());
    let mut rig = Rig::open(dir.config());
    assert_eq!(rig.rooms.iter().map(|room| &*room.room.room).collect::<Vec<_>>(), ["b"]);
    assert_eq!((rig.rooms[0].room.epoch, rig.rooms[0].next_offset), (7, 1));
    assert_eq!(said(&rig.page("b", 0, PageOf::Shown)), expected("b", 0..1));
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn pages_keep_their_bounds() {
    let dir = Dir::new("bounds");
    let mut rig = Rig::open(dir.config());
    let mut request = ReadRequest {
        request: 7,
        room: "a".into(),
        alias: Alias(1),
        from: 10,
        of: PageOf::Shown,
        batches_max: 5,
        bytes_max: 1 << 20,
    };
    for pass in 0..2 {
        if pass == 0 {
            for offset in 0..100 {
                rig.log.push(batch("a", 1, offset));
            }
        }
        let offsets =
            |page: Vec<std::sync::Arc<_>>| said(&page).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(offsets(rig.page_of(request.clone())), [10, 11, 12, 13, 14]);
        assert_eq!(offsets(rig.page_of(ReadRequest { bytes_max: 1, ..request.clone() })), [10]);
        let of = PageOf::Full { messages_max: 3 };
        assert_eq!(offsets(rig.page_of(ReadRequest { of, ..request.clone() })), [10, 11, 12]);
        assert!(rig.page_of(ReadRequest { from: 100, ..request.clone() }).is_empty());
        // Once more from segments.
        assert!(rig.close());
        rig = Rig::open(dir.config());
        request.from = 10;
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = Dir::new("lock");
    let store = Store::open(dir.config()).unwrap();
    let Err(error) = Store::open(dir.config()) else { panic!("two at once") };
    assert!(matches!(&error, StoreError::Locked { path } if path.ends_with("log.lock")), "{error}");
    let mut config = dir.config();
    config.lock_wait_ms = 10_000;
    let waiting = std::thread::spawn(move || Store::open(config).map(|store| store.opening().found));
    assert!(store.close());
    assert_eq!(waiting.join().unwrap().unwrap(), Found::Clean);
}

#[test]
fn a_database_that_is_gone_or_no_database_is_never_replaced() {
    let dir = Dir::new("gone");
    assert!(Store::open(dir.config()).unwrap().close());
    let database = std::fs::read(dir.database()).unwrap();
    std::fs::remove_file(dir.database()).unwrap();
    assert!(matches!(Store::open(dir.config()), Err(StoreError::Missing { .. })));
    assert!(!dir.database().exists());
    std::fs::write(dir.database(), [&[0; 100], &database[100..]].concat()).unwrap();
    assert!(matches!(Store::open(dir.config()), Err(StoreError::Corrupt { .. })));
    std::fs::write(dir.database(), b"").unwrap();
    assert!(matches!(Store::open(dir.config()), Err(StoreError::Missing { .. })));
    std::fs::write(dir.database(), database).unwrap();
    assert_eq!(Store::open(dir.config()).unwrap().opening().found, Found::Clean);
}

#[test]
fn a_shards_log_is_closed_and_opened_again_while_the_store_lives() {
    let dir = Dir::new("again");
    let mut rig = Rig::open(dir.config());
    rig.log.push(room("a", 5));
    rig.log.push(batch_of("a", 5, 0, 3, Some(state(1, "pinned", Some("hello")))));
    rig.log.push(room("gone", 6));
    rig.log.push(Entry::Removed { room: "gone".into(), epoch: 6 });
    let mut last = rig.log.push(batch("a", 5, 3));
    for round in 0..3u64 {
        // Not synced yet: whoever opens it waits for that.
        let Rig { mut store, log, .. } = rig;
        drop(log);
        LogSource::close(&mut store, ShardId(0));
        rig = Rig::of(store);
        let [stored] = &rig.rooms[..] else { panic!("one room") };
        let next = 4 + round;
        assert_eq!((stored.room.epoch, stored.next_offset, stored.state_version), (5, next, 1));
        assert_eq!(stored.state, vec![("pinned".into(), "hello".into())]);
        assert_eq!(stored.nonces.len() as u64, next, "each once");
        assert_eq!(said(&rig.page("a", 0, PageOf::Shown)), expected("a", 0..next));
        let position = rig.log.push(batch("a", 5, next));
        assert!(position > last, "positions rise over owners");
        last = position;
    }
    rig.wait_durable(last);
    assert!(rig.close());
    let rig = Rig::open(dir.config());
    assert_eq!((rig.rooms.len(), rig.rooms[0].next_offset), (1, 7));
}
