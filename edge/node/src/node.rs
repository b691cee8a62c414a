//! A node: all parts of one process, started in one order and stopped in the opposite order.
//!
//! Why one file: a start and a stop promise an order, and [`Node::start`] shows it from top to bottom.
//! Everything that can fail is done before the predecessor is asked for its rooms. The node is ready only
//! when everything serves.
//! Invariants: a start that fails says why and what to do. A node serves no client before it asks the
//! predecessor for its rooms.
//! Not here: sockets (`listeners`), taking over and handing over (`handover`), the order of a stop
//! (`shutdown`), signals (`run`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::auth::{Authority, Tickets, TlsTickets};
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_edge::stats::Stats;
use grandstand_edge::workers::{Bells, Setup, StartError, WorkerThreads, Workers};
use grandstand_engine::Calendar;
use grandstand_engine::log::Handed;
use grandstand_engine::runtime::WorkerPort;
use grandstand_engine::runtime::pulse::Pulses;
use rustls::server::ProducesTickets;
use tokio::sync::watch;

use crate::api_keys::ApiKeys;
use crate::certificates::Certificates;
#[cfg(feature = "api")]
use crate::database::Database;
use crate::durable_log::Retry;
use crate::events::Events;
use crate::guide::NodeGuide;
use crate::handover::{Handover, Secrets, find_predecessor};
use crate::health::{Health, Watchdog};
use crate::house::House;
use crate::http::SharedKey;
use crate::http::admin::{self, AdminState, DrainControl, DrainRequest, DrainStatus, StorePort};
#[cfg(feature = "api")]
use crate::http::api::{self, ApiState};
use crate::listeners::{Addresses, Listeners, worker_count};
use crate::logging;
#[cfg(feature = "media")]
use crate::media::MediaThread;
use crate::metrics::Metrics;
use crate::reload::{Credentials, Reload, Watch};
use crate::rooms::Rooms;
use crate::settings::audience_settings;
use crate::shutdown::{Draining, Shutdown};
use crate::webhooks::{self, Webhooks};
use crate::word_lists::WordLists;
use crate::{NodeError, cluster};

/// A running node.
pub struct Node {
    addresses: Addresses,
    fingerprint: String,
    runs_open: bool,
    config: Arc<Config>,
    workers: Arc<Workers>,
    threads: WorkerThreads,
    admin: Option<Port>,
    api: Option<Port>,
    #[cfg(feature = "media")]
    media: Option<MediaThread>,
    shutdown: Arc<Shutdown>,
    house: Arc<House>,
    reload: Arc<Reload>,
    watch: Option<Watch>,
    log_retry: Option<Retry>,
    handover: Option<Handover>,
    health: Arc<Health>,
    watchdog: Option<Watchdog>,
    cluster: Option<cluster::Watch>,
    events: Events,
    webhooks: Option<webhooks::Running>,
    guide: Option<NodeGuide>,
}

impl Node {
    /// Start a node; it serves when this returns.
    ///
    /// # Errors
    /// A port, file or key that cannot be used, with a hint.
    pub fn start(config: Config) -> Result<Node, NodeError> {
        // Sockets: the predecessor's if they are configured, else bound here.
        let clock = Clock::start();
        let (predecessor, inherited) = find_predecessor(&config, clock)?.unzip();
        let worker_count = worker_count(&config, inherited.as_ref());
        let mut inherited = inherited.unwrap_or_default();
        let secrets = std::mem::take(&mut inherited.secrets);
        let listeners = Listeners::open(&config, worker_count, inherited)?;

        // Everything else that can fail.
        let addresses = listeners.addresses()?;
        let credentials = load_credentials(&config, clock, &secrets)?;
        let generation = listeners.new_generation()?;
        let bells = Bells::new(worker_count)
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of open files"))?;

        // The rooms: from here on the predecessor cannot go back.
        let handed = match &predecessor {
            Some(predecessor) => predecessor.take(listeners.inherits_quic())?,
            None => Handed::default(),
        };
        let config = Arc::new(config);
        let pulses = Pulses::default();
        logging::thread().into_iter().for_each(|thread| pulses.share(thread));
        let prints = credentials.tickets.prints();
        let guide = NodeGuide::open(&config, clock)?;
        let calendar = guide.as_ref().map_or_else(Calendar::default, |guide| guide.calendar());
        let lists = credentials.word_lists.shared();
        let (rooms, ports) = Rooms::start(&config, &bells, &pulses, handed, &prints, &lists, calendar)?;

        if config.is_clustered() {
            let entries = credentials.house.take(&cluster::bans(&config)?);
            tracing::info!(entries, "bans of the cluster");
        }

        // The workers that serve them.
        let (workers, threads) =
            start_workers(clock, &config, &credentials, &listeners, generation, (bells, ports), &pulses)?;
        credentials.house.serve(&workers, rooms.cluster.as_ref());
        let ready = workers.ready();
        let hung_after = Duration::from_millis(config.node.hung_after_ms);
        let shutdown = Shutdown::new(clock, config.clone(), workers.clone(), ready.clone());
        let mut node = Node {
            addresses,
            fingerprint: credentials.certificates.fingerprint_sha256_hex(),
            runs_open: credentials.authority.runs_open(),
            workers,
            threads,
            admin: None,
            api: None,
            #[cfg(feature = "media")]
            media: None,
            house: credentials.house.clone(),
            reload: Reload::new(clock, &config, credentials, shutdown.clone()),
            shutdown,
            config,
            watch: None,
            log_retry: None,
            handover: None,
            health: Arc::new(Health::new(pulses, clock, hung_after)),
            watchdog: None,
            cluster: None,
            guide: None,
            events: Events::default(),
            webhooks: None,
        };
        node.watchdog = Some(node.start_watchdog()?);
        (node.events, node.webhooks) = Webhooks::start(&node.config, clock, node.health.pulses())
            .map_err(|e| NodeError::new(e, "see the keys under webhooks, and log.dir"))?;
        node.house.tell_to(&node.events);
        node.shutdown.tell_to(&node.events);
        node.start_media()?;
        node.guide = NodeGuide::start(guide, rooms.engine.desk(), node.health.pulses())?;
        node.admin = node.start_admin(&listeners, &rooms, &ready)?;
        node.api = node.start_api(&listeners, &rooms)?;
        let of_cluster = rooms.cluster.clone();
        let waits_for_log = rooms.port.clone().filter(|_| rooms.waits_for_log());
        node.shutdown.own(rooms);
        if let Some(port) = waits_for_log {
            node.log_retry = Some(node.retry_log(port)?);
        }
        ready.store(true, Ordering::Release);
        if let Some(cluster) = of_cluster {
            let watch = cluster::Watch::start(cluster, node.shutdown.clone(), node.health.pulses());
            node.cluster =
                Some(watch.map_err(|e| NodeError::new(e.to_string(), "raise the limit of threads"))?);
        }

        let every_ms = node.config.node.watch_files_ms;
        node.watch = Watch::start(node.reload.clone(), every_ms, node.health.pulses())
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of threads"))?;

        node.reload
            .fetch_keys(node.health.pulses())
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of threads"))?;

        // From now on a successor may come, and the predecessor may send its clients over.
        node.handover = node.start_handover(listeners)?;
        if let Some(predecessor) = predecessor {
            predecessor.serving();
        }
        Ok(node)
    }

    /// The addresses on which it listens, with real ports where 0 was configured.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// SHA-256 of the leaf certificate with which the node started, in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The counters of its workers.
    pub fn stats(&self) -> &[Arc<Stats>] {
        self.workers.stats()
    }

    /// The verdict on its threads.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Connections that are established or in their handshake.
    pub fn connections(&self) -> usize {
        self.workers.connections()
    }

    /// Begin a drain: send clients away, as the configuration says, and accept no new ones.
    pub fn drain(&self) {
        self.shutdown.drain(&DrainRequest::default());
    }

    /// The progress of a drain.
    pub fn drain_status(&self) -> DrainStatus {
        self.shutdown.status()
    }

    /// Has it drained or handed over, and have all clients left or reached their deadline? Then the caller
    /// stops it.
    pub fn is_over(&self) -> bool {
        self.shutdown.is_over()
    }

    /// Has another process taken the sockets?
    pub(crate) fn is_handed_over(&self) -> bool {
        self.shutdown.is_handed_over()
    }

    /// The longest time that the drain under way still takes.
    pub(crate) fn drain_time_left(&self) -> Option<std::time::Duration> {
        self.shutdown.time_left()
    }

    pub(crate) fn drain_control(&self) -> &dyn DrainControl {
        &*self.shutdown
    }

    pub(crate) fn reload(&self) -> &Arc<Reload> {
        &self.reload
    }

    /// Close everything, flush, and end the threads.
    pub fn stop(mut self) {
        self.stop_in_order();
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.threads.count()
    }

    /// Is there no key, so that everyone may do what `auth.open_may` lists?
    pub(crate) fn runs_open(&self) -> bool {
        self.runs_open
    }

    /// Watch for the beginning of a drain.
    pub(crate) fn watch_drain(&self) -> watch::Receiver<Option<Draining>> {
        self.shutdown.watch()
    }

    /// Stop in order: the wait for a successor; answers, log and connections; then the threads.
    fn stop_in_order(&mut self) {
        self.handover = None;
        self.watch = None;
        self.log_retry = None;
        self.cluster = None;
        self.guide = None;
        self.reload.stop_fetching();
        self.shutdown.stop();
        self.threads.join();
        for port in [self.api.take(), self.admin.take()].into_iter().flatten() {
            port.stop();
        }
        self.webhooks = None;
        #[cfg(feature = "media")]
        drop(self.media.take());
        self.watchdog = None;
    }

    fn webhooks(&self) -> Option<Arc<Webhooks>> {
        self.webhooks.as_ref().map(|(webhooks, _)| webhooks.clone())
    }

    fn start_watchdog(&self) -> Result<Watchdog, NodeError> {
        Watchdog::start(self.health.clone()).map_err(|e| {
            NodeError::new(format!("no thread for the watchdog: {e}"), "raise the limit of threads")
        })
    }

    /// Open the durable log as soon as its disk allows it.
    fn retry_log(&self, port: Arc<StorePort>) -> Result<Retry, NodeError> {
        let (shutdown, pulses) = (self.shutdown.clone(), self.health.pulses().clone());
        Retry::start(self.config.clone(), pulses, port, move |store| shutdown.adopt_log(store))
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of threads"))
    }

    fn start_admin(
        &self,
        listeners: &Listeners,
        rooms: &Rooms,
        ready: &Arc<AtomicBool>,
    ) -> Result<Option<Port>, NodeError> {
        let Some(listener) = listeners.clone_admin()? else { return Ok(None) };
        let (stop, stopped) = watch::channel(false);
        let state = AdminState {
            desk: rooms.engine.desk(),
            stats: self.workers.stats().to_vec(),
            metrics: self.metrics(),
            events: self.events.clone(),
            clock: self.shutdown.clock(),
            store: rooms.port.clone(),
            house: self.house.clone(),
            cluster: rooms.cluster.clone().map(|cluster| cluster as Arc<dyn admin::ClusterControl>),
            ready: ready.clone(),
            drain: self.shutdown.clone(),
            hosts: self.config.admin.hosts.clone(),
            header_bytes_max: self.config.ws.header_bytes_max,
            health: self.health.clone(),
            key: self.reload.admin_key(),
            reload: self.reload.clone(),
            stop: stopped,
        };
        let thread = admin::start(listener, state)
            .map_err(|e| NodeError::new(format!("the admin port does not start: {e}"), "see admin.listen"))?;
        Ok(Some(Port { stop, thread }))
    }

    /// Start the API, if it is configured.
    #[cfg(feature = "api")]
    fn start_api(&self, listeners: &Listeners, rooms: &Rooms) -> Result<Option<Port>, NodeError> {
        let Some(listener) = listeners.clone_api()? else { return Ok(None) };
        let (stop, stopped) = watch::channel(false);
        let keys = self.reload.api_keys();
        if let Err(fault) = keys.open(&Database::of(self.config.log.dir.as_deref())) {
            tracing::error!("{fault}: the API knows only the keys of api.keys_file until a restart");
        }
        let state = ApiState {
            config: self.config.clone(),
            clock: self.shutdown.clock(),
            desk: rooms.engine.desk(),
            keys,
            store: rooms.port.clone(),
            house: self.house.clone(),
            cluster: rooms.cluster.clone().map(|cluster| cluster as Arc<dyn admin::ClusterControl>),
            drain: self.shutdown.clone(),
            health: self.health.clone(),
            workers: self.workers.clone(),
            events: self.events.clone(),
            tls: self.config.api.is_tls().then(|| self.reload.certificates().tcp_config()),
            mounted: self.mounted(),
            stop: stopped,
        };
        let thread = api::start(listener, state)
            .map_err(|e| NodeError::new(format!("the API does not start: {e}"), "see api.listen"))?;
        Ok(Some(Port { stop, thread }))
    }

    /// Routers of other modules at the API.
    #[cfg(feature = "api")]
    fn mounted(&self) -> Vec<(&'static str, utoipa_axum::router::OpenApiRouter)> {
        let mut mounted = Vec::new();
        #[cfg(feature = "media")]
        if let Some(media) = &self.media {
            mounted.push(("/v1", media.router()));
        }
        #[cfg(feature = "guide")]
        if let Some(guide) = &self.guide {
            mounted.push(("/v1/guide", crate::guide::router(guide.shelf())));
        }
        if let Some(webhooks) = self.webhooks() {
            mounted.push(("/v1/webhooks", webhooks.router()));
        }
        mounted
    }

    /// Start previews, uploads and the GIF search, if one of them is configured.
    #[cfg(feature = "media")]
    fn start_media(&mut self) -> Result<(), NodeError> {
        let (clock, pulses) = (self.shutdown.clock(), self.health.pulses());
        self.media = MediaThread::start(&self.config, self.reload.authority(), clock, pulses)?;
        Ok(())
    }

    #[cfg(not(feature = "media"))]
    fn start_media(&mut self) -> Result<(), NodeError> {
        let grandstand_edge::config::Config { links, uploads, gifs, .. } = &*self.config;
        let is_asked =
            links.previews || uploads.enabled || gifs.provider != grandstand_edge::config::GifService::Off;
        if !is_asked {
            return Ok(());
        }
        Err(NodeError::new(
            "this build has no previews, uploads and GIF search (links.previews, uploads.enabled, gifs.provider)",
            "build the crate grandstand with its feature `media`, or switch the three off",
        ))
    }

    fn metrics(&self) -> Metrics {
        let metrics = Metrics::new(&self.config.node.name, self.shutdown.clock());
        let metrics = metrics.with_reload(self.reload.numbers()).with_word_lists(self.reload.word_lists());
        let metrics = match self.webhooks() {
            Some(webhooks) => metrics.with_numbers(move || webhooks.readings()),
            None => metrics,
        };
        let metrics = match &self.guide {
            Some(guide) => metrics.with_numbers(guide.numbers()),
            None => metrics,
        };
        #[cfg(feature = "media")]
        if let Some(media) = &self.media {
            return metrics.with_numbers(media.numbers());
        }
        metrics
    }

    #[cfg(not(feature = "api"))]
    fn start_api(&self, _: &Listeners, _: &Rooms) -> Result<Option<Port>, NodeError> {
        match self.config.api.listen {
            None => Ok(None),
            Some(_) => Err(NodeError::new(
                "this build has no HTTP API (api.listen)",
                "build the crate grandstand with its feature `api`, or set api.listen to off",
            )),
        }
    }

    /// Wait for a successor at the configured path, if there is one.
    fn start_handover(&self, listeners: Listeners) -> Result<Option<Handover>, NodeError> {
        let ports: Vec<_> =
            [&self.admin, &self.api].into_iter().flatten().map(|port| port.stop.clone()).collect();
        let on_taken = move || {
            for stop in &ports {
                // It fails only if the port's thread has ended.
                let _ = stop.send(true);
            }
        };
        let offer = listeners.into_offer(self.workers.generation());
        let pulses = self.health.pulses();
        let owners = (self.shutdown.clone(), self.reload.clone());
        match Handover::start(&self.config, offer, owners, pulses, on_taken) {
            // The folder of the socket is that of the log, whose disk does not take anything.
            Err(error) if self.log_retry.is_some() => {
                tracing::warn!("{error}: no process can take over from this one until it is restarted");
                Ok(None)
            }
            other => other,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_in_order();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Load the certificates and keys of a node.
fn load_credentials(config: &Config, clock: Clock, secrets: &Secrets) -> Result<Credentials, NodeError> {
    let same_names = secrets.dev_names == config.tls.dev_names;
    let inherited = secrets.certificate.as_ref().filter(|_| same_names);
    let certificates = Certificates::load_after(&config.tls, clock.wall(), inherited)
        .map_err(|e| NodeError::new(e, "see tls.cert and tls.key"))?;
    let authority =
        Authority::from_config(&config.auth).map_err(|e| NodeError::new(e, "see the keys under auth"))?;
    let tickets = load_tickets(config).map(|tickets| tickets.after(secrets.ticket_key));
    let tickets = tickets.map_err(|e| NodeError::new(e, "see auth.ticket_key_file and log.dir"))?;
    let admin_key = match config.admin.listen {
        Some(_) => config.admin_key().map_err(|e| NodeError::new(e.to_string(), "see admin.key_file"))?,
        None => None,
    };
    let admin_key = SharedKey::new(admin_key.as_ref());
    let people_key = match secrets.people_key {
        _ if config.is_clustered() => tickets.people_key(),
        Some(key) => key,
        None => random_key()?,
    };
    let house = House::open(config, clock)?;
    let api_keys = Arc::new(ApiKeys::new(clock));
    let keys_file = config.api.keys_file.as_deref().filter(|_| config.api.listen.is_some());
    api_keys.read_file(keys_file).map_err(|e| NodeError::new(e, "see api.keys_file"))?;
    let (authority, tickets) =
        (authority.with_bans(house.bans().clone()), tickets.with_bans(house.bans().clone()));
    let (authority, tickets) = (Arc::new(authority), Arc::new(tickets));
    let sealed_by: Arc<dyn ProducesTickets> = Arc::new(TlsTickets::new(tickets.clone(), clock));
    let certificates = certificates.with_tickets(&sealed_by);
    let word_lists = WordLists::open(&config.moderation);
    let word_lists = Arc::new(word_lists.map_err(|e| NodeError::new(e, "see moderation.lists"))?);
    Ok(Credentials { certificates, authority, tickets, house, api_keys, admin_key, word_lists, people_key })
}

fn random_key() -> Result<[u8; 16], NodeError> {
    let mut key = [0; 16];
    let filled = getrandom::fill(&mut key);
    filled
        .map_err(|error| NodeError::new(format!("the kernel gives no random bytes: {error}"), "try again"))?;
    Ok(key)
}

/// The keys of tickets. Where the node's own file cannot be made, for want of a disk, they end with the
/// process.
fn load_tickets(config: &Config) -> Result<Tickets, String> {
    let can_be_made = |file: PathBuf| config.auth.ticket_key_file.is_none() && !file.exists();
    match Tickets::from_config(config) {
        Err(error) if Tickets::file(config).is_some_and(can_be_made) => {
            tracing::warn!("{error}; until the next start, sessions do not outlive this process");
            Tickets::with_random_key(config.auth.ticket_lifetime_ms)
        }
        other => other,
    }
}

fn start_workers(
    clock: Clock,
    config: &Arc<Config>,
    credentials: &Credentials,
    listeners: &Listeners,
    generation: u16,
    (bells, ports): (Bells, Vec<WorkerPort>),
    pulses: &Pulses,
) -> Result<(Arc<Workers>, WorkerThreads), NodeError> {
    let Credentials { certificates, authority, tickets, people_key, .. } = credentials;
    let setup = Setup {
        clock,
        config: config.clone(),
        tcp_tls: certificates.tcp_config(),
        quic_tls: certificates.quic_config(),
        authority: authority.clone(),
        tickets: tickets.clone(),
        generation,
        people_key: *people_key,
        bells,
        ports,
        pulses: pulses.clone(),
    };
    let settings = |worker| audience_settings(config, worker);
    let (workers, threads) =
        Workers::start(setup, listeners.of_workers(), settings).map_err(|error| match error {
            StartError::QuicTls(error) => {
                NodeError::new(format!("QUIC cannot use this TLS configuration: {error}"), "see tls.cert")
            }
            StartError::Worker { id, error } => {
                NodeError::new(format!("worker {id} does not start: {error}"), "check the limits")
            }
        })?;
    Ok((Arc::new(workers), threads))
}

/// The thread of an HTTP port.
struct Port {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Port {
    fn stop(self) {
        // Both fail only if the port's thread has ended by itself.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
