//! The endpoints of the durable log: its status, and a backup on request.
//!
//! Invariant: one backup runs at a time, on a thread of its own, so that a scrape does not wait for it.
//! Not here: what the numbers mean (`metrics`), the copy itself (`grandstand_store`).

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use grandstand_edge::clock::Clock;
use grandstand_store::{Health, Status, StoreError};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::Shared;
use crate::http::response::Failure;
use crate::metrics::store_numbers;

/// The admin port's handle of the durable log.
#[derive(Debug)]
pub struct StorePort {
    /// Its folder.
    pub dir: PathBuf,
    /// Folder of the backups that are requested here.
    pub backup_dir: PathBuf,
    /// The log, open or not. It is replaced when a log is opened after the start.
    log: RwLock<ShownLog>,
    /// Held while a backup is made.
    backing_up: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct ShownLog {
    /// The result of opening the log, in a sentence.
    found: String,
    status: Arc<Status>,
}

impl StorePort {
    /// A log in this folder, which backs up into that one.
    pub(crate) fn new(dir: PathBuf, backup_dir: PathBuf) -> StorePort {
        StorePort { dir, backup_dir, log: RwLock::default(), backing_up: Mutex::default() }
    }

    /// Show this log from now on.
    pub(crate) fn show_log(&self, found: String, status: Arc<Status>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = ShownLog { found, status };
    }

    /// The log cannot be opened.
    pub(crate) fn cannot_open(&self, error: &StoreError) {
        self.show_log("not open".to_owned(), Arc::new(Status::of_closed(error.health(), error.to_string())));
    }

    fn shown(&self) -> ShownLog {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        self.shown().status
    }

    /// The present fault, in a sentence.
    pub(crate) fn fault(&self) -> Option<String> {
        let status = self.status();
        let said = match status.health() {
            Health::Good => {
                let lost = status.lost_commits.load(Ordering::Relaxed);
                let hint = "see `grandstand verify`, and your backups";
                return (lost > 0).then(|| {
                    format!("durable log: the last start found {lost} acknowledged commits lost; {hint}")
                });
            }
            Health::Slow => "its disk takes long to sync what waits for it".to_owned(),
            _ => status.fault(),
        };
        Some(format!("durable log: {}: {said}", status.health().name()))
    }
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Messages in it.
    pub messages: u64,
    /// How long it took.
    pub took_ms: u64,
}

/// Why no backup was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupError {
    /// Another one is being made.
    UnderWay,
    /// In a sentence.
    Failed(String),
}

impl StorePort {
    /// Back the log up while the node serves.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn back_up(&self, clock: Clock) -> Result<Backup, BackupError> {
        let Ok(_one) = self.backing_up.try_lock() else { return Err(BackupError::UnderWay) };
        let (began, unix_s) = (clock.instant(), clock.unix().as_secs());
        let (dir, to) = (self.dir.clone(), self.backup_dir.join(format!("asked-{unix_s}.db")));
        let file = to.display().to_string();
        let make = move || {
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            grandstand_store::backup::run(&dir, &to).map_err(|error| error.to_string())
        };
        let made = tokio::task::spawn_blocking(make).await.map_err(|error| error.to_string()).flatten();
        let made = made.map_err(BackupError::Failed)?;
        self.status().backup_ms.store(unix_s * 1_000, Ordering::Relaxed);
        let took_ms = clock.elapsed(began).as_millis() as u64;
        Ok(Backup { file, bytes: made.file_bytes, messages: made.messages, took_ms })
    }
}

pub(super) async fn show(State(port): Shared) -> Result<Json<Value>, Failure> {
    let log = port.store.as_ref().ok_or_else(none)?;
    let mut shown = Map::new();
    let ShownLog { found, status } = log.shown();
    shown.insert("dir".to_owned(), json!(log.dir.display().to_string()));
    shown.insert("found".to_owned(), json!(found));
    shown.insert("health".to_owned(), json!(status.health().name()));
    shown.insert("last_fault".to_owned(), json!(status.fault()));
    for number in store_numbers(&status, port.clock) {
        shown.insert(number.name, json!(number.value));
    }
    Ok(Json(Value::Object(shown)))
}

pub(super) async fn backup(State(port): Shared) -> Result<Json<Value>, Failure> {
    let log = port.store.as_ref().ok_or_else(none)?;
    let made = log.back_up(port.clock).await.map_err(|error| match error {
        BackupError::UnderWay => {
            let hint = "wait for its end: GET /metrics, grandstand_store_backup_age_seconds";
            Failure::new(StatusCode::CONFLICT, "a backup is being made", hint)
        }
        BackupError::Failed(error) => {
            let hint = "see log.backup_dir, and the disk's free space";
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, hint)
        }
    })?;
    let Backup { file, bytes, messages, took_ms } = made;
    Ok(Json(json!({ "file": file, "bytes": bytes, "messages": messages, "ms": took_ms })))
}

fn none() -> Failure {
    let hint = "start it with log.dir, a folder for the log";
    Failure::new(StatusCode::NOT_FOUND, "this node keeps nothing on disk", hint)
}
