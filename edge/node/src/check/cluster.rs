//! Checks of a cluster's node: its files, room for its copies, and the servers.
//!
//! Why with a time-out: `check` runs before a restart, often while a machine comes up, and must not hang on
//! servers that do not answer. `--without-servers` leaves them out.
//! Not here: what a stream or a server must be (`grandstand_nats`).

use std::time::Duration;

use grandstand_edge::config::Config;
use grandstand_engine::runtime::clock::Clock;
use grandstand_nats::admin;

use super::report::Report;
use crate::cluster;

/// How long the servers may take to let the node in.
const SERVERS_WITHIN: Duration = Duration::from_secs(5);

/// What there is to say of the cluster's keys; of the servers only if they are asked.
pub(super) fn inspect(report: &mut Report, config: &Config, asks_servers: bool) {
    if !config.is_clustered() {
        return;
    }
    let network = match cluster::network(config, Clock::start()) {
        Ok(network) => network,
        Err(error) => return report.error("cluster", error.to_string(), "see the keys under cluster"),
    };
    if !asks_servers {
        return;
    }
    let facts = match admin::facts_within(&network, SERVERS_WITHIN) {
        Ok(Some(facts)) => facts,
        Ok(None) => {
            let what = format!("the cluster {} was not made yet", config.cluster.name);
            return report.error("cluster.servers", what, "run `grandstand cluster init` once, on one node");
        }
        Err(fault) => {
            let hint = "start the NATS servers; or leave them out with --without-servers";
            return report.error("cluster.servers", fault.to_string(), hint);
        }
    };
    let faults = admin::check(&network, &facts).err().unwrap_or_default();
    for fault in &faults {
        let what = fault.to_string();
        if fault.prevents_start() {
            report.error("cluster.servers", what, "`grandstand cluster check` looks again");
        } else {
            report.warn("cluster.servers", what, "`grandstand cluster check` looks again");
        }
    }
    if faults.is_empty() {
        report.fine("cluster.servers", "streams, servers and facts are as they must be");
    }
    match cluster::check_room(config, facts.shards) {
        Ok(()) => report.fine("log.dir", "the disk has room for the copies of the cluster's logs"),
        Err(error) => report.error("log.dir", error.to_string(), "make room, or lower cluster.log_mb"),
    }
}
