//! The durable log in a node's life: opened before the engine, announced at start, closed after the engine.
//!
//! Why before the engine: the engine's rooms are restored from it, and a log that cannot be opened stops the
//! start before anything is served.
//! Invariant: without `log.dir` nothing is written to disk.
//! Not here: the log itself (`grandstand_store`), its admin endpoints (`http::admin`), the order of a stop
//! (`shutdown`).

use std::path::Path;

use grandstand_engine::runtime::pulse::Pulses;
use grandstand_store::{Found, Opening, Store};

use crate::NodeError;
use crate::http::admin::StorePort;
use crate::settings::{backup_dir, store_config};
use grandstand_edge::config::Config;

/// Open the log, if the node has one, and log what was found.
pub(crate) fn open(config: &Config, pulses: &Pulses) -> Result<Option<Store>, NodeError> {
    let Some(wanted) = store_config(config) else { return Ok(None) };
    let store = Store::open_watched(wanted, pulses)
        .map_err(|error| NodeError::new(error.to_string(), "see log.dir"))?;
    announce(&store, config);
    Ok(Some(store))
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
pub(crate) fn port(config: &Config, store: &Store) -> StorePort {
    StorePort {
        dir: config.log.dir.clone().unwrap_or_default(),
        backup_dir: backup_dir(config),
        found: found(store.opening()),
        status: store.status(),
        backing_up: tokio::sync::Mutex::default(),
    }
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
