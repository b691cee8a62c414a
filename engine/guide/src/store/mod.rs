//! The store: the guide's database, its writer and its readers.
//!
//! - `schema`: tables; `apply`: the differences of an import; `query`, `search`: answers; `rows`: texts of
//!   shows as rows.
//!
//! Why SQLite: an import is one transaction that readers do not see before its end, and a search needs an
//! index of words.
//! Invariants: one writer; readers have connections of their own and never wait for an import.
//! Not here: documents (`import`).

mod apply;
mod query;
mod rows;
mod schema;
mod search;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::report::Report;
pub use query::{Airing, ChannelRow, GridQuery, NowNext, Page, Queries};
pub use search::{FoundShow, SearchQuery};

/// The database's file in its folder.
pub const DATABASE: &str = "guide.db";

/// Memory for pages, KiB: beyond, an import writes what it has.
const CACHE_KIB: i64 = 12 << 10;

/// Bytes that the write-ahead log keeps after an import.
const WAL_BYTES_MAX: i64 = 16 << 20;

/// The guide's database failed.
#[derive(Debug)]
pub struct GuideError {
    path: PathBuf,
    fault: String,
}

impl fmt::Display for GuideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for GuideError {}

impl GuideError {
    fn at(path: &Path) -> impl Fn(rusqlite::Error) -> GuideError + use<> {
        let path = path.to_owned();
        move |error| GuideError { path: path.clone(), fault: error.to_string() }
    }
}

/// What a server said of a document: asked with it, it need not send the document again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub tag: String,
    /// `Last-Modified`.
    pub modified: String,
}

/// The guide, for its one writer.
pub struct Guide {
    conn: Connection,
    dir: PathBuf,
    is_temporary: bool,
}

impl Guide {
    /// Open the guide in this folder; it is made when it is missing.
    ///
    /// # Errors
    /// The folder or the database cannot be used.
    pub fn open(dir: &Path) -> Result<Guide, GuideError> {
        let path = dir.join(DATABASE);
        let io = |error: std::io::Error| GuideError { path: path.clone(), fault: error.to_string() };
        std::fs::create_dir_all(dir).map_err(io)?;
        // Made by us, so that nobody else reads it.
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(io)?;
        let fault = GuideError::at(&path);
        let mut conn = Connection::open(&path).map_err(&fault)?;
        let set = |conn: &Connection| -> rusqlite::Result<()> {
            conn.busy_timeout(Duration::from_secs(10))?;
            conn.pragma_update(None, "journal_mode", "WAL")?;
            // An import that a power cut takes away is made again.
            conn.pragma_update(None, "synchronous", "NORMAL")?;
            conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
            conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
            conn.pragma_update(None, "temp_store", "FILE")?;
            conn.pragma_update(None, "trusted_schema", false)?;
            conn.set_prepared_statement_cache_capacity(64);
            Ok(())
        };
        set(&conn).map_err(&fault)?;
        schema::migrate(&mut conn).map_err(&fault)?;
        Ok(Guide { conn, dir: dir.to_owned(), is_temporary: false })
    }

    /// A guide that goes away with this value: in a folder of its own, below the system's for such files.
    ///
    /// # Errors
    /// The folder or the database cannot be used.
    pub fn temporary() -> Result<Guide, GuideError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("grandstand-guide-{}-{number}", std::process::id()));
        let io = |error: std::io::Error| GuideError { path: dir.clone(), fault: error.to_string() };
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).map_err(io)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
        let mut guide = Guide::open(&dir)?;
        guide.is_temporary = true;
        Ok(guide)
    }

    /// A connection that answers queries, beside imports.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn queries(&self) -> Result<Queries, GuideError> {
        Queries::open(&self.dir)
    }

    /// Where the guide is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn spool_dir(&self) -> &Path {
        &self.dir
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> GuideError + use<> {
        GuideError::at(&self.dir.join(DATABASE))
    }

    /// Keep the newest report of a source. What was said of its document stays.
    pub(crate) fn keep_report(&mut self, report: &Report) -> Result<(), GuideError> {
        let text = serde_json::to_string(report).unwrap_or_default();
        let statement = "INSERT INTO reports (source, report, tag, modified) VALUES (?1, ?2, '', '')
                         ON CONFLICT (source) DO UPDATE SET report = excluded.report";
        self.conn.execute(statement, params![report.source, text]).map(drop).map_err(self.fault())
    }

    /// Keep what the server of a source said of its document, which was imported.
    ///
    /// # Errors
    /// The database failed.
    pub fn keep_validators(&mut self, source: &str, validators: &Validators) -> Result<(), GuideError> {
        let Validators { tag, modified } = validators;
        let statement = "UPDATE reports SET tag = ?2, modified = ?3 WHERE source = ?1";
        self.conn.execute(statement, params![source, tag, modified]).map(drop).map_err(self.fault())
    }

    /// What was kept of it.
    ///
    /// # Errors
    /// The database failed.
    pub fn validators(&self, source: &str) -> Result<Validators, GuideError> {
        let statement = "SELECT tag, modified FROM reports WHERE source = ?1";
        let row = self
            .conn
            .query_row(statement, [source], |row| Ok(Validators { tag: row.get(0)?, modified: row.get(1)? }));
        Ok(row.optional().map_err(self.fault())?.unwrap_or_default())
    }

    /// Forget airings that ended before `before` and whose room `is_used` does not name, and shows that have
    /// no airing left. How many airings went.
    ///
    /// # Errors
    /// The database failed.
    pub fn forget(&mut self, before: i64, rooms: &dyn crate::RoomUse) -> Result<usize, GuideError> {
        let fault = self.fault();
        let ended = self.queries()?.ended(before)?;
        let transaction = self.conn.transaction().map_err(&fault)?;
        let mut gone = 0;
        for (id, room) in ended {
            if !rooms.is_used(&room) {
                gone += transaction.execute("DELETE FROM airings WHERE id = ?1", [id]).map_err(&fault)?;
            }
        }
        if gone > 0 {
            let orphans =
                "SELECT id FROM shows WHERE NOT EXISTS (SELECT 1 FROM airings WHERE show = shows.id)";
            transaction
                .execute(&format!("DELETE FROM words WHERE rowid IN ({orphans})"), [])
                .map_err(&fault)?;
            transaction.execute(&format!("DELETE FROM shows WHERE id IN ({orphans})"), []).map_err(&fault)?;
        }
        transaction.commit().map_err(&fault)?;
        Ok(gone)
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        if self.is_temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A connection that reads.
fn open_reader(dir: &Path) -> Result<Connection, GuideError> {
    let path = dir.join(DATABASE);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags(&path, flags)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        Ok(conn)
    };
    open().map_err(GuideError::at(&path))
}
