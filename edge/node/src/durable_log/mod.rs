//! The durable log in a node's life: opened before the engine, announced at start, closed after the engine.
//!
//! Why before the engine: the engine's rooms are restored from it, and a log that is damaged or of another
//! process stops the start before anything is served. A disk that is full, read-only or not there does not:
//! the node serves what it can, and the log is opened when the disk allows it (`retry`).
//! Invariant: without `log.dir` nothing is written to disk.
//! Not here: the log itself (`grandstand_store`), its admin endpoints (`http::admin`), the order of a stop
//! (`shutdown`).

mod closed;
mod retry;

use std::path::Path;
use std::sync::Arc;

use grandstand_engine::runtime::pulse::Pulses;
use grandstand_store::{Found, Opening, Store, StoreError};

use crate::NodeError;
use crate::http::admin::StorePort;
use crate::settings::{backup_dir, store_config};
use grandstand_edge::config::Config;

pub(crate) use closed::ClosedLogs;
pub(crate) use retry::Retry;

/// A node's durable log at its start.
#[allow(clippy::large_enum_variant, reason = "moved once, at start")]
pub(crate) enum AtStart {
    /// The node keeps nothing on disk.
    None,
    /// It is open.
    Open(Store),
    /// The disk does not let it be opened now.
    Waits(StoreError),
}

/// Open the log, if the node has one, and log what was found.
///
/// # Errors
/// The log is damaged, of another process, or otherwise for an operator to decide on.
pub(crate) fn open(config: &Config, pulses: &Pulses) -> Result<AtStart, NodeError> {
    if config.log.dir.is_none() {
        return Ok(AtStart::None);
    }
    match try_open(config, pulses) {
        Ok(store) => {
            announce(&store, config);
            Ok(AtStart::Open(store))
        }
        Err(error) if error.is_of_the_disk() => {
            tracing::error!(
                "{error}; the node serves without it: publications to rooms on disk are refused until it can be opened, \
                 which is tried every two seconds. Free the disk, mount it, or let the node's user write there (log.dir)"
            );
            Ok(AtStart::Waits(error))
        }
        Err(error) => Err(NodeError::new(error.to_string(), "see log.dir")),
    }
}

fn try_open(config: &Config, pulses: &Pulses) -> Result<Store, StoreError> {
    Store::open_watched(store_config(config).expect("only with log.dir"), pulses)
}

/// Write outstanding entries and release the folder. The engine must have stopped.
pub(crate) fn close(store: Store) {
    if !store.close() {
        tracing::warn!(
            "durable log: the disk did not take everything in time: the crash log keeps it for the next start on this machine"
        );
    }
}

/// The admin port's handle of the log.
pub(crate) fn port(config: &Config, log: &AtStart) -> Option<Arc<StorePort>> {
    let port = StorePort::new(config.log.dir.clone().unwrap_or_default(), backup_dir(config));
    match log {
        AtStart::None => return None,
        AtStart::Open(store) => opened(&port, store),
        AtStart::Waits(error) => port.cannot_open(error),
    }
    Some(Arc::new(port))
}

/// The log is open: show it at the admin port.
pub(crate) fn opened(port: &StorePort, store: &Store) {
    port.show_log(found(store.opening()), store.status());
}

/// Log one line for each result that matters: a warning or an error where entries were lost or are damaged.
fn announce(store: &Store, config: &Config) {
    let opening = store.opening();
    let dir = config.log.dir.as_deref().unwrap_or(Path::new("")).display();
    let rooms = if config.rooms_on_disk() { "disk" } else { "memory" };
    match opening.found {
        Found::New | Found::Clean | Found::Crashed { .. } if opening.cut == 0 => {
            tracing::info!(%dir, rooms, "durable log: {}", found(opening));
        }
        _ => tracing::warn!(%dir, rooms, "durable log: {}", found(opening)),
    }
    if let Some(clock) = &opening.clock {
        tracing::warn!("durable log: {clock}");
    }
    if let Some(unsure) = &opening.unsure {
        tracing::warn!("durable log: {unsure}");
    }
    if let Some(unwritten) = &opening.unwritten {
        tracing::info!("durable log: {unwritten}");
    }
    for rotten in &opening.rotten {
        tracing::error!(
            "durable log: rotten and not served: {rotten}; see `grandstand verify`, and your backups"
        );
    }
}

/// The result of opening, in a sentence.
fn found(opening: &Opening) -> String {
    let rooms = if opening.rooms == 1 { "1 room".to_owned() } else { format!("{} rooms", opening.rooms) };
    let how = match opening.found {
        Found::New => "new".to_owned(),
        Found::Clean => format!("clean, {rooms}"),
        Found::Crashed { recovered } if opening.new_epochs > 0 => {
            format!(
                "after a crash: {rooms}, {recovered} entries recovered from the crash log, {} rooms under new epochs",
                opening.new_epochs
            )
        }
        Found::Crashed { recovered } => {
            format!("after a crash: {rooms}, {recovered} entries recovered from the crash log, epochs kept")
        }
        Found::PowerCut => {
            // Where a record was cut off or damaged, nothing can be said about completeness.
            let is_whole = opening.cut == 0 && opening.rotten.is_empty() && opening.unsure.is_none();
            let whole = if is_whole { "; everything acknowledged is there" } else { "" };
            format!("after a power cut: {rooms}, {} of them under new epochs{whole}", opening.new_epochs)
        }
        Found::Restored => {
            format!("restored from a backup: {rooms}, {} of them under new epochs", opening.new_epochs)
        }
    };
    let cut = match &opening.kept_aside {
        Some(path) => {
            format!(
                "; its tail was cut back by {} records, which are kept in {}",
                opening.cut,
                path.display()
            )
        }
        None if opening.cut > 0 => format!("; its tail was cut back by {} records", opening.cut),
        None => String::new(),
    };
    let migrated = opening.migrated_from.map_or_else(String::new, |version| {
        format!("; its schema was brought forward from version {version}, after a backup")
    });
    format!("{how}{cut}{migrated} ({} ms)", opening.took_ms)
}
