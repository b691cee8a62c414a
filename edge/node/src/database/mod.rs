//! The node's database: `node.db`, an SQLite file beside the log, for what a node keeps besides rooms.
//!
//! Why apart from the log: these tables change seldom, one at a time, and nothing of a room waits for them.
//! Each module (API keys, webhooks, uploads) connects by itself, and has its tables, made by numbered steps,
//! to itself. So no module knows another one's tables, and a later release adds steps without touching
//! earlier ones. Invariants: a committed change is on the disk. A database of a later release is refused,
//! not guessed. Other programs (`grandstand key`) may use it at the same time.
//! Not here: what the tables mean (the modules), rooms (`grandstand_store`).

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

/// The file in `log.dir`.
pub const FILE: &str = "node.db";

/// How long a change waits for another program's.
const BUSY: Duration = Duration::from_secs(5);

/// Where the database is.
#[derive(Clone, Debug)]
pub struct Database {
    file: Option<PathBuf>,
}

impl Database {
    /// The database in this folder, which must be there; `None`: nothing outlives the process.
    pub fn of(dir: Option<&Path>) -> Database {
        Database { file: dir.map(|dir| dir.join(FILE)) }
    }

    /// A connection for one module: its tables are made, or brought up to date, by the steps that are not
    /// done yet. Without a file each connection has a database of its own, in memory.
    ///
    /// # Errors
    /// In a sentence: the file can't be used, a step failed, or a later release has done more steps.
    pub fn connect(&self, module: &str, steps: &[&str]) -> Result<Connection, String> {
        let place = self.file.as_deref().unwrap_or(Path::new("memory"));
        let fault = |error: rusqlite::Error| format!("{}: {error}", place.display());
        let mut connection = match &self.file {
            Some(file) => Connection::open_with_flags(file, OpenFlags::default()),
            None => Connection::open_in_memory(),
        }
        .map_err(fault)?;
        prepare(&connection).map_err(fault)?;
        let done = bring_up_to_date(&mut connection, module, steps).map_err(fault)?;
        match done {
            done if done > steps.len() => Err(format!(
                "{}: a later release has changed the tables of {module}; use that release, or move the file away",
                place.display()
            )),
            _ => Ok(connection),
        }
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// Do the steps that are not done, all or none. Returns how many are done in the end.
fn bring_up_to_date(connection: &mut Connection, module: &str, steps: &[&str]) -> rusqlite::Result<usize> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute_batch(
        "CREATE TABLE IF NOT EXISTS steps (module TEXT PRIMARY KEY, done INTEGER NOT NULL) STRICT",
    )?;
    let done = change
        .query_row("SELECT done FROM steps WHERE module = ?1", [module], |row| row.get::<_, u32>(0))
        .optional()?
        .unwrap_or(0) as usize;
    for step in steps.iter().skip(done) {
        change.execute_batch(step)?;
    }
    let now = done.max(steps.len());
    change.execute("INSERT OR REPLACE INTO steps VALUES (?1, ?2)", (module, now as u32))?;
    change.commit()?;
    Ok(now)
}
