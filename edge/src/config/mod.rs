//! Configuration: one table of keys, set by file, environment and flags.
//!
//! Why: every bound of the node is found, explained and changed in one place. An operator can always see
//! which value takes effect and where it was set.
//! Precedence: flag, then environment, then file, then default.
//! Invariants: a [`Config`] from [`load`] obeys every bound of the table and every rule between keys. Secrets
//! are never shown.
//! Not here: the effects of the values. Certificates and public keys are read by the code that uses them. The
//! secrets' files are read by [`Config::admin_key`] and [`Config::hs256_secret`].
//!
//! ```
//! use grandstand_edge::config;
//! let flags = [("rooms.tick_ms".to_owned(), "50".to_owned())];
//! let effective = config::load(None, std::iter::empty(), flags).unwrap();
//! assert_eq!(effective.config.rooms.tick_ms, 50);
//! assert_eq!(effective.source("rooms.tick_ms").to_string(), "flag --rooms-tick-ms");
//! ```

mod check;
mod derived;
mod error;
mod keys;
mod origin;
mod print;
mod source;
mod suggest;
mod table;
mod value;

pub use error::ConfigError;
pub use keys::{Key, all as keys, named as key};
pub use print::sample;
pub use source::{FILE_ENV, Source};
pub use table::{
    Admin, Api, Auth, Cluster, Config, Drain, Fanout, Gifs, Guide, Limits, Links, Log, Moderation, Node,
    Proxy, Queues, Quic, Rooms, Socket, Tls, Uploads, Webhooks, Ws, Wss,
};
pub use value::{GifService, Kind, LogFormat, LogLevel, Right, RoomDurability, Secret};

use source::{Gathered, Given};
use std::path::Path;

/// The configuration in effect, and where each value came from.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// One source per key, in the order of [`keys`].
    sources: Vec<Source>,
}

impl Effective {
    /// The defaults alone.
    pub fn defaults() -> Effective {
        Effective { config: Config::default(), sources: vec![Source::Default; keys().len()] }
    }

    /// Where the value of this dotted name came from.
    ///
    /// # Panics
    /// When no key has that name.
    pub fn source(&self, name: &str) -> &Source {
        let at = keys().iter().position(|key| key.name == name);
        &self.sources[at.unwrap_or_else(|| panic!("no key is named {name}"))]
    }

    /// Set one value. The error describes the fault.
    fn apply(&mut self, Given { key, raw, source }: Given) -> Result<(), String> {
        if !key.set(&mut self.config, &raw) {
            let shown =
                if key.is_secret() { "a value that is not shown".to_owned() } else { raw.to_string() };
            return Err(format!("{} ({source}): got {shown}, expected {}", key.name, key.allowed()));
        }
        let at = keys().iter().position(|other| std::ptr::eq(other, key)).expect("the key is of the table");
        self.sources[at] = source;
        Ok(())
    }
}

/// Load the configuration: flags take precedence over environment, environment over file, file over defaults.
///
/// `file` is the one named by `--config`. Without it, `GRANDSTAND_CONFIG` of `env` names one, if it is set.
/// Of `env` only names that begin with `GRANDSTAND_` are read. `flags` are flag or dotted names with their
/// texts.
///
/// # Errors
/// All faults at once: an unreadable file, unknown names, values that are not allowed, values that contradict
/// each other.
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Effective, ConfigError> {
    let env: Vec<_> = env.into_iter().collect();
    let mut gathered = Gathered::default();
    let in_env = env.iter().find(|(name, path)| name == FILE_ENV && !path.is_empty());
    match (file, in_env) {
        (Some(path), _) => gathered.file(path, "--config"),
        (None, Some((_, path))) => gathered.file(Path::new(path), FILE_ENV),
        (None, None) => {}
    }
    gathered.env(&env);
    gathered.flags(flags);
    let Gathered { given, mut faults } = gathered;
    let mut effective = Effective::defaults();
    faults.extend(given.into_iter().filter_map(|given| effective.apply(given).err()));
    ConfigError::unless_empty(faults)?;
    ConfigError::unless_empty(check::faults(&effective))?;
    Ok(effective)
}

/// The process's environment, for [`load`]. Parts that are not UTF-8 are replaced, so a key that has them is
/// refused.
pub fn environment() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
