//! The rooms of a process: the engine that runs them, and their durable log where there is one.
//!
//! Why together: only one process at a time may own them. They are started before the workers that serve
//! them. They are released, log last, before another process starts them.
//! Not here: how the log is configured and announced (`durable_log`), when rooms are released (`shutdown`).

use grandstand_edge::config::Config;
use grandstand_edge::workers::Bells;
use grandstand_engine::log::LogSource;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_engine::runtime::{Engine, WorkerPort};
use grandstand_store::Store;

use crate::settings::engine_config;
use crate::{NodeError, durable_log};

/// The engine of a process and its durable log.
pub(crate) struct Rooms {
    pub(crate) engine: Engine,
    pub(crate) store: Option<Store>,
}

impl Rooms {
    /// Open the log, and start the shards on it. Returns a port for the worker of each bell.
    pub(crate) fn start(
        config: &Config,
        bells: &Bells,
        pulses: &Pulses,
    ) -> Result<(Rooms, Vec<WorkerPort>), NodeError> {
        let mut store = durable_log::open(config, pulses)?;
        let log = store.as_mut().map(|store| store as &mut dyn LogSource);
        let doorbells = bells.doorbells();
        let engine_config = engine_config(config, doorbells.len(), pulses.clone());
        let (engine, ports) = Engine::start_with_log(engine_config, doorbells, log).map_err(|e| {
            NodeError::new(format!("the engine does not start: {e}"), "see the keys under rooms")
        })?;
        Ok((Rooms { engine, store }, ports))
    }

    /// Seal, answer and flush. When this returns, another process may own the rooms.
    pub(crate) fn release(self) {
        self.engine.shutdown();
        if let Some(store) = self.store {
            durable_log::close(store);
        }
    }
}
