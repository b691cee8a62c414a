//! The schema: the tables of the database by version, and the set-up of a connection.
//!
//! ```text
//! meta      one row: the database's own random number, when it was made
//! journal   one row a commit: every shard's records in order; moved into segments every few seconds
//! rooms     the facts of a room and the end of its log, as far as its segments reach
//! states    a room's state lane, encoded whole
//! segments  runs of a room's records; ids rise with time
//! ```
//!
//! Why a journal: a commit touches many rooms. Rows by room would rewrite a page of the index for each room
//! and commit. A row of the journal is appended to the file, and each room is written once in many commits
//! (ARCHITECTURE has figures).
//! Invariants: `user_version` names the version. Migrations only move forward, each in one transaction, after
//! a backup. Tables are created in an empty database only: a database that lacks a table is damaged.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::StoreError;

/// The database's file in the data directory.
pub const DATABASE: &str = "grandstand.db";

/// The statements from version `n` to `n + 1` are at index `n`; the first creates an empty database.
pub(crate) const MIGRATIONS: &[&str] = &[
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, made_ms INTEGER NOT NULL, \
                        rooms INTEGER NOT NULL, sum INTEGER NOT NULL);
     CREATE TABLE journal (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, data BLOB NOT NULL);
     CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL, is_removed INTEGER NOT NULL, \
                         moved INTEGER NOT NULL, facts BLOB NOT NULL, sum INTEGER NOT NULL);
     CREATE UNIQUE INDEX rooms_by_name ON rooms (name) WHERE is_removed = 0;
     CREATE TABLE states (room INTEGER PRIMARY KEY, data BLOB NOT NULL, sum INTEGER NOT NULL);
     CREATE TABLE segments (id INTEGER PRIMARY KEY, room INTEGER NOT NULL, first_offset INTEGER NOT NULL, \
                            next_offset INTEGER NOT NULL, time_ms INTEGER NOT NULL, base INTEGER NOT NULL, \
                            newest INTEGER NOT NULL, sum INTEGER NOT NULL, data BLOB NOT NULL);
     CREATE INDEX segments_by_room ON segments (room, next_offset);",
    // A room's facts hold its slot and up to four epochs, and a record may contain a slot. The tables stay
    // unchanged; a program without this version refuses the database.
    "-- facts and records of rooms with their slots",
];

/// Bytes of the write-ahead log above which the committer writes its pages into the database: 4 MB, some
/// seconds of a loaded node. Its file keeps that size, so that a full disk does not stop commits at once.
pub(crate) const WAL_BYTES_KEPT: u64 = 4 << 20;

/// Above this size its file is truncated.
const WAL_BYTES_MAX: i64 = 16 << 20;

/// Where the header of a database has its "file format write version".
const WRITE_VERSION_AT: u64 = 18;

/// A connection that writes. Of a node's own log nothing is committed before it is synced. Of copies
/// (`is_copy`) a power cut may take the newest commits, which are in the cluster's log.
pub(crate) fn open_writer(path: &Path, is_copy: bool) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", if is_copy { "NORMAL" } else { "FULL" })?;
    // The committer copies pages into the database between commits, not within one.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

/// A connection that reads beside the one that writes.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

/// Whether the header of a database has a format that SQLite reads and does not write ("file format write
/// version", byte 18, <https://sqlite.org/fileformat2.html>). Only damage makes it so.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn refuses_writes(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    std::fs::File::open(path)?.take(WRITE_VERSION_AT + 1).read_to_end(&mut header)?;
    Ok(header.get(WRITE_VERSION_AT as usize).is_some_and(|&version| version > 2))
}

/// The version of a database; 0: empty.
pub(crate) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Migrate a database to the newest version. `before` is called once before existing data is changed.
///
/// # Errors
/// An error of `before` or of SQLite; a newer version; tables in a database whose version says that it is
/// empty.
pub(crate) fn migrate(
    conn: &mut Connection,
    path: &Path,
    migrations: &[&str],
    before: impl FnOnce(i64) -> Result<(), StoreError>,
) -> Result<i64, StoreError> {
    let fault = StoreError::sqlite(path);
    let found = version(conn).map_err(&fault)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&fault)?;
    let from = usize::try_from(found).unwrap_or(usize::MAX);
    if from > migrations.len() {
        return Err(StoreError::Newer { path: path.to_owned(), version: found });
    }
    if (from == 0) != (tables == 0) {
        return Err(StoreError::corrupt(path, format!("version {found} with {tables} tables and indices")));
    }
    if from == migrations.len() {
        return Ok(found);
    }
    if from > 0 {
        before(found)?;
    }
    for (at, sql) in migrations.iter().enumerate().skip(from) {
        let tx = conn.transaction().map_err(&fault)?;
        tx.execute_batch(sql).map_err(&fault)?;
        tx.pragma_update(None, "user_version", at as i64 + 1).map_err(&fault)?;
        tx.commit().map_err(&fault)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as each released version made it, by that version's own statements.
    fn of_version(version: usize) -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        let path = Path::new("a test's");
        assert_eq!(
            migrate(&mut conn, path, &MIGRATIONS[..version], |_| panic!("nothing is there")).unwrap(),
            0
        );
        conn
    }

    #[test]
    fn every_version_is_brought_forward_and_only_after_a_backup() {
        // The next version, whatever it will be.
        let next = "ALTER TABLE rooms ADD COLUMN a_test INTEGER NOT NULL DEFAULT 7";
        let all: Vec<&str> = MIGRATIONS.iter().copied().chain([next]).collect();
        let path = Path::new("a test's");
        for found in 1..=MIGRATIONS.len() {
            let mut conn = of_version(found);
            conn.execute("INSERT INTO rooms VALUES (1, 'a', 0, 0, x'00', 0)", []).unwrap();
            let refused = |_| Err(StoreError::corrupt(path, "no backup"));
            assert!(migrate(&mut conn, path, &all, refused).is_err());
            assert_eq!(version(&conn).unwrap(), found as i64, "nothing changes without a backup");
            let mut backups = Vec::new();
            let backup = |version| {
                backups.push(version);
                Ok(())
            };
            assert_eq!(migrate(&mut conn, path, &all, backup).unwrap(), found as i64);
            assert_eq!((backups, version(&conn).unwrap()), (vec![found as i64], all.len() as i64));
            let kept: (String, i64) = conn
                .query_row("SELECT name, a_test FROM rooms", [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(kept, ("a".to_owned(), 7));
            assert!(migrate(&mut conn, path, MIGRATIONS, |_| Ok(())).is_err(), "no way back");
        }
    }

    #[test]
    fn a_change_that_fails_leaves_the_version_that_was() {
        let mut conn = of_version(1);
        let all = [MIGRATIONS[0], "ALTER TABLE rooms ADD COLUMN b; ALTER TABLE nothing ADD COLUMN c"];
        assert!(migrate(&mut conn, Path::new("a test's"), &all, |_| Ok(())).is_err());
        assert_eq!(version(&conn).unwrap(), 1);
        assert!(conn.prepare("SELECT b FROM rooms").is_err());
    }
}
