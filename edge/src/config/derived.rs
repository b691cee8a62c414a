//! Derived values: computed from the configuration alone.
//!
//! Why: a rule that two places need is computed once, here.
//! Invariant: nothing here depends on time or on connections.
//! Not here: the rules between keys (`check`).

use super::origin;
use super::{
    Admin, Api, Auth, Config, ConfigError, Limits, Moderation, Node, Proxy, RoomDurability, Rooms, Secret, Ws,
};
use std::net::IpAddr;
use std::path::Path;

impl Config {
    /// The admin key, from its value or its file.
    ///
    /// # Errors
    /// The file cannot be read, or its key is too short.
    pub fn admin_key(&self) -> Result<Option<Secret>, ConfigError> {
        secret("admin.key", &self.admin.key, self.admin.key_file.as_deref())
    }

    /// The key of the GIF search, from its value or its file.
    ///
    /// # Errors
    /// The file cannot be read, or its key is too long.
    pub fn gifs_key(&self) -> Result<Option<Secret>, ConfigError> {
        secret("gifs.key", &self.gifs.key, self.gifs.key_file.as_deref())
    }

    /// The shared secret of HS256 tokens, from its value or its file.
    ///
    /// # Errors
    /// The file cannot be read, or its secret is too short.
    pub fn hs256_secret(&self) -> Result<Option<Secret>, ConfigError> {
        secret("auth.hs256_secret", &self.auth.hs256_secret, self.auth.hs256_secret_file.as_deref())
    }
}

impl Config {
    /// Whether rooms without a setting of their own are kept on disk.
    pub fn rooms_on_disk(&self) -> bool {
        match self.rooms.durability {
            RoomDurability::Auto => self.log.dir.is_some() && !self.is_clustered(),
            RoomDurability::Memory | RoomDurability::Replicated => false,
            RoomDurability::Disk => true,
        }
    }

    /// Where a drain of this node sends its clients, if the configuration says nothing: to the next node of
    /// the cluster. Empty for a node that stands alone.
    pub fn next_node(&self) -> String {
        let next = (self.cluster.node as usize + 1).checked_rem(self.cluster.nodes.len());
        next.map_or_else(String::new, |next| self.cluster.nodes[next].clone())
    }

    /// Is the node one of a cluster?
    pub fn is_clustered(&self) -> bool {
        !self.cluster.name.is_empty()
    }
}

/// A secret in a file has the bounds of the key that it replaces.
fn secret(name: &str, given: &Option<Secret>, file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let Some(path) = file else { return Ok(given.clone()) };
    let fault = |what: String| ConfigError::one(format!("the file of {name}, {}, {what}", path.display()));
    let bytes = std::fs::read(path)
        .map_err(|e| fault(format!("cannot be read: {e}; name a file that the node may read")))?;
    let bytes = bytes.trim_ascii_end();
    let (shortest, longest) = super::key(name).and_then(super::Key::bounds).expect("secrets have bounds");
    if !(shortest..=longest).contains(&(bytes.len() as u64)) {
        return Err(fault(format!(
            "holds {} bytes; a secret has at least {shortest} and at most {longest}",
            bytes.len()
        )));
    }
    Ok(Some(Secret::new(bytes)))
}

impl Admin {
    /// Whether admin requests must show a key.
    pub fn has_key(&self) -> bool {
        self.key.is_some() || self.key_file.is_some()
    }
}

impl Api {
    /// Whether the API speaks TLS: where its keys could be read on a network, and no proxy does it.
    pub fn is_tls(&self) -> bool {
        !self.plain && self.listen.is_some_and(|address| !address.ip().is_loopback())
    }
}

impl Auth {
    /// Whether tokens are checked; without any key the node runs open.
    pub fn has_key(&self) -> bool {
        self.has_own_key() || self.issuers_file.is_some()
    }

    /// Whether there is a key besides those of listed issuers.
    pub fn has_own_key(&self) -> bool {
        self.hs256_secret.is_some()
            || self.hs256_secret_file.is_some()
            || self.eddsa_public_key_file.is_some()
            || !self.key_files.is_empty()
    }
}

impl Node {
    /// Worker threads to start: as configured, or one per CPU.
    pub fn workers_or_cpus(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

impl Limits {
    /// Silence after which a session is closed: two and a half heartbeats, so that two lost pings are
    /// forgiven.
    pub fn silence_ms(&self) -> u64 {
        self.heartbeat_ms * 5 / 2
    }
}

impl Proxy {
    /// Whether this is the address of a trusted proxy.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a header of the request tells the client's address, if a trusted proxy sent it.
    pub fn has_header(&self) -> bool {
        self.x_forwarded_for || self.forwarded
    }
}

impl Ws {
    /// Whether a page of this origin may connect; `None` is a client that is not a browser.
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        self.origins.iter().any(|rule| origin::allows(rule, origin))
    }
}

impl Moderation {
    /// Each list's rooms (`*`, `prefix*` or a name) and file.
    pub fn word_lists(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.lists.iter().map(|entry| {
            let (rooms, path) = entry.split_once('=').unwrap_or(("*", entry));
            (rooms, Path::new(path))
        })
    }
}

impl Rooms {
    /// Whether a room of this name may be made on first use.
    pub fn may_begin(&self, name: &str) -> bool {
        self.on_first_use.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    }
}
