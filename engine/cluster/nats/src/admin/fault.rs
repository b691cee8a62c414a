//! Faults of a set-up, each with the key and the remedy.
//!
//! Why an enum with fields: a health page shows the parts, a log line the text.

use std::fmt;

use crate::config::Fault;

/// Why a cluster cannot be made or used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminFault {
    /// The configuration of this node.
    Config(Fault),
    /// No server answers, or none lets this node in.
    Unreachable(String),
    /// The servers have no JetStream for this account.
    NoJetStream,
    /// The servers have no majority, or are still electing.
    NoLeader,
    /// The cluster was not made yet.
    NotMade {
        /// What is missing.
        name: String,
    },
    /// A stream that is there differs.
    Stream {
        /// Which.
        name: String,
        /// In what.
        key: &'static str,
        /// What it has.
        found: String,
        /// What it must have.
        expected: String,
    },
    /// A stream cannot be made.
    Making {
        /// Which.
        name: String,
        /// What JetStream says.
        why: String,
    },
    /// Some replicas of a stream are behind or away.
    Replicas {
        /// Of which stream.
        name: String,
        /// How many are up to date.
        current: usize,
        /// How many there must be.
        expected: usize,
    },
    /// The cluster was made with another fact.
    Fact {
        /// Which.
        key: &'static str,
        /// What the cluster has.
        found: String,
        /// What this node has.
        mine: String,
    },
    /// Not as many servers answer as there must be.
    Servers {
        /// Which do.
        answering: Vec<String>,
        /// How many there must be.
        expected: usize,
    },
    /// A server does not sync each record.
    Sync {
        /// Which.
        server: String,
    },
    /// A server is too old.
    Version {
        /// Which.
        server: String,
        /// What it is.
        found: String,
    },
    /// A server has no room for the streams.
    Room {
        /// Which.
        server: String,
        /// Bytes that JetStream may still use there.
        free: u64,
        /// Bytes that the streams may still grow by.
        needed: u64,
    },
    /// An answer that this release does not understand.
    Api(String),
}

impl AdminFault {
    /// Does it mean that the log may lose what it acknowledged? A server that is away does not: a majority
    /// has what is acknowledged.
    #[must_use]
    pub fn breaks_promise(&self) -> bool {
        match self {
            AdminFault::Stream { .. } | AdminFault::Sync { .. } | AdminFault::Version { .. } => true,
            AdminFault::Config(_)
            | AdminFault::Unreachable(_)
            | AdminFault::NoJetStream
            | AdminFault::NoLeader
            | AdminFault::NotMade { .. }
            | AdminFault::Making { .. }
            | AdminFault::Replicas { .. }
            | AdminFault::Fact { .. }
            | AdminFault::Servers { .. }
            | AdminFault::Room { .. }
            | AdminFault::Api(_) => false,
        }
    }
}

impl AdminFault {
    /// Must a node not start on it? What breaks a promise, and servers without room for what they promised.
    #[must_use]
    pub fn prevents_start(&self) -> bool {
        self.breaks_promise() || matches!(self, AdminFault::Room { .. })
    }
}

impl fmt::Display for AdminFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminFault::Config(fault) => fault.fmt(f),
            AdminFault::Unreachable(why) => write!(
                f,
                "cluster.servers: no NATS server lets this node in ({why}): check the addresses, the \
                 credentials and the firewall"
            ),
            AdminFault::NoJetStream => write!(
                f,
                "the NATS account has no JetStream: set `jetstream: enabled` in the account of the nodes, and \
                 a jetstream block in each server's file"
            ),
            AdminFault::NoLeader => write!(
                f,
                "the NATS servers elect no leader: two of three must run and reach each other on the port of \
                 their routes; try again in 10 s"
            ),
            AdminFault::NotMade { name } => {
                write!(f, "{name} is not there: run `grandstand cluster init` once, on one node")
            }
            AdminFault::Stream { name, key, found, expected } => write!(
                f,
                "stream {name}: {key} is {found}, expected {expected}: somebody changed it; set it back with \
                 `nats stream edit {name}`"
            ),
            AdminFault::Making { name, why } => write!(
                f,
                "stream {name} cannot be made ({why}): it needs three servers with JetStream that reach each \
                 other, and room on their disks"
            ),
            AdminFault::Replicas { name, current, expected } => write!(
                f,
                "stream {name}: {current} of {expected} replicas are up to date: start the missing NATS server, \
                 or wait until it has caught up"
            ),
            AdminFault::Fact { key, found, mine } => write!(
                f,
                "{key}: the cluster has {found}, this node has {mine}: use the cluster's, or another \
                 cluster.name"
            ),
            AdminFault::Servers { answering, expected } => write!(
                f,
                "{} of {expected} NATS servers answer ({}): start the others; if all run, the account of the \
                 nodes must import $SYS.REQ.SERVER.PING.JSZ as docs/nats-server.conf does",
                answering.len(),
                if answering.is_empty() { "none".to_owned() } else { answering.join(", ") }
            ),
            AdminFault::Sync { server } => write!(
                f,
                "NATS server {server}: jetstream.sync_interval is not `always`, so a power cut would take \
                 acknowledged messages: set it in that server's file and restart the server"
            ),
            AdminFault::Version { server, found } => write!(
                f,
                "NATS server {server} is {found}, expected {} or newer: upgrade it",
                super::servers::VERSION_MIN_TEXT
            ),
            AdminFault::Room { server, free, needed } => write!(
                f,
                "NATS server {server}: JetStream has {} MB left, and the streams may grow by {} MB: raise \
                 jetstream.max_file there, or lower cluster.log_mb",
                free >> 20,
                needed.div_ceil(1 << 20)
            ),
            AdminFault::Api(why) => {
                write!(f, "JetStream gave an answer that this release does not understand: {why}")
            }
        }
    }
}

impl std::error::Error for AdminFault {}
