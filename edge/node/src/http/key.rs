//! The key of an HTTP port: shared, and replaced when its file changes.
//!
//! Invariant: the key is compared in constant time, and kept as its SHA-256, whose length is the same
//! whatever the client sent.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{constant_time, digest};
use grandstand_edge::config::Secret;

/// A handle of the key that requests must show, if there is one.
#[derive(Clone, Debug, Default)]
pub struct SharedKey(Arc<RwLock<Option<digest::Digest>>>);

impl SharedKey {
    /// A port's key; `None`: the port asks for none.
    pub fn new(key: Option<&Secret>) -> SharedKey {
        let shared = SharedKey::default();
        shared.replace(key);
        shared
    }

    /// Ask for this key from now on.
    pub fn replace(&self, key: Option<&Secret>) {
        let key = key.map(|key| digest::digest(&digest::SHA256, key.expose()));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// May a request that shows this pass?
    pub(super) fn allows(&self, shown: Option<&str>) -> bool {
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().is_none_or(|key| {
            shown.is_some_and(|shown| {
                let shown = digest::digest(&digest::SHA256, shown.as_bytes());
                constant_time::verify_slices_are_equal(key.as_ref(), shown.as_ref()).is_ok()
            })
        })
    }
}
