//! The rooms of a process: the engine that runs them, and their durable log where there is one.
//!
//! Why together: only one process at a time may own them. They are started before the workers that serve
//! them. They are released, log last, before another process starts them.
//! Not here: how the log is configured and announced (`durable_log`), when rooms are released (`shutdown`).

use std::sync::Arc;

use grandstand_edge::config::Config;
use grandstand_edge::workers::Bells;
use grandstand_engine::Calendar;
use grandstand_engine::filter::SharedFilter;
use grandstand_engine::link::ShardId;
use grandstand_engine::log::{Handed, HandedRoom, LogSource};
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_engine::runtime::{Engine, WorkerPort};
use grandstand_store::Store;

use crate::cluster::{self, Cluster};
use crate::durable_log::{AtStart, ClosedLogs};
use crate::http::admin::StorePort;

use crate::settings::engine_config;
use crate::{NodeError, durable_log};

/// The engine of a process and its durable log.
pub(crate) struct Rooms {
    pub(crate) engine: Engine,
    store: Option<Store>,
    /// The admin port's view of the log, if the node has one.
    pub(crate) port: Option<Arc<StorePort>>,
    /// The cluster's part, if the node is one of a cluster.
    pub(crate) cluster: Option<Arc<Cluster>>,
}

impl Rooms {
    /// Open the log, and start the shards on it and on the rooms of the predecessor. Returns a port for the
    /// worker of each bell.
    pub(crate) fn start(
        config: &Config,
        bells: &Bells,
        pulses: &Pulses,
        handed: Handed,
        ticket_key_prints: &[u64],
        filter: &SharedFilter,
        calendar: Calendar,
    ) -> Result<(Rooms, Vec<WorkerPort>), NodeError> {
        if config.is_clustered() {
            let mut engine_config = engine_config(config, bells.doorbells().len(), pulses.clone(), filter);
            engine_config.shard.calendar = calendar;
            let cluster::Started { engine, ports, store, cluster } =
                cluster::start(config, engine_config, bells, pulses, ticket_key_prints)?;
            return Ok((Rooms { engine, store: Some(store), port: None, cluster: Some(cluster) }, ports));
        }
        let mut at_start = durable_log::open(config, pulses)?;
        let port = durable_log::port(config, &at_start);
        let mut closed = ClosedLogs;
        let log: Option<&mut dyn LogSource> = match &mut at_start {
            AtStart::None => None,
            AtStart::Open(store) => Some(store),
            AtStart::Waits(_) => Some(&mut closed),
        };
        let doorbells = bells.doorbells();
        let mut engine_config = engine_config(config, doorbells.len(), pulses.clone(), filter);
        engine_config.shard.calendar = calendar;
        let (engine, ports) =
            Engine::start_with_handed(engine_config, doorbells, log, handed).map_err(|e| {
                NodeError::new(format!("the engine does not start: {e}"), "see the keys under rooms")
            })?;
        let store = if let AtStart::Open(store) = at_start { Some(store) } else { None };
        Ok((Rooms { engine, store, port, cluster: None }, ports))
    }

    /// Does the node have a log that could not be opened yet?
    pub(crate) fn waits_for_log(&self) -> bool {
        self.store.is_none() && self.port.is_some()
    }

    /// Move the rooms onto the log, which is open now: those on disk come back from it, those in memory stay.
    pub(crate) fn adopt(&mut self, mut store: Store) {
        for shard in 0..self.engine.shards() {
            if let Err(error) = self.engine.reseat(ShardId(shard), &mut store) {
                tracing::error!(shard, %error, "a shard does not take the durable log: restart the node");
            }
        }
        if let Some(port) = &self.port {
            durable_log::opened(port, &store);
        }
        self.store = Some(store);
        tracing::info!("the durable log is open: rooms on disk take publications");
    }

    /// Seal, answer and flush. When this returns, another process may own the rooms.
    pub(crate) fn release(self) {
        self.engine.shutdown();
        // The stands have handed over what they owned; nobody else needs the network now.
        self.cluster.iter().for_each(|cluster| cluster.leave());
        if let Some(store) = self.store {
            durable_log::close(store);
        }
    }

    /// The same, and take out what the log does not bring back: rooms in memory, and slow mode.
    pub(crate) fn release_and_hand(self) -> Vec<HandedRoom> {
        let handed = self.engine.shutdown_and_hand();
        self.cluster.iter().for_each(|cluster| cluster.leave());
        if let Some(store) = self.store {
            durable_log::close(store);
        }
        handed
    }
}
