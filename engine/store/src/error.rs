//! Errors of a store: why it cannot be opened, copied or read, and what an operator can do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::status::Health;

/// What a database is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// It is the log of a single node.
    Own,
    /// It is a cluster node's copy of the logs of this number of shards.
    Copies(u16),
}

impl fmt::Display for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogKind::Own => f.write_str("the log of a single node"),
            LogKind::Copies(1) => f.write_str("a cluster node's copy of 1 shard"),
            LogKind::Copies(shards) => write!(f, "a cluster node's copy of {shards} shards"),
        }
    }
}

/// An operating fault. Each names its file, and what to do.
#[derive(Debug)]
pub enum StoreError {
    /// A file or folder can't be used.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the store tried to do.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Another process owns the directory.
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// The database is damaged in a place without which nothing can continue. It was not changed.
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The directory had a database, which is missing now.
    Missing {
        /// The path of the missing database.
        path: PathBuf,
    },
    /// A newer program wrote the database.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// The database is for something else.
    OtherKind {
        /// The database.
        path: PathBuf,
        /// What it is for.
        found: LogKind,
        /// What was to be opened.
        expected: LogKind,
    },
    /// A file is in the place of a backup or of a restored log.
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// SQLite could not carry out an operation; the disk may be full or read-only.
    Sqlite {
        /// The database.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Does the disk refuse, so that the same call may succeed later without anybody's decision: it is full,
    /// read-only, not mounted, or the folder cannot be written?
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, StoreError::Io { .. } | StoreError::Sqlite { .. })
    }

    /// What the disk refuses, in one word.
    pub fn health(&self) -> Health {
        use rusqlite::ErrorCode::{DiskFull, ReadOnly};
        match self {
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Health::Full,
                io::ErrorKind::ReadOnlyFilesystem => Health::ReadOnly,
                _ => Health::Failing,
            },
            StoreError::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(DiskFull) => Health::Full,
                Some(ReadOnly) => Health::ReadOnly,
                _ => Health::Failing,
            },
            _ => Health::Failing,
        }
    }

    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { path, doing, source }
    }

    /// Convert an error of SQLite: damage is distinguished from a disk that fails.
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        move |source| {
            if is_damage(&source) {
                StoreError::Corrupt { path: path.clone(), detail: source.to_string() }
            } else {
                StoreError::Sqlite { path: path.clone(), source }
            }
        }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: path.to_owned(), detail: detail.into() }
    }
}

/// Does this error mean that the file differs from what was written?
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(failure, text) => {
            matches!(failure.code, DatabaseCorrupt | NotADatabase)
                || text.as_deref().is_some_and(|text| text.contains("no such") || text.contains("malformed"))
        }
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::InvalidColumnIndex(_)
        | rusqlite::Error::InvalidColumnName(_)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io { path, doing, source } => {
                write!(f, "durable log: {doing} {}: {source}", path.display())
            }
            StoreError::Locked { path } => write!(
                f,
                "durable log: another process holds {}: stop it, wait for it, or use another folder",
                path.display()
            ),
            StoreError::Corrupt { path, detail } => write!(
                f,
                "durable log: {} is damaged ({detail}). It was left as it is. Restore a backup (`grandstand restore`), or \
                 see what is sound in it (`grandstand verify`)",
                path.display()
            ),
            StoreError::Missing { path } => write!(
                f,
                "durable log: {} is gone, but its folder says that it was there. Restore a backup (`grandstand restore`), or \
                 remove log.id beside it to begin with an empty log",
                path.display()
            ),
            StoreError::Newer { path, version } => write!(
                f,
                "durable log: {} has version {version}, written by a newer program: run that one, or restore the backup \
                 that it made before it changed the schema",
                path.display()
            ),
            StoreError::OtherKind { path, found, expected } => write!(
                f,
                "durable log: {} is {found}, expected {expected}: use another folder",
                path.display()
            ),
            StoreError::InTheWay { path } => {
                write!(f, "durable log: {} is in the way; it was left as it is", path.display())
            }
            StoreError::Sqlite { path, source } => write!(f, "durable log: {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io { source, .. } => Some(source),
            StoreError::Sqlite { source, .. } => Some(source),
            _ => None,
        }
    }
}
