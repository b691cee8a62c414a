//! The server's file: `docs/nats-server.conf` with the addresses of a test.
//!
//! Invariants: a line of the file that is to be replaced and is not there is a panic, so that the file cannot
//! change without this.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The file that operators copy.
const SHIPPED: &str = include_str!("../../../../docs/nats-server.conf");

/// The user of the nodes in it.
pub const USER: &str = "grandstand";
/// The password that the tests' servers take.
pub const PASSWORD: &str = "grandstand";

/// Variables that the file reads.
pub(super) const PASSWORDS: [(&str, &str); 2] =
    [("NATS_PASSWORD", PASSWORD), ("NATS_SYSTEM_PASSWORD", "system")];

/// What differs between servers.
#[derive(Clone, Debug)]
pub struct ServerFile {
    /// Which server.
    pub number: usize,
    /// For clients.
    pub listen: SocketAddr,
    /// For health.
    pub http: SocketAddr,
    /// For the other servers; none if it is the only one.
    pub route: Option<SocketAddr>,
    /// The routes of all.
    pub routes: Vec<SocketAddr>,
    /// Where JetStream writes.
    pub store: PathBuf,
    /// When JetStream syncs.
    pub sync_interval: String,
    /// The program that starts it and replaces itself with it, such as `ip netns exec NAME`; empty for none.
    pub under: Vec<String>,
}

impl ServerFile {
    /// The server's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("gs-{}", self.number)
    }

    /// The file.
    ///
    /// # Panics
    /// If the shipped file has other lines than this one knows.
    #[must_use]
    pub fn text(&self) -> String {
        let routes: Vec<String> = self.routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
        let mut text = SHIPPED.to_owned();
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "docs/nats-server.conf has no {from:?} any more");
            text = text.replace(from, to);
        };
        replace("gs-0", &self.name());
        replace("0.0.0.0:4222", &self.listen.to_string());
        replace("127.0.0.1:8222", &self.http.to_string());
        replace("/var/lib/nats", &self.store.display().to_string());
        replace("max_file: 20GB", "max_file: 2GB");
        replace("sync_interval: always", &format!("sync_interval: {}", self.sync_interval));
        let begin = SHIPPED.find("cluster {").expect("a cluster in docs/nats-server.conf");
        let length = SHIPPED[begin..].find("}\n").expect("its end") + 2;
        let cluster = &SHIPPED[begin..begin + length];
        match self.route {
            None => replace(cluster, ""),
            Some(route) => {
                replace("0.0.0.0:6222", &route.to_string());
                let begin = cluster.find("[ ").expect("a list of routes");
                replace(
                    &cluster[begin..cluster.find(" ]").expect("its end") + 2],
                    &format!("[ {} ]", routes.join(", ")),
                );
            }
        }
        text
    }
}
