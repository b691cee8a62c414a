//! The tables of the guide's database, by version.
//!
//! ```text
//! channels  a channel: its source, id, names, the part of its rooms' names
//! shows     distinct texts; airings refer to them, and the index of words has one entry each
//! airings   a place in a schedule, with what its room is named by: first start and mark
//! reports   the newest report of each source, and what its server said of the document
//! ```
//!
//! Why a file of its own beside the log: an import is one long transaction, and no message waits for it.
//! Invariant: `user_version` names the version. Not here: who reads and writes the tables (`store`).

use rusqlite::Connection;

/// The statements from version `n` to `n + 1` are at index `n`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE channels (id INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
                           names TEXT NOT NULL, icon TEXT NOT NULL, part TEXT NOT NULL);
    CREATE INDEX channels_by_part ON channels (part);
    CREATE TABLE shows (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL UNIQUE, title TEXT NOT NULL,
                        other_titles TEXT NOT NULL, sub_title TEXT NOT NULL, description TEXT NOT NULL,
                        episode TEXT NOT NULL, provider TEXT NOT NULL, series TEXT NOT NULL, people TEXT NOT NULL,
                        teams TEXT NOT NULL, categories TEXT NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5 (title, sub_title, series, people, teams, categories, content='',
                                           contentless_delete=1, tokenize='unicode61 remove_diacritics 2');
    CREATE TABLE airings (id INTEGER PRIMARY KEY, channel INTEGER NOT NULL, start INTEGER NOT NULL,
                          stop INTEGER NOT NULL, show INTEGER NOT NULL, flags INTEGER NOT NULL,
                          first_start INTEGER NOT NULL, mark INTEGER NOT NULL);
    CREATE INDEX airings_by_start ON airings (channel, start);
    CREATE INDEX airings_by_show ON airings (show, start);
    CREATE UNIQUE INDEX airings_by_room ON airings (channel, first_start, mark);
    CREATE INDEX airings_long ON airings (channel, start) WHERE stop - start > 21600;
    CREATE TABLE reports (source TEXT PRIMARY KEY, report TEXT NOT NULL, tag TEXT NOT NULL, modified TEXT NOT NULL);
"];

/// Bring a database to the newest version.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let found: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > MIGRATIONS.len() {
        let fault = format!("guide.db has version {found}, and this program knows {}", MIGRATIONS.len());
        return Err(rusqlite::Error::ToSqlConversionFailure(fault.into()));
    }
    for (version, statements) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
