//! The limit of open files, against the connections that are allowed.
//!
//! Why a warning: a service manager may give the node another limit than this shell has.
//! Not here: how many files a node needs (`file_limit`).

use grandstand_edge::config::Config;

use super::report::Report;
use crate::file_limit;

pub(super) fn inspect(report: &mut Report, config: &Config) {
    match file_limit::look(config) {
        Some(fitted) => report.warn(
            "limits.connections_max",
            format!(
                "{} connections need {} open files, and {} are allowed here: the node would take {}",
                fitted.wanted, fitted.files_needed, fitted.files, fitted.connections
            ),
            "raise the hard limit (`ulimit -Hn`, LimitNOFILE= in a unit), or lower limits.connections_max",
        ),
        None => report.fine(
            "limits.connections_max",
            format!("{} connections fit the limit of open files", config.limits.connections_max),
        ),
    }
}
