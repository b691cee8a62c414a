//! The durable log in a node's life: opened before the engine, told of at start, closed after the engine.
//!
//! Why before the engine: rooms come back from it, and a log that can't be opened stops the start before
//! anything was served.
//! Invariant: without `log.dir` nothing is written to disk.
//! Not here: what the log does (`grandstand_store`), how it is asked for (`admin::log`), the order of a stop
//! (`drain`).

use std::path::Path;

use grandstand_store::{Found, Opening, Store};

use crate::NodeError;
use crate::http::admin::StorePort;
use crate::settings::{backup_dir, store_config};
use grandstand_edge::config::Config;

/// Opens the log, if the node has one, and says what was found.
pub(crate) fn open(config: &Config) -> Result<Option<Store>, NodeError> {
    let Some(wanted) = store_config(config) else { return Ok(None) };
    let store = Store::open(wanted).map_err(|error| NodeError::new(error.to_string(), "see log.dir"))?;
    announce(&store, config);
    Ok(Some(store))
}

/// Writes what is outstanding and lets go of the folder. The engine must have stopped.
pub(crate) fn close(store: Store) {
    if !store.close() {
        tracing::warn!(
            "durable log: the disk did not take everything in time: the crash log keeps it for the next start on this machine"
        );
    }
}

/// What the admin port sees of it.
pub(crate) fn port(config: &Config, store: &Store) -> StorePort {
    StorePort {
        dir: config.log.dir.clone().unwrap_or_default(),
        backup_dir: backup_dir(config),
        found: found(store.opening()),
        status: store.status(),
        backing_up: tokio::sync::Mutex::default(),
    }
}

/// In one line for each thing that matters; loud where something was lost or is rotten.
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
    for rotten in &opening.rotten {
        tracing::error!(
            "durable log: rotten and not served: {rotten}; see `grandstand verify`, and your backups"
        );
    }
}

/// What was found, in a sentence.
fn found(opening: &Opening) -> String {
    let rooms = if opening.rooms == 1 { "1 room".to_owned() } else { format!("{} rooms", opening.rooms) };
    let how = match opening.found {
        Found::New => "new".to_owned(),
        Found::Clean => format!("clean, {rooms}"),
        Found::Crashed { recovered } => {
            format!("after a crash: {rooms}, {recovered} entries recovered from the crash log, epochs kept")
        }
        Found::PowerCut => {
            // Where something was cut off or rotten, nobody can say that.
            let is_whole = opening.cut == 0 && opening.rotten.is_empty();
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
