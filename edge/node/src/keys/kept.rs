//! Kept keys: what was fetched last, in files in `log.dir`, for the next process.
//!
//! Why: a node that is started while an issuer is down would let nobody in, although it knew the keys a
//! minute before.
//! Invariants: a file is of one issuer and one address. It is used until a fetch succeeds, which is tried at
//! once. A file that cannot be used is left out, and told.
//! Not here: fetches (`super`), what a set is (`grandstand_edge::auth`).

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use grandstand_edge::auth::FetchedKeys;

/// The folder in `log.dir`.
const FOLDER: &str = "issuer-keys";

/// Where sets are kept; nowhere without `log.dir`.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Option<PathBuf>);

impl Kept {
    /// In this folder of the log.
    pub(crate) fn of(dir: Option<&Path>) -> Kept {
        Kept(dir.map(|dir| dir.join(FOLDER)))
    }

    /// Use what an earlier process kept, if it did.
    pub(super) fn restore(&self, keys: &FetchedKeys) {
        let Some(path) = self.path(keys) else { return };
        let Ok(set) = fs::read(&path) else { return };
        let issuer = keys.issuer();
        match keys.restore(&set) {
            Ok(count) => {
                tracing::info!(
                    issuer,
                    keys = count,
                    "keys of an issuer from before are in use until a fetch"
                );
            }
            Err(what) => tracing::warn!(issuer, file = %path.display(), "the file of kept keys {what}"),
        }
    }

    /// Keep a set that was fetched.
    pub(super) fn keep(&self, keys: &FetchedKeys, set: &[u8]) {
        let Some(path) = self.path(keys) else { return };
        if fs::read(&path).is_ok_and(|kept| kept == set) {
            return;
        }
        let new = path.with_extension("new");
        let kept = path.parent().map_or(Ok(()), fs::create_dir_all);
        let kept = kept.and_then(|()| fs::write(&new, set)).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = kept {
            let issuer = keys.issuer();
            tracing::warn!(issuer, %error, "keys of an issuer cannot be kept for the next process");
        }
    }

    fn path(&self, keys: &FetchedKeys) -> Option<PathBuf> {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [keys.issuer(), "\0", keys.url()] {
            hash.update(part.as_bytes());
        }
        let hash: String = hash.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.0.as_ref()?.join(format!("{hash}.json")))
    }
}
