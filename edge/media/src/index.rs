//! The index: which uploads there are, whose they are, and what each person has used of the quota.
//!
//! Why a database beside the objects: a quota, a hold and a removal must be answered at once and survive a
//! restart, and a store is slow to list.
//! Invariants: an object that is served has a row. Equal content is kept once, with a row per owner; it is
//! removed from the store when nobody owns it any more. What a moderator removed is not taken again. Use is
//! counted by the day and not given back by a removal, so uploading and removing in turn ends too.
//! Not here: bytes (`objects`), who may do what (`uploads`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::image::Format;

/// Seconds over which use is counted.
const DAY_S: i64 = 86_400;

/// The steps that make the tables, for whoever keeps databases.
pub const STEPS: &[&str] = &["
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY, media_type TEXT NOT NULL, thumbnail_type TEXT NOT NULL, bytes INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, frames INTEGER NOT NULL, held INTEGER NOT NULL,
    at_s INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS upload_held ON upload (at_s) WHERE held = 1;
CREATE TABLE IF NOT EXISTS upload_owner (
    id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (id, owner)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload_use (who TEXT NOT NULL, at_s INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS upload_use_who ON upload_use (who, at_s);
CREATE TABLE IF NOT EXISTS upload_barred (id TEXT PRIMARY KEY, at_s INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS upload_unowned (id TEXT PRIMARY KEY) STRICT;
"];

/// See the file's head.
#[derive(Debug)]
pub struct Index(Mutex<Connection>);

/// What is known of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// SHA-256 of its bytes, in hex.
    pub id: String,
    /// Its format.
    pub format: Format,
    /// The format of its thumbnail.
    pub thumbnail: Format,
    /// Its bytes, thumbnail not included.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames.
    pub frames: u32,
    /// It waits for a moderator, and is served to moderators alone.
    pub is_held: bool,
}

/// Why an upload is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// A moderator removed the same content.
    Barred,
}

impl Index {
    /// The index in this database, in which [`STEPS`] were done.
    pub fn over(connection: Connection) -> Index {
        Index(Mutex::new(connection))
    }

    /// An index that ends with the process.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory() -> rusqlite::Result<Index> {
        let connection = Connection::open_in_memory()?;
        STEPS.iter().try_for_each(|step| connection.execute_batch(step))?;
        Ok(Index::over(connection))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Count an upload of so many bytes towards the days of all of `whom`, or say who has used up the quota:
    /// then nothing is counted. Concurrent uploads count one after the other.
    pub fn use_quota(
        &self,
        whom: &[(&str, u64)],
        bytes: u64,
        now_s: i64,
    ) -> rusqlite::Result<Result<(), usize>> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM upload_use WHERE at_s <= ?1", [now_s - DAY_S])?;
        for (ix, (who, max)) in whom.iter().enumerate() {
            let used: i64 = transaction.query_row(
                "SELECT coalesce(sum(bytes), 0) FROM upload_use WHERE who = ?1",
                [who],
                |row| row.get(0),
            )?;
            if used as u64 + bytes > *max {
                return Ok(Err(ix));
            }
            transaction
                .execute("INSERT INTO upload_use VALUES (?1, ?2, ?3)", params![who, now_s, bytes as i64])?;
        }
        transaction.commit()?;
        Ok(Ok(()))
    }

    /// Note that objects under this identity may be in the store without an owner: before they are written,
    /// so that a crash leaves none behind.
    pub fn expect(&self, id: &str) -> rusqlite::Result<()> {
        self.connection().execute("INSERT OR IGNORE INTO upload_unowned VALUES (?1)", [id])?;
        Ok(())
    }

    /// Identities whose objects are still to be removed from the store.
    pub fn unowned(&self) -> rusqlite::Result<Vec<String>> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT id FROM upload_unowned LIMIT 1000")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }

    /// The store has no objects under this identity any more.
    pub fn forget(&self, id: &str) -> rusqlite::Result<()> {
        self.connection().execute("DELETE FROM upload_unowned WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Bytes that all uploads have in the store.
    pub fn stored_bytes(&self) -> rusqlite::Result<u64> {
        let sum: i64 =
            self.connection()
                .query_row("SELECT coalesce(sum(bytes), 0) FROM upload", [], |row| row.get(0))?;
        Ok(sum as u64)
    }

    /// Enter an upload of `owner`. One that is there keeps its hold. Returns what is known of it now.
    pub fn enter(
        &self,
        upload: &Upload,
        owner: &str,
        now_s: i64,
    ) -> rusqlite::Result<Result<Upload, NotEntered>> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let is_barred = transaction
            .query_row("SELECT 1 FROM upload_barred WHERE id = ?1", [&upload.id], |_| Ok(()))
            .optional()?;
        if is_barred.is_some() {
            return Ok(Err(NotEntered::Barred));
        }
        transaction.execute(
            "INSERT OR IGNORE INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                upload.id,
                upload.format.media_type(),
                upload.thumbnail.media_type(),
                upload.bytes as i64,
                upload.width,
                upload.height,
                upload.frames,
                upload.is_held,
                now_s
            ],
        )?;
        transaction.execute("INSERT OR IGNORE INTO upload_owner VALUES (?1, ?2)", [&upload.id, owner])?;
        transaction.execute("DELETE FROM upload_unowned WHERE id = ?1", [&upload.id])?;
        let entered = read(&transaction, &upload.id)?;
        transaction.commit()?;
        Ok(entered.ok_or(NotEntered::Barred))
    }

    /// Is the content with this identity barred?
    pub fn is_barred(&self, id: &str) -> rusqlite::Result<bool> {
        let connection = self.connection();
        let found = connection.query_row("SELECT 1 FROM upload_barred WHERE id = ?1", [id], |_| Ok(()));
        Ok(found.optional()?.is_some())
    }

    /// The upload with this identity.
    pub fn get(&self, id: &str) -> rusqlite::Result<Option<Upload>> {
        read(&self.connection(), id)
    }

    /// Uploads that wait for a moderator, the oldest first.
    pub fn held(&self, limit: u32) -> rusqlite::Result<Vec<Upload>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare(&format!("{COLUMNS} WHERE held = 1 ORDER BY at_s LIMIT ?1"))?;
        statement.query_map([limit], upload)?.collect()
    }

    /// Release a held upload. `false`: there is none.
    pub fn approve(&self, id: &str) -> rusqlite::Result<bool> {
        Ok(self.connection().execute("UPDATE upload SET held = 0 WHERE id = ?1", [id])? > 0)
    }

    /// Remove the upload for one owner. `None`: it is not that owner's; `Some(true)`: nobody owns it now, and
    /// it is no longer served.
    pub fn disown(&self, id: &str, owner: &str) -> rusqlite::Result<Option<bool>> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        if transaction.execute("DELETE FROM upload_owner WHERE id = ?1 AND owner = ?2", [id, owner])? == 0 {
            return Ok(None);
        }
        let owners: i64 =
            transaction
                .query_row("SELECT count(*) FROM upload_owner WHERE id = ?1", [id], |row| row.get(0))?;
        if owners == 0 {
            transaction.execute("DELETE FROM upload WHERE id = ?1", [id])?;
            transaction.execute("INSERT OR IGNORE INTO upload_unowned VALUES (?1)", [id])?;
        }
        transaction.commit()?;
        Ok(Some(owners == 0))
    }

    /// Remove the upload for everybody, and take the same content no more. `false`: there was none.
    pub fn bar(&self, id: &str, now_s: i64) -> rusqlite::Result<bool> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("INSERT OR IGNORE INTO upload_barred VALUES (?1, ?2)", params![id, now_s])?;
        transaction.execute("DELETE FROM upload_owner WHERE id = ?1", [id])?;
        let was_there = transaction.execute("DELETE FROM upload WHERE id = ?1", [id])? > 0;
        transaction.execute("INSERT OR IGNORE INTO upload_unowned VALUES (?1)", [id])?;
        transaction.commit()?;
        Ok(was_there)
    }
}

const COLUMNS: &str = "SELECT id, media_type, thumbnail_type, bytes, width, height, frames, held FROM upload";

fn read(connection: &Connection, id: &str) -> rusqlite::Result<Option<Upload>> {
    connection.prepare(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], upload).optional()
}

fn upload(row: &rusqlite::Row<'_>) -> rusqlite::Result<Upload> {
    let format = |ix: usize| -> rusqlite::Result<Format> {
        Ok(Format::of_media_type(&row.get::<_, String>(ix)?).unwrap_or(Format::Png))
    };
    Ok(Upload {
        id: row.get(0)?,
        format: format(1)?,
        thumbnail: format(2)?,
        bytes: row.get::<_, i64>(3)? as u64,
        width: row.get(4)?,
        height: row.get(5)?,
        frames: row.get(6)?,
        is_held: row.get(7)?,
    })
}
