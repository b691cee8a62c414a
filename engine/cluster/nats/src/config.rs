//! Configuration of the network, checked before a thread starts.
//!
//! Invariants: what passed [`Config::check`] makes subjects and names of streams that NATS takes. Each fault
//! says what was found, what was expected and what to do.
//! Not here: keys of the configuration file (`grandstand-edge`).

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, ServerAddr};
use grandstand_cluster::id::NodeId;
use grandstand_cluster::membership::{self, ConfigFault};

/// Silence after which the client asks its server for a sign of life. After three of them without one it
/// moves to another server.
const PING_EVERY: Duration = Duration::from_millis(400);
/// How long a server may take to accept the client.
const CONNECT_WITHIN: Duration = Duration::from_millis(1_000);
/// Before an attempt to connect, while the last ones were few.
const RECONNECT_AFTER: Duration = Duration::from_millis(20);
/// Before an attempt to connect, after many: nobody is there, or the credentials are wrong.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// So many attempts are few.
const QUICK_ATTEMPTS: usize = 30;
/// Messages that may wait between the client and this crate's thread, per subscription.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
/// The longest name of a cluster: it is part of every subject.
const NAME_MAX: usize = 32;

/// How the servers of NATS are reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name. Several clusters may share the servers.
    pub cluster: String,
    /// Addresses of the servers, such as `nats://10.0.0.1:4222`, in the order of the nodes: a node connects
    /// to its own server first.
    pub servers: Vec<String>,
    /// Who the node is to the servers.
    pub credentials: Credentials,
    /// Whether connections to the servers are encrypted.
    pub tls: bool,
    /// Certificates of the authority that signed the servers' certificates, if the system does not know it.
    pub tls_ca: Option<PathBuf>,
    /// How large the streams are.
    pub plan: Plan,
    /// Where the node's own time is 0.
    pub origin: Instant,
}

/// How large the streams of a cluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Copies of each stream: three, or one for a trial on a single server.
    pub replicas: usize,
    /// Bytes of each shard's stream, after which its oldest records go.
    pub log_bytes: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { replicas: 3, log_bytes: 1 << 30 }
    }
}

/// Who a node is to the servers.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// The servers ask for nothing.
    #[default]
    None,
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A file with a JWT and the seed of its key.
    File(PathBuf),
}

/// Why the network of a node does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The name of the cluster.
    Name(String),
    /// No server is named.
    NoServer,
    /// An address of a server.
    Server {
        /// As it was given.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The file of credentials.
    Credentials {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The list of nodes.
    Membership(ConfigFault),
    /// Not one outlet per shard.
    Shards {
        /// How many there are.
        outlets: usize,
        /// How many shards.
        shards: u16,
    },
    /// The system gives no thread.
    Thread(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Name(name) => {
                write!(f, "cluster.name: got {name:?}, expected 1 to {NAME_MAX} letters, digits, '-' and '_'")
            }
            Fault::NoServer => {
                write!(f, "cluster.servers: got none, expected the address of each node's NATS server")
            }
            Fault::Server { address, why } => write!(
                f,
                "cluster.servers: {address:?} is no address of a NATS server ({why}), \
                 expected one like nats://10.0.0.1:4222"
            ),
            Fault::Credentials { path, why } => write!(
                f,
                "cluster.credentials_file: cannot use {} ({why}): name a file that `nsc` wrote",
                path.display()
            ),
            Fault::Membership(fault) => write!(f, "cluster.nodes: {fault}"),
            Fault::Shards { outlets, shards } => {
                write!(f, "got {outlets} outlets, expected one for each of the {shards} shards")
            }
            Fault::Thread(why) => write!(f, "the network's thread cannot be started: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Password { user, .. } => write!(f, "Password({user:?}, ..)"),
            Credentials::Token(_) => f.write_str("Token(..)"),
            Credentials::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Config {
    /// Whether subjects can be made of it, and the servers' addresses be read.
    pub(crate) fn check(&self, membership: &membership::Config) -> Result<(), Fault> {
        self.check_name()?;
        self.addresses(membership.me, &membership.nodes).map(|_| ())
    }

    pub(crate) fn check_name(&self) -> Result<(), Fault> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = &self.cluster;
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_good) {
            return Err(Fault::Name(name.clone()));
        }
        Ok(())
    }

    /// The servers as the client tries them: the node's own first.
    pub(crate) fn addresses(&self, me: NodeId, nodes: &[NodeId]) -> Result<Vec<ServerAddr>, Fault> {
        let parse = |address: &String| {
            address
                .parse::<ServerAddr>()
                .map_err(|error| Fault::Server { address: address.clone(), why: error.to_string() })
        };
        let mut servers = self.servers.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Fault::NoServer);
        }
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        let own = nodes.iter().position(|node| *node == me).unwrap_or(0);
        let by = own % servers.len();
        servers.rotate_left(by);
        Ok(servers)
    }

    /// What the client is told. `me` names the connection in the servers' lists.
    pub(crate) async fn options(&self, me: NodeId) -> Result<ConnectOptions, Fault> {
        let options =
            ConnectOptions::new()
                .name(format!("grandstand {} {me}", self.cluster))
                .ping_interval(PING_EVERY)
                .connection_timeout(CONNECT_WITHIN)
                .reconnect_delay_callback(|attempts| {
                    if attempts <= QUICK_ATTEMPTS { RECONNECT_AFTER } else { RETRY_AFTER }
                })
                .max_reconnects(None)
                .retry_on_initial_connect()
                .ignore_discovered_servers()
                .retain_servers_order()
                .no_echo()
                .subscription_capacity(SUBSCRIPTION_CAPACITY)
                .require_tls(self.tls);
        let options = match &self.tls_ca {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        };
        Ok(match &self.credentials {
            Credentials::None => options,
            Credentials::Password { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
            Credentials::Token(token) => options.token(token.clone()),
            Credentials::File(path) => options
                .credentials_file(path)
                .await
                .map_err(|error| Fault::Credentials { path: path.clone(), why: error.to_string() })?,
        })
    }
}
