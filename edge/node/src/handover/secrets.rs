//! Secrets that end with a process, passed to its successor: the key of tickets, the development certificate
//! of a node without files, and the key of anonymous people.
//!
//! Why: without the key no session and no nonce goes on, and without the certificate no client that pinned it
//! comes back. What a hand-over keeps must not depend on files, and whom slow mode holds must not be free.
//! Invariants: they pass over a socket of this user only, and are never shown in a log.
//! Not here: keys and certificates in files, which the successor reads itself (`node`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// The key that seals tickets.
    pub(crate) ticket_key: Option<[u8; 32]>,
    /// The development certificate and its key, as DER.
    pub(crate) certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The names in it.
    pub(crate) dev_names: Vec<String>,
    /// The key by which people without a token are known: slow mode holds them by it. A process of an earlier
    /// release has none to give.
    #[serde(default)]
    pub(crate) people_key: Option<[u8; 16]>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}
