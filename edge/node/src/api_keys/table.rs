//! The table of API keys in `node.db`.
//!
//! Invariants: a revoked key stays in the table, so that a list shows when it ended; at most
//! [`LIVE_PER_NAME`] keys of a name are live at a time.
//! Not here: where the database is (`database`).

use rusqlite::{Connection, Row, TransactionBehavior};

use super::{ApiKey, CreateError, LIVE_PER_NAME, Scopes};

/// Steps that make the table.
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        room_prefix TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER,
        revoked_ms INTEGER,
        used_ms INTEGER
    ) STRICT;
"];

/// All keys. One whose scopes are of a later release has none of these.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<ApiKey>> {
    let mut all = connection.prepare(
        "SELECT id, hash, name, scopes, room_prefix, created_ms, expires_ms, revoked_ms, used_ms FROM api_keys \
         ORDER BY created_ms, id",
    )?;
    all.query_map([], of_row)?.collect()
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let ms = |at| row.get::<_, Option<i64>>(at).map(|ms| ms.map(|ms| ms as u64));
    let scopes: String = row.get(3)?;
    let words = scopes.split(' ').filter_map(super::Scope::from_word);
    let key = ApiKey {
        id: row.get(0)?,
        hash: row.get(1)?,
        name: row.get(2)?,
        scopes: words.collect::<Scopes>(),
        room_prefix: row.get(4)?,
        created_ms: ms(5)?.unwrap_or(0),
        expires_ms: ms(6)?,
        revoked_ms: ms(7)?,
        is_of_file: false,
        used: Default::default(),
    };
    key.note_use(ms(8)?.unwrap_or(0));
    Ok(key)
}

/// Add a key.
pub(super) fn insert(connection: &mut Connection, key: &ApiKey, now_ms: u64) -> Result<(), CreateError> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let live: u32 = change.query_row(
        "SELECT count(*) FROM api_keys WHERE name = ?1 AND revoked_ms IS NULL \
         AND (expires_ms IS NULL OR expires_ms > ?2)",
        (&key.name, now_ms as i64),
        |row| row.get(0),
    )?;
    if live as usize >= LIVE_PER_NAME {
        return Err(CreateError::TooMany);
    }
    change.execute(
        "INSERT INTO api_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL)",
        (
            &key.id,
            &key.hash,
            &key.name,
            key.scopes.words().join(" "),
            &key.room_prefix,
            key.created_ms as i64,
            key.expires_ms.map(|ms| ms as i64),
        ),
    )?;
    Ok(change.commit()?)
}

/// Revoke a key. Whether there is a key of this id that was not revoked before.
pub(super) fn revoke(connection: &Connection, id: &str, now_ms: u64) -> rusqlite::Result<bool> {
    let sql = "UPDATE api_keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL";
    Ok(connection.execute(sql, (id, now_ms as i64))? > 0)
}

/// Note when a key was used last.
pub(super) fn note_use(connection: &Connection, id: &str, now_ms: u64) -> rusqlite::Result<()> {
    connection.execute("UPDATE api_keys SET used_ms = ?2 WHERE id = ?1", (id, now_ms as i64)).map(drop)
}
