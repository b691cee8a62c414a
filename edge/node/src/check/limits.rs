//! The limit of open files, against the connections that are allowed.
//!
//! Why a warning: a service manager may give the node another limit than this shell has.

use grandstand_edge::config::Config;
use rustix::process::{Resource, getrlimit};

use super::report::Report;

/// Descriptors that a node needs besides one for each connection.
const OWN_FILES: u64 = 100;

pub(super) fn inspect(report: &mut Report, config: &Config) {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = config.limits.connections_max as u64;
    if files < connections + OWN_FILES {
        report.warn(
            "limits.connections_max",
            format!(
                "{connections} connections need {} open files, and {files} are allowed here",
                connections + OWN_FILES
            ),
            "raise the hard limit (`ulimit -Hn`, LimitNOFILE= in a unit), or lower limits.connections_max",
        );
    } else {
        report.fine(
            "limits.connections_max",
            format!("{connections} connections fit the limit of {files} open files"),
        );
    }
}
