//! API keys: who may use the HTTP API, and for what.
//!
//! A key has scopes, perhaps a prefix that the names of its rooms must have, and perhaps an end. Keys made at
//! a node, by a request or by `grandstand key`, are in `node.db`; the nodes of a cluster share the keys of
//! `api.keys_file`. A name has at most two live keys, so that an application changes from one to the next
//! without a pause. Tokens of sessions are no keys of the API.
//! Invariants: a key itself is stored nowhere. A revoked key is refused from the next request on, also when
//! another program revoked it. Hashes are compared in constant time.
//! Not here: which operation needs which scope (`http::grant`, the operations).

mod file;
mod scope;
mod secret;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time;
use grandstand_edge::clock::Clock;
use rusqlite::Connection;

pub use scope::{Scope, Scopes};
pub use secret::{NewSecret, is_env};

use crate::database::Database;
use secret::Hash;

/// Live keys of one name: the one in use, and the next one.
pub const LIVE_PER_NAME: usize = 2;

/// Characters of a key's name, at most.
pub const NAME_CHARS_MAX: usize = 64;

/// How often the time of the last use is stored.
const NOTE_USE_EVERY_MS: u64 = 60_000;

/// A key of the API, without the key itself.
#[derive(Debug, Default)]
pub struct ApiKey {
    /// What it is called by.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What the names of its rooms begin with.
    pub room_prefix: String,
    /// When it was made; 0: unknown.
    pub created_ms: u64,
    /// When it ends by itself.
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
    /// Is it of `api.keys_file`?
    pub is_of_file: bool,
    hash: Hash,
    used: AtomicU64,
}

/// What a key that is to be made is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Whose it is.
    pub name: String,
    /// The environment in its text (`is_env`).
    pub env: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What the names of its rooms must begin with.
    pub room_prefix: String,
    /// When it ends by itself.
    pub expires_ms: Option<u64>,
}

/// Why a key was not made.
#[derive(Debug)]
pub enum CreateError {
    /// The name has as many live keys as it may.
    TooMany,
    /// The database, the file or the kernel failed.
    Failed(String),
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has not the form of a key: mistyped, cut, or something else.
    Malformed,
    /// No such key is known.
    Unknown,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

/// All keys that a node knows.
pub struct ApiKeys {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    of_file: Vec<Arc<ApiKey>>,
    table: Option<Table>,
    by_hash: HashMap<Hash, Arc<ApiKey>>,
}

struct Table {
    connection: Connection,
    keys: Vec<Arc<ApiKey>>,
    /// SQLite's number of the last change by another connection.
    version: i64,
}

impl From<rusqlite::Error> for CreateError {
    fn from(error: rusqlite::Error) -> CreateError {
        CreateError::Failed(format!("node.db: {error}"))
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeys").finish_non_exhaustive()
    }
}

impl ApiKey {
    /// When it was used last, by any node that shares the database; `None`: never, as far as is known.
    pub fn used_ms(&self) -> Option<u64> {
        Some(self.used.load(Ordering::Relaxed)).filter(|&ms| ms > 0)
    }

    /// Is it in force?
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.judge(now_ms).is_ok()
    }

    /// May it be used for a room of this name?
    pub fn covers(&self, room: &str) -> bool {
        room.starts_with(&self.room_prefix)
    }

    fn note_use(&self, now_ms: u64) {
        self.used.store(now_ms, Ordering::Relaxed);
    }

    fn judge(&self, now_ms: u64) -> Result<(), Refused> {
        match self {
            ApiKey { revoked_ms: Some(_), .. } => Err(Refused::Revoked),
            ApiKey { expires_ms: Some(ends), .. } if *ends <= now_ms => Err(Refused::Expired),
            _ => Ok(()),
        }
    }

    fn new(new: &NewKey, now_ms: u64) -> Result<(NewSecret, ApiKey), CreateError> {
        let failed = |error: getrandom::Error| CreateError::Failed(format!("no random bytes: {error}"));
        let secret = NewSecret::random(&new.env).map_err(failed)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(failed)?;
        let key = ApiKey {
            id: format!("key_{:016x}", u64::from_le_bytes(random)),
            name: new.name.clone(),
            scopes: new.scopes,
            room_prefix: new.room_prefix.clone(),
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            hash: secret.hash(),
            ..ApiKey::default()
        };
        Ok((secret, key))
    }
}

impl ApiKeys {
    /// None yet.
    pub fn new(clock: Clock) -> ApiKeys {
        let state = State { of_file: Vec::new(), table: None, by_hash: HashMap::new() };
        ApiKeys { clock, state: Mutex::new(state) }
    }

    /// From now on with the keys of this file; `None`: of no file.
    ///
    /// # Errors
    /// In a sentence. The keys before stay in use then.
    pub fn read_file(&self, path: Option<&Path>) -> Result<(), String> {
        let keys = path.map(file::read).transpose()?.unwrap_or_default();
        let mut state = self.state();
        state.of_file = keys.into_iter().map(Arc::new).collect();
        state.index();
        Ok(())
    }

    /// From now on with the keys of this database, in which new ones are stored.
    ///
    /// # Errors
    /// In a sentence: the database can't be used.
    pub fn open(&self, database: &Database) -> Result<(), String> {
        let connection = database.connect("api_keys", table::STEPS)?;
        let mut table = Table { connection, keys: Vec::new(), version: -1 };
        table.look().map_err(|error| format!("node.db: {error}"))?;
        let mut state = self.state();
        state.table = Some(table);
        state.index();
        Ok(())
    }

    /// The key that a request shows.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn find(&self, shown: &str) -> Result<Arc<ApiKey>, Refused> {
        if !secret::is_well_formed(shown) {
            return Err(Refused::Malformed);
        }
        let (hash, now_ms) = (secret::hash(shown), self.now_ms());
        let mut state = self.state();
        state.refresh();
        let key = state.by_hash.get(&hash).cloned().ok_or(Refused::Unknown)?;
        constant_time::verify_slices_are_equal(&key.hash, &hash).map_err(|_| Refused::Unknown)?;
        key.judge(now_ms)?;
        if key.used_ms().is_none_or(|used| used + NOTE_USE_EVERY_MS <= now_ms) {
            key.note_use(now_ms);
            if let Some(table) = state.table.as_ref().filter(|_| !key.is_of_file) {
                // Who used it last is for people: no request fails for it.
                let _ = table::note_use(&table.connection, &key.id, now_ms);
            }
        }
        Ok(key)
    }

    /// All keys: those of the file, and those of the database, the oldest first.
    pub fn all(&self) -> Vec<Arc<ApiKey>> {
        let mut state = self.state();
        state.refresh();
        state.every().cloned().collect()
    }

    /// Make a key, and store its hash.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create(&self, new: &NewKey) -> Result<(NewSecret, Arc<ApiKey>), CreateError> {
        let now_ms = self.now_ms();
        let (secret, key) = ApiKey::new(new, now_ms)?;
        let mut state = self.state();
        let closed = || CreateError::Failed("node.db is not open: the node's log says why".to_owned());
        let table = state.table.as_mut().ok_or_else(closed)?;
        table::insert(&mut table.connection, &key, now_ms)?;
        let key = Arc::new(key);
        table.keys.push(key.clone());
        state.index();
        Ok((secret, key))
    }

    /// Revoke a key of the database. Whether there is one of this id that was not revoked before.
    ///
    /// # Errors
    /// In a sentence: the database can't be changed.
    pub fn revoke(&self, id: &str) -> Result<bool, String> {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let Some(table) = state.table.as_mut() else { return Ok(false) };
        let fault = |error: rusqlite::Error| format!("node.db: {error}");
        let is_new = table::revoke(&table.connection, id, now_ms).map_err(fault)?;
        table.read().map_err(fault)?;
        state.index();
        Ok(is_new)
    }

    /// Make a key, and store its hash in this file.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create_in_file(&self, path: &Path, new: &NewKey) -> Result<(NewSecret, ApiKey), CreateError> {
        let now_ms = self.now_ms();
        let (secret, key) = ApiKey::new(new, now_ms)?;
        let known = if path.exists() { file::read(path).map_err(CreateError::Failed)? } else { Vec::new() };
        if known.iter().filter(|other| other.name == key.name && other.is_live(now_ms)).count()
            >= LIVE_PER_NAME
        {
            return Err(CreateError::TooMany);
        }
        let fault = |error| CreateError::Failed(format!("{}: {error}", path.display()));
        file::append(path, &key).map_err(fault)?;
        Ok((secret, key))
    }

    /// The time by which keys end.
    pub fn now_ms(&self) -> u64 {
        self.clock.unix().as_millis() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Take what another program changed in the database.
    fn refresh(&mut self) {
        match self.table.as_mut().map(Table::look) {
            Some(Ok(true)) => self.index(),
            Some(Err(error)) => tracing::error!(%error, "node.db can't be read: API keys stay as they were"),
            _ => {}
        }
    }

    fn every(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.of_file.iter().chain(self.table.iter().flat_map(|table| &table.keys))
    }

    fn index(&mut self) {
        self.by_hash = self.every().map(|key| (key.hash, key.clone())).collect();
    }
}

impl Table {
    /// Read the table if another connection has changed the database. Whether it was read.
    fn look(&mut self) -> rusqlite::Result<bool> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0))?;
        if version == self.version {
            return Ok(false);
        }
        self.read()?;
        self.version = version;
        Ok(true)
    }

    fn read(&mut self) -> rusqlite::Result<()> {
        self.keys = table::read(&self.connection)?.into_iter().map(Arc::new).collect();
        Ok(())
    }
}
