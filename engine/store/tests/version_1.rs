//! A whole database of the first schema is opened by today's store: rooms, settings, state and messages are
//! there, and a backup of before.
//!
//! How it is made: today's store fills a log. A script then makes the tables by the first version's own
//! statements and copies the rows, with each room's facts in their first form. Records have the form of the
//! first version as long as no room has a slot.
//! Not here: the tables alone (`schema`), facts alone (`room_state`).

mod support;

use std::path::Path;

use grandstand_engine::link::PageOf;
use grandstand_store::verify;
use rusqlite::{Connection, params};
use support::*;
use twox_hash::XxHash3_64;

/// The first version's own statements.
const VERSION_1: &str = "
    CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, made_ms INTEGER NOT NULL,
                       rooms INTEGER NOT NULL, sum INTEGER NOT NULL);
    CREATE TABLE journal (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL, is_removed INTEGER NOT NULL,
                        moved INTEGER NOT NULL, facts BLOB NOT NULL, sum INTEGER NOT NULL);
    CREATE UNIQUE INDEX rooms_by_name ON rooms (name) WHERE is_removed = 0;
    CREATE TABLE states (room INTEGER PRIMARY KEY, data BLOB NOT NULL, sum INTEGER NOT NULL);
    CREATE TABLE segments (id INTEGER PRIMARY KEY, room INTEGER NOT NULL, first_offset INTEGER NOT NULL,
                           next_offset INTEGER NOT NULL, time_ms INTEGER NOT NULL, base INTEGER NOT NULL,
                           newest INTEGER NOT NULL, sum INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX segments_by_room ON segments (room, next_offset);
    PRAGMA user_version = 1;";

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    n
}

/// Facts in their first form: a flag of one earlier epoch, and no slot.
fn first_form(facts: &[u8]) -> Vec<u8> {
    // An epoch, a flag, a phase, four settings.
    let mut at = 8 + 1 + 1;
    for _ in 0..4 {
        varint(facts, &mut at);
    }
    let mut old = facts[..at].to_vec();
    assert_eq!(facts[at], 2, "the form with slots");
    at += 1;
    assert_eq!(varint(facts, &mut at), 0, "no earlier epoch");
    assert_eq!(varint(facts, &mut at), 0, "no slot");
    old.push(0);
    old.extend_from_slice(&[0; 8]);
    old.push(0);
    old.extend_from_slice(&facts[at..]);
    old
}

fn room_checksum(id: i64, is_removed: bool, moved: i64, name: &str, facts: &[u8]) -> i64 {
    let mut all = id.to_le_bytes().to_vec();
    all.push(u8::from(is_removed));
    all.extend_from_slice(&moved.to_le_bytes());
    all.push(u8::try_from(name.len()).unwrap());
    all.extend_from_slice(name.as_bytes());
    all.extend_from_slice(facts);
    XxHash3_64::oneshot_with_seed(0, &all) as i64
}

/// Put a database of the first version in place of one of today.
fn make_version_1(path: &Path) {
    let old = path.with_extension("old");
    let conn = Connection::open(&old).unwrap();
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    conn.execute_batch(VERSION_1).unwrap();
    conn.execute("ATTACH ?1 AS today", [path.to_str().unwrap()]).unwrap();
    for table in ["meta", "journal", "states", "segments"] {
        conn.execute_batch(&format!("INSERT INTO {table} SELECT * FROM today.{table}")).unwrap();
    }
    let mut rooms = conn.prepare("SELECT id, name, is_removed, moved, facts FROM today.rooms").unwrap();
    let mut rows = rooms.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (id, name, is_removed, moved): (i64, String, bool, i64) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap());
        let facts = first_form(&row.get::<_, Vec<u8>>(4).unwrap());
        let own = room_checksum(id, is_removed, moved, &name, &facts);
        conn.execute(
            "INSERT INTO rooms VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, name, is_removed, moved, facts, own],
        )
        .unwrap();
    }
    drop(rows);
    drop(rooms);
    drop(conn);
    for name in ["grandstand.db", "grandstand.db-wal", "grandstand.db-shm", "log.marks", "log.clock"] {
        let _ = std::fs::remove_file(path.with_file_name(name));
    }
    std::fs::rename(old, path).unwrap();
}

#[test]
fn a_database_of_the_first_version_is_opened_whole() {
    const MESSAGES: u64 = 300;
    let dir = Dir::new("version-1");
    let mut rig = Rig::open(dir.config());
    for name in ["ann", "ben"] {
        rig.log.push(room(name, 4));
    }
    for offset in 0..MESSAGES {
        for name in ["ann", "ben"] {
            let change = (offset % 100 == 0).then(|| state(offset + 1, "pinned", Some(name)));
            rig.log.push(batch_of(name, 4, offset, 1, change));
        }
    }
    assert!(rig.close());
    make_version_1(&dir.database());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());

    let mut rig = Rig::open(dir.config());
    let opening = rig.store.opening().clone();
    assert_eq!((opening.migrated_from, opening.rooms, opening.new_epochs), (Some(1), 2, 0), "{opening:?}");
    assert!(opening.rotten.is_empty() && opening.cut == 0, "{opening:?}");
    let backups: Vec<_> = std::fs::read_dir(dir.data().join("backups")).unwrap().flatten().collect();
    assert!(
        backups.iter().any(|file| file.file_name().to_string_lossy().starts_with("before-1-")),
        "{backups:?}"
    );
    for (stored, name) in rig.rooms.clone().iter().zip(["ann", "ben"]) {
        assert_eq!((&*stored.room.room, stored.room.epoch, stored.next_offset), (name, 4, MESSAGES));
        assert_eq!((stored.room.settings.tick_min_ms, stored.room.is_operators), (Some(20), true));
        assert_eq!(stored.state.len(), 1);
        let page = rig.page(name, 0, PageOf::Shown);
        assert_eq!(said(&page), expected(name, 0..MESSAGES));
    }
    // And it goes on.
    let last = rig.log.push(batch("ann", 4, MESSAGES));
    rig.wait_durable(last);
    assert!(rig.close());
    assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
}
