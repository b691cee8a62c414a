//! The limit of open files: raised as far as the system permits, and the connection limit fitted to it.
//!
//! Why: a node that accepts more connections than it has descriptors for fails at whatever needs the next
//! one: a page of the log, a probe of its health, the next process. With a fitted limit a connection too many
//! is refused like every other, with a time to return. Invariant: the connections that are allowed, the admin
//! port's and the node's own files fit into the limit. Not here: what happens when descriptors are exhausted
//! all the same (the workers' `reserve`).

use std::fmt;

use grandstand_edge::config::Config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Files of a node without workers: standard streams, listeners, the threads' runtimes, the log file.
const OWN_FILES: u64 = 48;

/// Files of one worker: its epolls, its bell, its listeners and its reserve.
const WORKER_FILES: u64 = 12;

/// Files of a durable log: database connections, crash logs, a backup.
const LOG_FILES: u64 = 32;

/// What a limit of open files leaves for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The limit.
    pub files: u64,
    /// Connections that `limits.connections_max` asks for.
    pub wanted: usize,
    /// Connections that fit.
    pub connections: usize,
    /// The limit that would fit them all.
    pub files_needed: u64,
}

/// Raise the limit as far as permitted, and fit `limits.connections_max` to it.
pub(crate) fn fit(config: &mut Config) -> Option<Fitted> {
    let fitted = fitted(config, raise())?;
    config.limits.connections_max = fitted.connections;
    Some(fitted)
}

/// What a node with this configuration would hold if this process became it; `None` if everything fits.
pub fn look(config: &Config) -> Option<Fitted> {
    let limit = getrlimit(Resource::Nofile);
    fitted(config, limit.maximum.or(limit.current).unwrap_or(u64::MAX))
}

fn fitted(config: &Config, files: u64) -> Option<Fitted> {
    let wanted = config.limits.connections_max;
    let workers = config.node.workers_or_cpus() as u64;
    let log = if config.log.dir.is_some() { LOG_FILES + config.node.shards as u64 } else { 0 };
    let admin = admin_connections(files) as u64 * u64::from(config.admin.listen.is_some());
    let api = config.api.connections_max as u64 * u64::from(config.api.listen.is_some());
    let own = OWN_FILES + WORKER_FILES * workers + log + admin + api;
    // Where even the node's own files hardly fit, it serves a few rather than nobody.
    let connections = files.saturating_sub(own).max(files / 8).max(1);
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let files_needed = own + wanted as u64;
    (connections < wanted).then_some(Fitted { files, wanted, connections, files_needed })
}

/// Connections of the admin port that fit into a limit of open files: far more than operators and their
/// programs need.
pub(crate) fn admin_connections(files: u64) -> usize {
    usize::try_from(files / 32).unwrap_or(usize::MAX).clamp(8, 256)
}

/// The limit of open files now.
pub(crate) fn files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raise the limit as far as permitted. Returns the limit.
fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it is not permitted, fewer connections fit.
    let _ = setrlimit(Resource::Nofile, limit);
    files()
}

impl fmt::Display for Fitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fitted { files, wanted, connections, files_needed } = self;
        write!(
            f,
            "the limit of open files is {files}: the node holds {connections} connections, fewer than \
             limits.connections_max = {wanted}; raise the limit to {files_needed} (`ulimit -n`, LimitNOFILE), or lower \
             limits.connections_max"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mut config = Config::default();
        (config.node.workers, config.limits.connections_max) = (2, 1_000);
        config
    }

    #[test]
    fn connections_are_fitted_to_the_files_and_the_words_say_both() {
        let mut config = config();
        assert_eq!(fitted(&config, 20_000), None);
        for files in [64, 256, 1_000, 1_024] {
            let fitted = fitted(&config, files).expect("fewer");
            let own = 48 + 24 + admin_connections(files) as u64;
            assert!(
                fitted.connections >= 1
                    && fitted.connections as u64 <= files.saturating_sub(own).max(files / 8)
            );
            let words = fitted.to_string();
            assert!(
                words.contains(&files.to_string()) && words.contains("limits.connections_max = 1000"),
                "{words}"
            );
        }
        let needed = fitted(&config, 64).unwrap().files_needed;
        assert_eq!(fitted(&config, needed + 1_000), None, "the limit that it names suffices");
        config.log.dir = Some("/var/lib/grandstand".into());
        assert!(fitted(&config, 1_024).unwrap().connections < 1_024 - 72 - 32);
    }
}
